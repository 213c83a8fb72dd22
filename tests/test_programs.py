"""Programs print what their `//>` lines say, on every device that this machine has.

The files in `tests/programs` are the language's tests; the blocks of the documents are run as well.
"""

import contextlib
import io
import os
from pathlib import Path

import pytest

import tlc
from tests.expected import code_blocks, expected_lines

ROOT = Path(__file__).parent.parent
PROGRAMS = sorted((ROOT / "tests" / "programs").glob("*.tl"))
BLOCKS = [
    pytest.param(text, id=f"{path.name}:{line}")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for line, text in code_blocks(path, "tensorlogic")
]


def output(text: str, device: str, name: str = "program.tl") -> list[str]:
    """The lines that a program prints on a device."""
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        tlc.compile(name, text=text, device=device).main()
    return stdout.getvalue().splitlines()


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_a_program_prints_what_it_says(path: Path, device: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert expected_lines(text), "a program without expected output tests nothing"
    assert output(text, device, str(path)) == expected_lines(text)


# All of them on the emulator take a minute: a few, or all with TLC_FUZZ=N.
@pytest.mark.fuzz
@pytest.mark.parametrize(
    "path", PROGRAMS[:: 1 if "TLC_FUZZ" in os.environ else 8], ids=lambda p: p.stem
)
def test_a_program_prints_the_same_on_the_emulator(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert output(text, "emulator", str(path)) == expected_lines(text)


@pytest.mark.parametrize("text", BLOCKS)
def test_a_block_of_the_documents_prints_what_it_says(text: str) -> None:
    printed = output(text, "reference")
    assert printed == expected_lines(text) or (printed and not expected_lines(text))


def test_the_readme_shows_what_its_program_prints() -> None:
    ((_, text),) = code_blocks(ROOT / "README.md", "tensorlogic")
    (line,) = output(text, "reference")
    assert f"\n{line}\n" in (ROOT / "README.md").read_text()
