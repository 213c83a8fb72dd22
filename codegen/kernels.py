"""Fused operations in, kernels in the Metal Shading Language out; kernels in, a whole file out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from tlc.codegen.assembly import Draft, Kernel, Variant, joined
from tlc.codegen.expression import Region
from tlc.codegen.families import (
    attention,
    column,
    concat,
    convolution,
    elementwise,
    gather,
    matmul,
    row,
    scan,
    scatter,
    sort,
    window,
)
from tlc.codegen.iteration import Sizes
from tlc.codegen.profiles import Profile
from tlc.codegen.prune import used
from tlc.codegen.render import render
from tlc.frontend.diagnostics import InternalError
from tlc.ir.core import Op
from tlc.ir.formats import ORDERS, PACKED

__all__ = ["FAMILIES", "Kernel", "Variant", "generate", "module_text"]

FAMILIES: dict[str, Callable[[Draft], list[Variant]]] = {
    "attention": attention.variants,
    "elementwise": elementwise.variants,
    "row": row.variants,
    "column": column.variants,
    "gather": gather.variants,
    "concat": concat.variants,
    "append": concat.appending,
    "matmul": matmul.variants,
    "convolution": convolution.variants,
    "window": window.variants,
    "sort": sort.variants,
    "scan": scan.variants,
    "scatter": scatter.variants,
}


def generate(op: Op, profile: Profile, name: str, comment: str) -> list[Variant]:
    """The kernels for a fused operation, in order of preference; the last fits every size.

    `comment` is printed above each kernel. Raises InternalError for an unknown family and for a
    kernel beyond Metal's limits.
    """
    family = op.attrs["family"]
    if family not in FAMILIES:
        raise InternalError(f"there is no kernel family {family}")
    sizes: dict[str, Sizes] = {}
    drafts = [
        Draft(Region(op, part), profile, name, comment, sizes) for part in range(len(op.results))
    ]
    if family == "attention":  # which reads the other results
        return attention.variants(replace(drafts[0], beside=drafts[1:]))
    made = [FAMILIES[_family_of(draft.region, family)](draft) for draft in drafts]
    if len(made) == 1:
        return made[0]
    return [
        Variant(joined(drafts, [v.kernel for v in each]), each[0].guard)
        for each in zip(*made, strict=True)
    ]


def _family_of(region: Region, family: str) -> str:
    """The family of one of the results: rows of a product may be stored beside it."""
    summed = any(op.name == "contract" for op in region.ops)
    return "row" if family == "matmul" and not summed else family


def module_text(kernels: Sequence[Kernel], profile: Profile, source_name: str) -> str:
    """The whole `.metal` file of one profile: what the kernels use, then they in their order."""
    features = frozenset[str]().union(*(kernel.features for kernel in kernels))
    text = "\n\n".join(kernel.text.strip("\n") for kernel in kernels)
    named = set(re.findall(rf"_({'|'.join(PACKED)})\(", text))
    shared = render(
        f"module.{profile.name}",
        source=source_name,
        features=sorted(features),
        bfloat="device const ushort* in" in text,
        formats=[record for name, record in PACKED.items() if name in named],
        orders=ORDERS,
    )
    # what is compiled for a CPU is explained in the templates, and artifacts are to be small
    shared = used(shared, text, comments=profile.name == "apple")
    return "\n\n".join(filter(None, (shared, text))) + "\n"
