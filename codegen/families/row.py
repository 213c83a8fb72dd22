"""Row kernels: reductions along the last axis, and what is computed from them, one row at a time.

The region is cut at its reductions into passes over the row. A pass computes anew what it needs; on
a CPU, a value that takes a function like exp and is needed again is kept in an array instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tlc.codegen import wide
from tlc.codegen.assembly import Array, Draft, Kernel, Variant, groups_for
from tlc.codegen.elements import uniform, used
from tlc.codegen.expression import LANES, SCALARS, Access, Region, Scope, kind
from tlc.codegen.iteration import (
    ONE,
    ZERO,
    Dims,
    Space,
    collapse,
    is_multiple,
    offset,
    row_major,
    split,
)
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
from tlc.ir.core import Op, Value
from tlc.ir.dims import Dim, product

_COSTLY = re.compile(r"precise::|tlc_erf")  # in the expression of an operation worth keeping


@dataclass(frozen=True, slots=True)
class Pass:
    """One walk along the row: the reductions it does, or the result it stores when it has none."""

    reductions: list[Op]
    targets: list[Value]

    @property
    def title(self) -> str:
        return ", ".join(op.name for op in self.reductions) or "result"


@dataclass(frozen=True, slots=True)
class Plan:
    """A region seen as rows of `length` elements.

    `along` are the strides of the accesses along the row; `scalar` says that the result has one
    element per row.
    """

    region: Region
    result: Value
    lead: Dims
    length: Dim
    accesses: list[Access]
    along: dict[Value, Dim]
    passes: list[Pass]
    scalar: bool

    @property
    def rows(self) -> Dim:
        return product(self.lead)

    @property
    def space(self) -> Space:
        """The axes of the rows, with the strides of the accesses and of the result."""
        out = row_major((*self.lead, ONE if self.scalar else self.length))
        return collapse(self.lead, [*(a.strides[:-1] for a in self.accesses), out[:-1]])

    def constant(self, targets: list[Value], known: Iterable[Value]) -> list[Value]:
        """What the targets take that is the same along the row."""
        found: dict[Value, None] = {}
        for target in targets:
            found.update(dict.fromkeys(uniform(self.region, target, self.along, known)))
        return list(found)


def plan(region: Region, result: Value) -> Plan:
    """What a result takes, cut at its reductions: a pass does all that count on equally many
    others."""
    needed = region.needed([result])
    reductions = [op for op in region.ops if op.name in REDUCTIONS and op.result in needed]
    *lead, length = (reductions[0].operands[0] if reductions else result).tensor.shape
    accesses = region.reads([result])
    along = {
        a.value: ZERO if a.shape[-1] == ONE and length != ONE else a.strides[-1] for a in accesses
    }
    depth: dict[Value, int] = {}  # the number of reductions one behind the other up to a value
    for value in needed:
        op = None if value in along else region.definition(value)
        below = max((depth[v] for v in op.operands), default=0) if op else 0
        depth[value] = below + int(op in reductions)
    passes = []
    for level in range(1, max(depth.values()) + 1):
        here = [op for op in reductions if depth[op.result] == level]
        passes.append(Pass(here, [op.operands[0] for op in here]))
    scalar = result.tensor.shape[-1] == ONE and length != ONE
    if not scalar:
        passes.append(Pass([], [result]))
    return Plan(region, result, tuple(lead), length, accesses, along, passes, scalar)


def variants(draft: Draft) -> list[Variant]:
    """One kernel: a CPU thread or a threadgroup takes whole rows."""
    make = _cpu if draft.profile.name == "cpu" else _apple
    return [Variant(make(draft, plan(draft.region, draft.region.result)), None)]


# ---- cpu ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WidePass:
    """What the cpu template prints for a pass in 16 lanes at element `j`, with accumulators `u`."""

    before: list[str]
    body: list[str]
    after: list[str]


@dataclass(frozen=True, slots=True)
class Search:
    """What the cpu template prints to find the block of 256 that holds the largest `value`, which
    the body computes in 16 lanes at element `j`; `name` is that of the position."""

    name: str
    body: list[str]
    value: str


@dataclass(frozen=True, slots=True)
class LanePass:
    """What the cpu template prints for a pass.

    `body` is for 8 lanes at element `j`, with accumulators `u`, where there is no `wide`; `tail`
    for a group of which only `n` lanes are real. Each is empty where it would never run.
    """

    title: str
    before: list[str]
    body: list[str]
    tail: list[str]
    after: list[str]
    wide: WidePass | None
    search: Search | None


def _kept(plan: Plan, limit: int) -> dict[Value, int]:
    """The values worth keeping for later passes, and the number of the pass that computes them."""
    region = plan.region
    results = {op.result for stage in plan.passes for op in stage.reductions}
    costly = {op.result for op in region.ops if op.defn.msl and _COSTLY.search(op.defn.msl)}
    kept: dict[Value, int] = {}
    computed: dict[Value, int] = {}

    def visit(value: Value, number: int) -> None:
        if value in plan.along or value in results or value in kept:
            return
        if computed.setdefault(value, number) < number and kind(value) == "float":
            varies = uniform(region, value, plan.along, results) != [value]
            if varies and costly.intersection(region.needed([value], results | kept.keys())):
                kept[value] = computed[value]
                return
        for operand in region.ops[region.position[value]].operands:
            visit(operand, number)

    for number, stage in enumerate(plan.passes):
        for target in stage.targets:
            visit(target, number)
    fits = plan.length.is_static and int(plan.length) * len(kept) <= limit
    return kept if fits else {}


def _inverses(scope: Scope, computed: Iterable[Value]) -> list[str]:
    """Statements that invert what is the same along a row and divides what is computed there."""
    region, lines = scope.region, []
    for value in computed:
        op = None if region.access(value) else region.definition(value)
        if op is None or op.name != "div" or op.operands[1] not in scope.names:
            continue
        divisor = op.operands[1]
        if divisor not in scope.inverses:
            name = f"{region.label(divisor)}_inverse"
            lines.append(f"const f8 {name} = tlc_inverse8({scope.names[divisor]});")
            scope.inverses[divisor] = name
    return lines


def lane_passes(
    plan: Plan, rows: Rows, scope: Scope, kept: Mapping[Value, int], again: bool = False
) -> list[LanePass]:
    """The passes of a plan along rows that have been started; `scope` then has their results.

    Rows that are walked along `again`, by every tile, do not wait for memory.
    """
    region, length = plan.region, plan.length

    def group(number: int, stage: Pass, lanes: Lanes) -> list[str]:
        block = scope.inside()
        reloads = [
            block.define(value, f"ld8({region.label(value)}_kept + {lanes.at})")
            for value, first in kept.items()
            if first < number
        ]
        lines = block.compute(stage.targets, rows.load(lanes))
        for value, first in kept.items():
            if first == number:
                lines.append(f"st8({region.label(value)}_kept + {lanes.at}, {block.names[value]});")
        mask, which = (lanes.mask, "[0]") if lanes.count else (None, "[u]")
        for op in stage.reductions:
            step = Reduction.of(region, op).lanes_step
            position = f"iota8() + int({lanes.at})"
            lines.append(step(which, block.names[op.operands[0]], position, mask))
        if not stage.reductions:
            result = block.names[plan.result]
            place = f"out_row + {lanes.at}"
            lines.append(lane_store(kind(plan.result), place, result, lanes.count))
        return used(reloads, lines) + lines

    def wide_group(number: int, stage: Pass) -> WidePass | None:
        extremes = {"reduce_max", "reduce_min"}.intersection(op.name for op in stage.reductions)
        whole = not length.is_static or int(length) >= 32
        if any(Reduction.of(region, op).index for op in stage.reductions) or not whole:
            return None
        known = scope.names.keys() | {value for value, first in kept.items() if first < number}
        enough = again or bool(extremes) or any(first != number for first in kept.values())
        if not wide.pays(region, stage.targets, known, plan.along, enough):
            return None
        block, before, after = wide.scope(scope), [], []
        reloads = [
            block.define(value, f"ld16({region.label(value)}_kept + j)")
            for value, first in kept.items()
            if first < number
        ]
        lines = block.compute(stage.targets, wide.load(rows, "j"))
        for value, first in kept.items():
            if first == number:
                lines.append(f"st16({region.label(value)}_kept + j, {block.names[value]});")
        for op in stage.reductions:
            reduction = Reduction.of(region, op)
            before += reduction.wide_start()
            lines.append(reduction.wide_step(block.names[op.operands[0]]))
            after += reduction.wide_end()
        if not stage.reductions:
            lines.append(f"st16(out_row + j, {block.names[plan.result]});")
        return WidePass(before, used(reloads, lines) + lines, after)

    def search(stage: Pass) -> Search | None:
        long = not length.is_static or int(length) >= 512
        if len(stage.reductions) != 1 or kept or not long:
            return None
        reduction = Reduction.of(region, stage.reductions[0])
        pays = wide.pays(region, stage.targets, scope.names, plan.along, True)
        if not reduction.index or not pays:
            return None
        block = wide.scope(scope)
        lines = block.compute(stage.targets, wide.load(rows, "j"))
        return Search(reduction.label, lines, reduction.largest(block.names[stage.targets[0]]))

    passes = []
    for number, stage in enumerate(plan.passes):
        before = scope.compute(plan.constant(stage.targets, scope.names), rows.first)
        before += _inverses(scope, region.needed(stage.targets, scope.names))
        for op in stage.reductions:
            before += Reduction.of(region, op).lanes_start(4)
        widened = wide_group(number, stage)
        body, tail = group(number, stage, Lanes("j")), group(number, stage, Lanes("j", "n"))
        after = [
            scope.define(op.result, Reduction.of(region, op).lanes_across())
            for op in stage.reductions
        ]
        if length.is_static and int(length) < 32:
            body = []
        if is_multiple(length, 32):
            tail = []
        passes.append(LanePass(stage.title, before, body, tail, after, widened, search(stage)))
    return passes


def _cpu(draft: Draft, plan: Plan) -> Kernel:
    region, sizes, length = draft.region, draft.sizes, plan.length
    indices, names = split(sizes, "row", plan.space.shape, "i")
    rows, scope = Rows(region, sizes), Scope(region, LANES, sizes)
    start: list[str] = []
    for access, strides in zip(plan.accesses, plan.space.strides, strict=False):
        aligned = all(is_multiple(d, 8) for d in (access.offset, *strides))
        place = offset(sizes, access.offset, strides, names)
        start += rows.start(access, place, plan.along[access.value], aligned)
    kept = _kept(plan, draft.profile.scratch)
    passes = lane_passes(plan, rows, scope, kept)
    end: list[str] = []
    if plan.scalar:
        end = scope.compute([region.result], rows.first)
        place = "out + row"
        end.append(lane_store(kind(region.result), place, scope.names[region.result], "1u"))
    if length.is_static:
        groups = groups_for(plan.rows, max(1, draft.profile.work // max(1, int(length))))
    else:
        groups = groups_for(plan.rows * length, draft.profile.work)
    return draft.kernel(
        "row",
        groups=groups,
        rows=plan.rows,
        length=length,
        start=used(indices, start) + start,
        arrays=[f"{region.label(value)}_kept[{-(-int(length) // 8) * 8}]" for value in kept],
        passes=passes,
        out=None if plan.scalar else buffer_type(region.out.dtype),
        end=end,
    )


# ---- apple --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ThreadPass:
    """What the apple template prints for a pass: `body` is for the thread's element `j`."""

    title: str
    before: list[str]
    body: list[str]
    after: list[str]


