"""`tlc build --range`: the largest value stored on each source line, beside the largest float16.

The program, or one of its functions on calibration inputs, runs in the reference interpreter. What
is reported is what these inputs give; it is no bound for others.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlc.arrays import call, from_files
from tlc.codegen.notation import describe
from tlc.ir.core import Op
from tlc.reference import Array, ReferenceHost, ReferenceProgram

LIMIT = 65504.0
CLOSE = 0.25  # of the limit: inputs twice as large, squared on the way, would pass it


class _RangeHost(ReferenceHost):
    """Keeps the largest magnitude of every float16 value that a kernel stores."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.largest: dict[Op, float] = {}

    def saw(self, op: Op, values: Sequence[Array], results: Sequence[Array]) -> None:
        if op.name == "fused" and results[0].dtype == np.float16 and results[0].size:
            found = float(np.abs(results[0].astype(np.float32)).max())
            self.largest[op] = np.maximum(self.largest.get(op, 0.0), found)


def report(built: Any, entry: str, files: Sequence[str], folders: list[str]) -> str:
    """The table for one entry, called with arrays of files. Raises RunError as running does."""
    program = ReferenceProgram(built, folders, _RangeHost)
    called = program.entry(entry)
    call(program, called, from_files(files, called), lambda text: None)
    host = program.last_host
    assert isinstance(host, _RangeHost)
    rows = [(_place(op), describe(op), value) for op, value in host.largest.items()]
    return "\n".join(_lines(entry, sorted(rows)))


def _place(op: Op) -> tuple[str, int]:
    return (os.path.basename(op.span.source.name), op.span.line) if op.span else ("?", 0)


def _lines(entry: str, rows: list[tuple[tuple[str, int], str, float]]) -> list[str]:
    lines = [f"largest float16 values stored by {entry}, of {LIMIT:.0f}:"]
    width = max((len(what) for _, what, _ in rows), default=0)
    for (file, line), what, value in rows:
        note = ""
        if not np.isfinite(value):
            note = "  overflows: store it as float32 (`as float32`), or scale what goes in"
        elif value > CLOSE * LIMIT:
            note = "  close: larger inputs overflow; `as float32` stores it wide"
        lines.append(f"  {file}:{line:<5} {what:{width}} {value:12.6g} {value / LIMIT:8.2%}{note}")
    if not rows:
        lines.append("  none: nothing is stored as float16")
    return lines
