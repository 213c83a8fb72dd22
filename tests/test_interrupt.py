"""Ctrl-C: every command ends with exit code 130, says nothing, and leaves no half of a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving import ROOT
from tlc.cli import run

ENDLESS = """
fn twice(x: float16[N]) -> float16[N] { x * 2.0 }
fn without_end() {
    print("begun")
    let x = zeros([1])
    let n = 1
    while n > 0 { x = twice(x)
        n = n + 1 - to_int(arg("off", 1)) }
    print(x)
}
test endless { without_end() }
bench endless { without_end() }
main { without_end() }
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "p.tl"
    path.write_text(ENDLESS)
    return path


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_program_without_an_end(program: Path, device: str) -> None:
    assert run(["build", str(program)]) == 0
    command = ["run", str(program.with_suffix(".metallib")), "--device", device, "--arg", "off=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tlc", *command],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (130, "", "")


def interrupt(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


# a command, and a function that is under way when the key is pressed
MOMENTS: list[tuple[str, str]] = [
    ("build p.tl", "os.fsync"),
    ("build p.tl", "os.replace"),
    ("build p.tl", "zipfile.ZipFile.writestr"),
    ("build p.tl", "tlc.ir.passes.optimise"),
    ("check p.tl", "tlc.ir.passes.optimise"),
    ("test p.tl --device reference", "tlc.ir.interp.run"),
    ("bench p.tl --device reference", "tlc.ir.interp.run"),
    ("run p.tl --device reference", "tlc.ir.interp.run"),
    ("run p.tl --device cpu", "subprocess.run"),
    ("run p.tl --device cpu", "os.replace"),
    ("run p.tl --entry twice --input x=x.npy --output y.npy --device reference", "numpy.save"),
    ("run p.tl --entry twice --input x=x.npy --output y.npy --device reference", "os.replace"),
    ("convert m.safetensors n.gguf", "os.fsync"),
    ("convert m.safetensors n.safetensors", "os.replace"),
]


@pytest.mark.parametrize(("command", "moment"), MOMENTS)
def test_a_command_is_left_at_once_and_files_are_as_they_were(
    command: str,
    moment: str,
    program: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from safetensors.numpy import save_file

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLC_CACHE_DIR", str(tmp_path / "cache"))
    np.save("x.npy", np.ones(3, np.float16))
    save_file({"w": np.ones(3, np.float16)}, "m.safetensors")
    for name in ("p.metallib", "y.npy", "n.gguf", "n.safetensors"):
        Path(name).write_text("as it was")
    before = files(tmp_path)
    monkeypatch.setattr(moment, interrupt)
    assert run(command.split()) == 130
    monkeypatch.undo()
    assert capsys.readouterr().err == ""
    kept = {name: text for name, text in files(tmp_path).items() if not name.startswith("cache")}
    assert kept == before
    assert not [name for name in files(tmp_path / "cache") if "build" in name or ".so" in name]


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_package_of_core_ml_is_put_back(tmp_path: Path) -> None:
    from tlc.codegen import coreml

    class Model:
        def save(self, path: str) -> None:
            Path(path).mkdir()

    package = tmp_path / "m.mlpackage"
    package.mkdir()
    (package / "old").write_text("as it was")
    replaced: list[str] = []

    def replace(before: str, after: str, real: Callable[..., None] = os.replace) -> None:
        replaced.append(after)
        if len(replaced) == 2:
            raise KeyboardInterrupt
        real(before, after)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            coreml._save(Model(), str(package))
    assert files(tmp_path) == {"m.mlpackage/old": b"as it was"}
    assert [p.name for p in tmp_path.iterdir()] == ["m.mlpackage"]
