"""MIL's layers that give images other sizes: sampling, and pixels that become channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlc.ir.core import Value
from tlc.ir.coreml.mil import Maker, mil, unsupported
from tlc.ir.dims import product

# ---- sampling ------------------------------------------------------------------------------------


@mil(
    "upsample_nearest_neighbor",
    "x, scale_factor_height: float = 1, scale_factor_width: float = 1",
)
def _nearest(m: Maker, x: Value, scale_factor_height: float, scale_factor_width: float) -> Value:
    """Every pixel a whole number of times in both directions."""
    factors = (scale_factor_height, scale_factor_width)
    if any(f < 1 or not float(f).is_integer() for f in factors):
        raise unsupported("`upsample_nearest_neighbor` by fractions")
    down, across = (int(f) for f in factors)
    *lead, h, w = x.tensor.shape
    apart = m.b.reshape(x, (*lead, h, 1, w, 1))
    spread = m.b.broadcast(apart, (*lead, h, down, w, across))
    return m.b.reshape(spread, (*lead, h * down, w * across))


@mil(
    "upsample_bilinear",
    "x, scale_factor_height: float = 1, scale_factor_width: float = 1,"
    " align_corners: bool = true, half_pixel_centers: bool = none",
)
def _upsample(
    m: Maker,
    x: Value,
    scale_factor_height: float,
    scale_factor_width: float,
    align_corners: bool,
    half_pixel_centers: bool | None,
) -> Value:
    sizes = [int(d) for d in x.tensor.shape[-2:]]
    factors = (scale_factor_height, scale_factor_width)
    targets = [int(n * f) for n, f in zip(sizes, factors, strict=True)]
    if align_corners:
        mode = "STRICT_ALIGN_CORNERS"
    else:
        centred = half_pixel_centers is None or half_pixel_centers
        mode = "UNALIGN_CORNERS" if centred else "DEFAULT"
    return _resized(m, x, targets, mode)


@mil(
    "resize_bilinear",
    "x, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = DEFAULT",
)
def _resize(
    m: Maker, x: Value, target_size_height: int, target_size_width: int, sampling_mode: str
) -> Value:
    return _resized(m, x, [target_size_height, target_size_width], sampling_mode)


def _resized(m: Maker, x: Value, targets: Sequence[int], mode: str) -> Value:
    """Each direction as a product with a matrix of two weights a row."""

    def resize(v: Value) -> Value:
        *lead, h, w = v.tensor.shape
        rows, columns = (
            m.tensor(_weights(int(n), t, mode)) for n, t in zip((h, w), targets, strict=True)
        )
        flat = m.b.reshape(v, (product(lead), h, w))
        found = m.b.emit("matmul", flat, m.b.emit("transpose", columns))
        found = m.b.emit("matmul", rows, found)
        return m.b.reshape(found, (*lead, *targets))

    return m.wide_result(x, resize)


def _weights(size: int, target: int, mode: str) -> Any:
    """[target, size]: where every new element lies between two old ones."""
    at = np.arange(target, dtype=np.float64)
    match mode:
        case "STRICT_ALIGN_CORNERS":
            at = at * (size - 1) / (target - 1) if target > 1 else at
        case "ALIGN_CORNERS":
            at = at * (size - 1) / (target - 1) if target > 1 else np.full(1, (size - 1) / 2)
        case "DEFAULT":  # TensorFlow's of old: the first pixels meet
            at = at * size / target
        case "OFFSET_CORNERS":
            at = (at + 0.5) * max(1, size - 1) / target
        case "UNALIGN_CORNERS":
            at = (at + 0.5) * size / target - 0.5
        case _:
            raise unsupported(f"the sampling mode {mode}")
    at = np.clip(at, 0, size - 1)
    low = np.minimum(np.floor(at).astype(int), max(size - 2, 0))
    out = np.zeros((target, size), np.float32)
    lines = np.arange(target)
    out[lines, np.minimum(low + 1, size - 1)] += (at - low).astype(np.float32)
    out[lines, low] += (1 - (at - low)).astype(np.float32)
    return out


# ---- channels and pixels -------------------------------------------------------------------------


@mil("depth_to_space", "x, block_size: int")
def _depth_to_space(m: Maker, x: Value, block_size: int) -> Value:
    """[n, b*b*c, h, w] to [n, c, h*b, w*b], the blocks outermost (TensorFlow's order)."""
    n, c, h, w = x.tensor.shape
    b = block_size
    apart = m.b.reshape(x, (n, b, b, c // (b * b), h, w))
    moved = m.b.emit("permute", apart, axes=(0, 3, 4, 1, 5, 2))
    return m.b.reshape(moved, (n, c // (b * b), h * b, w * b))


@mil("space_to_depth", "x, block_size: int")
def _space_to_depth(m: Maker, x: Value, block_size: int) -> Value:
    n, c, h, w = x.tensor.shape
    b = block_size
    apart = m.b.reshape(x, (n, c, h // b, b, w // b, b))
    moved = m.b.emit("permute", apart, axes=(0, 3, 5, 1, 2, 4))
    return m.b.reshape(moved, (n, c * b * b, h // b, w // b))


@mil("pixel_shuffle", "x, upscale_factor: int")
def _pixel_shuffle(m: Maker, x: Value, upscale_factor: int) -> Value:
    """[n, c*r*r, h, w] to [n, c, h*r, w*r], the channels outermost (PyTorch's order)."""
    n, c, h, w = x.tensor.shape
    r = upscale_factor
    apart = m.b.reshape(x, (n, c // (r * r), r, r, h, w))
    moved = m.b.emit("permute", apart, axes=(0, 1, 4, 2, 5, 3))
    return m.b.reshape(moved, (n, c // (r * r), h * r, w * r))


@mil("pixel_unshuffle", "x, downscale_factor: int")
def _pixel_unshuffle(m: Maker, x: Value, downscale_factor: int) -> Value:
    n, c, h, w = x.tensor.shape
    r = downscale_factor
    apart = m.b.reshape(x, (n, c, h // r, r, w // r, r))
    moved = m.b.emit("permute", apart, axes=(0, 1, 3, 5, 2, 4))
    return m.b.reshape(moved, (n, c * r * r, h // r, w // r))
