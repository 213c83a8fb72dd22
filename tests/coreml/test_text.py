"""Compiled models: the text of `model.mil`, in the spellings of older and newer compilers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tlc
from tests.coreml.writer import Weights
from tlc.runtime.errors import RunError
from tlc.runtime.model_file import open_model

RNG = np.random.default_rng(11)
W, B = (RNG.uniform(-1, 1, s).astype(np.float16) for s in ((3, 4), (3,)))

DATA = Path(__file__).parent.parent / "data"
OLDER, NEWER = ((DATA / f"ios{n}.mil").read_text() for n in (16, 18))


def compiled(folder: Path, text: str) -> Path:
    weights = Weights()
    where = {"WHERE_W": weights.add(W.tobytes(), "f16"), "WHERE_B": weights.add(B.tobytes(), "f16")}
    for name, at in where.items():
        text = text.replace(name, str(at))
    path = folder / "m.mlmodelc"
    (path / "weights").mkdir(parents=True)
    (path / "weights" / "weight.bin").write_bytes(weights.data)
    (path / "model.mil").write_text(text)
    return path


@pytest.mark.parametrize("text", [OLDER, NEWER], ids=["older", "newer"])
def test_a_compiled_model_runs(tmp_path: Path, text: str) -> None:
    compiled(tmp_path, text)
    program = 'm = load_model("m.mlmodelc")\nfn f(x: float16[N, 4]) { m.predict(x) }'
    model = tlc.compile(tmp_path / "p.tl", text=program, device="reference")
    x = RNG.uniform(-2, 2, (5, 4)).astype(np.float16)
    h = (x.astype(np.float32) @ W.T.astype(np.float32) + B).astype(np.float16)
    m = h * np.float16([0.5, -3, 1])
    # one rounding of a sum that may be added in another order: a unit in the last place of 8
    np.testing.assert_allclose(model.f(x), np.concatenate([h, m], 1), atol=2**-7)


def mutilated() -> list[Any]:
    cuts = [(f"cut_{n}", OLDER[:n]) for n in (0, 1, 30, 150, 700, 1200, len(OLDER) - 8)]
    return [
        *cuts,
        ("a bracket", OLDER.replace("(y);", "(y")),
        ("no arrow", OLDER.replace("->", ",")),
        ("a type", OLDER.replace("tensor<fp16, [3]> s", "tensor<fp17, [3]> s")),
        ("a size", OLDER.replace("tensor<fp16, [3]>([", "tensor<fp16, [99999999999999999999]>([")),
        ("a number", OLDER.replace("0x1p-1", "0x1p-x")),
        ("too few", OLDER.replace("0x1p-1, ", "")),
        ("overflow", OLDER.replace("tensor<int32, []>(-1)", "tensor<int32, []>(9999999999)")),
        ("another file", OLDER.replace("@model_path/weights", "@model_path/../weights")),
        ("a file outside", OLDER.replace("@model_path/weights", "/etc")),
        ("no file", OLDER.replace("weight.bin", "weights.bin")),
        ("brackets", OLDER.replace("[buildInfo", "[" * 100_000)),
        ("deep", OLDER.replace("(h, m)", "(" * 100_000)),
        ("binary", OLDER.replace("main", "\0\x01")),
    ]


@pytest.mark.parametrize(("name", "text"), mutilated(), ids=[name for name, _ in mutilated()])
def test_a_damaged_text_is_an_error(tmp_path: Path, name: str, text: str) -> None:
    path = compiled(tmp_path, text)
    with pytest.raises(RunError, match="E0601"):
        open_model(path)


def test_a_compiled_network_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.mlmodelc").mkdir()
    with pytest.raises(RunError, match=r"E0601.*a compiled model without model\.mil"):
        open_model(tmp_path / "m.mlmodelc")
