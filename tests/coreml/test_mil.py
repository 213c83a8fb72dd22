"""MIL operations against NumPy: each in a package of its own, and all in a few on the cpu."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tlc
from tests.coreml.layer_cases import LAYERS
from tests.coreml.mil_cases import CASES, Array, Case
from tests.coreml.shape_cases import SHAPES
from tests.coreml.writer import NAMES, MilModel, Name
from tlc.ir.coreml import MIL

ALL = [*CASES, *SHAPES, *LAYERS]
SPELLED = {"f32": "float32", "f16": "float16", "i32": "int32", "bool": "bool"}


def model_of(cases: list[Case]) -> tuple[MilModel, list[Array], list[Array]]:
    """A program with all the operations, what it is called with, and what it should return."""
    operands: dict[str, Array] = {}
    for at, case in enumerate(cases):
        for key, held in case.operands.items():
            for part, array in enumerate(held if isinstance(held, tuple) else (held,)):
                operands[f"x{at}_{key}_{part}"] = array
    model = MilModel({name: (NAMES[a.dtype.name], a.shape) for name, a in operands.items()})
    wanted: list[Array] = []
    for at, case in enumerate(cases):
        arguments: dict[str, object] = {}
        for key, held in case.operands.items():
            count = len(held) if isinstance(held, tuple) else 1
            names = tuple(Name(f"x{at}_{key}_{part}") for part in range(count))
            arguments[key] = names if isinstance(held, tuple) else names[0]
        for key, value in case.constants.items():
            if isinstance(value, np.ndarray) and value.dtype == np.float32:
                arguments[key] = Name(model.stored(f"c{at}_{key}", value))
            else:
                arguments[key] = value
        results = case.result()
        types = {f"y{at}_{n}": (NAMES[r.dtype.name], r.shape) for n, r in enumerate(results)}
        model.op(case.kind, types, output=True, **arguments)
        wanted += results
    return model, list(operands.values()), wanted


def check(cases: list[Case], folder: Path, device: str) -> None:
    model, given, wanted = model_of(cases)
    model.write(folder / "m.mlpackage")
    params = ", ".join(
        f"a{n}: {SPELLED[NAMES[a.dtype.name]]}[{', '.join(map(str, a.shape))}]"
        for n, a in enumerate(given)
    )
    names = ", ".join(f"a{n}" for n in range(len(given)))
    text = f'm = load_model("m.mlpackage")\nfn f({params}) {{ m.predict({names}) }}\n'
    found = tlc.compile(folder / "p.tl", text=text, device=device).f(*given)
    for have, want in zip(found if isinstance(found, tuple) else (found,), wanted, strict=True):
        assert have.shape == want.shape
        assert have.dtype == want.dtype
        # float32 arithmetic, rounded in another order than NumPy's: sums of at most 60 terms
        np.testing.assert_allclose(
            have.astype(np.float64), want.astype(np.float64), rtol=3e-5, atol=3e-5
        )


@pytest.mark.parametrize("case", ALL, ids=[f"{c.kind}-{at}" for at, c in enumerate(ALL)])
def test_an_operation_is_what_numpy_says(case: Case, tmp_path: Path) -> None:
    check([case], tmp_path, "reference")


@pytest.mark.parametrize("part", range(4))
def test_kernels_compute_the_same(part: int, tmp_path: Path) -> None:
    check(ALL[part::4], tmp_path, "cpu")


def test_every_operation_of_the_table_is_tried() -> None:
    # these work on shapes or are tried where what they are about is: in test_program.py
    elsewhere = {"shape", "fill", "range_1d", "upsample_bilinear"}
    assert MIL.keys() - elsewhere == {case.kind for case in ALL}
