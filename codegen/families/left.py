"""The left rows of a product, as kernels get them: read from memory, or computed from what is read.

Computed rows (of a normalised tensor, say) take numbers that are the same along a row: those are
found first, for all rows of a tile, and kept in an array each. The rest is computed where an
element is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tlc.codegen import wide
from tlc.codegen.assembly import Draft
from tlc.codegen.expression import LANES, SCALARS, Access, Scope
from tlc.codegen.families.product import Product, lane_reader
from tlc.codegen.families.row import LanePass, Plan, ThreadPass, lane_passes, plan, thread_passes
from tlc.codegen.iteration import ONE, ZERO, offset
from tlc.codegen.memory import Lanes, Rows, scalar_load
from tlc.codegen.reductions import Reduction
from tlc.ir.core import Value


@dataclass(frozen=True, slots=True)
class Found:
    """How the numbers of row `m` are found: statements, passes along the row, statements."""

    start: list[str]
    passes: list[LanePass] | list[ThreadPass]
    end: list[str]


@dataclass(frozen=True, slots=True)
class LaneLeft:
    """How a cpu template gets 8 elements of row `m`, from `k0 + k` on.

    start   once per row; body and tail, before the expressions of 8 elements (`load`) and of the
    `real` first (`masked`). arrays hold numbers of each row, which `found` says how to find.
    wide    statements and an expression of 16 elements, where those are all floats.
    halves  a pointer to them, where they lie side by side in float16.
    """

    start: list[str]
    body: list[str]
    load: str
    tail: list[str]
    masked: str
    arrays: list[str] = field(default_factory=list)
    found: Found | None = None
    halves: str = ""
    wide: tuple[list[str], str] | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """How a template gets one element of row `m`: statements, then an expression."""

    lines: list[str]
    value: str
    arrays: list[str] = field(default_factory=list)
    found: Found | None = None


def lane_left(draft: Draft, product: Product, row: str) -> LaneLeft:
    """Lanes of the left rows; `row` is the number of a row among those whose numbers are kept."""
    region, sizes, left = draft.region, draft.sizes, product.left
    if left is not None:
        place = left.place(sizes, "b", "m", "k0")
        read = lane_reader(region, sizes, left, place, left.depth, "k")
        halves = "" if read.packed else read.whole
        return LaneLeft(read.start, [], read.load, [], read.masked, halves=halves)
    rows, stage = Rows(region, sizes), plan(region, product.made)
    start = _started(rows, stage, draft, "k0")
    kept = _kept(stage)
    scope = Scope(region, LANES, sizes)
    for value, array in kept.items():
        start.append(scope.define(value, f"splat8({array}[{row}])"))

    def lanes(lanes: Lanes) -> tuple[list[str], str]:
        block = scope.inside()
        lines = block.compute([product.made], rows.load(lanes))
        return lines, block.names[product.made]

    (body, load), (tail, masked) = lanes(Lanes("k")), lanes(Lanes("k", "real"))
    found = lane_found(draft, product)
    sixteen = None
    if wide.pays(region, [product.made], scope.names, stage.along, enough=True):
        block = wide.scope(scope)
        lines = block.compute([product.made], wide.load(rows, "k"))
        sixteen = lines, block.names[product.made]
    return LaneLeft(start, body, load, tail, masked, [*kept.values()], found, wide=sixteen)


def lane_found(draft: Draft, product: Product) -> Found | None:
    """How a cpu template finds the numbers of row `m`, and keeps them as number `i`."""
    region = draft.region
    stage = plan(region, product.made)
    kept = _kept(stage)
    if not kept:
        return None
    rows, scope = Rows(region, draft.sizes), Scope(region, LANES, draft.sizes)
    start = _started(rows, stage, draft, "0u")
    passes = lane_passes(_reductions(stage), rows, scope, {}, again=True)
    end = scope.compute(kept, rows.first)
    end += [f"st8n({array} + i, {scope.names[v]}, 1u);" for v, array in kept.items()]
    return Found(start, passes, end)


def element_left(draft: Draft, product: Product, k: str, row: str, shared: bool = False) -> Left:
    """Element `k` of the left row `m`; `row` is its number among those whose numbers are kept, in
    arrays that a threadgroup has `shared` or each thread has."""
    region, sizes, left = draft.region, draft.sizes, product.left
    if left is not None:
        return Left([], scalar_load(left.access, left.place(sizes, "b", "m", k)))
    kept = _kept(plan(region, product.made))
    scope = Scope(region, SCALARS, sizes)
    scope.names |= {value: f"{array}[{row}]" for value, array in kept.items()}
    lines = scope.compute([product.made], _element(draft, k))
    found = lane_found(draft, product)
    if draft.profile.name == "apple":
        found = _thread_found(draft, product, row, shared)
    return Left(lines, scope.names[product.made], [*kept.values()], found)


def _thread_found(draft: Draft, product: Product, row: str, shared: bool) -> Found | None:
    """How the lanes of a simdgroup find the numbers of row `m`."""
    stage = plan(draft.region, product.made)
    kept = _kept(stage)
    if not kept:
        return None
    scope, element = Scope(draft.region, SCALARS, draft.sizes), _element(draft, "j")
    passes = thread_passes(_reductions(stage), scope, element, "lane", Reduction.simdgroup_result)
    end = scope.compute(kept, element)
    one = "if (lane == 0u) " if shared else ""
    end += [f"{one}{array}[{row}] = {scope.names[v]};" for v, array in kept.items()]
    return Found([], passes, end)


def _reductions(stage: Plan) -> Plan:
    return replace(stage, passes=[p for p in stage.passes if p.reductions])


def _kept(stage: Plan) -> dict[Value, str]:
    """The numbers of a row that its elements take, and the array that holds each."""
    region = stage.region
    results = {op.result for p in stage.passes for op in p.reductions}
    found = [v for v in stage.constant([stage.result], results) if not _is_number(stage, v)]
    return {value: f"{region.label(value)}_of" for value in found}


def _is_number(stage: Plan, value: Value) -> bool:
    made = stage.region.definition(value)
    return made is not None and made.name == "constant"


def _started(rows: Rows, stage: Plan, draft: Draft, k: str) -> list[str]:
    start = []
    for access in stage.accesses:
        along = stage.along[access.value]
        place = offset(draft.sizes, access.offset, (access.strides[0], along), ("m", k))
        start += rows.start(access, place, along)
    return start


def _element(draft: Draft, k: str) -> Callable[[Access], str]:
    def element(access: Access) -> str:
        along = ZERO if access.shape[-1] == ONE else access.strides[-1]
        return scalar_load(
            access, offset(draft.sizes, access.offset, (access.strides[0], along), ("m", k))
        )

    return element
