"""MIL's operations on shapes: views, slices, joins, padding, and shapes as values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlc.ir.core import Value
from tlc.ir.coreml.mil import Known, Lowered, Maker, Refusal, axis_of, mil, unsupported
from tlc.ir.dims import Dim, product
from tlc.ir.types import TensorType, row_major

MOST_JOINED = 16  # operands of one `concat`; a kernel has 31 buffers

# ---- shapes as values ----------------------------------------------------------------------------


@mil("shape", "x: any")
def _shape(m: Maker, x: Lowered) -> Known:
    """The sizes of x, known even where only run time knows their numbers."""
    sizes = x.tensor.shape if isinstance(x, Value) else tuple(map(Dim.of, np.shape(x)))
    out = np.empty(len(sizes), object)
    out[:] = [int(d) if d.is_static else d for d in sizes]
    return out


@mil("fill", "shape: dims, value: any = none")
def _fill(m: Maker, shape: list[Dim], value: Lowered) -> Value:
    number = m.tensor(np.float32(0.0) if value is None else value)
    return m.b.broadcast(m.b.reshape(number, ()), shape)


@mil("fill_like", "ref_tensor, value: any = none")
def _fill_like(m: Maker, ref_tensor: Value, value: Lowered) -> Value:
    found: Value = _fill(m, list(ref_tensor.tensor.shape), value)
    return found


@mil("range_1d", "start: any, end: any, step: any")
def _range(m: Maker, start: Lowered, end: Lowered, step: Lowered) -> Lowered:
    first, last, by = (_one(v) for v in (start, end, step))
    if all(isinstance(v, int | float) for v in (first, last, by)):
        dtype = np.int32 if all(isinstance(v, int) for v in (first, last, by)) else np.float32
        return np.arange(first, last, by, dtype=dtype)
    if any(isinstance(v, float) for v in (first, last, by)) or by != 1:
        raise unsupported("a range whose length only run time knows, in steps other than 1")
    line = TensorType("i32", (Dim.of(last) - Dim.of(first),))
    counted = m.b.emit("iota", type=line, axis=0)
    return m.binary("add", counted, m.tensor(np.asarray(first, object)))


def _one(value: Lowered) -> Any:
    """A single known number or size."""
    if isinstance(value, Value) or np.size(value) != 1:
        raise unsupported("a range whose ends are computed at run time")
    item = np.asarray(value).reshape(-1)[0]
    item = item.item() if isinstance(item, np.generic) else item
    return int(item) if isinstance(item, Dim) and item.is_static else item


# ---- views ---------------------------------------------------------------------------------------


def _known_reshape(x: Known, shape: list[Dim]) -> Known:
    sizes = [int(d) for d in shape]
    return x.reshape([n or x.shape[a] for a, n in enumerate(sizes)])


@mil("reshape", "x, shape: dims", _known_reshape)
def _reshape(m: Maker, x: Value, shape: list[Dim]) -> Value:
    """0 keeps the dimension, -1 is what is left."""
    old, zero, rest = x.tensor.shape, Dim.of(0), Dim.of(-1)
    sizes = [old[a] if d == zero and a < len(old) else d for a, d in enumerate(shape)]
    if sizes.count(rest) > 1:
        raise Refusal("E0601", "a shape with more than one -1")
    if rest in sizes:
        at = sizes.index(rest)
        others = product(d for a, d in enumerate(sizes) if a != at)
        if others == zero:
            raise Refusal("E0601", "-1 beside a dimension of 0")
        sizes[at] = x.tensor.numel // others
    return m.b.reshape(x, sizes)


def _known_expand(x: Known, axes: Sequence[int]) -> Known:
    return np.expand_dims(x, tuple(axes))


@mil("expand_dims", "x, axes: ints", _known_expand)
def _expand_dims(m: Maker, x: Value, axes: Sequence[int]) -> Value:
    rank = x.tensor.rank + len(axes)
    new = {axis_of(a, rank) for a in axes}
    old = iter(x.tensor.shape)
    return m.b.reshape(x, [Dim.of(1) if a in new else next(old) for a in range(rank)])


def _known_squeeze(x: Known, axes: Sequence[int] | None = None) -> Known:
    return np.squeeze(x, None if axes is None else tuple(axes))


@mil("squeeze", "x, axes: ints = none", _known_squeeze)
def _squeeze(m: Maker, x: Value, axes: Sequence[int] | None) -> Value:
    shape, one = x.tensor.shape, Dim.of(1)
    gone = {a for a, d in enumerate(shape) if d == one}
    if axes is not None:
        gone = {axis_of(a, len(shape)) for a in axes}
        for axis in gone:
            m.b.check(shape[axis], one, "an axis that the model drops has size 1")
    return m.b.reshape(x, [d for a, d in enumerate(shape) if a not in gone])


@mil("transpose", "x, perm: ints")
def _transpose(m: Maker, x: Value, perm: Sequence[int]) -> Value:
    return m.b.emit("permute", x, axes=tuple(axis_of(a, x.tensor.rank) for a in perm))


@mil("flatten2d", "x, axis: int = 1")
def _flatten2d(m: Maker, x: Value, axis: int) -> Value:
    shape = x.tensor.shape
    at = axis if axis == len(shape) else axis_of(axis, len(shape))
    return m.b.reshape(x, (product(shape[:at]), product(shape[at:])))


@mil("reverse", "x, axes: ints = none")
def _reverse(m: Maker, x: Value, axes: Sequence[int] | None) -> Value:
    shape = x.tensor.shape
    over = range(len(shape)) if axes is None else [axis_of(a, len(shape)) for a in axes]
    for axis in over:
        x = _strided(m, x, axis, shape[axis] - 1, shape[axis], -1)
    return x


def _strided(m: Maker, x: Value, axis: int, start: Dim, count: Dim, step: int) -> Value:
    """`count` elements along an axis, `step` apart; backwards when it is negative."""
    if step == 1:
        return m.b.emit("slice", x, axis=axis, start=start, length=count)
    shape, strides = list(x.tensor.shape), list(row_major(x.tensor.shape))
    if step < 0 or not (start.is_static and count.is_static):
        # every index by name: an access goes forwards only
        line = m.b.emit("iota", type=TensorType("i32", (count,)), axis=0)
        at = m.binary("mul", line, m.tensor(np.int32(step)))
        at = m.binary("add", at, m.tensor(_boxed(start)))
        return m.b.emit("index_select", x, at, dim=axis)
    offset = start * strides[axis]
    shape[axis], strides[axis] = count, strides[axis] * step
    return m.b.emit("access", x, shape=tuple(shape), strides=tuple(strides), offset=offset)


def _boxed(dim: Dim) -> Known:
    out = np.empty((), object)
    out[()] = int(dim) if dim.is_static else dim
    return out


# ---- slices --------------------------------------------------------------------------------------

_SLICE = (
    "x, begin: dims, end: dims, stride: ints = none, begin_mask: bools = none,"
    " end_mask: bools = none, squeeze_mask: bools = none"
)


def _known_slice(
    x: Known,
    begin: list[Dim],
    end: list[Dim],
    stride: list[int] | None = None,
    begin_mask: list[bool] | None = None,
    end_mask: list[bool] | None = None,
    squeeze_mask: list[bool] | None = None,
) -> Known:
    none = [False] * x.ndim
    first, last, drop = (mask or none for mask in (begin_mask, end_mask, squeeze_mask))
    where: list[Any] = []
    for a in range(x.ndim):
        if drop[a]:
            where.append(int(begin[a]))
        else:
            low = None if first[a] else int(begin[a])
            high = None if last[a] else int(end[a])
            where.append(slice(low, high, (stride or [1] * x.ndim)[a]))
    return np.asarray(x[tuple(where)])


@mil("slice_by_index", _SLICE, _known_slice)
def _slice_by_index(
    m: Maker,
    x: Value,
    begin: list[Dim],
    end: list[Dim],
    stride: list[int] | None,
    begin_mask: list[bool] | None,
    end_mask: list[bool] | None,
    squeeze_mask: list[bool] | None,
) -> Value:
    """NumPy's x[begin:end:stride]; a mask stands for an end that is left out."""
    shape = x.tensor.shape
    rank, none = len(shape), [False] * len(shape)
    first, last, drop = (mask or none for mask in (begin_mask, end_mask, squeeze_mask))
    if not rank == len(begin) == len(end) == len(first) == len(last) == len(drop):
        raise Refusal("E0601", f"a slice of {len(begin)} axes of {x.type}")
    out = x
    for axis, size in enumerate(shape):
        step = (stride or [1] * rank)[axis]
        if drop[axis]:
            low, high, step = *_ends(begin[axis], begin[axis] + 1, size, drop=True), 1
        elif step < 0:
            low = size - 1 if first[axis] else _within(begin[axis], size)
            high = Dim.of(-1) if last[axis] else _within(end[axis], size)
        else:
            low = Dim.of(0) if first[axis] else _within(begin[axis], size)
            high = size if last[axis] else _within(end[axis], size)
        if (low, high, step) == (Dim.of(0), size, 1):
            continue
        gap = high - low if step > 0 else low - high
        out = _strided(m, out, axis, low, _ceil_div(gap, abs(step)), step)
    return m.b.reshape(out, [d for a, d in enumerate(out.tensor.shape) if not drop[a]])


