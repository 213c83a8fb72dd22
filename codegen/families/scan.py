"""Scan kernels: along each row, the sum of all elements up to each, in float32.

A CPU thread takes rows and walks along them. A threadgroup of a GPU takes a row: each thread adds
up a piece of it, and starts its own sums from those of the pieces before.
"""

from __future__ import annotations

from tlc.codegen.assembly import Draft, Variant, groups_for
from tlc.codegen.iteration import collapse, offset, split
from tlc.codegen.memory import rounded_scalar, scalar_load
from tlc.ir.dims import product


def variants(draft: Draft) -> list[Variant]:
    """One kernel that reads its operand from memory."""
    region, sizes, profile = draft.region, draft.sizes, draft.profile
    op = region.only("running_sum")
    access = region.access(op.operands[0])
    assert access is not None, "what is summed is read from memory"
    *lead, length = op.result.tensor.shape
    rows = product(lead)
    space = collapse(lead, [access.strides[:-1]])
    indices, names = split(sizes, "row", space.shape, "i")
    steps = (*space.strides[0], access.strides[-1])
    cpu = profile.name == "cpu"
    kernel = draft.kernel(
        "scan",
        groups=groups_for(rows * length, profile.work) if cpu else groups_for(rows, 1),
        threadgroup_bytes=0 if cpu else 4 * profile.threads,
        rows=rows,
        length=length,
        threads=None,
        most=profile.threads,
        indices=indices,
        element=scalar_load(access, offset(sizes, access.offset, steps, [*names, "j"])),
        stored=rounded_scalar(region.out.dtype, "total"),
    )
    return [Variant(kernel, None)]
