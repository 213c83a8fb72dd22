"""Products of few rows with a matrix: the matrix is read once, in the order it has in memory.

Where its neighbours lie along K, every sum is a dot product; where they lie along the columns, sums
of neighbouring columns grow together.
"""

from __future__ import annotations

from typing import Any

from tlc.codegen.assembly import Array, Draft, Kernel, groups_for
from tlc.codegen.families.left import element_left, lane_left
from tlc.codegen.families.product import (
    Operand,
    Product,
    element_after,
    lanes_after,
    pieces,
    positions,
)
from tlc.codegen.iteration import ONE, Sizes, is_multiple
from tlc.codegen.memory import Lanes, buffer_type, plus, scalar_load, widened
from tlc.ir.dims import Dim
from tlc.ir.formats import PACKED

_STRIP = 256  # columns that a CPU thread sums before it goes on, as dot products
_WIDE_STRIP = 1024  # and side by side
_LEAST = 3 << 17  # packed weights of a strip, so that making integers of the rows costs little
_COPIED = 4096  # elements of each left row that a CPU thread holds as floats


def kernel(draft: Draft, product: Product) -> Kernel:
    """A kernel that is right while `product.rows` is at most the profile's `few_rows`."""
    dots = product.layout != "nn"
    if draft.profile.name == "cpu":
        return _cpu_dots(draft, product) if dots else _cpu_columns(draft, product)
    return _apple_dots(draft, product) if dots else _apple_columns(draft, product)


def _rows(draft: Draft, product: Product) -> int:
    """How many rows to keep room for."""
    return int(product.rows) if product.rows.is_static else draft.profile.few_rows


# ---- cpu ----------------------------------------------------------------------------------------


def _strips(draft: Draft, product: Product, strip: int, template: str, **context: Any) -> Kernel:
    """A kernel whose work items are strips of columns of a batch."""
    strips = (product.columns + (strip - 1)) // strip
    start, finish = lanes_after(draft.region, draft.sizes, product, strip)
    return draft.kernel(
        template,
        groups=groups_for(product.batch * strips, 1),
        product=product,
        rows=_rows(draft, product),
        strip=strip,
        count=product.batch * strips,
        place=positions(draft.sizes, "work", [("n0", strips, strip)], product.batched),
        start=start,
        body=finish(Lanes("n")),
        tail=[] if is_multiple(product.columns, 8) else finish(Lanes("n", "real")),
        **context,
    )


def _lines(sizes: Sizes, right: Operand, place: str, step: Dim) -> dict[str, str]:
    """How rows of the matrix are handed to a function: where the first starts, and the step."""
    encoding, buffer = right.access.encoding, f"in{right.access.arg}"
    packed = encoding in PACKED
    return {
        "packed": f"_{encoding}" if packed else "",
        "line": f"{buffer}, {place}" if packed else plus(buffer, place),
        "step": sizes(step),
    }


