"""Programs that carry what they print: `//> text` after a statement, or on a line of its own."""

from __future__ import annotations

import re
from pathlib import Path

_EXPECTED = re.compile(r"^.*?//> ?(.*)$")


def expected_lines(text: str) -> list[str]:
    """The lines that a program prints, as its `//>` comments say."""
    return [m[1].rstrip() for m in map(_EXPECTED.match, text.splitlines()) if m]


def code_blocks(path: Path, language: str) -> list[tuple[int, str]]:
    """The fenced blocks of a Markdown file in one language, each with its line."""
    found: list[tuple[int, str]] = []
    block: list[str] | None = None
    start = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() == f"```{language}" and block is None:
            block, start = [], number + 1
        elif line.strip() == "```" and block is not None:
            found.append((start, "\n".join(block) + "\n"))
            block = None
        elif block is not None:
            block.append(line)
    return found