def _threads(plan: Plan, most: int) -> int:
    """A threadgroup in which a thread takes four elements of a row, as far as there are so many."""
    if not plan.length.is_static:
        return most
    return min(1024, max(32, -(-int(plan.length) // 128) * 32))


def thread_passes(
    plan: Plan,
    scope: Scope,
    element: Callable[[Access], str],
    first: str,
    across: Callable[[Reduction], str],
    store: Callable[[str], str] = str,
) -> list[ThreadPass]:
    """The passes of a plan, in which a thread takes element `first` of a row, `j`, and others;
    `across` is the expression of what all that take the row have, `store` the statement that stores
    an element of the result. `scope` then has the results of reductions."""
    region, passes = plan.region, []
    for stage in plan.passes:
        before = scope.compute(plan.constant(stage.targets, scope.names), element)
        block = scope.inside()
        body = block.compute(stage.targets, element)
        after = []
        for op in stage.reductions:
            reduction = Reduction.of(region, op)
            before += reduction.thread_start(first)
            body += reduction.thread_step(block.names[op.operands[0]], "j")
            after.append(scope.define(op.result, across(reduction)))
        if not stage.reductions:
            body.append(store(block.names[plan.result]))
        passes.append(ThreadPass(stage.title, before, body, after))
    return passes


def _apple(draft: Draft, plan: Plan) -> Kernel:
    region, sizes = draft.region, draft.sizes
    indices, names = split(sizes, "row", plan.space.shape, "i")
    scope = Scope(region, SCALARS, sizes)
    strides = {a.value: s for a, s in zip(plan.accesses, plan.space.strides, strict=False)}

    def element(access: Access) -> str:
        steps = (*strides[access.value], plan.along[access.value])
        return scalar_load(access, offset(sizes, access.offset, steps, [*names, "j"]))

    def store(value: str) -> str:
        place = plus(f"row * {sizes(plan.length)}", "j")
        return f"out[{place}] = {rounded_scalar(region.out.dtype, value)};"

    passes = thread_passes(plan, scope, element, "tid", Reduction.group_result, store)
    end: list[str] = []
    if plan.scalar:
        end = scope.compute([region.result], element)
        value = rounded_scalar(region.out.dtype, scope.names[region.result])
        end.append(f"if (tid == 0u) out[row] = {value};")
    names_of = {op.name for stage in plan.passes for op in stage.reductions}
    memory, note = [], "one per simdgroup"
    if "reduce_sum" in names_of:
        memory.append(Array("float", "sums", 32, note))
    if names_of - {"reduce_sum"}:
        memory.append(Array("uint", "tops", 32, note))
    lines = [line for p in passes for line in (*p.before, *p.body, *p.after)] + end
    return draft.kernel(
        "row",
        groups=groups_for(plan.rows, 1),
        threads=_threads(plan, draft.profile.threads),
        memory=memory,
        rows=plan.rows,
        length=plan.length,
        indices=used(indices, lines),
        passes=passes,
        end=end,
    )
