"""`tlc build --report` and `tlc inspect --report`: what launches cost, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.codegen.running import fused, view
from tests.ir.kernels import kernels, optimised
from tlc.cli import run
from tlc.codegen.cost import cost, registers
from tlc.ir.types import tensor
from tlc.report import CHIPS

PROGRAM = "fn f(x: float16[N, 768], w: float16[768, 50]) { softmax(x @ w) }\n"


@pytest.mark.parametrize(
    ("body", "nbytes", "work"),
    [
        # both operands and the result in float16; two operations for each of 4 * 6 * 5 products
        ("(x: float16[4, 6], w: float16[6, 5]) { x @ w }", 2 * (24 + 30 + 20), 2 * 4 * 6 * 5),
        # a bias and relu are one operation for each of 20 elements
        (
            "(x: float16[4, 6], w: float16[6, 5], b: float16[5]) { relu(x @ w + b) }",
            2 * (24 + 30 + 5 + 20), 240 + 2 * 20,
        ),
        ("(x: float32[8, 100]) { x * 2.0 }", 4 * (800 + 800), 800),
        # a row of 64 for each of 7 indices, whatever the table is
        ("(t: float16[1000, 64], i: int[7]) { gather(t, i) }", 2 * 64 * 7 * 2 + 4 * 7, 0),
        ("(x: float16[100, 100]) { x[:10, :] + 1.0 }", 2 * (1000 + 1000), 1000),
        ("(x: float16[5, 300]) { sum(x, 1) }", 2 * (1500 + 5), 1500),
    ],
)  # fmt: skip
def test_costs_of_one_kernel(body: str, nbytes: int, work: int) -> None:
    (op,) = kernels(optimised(f"fn f{body}"))
    assert tuple(map(int, cost(op))) == (nbytes, work)


def test_packed_weights_count_as_they_are_stored() -> None:
    types = [tensor("f16", 2, 64), tensor("f16", 10, 64)]
    op = fused(
        "matmul",
        types,
        lambda b, x, w: b.emit("contract", x, view(b, w, (64, 10), (1, 64))),
        ["f16", "q4_0"],
    )
    blocks = 10 * 64 // 32 * 18  # bytes
    assert tuple(map(int, cost(op))) == (2 * 128 + blocks + 2 * 20, 2 * 2 * 64 * 10)


def test_registers_are_those_of_a_thread() -> None:
    text = (
        "    threadgroup half left[1280];\n    float sums[4][3];\n    half4 part[2];\n"
        "    simdgroup_float8x8 tile[2][2];\n    simdgroup_half8x8 a[2];\n    const uint n = 0u;\n"
    )
    assert registers(text) == 12 + 4 + 8 + 2 + 1


def test_a_report_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.tl").write_text(PROGRAM)
    command = ["build", "p.tl", "-o", "p.metallib", "--source-only", "--report"]
    assert run([*command, "--size", "N=4096"]) == 0
    shown = capsys.readouterr().out
    assert run(["inspect", "p.metallib", "--report", "--size", "N=4096"]) == 0
    assert capsys.readouterr().out == shown
    title, head, product, rows, total, *_ = shown.splitlines()
    assert title == "f (N = 4096)"
    assert all(chip in head for chip in CHIPS)
    moved, flops = 2 * (4096 * 768 + 768 * 50 + 4096 * 50), 2 * 4096 * 768 * 50
    assert f"{moved:,}" in product
    assert f"{flops:,}" in product
    # 80 % of the 2.6 TFLOP/s of an M1, and 2.5 us for the launch; of its 68 GB/s
    assert f" {flops / (0.8 * 2.6e6) + 2.5:.1f} " in product
    assert product.endswith("  arithmetic p.tl:1 matmul")
    assert f" {2 * 2 * 4096 * 50 / (0.8 * 68e3) + 2.5:.1f} " in rows
    assert "  memory " in rows
    assert "all 2" in total


def test_a_size_that_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "p.tl"
    file.write_text(PROGRAM)
    for size in ("M=3", "N", "N=x"):
        assert run(["build", str(file), "--source-only", "--report", "--size", size]) == 1
        assert "E0504" in capsys.readouterr().err
