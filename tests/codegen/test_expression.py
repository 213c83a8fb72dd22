"""The text of numbers and indices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlc.codegen.expression import float_literal
from tlc.codegen.iteration import Sizes, collapse, offset, row_major, split
from tlc.ir.dims import Dim


def dims(*sizes: int | str) -> tuple[Dim, ...]:
    return tuple(map(Dim.of, sizes))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_literal_reads_back_to_the_same_number(number: float) -> None:
    text = float_literal(number)
    bare = text.strip("()")
    assert bare.endswith("f")
    assert "." in bare
    back = np.float32(float(bare[:-1]))
    assert back == np.float32(number)
    assert np.signbit(back) == np.signbit(np.float32(number))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.5, "0.5f"),
        (-2.0, "(-2.0f)"),
        (float(np.float32(1e-6)), "1.0e-6f"),
        (float("inf"), "as_type<float>(0x7f800000u)"),
    ],
)
def test_literals_are_short(number: float, text: str) -> None:
    assert float_literal(number) == text


def test_contiguous_axes_become_one() -> None:
    shape = dims("B", 3, "N")
    space = collapse(shape, [row_major(shape), row_major(shape)])
    assert space.shape == (Dim.of("B") * 3 * Dim.of("N"),)
    assert space.strides == (dims(1), dims(1))


def test_a_broadcast_axis_stays_apart() -> None:
    shape = dims("M", 4, 5)
    space = collapse(shape, [row_major(shape), dims(0, 5, 1)])
    assert space.shape == dims("M", 20)
    assert space.strides == (dims(20, 1), dims(0, 1))


def test_axes_of_one_element_go_and_one_axis_is_left() -> None:
    assert collapse(dims(1, 7, 1), [dims(3, 2, 9)]).strides == (dims(2),)
    assert collapse((), [()]).shape == dims(1)


def test_indices_as_text() -> None:
    sizes = Sizes()
    statements, names = split(sizes, "at", dims("A", "B", 5), "i")
    assert statements == [
        "const uint i0 = at / 5u / dims.d0;",
        "const uint i1 = at / 5u % dims.d0;",
        "const uint i2 = at % 5u;",
    ]
    assert offset(sizes, Dim.of(3), dims("K", 0, 1), names) == "3u + i0 * dims.d1 + i2"
    assert sizes.fields == dims("B", "K")