def _ends(low: Dim, high: Dim, size: Dim, drop: bool) -> tuple[Dim, Dim]:
    """One index as a range; a negative one counts from the end."""
    if low.is_static and int(low) < 0:
        return size + low, size + high
    return low, high


def _within(at: Dim, size: Dim) -> Dim:
    """An end of a slice, from the front and not beyond the axis, where that is known."""
    if at.is_static and int(at) < 0:
        at = size + at
    if at.is_static and size.is_static:
        return Dim.of(min(max(int(at), 0), int(size)))
    if at.is_static and int(at) >= 2**31 - 1:
        return size
    return at


def _ceil_div(gap: Dim, step: int) -> Dim:
    if gap.is_static:
        return Dim.of(max(0, -(-int(gap) // step)))
    return gap if step == 1 else (gap + (step - 1)) // step


@mil("slice_by_size", "x, begin: dims, size: dims")
def _slice_by_size(m: Maker, x: Value, begin: list[Dim], size: list[Dim]) -> Value:
    """-1 is all that is left of an axis."""
    for axis, (low, length, whole) in enumerate(zip(begin, size, x.tensor.shape, strict=True)):
        count = whole - low if length == Dim.of(-1) else length
        if (low, count) != (Dim.of(0), whole):
            x = m.b.emit("slice", x, axis=axis, start=low, length=count)
    return x


@mil(
    "split",
    "x, axis: int, num_splits: int = none, split_sizes: dims = none",
)
def _split(
    m: Maker, x: Value, axis: int, num_splits: int | None, split_sizes: list[Dim] | None
) -> tuple[Value, ...]:
    at = axis_of(axis, x.tensor.rank)
    size = x.tensor.shape[at]
    sizes = split_sizes or [size // (num_splits or 1)] * (num_splits or 1)
    out: list[Value] = []
    start = Dim.of(0)
    for length in sizes:
        out.append(m.b.emit("slice", x, axis=at, start=start, length=length))
        start += length
    m.b.check(start, size, "the pieces of a split cover its axis")
    return tuple(out)


# ---- joins ---------------------------------------------------------------------------------------


def _known_concat(values: list[Known], axis: int, interleave: bool = False) -> Known:
    kinds = {v.dtype.kind for v in values}
    return np.concatenate([v.astype(object) if "O" in kinds else v for v in values], axis)


@mil("concat", "values: tensors, axis: int, interleave: bool = false", _known_concat)
def _concat(m: Maker, values: list[Value], axis: int, interleave: bool) -> Value:
    if not interleave:
        return joined(m, values, axis)
    at = axis_of(axis, values[0].tensor.rank)
    stacked = _stack(m, values, at + 1)
    shape = stacked.tensor.shape
    return m.b.reshape(stacked, (*shape[:at], shape[at] * shape[at + 1], *shape[at + 2 :]))


def _known_stack(values: list[Known], axis: int) -> Known:
    return np.stack([v.astype(object) for v in values], axis)


@mil("stack", "values: tensors, axis: int", _known_stack)
def _stack(m: Maker, values: list[Value], axis: int) -> Value:
    at = axis_of(axis, values[0].tensor.rank + 1)
    parts = []
    for v in values:
        shape = list(v.tensor.shape)
        shape.insert(at, Dim.of(1))
        parts.append(m.b.reshape(v, shape))
    return joined(m, parts, at)


def joined(m: Maker, parts: Sequence[Value], axis: int) -> Value:
    """Tensors one behind the other, as many at a time as a kernel reads."""
    while len(parts) > 1:
        groups = [parts[at : at + MOST_JOINED] for at in range(0, len(parts), MOST_JOINED)]
        parts = [g[0] if len(g) == 1 else m.b.emit("concat", *g, axis=axis) for g in groups]
    return parts[0]


@mil("tile", "x, reps: dims")
def _tile(m: Maker, x: Value, reps: list[Dim]) -> Value:
    """x so many times along every axis."""
    wide: list[Dim] = []
    shown: list[Dim] = []
    for size, times in zip(x.tensor.shape, reps, strict=True):
        wide += [Dim.of(1), size]
        shown += [times, size]
    spread = m.b.broadcast(m.b.reshape(x, wide), shown)
    shape = [size * times for size, times in zip(x.tensor.shape, reps, strict=True)]
    return m.b.reshape(spread, shape)


@mil("pad", "x, pad: ints, mode: str = constant, constant_val: any = none")
def _pad(m: Maker, x: Value, pad: Sequence[int], mode: str, constant_val: Lowered) -> Value:
    """Pairs of widths before and behind, for the last axes."""
    if len(pad) % 2 or len(pad) > 2 * x.tensor.rank:
        raise Refusal("E0601", f"{len(pad)} widths of padding for {x.type}")
    first = x.tensor.rank - len(pad) // 2
    number = 0.0 if constant_val is None else float(np.asarray(constant_val).reshape(-1)[0])
    for at in range(len(pad) // 2):
        x = padded(m, x, first + at, pad[2 * at], pad[2 * at + 1], mode, number)
    return x


def padded(
    m: Maker, x: Value, axis: int, before: int, behind: int, mode: str, number: float
) -> Value:
    """x with elements added at both ends of an axis: a number, mirrored, or the outermost."""
    shape = x.tensor.shape
    if min(before, behind) < 0:
        raise unsupported("padding of less than nothing")
    if mode == "constant":
        edge = m.b.constant(number, TensorType(x.tensor.dtype, ()))
        ends = [m.b.broadcast(edge, (*shape[:axis], width, *shape[axis + 1 :])) if width else None
                for width in (before, behind)]  # fmt: skip
        parts = [v for v in (ends[0], x, ends[1]) if v is not None]
    else:
        size = shape[axis]
        if mode == "reflect":
            places = [[Dim.of(i) for i in range(before, 0, -1)],
                      [size - 2 - i for i in range(behind)]]  # fmt: skip
        elif mode == "replicate":
            places = [[Dim.of(0)] * before, [size - 1] * behind]
        else:
            raise unsupported(f"the mode {mode} of `pad`")
        one = Dim.of(1)
        left, right = (
            [m.b.emit("slice", x, axis=axis, start=at, length=one) for at in side]
            for side in places
        )
        parts = [*left, x, *right]
    return joined(m, parts, axis)
