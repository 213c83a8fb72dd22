"""Concatenation kernels: operands one behind the other along an axis, a loop for each."""

from __future__ import annotations

from tlc.codegen.assembly import Draft, Variant
from tlc.codegen.elements import Target, element_groups, element_loop, lane_loop
from tlc.codegen.expression import Region
from tlc.codegen.iteration import ZERO, Dims, collapse, row_major
from tlc.frontend.diagnostics import InternalError
from tlc.ir.core import Value
from tlc.ir.passes.views import Access, reshaped


def variants(draft: Draft) -> list[Variant]:
    """One kernel that copies every operand to its place in the result."""
    return _copying(draft, 0)


def appending(draft: Draft) -> list[Variant]:
    """The same where the first operand begins the memory of the result already."""
    return _copying(draft, 1)


def _copying(draft: Draft, there: int) -> list[Variant]:
    """A kernel that copies all operands but the first `there`."""
    region = draft.region
    op = region.only("concat")
    shape = op.result.tensor.shape
    axis, out = op.attrs["axis"] % len(shape), row_major(shape)
    loop = lane_loop if draft.profile.name == "cpu" else element_loop
    loops, start = [], ZERO
    for number, operand in enumerate(op.operands):
        accesses = region.reads([operand])
        value, steps = _computed(region, operand, out)
        space = collapse(value.tensor.shape, [*(a.strides for a in accesses), steps])
        title = f"operand {number}"
        target = Target(title, value, space, accesses, start * out[axis])
        if number >= there:
            loops.append(loop(draft, target))
        start += operand.tensor.shape[axis]
    moved = sum((v.tensor.numel for v in op.operands[there:]), ZERO)
    groups = element_groups(draft, moved)
    return [Variant(draft.kernel("elements", groups=groups, loops=loops), None)]


def _computed(region: Region, operand: Value, out: Dims) -> tuple[Value, Dims]:
    """What is computed for an operand, whatever its shape, and its strides in the result."""
    made = region.definition(operand)
    if made is None or made.name != "reshape":
        return operand, out
    (value,) = made.operands
    place = reshaped(Access(operand.tensor.shape, out, ZERO), value.tensor.shape)
    if place is None:
        raise InternalError("strides cannot say where an operand of a concatenation goes")
    return value, place.strides