def _cpu_dots(draft: Draft, product: Product) -> Kernel:
    sizes, right = draft.sizes, product.right
    packed = PACKED.get(right.access.encoding) if product.layout == "nt" else None
    # integers take packed rows by blocks of 256, or two of 32; 8 of those are faster
    whole = 64 if packed and packed.block == 32 else 256
    units = (unit for unit in (256, 64) if packed and is_multiple(product.depth, unit))
    depth = pieces(product.depth, _COPIED, next(units, 32))
    # enough columns that converting the left rows costs little, enough work for a threadgroup
    most = _STRIP
    if product.columns.is_static and not packed:
        most = min(_STRIP, max(64, 16 * draft.profile.work // depth))
    elif product.columns.is_static:
        most = min(_STRIP, max(64, int(product.columns) // 16, _LEAST // depth))
    unit = packed and packed.part == 32 and _rows(draft, product) > 2
    if unit and product.columns.is_static:  # more is made of the rows
        most = min(4 * _STRIP, max(64, int(product.columns) // 8))
    if product.left is None:  # computing them costs more than to convert them
        most = max(most, min(_STRIP, 2 * most))
    strip = pieces(product.columns, most, 8)
    reads: list[dict[str, Any]] = []
    for side in product.rights:
        place = side.place(sizes, "b", "n", "k0")
        if product.layout == "nt":
            reads.append(_lines(sizes, side, place, side.line))
        else:
            element = scalar_load(side.access, side.place(sizes, "b", "n", "k"))
            reads.append({"packed": "", "element": element})
        if packed:
            block = f"in{side.access.arg} + ({place}) / {packed.block}u * {packed.nbytes}u"
            reads[-1]["block"] = block
            reads[-1]["next"] = f"{sizes(side.line)} / {packed.block}u * {packed.nbytes}u"
    return _strips(
        draft,
        product,
        strip,
        "dots",
        depth=depth,
        left=lane_left(draft, product, "m"),
        part=packed.part if packed else 0,
        bias=packed.bias if packed else 0,
        order=packed.order if packed else "",
        block=packed.block if packed else 0,
        nbytes=packed.nbytes if packed else 0,
        whole=whole,
        unit=unit,
        fours=(_rows(draft, product) + 3) // 4,
        reads=reads,
    )


def _cpu_columns(draft: Draft, product: Product) -> Kernel:
    sizes = draft.sizes
    # long runs of neighbours, but several strips
    strip = _WIDE_STRIP
    if product.columns.is_static:
        strip = min(_WIDE_STRIP, max(_STRIP, int(product.columns) // 8))
    return _strips(
        draft,
        product,
        pieces(product.columns, strip, 8),
        "columns",
        left=element_left(draft, product, "k", "m"),
        reads=[
            _lines(sizes, side, side.place(sizes, "b", "n0", "k0"), side.depth)
            for side in product.rights
        ],
    )


# ---- apple --------------------------------------------------------------------------------------


def _chunk(product: Product) -> int:
    """How many neighbours along K a lane reads at once, where memory is aligned for it."""
    left, right = product.left, product.right
    if right.access.encoding in PACKED and product.layout == "nt":
        return 8
    whole = is_multiple(product.depth, 4) and _aligned(right)
    return 4 if whole and (left is None or _aligned(left)) else 1


def _aligned(side: Operand) -> bool:
    """Whether vectors of 4 can be read along K."""
    plain = side.access.encoding not in PACKED and side.depth == ONE
    return plain and side.lines_are_multiples(4)


def _read(sizes: Sizes, side: Operand, line: str, to: str, chunk: int) -> list[str]:
    """Statements that read `chunk` neighbours along K of row (or column) `line` from `k` on."""
    access, buffer = side.access, f"in{side.access.arg}"
    place = side.place(sizes, "b", line, "k")
    if chunk == 1:
        return [f"{to}[0] = {scalar_load(access, place)};"]
    if access.encoding in PACKED:
        return [f"tlc_read8_{access.encoding}({buffer}, {place}, {to});"]
    if _aligned(side):
        vector = f"{buffer_type(access.encoding)}4"
        lines = []
        for first in range(0, chunk, 4):
            where, name = plus(place, f"{first}u"), f"part{first // 4}"
            lines.append(f"const {vector} {name} = *(device const {vector}*)({buffer} + {where});")
            element = widened(access.encoding, f"{name}[i]")
            lines.append(
                f"for (uint i = 0u; i < 4u; ++i) {to}[{plus('i', f'{first}u')}] = {element};"
            )
        return lines
    element = scalar_load(access, side.place(sizes, "b", line, "at"))
    return [
        f"for (uint i = 0u; i < {chunk}u; ++i) {{",
        "    const uint at = k + i;",
        f"    {to}[i] = {element};",
        "}",
    ]


def _apple_dots(draft: Draft, product: Product) -> Kernel:
    sizes, chunk = draft.sizes, _chunk(product)
    blocks = (product.columns + 3) // 4
    return draft.kernel(
        "dots",
        groups=groups_for(product.batch * blocks, draft.profile.threads // 32),
        product=product,
        rows=_rows(draft, product),
        chunk=chunk,
        count=product.batch * blocks,
        place=positions(sizes, "work", [("n0", blocks, 4)], product.batched),
        left=element_left(draft, product, "at" if chunk > 1 else "k", "m"),
        read=_read(sizes, product.left, "m", "x[m]", chunk) if product.left else [],
        rights=[_read(sizes, side, "n", "w", chunk) for side in product.rights],
        after=element_after(draft.region, sizes, product),
    )


def _apple_columns(draft: Draft, product: Product) -> Kernel:
    sizes = draft.sizes
    blocks = (product.columns + 31) // 32
    return draft.kernel(
        "columns",
        groups=groups_for(product.batch * blocks, 1),
        memory=[Array("float", "partial", 32 * 32)],
        product=product,
        rows=_rows(draft, product),
        count=product.batch * blocks,
        place=positions(sizes, "work", [("n0", blocks, 32)], product.batched),
        left=element_left(draft, product, "k", "m"),
        rights=[scalar_load(r.access, r.place(sizes, "b", "n", "k")) for r in product.rights],
        after=element_after(draft.region, sizes, product),
    )
