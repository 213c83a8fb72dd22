"""Concatenation kernels: operands one behind the other along an axis, a loop for each."""

from __future__ import annotations

from tlc.codegen.assembly import Draft, Variant
from tlc.codegen.elements import Target, element_groups, element_loop, lane_loop
from tlc.codegen.iteration import ZERO, collapse, row_major


def variants(draft: Draft) -> list[Variant]:
    """One kernel that copies every operand to its place in the result."""
    region = draft.region
    op = region.only("concat")
    shape = op.result.tensor.shape
    axis, out = op.attrs["axis"] % len(shape), row_major(shape)
    loops, start = [], ZERO
    for number, operand in enumerate(op.operands):
        accesses = region.reads([operand])
        space = collapse(operand.tensor.shape, [*(a.strides for a in accesses), out])
        title = f"operand {number}"
        target = Target(title, operand, space, accesses, start * out[axis])
        loops.append((lane_loop if draft.profile.name == "cpu" else element_loop)(draft, target))
        start += operand.tensor.shape[axis]
    groups = element_groups(draft, op.result.tensor.numel)
    return [Variant(draft.kernel("elements", groups=groups, loops=loops), None)]
