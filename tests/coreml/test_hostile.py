"""Hostile Core ML models: whatever their bytes are, a reader answers or raises RunError E0601.

Nothing else is raised, nothing hangs, and no memory is taken that the size of the files does not
justify. `TLC_FUZZ=N` tries N changed models of each kind.
"""

from __future__ import annotations

import os
import random
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tlc
from tests.coreml import test_network
from tests.coreml.test_compressed import CASES, written
from tests.coreml.writer import MilModel, Name, entry, number, part, text, value_type, varint
from tlc.frontend.diagnostics import CompileError
from tlc.runtime.coreml import wire
from tlc.runtime.decode import floats
from tlc.runtime.errors import RunError
from tlc.runtime.model_file import open_model

TRIES = int(os.environ.get("TLC_FUZZ", "150"))
MOST_MEMORY = 20_000_000
EXTREMES = (0, 1, 127, 128, 255, 2**31 - 1, 2**31, 2**32, 2**60, 2**63, 2**64 - 1)


def model(**changes: Any) -> MilModel:
    made = MilModel({"x": ("f16", (2, 3))})
    made.stored("w", np.ones((2, 3), np.float16))
    made.op("add", {"y": ("f16", (2, 3))}, output=True, x=Name("x"), y=Name("w"))
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def specification(path: Path) -> Path:
    return path / "Data" / "com.apple.CoreML" / "model.mlmodel"


def refused(path: Path, message: str) -> None:
    with pytest.raises(RunError, match=f"E0601.*{message}"):
        open_model(str(path))


# ---- one thing wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\x08", "a number has no end"),
        (b"\xff" * 20, "a number has no end"),
        (b"\x12" + varint(2**60), "ends behind its message"),
        (b"\x12" + varint(2**64 - 1), "ends behind its message"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x0d\x01", "ends behind its message"),
        (number(1, 7), "no model of a kind that is known"),
        (number(1, 7) + part(2) + number(502, 5), "field program is a number"),
        (number(1, 7) + part(2) + part(502), "no function `main`"),
        (number(1, 7) + part(2) + part(202), "this Core ML model is a pipeline"),
        (number(1, 4) + part(2) + part(402), "this Core ML model is a tree ensemble classifier"),
    ],
)  # fmt: skip
def test_a_damaged_specification_is_an_error(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "m.mlmodel").write_bytes(data)
    refused(tmp_path / "m.mlmodel", message)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("", "the file is empty"),
        ("{", "its JSON is broken"),
        ("[" * 100_000, "nested too deep"),
        ("{}", "names no model"),
        ('{"itemInfoEntries": {}, "rootModelIdentifier": "A"}', "names no model"),
        ('{"itemInfoEntries": {"A": {"path": "../../x"}}, "rootModelIdentifier": "A"}',
         "leads out of it"),
        ('{"itemInfoEntries": {"A": {"path": "/etc/passwd"}}, "rootModelIdentifier": "A"}',
         "leads out of it"),
        ('{"itemInfoEntries": {"A": {"path": "none"}}, "rootModelIdentifier": "A"}',
         "there is no such file"),
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_an_error(tmp_path: Path, manifest: str, message: str) -> None:
    path = model().write(tmp_path / "m.mlpackage")
    (path / "Manifest.json").write_text(manifest)
    refused(path, message)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("@model_path/weights/../../../../../etc/passwd", "leads out of it"),
        ("@model_path//etc/passwd", "leads out of it"),
        ("/etc/passwd", "is no part of it"),
        ("@model_path/weights/none.bin", "there is no such file"),
        ("@model_path/weights", "this is a folder"),
    ],
)
def test_weights_lie_inside_of_the_model(tmp_path: Path, file: str, message: str) -> None:
    made = model()
    value = part(2, value_type(("f16", (2, 3)))) + part(5, text(1, file), number(2, 64))
    made._const("w", value)
    made.op("mul", {"z": ("f16", (2, 3))}, output=True, x=Name("x"), y=Name("w"))
    refused(made.write(tmp_path / "m.mlpackage"), message)


def _patched(at: int, data: bytes) -> Callable[[bytearray], None]:
    def patch(weights: bytearray) -> None:
        weights[at : at + len(data)] = data

    return patch


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.clear(), "the file is empty"),
        (lambda w: w.__delitem__(slice(100, None)), "lies outside of a file of 100"),
        (_patched(64, b"\0\0\0\0"), "there is no weight at byte 64"),
        (_patched(68, b"\2\0\0\0"), "is f32, and the program says f16"),
        (_patched(68, b"\x63\0\0\0"), "is type 99"),
        (_patched(72, (2**60).to_bytes(8, "little")), "ends behind its file"),
        (_patched(72, (4).to_bytes(8, "little")), "has 4 bytes, its shape needs 12"),
        (_patched(80, (2**64 - 1).to_bytes(8, "little")), "byte 64 ends behind its file"),
    ],
)
def test_a_damaged_weight_is_an_error(
    tmp_path: Path, change: Callable[[bytearray], None], message: str
) -> None:
    made = model()
    change(made.weights.data)
    refused(made.write(tmp_path / "m.mlpackage"), message)


