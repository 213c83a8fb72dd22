"""`--store f32`: what an entry computes as float16 becomes float32, and is stored so.

The border of an entry keeps its types: parameters, weights and constants come in as float16, and
results, what is printed and what is saved go out as float16, rounded there and nowhere before.
Functions are lowered where they are called, so the types that they declare are inside the border.
"""

from __future__ import annotations

from collections.abc import Callable

from tlc.ir.builder import Builder
from tlc.ir.core import Block, Func, Op, Value
from tlc.ir.opdef import TypeRuleError
from tlc.ir.types import TensorType, Type

_SOURCES = frozenset({"constant", "weight", "weight_of"})
_MOVES = frozenset({"gather", "concat", "scatter"})  # as views, they hand on what they are given

HandOut = Callable[[Builder, list[Value]], list[Value]]


def widen(func: Func) -> None:
    """Retype a function in place. Float16 numbers that are only moved stay as they came."""
    widener = _Widener()
    widener.block(func.body, widener.narrowed)


def _half(type: Type) -> bool:
    return isinstance(type, TensorType) and type.dtype == "f16"


class _Widener:
    """`wide` holds the values that were float16 and are float32 now."""

    def __init__(self) -> None:
        self.wide: set[Value] = set()

    def block(self, block: Block, hand_out: HandOut) -> None:
        """Retype a block; `hand_out` says what becomes of the values that it yields."""
        ops, block.ops = block.ops, []
        builder = Builder(block)
        for op in ops:
            builder.span = op.span
            if op.name == "yield":
                op.operands = hand_out(builder, op.operands)
            else:
                self.op(builder, op)
            block.ops.append(op)

    def op(self, builder: Builder, op: Op) -> None:
        match op.name:
            case "loop":
                op.operands = self.widened(builder, op.operands)
                self.retype(op.regions[0].args)
                self.block(op.regions[0], self.widened)
                self.retype(op.results)
                op.attrs["results"] = tuple(v.type for v in op.results)
            case "if":
                for region in op.regions:
                    self.block(region, self.widened)
                self.retype(op.results)
                op.attrs["results"] = tuple(v.type for v in op.results)
            case "function":
                self.retype(op.regions[0].args)
                self.block(op.regions[0], self.widened)
                op.attrs["types"] = tuple(
                    type.with_dtype("f32") if _half(type) else type for type in op.attrs["types"]
                )
            case "call":
                op.operands = self.widened(builder, op.operands)
                self.retype(op.results)
                op.attrs["results"] = tuple(v.type for v in op.results)
            case _ if op.regions or op.defn.effect != "pure":
                op.operands = self.narrowed(builder, op.operands)
            case "iota" if _half(op.result.type):
                op.attrs["type"] = op.result.tensor.with_dtype("f32")
                self.retype(op.results)
            case "cast" if op.attrs["dtype"] == "f16" and not _half(op.operands[0].type):
                op.attrs["dtype"] = "f32"
                self.retype(op.results)
            case name if name not in _SOURCES:
                self.computed(builder, op)

    def computed(self, builder: Builder, op: Op) -> None:
        """A pure operation: in float32 when it reads what is wide, or makes new float16 numbers."""
        makes = any(_half(v.type) for v in op.results) and not self._moves(op)
        if not makes and self.wide.isdisjoint(op.operands):
            return
        given = op.operands
        match op.name, [_half(v.type) for v in given]:
            case "contract" | "convolve" | "convolve_each", [True, True]:
                op.operands = [*self.widened(builder, given[:1]), given[1]]
            case "contract" | "convolve" | "convolve_each", _:
                pass  # one float32 operand makes it float32, and packed weights stay packed
            case _:
                op.operands = self.widened(builder, given)
        assert op.defn.type is not None
        try:
            types = op.defn.type(*(v.type for v in op.operands), **op.attrs)
        except TypeRuleError:  # it is defined for float16 alone
            op.operands = self.narrowed(builder, given)
            return
        for value, type in zip(op.results, types, strict=True):
            if value.type != type:
                value.type = type
                self.wide.add(value)

    def _moves(self, op: Op) -> bool:
        return op.defn.view or op.name in _MOVES

    # ---- values ---------------------------------------------------------------------------------

    def retype(self, values: list[Value]) -> None:
        for value in values:
            if _half(value.type):
                value.type = value.tensor.with_dtype("f32")
                self.wide.add(value)

    def widened(self, builder: Builder, values: list[Value]) -> list[Value]:
        """The values with float16 converted to float32."""
        return [builder.f32(v) if _half(v.type) else v for v in values]

    def narrowed(self, builder: Builder, values: list[Value]) -> list[Value]:
        """The values with the types that the program gave them."""
        return [builder.cast(v, "f16") if v in self.wide else v for v in values]
