"""The yardstick of products with one row: reading the bytes of their matrix once, by NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.peers import with_numpy


def version() -> str:
    return "reads the matrix once"


def prepare(case: Case, folder: Path) -> Any:
    if case.kind != "product" or case.sizes["m"] > 1:
        return None
    return with_numpy.stream(case, folder), lambda: ()
