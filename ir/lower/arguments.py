"""The arguments of a call: evaluated, placed on the parameters that they are for, as shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tlc.frontend import ast
from tlc.frontend.diagnostics import Label
from tlc.frontend.source import Span
from tlc.frontend.suggest import did_you_mean
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import expressions, reading
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Lowered, tell
from tlc.ir.opdef import Param, show_params


@dataclass(frozen=True, slots=True)
class Argument:
    """An evaluated argument; `name` is set when it was given by name."""

    value: Lowered
    span: Span
    name: str | None = None


def evaluated(cx: Context, node: ast.Call) -> list[Argument]:
    """The arguments of a call in the order they are written."""
    return [Argument(expressions.expression(cx, a.value), a.span, a.name) for a in node.args]


def place(
    cx: Context,
    params: Sequence[Param],
    args: Sequence[Argument],
    what: str,
    span: Span,
    declared: Sequence[Label] = (),
    hint: str = "",
) -> dict[str, Argument]:
    """Arguments by parameter name. Reports too many, unknown, repeated and missing ones.

    `declared` and `hint` show what is called, to whoever called it wrongly.
    """
    placed: dict[str, Argument] = {}
    names = [p.name for p in params]
    positional = iter(names)
    for arg in args:
        name = arg.name or next(positional, None)
        if name not in names and _NUMPY.get(name or "") in names:
            name = _NUMPY[name or ""]
        if name is None:
            cx.fail(
                "E0203",
                f"{what} takes {_count(len(names))}, and {given(len(args))}",
                arg.span,
                "this one is too many",
                declared,
                hint,
            )
        if name not in names:
            near = did_you_mean(name, names) or hint
            text = f"{what} has no parameter `{name}`"
            cx.fail("E0203", text, arg.span, others=declared, hint=near)
        if name in placed:
            first = Label(placed[name].span, "given here first")
            cx.fail("E0203", f"`{name}` is given twice", arg.span, others=[first])
        placed[name] = arg
    missing = [p.name for p in params if p.default is None and p.name not in placed]
    if missing:
        listed = " and ".join(f"`{m}`" for m in missing)
        cx.fail("E0203", f"{what} needs {listed}", span, others=declared, hint=hint)
    return placed


# names of parameters in NumPy
_NUMPY = {"axis": "dim", "keepdims": "keepdim"}


def given(n: int) -> str:
    return "one is given" if n == 1 else f"{n} are given"


def _count(n: int) -> str:
    return "no arguments" if n == 0 else "one argument" if n == 1 else f"{n} arguments"


def call_form(name: str, params: Sequence[Param]) -> str:
    """A hint: how a builtin is called."""
    lists = {"shape": "[2, 3]", "axes": "[1, 0]"}
    listed = "".join(f", with {p.name} as `{lists[p.name]}`" for p in params if p.name in lists)
    return f"it is `{show_params(name, params)}`{listed}"


def shape_of(cx: Context, value: Lowered, span: Span) -> tuple[Dim, ...]:
    """A list of sizes, or the one size of a list; integral floats are sizes too."""
    if reading.count(cx, value, span) is not None:
        value = [value]
    if not isinstance(value, list | tuple):
        cx.fail("E0303", f"a shape is a list of sizes, and this is {tell(value)}", span)
    sizes: list[Dim] = []
    for item in value:
        number = reading.count(cx, item, span)
        if number is None or (isinstance(number, int) and number < 0):
            held = tell(item)
            code = "E0304" if isinstance(item, Value) else "E0303"
            cx.fail(code, f"a shape is a list of sizes, and this has {held}", span)
        sizes.append(Dim.of(number))
    return tuple(sizes)
