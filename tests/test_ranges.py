"""`tlc build --range` shows, per line, the largest value that is stored as float16."""

from pathlib import Path

import numpy as np
import pytest

from tlc.cli import run

PROGRAM = """\
fn layer(x: float16[N, 2], w: float16[2, 2]) -> float16[N, 2] {
    let h = relu(x @ w)
    return softmax(h)
}
let x = tensor([[3.0, 4.0]])
let y = x * 100.0
print(y * y)
print((y as float32) * 100.0)
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.tl").write_text(PROGRAM)
    return tmp_path


def test_main_is_run_and_reported(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["build", "p.tl", "--range"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "largest float16 values stored by main, of 65504:",
        "  p.tl:6     mul          400    0.61%",
        "  p.tl:7     mul          inf     inf%"
        "  overflows: store it as float32 (`as float32`), or scale what goes in",
    ]
    assert not (program / "p.metallib").exists()


def test_an_entry_is_calibrated_with_arrays(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("x.npy", np.full((3, 2), 100.0))
    np.save("w.npy", np.full((2, 2), 100.0))
    files = ["--calibrate", "x=x.npy", "--calibrate", "w=w.npy"]
    assert run(["build", "p.tl", "--range", "--entry", "layer", *files]) == 0
    found = capsys.readouterr().out.splitlines()
    assert found[1].split()[:1] == ["p.tl:2"]
    assert "20000" in found[1]
    assert "close: larger inputs overflow" in found[1]
    assert found[2].split()[0] == "p.tl:3"
