"""Kernels of every family, compiled for the CPU and compared with numpy in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from tests.codegen import joined_cases, product_cases
from tests.codegen.cases import EVERYTHING
from tests.codegen.running import Case, run_on_cpu

# the second half of the lane vocabulary is what Metal reads; it checks address spaces too
READERS = {"cpu": "", "metal": "#define TLC_PORTABLE\n"}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("cases", EVERYTHING, ids=lambda cases: cases.__name__)
def test_results(cases: Callable[[], Iterable[Case]], reader: str) -> None:
    run_on_cpu(list(cases()), READERS[reader])


@pytest.mark.parametrize(
    "cases",
    [
        product_cases.large_products,
        joined_cases.two_sums,
        product_cases.numbers_that_are_not_finite,
    ],
    ids=lambda cases: cases.__name__,
)
def test_products_without_a_matrix_unit(cases: Callable[[], Iterable[Case]]) -> None:
    """What runs where the processor has no AMX is right on one that has it, too."""
    run_on_cpu(list(cases()), "#undef __AMX_BF16__\n#undef __AMX_INT8__\n")
