"""`tlc emulate` and `tlc lint` on a file of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tlc.cli import run

TEXT = """#include <metal_stdlib>
using namespace metal;
kernel void twice(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
                  uint i [[thread_position_in_grid]]) {
  y[i] = x[i] * 2.0f;
}
"""


def test_a_kernel_runs_and_its_defect_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, x, y = tmp_path / "k.metal", tmp_path / "x.npy", tmp_path / "y.npy"
    file.write_text(TEXT)
    np.save(x, np.arange(64, dtype=np.float32))
    command = ["emulate", str(file), "--buffer", f"0={x}", "--buffer", "1=float32:64"]
    assert run([*command, "--groups", "2", "--output", f"1={y}"]) == 0
    np.testing.assert_array_equal(np.load(y), np.arange(64) * 2)
    assert run([*command, "--groups", "3"]) == 1
    assert "k.metal:5: out-of-bounds" in capsys.readouterr().err
    assert run(["lint", str(file)]) == 0


def test_a_program_is_checked_in_every_order(tmp_path: Path) -> None:
    file = tmp_path / "p.tl"
    file.write_text("print(softmax(tensor([[1.0, 2.0, 3.0]])))\n")
    assert run(["check", str(file), "--emulate"]) == 0
