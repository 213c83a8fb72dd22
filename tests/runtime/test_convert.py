"""The quick conversion of weights gives the bits that NumPy gives, or nothing at all."""

import numpy as np
import pytest

from tlc.runtime.devices.convert import converted
from tlc.runtime.float8 import numbers

RNG = np.random.default_rng(7)
LENGTHS = [1, 7, 4096, 4097, 100_003]


def quick(data: bytes, encoding: str, stored: str, dtype: type) -> np.ndarray | None:
    """The conversion of bytes that start at an odd address."""
    shifted = memoryview(b"\0" + data)[1:]
    made = converted(shifted, encoding, stored)
    return None if made is None else np.frombuffer(made, dtype)


def wide(count: int) -> np.ndarray:
    """Float32 of every size that float16 holds, ties between neighbours among them."""
    values = RNG.standard_normal(count).astype(np.float32) * 10.0 ** RNG.integers(-9, 4, count)
    halves = RNG.integers(0, 0x7BFE, count, dtype=np.uint16)
    ties = (halves.view(np.float16).astype(np.float32) + (halves + 1).view(np.float16)) / 2
    return np.where(RNG.random(count) < 0.5, values, ties).astype(np.float32)


@pytest.mark.parametrize("count", LENGTHS)
def test_float32(count: int) -> None:
    values = wide(count)
    found = quick(values.tobytes(), "f32", "f16", np.float16)
    np.testing.assert_array_equal(found, values.astype(np.float16))


@pytest.mark.parametrize("count", LENGTHS)
def test_bfloat16(count: int) -> None:
    upper = (wide(count).view(np.uint32) >> 16).astype(np.uint16)
    values = (upper.astype(np.uint32) << 16).view(np.float32)
    for stored, dtype in (("f16", np.float16), ("f32", np.float32)):
        found = quick(upper.tobytes(), "bf16", stored, dtype)
        np.testing.assert_array_equal(found, values.astype(dtype))


@pytest.mark.parametrize("encoding", ["f8_e4m3", "f8_e5m2"])
def test_float8(encoding: str) -> None:
    values = np.array(numbers(encoding))
    codes = np.flatnonzero(np.isfinite(values)).astype(np.uint8)
    found = quick(np.tile(codes, 99).tobytes(), encoding, "f16", np.float16)
    np.testing.assert_array_equal(found, np.tile(values[codes], 99))


@pytest.mark.parametrize("value", [65520.0, -1e9, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("at", [0, 4096, 9999])
def test_what_is_not_finite_is_left_to_the_careful_way(value: float, at: int) -> None:
    values = np.zeros(10_000, np.float32)
    values[at] = value
    assert quick(values.tobytes(), "f32", "f16", np.float16) is None
    values[at] = 65519.0
    assert quick(values.tobytes(), "f32", "f16", np.float16) is not None


def test_other_encodings_are_left_to_the_careful_way() -> None:
    assert converted(memoryview(bytes(18)), "q4_0", "f16") is None
    assert converted(memoryview(bytes(16)), "f64", "f16") is None
    assert converted(memoryview(b""), "f32", "f16") is None
