"""Matrix products by tiles: many rows on the left, operands converted once and used many times."""

from __future__ import annotations

from dataclasses import dataclass

from tlc.codegen.assembly import Array, Draft, Kernel, groups_for
from tlc.codegen.families.left import Left, element_left, lane_left
from tlc.codegen.families.product import (
    LaneReader,
    Operand,
    Product,
    element_after,
    lane_reader,
    lanes_after,
    pieces,
    positions,
)
from tlc.codegen.families.window import Image
from tlc.codegen.iteration import ONE, ZERO, Sizes, is_multiple, offset
from tlc.codegen.memory import Lanes, buffer_type, plus, scalar_load
from tlc.codegen.profiles import Tile
from tlc.ir.dims import Dim
from tlc.ir.formats import BFLOAT, PACKED


def kernel(draft: Draft, product: Product, image: Image | None = None) -> Kernel:
    """One kernel; `image` is what the right operand is where that is made of windows."""
    return (_cpu if draft.profile.name == "cpu" else _apple)(draft, product, image)


def _count(size: Dim, piece: int) -> Dim:
    return (size + (piece - 1)) // piece


def _tiles(product: Product, tile: Tile) -> Dim:
    rows = product.groups * _count(product.rows_of_group, tile.rows)
    return product.batch * rows * _count(product.columns, tile.columns)


def _places(sizes: Sizes, product: Product, tile: Tile) -> tuple[list[str], str]:
    """Statements that find the first row and column of a tile, and where its rows end at most."""
    rows, columns = product.rows_of_group, product.columns
    cuts = [("m0", _count(rows, tile.rows), tile.rows)]
    cuts.append(("n0", _count(columns, tile.columns), tile.columns))
    if product.groups == 1:
        return positions(sizes, "tile", cuts, product.batched), sizes(rows)
    cuts = [("m1", *cuts[0][1:]), cuts[1], ("g", Dim.of(product.groups), 1)]
    lines = positions(sizes, "tile", cuts, product.batched)
    lines += [f"const uint m0 = g * {sizes(rows)} + m1;"]
    return [*lines, f"const uint m_end = (g + 1u) * {sizes(rows)};"], "m_end"


def _group_start(sizes: Sizes, product: Product, image: Image) -> str:
    """Where the first channel of the image and the group lies, as text."""
    start = image.plane(sizes, "b" if product.batched else "0u", "0u")
    if product.groups == 1:
        return start
    channels = image.access.shape[1] // product.groups
    return plus(start, f"g * {sizes(channels * image.access.strides[1])}")


# ---- cpu ----------------------------------------------------------------------------------------

_ROWS, _PANEL = 12, 32  # of the widest micro-kernel, see lanes16.metal.j2
_APART = 16  # more floats from one row of sums to the next: an odd number of cache lines
_FEW_TILES = 6  # fewer would leave threads without work


