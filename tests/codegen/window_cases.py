"""Sample kernels of convolutions and pools, with their exact results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tests.codegen.running import EPS32, INF, NAN, Array, Case, fused, normal, view, wide
from tlc.ir.builder import Builder
from tlc.ir.core import Op, Value
from tlc.ir.ops.window import Window
from tlc.ir.types import tensor

PLAIN = Window((3, 3), (1, 1))
EVEN = Window((3, 3), (1, 1), padding=(1, 1))
HALVING = Window((5, 3), (2, 2), padding=(2, 1))
ODD = Window((2, 3), (1, 2), dilation=(2, 1), padding=(1, 2))
SPREAD = Window((3, 2), (3, 1), dilation=(1, 3), padding=(0, 3), more=(2, -1))


def _seen(x: Array, at: Window, around: float) -> Array:
    """The elements of all windows: [elements of one, batch, channels, rows, columns]."""
    (top, left), (down, across) = at.padding, at.stride
    batch, channels, height, width = x.shape
    edges = [2 * before + more for before, more in zip(at.padding, at.more, strict=True)]
    whole = np.full((batch, channels, height + edges[0], width + edges[1]), around)
    whole[:, :, top : top + height, left : left + width] = wide(x)
    rows = (whole.shape[2] - at.dilation[0] * (at.size[0] - 1) - 1) // down + 1
    columns = (whole.shape[3] - at.dilation[1] * (at.size[1] - 1) - 1) // across + 1
    found = []
    for u in range(at.size[0]):
        for v in range(at.size[1]):
            part = whole[:, :, u * at.dilation[0] :, v * at.dilation[1] :]
            part = part[:, :, : (rows - 1) * down + 1 : down]
            found.append(part[..., : (columns - 1) * across + 1 : across])
    return np.stack(found)


def _made(x: Array, w: Array, at: Window, groups: int) -> Array:
    """Weights [out, elements of a window] times the windows: [batch, out, rows, columns]."""
    out, seen = len(w), _seen(x, at, 0.0)
    each, depth = out // groups, x.shape[1] // groups
    made = np.zeros((x.shape[0], out, *seen.shape[3:]))
    for o in range(out):
        first = o // each * depth
        weights = wide(w[o]).reshape(depth, at.count)
        made[:, o] = np.einsum("pbcyx,cp->byx", seen[:, :, first : first + depth], weights)
    return made


def _sums(x: Array, w: Array, at: Window, groups: int) -> tuple[Array, Array]:
    """The exact result, and how far float32 sums may be off."""
    with np.errstate(all="ignore"):
        size = _made(np.abs(wide(x)), np.abs(wide(w)), at, groups)
        return _made(x, w, at, groups), w.shape[1] * EPS32 * size


# ---- convolutions --------------------------------------------------------------------------------


def _convolve(at: Window, groups: int) -> Any:
    def build(b: Builder, x: Value, w: Value) -> Value:
        return b.emit("convolve", x, w, **at.attrs, groups=groups)

    return build


def _convolution(
    name: str,
    x: Array,
    w: Array,
    at: Window,
    groups: int = 1,
    op: Op | None = None,
    sizes: dict[str, int] | None = None,
) -> Case:
    exact, slack = _sums(x, w, at, groups)
    flat = (*exact.shape[:2], exact.shape[2] * exact.shape[3])
    names = {"float16": "f16", "float32": "f32"}
    kinds = [names[v.dtype.name] for v in (x, w)]
    types = [tensor(kind, *v.shape) for kind, v in zip(kinds, (x, w), strict=True)]
    op = op or fused("convolution", types, _convolve(at, groups), kinds)
    return Case(name, op, [x, w], exact.reshape(flat), slack.reshape(flat), sizes or {})


def convolutions() -> Iterator[Case]:
    """Every kind of window, on images of all sizes, known at build and at run."""
    for number, at in enumerate((PLAIN, EVEN, HALVING, ODD, SPREAD)):
        # one of them with more than 32 rows and elements to sum, in a group of each
        for groups, channels, out in ((1, 3, 5), (2, 12, 40) if at is ODD else (2, 4, 6)):
            depth = channels // groups * at.count
            image = tensor("f16", "B", channels, "H", "W")
            op = fused("convolution", [image, tensor("f16", out, depth)], _convolve(at, groups))
            w = normal(300 + number, out, depth)
            for batch, height, width in ((1, 5, 7), (2, 9, 8), (3, 13, 31)):
                x, sizes = normal(301, batch, channels, height, width), {"H": height, "W": width}
                what = f"window {number} in {groups} groups of {[batch, height, width]}"
                yield _convolution(f"any {what}", x, w, at, groups, op, {"B": batch, **sizes})
                if batch == groups:
                    yield _convolution(what, x, w, at, groups)


def large_convolutions() -> Iterator[Case]:
    """More than one tile and more than one block of what is summed, with ragged ends."""
    for out, channels, groups, height, width, at in (
        (70, 40, 1, 7, 9, EVEN),
        (24, 6, 3, 33, 29, HALVING),
        (200, 2, 1, 21, 23, PLAIN),
        (4, 130, 2, 4, 6, ODD),
    ):
        x = normal(302, 2, channels, height, width)
        w = normal(303, out, channels // groups * at.count)
        yield _convolution(f"large {out, channels, groups}", x, w, at, groups)


def convolution_details() -> Iterator[Case]:
    """float32 on either side, an image in another order, and what follows the sum."""
    x, w = normal(304, 2, 4, 6, 7), normal(305, 6, 18)
    for kind in ("f32 f32", "f16 f32", "f32 f16"):
        types = [{"f16": np.float16, "f32": np.float32}[name] for name in kind.split()]
        yield _convolution(kind, x.astype(types[0]), w.astype(types[1]), EVEN, 2)

    def channels_last(b: Builder, x: Value, w: Value) -> Value:
        image = view(b, x, (2, 4, 6, 7), (4 * 6 * 7, 1, 4 * 7, 4))
        return b.emit("convolve", image, w, **EVEN.attrs, groups=2)

    op = fused("convolution", [tensor("f16", 2, 6, 7, 4), tensor("f16", 6, 18)], channels_last)
    case = _convolution("channels last", x, w, EVEN, 2, op)
    case.inputs = [np.ascontiguousarray(x.transpose(0, 2, 3, 1)), w]
    yield case

    yield _block("with what follows, batch 1", x[:1], w, _followed(1))
    yield _block("with what follows, batch 2", x, w, _followed(2))
    of_any_size = _followed("B")
    for batch in (1, 2):
        yield _block(f"the same of any size, batch {batch}", x[:batch], w, of_any_size)
    # what is wrong in an image stays where it is
    x = normal(306, 1, 4, 6, 7)
    x[0, 1, 2, 3], x[0, 3, 5, 6] = NAN, INF
    yield _convolution("special numbers", x, w, EVEN, 2)


def _followed(batch: int | str) -> Op:
    """A scale and a shift for each channel, a limit on both sides, and a shortcut."""

    def build(b: Builder, x: Value, w: Value, *rest: Value) -> Value:
        made = b.f32(b.emit("convolve", x, w, **EVEN.attrs, groups=2))
        scale, shift = (b.f32(view(b, v, made.tensor.shape, (0, 1, 0))) for v in rest[:2])
        y = b.emit("add", b.emit("mul", made, scale), shift)
        y = b.emit("minimum", b.emit("relu", y), b.constant(6.0, y.tensor))
        return b.cast(b.emit("add", y, b.f32(rest[2])), "f16")

    image, made = tensor("f16", batch, 4, 6, 7), tensor("f16", batch, 6, 42)
    types = [image, tensor("f16", 6, 18), tensor("f16", 6), tensor("f16", 6), made]
    return fused("convolution", types, build)


def _block(name: str, x: Array, w: Array, op: Op) -> Case:
    scale, shift, more = normal(307, 6), normal(308, 6), normal(309, len(x), 6, 42)
    exact, slack = (v.reshape(len(x), 6, 42) for v in _sums(x, w, EVEN, 2))
    by, add = wide(scale)[:, None], wide(shift)[:, None]
    exact, slack = exact * by + add, slack * np.abs(by) + 4 * EPS32 * (np.abs(exact * by) + 9)
    exact = np.clip(exact, 0, 6) + wide(more)
    return Case(name, op, [x, w, scale, shift, more], exact, slack, {"B": len(x)})


# ---- windows of single channels ------------------------------------------------------------------


def _each(name: str, x: Array, w: Array, at: Window, op: Op | None = None) -> Case:
    exact, slack = _sums(x, w, at, x.shape[1])
    sizes = dict(zip("BHW", (x.shape[0], *x.shape[2:]), strict=True))
    kind = "f16" if x.dtype == np.float16 else "f32"
    op = op or _channels(at, kind, x.shape, w.shape)
    return Case(name, op, [x, w], exact, slack, sizes)


def _channels(at: Window, kind: str, *shapes: Sequence[int | str]) -> Op:
    def build(b: Builder, x: Value, w: Value) -> Value:
        return b.emit("convolve_each", x, w, **at.attrs)

    return fused("window", [tensor(kind, *shape) for shape in shapes], build, [kind] * 2)


def convolutions_of_channels() -> Iterator[Case]:
    """Every channel by itself: one result of it, or two."""
    for number, at in enumerate((PLAIN, EVEN, HALVING, ODD, SPREAD)):
        op = _channels(at, "f16", ("B", 3, "H", "W"), (3, at.count))
        for batch, height, width in ((1, 5, 7), (2, 9, 19), (3, 13, 31)):
            x, w = normal(310, batch, 3, height, width), normal(311 + number, 3, at.count)
            what = f"window {number} of {[batch, height, width]}"
            yield _each(f"any {what}", x, w, at, op)
            if batch == 1 + number % 3:
                yield _each(what, x, w, at)
    x, w = normal(312, 2, 3, 6, 10), normal(313, 6, EVEN.count)
    yield _each("two results", x, w, EVEN)
    yield _each("float32", x.astype(np.float32), w.astype(np.float32), EVEN)
    x = x.copy()
    x[1, 1, 3, 3], x[0, 0, 0, 0], x[0, 2, 5, 9] = NAN, -INF, INF
    yield _each("special numbers", x, w, EVEN)
    yield _each("wide", normal(314, 1, 2, 71, 139), normal(315, 2, EVEN.count), EVEN)
    yield _each("wide steps", normal(314, 1, 1, 71, 139), normal(315, 1, 15), HALVING)
    far = Window((1, 2), (1, 1), dilation=(1, 5000))  # too far to keep what lies between
    yield _each("far", normal(316, 1, 1, 2, 5013), normal(317, 1, 2), far)
    yield _channel_block()


def _channel_block() -> Case:
    """An image whose rows lie apart, a shift for each channel, a limit, and a shortcut."""
    shape = (2, 3, 5, 11)
    x, w, shift = normal(318, 2, 3, 5, 11, 2), normal(319, 3, 9), normal(320, 3)
    more = normal(321, *shape)

    def build(b: Builder, x: Value, w: Value, shift: Value, more: Value) -> Value:
        image = view(b, x, shape, (330, 110, 22, 2), 1)
        y = b.f32(b.emit("convolve_each", image, w, **EVEN.attrs))
        y = b.emit("relu", b.emit("add", y, b.f32(view(b, shift, shape, (0, 1, 0, 0)))))
        return b.cast(b.emit("add", y, b.f32(more)), "f16")

    types = [tensor("f16", *v.shape) for v in (x, w, shift, more)]
    exact, slack = _sums(x[..., 1], w, EVEN, 3)
    exact = np.maximum(exact + wide(shift)[:, None, None], 0) + wide(more)
    slack += 4 * EPS32 * (np.abs(exact) + 9)
    op = fused("window", types, build)
    return Case("with what follows", op, [x, w, shift, more], exact, slack)


def pools() -> Iterator[Case]:
    """The largest element of every window, and the sum."""
    around = {True: -INF, False: 0.0}
    for number, at in enumerate((PLAIN, EVEN, HALVING, ODD, SPREAD)):
        for largest in (True, False):

            def build(b: Builder, x: Value, at: Window = at, largest: bool = largest) -> Value:
                return b.emit("pool", x, **at.attrs, largest=largest)

            name = f"{'largest' if largest else 'sum'} of window {number}"
            any_size = fused("window", [tensor("f16", "B", 3, "H", "W")], build)
            for batch, height, width in ((1, 5, 7), (2, 9, 18)):
                x = normal(322, batch, 3, height, width)
                sizes = {"B": batch, "H": height, "W": width}
                if batch == 2:
                    x[0, 0, 2, 3], x[1, 2, 4, 5], x[0, 1, 0, 0] = NAN, -INF, INF
                seen = _seen(x, at, around[largest])
                slack = at.count * EPS32 * _seen(np.abs(x), at, 0.0).sum(0)
                exact = seen.max(0) if largest else seen.sum(0)
                slack = np.zeros(()) if largest else slack
                yield Case(f"any {name}, {sizes}", any_size, [x], exact, slack, sizes)
                if batch == 1 + number % 2:
                    static = fused("window", [tensor("f16", *x.shape)], build)
                    yield Case(f"{name}, {sizes}", static, [x], exact, slack, sizes)
