"""Indexed access: rows of a table chosen by an index tensor."""

from __future__ import annotations

from typing import Any

from tlc.ir.opdef import Sample, TypeRuleError, defop
from tlc.ir.types import FLOATS, TensorType, Type, tensor


def _gather(table: Type, ids: Type) -> tuple[Type, ...]:
    if not isinstance(table, TensorType) or table.rank < 1 or table.dtype not in FLOATS:
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
    params="table, ids",
    names="gather embedding index_select",
    type=_gather,
    eval=_gather_eval,
    kernel="gather",
    sample=(Sample((tensor("f16", 5, 4), tensor("i32", 3)), {}, 0, 4),),
)
