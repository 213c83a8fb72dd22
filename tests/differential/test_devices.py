"""Random programs give the same on the cpu device, in the reference interpreter, and before all
passes.

A failure is shrunk by hypothesis to a short program, which is printed and written to a file that
runs as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.differential.disagreement import agree, alike
from tests.differential.programs import programs
from tlc.cli import run as command
from tlc.frontend.parser import parse
from tlc.frontend.source import Source
from tlc.ir.core import Func
from tlc.ir.interp import run
from tlc.ir.lower import lower
from tlc.ir.opdef import OPS

PARTS = 8
EXAMPLES = int(os.environ.get("TLC_FUZZ", "2000")) // PARTS


def search(part: int, examples: int, check: Callable[[str], object], most: int = 7) -> None:
    """Try random programs of at most so many statements; the shortest that fails is tried last."""

    @seed(part)
    @settings(
        max_examples=examples,
        derandomize=False,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(programs(most))
    def each(text: str) -> None:
        check(text)

    each()


def meaning(text: str) -> Func:
    """The function `f` as lowering leaves it."""
    tree, problems = parse(Source("fuzz.tl", text))
    assert not problems
    return lower(tree, lambda path, span: pytest.fail("no model")).module.func("f")


@pytest.mark.fuzz
@pytest.mark.parametrize("part", range(PARTS))
def test_the_cpu_agrees_with_the_reference(part: int, tmp_path: Path) -> None:
    def check(text: str) -> None:
        plain = meaning(text)
        for args, expected in agree(text, ("reference", "cpu"), tmp_path):
            alike(expected, run(plain, args), "before all passes")

    search(part, EXAMPLES, check)


@pytest.mark.fuzz
def test_the_apple_kernels_agree_with_the_reference_and_break_no_rule(tmp_path: Path) -> None:
    # each program compiles its kernels with every check
    examples = max(EXAMPLES // 50, 5)
    search(PARTS, examples, lambda text: agree(text, ("reference", "emulator"), tmp_path))


@contextmanager
def faulty_kernels() -> Iterator[None]:
    """Kernels that compute a cosine where a program says tanh; what the operation means stays."""
    op, other = OPS["tanh"], OPS["cos"]
    right = {face: getattr(op, face) for face in ("msl", "lanes")}
    for face in right:
        object.__setattr__(op, face, getattr(other, face))
    try:
        yield
    finally:
        for face, text in right.items():
            object.__setattr__(op, face, text)


def test_a_difference_is_shrunk_to_a_file_that_shows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def printed(device: str) -> str:
        assert command(["run", str(tmp_path / "disagree.tl"), "--device", device]) == 0
        return capsys.readouterr().out

    with faulty_kernels():
        with pytest.raises(AssertionError):
            search(1, 40, lambda text: agree(text, ("reference", "cpu"), tmp_path), most=2)
        assert printed("reference") != printed("cpu")
    lines = (tmp_path / "disagree.tl").read_text().split("fn f(")[1].split("}")[0].splitlines()
    assert len(lines) <= 5, "the head, one statement or two, and the result"
    assert printed("reference") == printed("cpu")
