"""Scatter kernels: a table with some rows replaced; each row of the result looks for the last index
that names it."""

from __future__ import annotations

from tlc.codegen.assembly import Draft, Variant
from tlc.codegen.elements import element_groups
from tlc.codegen.expression import Access
from tlc.codegen.iteration import collapse, offset, split
from tlc.codegen.memory import rounded_scalar, scalar_load
from tlc.ir.dims import product


def variants(draft: Draft) -> list[Variant]:
    """One kernel, with a status word: 1 is stored there when an index is out of range."""
    region, sizes = draft.region, draft.sizes
    op = region.only("scatter")
    table, ids, rows = (_stored(region.access(v)) for v in op.operands)
    length, *width = op.result.tensor.shape
    (count,) = op.operands[1].tensor.shape
    space = collapse(width, [table.strides[1:], rows.strides[1:]])
    indices, names = split(sizes, "j", space.shape, "i")

    def element(access: Access, steps: tuple[object, ...], row: str) -> str:
        strides = (access.strides[0], *steps)
        place = offset(sizes, access.offset, strides, [row, *names])  # type: ignore[arg-type]
        return rounded_scalar(region.out.dtype, scalar_load(access, place))

    kernel = draft.kernel(
        "scatter",
        groups=element_groups(draft, op.result.tensor.numel),
        status=True,
        length=length,
        width=product(width),
        count=count,
        index=f"in{ids.arg}[{offset(sizes, ids.offset, ids.strides, ['k'])}]",
        indices=indices,
        old=element(table, space.strides[0], "row"),
        new=element(rows, space.strides[1], "uint(from)"),
    )
    return [Variant(kernel, None)]


def _stored(access: Access | None) -> Access:
    assert access is not None, "what is scattered is read from memory"
    return access
