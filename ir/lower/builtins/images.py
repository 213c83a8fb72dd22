"""Builtins about pictures: `load_image`, and `preprocess`, which makes of one what a model wants.

A picture is a tensor [3, height, width] of RGB from 0 to 255. `preprocess` cuts the largest middle
part that has the shape of the model's input, resizes it and scales it as the model declares, all
in float32 and rounded once. Both axes are resized by products with matrices that are known at
build, so it runs on the device, and once when the picture is in a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower.arguments import Argument, shape_of
from tlc.ir.lower.builtins.files import need_model, need_text
from tlc.ir.lower.builtins.table import need_tensor, special
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Model
from tlc.ir.types import TensorType

Array = np.ndarray[Any, Any]

# what each channel is made of red, green and blue; gray is the luma of ITU-R BT.601
CHANNELS = {
    "RGB": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "BGR": ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
    "GRAY": ((0.299, 0.587, 0.114),),
}
_LARGEST = 1 << 14  # pixels along an edge, as a matrix of both sizes is stored


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an image input takes: size, channels, and `scale * x + bias` for each of them."""

    height: int
    width: int
    color: str = "RGB"
    scale: float = 1.0
    bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
    dtype: str = "f16"


@special("load_image", "path: any")
def _load_image(cx: Context, node: ast.Call, path: Argument) -> Value:
    target = need_text(cx, path, "the path of a picture")
    file = cx.model(target, "f16", path.span)
    if file.header.format != "Image":
        cx.fail("E0601", f"{target} is no picture but a model", path.span, hint="`load_model`")
    ((name, entry),) = file.header.tensors.items()
    type = TensorType("f16", tuple(map(Dim.of, entry.shape)))
    return cx.emit(
        "weight",
        model=file.index,
        tensor=name,
        encoding=entry.encoding,
        stored="f16",
        type=type,
        span=node.span,
    )


@special("preprocess", "img: any, model: any = none, size: any = none")
def _preprocess(
    cx: Context, node: ast.Call, img: Argument, model: Argument | None, size: Argument | None
) -> Value:
    x = need_tensor(cx, img)
    shape = x.tensor.shape
    if len(shape) != 3 or shape[0] != Dim.of(3):
        text = f"a picture is [3, height, width], and this is {x.type}"
        cx.fail("E0301", text, img.span)
    if not (shape[1].is_static and shape[2].is_static):
        text = "the size of a picture must be known at build to resize it"
        cx.fail("E0304", text, img.span)
    height, width = int(shape[1]), int(shape[2])
    if not (0 < height <= _LARGEST and 0 < width <= _LARGEST):
        text = f"a picture has from 1 to {_LARGEST} pixels along an edge, and this is {x.type}"
        cx.fail("E0303", text, img.span)
    wanted = _sized(cx, size) if size is not None else _declared(cx, model, node.span)
    cx.builder.span = node.span
    return _made(cx, x, (height, width), wanted)


def _sized(cx: Context, size: Argument) -> Wanted:
    """What `size: [height, width]` asks for."""
    dims = shape_of(cx, size.value, size.span)
    if len(dims) != 2 or not all(d.is_static and 0 < int(d) <= _LARGEST for d in dims):
        cx.fail("E0303", f"`size` is [height, width], each up to {_LARGEST}", size.span)
    return Wanted(int(dims[0]), int(dims[1]))


def _declared(cx: Context, given: Argument | None, span: Span) -> Wanted:
    """What the image input of a Core ML model declares: of the one given, or of the only one."""
    models = cx.program.models.values() if given is None else [need_model(cx, given)]
    found = [(m, f) for m in models for f in _image_inputs(m)]
    hint = "`preprocess(img, size: [height, width])` resizes alone"
    if len(found) != 1:
        whose = "the program's models have" if given is None else "the model has"
        text = f"{whose} {len(found) or 'no'} inputs that are declared as images"
        if found and given is None:
            hint = "name the model: `preprocess(img, model)`"
        cx.fail("E0203", text, span if given is None else given.span, hint=hint)
    ((model, feature),) = found
    header: Any = model.header
    image, network = feature.image, header.network
    if not (0 < image.height <= _LARGEST and 0 < image.width <= _LARGEST):
        text = f"the model gives its image input the size {image.width} by {image.height}"
        cx.fail("E0203", text, span, hint=hint)
    scale, bias = 1.0, (0.0, 0.0, 0.0)
    if network is not None:
        # An entry without a name is that of the only input.
        scalers = network.scalers
        held = scalers.get(feature.name) or scalers.get("") or (1.0, 0.0, 0.0, 0.0, 0.0)
        scale, red, green, blue, gray = held
        bias = {
            "RGB": (red, green, blue), "BGR": (blue, green, red), "GRAY": (gray, 0.0, 0.0)
        }[image.color]  # fmt: skip
    return Wanted(image.height, image.width, image.color, scale, bias, model.dtype)


def _image_inputs(model: Model) -> list[Any]:
    header: Any = model.header
    if header.format != "CoreML":
        return []
    return [feature for feature in header.description.inputs if feature.image is not None]


def _made(cx: Context, x: Value, size: tuple[int, int], wanted: Wanted) -> Value:
    """The picture as [1, channels, height, width]."""
    b, (height, width) = cx.builder, size
    step = min(height / wanted.height, width / wanted.width)
    across = matrix(width, wanted.width, step)
    down = matrix(height, wanted.height, step)
    x = b.f32(x)
    if across is not None:
        columns = _constant(cx, across.T)
        x = b.emit("contract", b.reshape(x, (3 * height, width)), columns)
        x = b.reshape(x, (3, height, wanted.width))
    if down is not None:
        x = b.emit("contract", b.broadcast(_constant(cx, down), (3, *down.shape)), x)
    channels = np.array(CHANNELS[wanted.color]) * wanted.scale
    x = b.reshape(x, (3, wanted.height * wanted.width))
    if not np.array_equal(channels, np.eye(3)):
        x = b.emit("contract", _constant(cx, channels), x)
    if any(wanted.bias):
        x = b.binary("add", x, _constant(cx, np.array(wanted.bias)[: len(channels), None]))
    shape = (1, len(channels), wanted.height, wanted.width)
    return b.cast(b.reshape(x, shape), wanted.dtype)


def _constant(cx: Context, array: Array) -> Value:
    type = TensorType("f32", tuple(map(Dim.of, array.shape)))
    return cx.builder.constant(array.astype("<f4").tobytes(), type)


def matrix(have: int, want: int, step: float) -> Array | None:
    """The matrix [want, have] that resizes an axis, around its middle; None for the identity.

    Neighbours are `step` old pixels apart. Each is the mean of the old pixels about its place
    under a triangle two steps wide, or two pixels wide where the picture grows: bilinear
    interpolation that skips no pixel when it shrinks (Turkowski 1990).
    """
    if have == want and step == 1:
        return None
    places = have / 2 + (np.arange(want) + 0.5 - want / 2) * step
    away = np.abs(np.arange(have) + 0.5 - places[:, None]) / max(step, 1.0)
    weights = np.maximum(1.0 - away, 0.0)
    found: Array = weights / weights.sum(1, keepdims=True)
    return found