def _cpu(draft: Draft, product: Product, image: Image | None) -> Kernel:
    region, sizes, profile = draft.region, draft.sizes, draft.profile
    few = all(d.is_static for d in (product.batch, product.rows, product.columns)) and (
        int(_tiles(product, profile.tile)) < _FEW_TILES
    )
    most = profile.small_tile if few else profile.tile
    tile = Tile(
        pieces(product.rows_of_group, most.rows, _ROWS),
        pieces(product.columns, most.columns // len(product.rights), _PANEL),
        pieces(product.depth, most.depth, 32),
    )
    elements: list[str] = []
    panels: list[LaneReader] = []
    for side in product.rights:
        match product.layout:
            case "nt":
                at = side.place(sizes, "b", "n", "k0")
                panels.append(lane_reader(region, sizes, side, at, ONE, "k"))
            case "nn":
                at = side.place(sizes, "b", "0u", "k")
                panels.append(lane_reader(region, sizes, side, at, ONE, "n"))
            case "any":
                elements.append(scalar_load(side.access, side.place(sizes, "b", "n", "k")))
    stride = tile.columns + _APART
    start, finish = lanes_after(region, sizes, product, stride)
    tiles = _tiles(product, tile)
    place, rows_end = _places(sizes, product, tile)
    return draft.kernel(
        "tiles",
        groups=groups_for(tiles, 1),
        product=product,
        tile=tile,
        unit=product.element == "half",
        stride=stride,
        room=-(-tile.rows // 16) * 16,
        tiles=tiles,
        place=place,
        rows_end=rows_end,
        left=lane_left(draft, product, "i"),
        panels=panels,
        elements=elements,
        image=image,
        start_of_image=_group_start(sizes, product, image) if image else "",
        start=start,
        body=finish(Lanes("n")),
        tail=[] if is_multiple(product.columns, 8) else finish(Lanes("n", "real")),
    )


# ---- apple --------------------------------------------------------------------------------------

_PADDING = 8  # elements after each line of a staged block, so that lines start in different banks


@dataclass(frozen=True, slots=True)
class Stage:
    """How the apple template copies a block to threadgroup memory, `chunk` neighbours at a time.

    A line of the block is a row or column of the operand, or one position along K. `indices` are
    statements from `line` and `at` (along it); `inside` says that the elements exist; `copy` puts
    them at `to`.
    """

    name: str
    lines: int
    length: int
    chunk: int
    indices: list[str]
    inside: str
    copy: list[str]

    @property
    def stride(self) -> int:
        return self.length + _PADDING


def _stage(
    sizes: Sizes, product: Product, side: Operand | Left, name: str, tile: Tile, across: bool
) -> Stage:
    """`across` says that the lines of the block are positions along K."""
    left = name == "left"
    index, size = ("m", product.rows) if left else ("n", product.columns)
    first, lines = ("m0", tile.rows) if left else ("n0", tile.columns)
    indices = [f"const uint {index} = {first} + line;", "const uint k = k0 + at;"]
    inside = f"{index} < {sizes(size)} && k < {sizes(product.depth)}"
    if isinstance(side, Left):
        copy = [*side.lines, f"to[0] = {product.element}({side.value});"]
        return Stage(name, lines, tile.depth, 1, indices, inside, copy)
    length, step, neighbour = tile.depth, side.depth, product.depth
    aligned = side.lines_are_multiples(4)
    if across:
        lines, length, step, neighbour = tile.depth, lines, side.line, size
        indices = [f"const uint {index} = {first} + at;", "const uint k = k0 + line;"]
        aligned = all(is_multiple(d, 4) for d in (side.access.offset, side.batch, side.depth))
    access, buffer = side.access, f"in{side.access.arg}"
    place = side.place(sizes, "b", index, "k")
    stored = buffer_type(access.encoding)
    if access.encoding in PACKED and product.layout != "any" and not left:
        chunk = 8
        copy = [
            "float w[8];",
            f"tlc_read8_{access.encoding}({buffer}, {place}, w);",
            f"for (uint c = 0u; c < 8u; ++c) to[c] = {product.element}(w[c]);",
        ]
    elif step == ONE and access.encoding not in PACKED and aligned and is_multiple(neighbour, 4):
        chunk = 4
        vector = f"*(device const {stored}4*)({buffer} + {place})"
        if access.encoding == BFLOAT:
            vector = f"tlc_bf16_4({vector})"
        if stored != product.element:
            vector = f"{product.element}4({vector})"
        copy = [f"*(threadgroup {product.element}4*)to = {vector};"]
    else:
        chunk = 1
        plain = access.encoding not in PACKED and stored == product.element
        element = f"{buffer}[{place}]" if plain else scalar_load(access, place)
        copy = [f"to[0] = {element if plain else f'{product.element}({element})'};"]
    inside = f"{index} < {sizes(size)} && k < {sizes(product.depth)}"
    return Stage(name, lines, length, chunk, indices, inside, copy)


def _stage_of_windows(sizes: Sizes, product: Product, image: Image, tile: Tile) -> Stage:
    """A block of windows: its lines are positions along K, channel after channel."""
    window, (*_, channel, row, column) = image.window, image.access.strides
    (down, across), (y, x) = window.stride, window.dilation
    top, left = window.padding
    place = f"k / {window.count}u", f"k % {window.count}u"
    columns, width = sizes(image.columns), window.size[1]
    indices = [
        "const uint n = n0 + at;",
        "const uint k = k0 + line;",
        f"const uint c = {place[0]};",
        f"const uint p = {place[1]};",
        f"const int y = int(n / {columns} * {down}u + p / {width}u * {y}u) - {top};",
        f"const int x = int(n % {columns} * {across}u + p % {width}u * {x}u) - {left};",
    ]
    inside = f"n < {sizes(product.columns)} && k < {sizes(product.depth)}"
    inside += f" && y >= 0 && y < int({sizes(image.height)})"
    inside += f" && x >= 0 && x < int({sizes(image.width)})"
    within = offset(sizes, ZERO, (channel, row, column), ("c", "uint(y)", "uint(x)"))
    element = scalar_load(image.access, plus(_group_start(sizes, product, image), within))
    copy = [f"to[0] = {product.element}({element});"]
    return Stage("right", tile.depth, tile.columns, 1, indices, inside, copy)


def _apple(draft: Draft, product: Product, image: Image | None) -> Kernel:
    sizes, profile = draft.sizes, draft.profile
    large = all(
        d.is_static and int(d) >= 4 * profile.tile.rows
        for d in (product.rows_of_group, product.columns)
    )
    tile = profile.tile if large and len(product.rights) == 1 else profile.small_tile
    across = product.layout != "nt"
    made = element_left(draft, product, "k", "line", shared=True)
    left = _stage(sizes, product, product.left or made, "left", tile, False)
    rights = [
        _stage_of_windows(sizes, product, image, tile)
        if image
        else _stage(sizes, product, side, name.replace("sum", "right"), tile, across)
        for side, name in zip(product.rights, product.names, strict=True)
    ]
    tiles = _tiles(product, tile)
    place, rows_end = _places(sizes, product, tile)
    staged = [Array(product.element, s.name, s.lines * s.stride) for s in (left, *rights)]
    count = 4 * 8 * (tile.columns // 2)  # 8 rows of each part
    kept = [Array("float", name, tile.rows) for name in made.arrays]
    finished = [Array("float", name.replace("sum", "finished"), count) for name in product.names]
    return draft.kernel(
        "tiles",
        groups=groups_for(tiles, 1),
        threads=128,
        memory=[*staged, *finished, *kept],
        features=frozenset({"simdgroup_matrix"}),
        rounds=made is not None and product.element == "half",
        product=product,
        tile=tile,
        tiles=tiles,
        place=place,
        rows_end=rows_end,
        left=left,
        made=made,
        rights=rights,
        transposed=not across,
        zero="0.0h" if product.element == "half" else "0.0f",
        after=element_after(draft.region, sizes, product),
    )
