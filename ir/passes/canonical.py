"""Brings operations to one form: chains of views become one, arithmetic of constants is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tlc.ir.builder import Builder
from tlc.ir.core import Block, Func, Op, Value
from tlc.ir.dims import Dim, product
from tlc.ir.passes.views import ONE
from tlc.ir.types import DTYPES, FLOATS, TensorType

MOST_STEPS = 8  # of a number that every kernel computes for itself

Rule = Callable[[Builder, Op], Value | None]


def canonical(func: Func) -> None:
    """Rewrite every block with the rules below until none applies."""
    _block(func.body)


def _block(block: Block) -> None:
    replaced: dict[Value, Value] = {}
    ops, block.ops = block.ops, []
    builder = Builder(block)
    for op in ops:
        op.operands = [replaced.get(v, v) for v in op.operands]
        for region in op.regions:
            _replace_inside(region, replaced)
            _block(region)
        value = _rewrite(builder, op) if len(op.results) == 1 else None
        if value is None:
            block.ops.append(op)
        else:
            replaced[op.result] = value


def _replace_inside(block: Block, replaced: dict[Value, Value]) -> None:
    for op in block.ops:
        op.operands = [replaced.get(v, v) for v in op.operands]
        for region in op.regions:
            _replace_inside(region, replaced)


def _rewrite(builder: Builder, op: Op) -> Value | None:
    """The value that stands for an operation, itself in canonical form; None to keep it."""
    builder.span = op.span
    for rule in RULES.get(op.name, ()):
        at = len(builder.block.ops)
        value = rule(builder, op)
        if value is not None:
            return _again(builder, value, at)
    if op.defn.elementwise:
        at = len(builder.block.ops)
        value = _fold(builder, op)
        return value if value is None else _again(builder, value, at)
    return None


def _again(builder: Builder, value: Value, start: int) -> Value:
    """Bring the operations that a rule made to canonical form too."""
    made, builder.block.ops[start:] = builder.block.ops[start:], []
    replaced: dict[Value, Value] = {}
    for op in made:
        op.operands = [replaced.get(v, v) for v in op.operands]
        better = _rewrite(builder, op)
        if better is None:
            builder.block.ops.append(op)
        else:
            replaced[op.result] = better
    return replaced.get(value, value)


def _source(value: Value, name: str) -> Op | None:
    """The operation that made a value, when it has this name."""
    owner = value.owner
    return owner if owner is not None and owner.name == name else None


def widens(cast: Op) -> bool:
    """Whether a conversion makes elements larger: cheaper to do again than to store."""
    return DTYPES[cast.operands[0].tensor.dtype] < DTYPES[cast.result.tensor.dtype]


# ---- views ---------------------------------------------------------------------------------------


def _no_change(builder: Builder, op: Op) -> Value | None:
    """A view that shows its operand as it is."""
    (x,) = op.operands
    if x.type != op.result.type:
        return None
    if op.name == "permute" and op.attrs["axes"] != tuple(range(x.tensor.rank)):
        return None
    return x


def _permute_twice(builder: Builder, op: Op) -> Value | None:
    inner = _source(op.operands[0], "permute")
    if inner is None:
        return None
    axes = tuple(inner.attrs["axes"][a] for a in op.attrs["axes"])
    return builder.emit("permute", inner.operands[0], axes=axes)


def _in_order(builder: Builder, op: Op) -> Value | None:
    """A permutation that moves nothing but axes of size 1 leaves all elements where they are."""
    shape = op.operands[0].tensor.shape
    moved = [axis for axis in op.attrs["axes"] if shape[axis] != ONE]
    if moved != sorted(moved):
        return None
    return builder.emit("reshape", op.operands[0], shape=op.result.tensor.shape)


def _twice(builder: Builder, op: Op) -> Value | None:
    """Reshape of a reshape, broadcast of a broadcast."""
    inner = _source(op.operands[0], op.name)
    return None if inner is None else builder.emit(op.name, inner.operands[0], **op.attrs)


def _before_cast(builder: Builder, op: Op) -> Value | None:
    """A view of numbers made wider is the wider view: what is stored, and seen, stays narrow."""
    inner = _source(op.operands[0], "cast")
    if inner is None or not widens(inner):
        return None
    seen = builder.emit(op.name, inner.operands[0], **op.attrs)
    return builder.emit("cast", seen, dtype=inner.attrs["dtype"])


def _of_counter(builder: Builder, op: Op) -> Value | None:
    """A view of a counter that counts along an axis of its own is a counter."""
    inner = _source(op.operands[0], "iota")
    if inner is None:
        return None
    counted, type = inner.result.tensor, op.result.tensor
    axis: int | None = inner.attrs["axis"]
    assert axis is not None
    match op.name:
        case "reshape":
            axis = counting_axis(counted, axis, type.shape)
        case "broadcast":
            size, axis = counted.shape[axis], axis + type.rank - counted.rank
            axis = axis if type.shape[axis] == size else None
        case "permute":
            axis = [a % type.rank for a in op.attrs["axes"]].index(axis)
    return None if axis is None else builder.emit("iota", type=type, axis=axis)


def counting_axis(type: TensorType, axis: int, shape: Sequence[Dim]) -> int | None:
    """The axis of a reshaped counter that still counts what `axis` did, if one does."""
    behind = product(type.shape[axis + 1 :])
    for at, size in enumerate(shape):
        if size == type.shape[axis] and product(shape[at + 1 :]) == behind:
            return at
    return None


def _surrounded(builder: Builder, op: Op) -> Value | None:
    """Windows on an image with zeros along its edges are windows that reach beyond the edges."""
    joined = _source(op.operands[0], "concat")
    if joined is None or joined.attrs["axis"] < 2 or op.attrs.get("largest"):
        return None
    parts, axis = joined.operands, joined.attrs["axis"]
    images = [at for at, part in enumerate(parts) if splat(part) != 0]
    sizes = [part.tensor.shape[axis] for part in parts]
    if len(images) != 1:
        return None
    (at,) = images
    if not all(size.is_static for size in (*sizes[:at], *sizes[at + 1 :])):
        return None
    before, behind = sum(map(int, sizes[:at])), sum(map(int, sizes[at + 1 :]))
    padding, more = list(op.attrs["padding"]), list(op.attrs["more"])
    padding[axis - 2] += before
    more[axis - 2] += behind - before
    attrs = {**op.attrs, "padding": tuple(padding), "more": tuple(more)}
    return builder.emit(op.name, parts[at], *op.operands[1:], **attrs)


# ---- arithmetic ----------------------------------------------------------------------------------


def splat(value: Value) -> float | Dim | None:
    """The one number that all elements of a value are, when that is known."""
    while value.owner is not None and value.owner.name in ("broadcast", "reshape"):
        value = value.owner.operands[0]
    constant = _source(value, "constant")
    if constant is None:
        return None
    number = constant.attrs["value"]
    if isinstance(number, tuple):
        return number[0] if len(number) == 1 else None
    return number if isinstance(number, int | float | Dim) else None


def is_counted(op: Op, most: int = 3) -> bool:
    """Whether an operation computes, in a few steps, from counters and known numbers alone."""
    if op.name == "iota":
        return True
    costly = op.defn.msl is None or "precise::" in op.defn.msl
    if not op.defn.elementwise or costly or not op.operands or not most:
        return False
    owners = [v.owner for v in op.operands if splat(v) is None]
    return all(owner is not None and is_counted(owner, most - 1) for owner in owners)


def _of_number(builder: Builder, op: Op) -> Value | None:
    """A number computed from sizes alone is computed by the kernel that repeats it."""
    inner = op.operands[0].owner
    if inner is None or not inner.defn.elementwise or not inner.operands:
        return None
    if not _is_number(op.operands[0], MOST_STEPS):
        return None
    shown = [builder.emit(op.name, v, **op.attrs) for v in inner.operands]
    return builder.emit(inner.name, *shown, **inner.attrs)


def _is_number(value: Value, depth: int) -> bool:
    """Whether a value of no axes is made of nothing but constants and sizes."""
    if splat(value) is not None:
        return True
    owner = value.owner
    if owner is None or not owner.defn.elementwise or value.tensor.rank or not depth:
        return False
    return all(_is_number(v, depth - 1) for v in owner.operands)


def _fold(builder: Builder, op: Op) -> Value | None:
    """An elementwise operation on repeated numbers is a repeated number."""
    if not op.operands:
        return None
    numbers = [splat(v) for v in op.operands]
    floats = all(v.tensor.dtype in FLOATS for v in (*op.operands, op.result))
    if not floats or not all(isinstance(n, int | float) for n in numbers):
        return None
    import numpy as np

    from tlc.ir.interp import NUMPY_DTYPES

    stored = [
        np.asarray(n).astype(NUMPY_DTYPES[v.tensor.dtype]).astype(np.float32)
        for n, v in zip(numbers, op.operands, strict=True)
    ]
    assert op.defn.eval is not None
    with np.errstate(all="ignore"):
        found = op.defn.eval(np, *stored, **op.attrs)
        exact = float(np.asarray(found).astype(NUMPY_DTYPES[op.result.tensor.dtype]))
    if not np.isfinite(exact) and np.isfinite(stored).all():
        return None  # where a NaN or infinity is made has to be found: --check-finite, --range
    scalar = builder.constant(exact, TensorType(op.result.tensor.dtype, ()))
    return builder.broadcast(scalar, op.result.tensor.shape)


def _cast_back(builder: Builder, op: Op) -> Value | None:
    """float16 to float32 and back gives the same numbers."""
    inner = _source(op.operands[0], "cast")
    if inner is None or op.operands[0].tensor.dtype != "f32":
        return None
    x = inner.operands[0]
    return x if x.type == op.result.type else None


def _same_dtype(builder: Builder, op: Op) -> Value | None:
    (x,) = op.operands
    return x if x.type == op.result.type else None


def _by_one(builder: Builder, op: Op) -> Value | None:
    left, right = op.operands
    if splat(right) == 1:
        return left
    return right if op.name == "mul" and splat(left) == 1 else None


def _square(builder: Builder, op: Op) -> Value | None:
    left, right = op.operands
    return builder.emit("mul", left, left) if splat(right) == 2 else None


def _double_negation(builder: Builder, op: Op) -> Value | None:
    inner = _source(op.operands[0], "neg")
    return None if inner is None else inner.operands[0]


RULES: dict[str, tuple[Rule, ...]] = {
    "reshape": (_no_change, _twice, _before_cast, _of_counter),
    "broadcast": (_no_change, _twice, _before_cast, _of_counter, _of_number),
    "permute": (_no_change, _permute_twice, _in_order, _before_cast, _of_counter),
    "slice": (_no_change, _before_cast),
    "convolve": (_surrounded,),
    "convolve_each": (_surrounded,),
    "pool": (_surrounded,),
    "cast": (_same_dtype, _cast_back),
    "mul": (_by_one,),
    "div": (_by_one,),
    "pow": (_square,),
    "neg": (_double_negation,),
}
