"""MIL's reductions and normalisations, in float32 and rounded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from tlc.ir.core import Value
from tlc.ir.coreml.elementwise import per_channel
from tlc.ir.coreml.mil import Known, Lowered, Maker, axis_of, mil
from tlc.ir.dims import Dim, product


def _along(m: Maker, op: str, v: Value, axes: Sequence[int]) -> Value:
    """A reduction along axes, which stay with size 1. Neighbouring axes are one reduction."""
    rank, shape = v.tensor.rank, v.tensor.shape
    kept = [Dim.of(1) if a in axes else d for a, d in enumerate(shape)]
    if not axes:
        return v
    low, high = min(axes), max(axes)
    if len(axes) == high - low + 1:
        flat = m.b.reshape(v, (*shape[:low], product(shape[low : high + 1]), *shape[high + 1 :]))
        return m.b.reshape(m.b.emit(op, flat, axis=low), kept)
    front = [a for a in range(rank) if a not in axes]
    moved = m.b.emit("permute", v, axes=(*front, *sorted(axes)))
    flat = m.b.reshape(moved, (*(shape[a] for a in front), product(shape[a] for a in axes)))
    return m.b.reshape(m.b.emit(op, flat, axis=len(front)), kept)


def _axes(x: Value, axes: Sequence[int] | None) -> list[int]:
    rank = x.tensor.rank
    if axes is None:
        return list(range(rank))
    return sorted({axis_of(a, rank) for a in axes})


def dropped(m: Maker, v: Value, axes: Sequence[int], keep: bool) -> Value:
    """Without the axes that were reduced, unless they are kept."""
    shape = [d for a, d in enumerate(v.tensor.shape) if a not in axes]
    return v if keep else m.b.reshape(v, shape)


def _mean(m: Maker, v: Value, axes: Sequence[int]) -> Value:
    total = _along(m, "reduce_sum", v, axes)
    return m.b.emit("div", total, m.b.scalar(product(v.tensor.shape[a] for a in axes), total))


def _total(m: Maker, v: Value, axes: Sequence[int]) -> Value:
    return _along(m, "reduce_sum", v, axes)


def _squares(m: Maker, v: Value, axes: Sequence[int]) -> Value:
    return _total(m, m.b.emit("mul", v, v), axes)


def _log_sum_exp(m: Maker, v: Value, axes: Sequence[int]) -> Value:
    largest = _along(m, "reduce_max", v, axes)
    powers = m.b.emit("exp", m.b.binary("sub", v, largest))
    return m.b.emit("add", m.b.emit("log", _total(m, powers, axes)), largest)


def _reduction(
    name: str, compute: Callable[[Maker, Value, Sequence[int]], Value], known: Any = None
) -> None:
    def build(
        m: Maker, x: Value, axes: Sequence[int] | None, keep_dims: bool, epsilon: float | None
    ) -> Value:
        over, dtype = _axes(x, axes), x.tensor.dtype
        found = m.b.cast(compute(m, m.b.f32(x), over), dtype)
        return dropped(m, found, over, keep_dims)

    params = "x, axes: ints = none, keep_dims: bool = false, epsilon: float = none"
    mil(name, params, known)(build)


def _known_product(x: Known, axes: Any = None, keep_dims: bool = False) -> Known:
    numbers = x.astype(object)
    over = None if axes is None else tuple(int(a) for a in axes)
    return np.asarray(np.prod(numbers, axis=over, keepdims=keep_dims))


_reduction("reduce_sum", _total)
_reduction("reduce_mean", _mean)
_reduction("reduce_max", lambda m, v, axes: _along(m, "reduce_max", v, axes))
_reduction("reduce_min", lambda m, v, axes: _along(m, "reduce_min", v, axes))
_reduction("reduce_l1_norm", lambda m, v, axes: _total(m, m.b.emit("abs", v), axes))
_reduction("reduce_l2_norm", lambda m, v, axes: m.b.emit("sqrt", _squares(m, v, axes)))
_reduction("reduce_sum_square", _squares)
_reduction("reduce_log_sum", lambda m, v, axes: m.b.emit("log", _total(m, v, axes)))
_reduction("reduce_log_sum_exp", _log_sum_exp)


@mil("reduce_prod", "x, axes: ints = none, keep_dims: bool = false", _known_product)
def _product(m: Maker, x: Value, axes: Sequence[int] | None, keep_dims: bool) -> Value:
    """A product of slices: for the few elements of a shape."""
    over, dtype, v = _axes(x, axes), x.tensor.dtype, m.b.f32(x)
    for axis in over:
        size = int(v.tensor.shape[axis])
        parts = [m.b.emit("slice", v, axis=axis, start=Dim.of(i), length=Dim.of(1))
                 for i in range(size)]  # fmt: skip
        v = reduce(lambda a, b: m.b.emit("mul", a, b), parts)
    return dropped(m, m.b.cast(v, dtype), over, keep_dims)


for _name in ("argmax", "argmin"):

    @mil(f"reduce_{_name}", "x, axis: int = -1, keep_dims: bool = false, output_dtype: str = none")
    def _index(
        m: Maker, x: Value, axis: int, keep_dims: bool, output_dtype: str | None, _op: str = _name
    ) -> Value:
        at = axis_of(axis, x.tensor.rank)
        return dropped(m, m.b.emit(f"reduce_{_op}", x, axis=at), [at], keep_dims)


# ---- normalisations ------------------------------------------------------------------------------


def _normal(m: Maker, v: Value, axes: Sequence[int], epsilon: float) -> Value:
    """Mean 0 and variance 1 along axes."""
    centred = m.b.binary("sub", v, _mean(m, v, axes))
    spread = _mean(m, m.b.emit("mul", centred, centred), axes)
    return m.b.binary("mul", centred, m.b.emit("rsqrt", m.number("add", spread, epsilon)))


@mil(
    "layer_norm",
    "x, axes: ints = none, gamma: any = none, beta: any = none, epsilon: float = 1e-5",
)
def _layer_norm(
    m: Maker,
    x: Value,
    axes: Sequence[int] | None,
    gamma: Lowered,
    beta: Lowered,
    epsilon: float,
) -> Value:
    """gamma and beta have the shape of the axes that are normalised."""
    over, v = _axes(x, axes), m.b.f32(x)
    found = _normal(m, v, over, epsilon)
    shape = [d if a in over else Dim.of(1) for a, d in enumerate(x.tensor.shape)]
    for op, weights in (("mul", gamma), ("add", beta)):
        if weights is not None:
            found = m.b.binary(op, found, m.b.reshape(m.b.f32(m.tensor(weights)), shape))
    return m.b.cast(found, x.tensor.dtype)


def scaled(m: Maker, v: Value, x: Value, gamma: Lowered, beta: Lowered, axis: int) -> Value:
    """v * gamma + beta with a number for each channel, rounded to the dtype of x."""
    for op, weights in (("mul", gamma), ("add", beta)):
        if weights is not None:
            numbers = per_channel(m, m.b.f32(m.tensor(weights)), x, axis)
            v = m.b.binary(op, v, numbers)
    return m.b.cast(v, x.tensor.dtype)


@mil(
    "batch_norm",
    "x, mean, variance, gamma: any = none, beta: any = none, epsilon: float = 1e-5",
)
def _batch_norm(
    m: Maker,
    x: Value,
    mean: Value,
    variance: Value,
    gamma: Lowered,
    beta: Lowered,
    epsilon: float,
) -> Value:
    return batch_norm(m, x, mean, variance, gamma, beta, epsilon, 1)


def batch_norm(
    m: Maker,
    x: Value,
    mean: Value,
    variance: Value,
    gamma: Lowered,
    beta: Lowered,
    epsilon: float,
    axis: int,
) -> Value:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta for each index of an axis."""
    centre, spread = (m.b.f32(per_channel(m, w, x, axis)) for w in (mean, variance))
    factor = m.b.emit("rsqrt", m.number("add", spread, epsilon))
    v = m.b.binary("mul", m.b.binary("sub", m.b.f32(x), centre), factor)
    return scaled(m, v, x, gamma, beta, axis)


@mil("instance_norm", "x, gamma: any = none, beta: any = none, epsilon: float = 1e-5")
def _instance_norm(m: Maker, x: Value, gamma: Lowered, beta: Lowered, epsilon: float) -> Value:
    """Every channel of every image by itself."""
    v = _normal(m, m.b.f32(x), range(2, x.tensor.rank), epsilon)
    return scaled(m, v, x, gamma, beta, 1)


@mil("l2_norm", "x, epsilon: float = 1e-6")
def _l2_norm(m: Maker, x: Value, epsilon: float) -> Value:
    """x over the root of the sum of its squares, plus epsilon, along the last three axes."""
    axes = range(max(x.tensor.rank - 3, 0), x.tensor.rank)

    def norm(v: Value) -> Value:
        spread = m.number("add", _squares(m, v, axes), epsilon)
        return m.b.binary("mul", v, m.b.emit("rsqrt", spread))

    return m.wide_result(x, norm)


__all__ = ["batch_norm", "dropped"]
