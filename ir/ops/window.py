"""Windows over images [batch, channels, height, width]: where they lie, and pooling.

A window is never copied out of its image: the kernels of `convolve`, `convolve_each` and `pool`
read through it, and what lies around the image is a number that they know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.dims import Dim, product
from tlc.ir.opdef import Sample, TypeRuleError, compose, defop
from tlc.ir.types import FLOATS, TensorType, Type, show_shape, tensor

Pair = tuple[int, int]
SIDE_BY_SIDE = 32  # elements of a window that are combined one by one


@dataclass(frozen=True, slots=True)
class Window:
    """Height and width of a window, steps between windows, steps inside one, how far windows reach
    beyond the edges of the image, and how much farther at its end than at its beginning."""

    size: Pair
    stride: Pair
    dilation: Pair = (1, 1)
    padding: Pair = (0, 0)
    more: Pair = (0, 0)

    @property
    def span(self) -> Pair:
        """Height and width of what a window covers."""
        (height, width), (down, across) = self.size, self.dilation
        return down * (height - 1) + 1, across * (width - 1) + 1

    @property
    def count(self) -> int:
        """Elements of a window."""
        return self.size[0] * self.size[1]

    @property
    def attrs(self) -> dict[str, Any]:
        """The window as attributes of an operation."""
        return {
            "size": self.size,
            "stride": self.stride,
            "dilation": self.dilation,
            "padding": self.padding,
            "more": self.more,
        }

    @classmethod
    def of(cls, attrs: Mapping[str, Any]) -> Self:
        """The window of an operation."""
        return cls(**{name: attrs[name] for name in cls.__dataclass_fields__})

    def counts(self, image: Iterable[Dim]) -> tuple[Dim, Dim]:
        """How many windows fit below and beside one another."""
        height, width = (
            (length + (2 * padding + more) - span + stride) // stride
            for length, span, stride, padding, more in zip(
                image, self.span, self.stride, self.padding, self.more, strict=True
            )
        )
        return height, width

    def seen(self, np: Any, x: Any, around: float) -> Any:
        """All windows' elements: [batch, channels, height and width of one, rows, columns]."""
        edges = [(p, p + more) for p, more in zip(self.padding, self.more, strict=True)]
        x = np.pad(x, ((0, 0), (0, 0), *edges), constant_values=around)
        down, across = self.stride
        windows = np.lib.stride_tricks.sliding_window_view(x, self.span, axis=(2, 3))
        windows = windows[:, :, ::down, ::across, :: self.dilation[0], :: self.dilation[1]]
        return windows.transpose(0, 1, 4, 5, 2, 3)


def image_type(type: Type) -> TensorType:
    """The type of an image [batch, channels, height, width]."""
    if not isinstance(type, TensorType) or type.dtype not in FLOATS or type.rank != 4:
        raise TypeRuleError(f"{type} is no image", "E0301", (0,))
    return type


def check_image(x: Value, what: str, rank: tuple[int, ...]) -> None:
    """Refuse what is no image."""
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


def check_pairs(*pairs: tuple[int, str, Pair]) -> None:
    """Refuse numbers that are too small: each with the least allowed and what it is."""
    for least, what, pair in pairs:
        if min(pair) < least:
            text = f"the {what} is at least {least}, and this is {show_shape(pair)}"
            raise TypeRuleError(text, "E0303")


def check_fit(b: Builder, x: Value, window: Window) -> None:
    """Refuse a window that is larger than the image and what is around it."""
    padded = [length + 2 * p for length, p in zip(x.tensor.shape[-2:], window.padding, strict=True)]
    text = f"a window of {show_shape(window.size)}"
    if tuple(window.span) != tuple(window.size):
        text += f", which its dilation makes {show_shape(window.span)},"
    text += " does not fit into an image of"
    for length, span in zip(padded, window.span, strict=True):
        b.check_at_most(Dim.of(span), length, f"{text} {show_shape(padded)}")


# ---- pooling -------------------------------------------------------------------------------------


