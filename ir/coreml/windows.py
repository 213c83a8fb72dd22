"""MIL's layers of windows over images: convolutions and pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlc.ir.core import Value
from tlc.ir.coreml.mil import Lowered, Maker, Refusal, mil, unsupported
from tlc.ir.coreml.shaping import padded
from tlc.ir.dims import Dim


def _widths(
    kind: str, pad: Sequence[int] | None, sizes: Sequence[Dim], kernel: Sequence[int],
    strides: Sequence[int], dilations: Sequence[int],
) -> list[tuple[int, int]]:  # fmt: skip
    """How much every spatial axis is padded before and behind."""
    match kind:
        case "valid":
            return [(0, 0)] * len(kernel)
        case "custom" if pad is not None and len(pad) == 2 * len(kernel):
            return [(pad[2 * a], pad[2 * a + 1]) for a in range(len(kernel))]
        case "same" | "same_lower":
            out = []
            for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
                if not size.is_static:
                    if s != 1:
                        raise unsupported("`same` padding of an open size in steps of more than 1")
                    total = (k - 1) * d
                else:
                    total = max(0, (-(-int(size) // s) - 1) * s + (k - 1) * d + 1 - int(size))
                less, more = total // 2, total - total // 2
                out.append((less, more) if kind == "same" else (more, less))
            return out
    raise unsupported(f"padding of type {kind}")


def _padded(m: Maker, x: Value, widths: Sequence[tuple[int, int]], number: float) -> Value:
    for at, (before, behind) in enumerate(widths):
        x = padded(m, x, 2 + at, before, behind, "constant", number)
    return x


def _flat(m: Maker, x: Value) -> Value:
    """An image of one axis as an image of one row."""
    n, c, *sizes = x.tensor.shape
    if len(sizes) > 2 or not sizes:
        raise unsupported(f"images of {len(sizes)} axes")
    return x if len(sizes) == 2 else m.b.reshape(x, (n, c, 1, *sizes))


def _pair(numbers: Sequence[int] | None, axes: int, default: int) -> tuple[int, int]:
    """Numbers for height and width; an image of one axis has one row."""
    found = list(numbers or [default] * axes)
    if len(found) != axes:
        raise Refusal("E0601", f"{len(found)} numbers for {axes} axes")
    return (found[0], found[1]) if axes == 2 else (1 if default else 0, found[0])


@mil(
    "conv",
    "x, weight, bias: any = none, strides: ints = none, pad_type: str = valid, pad: ints = none,"
    " dilations: ints = none, groups: int = 1",
)
def _conv(
    m: Maker,
    x: Value,
    weight: Value,
    bias: Lowered,
    strides: Sequence[int] | None,
    pad_type: str,
    pad: Sequence[int] | None,
    dilations: Sequence[int] | None,
    groups: int,
) -> Value:
    axes = x.tensor.rank - 2
    kernel = [int(d) for d in weight.tensor.shape[2:]]
    step, gap = list(strides or [1] * axes), list(dilations or [1] * axes)
    widths = _widths(pad_type, pad, x.tensor.shape[2:], kernel, step, gap)
    x, even = _evenly(m, x, widths)
    operands = [_flat(m, x), _flat(m, weight), *([] if bias is None else [m.tensor(bias)])]
    found = m.b.emit(
        "conv2d",
        *operands,
        stride=_pair(step, axes, 1),
        padding=_pair(even, axes, 0),
        dilation=_pair(gap, axes, 1),
        groups=groups,
    )
    return _unflat(m, found, axes)


def _evenly(m: Maker, x: Value, widths: Sequence[tuple[int, int]]) -> tuple[Value, list[int]]:
    """Padding that is equal at both ends is left to the layer; the rest is done here."""
    if all(before == behind for before, behind in widths):
        return x, [before for before, _ in widths]
    return _padded(m, x, widths, 0.0), [0] * len(widths)


def _unflat(m: Maker, x: Value, axes: int) -> Value:
    if axes == 2:
        return x
    n, c, _, size = x.tensor.shape
    return m.b.reshape(x, (n, c, size))


@mil(
    "conv_transpose",
    "x, weight, bias: any = none, strides: ints = none, pad_type: str = valid, pad: ints = none,"
    " output_shape: ints = none, dilations: ints = none, groups: int = 1",
)
def _conv_transpose(
    m: Maker,
    x: Value,
    weight: Value,
    bias: Lowered,
    strides: Sequence[int] | None,
    pad_type: str,
    pad: Sequence[int] | None,
    output_shape: Sequence[int] | None,
    dilations: Sequence[int] | None,
    groups: int,
) -> Value:
    """A convolution of x with zeros between its elements, by the turned weights [in, out, ...]."""
    axes = x.tensor.rank - 2
    if any(d != 1 for d in dilations or ()):
        raise unsupported("`conv_transpose` with dilations")
    step = list(strides or [1] * axes)
    kernel = [int(d) for d in weight.tensor.shape[2:]]
    sizes = [int(d) for d in x.tensor.shape[2:]]
    full = [(n - 1) * s + k for n, s, k in zip(sizes, step, kernel, strict=True)]
    if pad_type == "custom" and pad is not None:
        cut = [(pad[2 * a], pad[2 * a + 1]) for a in range(axes)]
    elif pad_type == "valid":
        cut = [(0, 0)] * axes
    else:
        wanted = [n * s for n, s in zip(sizes, step, strict=True)]
        gaps = [f - w for f, w in zip(full, wanted, strict=True)]
        cut = [(max(g, 0) // 2, max(g, 0) - max(g, 0) // 2) for g in gaps]
    if output_shape is not None:  # what the last elements are padded with
        cut = [
            (before, f - before - w)
            for (before, _), f, w in zip(cut, full, output_shape[-axes:], strict=True)
        ]
    for at, s in enumerate(step):
        x = _zeros_between(m, x, 2 + at, s)
    widths = [(k - 1 - before, k - 1 - behind)
              for k, (before, behind) in zip(kernel, cut, strict=True)]  # fmt: skip
    x = _padded(m, x, [(max(a, 0), max(b, 0)) for a, b in widths], 0.0)
    for at, (before, behind) in enumerate(widths):
        low, high = max(-before, 0), max(-behind, 0)
        if low or high:
            length = x.tensor.shape[2 + at] - (low + high)
            x = m.b.emit("slice", x, axis=2 + at, start=Dim.of(low), length=length)
    into, out, *size = weight.tensor.shape
    turned = m.run("reverse", {"x": (weight,), "axes": (np.arange(2, 2 + axes),)})
    apart = m.b.reshape(turned, (groups, into // groups, out, *size))
    swapped = m.b.emit("permute", apart, axes=(0, 2, 1, *range(3, 3 + axes)))
    weight = m.b.reshape(swapped, (out * groups, into // groups, *size))
    operands = [_flat(m, x), _flat(m, weight), *([] if bias is None else [m.tensor(bias)])]
    return _unflat(m, m.b.emit("conv2d", *operands, groups=groups), axes)


def _zeros_between(m: Maker, x: Value, axis: int, step: int) -> Value:
    if step == 1:
        return x
    shape = x.tensor.shape
    apart = m.b.reshape(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
    spread = padded(m, apart, axis + 1, 0, step - 1, "constant", 0.0)
    joined = m.b.reshape(spread, (*shape[:axis], shape[axis] * step, *shape[axis + 1 :]))
    length = shape[axis] * step - (step - 1)
    return m.b.emit("slice", joined, axis=axis, start=Dim.of(0), length=length)


_POOL = (
    "x, kernel_sizes: ints, strides: ints = none, pad_type: str = valid, pad: ints = none,"
    " ceil_mode: bool = false"
)


def _prepared(
    m: Maker, x: Value, kernel: Sequence[int], strides: Sequence[int] | None, pad_type: str,
    pad: Sequence[int] | None, ceil_mode: bool, edge: float,
) -> tuple[Value, list[int], list[tuple[int, int]], list[int]]:  # fmt: skip
    """The padded image, strides, widths of the padding, and what a last window adds behind it."""
    axes = x.tensor.rank - 2
    step = list(strides or [1] * axes)
    widths = _widths(pad_type, pad, x.tensor.shape[2:], kernel, step, [1] * axes)
    more = [0] * axes
    if ceil_mode:
        for at, (before, behind) in enumerate(widths):
            size = int(x.tensor.shape[2 + at]) + before + behind
            windows = -(-(size - kernel[at]) // step[at])
            if windows * step[at] >= size - behind:  # it would begin behind the image
                windows -= 1
            more[at] = max(0, windows * step[at] + kernel[at] - size)
    x = _padded(m, x, [(a, b + c) for (a, b), c in zip(widths, more, strict=True)], edge)
    return x, step, widths, more


@mil("max_pool", _POOL)
def _max_pool(
    m: Maker,
    x: Value,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None,
    pad_type: str,
    pad: Sequence[int] | None,
    ceil_mode: bool,
) -> Value:
    axes = x.tensor.rank - 2
    x, step, _, _ = _prepared(m, x, kernel_sizes, strides, pad_type, pad, ceil_mode, -math.inf)
    found = m.b.emit(
        "max_pool2d",
        _flat(m, x),
        kernel=_pair(kernel_sizes, axes, 1),
        stride=_pair(step, axes, 1),
        padding=(0, 0),
    )
    return _unflat(m, found, axes)


@mil("avg_pool", _POOL + ", exclude_padding_from_average: bool = false")
def _avg_pool(
    m: Maker,
    x: Value,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None,
    pad_type: str,
    pad: Sequence[int] | None,
    ceil_mode: bool,
    exclude_padding_from_average: bool,
) -> Value:
    axes, image = x.tensor.rank - 2, x
    x, step, widths, more = _prepared(m, x, kernel_sizes, strides, pad_type, pad, ceil_mode, 0.0)
    kernel, stride = _pair(kernel_sizes, axes, 1), _pair(step, axes, 1)
    found = _unflat(
        m,
        m.b.emit("avg_pool2d", _flat(m, x), kernel=kernel, stride=stride, padding=(0, 0)),
        axes,
    )
    excluded = exclude_padding_from_average and any(a or b for a, b in widths)
    if not excluded and not any(more):
        return found
    # how many elements of the image every window has, over its size: known at build
    shares: Any = np.ones((), np.float32)
    for at in range(axes):
        size = int(image.tensor.shape[2 + at])
        before, behind = widths[at]
        counts = np.zeros(before + size + behind + more[at], np.float32)
        counts[: before + size + behind] = 1
        if exclude_padding_from_average:
            counts[:before] = counts[before + size :] = 0
        windows = int(found.tensor.shape[2 + at])
        held = [counts[i * step[at] :][: kernel_sizes[at]].mean() for i in range(windows)]
        shares = np.multiply.outer(shares, np.array(held, np.float32))
    return m.wide_result(found, lambda v: m.b.binary("div", v, m.tensor(shares)))


@mil("l2_pool", _POOL.replace(", ceil_mode: bool = false", ""))
def _l2_pool(
    m: Maker,
    x: Value,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None,
    pad_type: str,
    pad: Sequence[int] | None,
) -> Value:
    """The root of the sum of the squares of every window."""

    def pool(v: Value) -> Value:
        mean = _avg_pool(
            m, m.b.emit("mul", v, v), kernel_sizes, strides, pad_type, pad, False, False
        )
        return m.b.emit("sqrt", m.number("mul", mean, float(math.prod(kernel_sizes))))

    return m.wide_result(x, pool)
