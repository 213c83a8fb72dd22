"""Every operation of the registry on every device, against numpy in float64: odd sizes, all ranks
and dtypes, operands read through views, and numbers that arithmetic treats in its own way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tlc
from tests.ir.bounds import unrounded
from tests.operations.registry import MASKS, Array, Entry, arguments, entries
from tlc.api import Model
from tlc.driver import build
from tlc.ir import interp
from tlc.ir.core import Module
from tlc.ir.interp import NUMPY_DTYPES
from tlc.ir.lower import Lowered
from tlc.ir.opdef import OPS, OpDef
from tlc.runner import open_program

# IEEE 754 says every bit of these, so that numpy's float32 arithmetic is exactly right
EXACT = {
    *("add", "sub", "mul", "div", "mod", "neg", "abs", "sqrt", "floor", "ceil", "round", "where"),
    *("cast", "relu", "maximum", "minimum"),
}
EITHER_ZERO = {"relu", "maximum", "minimum"}  # of 0 and -0, which are equal


def check(got: Array, x: Array, e: Array, dtype: str, where: str) -> None:
    """The result lies between the roundings of the ends of the exact one's interval."""
    assert got.shape == x.shape, where
    assert got.dtype == NUMPY_DTYPES[dtype], where
    if dtype in ("i32", "bool"):
        np.testing.assert_array_equal(got, x, where)
        return
    stored: Any = NUMPY_DTYPES[dtype]
    known = np.isfinite(e)
    with np.errstate(all="ignore"):
        low, high = ((x + s * np.where(np.isfinite(x), e, 0.0)).astype(stored) for s in (-1, 1))
    right = ((low <= got) & (got <= high)) | (np.isnan(x) & np.isnan(got)) | ~known
    if not right.all():
        at = tuple(np.argwhere(~right)[0])
        raise AssertionError(
            f"{where}: {(~right).sum()} of {got.size} are wrong, the first at {at}: {got[at]!r},"
            f" exactly {x[at]!r}, so from {low[at]!r} to {high[at]!r}"
        )


def run(entry: Entry, model: Model, sizes: dict[str, int], special: bool) -> None:
    """One call with reproducible arguments."""
    func = entry.func()
    args = arguments(entry, func, sizes, special)
    try:
        ((x, e),) = unrounded(func, args, sizes)
    except (ValueError, IndexError):
        return  # numpy has no result either: the largest of nothing, rows of an empty table
    got = model.run(entry.name, *args)
    where = f"{entry.name} {sizes}{' special' * special}"
    check(got, x, e, func.results[0].tensor.dtype, where)
    if entry.op.name in EXACT:
        (same,) = interp.run(func, args)
        np.testing.assert_array_equal(got, same, where)
        if entry.op.name not in EITHER_ZERO and got.dtype.kind == "f":
            number = ~np.isnan(same)
            np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(same[number]), where)


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize(
    "op",
    [op for op in OPS.values() if op.sample or op.name in MASKS],
    ids=lambda op: op.name,
)
def test_an_operation(op: OpDef, device: str) -> None:
    """All entries are one program, so that there is one compilation."""
    tried = list(entries(op))
    module = Module([entry.func() for entry in tried])
    built = build(op.name, lowered=Lowered(module, (), {}, {}))
    model = Model(*open_program(built, device, []))
    for entry in tried:
        for sizes in entry.sizes:
            for special in (False, True):
                run(entry, model, dict(sizes), special)


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_long_sums_of_whole_numbers_are_exact(device: str) -> None:
    """4096 ones: float16 sums would stop growing at 2048."""
    text = (
        "fn rows(x: float16[N, K]) -> float16[N] { sum(x, 1) }\n"
        "fn columns(x: float16[N, K]) -> float16[K] { sum(x, 0) }\n"
        "fn running(x: float16[N, K]) -> float32[N, K] { cumsum(x as float32) }\n"
        "fn product(x: float16[N, K], y: float16[M, K]) -> float16[N, M] { x @ y.T }\n"
    )
    model = tlc.compile("ones.tl", text=text, device=device)
    ones = np.ones((5, 4096), np.float16)
    assert (model.run("rows", ones) == 4096).all()
    assert (model.run("columns", np.ascontiguousarray(ones.T)) == 4096).all()
    assert (model.run("running", ones) == np.arange(1, 4097)).all()
    for rows in (1, 5):
        assert (model.run("product", ones[:rows], ones) == 4096).all()
