"""Indexed access: rows of a table chosen, or replaced, by an index tensor."""

from __future__ import annotations

from typing import Any

from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.opdef import Sample, TypeRuleError, compose, defop
from tlc.ir.ops.shape import normal_axis
from tlc.ir.types import TensorType, Type, show_shape, tensor


def _gather(table: Type, ids: Type) -> tuple[Type, ...]:
    if not isinstance(table, TensorType) or table.rank < 1:
        raise TypeRuleError(f"a table of rows is needed, and this is {table}", "E0302", (0,))
    if not isinstance(ids, TensorType) or ids.dtype != "i32":
        raise TypeRuleError(
            f"an index tensor is needed, and this is {ids}",
            "E0302",
            (1,),
            "write the ids as `tensor<int>([1, 2, 3])`",
        )
    return (table.with_shape((*ids.shape, *table.shape[1:])),)


def _gather_eval(np: Any, table: Any, ids: Any) -> Any:
    if ids.size and (ids.min() < -len(table) or ids.max() >= len(table)):
        raise IndexError(f"an index is beyond the table's {len(table)} rows")
    return table[ids]


defop(
    "gather",
    "The rows of a table that an index tensor names; negative indices count from the end.",
    params="table, ids: tensor_i32",
    names="gather embedding",
    type=_gather,
    eval=_gather_eval,
    kernel="gather",
    sample=(
        Sample((tensor("f16", 5, 4), tensor("i32", 3)), {}, 0, 4),
        Sample((tensor("i32", 5), tensor("i32", 3, 2)), {}, 0, 4),
        Sample((tensor("bool", 5, 2), tensor("i32", 3)), {}, 0, 4),
    ),
)


def _index_select(b: Builder, x: Value, ids: Value, dim: int = 0) -> Value:
    """The axis is brought to the front, and the rows' axes back to its place."""
    if ids.tensor.rank != 1:
        raise TypeRuleError(
            f"`index_select` needs a list of indices, and this is {ids.type}", "E0301", (1,)
        )
    rank = x.tensor.rank
    axis = normal_axis(dim, rank)
    if axis == 0:
        return b.emit("gather", x, ids)
    front = (axis, *(a for a in range(rank) if a != axis))
    rows = b.emit("gather", b.emit("permute", x, axes=front), ids)
    back = (*range(1, axis + 1), 0, *range(axis + 1, rank))
    return b.emit("permute", rows, axes=back)


compose(
    "index_select",
    "The slices along an axis that a list of indices names.",
    _index_select,
    params="x, ids: tensor_i32, dim: axis = 0",
    sample=(
        Sample((tensor("f16", 5, 4), tensor("i32", 3)), {}, 0, 4),
        Sample((tensor("f16", 3, 5, 2), tensor("i32", 4)), {"dim": 1}, 0, 4),
    ),
)


def _scatter(table: Type, ids: Type, rows: Type) -> tuple[Type, ...]:
    _gather(table, ids)
    assert isinstance(table, TensorType)
    assert isinstance(ids, TensorType)
    if not isinstance(rows, TensorType) or rows.dtype != table.dtype:
        raise TypeRuleError(f"rows for {table} are needed, and these are {rows}", "E0302", (2, 0))
    wanted = (*ids.shape, *table.shape[1:])
    if ids.rank != 1 or rows.shape != wanted:
        raise TypeRuleError(
            f"indices {show_shape(ids.shape)} need a list of rows {show_shape(wanted)}, and these"
            f" are {show_shape(rows.shape)}",
            "E0301",
            (1, 2),
        )
    return (table,)


def _scatter_eval(np: Any, table: Any, ids: Any, rows: Any) -> Any:
    _gather_eval(np, table, ids)  # the indices are there
    found = table.copy()
    for at, row in zip(ids, rows, strict=True):  # in order: the last of equals stays
        found[at] = row
    return found


defop(
    "scatter",
    "The table with the rows that an index list names replaced by others. Where an index is there"
    " twice the last row wins; negative indices count from the end.",
    params="table, ids: tensor_i32, rows",
    names="scatter",
    type=_scatter,
    eval=_scatter_eval,
    kernel="scatter",
    sample=(
        Sample((tensor("f16", 5, 4), tensor("i32", 3), tensor("f16", 3, 4)), {}, 0, 4),
        Sample((tensor("i32", 5), tensor("i32", 3), tensor("i32", 3)), {}, 0, 4),
        Sample((tensor("bool", 5), tensor("i32", 3), tensor("bool", 3)), {}, 0, 1),
    ),
)
