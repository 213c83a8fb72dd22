"""Attention for one CPU thread: tiles of rows and blocks of keys, 6 by 32 in registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tlc.codegen import wide
from tlc.codegen.assembly import Draft, Kernel, groups_for
from tlc.codegen.elements import lane_loop, uniform, used
from tlc.codegen.expression import LANES, SCALARS, Access, Scope, kind
from tlc.codegen.families.appended import new_rows
from tlc.codegen.families.attention_region import Attention, Matrix
from tlc.codegen.families.product import Operand as Side
from tlc.codegen.families.product import lane_reader, positions
from tlc.codegen.iteration import ONE, ZERO, Sizes, offset, split
from tlc.codegen.memory import Lanes, Rows, buffer_type, lane_store, plus, scalar_load
from tlc.ir.core import Value

GROUP = 6  # rows of the micro-kernel
KEYS = 128  # of a block
DEEPEST = 256  # elements of a row that a processor's matrix unit takes
FEW = 4  # rows for which it does not pay to turn keys into panels


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows that a thread keeps at hand, in groups that are multiplied at once, and keys of a
    block."""

    rows: int
    group: int
    keys: int


@dataclass(frozen=True, slots=True)
class Query:
    """How the cpu template computes a row of queries: 8 elements at `d` of each of its pieces, or,
    where there are none, one at `at`."""

    row: list[str]
    start: list[str]
    pieces: int
    inner: int
    body: list[str]
    tail: list[str]


@dataclass(frozen=True, slots=True)
class Finish:
    """Statements once per row, for 8 real lanes at `n`, and for the `real` first of 8; and for 16,
    where all values are floats."""

    start: list[str]
    body: list[str]
    tail: list[str]
    wide: list[str] = field(default_factory=list)


