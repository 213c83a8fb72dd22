"""`tlc diff`: artifacts line by line, and libraries that tlc did not write."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.metal.library_writer import write_library
from tlc.cli import run

LINEAR = """model = load_model("m.safetensors")
fn layer(x: float16[N, 4]) -> float16[N, 4] { return relu(x @ model.w) }
fn twice(x: float16[N]) -> float16[N] { return x + x }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_file({"w": np.ones((4, 4), np.float16), "v": np.ones(4, np.float16)}, "m.safetensors")
    return tmp_path


def build(name: str, text: str, *options: str) -> str:
    Path("m.tl").write_text(text)
    assert run(["build", "m.tl", "-o", name, "--source-only", *options]) == 0
    return name


def difference(capsys: pytest.CaptureFixture[str], first: str, second: str) -> dict[str, list[str]]:
    """The lines of each section, and the exit status is that of `diff`."""
    status = run(["diff", first, second])
    shown = capsys.readouterr().out
    assert status == (0 if shown == "nothing differs\n" else 1)
    if not status:
        return {}
    sections = re.split(r"\n\n(?=\w)", shown.rstrip("\n"))
    return {title: lines for title, *lines in (section.split("\n") for section in sections)}


def test_equal_artifacts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert difference(capsys, build("a.metallib", LINEAR), build("b.metallib", LINEAR)) == {}


def test_another_program(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = build("a.metallib", LINEAR)
    # a line more moves all kernels, and the product has another epilogue
    other = "sum(x @ model.w + model.v, axis=1, keepdim=true)"
    product = LINEAR.replace("relu(x @ model.w)", other)
    second = build("b.metallib", "\n" + product.replace("-> float16[N, 4]", "-> float16[N, 1]"))
    found = difference(capsys, first, second)
    assert found["entries"] == [
        "- layer(x: f16[N, 4]) -> f16[N, 4]; 2 operations in 1 launch; arena: 1 slot of 8*N bytes",
        "+ layer(x: f16[N, 4]) -> f16[N, 1]; 3 operations in 2 launches; arena: 2 slots of 8*N; 2*N"
        " bytes",
    ]
    kernels = found["kernels of the cpu profile"]
    changed = {line[0] + re.sub(r"^. \w+ +", " ", line) for line in kernels}
    assert changed == {"- m.tl:2 matmul + relu", "+ m.tl:3 matmul", "+ m.tl:3 add + sum"}
    assert not any(" x: f16[N]" in line for line in found["program.tlir"])
    assert found["weights"] == ["+ v  [4]  f16 as f16"]
    assert "models" not in found


def test_another_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = build("a.metallib", LINEAR, "--hash-weights")
    save_file({"w": np.zeros((4, 4), np.float16), "u": np.ones(5, np.float16)}, "m.safetensors")
    found = difference(capsys, first, build("b.metallib", LINEAR, "--hash-weights"))
    assert list(found) == ["file", "models", "weights", "program.tlir"]
    assert re.fullmatch(r"- m.safetensors  [0-9a-f]{16}", found["models"][0])
    assert [re.sub(r" [0-9a-f]{16}$", "", line) for line in found["weights"]] == [
        "- w  [4, 4]  f16 as f16 ",
        "+ w  [4, 4]  f16 as f16 ",
    ]


def test_other_libraries(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.metallib").write_bytes(write_library({"f": b"BC one", "g": b"BC", "\x1b[2J": b"B"}))
    Path("b.metallib").write_bytes(write_library({"f": b"BC two", "g": b"BC"}, system=(15, 0)))
    found = difference(capsys, "a.metallib", "b.metallib")
    assert found["file"][0] == "- executable, for macOS 14.0"
    assert [line[:38] for line in found["functions"]] == [
        "- f  kernel  AIR 2.6, MSL 2.3  32 bytes"[:38],
        "- '\\x1b[2J  kernel  AIR 2.6, MSL 2.3  32"[:38],
        "+ f  kernel  AIR 2.6, MSL 2.3  32 bytes"[:38],
    ]
    assert difference(capsys, "a.metallib", "a.metallib") == {}
    build("c.metallib", LINEAR)
    assert run(["diff", "a.metallib", "c.metallib"]) == 1
    assert "a.metallib: this is a Metal library, but not one that tlc wrote" in (
        capsys.readouterr().err
    )
    Path("text.metallib").write_text("no library")
    assert run(["diff", "text.metallib", "c.metallib"]) == 1
    assert "it does not begin as a Metal library" in capsys.readouterr().err
    assert run(["diff", "c.metallib", "gone.metallib"]) == 1
    assert "E0501" in capsys.readouterr().err