def _pool(x: Type, largest: bool, **window: Pair) -> tuple[Type, ...]:
    image = image_type(x)
    made = image.with_shape((*image.shape[:2], *Window(**window).counts(image.shape[2:])))
    return (made if largest else made.with_dtype("f32"),)


def _pool_eval(np: Any, x: Any, largest: bool, **window: Pair) -> Any:
    if largest:
        return Window(**window).seen(np, x, -np.inf).max((2, 3))
    return (
        Window(**window).seen(np, x, 0.0).sum((2, 3), dtype=np.promote_types(x.dtype, np.float32))
    )


_IMAGE = tensor("f16", 2, 3, 5, 6)
_WINDOW = Window((3, 2), (2, 1), (1, 2), (1, 0), (-1, 1)).attrs
PAIRS = "size: pair, stride: pair, dilation: pair, padding: pair, more: pair"  # of a window
defop(
    "pool",
    "The largest element of every window, or the sum in float32; beyond the edges are -infinity, or"
    " zeros.",
    params=f"x, {PAIRS}, largest: bool",
    type=_pool,
    eval=_pool_eval,
    kernel="window",
    sample=(
        Sample((_IMAGE,), {**_WINDOW, "largest": True}),
        Sample((_IMAGE,), {**_WINDOW, "largest": False}),
    ),
)


def _pooled(b: Builder, x: Value, window: Window, largest: bool) -> Value:
    """Each window combined; large ones first along their rows, and the whole image at once."""
    *lead, height, width = x.tensor.shape
    if (height, width) == tuple(map(Dim.of, window.size)) and window.padding == (0, 0):
        flat = b.reshape(x, (*lead, height * width))
        return b.reshape(
            b.emit("reduce_max", flat, axis=2)
            if largest
            else b.emit("reduce_sum", b.f32(flat), axis=2),
            (*lead, 1, 1),
        )
    if window.count <= SIDE_BY_SIDE or min(window.size) == 1:
        return b.emit("pool", x, **window.attrs, largest=largest)
    parts = (
        Window((n, 1), (s, 1), padding=(p, 0)) if down else Window((1, n), (1, s), padding=(0, p))
        for n, s, p, down in zip(window.size, window.stride, window.padding, (1, 0), strict=True)
    )
    for part in parts:
        x = b.emit("pool", x, **part.attrs, largest=largest)
    return x


def _prepared(
    b: Builder, x: Value, what: str, kernel: Pair, stride: Pair | None, padding: Pair
) -> tuple[Value, Window]:
    check_image(x, what, (3, 4))
    window = Window(kernel, stride or kernel, padding=padding)
    check_pairs((1, "kernel", kernel), (1, "stride", window.stride), (0, "padding", padding))
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        text = f"the padding is at most half the kernel {show_shape(kernel)}"
        raise TypeRuleError(f"{text}, and this is {show_shape(padding)}", "E0303")
    check_fit(b, x, window)
    lead = x.tensor.shape[:-2]
    return b.reshape(x, (product(lead[:-1]), *x.tensor.shape[-3:])), window


def _as_given(b: Builder, x: Value, made: Value) -> Value:
    """What was made of an image, with as many axes as the image."""
    return b.reshape(made, (*x.tensor.shape[:-2], *made.tensor.shape[-2:]))


def _max_pool(
    b: Builder, x: Value, kernel: Pair, stride: Pair | None = None, padding: Pair = (0, 0)
) -> Value:
    image, window = _prepared(b, x, "max_pool2d", kernel, stride, padding)
    return _as_given(b, x, _pooled(b, image, window, True))


def _avg_pool(
    b: Builder, x: Value, kernel: Pair, stride: Pair | None = None, padding: Pair = (0, 0)
) -> Value:
    image, window = _prepared(b, x, "avg_pool2d", kernel, stride, padding)
    total = _as_given(b, x, _pooled(b, image, window, False))
    return b.cast(b.emit("div", total, b.scalar(float(window.count), total)), x.tensor.dtype)


_POOL = "x, kernel: pair, stride: pair = none, padding: pair = 0"
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