def _tile(attention: Attention, rows: int | None, unit: bool) -> Tile:
    """Queries, scores and what is added up take about 190 KiB of cache at most, and 700 KiB on
    processors with a matrix unit, where keys and values are cut for each tile. A thread that
    appends to a head takes all rows that read it."""
    group = GROUP if rows is None else -(-rows // -(-max(1, rows) // GROUP))
    most, room = (258, 66048) if unit else (192, 24576)
    most = max(GROUP, min(most, room // (attention.depth + attention.width) // GROUP * GROUP))
    if rows is not None and attention.sizes_appended:
        most = max(most, rows + group)
    if rows is None:
        return Tile(most, group, KEYS)
    most = max(group, most // group * group)
    equal = -(-rows // max(1, -(-rows // most)))
    return Tile(max(group, -(-equal // group) * group), group, KEYS)


def kernel(draft: Draft, attention: Attention, rows: int | None) -> Kernel:
    region, sizes = draft.region, draft.sizes
    keys, values = attention.key, attention.value
    few = rows is not None and rows <= FEW
    halves = keys.access.encoding == values.access.encoding == region.out.dtype == "f16"
    beside = keys.along == ONE and values.along == ONE
    unit = not few and halves and beside and attention.depth <= DEEPEST
    tile = _tile(attention, rows, unit)
    head_lines, row_lines, names = attention.names(sizes)
    row_tiles = (attention.row_count + (tile.rows - 1)) // tile.rows
    tiles = attention.head_count * row_tiles
    place = positions(sizes, "tile", [("m0", row_tiles, tile.rows)], True)
    place[-1] = place[-1].replace("const uint b", "const uint head")
    query = _query(draft, attention, row_lines, names, unit)
    layout = "nt" if keys.along == ONE else "nn" if keys.key == ONE else "any"
    panel, element = None, ""
    key_place = _place(sizes, keys, names)
    if layout == "nt":
        at = plus(key_place, offset(sizes, ZERO, [keys.key], ["n"]))
        panel = lane_reader(region, sizes, _side(keys), at, ONE, "k")
    elif layout == "nn":
        at = plus(key_place, offset(sizes, ZERO, [keys.along], ["k"]))
        panel = lane_reader(region, sizes, _side(keys), at, ONE, "n")
    else:
        at = plus(key_place, offset(sizes, ZERO, [keys.key, keys.along], ["n", "k"]))
        element = scalar_load(keys.access, at)
    at = plus(_place(sizes, values, names), offset(sizes, ZERO, [values.key], ["n"]))
    value = lane_reader(region, sizes, _side(values), at, values.along, "d")
    mixes = few and values.along == ONE and values.access.encoding in ("f16", "f32")
    bounds = attention.bounds.statements(sizes, names)
    score = _score(draft, attention, row_lines, names)
    after = _after(draft, attention, row_lines, names)
    room, mixed_stride = tile.rows, -(-attention.width // 32) * 32
    panel_rows = -(-attention.depth // 8) * 8
    if unit:  # as templates/matrix_unit.cpu.metal.j2 takes operands
        room, mixed_stride = -(-tile.rows // 16) * 16, mixed_stride + 16
        panel_rows = max(-(-attention.depth // 32) * 32, tile.keys)
    new = new_rows(draft, attention.sizes_appended)
    lines = [*query.row, *bounds, *score.start, *after.start]
    lines += [key_place, element, *(panel.start if panel else []), *value.start]
    total = "totals[i]"
    if not attention.keys.is_static or attention.keys == ZERO:
        total = f"{sizes(attention.keys)} == 0u ? 1.0f : totals[i]"
    return draft.kernel(
        "attention",
        groups=groups_for(tiles, 1),
        tile=tile,
        tiles=tiles,
        place=place,
        head=used(head_lines, lines),
        new=[(row, lane_loop(row.draft, row.target)) for row in new],
        rows=attention.row_count,
        keys=attention.keys,
        depth=attention.depth,
        depth8=-(-attention.depth // 8) * 8,
        value_width=attention.width,
        width32=-(-attention.width // 32) * 32,
        query=query,
        bounds=bounds,
        layout=layout,
        direct=few and layout == "nt" and keys.access.encoding in ("f16", "f32"),
        mixes=mixes,
        unit=unit,
        room=room,
        query_stride="TLC_LEFT" if unit else f"{-(-attention.depth // 8) * 8}u",
        stride="TLC_LEFT" if unit else f"{tile.keys}u",
        mixed_stride=mixed_stride,
        panel_rows=panel_rows,
        step_key=sizes(keys.key),
        step_value=sizes(values.key),
        panel=panel,
        element=element,
        value=value,
        score=score,
        after=after,
        total=total,
    )


def _side(matrix: Matrix) -> Side:
    return Side(matrix.access, ZERO, matrix.key, matrix.along)


def _place(sizes: Sizes, matrix: Matrix, names: Sequence[str]) -> str:
    """Where the keys (or values) of a head begin; rows do not move it."""
    return offset(sizes, matrix.access.offset, matrix.lead, names)


def _query(
    draft: Draft, attention: Attention, row_lines: list[str], names: Sequence[str], unit: bool
) -> Query:
    region, sizes = draft.region, draft.sizes
    accesses = region.reads([attention.queries])
    *outer, inner = attention.cut
    to = f"queries + i * {'TLC_LEFT' if unit else f'{-(-attention.depth // 8) * 8}u'}"
    if outer and int(inner) % 8:
        cut_lines, cut = split(sizes, "at", attention.cut, "a")
        scope = Scope(region, SCALARS, sizes)

        def element(access: Access) -> str:
            return scalar_load(access, offset(sizes, access.offset, access.strides, [*names, *cut]))

        body = scope.compute([attention.queries], element)
        body.append(f"*({to} + at) = {scope.names[attention.queries]};")
        row = used(row_lines, [*body, *attention.bounds.statements(sizes, names)])
        return Query(row, used(cut_lines, body), 0, attention.depth, body, [])
    rows, scope = Rows(region, sizes), Scope(region, LANES, sizes)
    start: list[str] = []
    cut_lines, cut = split(sizes, "piece", outer, "a")
    for access in accesses:
        at = offset(sizes, access.offset, access.strides[:-1], [*names, *cut])
        start += rows.start(access, at, access.strides[-1])
    if outer:
        to += f" + piece * {int(inner)}u"

    def lanes(lanes: Lanes) -> list[str]:
        block = scope.inside()
        lines = block.compute([attention.queries], rows.load(lanes))
        return [*lines, f"st8({to} + d, {block.names[attention.queries]});"]

    depth = int(inner)
    row = used(row_lines, [*start, *attention.bounds.statements(sizes, names)])
    body = lanes(Lanes("d")) if depth >= 8 else []
    tail = lanes(Lanes("d", "real")) if depth % 8 else []
    start = used(cut_lines, [*start, *body]) + start
    return Query(row, start, attention.depth // depth, depth, body, tail)


def _lanes(
    draft: Draft,
    attention: Attention,
    target: Value,
    source: Value,
    row_lines: list[str],
    names: Sequence[str],
    expression: str,
    store: Callable[[str, str, Lanes], list[str]],
    store16: Callable[[str], list[str]] | None = None,
) -> Finish:
    """What is computed of a row of sums (of `source`) along the last axis of the target."""
    region, sizes = draft.region, draft.sizes
    kept = dict(region.read_as)
    region.read_as[source] = Access(source, None, "sums", source.tensor.shape, (), ZERO)
    rows, scope = Rows(region, sizes), Scope(region, LANES, sizes)
    accesses = region.reads([target])
    start: list[str] = []
    along = {source: ONE}
    for access in accesses:
        if access.value is source:
            continue
        at = offset(sizes, access.offset, access.strides[:-1], names)
        start += rows.start(access, at, access.strides[-1])
        along[access.value] = access.strides[-1]
    start += scope.compute(
        [v for v in uniform(region, target, along) if v is not source], rows.first
    )

    def lanes(lanes: Lanes) -> list[str]:
        block, load = scope.inside(), rows.load(lanes)
        lines = block.compute([target], lambda a: expression if a.value is source else load(a))
        return lines + store(lanes.at, block.names[target], lanes)

    body, tail = lanes(Lanes("n")), lanes(Lanes("n", "real"))
    sixteen: list[str] = []
    if store16 and wide.pays(region, [target], scope.names, along, enough=True):
        block, load16 = wide.scope(scope), wide.load(rows, "n")
        made = expression.replace("ld8", "ld16")
        sixteen = block.compute([target], lambda a: made if a.value is source else load16(a))
        sixteen += store16(block.names[target])
    region.read_as = kept
    return Finish(used(row_lines, [*start, *body]) + start, body, tail, sixteen)


def _score(
    draft: Draft, attention: Attention, row_lines: list[str], names: Sequence[str]
) -> Finish:
    def store(at: str, value: str, lanes: Lanes) -> list[str]:
        lowest = "splat8(as_type<float>(0xff800000u))"
        real = f"select8({lowest}, {value}, {lanes.mask})" if lanes.count else value
        return [
            f"const f8 score = {real};",
            "st8(scores_row + j, score);",
            "best = fastmax8(score, best);",
        ]

    def store16(value: str) -> list[str]:
        return [
            f"const v16 score = {value};",
            "st16(scores_row + j, score);",
            "most = fastmax16(score, most);",
        ]

    return _lanes(
        draft, attention, attention.scores, attention.first, row_lines, names,
        "ld8(scores_row + j)", store, store16,
    )  # fmt: skip


def _after(
    draft: Draft, attention: Attention, row_lines: list[str], names: Sequence[str]
) -> Finish:
    sizes, of = draft.sizes, kind(attention.result)
    place = plus("out", offset(sizes, ZERO, attention.out[:-1], names))
    out = f"device {buffer_type(draft.region.out.dtype)}* out_row = {place};"

    def store(at: str, value: str, lanes: Lanes) -> list[str]:
        return [lane_store(of, "out_row + n", value, lanes.count)]

    made = _lanes(
        draft, attention, attention.result, attention.mixed, row_lines, names,
        "ld8(mixed_row + n) / splat8(total)", store,
    )  # fmt: skip
    rows = [line for line in row_lines if line not in made.start]
    start = used(rows, [out]) + made.start + [out]
    width = attention.width
    return Finish(start, made.body if width >= 8 else [], made.tail if width % 8 else [])
