"""Arguments of a run: `arg` in programs, `--arg` and its short forms on the command line."""

import contextlib
import io
from pathlib import Path

import pytest

from tlc.cli import run

PROGRAM = """
main {
    let prompt = arg("prompt", "hi = ha")
    let n = arg("max_tokens", 2)
    let t = arg("temperature", 0.5)
    print(prompt, len(prompt), n + 1, t * 2)
    while n > 100 { n = arg("later", 7) }
    print(to_float("1.5") + to_float(env("TLC_TEST_NUMBER")), zeros([n]))
}
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TLC_TEST_NUMBER", "-2e-1")
    path = tmp_path / "p.tl"
    path.write_text(PROGRAM)
    return str(path)


def shown(*arguments: str) -> tuple[str, str, int]:
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        status = run(["run", *arguments])
    return out.getvalue(), err.getvalue(), status


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_arguments_are_what_the_program_says_when_left_out(program: str, device: str) -> None:
    out, _, _ = shown(program, "--device", device)
    assert out.splitlines() == ["hi = ha 7 3 1.0", "1.3 [0.0, 0.0]"]


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize(
    "given",
    [
        ("--prompt", "a b", "--max-tokens", "1", "--temperature", "0.25"),
        ("--arg", "prompt=a b", "--arg", "max_tokens=1", "--arg", "temperature=0.25"),
    ],
)
def test_arguments_of_the_command_line(program: str, device: str, given: tuple[str, ...]) -> None:
    out, _, _ = shown(program, "--device", device, *given)
    assert out.splitlines() == ["a b 3 2 0.5", "1.3 [0.0]"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--arg", "promt=x"), "the program has no argument `promt`"),
        (("--arg", "promt=x"), "it has later, max_tokens, prompt, temperature"),
        (("--arg", "prompt"), "`--arg prompt` is not of the form NAME=VALUE"),
        (("--arg", "max_tokens=many"), 'p.tl:4: "many" is not a whole number'),
        (("--temperature", "warm"), 'p.tl:5: "warm" is not a number'),
        (("--arg", "temperature=nan"), 'p.tl:5: "nan" is not a number'),
        (("--max-tokens", "x"), "`--max-tokens` is a whole number, not `x`"),
    ],
)
def test_arguments_that_do_not_fit(program: str, given: tuple[str, ...], message: str) -> None:
    _, err, status = shown(program, "--device", "reference", *given)
    assert message in err
    assert status
