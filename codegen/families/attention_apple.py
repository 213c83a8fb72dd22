"""Attention for a GPU, by rows or by tiles of 32 rows.

For few rows, a threadgroup takes one and its simdgroups share the keys. For many, a simdgroup takes
8 rows as 8x8 matrices, and the threadgroup stages keys and values for four of them.
"""

from __future__ import annotations

from typing import NamedTuple

from tlc.codegen.assembly import MAX_THREADGROUP_BYTES, Array, Draft, Kernel, groups_for
from tlc.codegen.elements import ElementLoop, element_loop, used
from tlc.codegen.expression import SCALARS, Access, Scope
from tlc.codegen.families.appended import NewRow, new_rows
from tlc.codegen.families.attention_region import Attention, Matrix
from tlc.codegen.iteration import ONE, ZERO, is_multiple, offset, split
from tlc.codegen.memory import buffer_type, plus, rounded_scalar, scalar_load, widened
from tlc.ir.core import Value
from tlc.ir.formats import PACKED

SIMDGROUPS = 8  # that share the keys of a row
MANY_ROWS = 8  # fill the matrices of a simdgroup
TILE_ROWS, PADDING = 32, 8


def kernel(draft: Draft, attention: Attention, rows: int | None) -> Kernel:
    """`rows` is how many there are for each head, None where only run time knows."""
    if rows is None or rows >= MANY_ROWS:
        block = _block_of(attention)
        if block is not None:
            return _by_tiles(draft, attention, block)
    return _by_rows(draft, attention)


class _Parts(NamedTuple):
    """Statements for one element, and where elements lie.

    query   `query`, element `at` of the queries of a row; score, `score` from `dot` for key `n`;
            after, what follows element `n` of the result, `sum`, and stores it.
    bounds  narrow `start` and `stop`.
    heads   indices from `head`; rows, from `row`: all that any part may name.
    key     the place of element `at` of key `n`; value, of element `at` of value `n`.
    """

    query: list[str]
    score: list[str]
    after: list[str]
    bounds: list[str]
    heads: list[str]
    rows: list[str]
    key: str
    value: str
    unless_none: str
    quotient: str

    @property
    def lines(self) -> list[str]:
        """All that names indices."""
        return [*self.query, *self.score, *self.after, *self.bounds, self.key, self.value]

    def place(self, *lines: str) -> list[str]:
        """Those of the indices of a row that some statements name."""
        rows = used(self.rows, lines)
        return used(self.heads, [*lines, *rows]) + rows


def _parts(draft: Draft, attention: Attention) -> _Parts:
    region, sizes = draft.region, draft.sizes
    heads, rows, names = attention.names(sizes)

    def at(access: Access, *more: str) -> str:
        return scalar_load(access, offset(sizes, access.offset, access.strides, [*names, *more]))

    def place(matrix: Matrix) -> str:
        return plus(
            offset(sizes, matrix.access.offset, matrix.lead, names),
            offset(sizes, ZERO, [matrix.key, matrix.along], ["n", "at"]),
        )

    cut_lines, cut = split(sizes, "at", attention.cut, "a")
    scope = Scope(region, SCALARS, sizes)
    query = scope.compute([attention.queries], lambda a: at(a, *cut))
    query.append(f"const float query = {scope.names[attention.queries]};")
    scope = Scope(region, SCALARS, sizes)
    scope.names[attention.first] = "dot"
    score = scope.compute([attention.scores], lambda a: at(a, "n"))
    score.append(f"const float score = {scope.names[attention.scores]};")
    scope = Scope(region, SCALARS, sizes)
    scope.names[attention.mixed] = "sum"
    after = scope.compute([attention.result], lambda a: at(a, "n"))
    value = rounded_scalar(region.out.dtype, scope.names[attention.result])
    after.append(f"out[{offset(sizes, ZERO, attention.out, [*names, 'n'])}] = {value};")
    none = "" if attention.keys.is_static else f" && {sizes(attention.keys)} != 0u"
    empty = bool(none) or attention.keys == ZERO
    return _Parts(
        query=used(cut_lines, query) + query,
        score=score,
        after=after,
        bounds=attention.bounds.statements(sizes, names),
        heads=heads,
        rows=rows,
        key=place(attention.key),
        value=place(attention.value),
        unless_none=none,
        quotient="(all == 0.0f ? 0.0f : added / all)" if empty else "added / all",
    )


class _New(NamedTuple):
    """A row that is appended: what is computed of element `at` of a head, and where it goes."""

    row: NewRow
    loop: ElementLoop

    @property
    def kept(self) -> str:
        """The threadgroup's copy of a head."""
        return f"new{self.row.part}"

    @property
    def lines(self) -> list[str]:
        """All that names indices."""
        return [*self.loop.row, *self.loop.body, self.row.start]


def _new(draft: Draft, attention: Attention) -> list[_New]:
    rows = new_rows(draft, attention.sizes_appended)
    return [_New(row, element_loop(row.draft, row.target, single=True)) for row in rows]


# ---- by rows ------------------------------------------------------------------------------------


