"""Windows over images: pooling and convolution on [..., height, width].

A window's elements are read through strides: element (i, j) of every window is one view of the
image. Small windows become sums or maxima of such views, which one kernel reads side by side;
convolutions with many channels are matrix products with one view of all windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.dims import Dim, DimLike, product
from tlc.ir.opdef import Sample, TypeRuleError, compose
from tlc.ir.types import FLOATS, TensorType, row_major, show_shape, tensor

Pair = tuple[int, int]
SIDE_BY_SIDE = 32  # views of one image that one kernel reads


@dataclass(frozen=True, slots=True)
class Window:
    """Height and width of a window, steps between windows, and steps inside one."""

    size: Pair
    stride: Pair
    dilation: Pair = (1, 1)

    def counts(self, image: tuple[Dim, Dim]) -> tuple[Dim, Dim]:
        """How many windows fit below and beside one another."""
        height, width = (
            (length - dilation * (size - 1) - 1) // stride + 1
            for length, size, stride, dilation in zip(
                image, self.size, self.stride, self.dilation, strict=True
            )
        )
        return height, width


def _image(x: Value, what: str, rank: tuple[int, ...]) -> None:
    if x.tensor.dtype not in FLOATS:
        raise TypeRuleError(
            f"a floating-point tensor is needed, and this is {x.type}", "E0302", (0,)
        )
    if x.tensor.rank not in rank:
        raise TypeRuleError(
            f"`{what}` works on [batch, channels, height, width], and this is {x.type}",
            "E0301",
            (0,),
        )


def _at_least(least: int, what: str, pair: Pair) -> None:
    if min(pair) < least:
        text = f"the {what} is at least {least}, and this is {show_shape(pair)}"
        raise TypeRuleError(text, "E0303")


def _padded(b: Builder, x: Value, padding: Pair, number: float) -> Value:
    """The image with a number around it."""
    for axis, width in zip((x.tensor.rank - 2, x.tensor.rank - 1), padding, strict=True):
        if width:
            shape = x.tensor.shape
            edge = b.broadcast(
                b.constant(number, TensorType(x.tensor.dtype, ())),
                (*shape[:axis], width, *shape[axis + 1 :]),
            )
            x = b.emit("concat", edge, x, edge, axis=axis)
    return x


def _fits(b: Builder, x: Value, window: Window) -> None:
    image = show_shape(x.tensor.shape[-2:])
    for length, size, dilation in zip(
        x.tensor.shape[-2:], window.size, window.dilation, strict=True
    ):
        b.check_at_most(
            Dim.of(dilation * (size - 1) + 1),
            length,
            f"a window of {show_shape(window.size)} does not fit into an image of {image}",
        )


def _views(b: Builder, x: Value, window: Window) -> Iterator[Value]:
    """For each place in a window, that element of all windows: [..., rows, columns]."""
    *lead, height, width = x.tensor.shape
    shape = (*lead, *window.counts((height, width)))
    *outer, row, column = row_major(x.tensor.shape)
    strides = (*outer, row * window.stride[0], column * window.stride[1])
    for i in range(window.size[0]):
        for j in range(window.size[1]):
            start = row * (i * window.dilation[0]) + column * (j * window.dilation[1])
            yield b.emit("access", x, shape=shape, strides=strides, offset=start)


# ---- pooling -------------------------------------------------------------------------------------


def _pooled(b: Builder, x: Value, window: Window, op: str, wide: Callable[[Value], Value]) -> Value:
    """All elements of each window combined; of large windows, first rows and then columns."""
    (height, width), (down, across) = window.size, window.stride
    if height * width > SIDE_BY_SIDE and min(height, width) > 1:
        rows = _pooled(b, x, Window((height, 1), (down, 1)), op, wide)
        return _pooled(b, rows, Window((1, width), (1, across)), op, wide)
    views = map(wide, _views(b, x, window))
    total = next(views)
    for view in views:
        total = b.emit(op, total, view)
    return total


def _prepared(
    b: Builder, x: Value, what: str, kernel: Pair, stride: Pair | None, padding: Pair, edge: float
) -> tuple[Value, Window]:
    _image(x, what, (3, 4))
    stride = stride or kernel
    for least, name, pair in (
        (1, "kernel", kernel),
        (1, "stride", stride),
        (0, "padding", padding),
    ):
        _at_least(least, name, pair)
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        text = f"the padding is at most half the kernel {show_shape(kernel)}"
        raise TypeRuleError(f"{text}, and this is {show_shape(padding)}", "E0303")
    x, window = _padded(b, x, padding, edge), Window(kernel, stride)
    _fits(b, x, window)
    return x, window


def _max_pool(
    b: Builder, x: Value, kernel: Pair, stride: Pair | None = None, padding: Pair = (0, 0)
) -> Value:
    x, window = _prepared(b, x, "max_pool2d", kernel, stride, padding, -float("inf"))
    return _pooled(b, x, window, "maximum", lambda view: view)


def _avg_pool(
    b: Builder, x: Value, kernel: Pair, stride: Pair | None = None, padding: Pair = (0, 0)
) -> Value:
    dtype = x.tensor.dtype
    x, window = _prepared(b, x, "avg_pool2d", kernel, stride, padding, 0.0)
    total = _pooled(b, x, window, "add", b.f32)
    return b.cast(b.emit("div", total, b.scalar(float(kernel[0] * kernel[1]), total)), dtype)


_POOL = "x, kernel: pair, stride: pair = none, padding: pair = 0"
_IMAGE = tensor("f16", 2, 3, 5, 6)
compose(
    "max_pool2d",
    "The largest element of every window; the stride is the kernel when left out. Padding is never"
    " the largest.",
    _max_pool,
    params=_POOL,
    sample=(Sample((_IMAGE,), {"kernel": (2, 2)}),),
)
compose(
    "avg_pool2d",
    "The mean of every window; the stride is the kernel when left out. Padding counts as zeros.",
    _avg_pool,
    params=_POOL,
    sample=(Sample((_IMAGE,), {"kernel": (2, 2), "padding": (1, 1)}),),
)

# ---- convolution ---------------------------------------------------------------------------------


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
    _image(x, "conv2d", (4,))
    if weight.tensor.rank != 4:
        raise TypeRuleError(
            f"the weights of `conv2d` are [out, in / groups, height, width], and this is"
            f" {weight.type}",
            "E0301",
            (1,),
        )
    out, depth, *size = weight.tensor.shape
    channels = x.tensor.shape[1]
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
    if bias is not None and bias.tensor.shape != (out,):
        raise TypeRuleError(f"the bias is [{out}], and this is {bias.type}", "E0301", (2,))
    for least, name, pair in (
        (1, "stride", stride),
        (0, "padding", padding),
        (1, "dilation", dilation),
    ):
        _at_least(least, name, pair)
    window = Window((int(size[0]), int(size[1])), stride, dilation)
    _at_least(1, "kernel", window.size)
    x = _padded(b, x, padding, 0.0)
    _fits(b, x, window)
    small = window.size[0] * window.size[1] <= SIDE_BY_SIDE
    made = (_by_channel if depth == Dim.of(1) and small else _by_product)(
        b, x, weight, window, groups
    )
    return made if bias is None else b.binary("add", made, b.reshape(bias, (out, 1, 1)))


def _by_channel(b: Builder, x: Value, weight: Value, window: Window, groups: int) -> Value:
    """Every channel by itself: a sum of products, element by element, in float32."""
    batch = x.tensor.shape[0]
    out, (rows, columns) = weight.tensor.shape[0], window.counts(_plane(x))
    each = out // groups
    total: Value | None = None
    for at, view in enumerate(_views(b, x, window)):
        i, j = divmod(at, window.size[1])
        number = b.emit("slice", weight, axis=2, start=Dim.of(i), length=Dim.of(1))
        number = b.emit("slice", number, axis=3, start=Dim.of(j), length=Dim.of(1))
        number = b.reshape(number, (groups, each, 1, 1))
        image = b.reshape(view, (batch, groups, 1, rows, columns))
        term = b.binary("mul", b.f32(image), b.f32(number))
        total = term if total is None else b.emit("add", total, term)
    assert total is not None
    dtype = "f32" if "f32" in (x.tensor.dtype, weight.tensor.dtype) else "f16"
    return b.cast(b.reshape(total, (batch, out, rows, columns)), dtype)


def _plane(x: Value) -> tuple[Dim, Dim]:
    return x.tensor.shape[-2], x.tensor.shape[-1]


def _by_product(b: Builder, x: Value, weight: Value, window: Window, groups: int) -> Value:
    """For each group, weights [out, depth] times the elements [depth, batch * windows]."""
    batch = x.tensor.shape[0]
    out, each, *_ = weight.tensor.shape
    rows, columns = window.counts(_plane(x))
    image, channel, row, column = row_major(x.tensor.shape)
    (height, width), (down, across) = window.size, window.dilation
    sizes: list[DimLike] = [groups, each, height, width, batch, rows, columns]
    seen = b.emit(
        "access",
        x,
        shape=tuple(map(Dim.of, sizes)),
        strides=(
            *(each * channel, channel, row * down, column * across, image),
            *(row * window.stride[0], column * window.stride[1]),
        ),
        offset=Dim.of(0),
    )
    depth, windows = each * (height * width), product((batch, rows, columns))
    lead = [] if groups == 1 else [groups]
    made = b.emit(
        "contract",
        b.reshape(weight, [*lead, out // groups, depth]),
        b.reshape(seen, [*lead, depth, windows]),
    )
    if batch == Dim.of(1):
        return b.reshape(made, (1, out, rows, columns))
    return b.emit("permute", b.reshape(made, (out, batch, rows, columns)), axes=(1, 0, 2, 3))


compose(
    "conv2d",
    "The products of weights [out, in / groups, height, width] with every window of x, as PyTorch's"
    " conv2d; padding is zeros.",
    _conv2d,
    params="x, w, bias = none, stride: pair = 1, padding: pair = 0, dilation: pair = 1,"
    " groups: int = 1",
    sample=(
        Sample((_IMAGE, tensor("f16", 4, 3, 3, 3), tensor("f16", 4)), {"padding": (1, 1)}),
        Sample((_IMAGE, tensor("f16", 6, 1, 2, 2)), {"groups": 3, "stride": (2, 1)}),
    ),
)
