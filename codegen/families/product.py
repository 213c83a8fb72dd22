"""A region with a matrix product as kernels see it: sizes, layouts, and what follows the sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tlc.codegen.expression import LANES, SCALARS, Access, Region, Scope, kind
from tlc.codegen.iteration import ONE, ZERO, Dims, Sizes, is_multiple, offset, row_major
from tlc.codegen.memory import (
    Lanes,
    Rows,
    buffer_type,
    lane_store,
    plus,
    rounded_scalar,
    scalar_load,
)
from tlc.frontend.diagnostics import InternalError
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.formats import BFLOAT, PACKED


def pieces(size: Dim, most: int, unit: int) -> int:
    """What pieces to cut a size into, all nearly equal: a multiple of `unit`, at most `most`."""
    most = max(unit, most // unit * unit)
    if not size.is_static:
        return most
    count = max(1, -(-int(size) // most))
    return min(most, max(1, -(-int(size) // (count * unit))) * unit)


def positions(
    sizes: Sizes, flat: str, parts: Sequence[tuple[str, Dim, int]], batched: bool
) -> list[str]:
    """Statements that take the number of a piece of work apart.

    `parts` are a variable, into how many pieces its axis is cut, and the size of a piece; the
    first changes fastest, and the batch `b` slowest.
    """
    lines, rest = [], flat
    many = [name for name, count, _ in parts if count != ONE]
    for name, count, piece in parts:
        times = "" if piece == 1 else f" * {piece}u"
        if count == ONE:
            lines.append(f"const uint {name} = 0u;")
        elif name == many[-1] and not batched:
            lines.append(f"const uint {name} = {rest}{times};")
        else:
            lines.append(f"const uint {name} = {rest} % {sizes(count)}{times};")
            rest = f"{rest} / {sizes(count)}"
    return [*lines, f"const uint b = {rest};"] if batched else lines


@dataclass(frozen=True, slots=True)
class Operand:
    """One side of a product: the strides of its batches, of its rows or columns, and along K."""

    access: Access
    batch: Dim
    line: Dim
    depth: Dim

    def place(self, sizes: Sizes, batch: str, line: str, depth: str) -> str:
        """The number of an element in its operand, as text."""
        strides = (self.batch, self.line, self.depth)
        return offset(sizes, self.access.offset, strides, (batch, line, depth))

    def lines_are_multiples(self, unit: int) -> bool:
        """Whether every row (or column) starts at a multiple of so many elements."""
        return all(is_multiple(d, unit) for d in (self.access.offset, self.batch, self.line))


@dataclass(frozen=True, slots=True)
class Product:
    """`batch` products of [rows, depth] and [depth, columns], or two with the same left operand.

    sums    the value of each product.
    left    how the rows on the left are read; None when the kernel computes them, as `made`.
    layout  how the right operands lie: `nt`, neighbours along K (weights [out, in]); `nn`, along
            the columns; `any` other way; `windows` of an image.
    after   what follows the sum reads: accesses with strides along batch, row and column.
    groups  how many equal groups of rows there are; each has a right operand of its own.
    """

    sums: tuple[Value, ...]
    batch: Dim
    rows: Dim
    columns: Dim
    depth: Dim
    made: Value
    left: Operand | None
    rights: tuple[Operand, ...]
    layout: Literal["nt", "nn", "any", "windows"]
    after: list[tuple[Access, Dims]]
    groups: int = 1

    @property
    def batched(self) -> bool:
        return self.batch != ONE

    @property
    def rows_of_group(self) -> Dim:
        return self.rows // self.groups

    @property
    def out(self) -> Dims:
        """The strides of the result along batch, row and column."""
        batch, *rest = row_major((self.batch, self.rows, self.columns))
        return (batch if self.batched else ZERO, *rest)

    @property
    def right(self) -> Operand:
        """The first right operand; another has the same strides and encoding."""
        return self.rights[0]

    @property
    def names(self) -> list[str]:
        """What the sums of each product are called in a kernel."""
        return ["sum"] if len(self.sums) == 1 else [f"sum{r}" for r in range(len(self.sums))]

    @property
    def element(self) -> Literal["half", "float"]:
        """The type that holds the elements of both operands exactly."""
        sides = (self.made.tensor.dtype, self.right.access.encoding)
        return "float" if "f32" in sides else "half"


def product_of(region: Region) -> Product:
    """The product of a region. One column is seen as one row: the same numbers transposed."""
    ops = [op for op in region.ops if op.name == "contract"]
    made = ops[0].operands[0]
    left = region.access(made)
    found = [region.access(op.operands[1]) for op in ops]
    rights = [right for right in found if right is not None]
    if len(rights) < len(ops):
        raise InternalError("the right operand of a product is read from memory")
    *lead, rows, columns = ops[0].result.tensor.shape
    batch, depth = (lead[0] if lead else ONE), made.tensor.shape[-1]

    def three(strides: Sequence[Dim]) -> list[Dim]:
        return [strides[0] if batch != ONE else ZERO, *strides[-2:]]

    one = None if left is None else Operand(left, *three(left.strides))
    others = [Operand(right, b, n, k) for right in rights for b, k, n in [three(right.strides)]]
    sums = tuple(op.result for op in ops)
    after = [(a, tuple(three(a.strides))) for a in region.reads([region.result], sums)]
    floats = rights[0].encoding not in PACKED
    if columns == ONE and rows != ONE and len(ops) == 1 and one is not None and floats:
        (other,) = others
        made = ops[0].operands[1]
        one, others, rows, columns = other, [one], columns, rows
        after = [(access, (b, n, m)) for access, (b, m, n) in after]
    layout = _layout(others[0], depth, columns)
    return Product(sums, batch, rows, columns, depth, made, one, tuple(others), layout, after)


def _layout(right: Operand, depth: Dim, columns: Dim) -> Literal["nt", "nn", "any"]:
    if right.access.encoding not in PACKED:
        return "nt" if right.depth == ONE else "nn" if right.line == ONE else "any"
    steps, block = (right.access.offset, right.batch), PACKED[right.access.encoding].block
    if right.depth == ONE and all(is_multiple(d, block) for d in (*steps, right.line, depth)):
        return "nt"
    if right.line == ONE and all(is_multiple(d, block) for d in (*steps, right.depth, columns)):
        return "nn"
    return "any"


@dataclass(frozen=True, slots=True)
class LaneReader:
    """How a cpu template reads 8 neighbours of an operand: statements first, then expressions.

    `base` is where the row starts; `masked` reads the first `real` elements and zeros. `whole` is
    what a function that reads many of them takes: a pointer to neighbouring halves or bfloat16, or
    the buffer of blocks and the first element's number; else empty. `packed` ends such functions'
    names.
    """

    start: list[str]
    base: str
    load: str
    masked: str
    whole: str
    packed: str


def lane_reader(
    region: Region, sizes: Sizes, operand: Operand, place: str, step: Dim, at: str
) -> LaneReader:
    """A reader of the elements `at` and on, `step` apart, of the row that starts at a place."""
    rows = Rows(region, sizes)
    start = rows.start(operand.access, place, step, operand.lines_are_multiples(8))
    load, masked = rows.load(Lanes(at)), rows.load(Lanes(at, "real"))
    base = rows.rows[operand.access.value].base
    encoding, whole, packed = operand.access.encoding, "", ""
    if step == ONE and encoding == "f16":
        whole = base
    elif step == ONE and encoding == BFLOAT:
        whole, packed = base, f"_{encoding}"
    elif step == ONE and encoding in PACKED:
        whole, packed = f"{operand.access.buffer}, {base or '0u'}", f"_{encoding}"
    loads = load(operand.access), masked(operand.access)
    return LaneReader(start, base, *loads, whole, packed)


# ---- what follows the sum -----------------------------------------------------------------------


def lanes_after(
    region: Region, sizes: Sizes, product: Product, stride: int
) -> tuple[list[str], Callable[[Lanes], list[str]]]:
    """Statements for a row `m` of batch `b`, and those that finish lanes of it.

    The latter take the columns of the lanes, whose sums stand in an array for each product, after
    `stride` others for each row.
    """
    rows = Rows(region, sizes)
    start: list[str] = []
    for access, (batch, row, column) in product.after:
        place = offset(sizes, access.offset, (batch, row), ("b", "m"))
        start += rows.start(access, place, column)
    place = plus("out", offset(sizes, ZERO, product.out[:2], ("b", "m")))
    start.append(f"device {buffer_type(region.out.dtype)}* out_row = {place};")

    def finish(lanes: Lanes) -> list[str]:
        scope = Scope(region, LANES, sizes)
        lines = [
            scope.define(value, f"ld8({name}s + i * {stride}u + j)")
            for value, name in zip(product.sums, product.names, strict=True)
        ]
        lines += scope.compute([region.result], rows.load(lanes))
        value, where = scope.names[region.result], f"out_row + {lanes.at}"
        return [*lines, lane_store(kind(region.result), where, value, lanes.count)]

    return start, finish


def element_after(region: Region, sizes: Sizes, product: Product) -> list[str]:
    """Statements that finish the sums of column `n` of row `m` of batch `b`, and store them."""
    scope = Scope(region, SCALARS, sizes)
    strides = {access.value: steps for access, steps in product.after}
    scope.names |= dict(zip(product.sums, product.names, strict=True))
    lines = scope.compute(
        [region.result],
        lambda a: scalar_load(a, offset(sizes, a.offset, strides[a.value], ("b", "m", "n"))),
    )
    place = offset(sizes, ZERO, product.out, ("b", "m", "n"))
    value = rounded_scalar(region.out.dtype, scope.names[region.result])
    return [*lines, f"out[{place}] = {value};"]