def _by_rows(draft: Draft, attention: Attention) -> Kernel:
    sizes, parts = draft.sizes, _parts(draft, attention)
    count = attention.head_count * attention.row_count
    place = ["const uint head = work;", "const uint row = 0u;"]
    if attention.rows:
        one, many = "const uint row = work", f" % {sizes(attention.row_count)};"
        place = [f"const uint head = work / {sizes(attention.row_count)};", one + many]
    indices = parts.place(*parts.lines)
    new = _new(draft, attention)
    named = ["row", *(line for each in new for line in each.lines)] if new else []

    def element(matrix: Matrix, place: str) -> str:
        loaded = scalar_load(matrix.access, place)
        for each in new:
            if each.row.part == matrix.access.part:
                kept = widened(matrix.access.encoding, f"{each.kept}[at]")
                return f"(n + 1u == {sizes(attention.keys)} ? {kept} : {loaded})"
        return loaded

    return draft.kernel(
        "attention",
        groups=groups_for(count, 1),
        threads=32 * SIMDGROUPS,
        threadgroup_bytes=4 * (3 * 32 + SIMDGROUPS * attention.width)
        + sum(Array(each.row.type, each.kept, int(each.row.size)).nbytes for each in new),
        simdgroups=SIMDGROUPS,
        count=count,
        place=used(place, [*indices, *parts.lines, *named]) + indices,
        new=new,
        keys=attention.keys,
        depth=attention.depth,
        width=attention.width,
        parts=parts,
        key=element(attention.key, parts.key),
        value=element(attention.value, parts.value),
    )


# ---- by tiles -----------------------------------------------------------------------------------


class _Block(NamedTuple):
    """How many keys are staged at a time, as what holds them and the queries exactly, and how many
    bytes of threadgroup memory that takes in all."""

    keys: int
    element: str
    bytes: int


def _padded(size: int) -> int:
    """A line of 8x8 matrices, and what makes the next start in another bank."""
    return -(-size // 8) * 8 + PADDING


def _block_of(attention: Attention) -> _Block | None:
    """The block of keys; None where heads are too long to be staged."""
    queries = _before_cast(attention)
    kinds = {queries.tensor.dtype, attention.key.access.encoding}
    element = "half" if kinds == {"f16"} else "float"
    longest = max(attention.depth, attention.width)
    keys = 32 if longest <= 64 else 16
    while keys >= 8:
        lines = max(TILE_ROWS, keys) * _padded(attention.depth) * (4 if element == "float" else 2)
        staged = max(lines, 4 * keys * _padded(attention.width))
        nbytes = staged + 4 * (TILE_ROWS * (keys + PADDING) + 4 * 64 + 2 * 4)
        if longest <= 256 and nbytes <= MAX_THREADGROUP_BYTES:
            return _Block(keys, element, nbytes)
        keys //= 2
    return None


def _before_cast(attention: Attention) -> Value:
    made = attention.region.definition(attention.queries)
    return made.operands[0] if made is not None and made.name == "cast" else attention.queries


class _Stage(NamedTuple):
    """How a block of keys or values is copied to `to`, `chunk` neighbours at a time."""

    size: int
    stride: int
    element: str
    chunk: int
    place: list[str]
    copy: str

    @property
    def padded(self) -> int:
        return self.stride - PADDING


def _stage(matrix: Matrix, size: int, element: str, parts: _Parts, place: str) -> _Stage:
    access, stored = matrix.access, buffer_type(matrix.access.encoding)
    starts = (access.offset, *matrix.lead, matrix.key)
    near = matrix.along == ONE and access.encoding not in PACKED and access.encoding != "index"
    if near and size % 4 == 0 and all(is_multiple(d, 4) for d in starts):
        vector = f"*(device const {stored}4*)({access.buffer} + {place})"
        copy = f"*(threadgroup {element}4*)to = "
        copy += f"{vector};" if stored == element else f"{element}4({vector});"
        return _Stage(size, _padded(size), element, 4, parts.place(place), copy)
    copy = f"to[0] = {element}({scalar_load(access, place)});"
    return _Stage(size, _padded(size), element, 1, parts.place(place), copy)


def _by_tiles(draft: Draft, attention: Attention, block: _Block) -> Kernel:
    sizes, parts = draft.sizes, _parts(draft, attention)
    tiles_of_head = (attention.row_count + (TILE_ROWS - 1)) // TILE_ROWS
    count = attention.head_count * tiles_of_head
    place = ["const uint head = tile;", "const uint m0 = 0u;"]
    if tiles_of_head != ONE:
        place = [
            f"const uint head = tile / {sizes(tiles_of_head)};",
            f"const uint m0 = tile % {sizes(tiles_of_head)} * {TILE_ROWS}u;",
        ]
    new = _new(draft, attention)
    named = [line for each in new for line in each.lines]
    scores = _padded(block.keys)
    staged = block.bytes // 4 - TILE_ROWS * scores - 4 * 64 - 2 * 4
    made = attention.region.definition(_before_cast(attention))
    return draft.kernel(
        "attention_tiles",
        groups=groups_for(count, 1),
        threads=128,
        memory=[
            Array("float", "staged", staged),
            Array("float", "finished", TILE_ROWS * scores),
            Array("float", "scaled", 4 * 64),
            Array("int", "firsts", 4),
            Array("int", "pasts", 4),
        ],
        features=frozenset({"simdgroup_matrix"}),
        rounds=block.element == "half" and made is not None and made.name != "access",
        count=count,
        place=used(place, [*parts.place(*parts.lines), *parts.lines, "m0", *named]),
        new=new,
        rows=attention.row_count,
        keys=attention.keys,
        depth=attention.depth,
        width=attention.width,
        block=block,
        stride=scores,
        parts=parts,
        key=_stage(attention.key, attention.depth, block.element, parts, parts.key),
        value=_stage(attention.value, attention.width, "float", parts, parts.value),
    )
