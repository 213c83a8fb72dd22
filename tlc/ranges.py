"""`tlc build --range`: for each source line, how large the float16 values are that it stores.

Without calibration these are bounds for any arguments (`ir/ranges`). With it an entry runs in the
reference interpreter: what is shown is what these arguments give, and no bound for others. Then
nothing is rounded to float16 on the way, so that one overflow does not hide the next.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tlc.arrays import call, from_files
from tlc.codegen.notation import describe
from tlc.frontend.source import Span
from tlc.ir.core import Func, Module, Op, Value
from tlc.ir.ranges.walk import stored
from tlc.reference import Array, ReferenceHost, ReferenceProgram
from tlc.runtime.decode import floats
from tlc.runtime.errors import RunError
from tlc.runtime.model_file import open_model, tensor
from tlc.runtime.weights import find

LIMIT = 65504.0
CLOSE = 0.25  # of the limit: inputs twice as large, squared on the way, would pass it
MOST_SCALE = 1 << 12  # smaller numbers of a float16 would lose bits when they are divided by more
RUN = "run"  # what --calibrate says for an entry without arguments


class Row(NamedTuple):
    """A line of the table: where, what is computed, and the largest magnitude of its results."""

    file: str
    line: int
    what: str
    largest: float
    infinite: bool = False


# ---- bounds --------------------------------------------------------------------------------------


def bounds(unfused: Any, entry: str, folders: list[str]) -> str:
    """The table for one entry of a program that is not fused, whatever its arguments are.

    `folders` are where model files are looked for. Raises RunError E0503 and as loading weights
    does.
    """
    func = _entry(unfused.module, entry)
    files = [open_model(find(model.path, folders)) for model in unfused.module.models]

    def read(model: int, name: str, dtype: str) -> Array:
        found = tensor(files[model], name)
        return np.asarray(floats(found, files[model].view(name), dtype)).reshape(found.shape)

    rows = [
        Row(*_place(op.span), describe(op), bound.held.largest, bound.minus or bound.plus)
        for op, bound in stored(func, read)
    ]
    head = f"bounds of the float16 values that {entry} stores, of {LIMIT:,.0f}:"
    above = "may overflow"
    return "\n".join([head, *_table(rows, above), *_advice(rows, above), *_unknown(func, rows)])


def _entry(module: Module, name: str) -> Func:
    for func in module.funcs:
        if func.name == name:
            return func
    names = ", ".join(func.name for func in module.funcs)
    raise RunError("E0503", f"the program has no entry `{name}`", f"there are {names}")


def _unknown(func: Func, rows: list[Row]) -> list[str]:
    """How to measure what has no bound."""
    count = sum(math.isinf(row.largest) for row in rows)
    if not count:
        return []
    given = " ".join(f"--calibrate {name}=FILE.npy" for name in func.param_names)
    what = "1 value is" if count == 1 else f"{count} values are"
    return [f"{what} unbounded; measure with {given or '--calibrate run'}"]


# ---- calibration ---------------------------------------------------------------------------------


class _RangeHost(ReferenceHost):
    """Keeps the largest finite magnitude of every float16 value that a kernel stores."""

    wide = True

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.largest: dict[Op, float] = {}
        self.infinite: set[Op] = set()

    def saw(self, op: Op, values: Sequence[Array], results: Sequence[Array]) -> None:
        if op.name != "fused" or not _is_half(op.results[0]):
            return
        size = np.abs(results[0].astype(np.float32))
        finite = size[np.isfinite(size)]
        self.largest[op] = max(self.largest.get(op, 0.0), float(finite.max(initial=0.0)))
        if finite.size < size.size:
            self.infinite.add(op)

    def io(self, op: Op, values: Sequence[Array], attrs: Any) -> None:
        if op.name == "assert":
            super().io(op, values, attrs)


def _is_half(value: Value) -> bool:
    return value.tensor.dtype == "f16"


def calibrated(built: Any, entry: str, files: Sequence[str], folders: list[str]) -> str:
    """The table for one entry, called with arrays of files. Raises RunError as running does."""
    program = ReferenceProgram(built, folders, _RangeHost)
    called = program.entry(entry)
    given = [file for file in files if file != RUN]
    call(program, called, from_files(given, called), lambda text: None)
    host = program.last_host
    assert isinstance(host, _RangeHost)
    rows = [
        Row(*_place(op.span), describe(op), value, op in host.infinite)
        for op, value in host.largest.items()
    ]
    head = f"largest float16 values that {entry} stored, of {LIMIT:,.0f}:"
    above = "overflows"
    return "\n".join([head, *_table(rows, above), *_advice(rows, above)])


# ---- the table -----------------------------------------------------------------------------------


def _place(span: Span | None) -> tuple[str, int]:
    return (os.path.basename(span.source.name), span.line) if span else ("?", 0)


def _table(rows: list[Row], above: str) -> list[str]:
    """A line for each kernel, in the order of the source; `above` is said of what is too large."""
    if not rows:
        return ["  none: nothing that is computed is stored as float16"]
    rows = sorted(set(rows))
    places = [f"{row.file}:{row.line}" for row in rows]
    wide, long = max(map(len, places)), max(len(row.what) for row in rows)
    lines = []
    for row, at in zip(rows, places, strict=True):
        number, share = f"{row.largest:.6g}", row.largest / LIMIT
        part = f"{share:.2%}" if share < 100 else f"{share:.3g}x"
        if math.isinf(row.largest):
            number = part = "-"
        notes = ", ".join(_notes(row, above))
        lines.append(f"  {at:{wide}}  {row.what:{long}}  {number:>11} {part:>9}  {notes}".rstrip())
    return lines


def _notes(row: Row, above: str) -> Iterator[str]:
    if math.isinf(row.largest):
        yield "unbounded unless calibrated"
    elif row.largest > LIMIT:
        yield above
    elif row.largest > CLOSE * LIMIT:
        yield "close"
    if row.infinite:
        yield "holds infinities or NaN"


def _advice(rows: list[Row], above: str) -> list[str]:
    """What to change, where something is too large."""
    large = [row.largest for row in rows if LIMIT < row.largest < math.inf]
    if not large:
        return []
    what, it = ("1 value", "it") if len(large) == 1 else (f"{len(large)} values", "them")
    text = f"{what} {above}: keep {it} wide with `as float32`, or everything with --store f32"
    scale = 2 ** math.ceil(math.log2(max(large) / (CLOSE * LIMIT)))
    if scale > MOST_SCALE:
        return [text]
    return [f"{text},", f"or divide what goes in by {scale:,}, exactly, as docs/numbers.md shows"]
