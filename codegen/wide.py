"""Statements for 8 lanes to statements for 16, where every value is a float.

With AVX-512 they take as long. Functions such as exp take most of the time of a loop that calls
one. Loops that call none wait for memory, and those over integers and masks have no 16 lanes: both
stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from tlc.codegen.expression import Access, Dialect, Region, Scope, kind
from tlc.codegen.iteration import ONE, ZERO
from tlc.codegen.memory import Rows
from tlc.ir.core import Value
from tlc.ir.dims import Dim

_FUNCTION = re.compile(r"\b([a-z_]+)8\(")
_OPERATIONS = frozenset(
    (
        *("add", "sub", "mul", "div", "neg", "maximum", "minimum", "relu"),
        *("abs", "sqrt", "rsqrt", "floor", "ceil", "round", "stored"),
    )
)
_COSTLY = frozenset(("exp", "log", "sin", "cos", "tan", "tanh", "sigmoid"))
_NOTHING_TO_DO = ("constant", "broadcast", "cast")

WIDE = Dialect(
    lanes=True,
    types={"float": "v16"},
    splats={"float": "splat16({})"},
    casts={},
    functions=lambda expression: _FUNCTION.sub(r"\g<1>16(", expression),
)


def pays(
    region: Region,
    targets: Sequence[Value],
    known: Iterable[Value],
    along: Mapping[Value, Dim],
    enough: bool = False,
) -> bool:
    """Whether the targets can be computed in 16 lanes, and take a function for which that is faster
    (or there is reason `enough`). `along` is the stride of every access along the lanes."""
    costly = enough
    for value in region.needed(targets, known):
        if kind(value) != "float":
            return False
        access = region.access(value)
        if access is not None:
            plain = along[value] == ONE and access.encoding in ("f16", "f32")
            if not plain and along[value] != ZERO:
                return False
            continue
        op = region.ops[region.position[value]]
        if any(kind(operand) != "float" for operand in op.operands):
            return False
        if op.name not in _NOTHING_TO_DO and op.name not in _OPERATIONS | _COSTLY:
            return False
        costly = costly or op.name in _COSTLY
    return costly


def scope(narrow: Scope) -> Scope:
    """A block in 16 lanes within one in 8, whose values are the same in every lane."""
    wide = Scope(narrow.region, WIDE, narrow.sizes)
    wide.inverses = {value: f"join16({name}, {name})" for value, name in narrow.inverses.items()}
    for value, name in narrow.names.items():
        if kind(value) != "float":
            continue
        literal = name.startswith("splat8(")
        wide.names[value] = (
            _FUNCTION.sub(r"\g<1>16(", name) if literal else f"join16({name}, {name})"
        )
    return wide


def load(rows: Rows, at: str) -> Callable[[Access], str]:
    """The expression of an access at element `at` of its row."""

    def expression(access: Access) -> str:
        row = rows.rows[access.value]
        if row.stride == ZERO:
            return _FUNCTION.sub(r"\g<1>16(", rows.first(access))
        return f"ld16({row.base} + {at})" if row.base else f"ld16(in{access.arg} + {at})"

    return expression
