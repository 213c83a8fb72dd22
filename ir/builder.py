"""The builder appends operations to a block: type rules run here, and nothing is built untyped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tlc.frontend.diagnostics import InternalError
from tlc.frontend.source import Span
from tlc.ir.core import Block, Op, Value
from tlc.ir.dims import Dim, DimLike, product
from tlc.ir.opdef import OPS, OpDef, Side, TypeRuleError
from tlc.ir.types import TensorType, show_shape


class Builder:
    """Appends to `block`; every operation gets the current `span`.

    Compositions whose names are `kept` stay one operation, for an exporter that knows them.
    """

    def __init__(
        self, block: Block, span: Span | None = None, kept: frozenset[str] = frozenset()
    ) -> None:
        self.block, self.span, self.kept = block, span, kept

    def emit(
        self, op: OpDef | str, *operands: Value, regions: Iterable[Block] = (), **attrs: Any
    ) -> Value:
        """The result of a new operation, or of its expansion. Raises TypeRuleError."""
        made = self.append(op, *operands, regions=regions, **attrs)
        return made if isinstance(made, Value) else made.result

    def append(
        self, op: OpDef | str, *operands: Value, regions: Iterable[Block] = (), **attrs: Any
    ) -> Op | Value:
        """A new operation with any number of results (a Value when the record is a composition)."""
        defn = OPS[op] if isinstance(op, str) else op
        if defn.expand is not None:
            if defn.name in self.kept:
                return self._whole(defn, operands, attrs)
            return defn.expand(self, *operands, **attrs)
        if defn.type is None:
            raise InternalError(f"operation {defn.name} has neither a type rule nor an expansion")
        types = defn.type(*(v.type for v in operands), **attrs)
        made = Op(defn, list(operands), attrs, regions=list(regions), span=self.span)
        made.results = [Value(t, made) for t in types]
        self.block.ops.append(made)
        return made

    def _whole(self, defn: OpDef, operands: Sequence[Value], attrs: dict[str, Any]) -> Value:
        """A composition as one operation, of the type that its expansion has."""
        assert defn.expand is not None
        scratch = Builder(Block(), self.span)
        found = defn.expand(scratch, *operands, **attrs)
        self.block.ops += [op for op in scratch.block.ops if op.name == "check"]
        made = Op(defn, list(operands), attrs, span=self.span)
        made.results = [Value(found.type, made)]
        self.block.ops.append(made)
        return made.result

    # ---- what compositions are written with ---------------------------------------------------

    def constant(self, value: float | Dim | tuple[float, ...] | bytes, type: TensorType) -> Value:
        """A tensor of one repeated number (a Dim is its size), listed numbers, or stored bytes."""
        if isinstance(value, Dim) and value.is_static:
            value = int(value)
        return self.emit("constant", value=value, type=type)

    def scalar(self, value: float | Dim, like: Value) -> Value:
        """A number with the dtype and shape of a tensor."""
        number = self.constant(value, TensorType(like.tensor.dtype, ()))
        return self.broadcast(number, like.tensor.shape)

    def cast(self, value: Value, dtype: str) -> Value:
        return value if value.tensor.dtype == dtype else self.emit("cast", value, dtype=dtype)

    def f32(self, value: Value) -> Value:
        return self.cast(value, "f32")

    def broadcast(self, value: Value, shape: Sequence[DimLike]) -> Value:
        """NumPy's broadcast to a shape; the value itself when it has that shape."""
        dims = tuple(map(Dim.of, shape))
        return value if value.tensor.shape == dims else self.emit("broadcast", value, shape=dims)

    def reshape(self, value: Value, shape: Sequence[DimLike]) -> Value:
        dims = tuple(map(Dim.of, shape))
        return value if value.tensor.shape == dims else self.emit("reshape", value, shape=dims)

    def together(self, *values: Value) -> list[Value]:
        """The values broadcast to one shape and cast to one dtype, as NumPy would."""
        shape = broadcast_shape([v.tensor.shape for v in values])
        dtype = "f32" if any(v.tensor.dtype == "f32" for v in values) else values[0].tensor.dtype
        floats = all(v.tensor.dtype in ("f16", "f32") for v in values)
        return [self.broadcast(self.cast(v, dtype) if floats else v, shape) for v in values]

    def binary(self, op: str, left: Value, right: Value) -> Value:
        """An elementwise operation of two tensors, broadcast together."""
        return self.emit(op, *self.together(left, right))

    def check(self, left: Dim, right: Dim, text: str) -> None:
        """Demand at run time that two sizes are equal; nothing when they are equal already."""
        if left != right:
            self.append("check", left=left, right=right, text=text)

    def check_at_most(self, left: Dim, right: Dim, text: str) -> None:
        """Demand at run time that one size is at most another; nothing when that is certain.

        With p the terms of `right - left` that add and n those that take away, n <= p is the same
        as n // (p + 1) == 0, which a `check` can say. Raises TypeRuleError E0303 when it is
        certainly not so.
        """
        gap = right - left
        more = Dim(tuple((atoms, times) for atoms, times in gap.terms if times > 0))
        less = Dim(tuple((atoms, -times) for atoms, times in gap.terms if times < 0))
        if less == Dim.of(0):
            return
        if gap.is_static:
            raise TypeRuleError(text, "E0303", (0,))
        self.check(less // (more + 1), Dim.of(0), text)


def broadcast_shape(shapes: Sequence[tuple[Dim, ...]], behind: int = 0) -> tuple[Dim, ...]:
    """NumPy's common shape. Raises TypeRuleError naming the two operands that disagree, which have
    so many axes behind these."""
    rank = max(map(len, shapes))
    one = Dim.of(1)
    out: list[Dim] = []
    for axis in range(-rank, 0):
        size, who = one, 0
        for at, shape in enumerate(shapes):
            dim = shape[axis] if len(shape) >= -axis else one
            if dim in (one, size):
                continue
            if size != one:
                raise TypeRuleError(
                    f"shapes {show_shape(shapes[who])} and {show_shape(shape)} do not broadcast:"
                    f" {size} and {dim} differ",
                    operands=(who, at),
                    differ=(Side(who, axis - behind, size), Side(at, axis - behind, dim)),
                )
            size, who = dim, at
        out.append(size)
    return tuple(out)


def numel(shape: Sequence[DimLike]) -> Dim:
    """The number of elements of a shape."""
    return product(map(Dim.of, shape))
