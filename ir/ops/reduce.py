"""Reductions: sums and extremes along one axis, which stays with size 1; accumulated in float32."""

from __future__ import annotations

from typing import Any

from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.opdef import Sample, TypeRuleError, compose, defop
from tlc.ir.ops.elementwise import in_f32
from tlc.ir.ops.shape import normal_axis
from tlc.ir.types import FLOATS, TensorType, Type, tensor


def _reduced(x: Type, axis: int) -> tuple[Type, ...]:
    if not isinstance(x, TensorType) or x.dtype not in FLOATS:
        raise TypeRuleError(f"a floating-point tensor is needed, and this is {x}", "E0302", (0,))
    at = normal_axis(axis, x.rank)
    return (x.with_shape((*x.shape[:at], Dim.of(1), *x.shape[at + 1 :])),)


def _index(x: Type, axis: int) -> tuple[Type, ...]:
    (kept,) = _reduced(x, axis)
    assert isinstance(kept, TensorType)
    return (kept.with_dtype("i32"),)


_SAMPLE = (Sample((tensor("f16", 3, 5),), {"axis": 1}), Sample((tensor("f16", 4, 3),), {"axis": 0}))

for _name, _doc, _type, _eval in (
    (
        "reduce_sum",
        "The sum along an axis.",
        _reduced,
        lambda np, x, axis: np.sum(x, axis, keepdims=True),
    ),
    (
        "reduce_max",
        "The largest along an axis; NaN if any is NaN; -inf for none.",
        _reduced,
        lambda np, x, axis: np.max(x, axis, keepdims=True, initial=-np.inf),
    ),
    (
        "reduce_min",
        "The smallest along an axis; NaN if any is NaN; inf for none.",
        _reduced,
        lambda np, x, axis: np.min(x, axis, keepdims=True, initial=np.inf),
    ),
    (
        "reduce_argmax",
        "The index of the largest along an axis: the first of equals, or of the NaNs.",
        _index,
        lambda np, x, axis: np.argmax(x, axis, keepdims=True),
    ),
    (
        "reduce_argmin",
        "The index of the smallest along an axis: the first of equals, or of the NaNs.",
        _index,
        lambda np, x, axis: np.argmin(x, axis, keepdims=True),
    ),
):
    defop(
        _name, _doc, params="x, axis: axis", type=_type, eval=_eval, kernel="reduce", sample=_SAMPLE
    )


def along(b: Builder, op: str, x: Value, dim: int | None, keepdim: bool) -> Value:
    """A reduction as programs call it: of one axis, or of the whole tensor to rank 0."""
    if dim is None:
        whole = b.emit(op, b.reshape(x, (x.tensor.numel,)), axis=0)
        return b.reshape(whole, [Dim.of(1)] * x.tensor.rank if keepdim else [])
    at = normal_axis(dim, x.tensor.rank)
    kept = b.emit(op, x, axis=at)
    shape = kept.tensor.shape
    return kept if keepdim else b.reshape(kept, shape[:at] + shape[at + 1 :])


def _reduction(op: str) -> Any:
    def expand(b: Builder, x: Value, dim: int | None = None, keepdim: bool = False) -> Value:
        return along(b, op, x, dim, keepdim)

    return expand


def _of_masks(expand: Any) -> Any:
    """A sum or mean of a mask counts what is true, in float32."""

    def counted(b: Builder, x: Value, **attrs: Any) -> Any:
        return expand(b, b.f32(x) if x.tensor.dtype == "bool" else x, **attrs)

    return counted


def _mean(b: Builder, x: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    total = along(b, "reduce_sum", x, dim, keepdim)
    count = x.tensor.numel if dim is None else x.tensor.shape[normal_axis(dim, x.tensor.rank)]
    return b.emit("div", total, b.scalar(count, total))


_PARAMS = "x, dim: axis = none, keepdim: bool = false"
_CALL = (
    Sample((tensor("f16", 3, 5),), {"dim": 1}),
    Sample((tensor("f16", 3, 5),), {"dim": 0, "keepdim": True}),
    Sample((tensor("f16", 3, 5),), {}),
)
compose(
    "sum",
    "The sum of all elements, or along an axis; of a mask, how many are true.",
    _of_masks(_reduction("reduce_sum")),
    params=_PARAMS,
    sample=_CALL,
)
compose(
    "mean",
    "The mean of all elements, or along an axis; of a mask, which part of it is true.",
    _of_masks(in_f32(_mean)),
    params=_PARAMS,
    sample=_CALL,
)
compose(
    "max",
    "The largest of all elements, or along an axis; of two tensors, element by element.",
    _reduction("reduce_max"),
    params=_PARAMS,
    sample=_CALL,
)
compose(
    "min",
    "The smallest of all elements, or along an axis; of two tensors, element by element.",
    _reduction("reduce_min"),
    params=_PARAMS,
    sample=_CALL,
)
compose(
    "argmax",
    "The index of the largest element: a whole number, or one per row along an axis.",
    _reduction("reduce_argmax"),
    params=_PARAMS,
    sample=_CALL,
)
compose(
    "argmin",
    "The index of the smallest element: a whole number, or one per row along an axis.",
    _reduction("reduce_argmin"),
    params=_PARAMS,
    sample=_CALL,
)
