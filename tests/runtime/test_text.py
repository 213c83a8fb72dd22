"""Numbers and tensors as text; NumPy says which digits are shortest and what is elided."""

import re
import struct
import tracemalloc

import numpy as np
import pytest

from tlc.runtime.text import format_float, format_tensor


def shortest(value):
    """The shortest digits that tell a NumPy float from its neighbours, as Python writes them."""
    return repr(float(np.format_float_scientific(value, unique=True)))


def test_every_float16_has_its_shortest_digits():
    for value in np.arange(65536, dtype=np.uint16).view(np.float16):
        text = format_float(float(value), "f16")
        assert text == shortest(value)
        assert np.array_equal(np.float16(text), value, equal_nan=True)


def test_float32_has_its_shortest_digits():
    rng = np.random.default_rng(0)
    exponents = np.arange(256, dtype=np.uint32) << 23  # the powers of two and what is next to them
    subnormals = np.uint32(1) << np.arange(23, dtype=np.uint32)
    patterns = np.concatenate(
        [
            rng.integers(0, 2**32, 20_000, dtype=np.uint32),
            exponents,
            exponents + np.uint32(1),
            exponents[1:] - np.uint32(1),
            exponents | np.uint32(2**31),
            subnormals,
        ]
    )
    for value in patterns.view(np.float32):
        text = format_float(float(value), "f32")
        assert text == shortest(value)
        assert np.array_equal(np.float32(text), value, equal_nan=True)


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        (2.2109375, "2.21"),
        (2.8203125, "2.82"),
        (6.41796875, "6.418"),
        (10.0234375, "10.02"),
        (1.0, "1.0"),
        (65504.0, "65500.0"),
        (2.0**-24, "6e-08"),
        (0.015625, "0.01563"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        (float("nan"), "nan"),
    ],
)
def test_float16_is_written_as_python_writes_floats(stored, text):
    assert format_float(stored, "f16") == text


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        (0.1, "0.1"),
        (3.4028234663852886e38, "3.4028235e+38"),
        (1e16, "1e+16"),
        (1e15, "1000000000000000.0"),
    ],
)
def test_float32_is_written_as_python_writes_floats(stored, text):
    exact = struct.unpack("f", struct.pack("f", stored))[0]
    assert format_float(exact, "f32") == text


def test_the_linear_example():
    values = [
        [2.2109375, 2.8203125],
        [4.91015625, 6.41796875],
        [7.609375, 10.0234375],
        [10.3125, 13.6171875],
    ]
    data = np.array(values, np.float16).tobytes()
    assert format_tensor(data, "f16", (4, 2)) == (
        "[[2.21, 2.82], [4.91, 6.418], [7.61, 10.02], [10.31, 13.62]]"
    )


def test_a_scalar_is_its_bare_value():
    assert format_tensor(struct.pack("<e", 2.21), "f16", ()) == "2.21"
    assert format_tensor(struct.pack("<i", -7), "i32", ()) == "-7"
    assert format_tensor(b"\1", "bool", ()) == "true"


def test_masks_and_integers():
    assert format_tensor(b"\0\1\1", "bool", (3,)) == "[false, true, true]"
    data = struct.pack("<4i", 0, -1, 2**31 - 1, -(2**31))
    assert format_tensor(data, "i32", (2, 2)) == "[[0, -1], [2147483647, -2147483648]]"


@pytest.mark.parametrize(
    ("shape", "text"), [((0,), "[]"), ((2, 0), "[[], []]"), ((0, 5), "[]"), ((1, 0, 3), "[[]]")]
)
def test_tensors_without_elements(shape, text):
    assert format_tensor(b"", "f32", shape) == text


def test_any_view_of_the_bytes_will_do():
    values = np.array([[1.5, -2.0]], np.float32)
    assert format_tensor(values.data, "f32", (1, 2)) == "[[1.5, -2.0]]"


SHAPES = [(1000,), (1001,), (7, 200), (6, 200), (3, 7, 50), (2, 2, 2, 300), (7, 7, 7, 7), (1, 9999)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("full", [False, True])
def test_long_tensors_are_elided_as_by_numpy(shape, full):
    values = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    threshold = values.size if full else 1000
    expected = np.array2string(values, separator=", ", threshold=threshold, max_line_width=10**9)
    expected = re.sub(r"\s+", " ", expected).replace("[ ", "[")
    found = format_tensor(values.tobytes(), "i32", shape, full)
    assert found == re.sub(r", +", ", ", expected)


def test_many_empty_rows_are_elided_too():
    assert format_tensor(b"", "f16", (5000, 0)) == "[[], [], [], ..., [], [], []]"


def test_what_is_elided_is_not_decoded():
    data = bytes(20_000_000)
    tracemalloc.start()
    text = format_tensor(data, "f16", (100_000, 100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert text.count("0.0") == 36
    assert peak < 10_000
