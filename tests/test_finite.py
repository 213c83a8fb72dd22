"""`tlc run --check-finite` names the operation that makes the first NaN or infinity."""

from pathlib import Path

import pytest

from tlc.cli import run


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "p.tl"


def message(program: Path, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    program.write_text(text)
    code = run(["run", "p.tl", "--check-finite"])
    return code, capsys.readouterr().err


def test_a_finite_program_runs(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert message(program, "print(exp(tensor([1.0])))\n", capsys) == (0, "")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "let x = tensor([[1.0, 2.0], [4.0, 0.0]])\nlet y = x + 1.0\nprint(y / x)\n",
            "p.tl:3: `div` is inf at [1, 1]",
        ),
        ("let x = tensor([4.0, -1.0])\nprint(relu(sqrt(x)))\n", "p.tl:2: `sqrt` is nan at [1]"),
        (
            "let x = full([3], 300.0)\n\nprint(x * x)\n",
            "p.tl:3: the value stored here is inf at [0], and 2 more",
        ),
        (
            "let x = full([1, 2], 300.0)\nfn f(a: float16[N, K]) { a @ a.T }\nprint(f(x))\n",
            "p.tl:2: the value stored here is inf at [0, 0]",
        ),
    ],
)
def test_what_makes_it_is_named(
    program: Path, text: str, wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = message(program, text, capsys)
    assert code == 1
    assert found.startswith(f"error[E0508]: {wanted}")


def test_operands_are_shown_with_their_ranges(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = message(program, "let x = tensor([4.0, 0.0, -2.0])\nprint(1.0 / x)\n", capsys)
    assert "f16[3] from -2.0 to 4.0" in found
