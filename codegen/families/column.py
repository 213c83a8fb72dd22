"""Column kernels: a reduction along an axis that is not the last, lanes or threads across it.

Before the reduction elements are combined at the index of the operand, after it at the index of the
result, where the reduced axis has size 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tlc.codegen.assembly import Draft, Kernel, Variant, groups_for
from tlc.codegen.elements import used
from tlc.codegen.expression import LANES, SCALARS, Access, Scope, kind
from tlc.codegen.iteration import ONE, ZERO, Dims, Space, collapse, offset, row_major, split
from tlc.codegen.memory import (
    Lanes,
    Rows,
    buffer_type,
    lane_store,
    plus,
    rounded_scalar,
    scalar_load,
)
from tlc.codegen.reductions import REDUCTIONS, Reduction
from tlc.ir.core import Op
from tlc.ir.dims import Dim

_TOGETHER = 4  # groups of 8 lanes that walk down the reduced axis side by side


@dataclass(frozen=True, slots=True)
class Plan:
    """A region with one reduction of `length` elements; `space` are the axes of its result.

    Every access of `before` and `after` the reduction comes with its strides along the space and,
    last, along the reduced axis; `out` are the strides of the result.
    """

    op: Op
    length: Dim
    space: Space
    before: list[tuple[Access, Dims]]
    after: list[tuple[Access, Dims]]
    out: Dims


def _without(strides: Sequence[Dim], axis: int) -> Dims:
    return (*strides[:axis], *strides[axis + 1 :])


def plan(draft: Draft) -> Plan:
    region = draft.region
    (op,) = (op for op in region.ops if op.name in REDUCTIONS)
    shape = op.operands[0].tensor.shape
    axis = op.attrs["axis"] % len(shape)
    before, after = region.reads(op.operands), region.reads([region.result], [op.result])
    kept = row_major((*shape[:axis], ONE, *shape[axis + 1 :]))
    everything = [*(a.strides for a in (*before, *after)), kept]
    space = collapse(_without(shape, axis), [_without(s, axis) for s in everything])
    with_axis = [
        (access, (*strides, access.strides[axis]))
        for access, strides in zip((*before, *after), space.strides, strict=False)
    ]
    cut = len(before)
    return Plan(op, shape[axis], space, with_axis[:cut], with_axis[cut:], space.strides[-1])


def variants(draft: Draft) -> list[Variant]:
    """One kernel: a CPU thread takes a share of the columns, a GPU thread takes one."""
    make = _cpu if draft.profile.name == "cpu" else _apple
    return [Variant(make(draft, plan(draft)), None)]


@dataclass(frozen=True, slots=True)
class Strip:
    """What the cpu template prints for columns side by side: `together` groups of 8 lanes.

    A group starts at column `k`; with a `tail`, only its first `n` lanes are real.
    """

    together: int
    tail: bool
    start: list[str]
    down: list[str]
    finish: list[str]


def _cpu(draft: Draft, plan: Plan) -> Kernel:
    region, sizes = draft.region, draft.sizes
    reduction = Reduction.of(region, plan.op)
    *outer, inner = plan.space.shape
    indices, names = split(sizes, "row", outer, "i")
    above, below = Rows(region, sizes), Rows(region, sizes)
    rows: list[str] = []  # where rows start at position `r` of the reduced axis
    for access, (*strides, step, along) in plan.before:
        place = offset(sizes, access.offset, (*strides, along), [*names, "r"])
        rows += above.start(access, place, step)
    start: list[str] = []
    for access, (*strides, step, _) in plan.after:
        start += below.start(access, offset(sizes, access.offset, strides, names), step)
    place = plus("out", offset(sizes, ZERO, plan.out[:-1], names))
    start.append(f"device {buffer_type(region.out.dtype)}* out_row = {place};")

    def strip(together: int, lanes: Lanes) -> Strip:
        which = "[u]" if together > 1 else ""
        scope = Scope(region, LANES, sizes)
        down = scope.compute(plan.op.operands, above.load(lanes))
        value = scope.names[plan.op.operands[0]]
        down.append(reduction.lanes_step(which, value, "splati8(int(r))", None))
        scope = Scope(region, LANES, sizes)
        finish = [scope.define(plan.op.result, reduction.lanes_result(which))]
        finish += scope.compute([region.result], below.load(lanes))
        value = scope.names[region.result]
        finish.append(lane_store(kind(region.result), f"out_row + {lanes.at}", value, lanes.count))
        tail = lanes.count is not None
        return Strip(together, tail, reduction.lanes_start(together), down, finish)

    strips = [strip(_TOGETHER, Lanes("k")), strip(1, Lanes("k", "n"))]
    if inner.is_static and int(inner) < 8 * _TOGETHER:
        strips = strips[1:]
    return draft.kernel(
        "column",
        groups=groups_for(plan.space.count * plan.length, draft.profile.work),
        count=plan.space.count,
        inner=inner if outer else None,
        length=plan.length,
        start=used(indices, [*start, *rows]) + start,
        rows=rows,
        strips=strips,
    )


def _apple(draft: Draft, plan: Plan) -> Kernel:
    region, sizes = draft.region, draft.sizes
    reduction = Reduction.of(region, plan.op)
    indices, names = split(sizes, "at", plan.space.shape, "i")
    above = {a.value: offset(sizes, a.offset, s, [*names, "r"]) for a, s in plan.before}
    below = {a.value: offset(sizes, a.offset, s[:-1], names) for a, s in plan.after}
    scope = Scope(region, SCALARS, sizes)
    down = scope.compute(plan.op.operands, lambda a: scalar_load(a, above[a.value]))
    down += reduction.thread_step(scope.names[plan.op.operands[0]], "r")
    scope = Scope(region, SCALARS, sizes)
    finish = [scope.define(plan.op.result, reduction.thread_result())]
    finish += scope.compute([region.result], lambda a: scalar_load(a, below[a.value]))
    value = rounded_scalar(region.out.dtype, scope.names[region.result])
    finish.append(f"out[at] = {value};")
    return draft.kernel(
        "column",
        groups=groups_for(plan.space.count, draft.profile.threads),
        count=plan.space.count,
        length=plan.length,
        indices=used(indices, [*down, *finish]),
        start=reduction.thread_start("0u"),
        down=down,
        finish=finish,
    )
