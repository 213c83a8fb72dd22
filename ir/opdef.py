"""The record of an operation: one value that holds all its faces, and the registry of records.

To add an operation, write one `defop` (or `compose`) in a file of `ir/ops`; the type checker, the
builtin table of the language, the reference interpreter, fusion, the verifier, the generated
documentation and the registry tests all read it from here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tlc.ir.dims import Dim
from tlc.ir.types import TensorType, Type

if TYPE_CHECKING:
    from tlc.ir.core import Value

TENSORS = ("tensor", "tensor_i32")  # kinds of parameters that are one operand each

Effect = Literal["pure", "state", "io"]


class Side(NamedTuple):
    """One of two sizes that a type rule wants equal: of which axis of which operand it is (-1 for
    a size that is wanted of all operands)."""

    operand: int
    axis: int
    size: Dim


class TypeRuleError(Exception):
    """A type rule's refusal: a diagnostic code, a message, and which operands disagree.

    `differ` are two sizes but for which the rule would be content.
    """

    def __init__(
        self,
        message: str,
        code: str = "E0301",
        operands: Sequence[int] = (),
        hint: str = "",
        differ: tuple[Side, Side] | None = None,
    ) -> None:
        self.message, self.code, self.operands, self.hint = message, code, tuple(operands), hint
        self.differ = differ
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a builtin as a program calls it.

    `kind` says what is accepted and how it is handed on: `tensor`, `tensor_i32` (of whole numbers)
    and `tensors` (any number of them) become operands; `axis` (or `axes`) is checked against the
    rank of the first operand, and counts from the end when negative; `shape` is a list of
    dimensions, `dim` is one; `int`, `float`, `bool`, `str`, `dtype`, `pair` (a whole number or two)
    are known at build; `attr` is set by the compiler alone.
    `default` is None for a required parameter; an optional `tensor` that is left out is not among
    the operands.
    """

    name: str
    kind: str = "tensor"
    default: str | None = None

    def left_out(self) -> object:
        """The value of a parameter that a call leaves out."""
        text = self.default or "none"
        match self.kind:
            case _ if text == "none":
                return None
            case "float":
                return float(text)
            case "bool":
                return text == "true"
            case "axis" | "int":
                return int(text)
            case "pair":
                return (int(text), int(text))
        return text


@dataclass(frozen=True, slots=True)
class Sample:
    """One call that the registry tests make: dtype and shape of each operand, and attributes."""

    operands: tuple[TensorType, ...]
    attrs: dict[str, Any]
    low: float = -2.0
    high: float = 2.0


@dataclass(frozen=True, slots=True)
class OpDef:
    """Everything the compiler knows about one operation. Data and pure functions only.

    type      (operand types, **attrs) -> result types; raises TypeRuleError.
    eval      (operand arrays, **attrs) -> result arrays, in numpy; floats arrive as float32.
    msl       the element's value as an MSL float expression, `{0}` is the first operand; its 8-lane
              form for the cpu profile is `lanes`. An operation with `msl` is elementwise: operands
              and result have one shape.
    expand    the meaning as a composition of other operations; the lowering applies it at once.
    view      the operation only reads its operand in another order (broadcast, transpose, slice).
    kernel    the kernel family that computes it, for operations that are not elementwise.
    names     what programs call it; `params` is how.
    effect    only `pure` operations are merged, moved or removed.
    sample    calls for the registry tests.
    """

    name: str
    doc: str
    params: tuple[Param, ...] = ()
    type: Callable[..., tuple[Type, ...]] | None = None
    eval: Callable[..., Any] | None = None
    msl: str | None = None
    lanes: str | None = None
    expand: Callable[..., Value] | None = None
    view: bool = False
    kernel: str | None = None
    names: tuple[str, ...] = ()
    effect: Effect = "pure"
    sample: tuple[Sample, ...] = ()

    @property
    def elementwise(self) -> bool:
        return self.msl is not None

    @property
    def signature(self) -> str:
        """`softmax(x, dim = -1)`, for messages and documents."""
        return show_params((self.names or (self.name,))[0], self.params)


OPS: dict[str, OpDef] = {}
BUILTINS: dict[str, OpDef] = {}


def show_params(name: str, params: Sequence[Param]) -> str:
    """A call as it is declared: `softmax(x, dim = -1)`."""
    shown = [p.name if p.default is None else f"{p.name} = {p.default}" for p in params]
    return f"{name}({', '.join(shown)})"


def parse_params(text: str) -> tuple[Param, ...]:
    """`"x, dim: axis = -1"` as parameters; the kind is `tensor` when none is written."""
    found = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        head, _, default = (s.strip() for s in part.partition("="))
        name, _, kind = (s.strip() for s in head.partition(":"))
        found.append(Param(name, kind or "tensor", default or None))
    return tuple(found)


def defop(name: str, doc: str, *, params: str = "", names: str = "", **faces: Any) -> OpDef:
    """Make and register a record; `params` and `names` are written as programs write them."""
    record = OpDef(name, doc, parse_params(params), names=tuple(names.split()), **faces)
    assert name not in OPS, f"{name} is defined twice"
    OPS[name] = record
    for builtin in record.names:
        assert builtin not in BUILTINS, f"builtin {builtin} is defined twice"
        BUILTINS[builtin] = record
    return record


def compose(
    name: str, doc: str, expand: Callable[..., Value], *, params: str, names: str = "", **faces: Any
) -> OpDef:
    """Register an operation that is a composition: it leaves nothing of its own in the IR."""
    return defop(name, doc, params=params, names=names or name, expand=expand, **faces)