@pytest.mark.parametrize("size", [2**60 + 1, -1, 2**31])
def test_an_impossible_shape_is_an_error(tmp_path: Path, size: int) -> None:
    made = model()
    made.stored("v", np.ones(3, np.float16).tobytes(), ("f16", (size, 2**20)))
    made.op("add", {"z": ("f16", (2, 3))}, output=True, x=Name("x"), y=Name("v"))
    refused(made.write(tmp_path / "m.mlpackage"), "")


def test_values_nested_in_values_end(tmp_path: Path) -> None:
    value = part(3, part(1))
    for _ in range(5000):
        value = part(3, part(3, part(1, value)))
    made = model()
    made.raw("const", {}, [part(3, text(1, "v"), part(2, value_type(("f16", ()))))],
             [entry(5, "val", value)])  # fmt: skip
    refused(made.write(tmp_path / "m.mlpackage"), "nested too deep")


def test_a_file_of_nothing_but_fields_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST_FIELDS", 10_000)
    (tmp_path / "m.mlmodel").write_bytes(number(1, 7) + part(2, number(9, 1) * 20_000) + part(502))
    refused(tmp_path / "m.mlmodel", "more than 10000 fields")


def test_a_constant_of_one_number_does_not_grow_without_end(tmp_path: Path) -> None:
    """A short list stands for a repeated number, up to a size that a program may write out."""
    made = model()
    held = part(3, part(1, part(1, part(1, b"\0\0\x80\x3f"))))
    made._const("v", part(2, value_type(("f32", (2**20, 2**10)))) + held)
    made.op("add", {"z": ("f16", (2, 3))}, output=True, x=Name("x"), y=Name("v"))
    refused(made.write(tmp_path / "m.mlpackage"), "a constant has 4 bytes, its shape needs")


@pytest.mark.parametrize("kind", ["specification", "weights", "network"])
def test_files_cut_at_every_64th_are_refused(kind: str, tmp_path: Path) -> None:
    if kind == "network":
        path = target = tmp_path / "m.mlmodel"
        test_network.classifier(path)
    else:
        path = model().write(tmp_path / "m.mlpackage")
        target = specification(path)
        if kind == "weights":
            target = target.parent / "weights" / "weight.bin"
    whole = target.read_bytes()
    open_model(str(path)).close()
    for part_ in range(64):
        target.write_bytes(whole[: len(whole) * part_ // 64])
        tracemalloc.start()
        start = time.process_time()
        with pytest.raises(RunError, match="E0601"):
            open_model(str(path))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1_000_000, part_
        assert time.process_time() - start < 1, part_


# ---- changed at random ---------------------------------------------------------------------------


def changed(data: bytes, rng: random.Random) -> bytes:
    """A few bytes, lengths or the end of a file changed."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(made) or 1)
        match rng.randrange(5):
            case 0:
                made[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                made[at : at + 1] = varint(rng.choice(EXTREMES))
            case 2:
                del made[at : at + rng.randint(1, 40)]
            case 3:
                made[at:at] = made[at : at + rng.randint(1, 60)]
            case _:
                made = made[: rng.randrange(len(made) + 1)]
        if not made:
            break
    return bytes(made)


def use(path: Path) -> None:
    """Open, decode every tensor, and compile what it computes."""
    try:
        opened = open_model(str(path))
        for entry in opened.tensors.values():
            floats(entry, opened.view(entry.name), "f32")
        _ = opened.fingerprint
    except RunError as problem:
        if problem.code not in ("E0601", "E0603", "E0604"):
            raise
        return
    shape = "3, 4, 5" if path.suffix == ".mlmodel" else "4, 6"
    source = f'm = load_model("{path.name}")\nfn f(x: float16[{shape}]) {{ m.predict(x) }}'
    try:
        tlc.compile(path.parent / "p.tl", text=source, device="reference")
    except (CompileError, RunError):
        return


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", ["specification", "weights", "network"])
def test_changed_files_are_answered_or_refused(kind: str, tmp_path: Path) -> None:
    rng = random.Random(kind)
    good = tmp_path / "good.mlpackage"
    if kind == "network":
        good = tmp_path / "good.mlmodel"
        test_network.classifier(good)
        target = path = tmp_path / "m.mlmodel"
    for at in range(TRIES):
        if kind != "network":
            shutil.rmtree(good, ignore_errors=True)
            shutil.rmtree(tmp_path / "m.mlpackage", ignore_errors=True)
            path = written(CASES[at % len(CASES)], tmp_path)
            target = specification(path)
            if kind == "weights":
                target = target.parent / "weights" / "weight.bin"
        data = (good if kind == "network" else target).read_bytes()
        target.write_bytes(changed(data, rng))
        tracemalloc.start()
        start = time.process_time()
        use(path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < MOST_MEMORY, at
        assert time.process_time() - start < 5, at
