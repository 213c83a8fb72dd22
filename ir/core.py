"""The SSA data structures: values, operations with regions, functions, modules.

Values are pure: a value has one definition and is never changed. Operations are mutable records in
a block's list; passes rewrite the list. Each operation refers to its record in `ir/ops`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tlc.frontend.source import Span
from tlc.ir.dims import Dim
from tlc.ir.types import TensorType, Type

if TYPE_CHECKING:
    from tlc.ir.opdef import OpDef


@dataclass(eq=False, slots=True)
class Value:
    """A result of an operation (`owner`) or an argument of a block (`owner` is None)."""

    type: Type
    owner: Op | None = None
    name: str = ""

    @property
    def tensor(self) -> TensorType:
        """The type of a value that is known to be a tensor."""
        assert isinstance(self.type, TensorType), self.type
        return self.type


@dataclass(eq=False, slots=True)
class Op:
    """One operation; `attrs` hold ints, floats, bools, strings, bytes, Dims and tuples of these."""

    defn: OpDef
    operands: list[Value]
    attrs: dict[str, Any]
    results: list[Value] = field(default_factory=list)
    regions: list[Block] = field(default_factory=list)
    span: Span | None = None

    @property
    def name(self) -> str:
        return self.defn.name

    @property
    def result(self) -> Value:
        """The only result."""
        (value,) = self.results
        return value

    def walk(self) -> Iterator[Op]:
        """This operation and all inside its regions, outermost first."""
        yield self
        for block in self.regions:
            for op in block.ops:
                yield from op.walk()


@dataclass(eq=False, slots=True)
class Block:
    """Operations in order; a region is one block, whose last operation is a `yield`."""

    args: list[Value] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)

    @property
    def yielded(self) -> list[Value]:
        """What the block hands out: the operands of its last operation."""
        return self.ops[-1].operands


@dataclass(eq=False, slots=True)
class Func:
    """An entry of the program: `main`, or a function callable from outside.

    Its symbols are those in the types of its arguments; the body ends with a `yield` of its
    results.
    """

    name: str
    body: Block
    param_names: list[str]
    span: Span | None = None

    @property
    def params(self) -> list[Value]:
        return self.body.args

    @property
    def results(self) -> list[Value]:
        return self.body.yielded

    def walk(self) -> Iterator[Op]:
        for op in self.body.ops:
            yield from op.walk()


@dataclass(eq=False, slots=True)
class ModelRef:
    """A model file that the program loads: the path as written, and how to know the file again."""

    path: str
    fingerprint: str


@dataclass(eq=False, slots=True)
class Module:
    """A program: its entries, and the model files its `weight` operations refer to by index."""

    funcs: list[Func] = field(default_factory=list)
    models: list[ModelRef] = field(default_factory=list)

    def func(self, name: str) -> Func:
        """The entry of that name. Raises KeyError."""
        for func in self.funcs:
            if func.name == name:
                return func
        raise KeyError(name)


def uses(block: Block) -> dict[Value, list[Op]]:
    """For every value, the operations of this block (or inside their regions) that read it."""
    found: dict[Value, list[Op]] = {}
    for outer in block.ops:
        for op in outer.walk():
            for value in op.operands:
                found.setdefault(value, []).append(op)
    return found


def replace_operands(block: Block, replaced: dict[Value, Value]) -> None:
    """Rewrite every operand, inside regions too; chains of replacements are followed."""

    def final(value: Value) -> Value:
        while value in replaced:
            value = replaced[value]
        return value

    for outer in block.ops:
        for op in outer.walk():
            op.operands = [final(v) for v in op.operands]


def symbols_of(part: object) -> set[str]:
    """The symbols in a type or an attribute."""
    match part:
        case Dim():
            return set(part.symbols())
        case TensorType(shape=parts) | tuple(parts):
            return {name for inner in parts for name in symbols_of(inner)}
    return set()
