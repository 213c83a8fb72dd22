"""Operations along an axis in which the order of elements matters: sorting and running sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.dims import Dim, product
from tlc.ir.opdef import Sample, TypeRuleError, compose, defop
from tlc.ir.ops.shape import normal_axis
from tlc.ir.types import FLOATS, TensorType, Type, tensor


def _rows(x: Type) -> TensorType:
    if not isinstance(x, TensorType) or x.dtype not in FLOATS:
        raise TypeRuleError(f"a floating-point tensor is needed, and this is {x}", "E0302", (0,))
    if not x.rank:
        raise TypeRuleError(f"a tensor with an axis is needed, and this is {x}", "E0303", (0,))
    return x


def along_last(b: Builder, x: Value, dim: int, compute: Callable[[Value], Value]) -> Value:
    """What `compute` makes of a tensor whose last axis is `dim`, with the axes as they were."""
    axis = normal_axis(dim, x.tensor.rank)
    return _exchanged(b, compute(_exchanged(b, x, axis)), axis)


def _exchanged(b: Builder, x: Value, axis: int) -> Value:
    """A tensor whose last axis has changed places with another one."""
    last = x.tensor.rank - 1
    if axis == last:
        return x
    axes = list(range(last + 1))
    axes[axis], axes[last] = last, axis
    return b.emit("permute", x, axes=tuple(axes))


# ---- running sums --------------------------------------------------------------------------------

defop(
    "running_sum",
    "Along the last axis, the sum of all elements up to each; added in float32.",
    params="x",
    type=lambda x: (_rows(x),),
    eval=lambda np, x: np.cumsum(x, axis=-1, dtype=np.float32),
    kernel="scan",
    sample=(Sample((tensor("f16", 3, 5),), {}),),
)


def _cumsum(b: Builder, x: Value, dim: int = -1) -> Value:
    return along_last(b, x, dim, lambda rows: b.emit("running_sum", rows))


compose(
    "cumsum",
    "Along an axis, the sum of all elements up to each; added in float32.",
    _cumsum,
    params="x, dim: axis = -1",
    sample=(Sample((tensor("f16", 3, 5),), {}), Sample((tensor("f16", 3, 5),), {"dim": 0})),
)

# ---- sorting -------------------------------------------------------------------------------------


def _order(x: Type, first: Dim, descending: bool, flat: bool) -> tuple[Type, ...]:
    found = _rows(x).with_dtype("i32")
    return (found.with_shape((*found.shape[:-1], first)),)


def _order_eval(np: Any, x: Any, first: int, descending: bool, flat: bool) -> Any:
    size = x.shape[-1]
    if descending:  # backwards twice, so that equals keep their order
        order = size - 1 - np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]
    else:
        order = np.argsort(x, axis=-1, kind="stable")
    if flat:
        starts = np.arange(x.size // size if size else 0) * size
        order = order + starts.reshape(*x.shape[:-1], 1)
    return order[..., :first]


defop(
    "order",
    "Along the last axis, the indices of the `first` elements, at most all, from the smallest on or"
    " from the largest; equals keep their order, NaN is above all. `flat` indices count through all"
    " rows.",
    params="x, first: dim, descending: bool = false, flat: bool = false",
    type=_order,
    eval=_order_eval,
    kernel="sort",
    sample=(
        Sample((tensor("f16", 3, 5),), {"first": Dim.of(5), "descending": False, "flat": False}),
        Sample((tensor("f16", 3, 5),), {"first": Dim.of(2), "descending": True, "flat": True}),
    ),
)


def one_row(x: Value) -> bool:
    """Whether a tensor has a single row along its last axis, whatever its symbols stand for."""
    return product(x.tensor.shape[:-1]) == Dim.of(1)


def _indices(b: Builder, x: Value, descending: bool, flat: bool, first: Dim | None = None) -> Value:
    """Indices along the last axis; of one row the flat ones are the same."""
    first = x.tensor.shape[-1] if first is None else first
    flat = flat and not one_row(x)
    return b.emit("order", x, first=first, descending=descending, flat=flat)


def _sorted(b: Builder, x: Value, order: Value) -> Value:
    return b.emit("gather", b.reshape(x, (x.tensor.numel,)), order)


def _sort(b: Builder, x: Value, dim: int = -1, descending: bool = False) -> Value:
    _rows(x.type)
    return along_last(b, x, dim, lambda r: _sorted(b, r, _indices(b, r, descending, True)))


def _argsort(b: Builder, x: Value, dim: int = -1, descending: bool = False) -> Value:
    _rows(x.type)
    return along_last(b, x, dim, lambda r: _indices(b, r, descending, False))


compose(
    "sort",
    "The elements along an axis from the smallest to the largest, or from the largest; NaN is above"
    " all.",
    _sort,
    params="x, dim: axis = -1, descending: bool = false",
    sample=(
        Sample((tensor("f16", 3, 5),), {}),
        Sample((tensor("f16", 3, 5),), {"dim": 0, "descending": True}),
    ),
)
compose(
    "argsort",
    "Where the elements that `sort` gives were along the axis; equals keep their order.",
    _argsort,
    params="x, dim: axis = -1, descending: bool = false",
    sample=(Sample((tensor("f16", 3, 5),), {"dim": 0}),),
)


def top(b: Builder, x: Value, k: Dim, axis: int) -> tuple[Value, Value]:
    """The k largest along an axis, the largest first, and where they are."""
    rows = _exchanged(b, x, axis)
    size = _rows(rows.type).shape[-1]
    b.check_at_most(k, size, f"{size} elements have no {k} largest")
    flat, along = (_indices(b, rows, True, of_all, k) for of_all in (True, False))
    return _exchanged(b, _sorted(b, rows, flat), axis), _exchanged(b, along, axis)
