"""Elementwise kernels: every element of the result is computed from elements at its own index."""

from __future__ import annotations

from tlc.codegen.assembly import Draft, Variant
from tlc.codegen.elements import Target, element_groups, element_loop, lane_loop
from tlc.codegen.families import turned
from tlc.codegen.iteration import collapse, row_major


def variants(draft: Draft) -> list[Variant]:
    """One kernel: 8 lanes along the innermost axis (cpu), a thread per element or four (apple)."""
    region = draft.region
    accesses = region.reads([region.result])
    shape = region.result.tensor.shape
    space = collapse(shape, [*(a.strides for a in accesses), row_major(shape)])
    copied = region.access(region.result)
    if draft.profile.name == "cpu" and copied is not None and turned.turns(draft, space, copied):
        return [Variant(turned.kernel(draft, space, copied), None)]
    target = Target("", region.result, space, accesses)
    loop = (lane_loop if draft.profile.name == "cpu" else element_loop)(draft, target)
    groups = element_groups(draft, space.count)
    return [Variant(draft.kernel("elements", groups=groups, loops=[loop]), None)]
