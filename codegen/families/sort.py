"""Sorting kernels: the indices of each row's elements in their order.

A CPU thread takes rows and sorts indices in place by heapsort; of rows whose first elements alone
are wanted, the heap holds as many, and what does not come before all of them is passed over. A GPU
thread takes an element and counts those that come before it. Equals are ordered by their index, so
any way gives one result.
"""

from __future__ import annotations

from tlc.codegen.assembly import Draft, Variant, groups_for
from tlc.codegen.iteration import collapse, offset, split
from tlc.codegen.memory import scalar_load
from tlc.ir.dims import product


def variants(draft: Draft) -> list[Variant]:
    """One kernel that reads its operand from memory and writes indices."""
    region, sizes, profile = draft.region, draft.sizes, draft.profile
    op = region.only("order")
    access = region.access(op.operands[0])
    assert access is not None, "what is sorted is read from memory"
    *lead, wanted = op.result.tensor.shape
    length = op.operands[0].tensor.shape[-1]
    rows = product(lead)
    space = collapse(lead, [access.strides[:-1]])
    indices, names = split(sizes, "row", space.shape, "i")
    steps = (*space.strides[0], access.strides[-1])
    cpu = profile.name == "cpu"
    kernel = draft.kernel(
        "sort",
        groups=groups_for(rows if cpu else rows * length, 1 if cpu else profile.threads),
        rows=rows,
        length=length,
        wanted=wanted,
        indices=indices,
        element=lambda at: scalar_load(access, offset(sizes, access.offset, steps, [*names, at])),
        descending=op.attrs["descending"],
        flat=op.attrs["flat"],
    )
    return [Variant(kernel, None)]
