"""Random numbers: a hash of a seed, a draw's number and an element's index, the same everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.dims import Dim, product
from tlc.ir.opdef import Sample, TypeRuleError, defop
from tlc.ir.types import TensorType, Type, tensor

_ODD = 0x45D9F3B  # the multiplier of a well-known mixing function for 32 bits, with shifts by 16


def _mix(x: Type, y: Type) -> tuple[Type, ...]:
    for at, type in enumerate((x, y)):
        if not isinstance(type, TensorType) or type.dtype != "i32" or type != x:
            raise TypeRuleError(f"two i32 tensors are needed, and this is {type}", "E0302", (at,))
    return (x,)


def _mix_eval(np: Any, x: Any, y: Any) -> Any:
    bits = x.astype(np.int32).view(np.uint32)
    bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(_ODD) + y.astype(np.int32).view(np.uint32)
    return bits.view(np.int32)


defop(
    "mix",
    f"One round of a hash of 32 bits: (x ^ (x >> 16)) * {_ODD:#x} + y, as unsigned numbers.",
    params="x, y",
    type=_mix,
    eval=_mix_eval,
    msl=f"int((uint({{0}}) ^ (uint({{0}}) >> 16)) * {_ODD}u + uint({{1}}))",
    # there is no exclusive or of lanes: a ^ b is (a | b) - (a & b); >> repeats the sign
    lanes=f"(({{0}} | ({{0}} >> 16 & 65535)) - ({{0}} & ({{0}} >> 16 & 65535))) * {_ODD} + {{1}}",
    sample=(Sample((tensor("i32", 3, 5), tensor("i32", 3, 5)), {}, -9, 9),),
)


defop(
    "upper_bits",
    "The upper 24 of 32 bits, as a whole number.",
    params="x",
    type=lambda x: _mix(x, x),
    eval=lambda np, x: x.astype(np.int32).view(np.uint32) >> np.uint32(8),
    msl="int(uint({0}) >> 8)",
    lanes="({0} >> 8 & 16777215)",
    sample=(Sample((tensor("i32", 3, 5),), {}, -9, 9),),
)


def _upper(b: Builder, shape: Sequence[Dim], seed: Dim, draw: Dim, stream: int = 0) -> Value:
    """24 random bits for each element, in float32.

    Two keys are hashed from the seed and the numbers of the draw and of its stream, and added in
    the first two of the four rounds that hash the element's index in row-major order.
    """
    count = product(shape)
    index = b.emit("iota", type=TensorType("i32", (count,)), axis=0)
    zero = b.scalar(0, index)
    first = b.emit("mix", b.scalar(seed, index), b.scalar(draw, index))
    first = b.emit("mix", b.emit("mix", first, b.scalar(stream, index)), zero)
    second = b.emit("mix", b.emit("mix", first, zero), zero)
    bits = index
    for key in (first, second, zero, zero):
        bits = b.emit("mix", bits, key)
    return b.reshape(b.f32(b.emit("upper_bits", bits)), shape)


def uniform(b: Builder, shape: Sequence[Dim], dtype: str, seed: Dim, draw: Dim) -> Value:
    """Numbers of [0, 1): multiples of 2^-24, or of 2^-11 in float16, so that none is rounded."""
    upper = _upper(b, shape, seed, draw)
    if dtype == "f32":
        return b.emit("mul", upper, b.scalar(2.0**-24, upper))
    whole = b.emit("floor", b.emit("mul", upper, b.scalar(2.0**-13, upper)))
    return b.cast(b.emit("mul", whole, b.scalar(2.0**-11, whole)), dtype)


def between(b: Builder, shape: Sequence[Dim], seed: Dim, draw: Dim) -> Value:
    """Numbers in float32 that are neither 0 nor 1: odd multiples of 2^-24."""
    upper = _upper(b, shape, seed, draw)
    whole = b.emit("floor", b.emit("mul", upper, b.scalar(0.5, upper)))
    middle = b.emit("add", whole, b.scalar(0.5, whole))
    return b.emit("mul", middle, b.scalar(2.0**-23, middle))


def normal(
    b: Builder,
    shape: Sequence[Dim],
    dtype: str,
    seed: Dim,
    draw: Dim,
    mean: float = 0.0,
    std: float = 1.0,
) -> Value:
    """Normally distributed numbers: sqrt(-2 ln u) cos(2 pi v), of uniform u and v (Box and Muller
    1958)."""
    first, second = (_upper(b, shape, seed, draw, stream) for stream in (1, 2))
    above = b.emit("mul", b.emit("add", first, b.scalar(1.0, first)), b.scalar(2.0**-24, first))
    squared = b.emit("mul", b.emit("log", above), b.scalar(-2.0, above))
    angle = b.emit("mul", second, b.scalar(2 * math.pi * 2.0**-24, second))
    standard = b.emit("mul", b.emit("sqrt", squared), b.emit("cos", angle))
    spread = b.emit("mul", standard, b.scalar(std, standard))
    return b.cast(b.emit("add", spread, b.scalar(mean, spread)), dtype)
