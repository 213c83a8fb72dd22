"""EfficientNet-lite0 with random weights of its shapes, and its layers in their order for peers.

examples/efficientnet_lite0.tl is the same network, and its weights have the same names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

SIZE, STEM, HEAD, CLASSES, EPSILON = 224, 32, 1280, 1000, 1e-3

# Of each stage: blocks, side of a window, step of the first block, how many times wider the inside
# of a block is than what comes in, and channels that go out (Tan and Le, EfficientNet, table 1).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class Block(NamedTuple):
    """A block: channels that come in, inside and that go out, side and step of its windows."""

    name: str
    into: int
    inside: int
    out: int
    side: int
    step: int


def blocks() -> Iterator[Block]:
    """All blocks in order."""
    into, at = STEM, 0
    for count, side, first, wider, out in STAGES:
        for number in range(count):
            step = first if number == 0 else 1
            yield Block(f"_blocks.{at}", into, into * wider, out, side, step)
            into, at = out, at + 1


def weights() -> dict[str, np.ndarray[Any, Any]]:
    """Every tensor by the name that it has in the model's file, as float32."""
    rng = np.random.default_rng(7)
    made: dict[str, np.ndarray[Any, Any]] = {}

    def convolution(name: str, norm: str, out: int, depth: int, side: int) -> None:
        scale = np.float32(1.5 / (depth * side * side) ** 0.5)
        made[f"{name}.weight"] = rng.standard_normal((out, depth, side, side), np.float32) * scale
        for part, low, high in (
            *(("weight", 0.8, 1.2), ("bias", -0.2, 0.2)),
            *(("running_mean", -0.2, 0.2), ("running_var", 0.5, 1.5)),
        ):
            made[f"{norm}.{part}"] = rng.uniform(low, high, out).astype(np.float32)

    convolution("_conv_stem", "_bn0", STEM, 3, 3)
    for name, into, inside, out, side, _ in blocks():
        if inside != into:
            convolution(f"{name}._expand_conv", f"{name}._bn0", inside, into, 1)
        convolution(f"{name}._depthwise_conv", f"{name}._bn1", inside, 1, side)
        convolution(f"{name}._project_conv", f"{name}._bn2", out, inside, 1)
    convolution("_conv_head", "_bn1", HEAD, STAGES[-1][-1], 1)
    made["_fc.weight"] = rng.standard_normal((CLASSES, HEAD), np.float32) * np.float32(0.03)
    made["_fc.bias"] = np.zeros(CLASSES, np.float32)
    return made


class Layers(Protocol):
    """What a peer computes of its own values."""

    def scaled(self, image: Any) -> Any:
        """[3, height, width] from 0 to 255 as [1, 3, height, width] from -127/128 to 1."""

    def convolved(
        self,
        x: Any,
        name: str,
        norm: str,
        step: int,
        pads: tuple[int, int],
        groups: int,
        limit: bool,
    ) -> Any:
        """A convolution, normalised, and with `limit` clamped to 0..6; so many zeros lie before
        and behind the image in both directions."""

    def added(self, x: Any, y: Any) -> Any: ...

    def classes(self, x: Any) -> Any:
        """The mean of each channel, and a linear layer."""


def classify(net: Layers, image: Any) -> Any:
    """The logits of an image [3, 224, 224]."""
    x = net.convolved(net.scaled(image), "_conv_stem", "_bn0", 2, (0, 1), 1, True)
    for name, into, inside, out, side, step in blocks():
        y = x
        if inside != into:
            y = net.convolved(y, f"{name}._expand_conv", f"{name}._bn0", 1, (0, 0), 1, True)
        # TensorFlow pads an even image more at its ends
        pads = (side // 2, side // 2) if step == 1 else (side // 2 - 1, side // 2)
        depthwise = f"{name}._depthwise_conv"
        y = net.convolved(y, depthwise, f"{name}._bn1", step, pads, inside, True)
        y = net.convolved(y, f"{name}._project_conv", f"{name}._bn2", 1, (0, 0), 1, False)
        x = net.added(x, y) if step == 1 and into == out else y
    return net.classes(net.convolved(x, "_conv_head", "_bn1", 1, (0, 0), 1, True))
