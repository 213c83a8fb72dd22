"""The row that attention appends to what it reads: the part of one head, by the threads of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tlc.codegen.assembly import Draft
from tlc.codegen.elements import Target, used
from tlc.codegen.expression import Access
from tlc.codegen.iteration import ONE, ZERO, collapse, is_multiple, offset, row_major, split
from tlc.codegen.memory import buffer_type, plus
from tlc.frontend.diagnostics import InternalError
from tlc.ir.core import Value
from tlc.ir.dims import Dim, product
from tlc.ir.passes.append import appended


@dataclass(frozen=True, slots=True)
class NewRow:
    """Result `part` of a kernel grows by a row, of which `target` computes `size` elements for
    `head`; they go to `start` and on. `draft` is that of the result."""

    part: int
    draft: Draft
    target: Target
    size: Dim
    start: str

    @property
    def type(self) -> str:
        """What an element is stored as."""
        return buffer_type(self.draft.region.out.dtype)


def new_rows(draft: Draft, sizes_of_heads: Sequence[Dim]) -> list[NewRow]:
    """The rows that the kernel of a draft appends; results `beside` its own are appended to, and
    their heads have these sizes."""
    found = []
    for part, (beside, size) in enumerate(zip(draft.beside, sizes_of_heads, strict=True), 1):
        one = replace(beside, name=draft.name)
        concat = one.region.only("concat")
        start = plus(one.sizes(concat.operands[0].tensor.numel), f"head * {one.sizes(size)}")
        found.append(NewRow(part, one, _target(one, appended(concat), size), size, start))
    return found


def _target(draft: Draft, value: Value, size: Dim) -> Target:
    """The elements of one head, of a row of them all."""
    region, sizes, shape = draft.region, draft.sizes, value.tensor.shape
    starts = [at for at in range(len(shape) + 1) if product(shape[at:]) == size]
    if not starts:
        raise InternalError("a head begins within an axis of what is appended")
    *_, cut = starts
    accesses = region.reads([value])
    space = collapse(shape[cut:], [*(a.strides[cut:] for a in accesses), row_major(shape[cut:])])
    moved = [a for a in accesses if any(s != ZERO for s in _lead(a, cut))]
    unit = next(
        u for u in (8, 4, 1) if all(is_multiple(s, u) for a in moved for s in _lead(a, cut))
    )

    def name(access: Access) -> str:
        return f"{region.label(access.value)}_head"

    real = [size for size in shape[:cut] if size != ONE]
    split_lines, places = split(sizes, "head", real, "g")
    rest = iter(places)
    names = ["0u" if size == ONE else next(rest) for size in shape[:cut]]
    lines = [f"const uint {name(a)} = {offset(sizes, ZERO, _lead(a, cut), names)};" for a in moved]
    lines = used(split_lines, lines) + lines
    bases = {access.value: name(access) for access in moved}
    return Target("", value, space, accesses, ZERO, lambda _: lines, bases, Dim.of(unit))


def _lead(access: Access, cut: int) -> list[Dim]:
    """The strides along the axes of heads, those of one size left out."""
    pairs = zip(access.shape[:cut], access.strides[:cut], strict=True)
    return [ZERO if size == ONE else stride for size, stride in pairs]
