"""Kernels of every family, compiled for the CPU and compared with numpy in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from tests.codegen.cases import EVERYTHING
from tests.codegen.running import Case, run_on_cpu

# the second half of the lane vocabulary is what Metal reads; it checks address spaces too
READERS = {"cpu": "", "metal": "#define TLC_PORTABLE\n"}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("cases", EVERYTHING, ids=lambda cases: cases.__name__)
def test_results(cases: Callable[[], Iterable[Case]], reader: str) -> None:
    run_on_cpu(list(cases()), READERS[reader])
