"""Recursion that only run time ends: the same at every stage and on every device, up to a limit."""

import sys
from pathlib import Path

import numpy as np
import pytest

import tlc
from tests.ir.programs import lowered
from tlc.cli import run
from tlc.ir import interp
from tlc.ir.parser import parse_module
from tlc.ir.passes import optimise
from tlc.ir.printer import print_module
from tlc.ir.verify import verify
from tlc.runtime.errors import RunError

PROGRAM = """
fn total(x: float16[N]) -> float {
    if N == 1 { return x[0] }
    total(x[0:N / 2]) + total(x[N / 2:])
}
fn doublings(x: float16[N]) -> int {
    if sum(x) > 100.0 { return 0 }
    1 + doublings(x * 2.0)
}
fn deep(x: float16[N]) -> int { down(N) }
fn down(n: int) -> int { if n == 0 { return 0 } down(n - 1) + 1 }
"""


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_one_build_serves_every_size_and_depth(device: str) -> None:
    model = tlc.compile("r.tl", text=PROGRAM, device=device)
    limit = sys.getrecursionlimit()
    for n in (1, 2, 3, 7, 64):
        x = np.arange(n, dtype=np.float16)
        assert model.run("total", x) == x.sum()
    for first, times in ((200, 0), (30, 2), (0.5, 8)):
        assert model.run("doublings", np.array([first], np.float16)) == times
    assert model.run("deep", np.zeros(9_999, np.float16)) == 9_999
    with pytest.raises(RunError, match="`down` are nested more than 10000 deep"):
        model.run("deep", np.zeros(10_001, np.float16))
    assert model.run("deep", np.zeros(3, np.float16)) == 3
    assert sys.getrecursionlimit() == limit


def test_the_passes_and_the_text_form_keep_what_it_means() -> None:
    module = lowered(PROGRAM).module
    x = np.arange(1, 8, dtype=np.float16)
    for name, meant in (("total", 28), ("doublings", 2), ("deep", 7)):
        assert interp.run(module.func(name), [x])[0] == meant
    optimise(module)
    read = parse_module(print_module(module, places=False))
    verify(read, "fused")
    assert print_module(read, places=False) == print_module(module, places=False)
    for name, meant in (("total", 28), ("doublings", 2), ("deep", 7)):
        assert interp.run(read.func(name), [x])[0] == meant


def test_inspect_names_what_calls_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.tl"
    path.write_text(PROGRAM)
    artifact = str(tmp_path / "r.metallib")
    assert run(["build", str(path), "-o", artifact]) == 0
    assert run(["inspect", artifact]) == 0
    shown = capsys.readouterr().out
    assert "recursions that run time ends: doublings (at most 10,000 calls deep)" in shown
    assert "launches and 2 inside loops and recursions" in shown


def test_a_check_in_a_branch_is_made_when_the_branch_is_taken() -> None:
    text = "fn f(x: float16[N]) -> float { if N > 5 { return x[5] } x[0] }"
    for device in ("cpu", "reference"):
        model = tlc.compile("b.tl", text=text, device=device)
        found = [model.run("f", np.arange(1, n, dtype=np.float16)) for n in (2, 4, 8)]
        assert found == [1, 1, 6]
