"""Loops whose sizes change in every pass: formulas as Python code, and what runs with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tlc
from tlc.runtime.errors import RunError
from tlc.runtime.format import evaluate
from tlc.runtime.varying import compiled

SIZES = {"N": 7, "$0": -3, "$1": 0, "$12": 1 << 20}
FORMULAS = st.recursive(
    st.one_of(st.integers(-50, 50), st.sampled_from(sorted(SIZES))),
    lambda parts: st.tuples(
        st.sampled_from(["+", "-", "*", "//", "%", "<", "<=", "=="]), parts, parts
    ).map(list),
    max_leaves=12,
)


@given(st.lists(FORMULAS, max_size=6))
def test_code_gives_what_formulas_mean(formulas: list[Any]) -> None:
    def outcome(run: Callable[[], tuple[int, ...]]) -> tuple[int, ...] | str:
        try:
            return run()
        except RunError as problem:
            return problem.code

    meaning = outcome(lambda: tuple(evaluate(formula, SIZES) for formula in formulas))
    assert outcome(lambda: compiled(formulas)(SIZES)) == meaning


@pytest.mark.parametrize("symbol", ["N']+print('", "\n", "é", "__import__"])
def test_a_symbol_is_never_code(symbol: str) -> None:
    assert compiled([symbol, ["+", symbol, 1]])({symbol: 4}) == (4, 5)


GROWS = """
fn grow(x: float16[N, 3], w: float16[3, 4], most: int32[1]) -> float32[?, 4] {
    let all = zeros([0, 3])
    let count = 0
    while count < most[0] {
        all = concat(all, x, 0)
        count = count + 1
    }
    (all @ w) as float32
}
fn totals(x: float16[N], most: int32[1]) -> float32[?] {
    let seen = x
    let sums = f32::zeros([0])
    let count = 0
    while count < most[0] {
        seen = concat(seen, x, 0)
        sums = concat(sums, [sum(seen as float32)], 0)
        count = count + 1
    }
    sums
}
"""


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_a_tensor_that_grows_for_long(device: str, rows: int) -> None:
    model = tlc.compile("grows.tl", text=GROWS, device=device)
    x = np.arange(rows * 3, dtype=np.float16).reshape(rows, 3) / 8
    w = np.linspace(-1, 1, 12, dtype=np.float32).astype(np.float16).reshape(3, 4)
    for most in (0, 3, 70, 2):
        found = model.grow(x, w, np.array([most], np.int32))
        wanted = np.tile(x.astype(np.float32) @ w.astype(np.float32), (most, 1))
        # one rounding to float16 behind sums that float32 holds nearly exactly
        np.testing.assert_allclose(found, wanted, rtol=2**-10, atol=1e-6)


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_kernels_change_with_the_size(device: str) -> None:
    model = tlc.compile("grows.tl", text=GROWS, device=device)
    x = np.ones(1000, np.float16)
    found = model.totals(x, np.array([60], np.int32))
    assert np.array_equal(found, 1000.0 * np.arange(2, 62))
