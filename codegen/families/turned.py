"""Copies that turn two axes around on a CPU: in blocks, so that memory is used line by line.

An element at a time, a transpose of 4096 columns reads one number of each line, and the lines of a
column lie where a cache keeps only a few of them.
"""

from __future__ import annotations

from tlc.codegen.assembly import Draft, Kernel
from tlc.codegen.elements import element_groups
from tlc.codegen.expression import Access
from tlc.codegen.iteration import ONE, ZERO, Space, offset, split
from tlc.codegen.memory import buffer_type
from tlc.ir.dims import product

STRIP = 32  # rows of the result that are written together: those of a line of float16


def turns(draft: Draft, space: Space, access: Access) -> bool:
    """Whether the result is a copy whose neighbours along the last axis but one are neighbours in
    the operand, and those along the last axis are not."""
    if len(space.shape) < 2 or len(space.strides) != 2:
        return False
    *outer, rows, _ = space.shape
    strips = product(outer) * rows
    if strips.is_static and int(strips) < 2 * STRIP:  # too few for threads to share
        return False
    *_, across, along = space.strides[0]
    same = access.encoding == draft.region.out.dtype and access.encoding in ("f16", "f32")
    return same and across == ONE and along not in (ZERO, ONE)


def kernel(draft: Draft, space: Space, access: Access) -> Kernel:
    """Strips of rows of the result, each turned 8 by 8."""
    sizes = draft.sizes
    *outer, rows, columns = space.shape
    steps, out = space.strides
    strips = (rows + (STRIP - 1)) // STRIP
    indices, names = split(sizes, "strip", [*outer, strips], "i")
    first = names.pop() if outer else "strip"
    return draft.kernel(
        "turned",
        groups=element_groups(draft, space.count),
        type=buffer_type(access.encoding),
        operand=access.arg,
        strips=product(outer) * strips,
        strip=STRIP,
        indices=indices,
        first=first,
        rows=rows,
        columns=columns,
        step=steps[-1],
        source=offset(sizes, access.offset, [*steps[:-2], ONE], [*names[: len(outer)], "r"]),
        target=offset(sizes, ZERO, [*out[:-2], columns], [*names[: len(outer)], "r"]),
    )
