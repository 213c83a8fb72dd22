"""MIL's operations that look elements up: gather, one-hot, sorting, running sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlc.ir.core import Value
from tlc.ir.coreml.mil import Known, Lowered, Maker, axis_of, mil, unsupported
from tlc.ir.dims import Dim
from tlc.ir.types import FLOATS, TensorType

_GATHER = "x, indices, axis: int = 0, batch_dims: int = 0, validate_indices: bool = false"


def _known_gather(x: Known, indices: Known, axis: int = 0, **rest: Any) -> Known:
    return np.asarray(np.take(x, indices.astype(np.int64), axis))


@mil("gather", _GATHER, _known_gather)
def _gather(
    m: Maker, x: Value, indices: Value, axis: int, batch_dims: int, validate_indices: bool
) -> Value:
    """The slices of x along an axis that the indices name; negative ones count from the end."""
    if batch_dims:
        raise unsupported("`gather` with batch dimensions")
    at, shape = axis_of(axis, x.tensor.rank), indices.tensor.shape
    dtype = x.tensor.dtype
    table = x if dtype in FLOATS else m.b.f32(x)
    ids = m.b.cast(indices, "i32")
    if at == 0:
        return m.b.cast(m.b.emit("gather", table, ids), dtype)
    line = m.b.reshape(ids, (ids.tensor.numel,))
    rows = m.b.emit("index_select", table, line, dim=at)
    sizes = rows.tensor.shape
    return m.b.cast(m.b.reshape(rows, (*sizes[:at], *shape, *sizes[at + 1 :])), dtype)


@mil("gather_along_axis", "x, indices, axis: int = 0, validate_indices: bool = false")
def _gather_along_axis(
    m: Maker, x: Value, indices: Value, axis: int, validate_indices: bool
) -> Value:
    """Element by element: out[i, j, ...] = x[.., indices[i, j, ...], ..]."""
    rank, dtype = x.tensor.rank, x.tensor.dtype
    at = axis_of(axis, rank)
    order = (*(a for a in range(rank) if a != at), at)
    lines, wanted = (m.b.emit("permute", v, axes=order) for v in (x, indices))
    width = lines.tensor.shape[-1]
    wide = m.b.f32(m.b.cast(wanted, "i32"))
    below = m.b.emit("lt", wide, m.b.scalar(0.0, wide))
    wide = m.b.emit("where", below, m.b.emit("add", wide, m.b.scalar(width, wide)), wide)
    # every line has its elements behind those of the lines before it
    start = m.b.constant(0.0, TensorType("f32", wanted.tensor.shape))
    step = width
    for a in range(rank - 2, -1, -1):
        place = m.b.emit("iota", type=TensorType("f32", wanted.tensor.shape), axis=a)
        start = m.b.emit("add", start, m.b.emit("mul", place, m.b.scalar(step, place)))
        step = step * lines.tensor.shape[a]
    ids = m.b.cast(m.b.emit("add", wide, start), "i32")
    table = m.b.reshape(lines if dtype in FLOATS else m.b.f32(lines), (x.tensor.numel,))
    found = m.b.emit("gather", table, ids)
    back = tuple(order.index(a) for a in range(rank))
    return m.b.cast(m.b.emit("permute", found, axes=back), dtype)


@mil(
    "one_hot",
    "indices, one_hot_vector_size: dims, axis: int = -1, on_value: any = none,"
    " off_value: any = none",
)
def _one_hot(
    m: Maker,
    indices: Value,
    one_hot_vector_size: list[Dim],
    axis: int,
    on_value: Lowered,
    off_value: Lowered,
) -> Value:
    (size,) = one_hot_vector_size
    rank = indices.tensor.rank + 1
    shape = list(indices.tensor.shape)
    at = axis_of(axis, rank)
    spread = m.b.reshape(indices, (*shape[:at], 1, *shape[at:]))
    spread = m.b.broadcast(m.b.cast(spread, "i32"), (*shape[:at], size, *shape[at:]))
    place = m.b.emit("iota", type=spread.tensor, axis=at)
    hit = m.b.emit("eq", spread, place)
    on, off = (
        np.float32(default) if given is None else given
        for given, default in ((on_value, 1), (off_value, 0))
    )
    dtype = np.asarray(on).dtype
    a, b = (m.tensor(np.float32(np.asarray(v).reshape(()))) for v in (on, off))
    found = m.b.emit("where", hit, *(m.b.broadcast(v, spread.tensor.shape) for v in (a, b)))
    return m.b.cast(found, "i32" if dtype.kind in "iu" else "f32")


@mil("cumsum", "x, axis: int = 0, exclusive: bool = false, reverse: bool = false")
def _cumsum(m: Maker, x: Value, axis: int, exclusive: bool, reverse: bool) -> Value:
    """Sums up to each element; exclusive ones leave it out, reverse ones come from the end."""
    at, dtype, v = axis_of(axis, x.tensor.rank), x.tensor.dtype, m.b.f32(x)
    total = m.b.emit("cumsum", v, dim=at)
    if reverse:
        whole = m.b.emit("reduce_sum", v, axis=at)
        total = m.b.binary("sub", whole, total)  # what comes behind each element
        if not exclusive:
            total = m.b.emit("add", total, v)
    elif exclusive:
        total = m.b.emit("sub", total, v)
    return m.b.cast(total, dtype)


@mil("argsort", "x, axis: int = -1, ascending: bool = false")
def _argsort(m: Maker, x: Value, axis: int, ascending: bool) -> Value:
    return m.b.emit("argsort", x, dim=axis, descending=not ascending)


_TOP = (
    "x, k: int = 1, axis: int = -1, ascending: bool = false, sort: bool = true,"
    " return_indices: bool = true, output_indices_dtype: str = none"
)


@mil("topk", _TOP)
def _topk(
    m: Maker,
    x: Value,
    k: int,
    axis: int,
    ascending: bool,
    sort: bool,
    return_indices: bool,
    output_indices_dtype: str | None,
) -> Lowered:
    """The k largest (or smallest) along an axis, in order, and where they are."""
    at = axis_of(axis, x.tensor.rank)
    size = x.tensor.shape[at]
    count = size if k == -1 else Dim.of(k)

    def first(v: Value) -> Value:
        return m.b.emit("slice", v, axis=at, start=Dim.of(0), length=count)

    values = first(m.b.emit("sort", x, dim=at, descending=not ascending))
    if not return_indices:
        return values
    return values, first(m.b.emit("argsort", x, dim=at, descending=not ascending))
