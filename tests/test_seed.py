"""`--seed`: the numbers that a program draws, from the command line and from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tlc
from tlc.cli import run

PROGRAM = (
    "print(f32::rand([4]))\nfn f(x: float32[N]) -> float32[N] { x + f32::rand([shape(x)[0]]) }\n"
)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "random.tl"
    path.write_text(PROGRAM)
    return path


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert run(list(argv)) == 0
    return capsys.readouterr().out


def test_a_seed_decides_the_numbers(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        printed(capsys, "run", str(program), "--device", device, *options)
        for device in ("cpu", "reference")
        for options in ((), ("--seed", "0"), ("--seed", "1"), ("--seed=-5",))
    ]
    assert lines[:4] == lines[4:], "the same on every device"
    assert lines[0] == lines[1], "0 when left out"
    assert len(set(lines)) == 3


def test_an_artifact_has_the_seed_of_its_build_where_a_run_names_no_other(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = program.with_suffix(".metallib")
    assert run(["build", str(program), "--seed", "3"]) == 0
    wanted = printed(capsys, "run", str(program), "--device", "cpu", "--seed", "3")
    for device in ("cpu", "reference"):
        ran = ("run", str(artifact), "--device", device)
        assert printed(capsys, *ran) == wanted
        other = printed(capsys, *ran, "--seed", "4")
        assert other == printed(capsys, "run", str(program), "--device", "cpu", "--seed", "4")
        assert other != wanted


def test_python_gives_a_seed_to_an_artifact(program: Path) -> None:
    assert run(["build", str(program)]) == 0
    path, zeros = program.with_suffix(".metallib"), np.zeros(5, np.float32)
    drawn = [tlc.load(path, device="cpu", seed=seed).f(zeros) for seed in (None, 0, 7)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[1] != drawn[2]).all()


def test_a_seed_is_a_whole_number(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", str(program), "--seed", "1.5"]) == 2
    assert "`--seed` is a whole number, not `1.5`" in capsys.readouterr().err
    assert run(["run", str(program), "--seed", "9" * 5000]) == 2
    assert "more digits than a number of 64 bits" in capsys.readouterr().err


def test_an_entry_draws_the_same_for_every_size() -> None:
    entries = [tlc.compile("random.tl", text=PROGRAM, device=d) for d in ("cpu", "reference")]
    long, short = (entries[0].f(np.zeros(n, np.float32)) for n in (33, 7))
    np.testing.assert_array_equal(long[:7], short)
    np.testing.assert_array_equal(long, entries[1].f(np.zeros(33, np.float32)))
