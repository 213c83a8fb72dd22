"""Gather kernels: rows of a table that an index tensor names, and what is computed from them."""

from __future__ import annotations

from collections.abc import Sequence

from tlc.codegen.assembly import Draft, Variant
from tlc.codegen.elements import Target, element_groups, element_loop, lane_loop
from tlc.codegen.expression import Access
from tlc.codegen.iteration import ZERO, Space, collapse, offset, row_major
from tlc.ir.dims import product


def variants(draft: Draft) -> list[Variant]:
    """One kernel, with a status word: 1 is stored there when an index is out of range.

    The gathered value is read like an operand, from row `entry` of the table on.
    """
    region, sizes = draft.region, draft.sizes
    op = region.only("gather")
    table, ids = op.operands
    shape, rank = op.result.tensor.shape, ids.tensor.rank
    length, *width = table.tensor.shape
    number = region.args[table]
    strides = (*[ZERO] * rank, *row_major(width))
    gathered = Access(op.result, number, region.encodings[number], shape, strides, ZERO)
    region.read_as[op.result] = gathered
    accesses = region.reads([region.result])

    index = region.access(ids)
    assert index is not None, "indices are read from memory"
    everything = [*(a.strides for a in accesses), row_major(shape)]
    # the axes of the indices and those of a table's row stay apart
    rows = collapse(shape[:rank], [*(s[:rank] for s in everything), index.strides])
    columns = collapse(shape[rank:], [s[rank:] for s in everything])
    space = Space(
        (*rows.shape, *columns.shape),
        tuple(a + b for a, b in zip(rows.strides[:-1], columns.strides, strict=True)),
    )

    def find_entry(indices: Sequence[str]) -> list[str]:
        place = offset(sizes, index.offset, rows.strides[-1], indices[: len(rows.shape)])
        found = f"const int id = in{index.arg}[{place}];"
        size = sizes(length)
        raised = (
            "atomic_store_explicit(status, 1u, memory_order_relaxed);"
            if draft.profile.name == "apple"
            else "*status = 1u;"
        )
        lines = [
            found,
            f"const uint wanted = uint(id < 0 ? id + int({size}) : id);",
            f"if (wanted >= {size}) {raised}",
        ]
        if not length.is_static or length == ZERO:
            lines.append(f"if ({size} == 0u) continue;")
        lines.append(
            f"const uint entry = (wanted < {size} ? wanted : 0u) * {sizes(product(width))};"
        )
        return lines

    target = Target(
        title="",
        value=region.result,
        space=space,
        accesses=accesses,
        setup=find_entry,
        bases={op.result: "entry"},
        unit=product(width),
    )
    loop = (lane_loop if draft.profile.name == "cpu" else element_loop)(draft, target)
    groups = element_groups(draft, space.count)
    return [Variant(draft.kernel("elements", groups=groups, status=True, loops=[loop]), None)]
