"""Apple kernels of every family, emulated: right for numpy in float64, and within a GPU's rules.

A run with TLC_FUZZ=N launches every kernel in three ways, follows values that were never set, and
compiles once more with fast math, as metalcompute does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from tests.codegen.cases import EVERYTHING
from tests.codegen.emulation import run_emulated
from tests.codegen.running import Case, unrounded_weights
from tlc.api import compile

THOROUGH = "TLC_FUZZ" in os.environ

MORE = EVERYTHING if THOROUGH else EVERYTHING[:1]
Cases = Callable[[], Iterable[Case]]


@pytest.mark.fuzz
@pytest.mark.parametrize("cases", EVERYTHING, ids=lambda cases: cases.__name__)
def test_kernels_are_right_and_break_no_rule(cases: Cases) -> None:
    run_emulated(list(cases()), all_ways=THOROUGH)


@pytest.mark.fuzz
@pytest.mark.parametrize("cases", MORE, ids=lambda cases: cases.__name__)
def test_no_value_is_used_that_was_never_set(cases: Cases) -> None:
    run_emulated(list(cases()), "poison")


# With fast math clang may keep the products of halves that unpack a weight in float, and so leave
# out the rounding that the format means: kernels that store what they unpack do round it.
@pytest.mark.fuzz
@pytest.mark.parametrize("cases", MORE, ids=lambda cases: cases.__name__)
def test_kernels_are_right_with_fast_math(cases: Cases) -> None:
    with unrounded_weights():
        unrounded = list(cases())
    run_emulated(list(cases()), "fast", all_ways=True, others=unrounded, fast_math=True)


def test_the_extremes_of_zeros_have_their_sign_and_are_equal_as_positions() -> None:
    text = "fn f(x: float16[N]) { (max(x), min(x), argmax(x), argmin(x)) }"
    model = compile("zeros.tl", text=text, device="emulator-fast")
    for zero in (0.0, -0.0):
        *extremes, high, low = model.run("f", np.full(5, zero, np.float16))
        assert [bool(np.signbit(x)) for x in extremes] == [str(zero) == "-0.0"] * 2
        assert (high, low) == (0, 0)
    *_, high, low = model.run("f", np.array([-0.0, 0.0, -0.0], np.float16))
    assert (high, low) == (0, 0)
