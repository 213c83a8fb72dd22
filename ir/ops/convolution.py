"""Convolutions of images [batch, channels, height, width], summed in float32 and rounded once."""

from __future__ import annotations

from typing import Any

from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.opdef import Sample, TypeRuleError, compose, defop
from tlc.ir.ops.window import (
    PAIRS,
    SIDE_BY_SIDE,
    Pair,
    Window,
    check_fit,
    check_image,
    check_pairs,
    image_type,
)
from tlc.ir.types import FLOATS, TensorType, Type, show_shape, tensor


def _made(x: TensorType, w: Type, rows: tuple[Dim, ...]) -> TensorType:
    """The type of what weights make of an image."""
    if not isinstance(w, TensorType) or w.dtype not in FLOATS or w.rank != 2:
        raise TypeRuleError(f"{w} are no weights [out, elements of a window]", "E0301", (1,))
    dtype = "f32" if "f32" in (x.dtype, w.dtype) else "f16"
    return TensorType(dtype, (x.shape[0], w.shape[0], *rows))


def _convolve(x: Type, w: Type, groups: int, **window: Pair) -> tuple[Type, ...]:
    image = image_type(x)
    rows, columns = Window(**window).counts(image.shape[2:])
    return (_made(image, w, (rows * columns,)),)


def _convolve_eval(np: Any, x: Any, w: Any, groups: int, **window: Pair) -> Any:
    seen = Window(**window).seen(np, x, 0.0)
    batch, _, _, _, rows, columns = seen.shape
    out, depth = w.shape
    windows = seen.reshape(batch, groups, depth, rows * columns)
    made = np.matmul(w.reshape(groups, out // groups, depth), windows)
    return made.reshape(batch, out, rows * columns)


def _convolve_each(x: Type, w: Type, **window: Pair) -> tuple[Type, ...]:
    image = image_type(x)
    return (_made(image, w, Window(**window).counts(image.shape[2:])),)


def _convolve_each_eval(np: Any, x: Any, w: Any, **window: Pair) -> Any:
    seen = Window(**window).seen(np, x, 0.0)
    each = w.reshape(x.shape[1], -1, *window["size"])
    made = np.einsum("bcijyx,cmij->bcmyx", seen, each)
    return made.reshape(x.shape[0], w.shape[0], *made.shape[3:])


_IMAGE = tensor("f16", 2, 4, 5, 6)
_WINDOW = Window((3, 2), (2, 1), (1, 2), (1, 0), (0, 2)).attrs
defop(
    "convolve",
    "Weights [out, elements of a window] times all windows of an image, one behind the other:"
    " [batch, out, windows]. A group of rows meets a group of channels; zeros surround the image.",
    params=f"x, w, {PAIRS}, groups: int",
    type=_convolve,
    eval=_convolve_eval,
    kernel="convolution",
    sample=(
        Sample((_IMAGE, tensor("f16", 3, 24)), {**_WINDOW, "groups": 1}),
        Sample((_IMAGE, tensor("f16", 6, 12)), {**_WINDOW, "groups": 2}),
    ),
)
defop(
    "convolve_each",
    "Every channel by itself: the sum of a window's elements times weights [out, elements of a"
    " window], where each channel makes equally many results.",
    params=f"x, w, {PAIRS}",
    type=_convolve_each,
    eval=_convolve_each_eval,
    kernel="window",
    sample=(Sample((_IMAGE, tensor("f16", 8, 6)), _WINDOW),),
)


def _conv2d(
    b: Builder,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Value:
    check_image(x, "conv2d", (4,))
    if weight.tensor.rank != 4:
        raise TypeRuleError(
            f"the weights of `conv2d` are [out, in / groups, height, width], and this is"
            f" {weight.type}",
            "E0301",
            (1,),
        )
    out, depth, *size = weight.tensor.shape
    batch, channels, height, width = x.tensor.shape
    if not all(d.is_static for d in size):
        raise TypeRuleError("`conv2d` needs a window known at build", "E0304", (1,))
    text = (
        f"{channels} channels in {groups} groups do not meet weights"
        f" {show_shape(weight.tensor.shape)}"
    )
    if groups < 1:
        raise TypeRuleError(text, "E0301", (0, 1))
    for left, right in ((depth * groups, channels), (out % groups, Dim.of(0))):
        if left.is_static and right.is_static and left != right:
            raise TypeRuleError(text, "E0301", (0, 1))
        b.check(left, right, text)
    channels = depth * groups
    x = b.reshape(x, (batch, channels, height, width))
    if bias is not None and bias.tensor.shape != (out,):
        raise TypeRuleError(f"the bias is [{out}], and this is {bias.type}", "E0301", (2,))
    window = Window((int(size[0]), int(size[1])), stride, dilation, padding)
    check_pairs(
        (1, "stride", stride),
        (0, "padding", padding),
        (1, "dilation", dilation),
        (1, "kernel", window.size),
    )
    check_fit(b, x, window)
    made = _products(b, x, weight, window, groups)
    made = b.reshape(made, (batch, out, *window.counts((height, width))))
    return made if bias is None else b.binary("add", made, b.reshape(bias, (out, 1, 1)))


def _products(b: Builder, x: Value, weight: Value, window: Window, groups: int) -> Value:
    """The weights times the windows, in the way that their sizes ask for."""
    batch, channels, height, width = x.tensor.shape
    out, depth, *_ = weight.tensor.shape
    flat = b.reshape(weight, (out, depth * window.count))
    if depth == Dim.of(1) and groups > 1 and window.count <= SIDE_BY_SIDE:
        return b.emit("convolve_each", x, flat, **window.attrs)
    if window != Window((1, 1), (1, 1)) or groups > 1:
        return b.emit("convolve", x, flat, **window.attrs, groups=groups)
    pixels = b.reshape(x, (batch, channels, height * width))
    if batch == Dim.of(1):
        return b.emit("contract", flat, b.reshape(pixels, (channels, height * width)))
    return b.emit("contract", b.broadcast(flat, (batch, out, channels)), pixels)


compose(
    "conv2d",
    "The products of weights [out, in / groups, height, width] with every window of x, as PyTorch's"
    " conv2d; padding is zeros.",
    _conv2d,
    params="x, w, bias = none, stride: pair = 1, padding: pair = 0, dilation: pair = 1,"
    " groups: int = 1",
    sample=(
        Sample((_IMAGE, tensor("f16", 4, 4, 3, 3), tensor("f16", 4)), {"padding": (1, 1)}),
        Sample((_IMAGE, tensor("f16", 8, 1, 2, 2)), {"groups": 4, "stride": (2, 1)}),
    ),
)
