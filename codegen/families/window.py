"""Windows of single channels: pooling, and convolutions of every channel by itself.

A CPU thread converts a piece of the image to floats, with what is around it, and then combines
neighbouring windows lane by lane; a GPU thread walks through one window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from tlc.codegen.assembly import Draft, Kernel, Variant, groups_for
from tlc.codegen.expression import LANES, SCALARS, Access, Region, Scope, kind
from tlc.codegen.families.product import pieces, positions
from tlc.codegen.iteration import ONE, ZERO, Sizes, offset, row_major
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
from tlc.ir.core import Op, Value
from tlc.ir.dims import Dim
from tlc.ir.ops.window import Window


def read(region: Region, value: Value) -> Access:
    """How an operand that lies in memory is read."""
    access = region.access(value)
    if access is None:
        raise InternalError("windows and their weights are read from memory")
    return access


@dataclass(frozen=True, slots=True)
class Image:
    """An image [batch, channels, height, width] as it lies in memory, and the windows on it.

    columns  windows beside one another.
    total    elements of the operand, all of which may be read.
    """

    access: Access
    window: Window
    columns: Dim
    total: Dim

    @classmethod
    def of(cls, region: Region, op: Op, access: Access) -> Self:
        window = Window.of(op.attrs)
        (total,) = (v.tensor.numel for v, arg in region.args.items() if arg == access.arg)
        return cls(access, window, window.counts(access.shape[2:])[1], total)

    @property
    def height(self) -> Dim:
        return self.access.shape[2]

    @property
    def width(self) -> Dim:
        return self.access.shape[3]

    def plane(self, sizes: Sizes, batch: str, channel: str) -> str:
        """The number of the first element of a channel in its operand, as text."""
        return offset(sizes, self.access.offset, self.access.strides[:2], (batch, channel))


@dataclass(frozen=True, slots=True)
class Plan:
    """A region with one operation on windows.

    each     how many results a channel has.
    weights  of every result, or None for pooling.
    largest  whether the largest element is wanted, and not a sum.
    """

    op: Op
    image: Image
    each: Dim
    weights: Access | None
    largest: bool

    @property
    def around(self) -> str:
        """What lies around the image, and what no elements give."""
        return "as_type<float>(0xff800000u)" if self.largest else "0.0f"

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.op.result.tensor.shape


def variants(draft: Draft) -> list[Variant]:
    """One kernel."""
    region = draft.region
    (op,) = (op for op in region.ops if op.defn.kernel == "window")
    image = Image.of(region, op, read(region, op.operands[0]))
    weights = read(region, op.operands[1]) if op.name == "convolve_each" else None
    each = op.result.tensor.shape[1] // image.access.shape[1]
    plan = Plan(op, image, each, weights, bool(op.attrs.get("largest")))
    tile = _tile(plan) if draft.profile.name == "cpu" else None
    return [Variant(_walked(draft, plan) if tile is None else _staged(draft, plan, tile), None)]


def _weight(sizes: Sizes, weights: Access, at: str) -> str:
    return scalar_load(weights, offset(sizes, weights.offset, weights.strides, ("o", at)))


# ---- cpu ----------------------------------------------------------------------------------------

_TOGETHER = 7  # rows of windows that are combined side by side, at most: 8 take longer
_CLOSE, _MOST = 8192, 16384  # floats of a piece of the image: in the nearest cache, and at all


@dataclass(frozen=True, slots=True)
class Piece:
    """Windows that a thread takes together, and the floats that it keeps of the image for them.

    A line of the image is kept as `phases` lines, since every so many columns belong together;
    each is `length` floats long.
    """

    rows: int
    columns: int
    lines: int
    phases: int
    length: int

    @classmethod
    def of(cls, window: Window, rows: int, columns: int) -> Self:
        (down, across), (height, width) = window.stride, window.span
        phases = across
        length = columns + (width - 1) // phases + 1
        return cls(rows, columns, (rows - 1) * down + height, phases, -(-length // 8) * 8)

    @property
    def floats(self) -> int:
        return self.lines * self.phases * self.length


def _tile(plan: Plan) -> Piece | None:
    """The largest piece that fits; None where a single one does not."""
    window, (*_, rows, columns) = plan.image.window, plan.shape
    sizes = [
        (pieces(rows, most, _together(rows)), pieces(columns, across, 8))
        for across in (128, 64, 32, 16, 8)
        for most in (64, 32, 16, 8)
    ]
    made = [Piece.of(window, *size) for size in sizes]
    for limit in (_CLOSE, _MOST):
        fitting = [piece for piece in made if piece.floats <= limit]
        if fitting:
            return max(fitting, key=lambda piece: piece.rows * piece.columns)
    return None


def _channel(plan: Plan, sizes: Sizes) -> str:
    """The channel of the image that an output is made of; no outputs need none."""
    return "o" if plan.each in (ONE, ZERO) else f"o / {sizes(plan.each)}"


def _together(rows: Dim) -> int:
    return pieces(rows, _TOGETHER, 1)


def _staged(draft: Draft, plan: Plan, tile: Piece) -> Kernel:
    region, sizes, image = draft.region, draft.sizes, plan.image
    batch, out, rows, columns = plan.shape
    counts = [
        (size + (piece - 1)) // piece
        for size, piece in zip((rows, columns), (tile.rows, tile.columns), strict=True)
    ]
    cuts = [("n0", counts[1], tile.columns), ("m0", counts[0], tile.rows), ("o", out, 1)]
    tiles = batch * out * counts[0] * counts[1]
    below, start = Rows(region, sizes), list[str]()
    names = ("b" if batch != ONE else "0u", "o", "y")
    for access in region.reads([region.result], [plan.op.result]):
        place = offset(sizes, access.offset, access.strides[:3], names)
        start += below.start(access, place, access.strides[3])
    strides = row_major(plan.shape)
    place = plus("out", offset(sizes, ZERO, strides[:3], names))
    start.append(f"device {buffer_type(region.out.dtype)}* out_row = {place};")

    def finish(lanes: Lanes) -> list[str]:
        scope = Scope(region, LANES, sizes)
        lines = [scope.define(plan.op.result, "ld8(results + 8u * r)")]
        lines += scope.compute([region.result], below.load(lanes))
        value = scope.names[region.result]
        return [
            *lines,
            lane_store(kind(region.result), f"out_row + {lanes.at}", value, lanes.count),
        ]

    line = Rows(region, sizes)
    lines = line.start(image.access, "place", image.access.strides[3])
    work = max(1, draft.profile.work // (tile.rows * tile.columns))
    channel = _channel(plan, sizes)
    return draft.kernel(
        "window",
        groups=groups_for(tiles, work),
        plan=plan,
        window=image.window,
        tile=tile,
        tiles=tiles,
        rows=rows,
        columns=columns,
        together=_together(rows),
        place=positions(sizes, "tile", cuts, batch != ONE),
        plane=image.plane(sizes, names[0], "c"),
        channel=channel,
        weight=_weight(sizes, plan.weights, "k") if plan.weights else "",
        line=lines,
        load=line.load(Lanes("q"))(image.access),
        some=line.load(Lanes("q", "n"))(image.access),
        start=start,
        body=finish(Lanes("x")),
        tail=finish(Lanes("x", "n")),
    )


# ---- apple --------------------------------------------------------------------------------------


def _walked(draft: Draft, plan: Plan) -> Kernel:
    """A thread of a GPU for every window; a CPU thread takes one after the other."""
    region, sizes, image = draft.region, draft.sizes, plan.image
    batch, out, rows, columns = plan.shape
    place = positions(sizes, "at", [("x", columns, 1), ("y", rows, 1), ("o", out, 1)], batch != ONE)
    names = ("b" if batch != ONE else "0u", "o", "y", "x")
    scope = Scope(region, SCALARS, sizes)
    scope.names[plan.op.result] = "result"
    after = scope.compute(
        [region.result],
        lambda a: scalar_load(a, offset(sizes, a.offset, a.strides, names)),
    )
    value = rounded_scalar(region.out.dtype, scope.names[region.result])
    steps = image.access.strides[2:]
    element = plus("plane", offset(sizes, ZERO, steps, ("uint(row)", "uint(column)")))
    count = batch * out * rows * columns
    return draft.kernel(
        "walk",
        groups=groups_for(count, draft.profile.threads),
        plan=plan,
        window=image.window,
        count=count,
        place=place,
        plane=image.plane(sizes, names[0], "c"),
        channel=_channel(plan, sizes),
        weight=_weight(sizes, plan.weights, "k") if plan.weights else "",
        element=scalar_load(image.access, element),
        after=[*after, f"out[at] = {value};"],
    )
