"""Source files and the places in them: everything the compiler says points back here."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One file of TensorLogic text; `name` is the path as the user wrote it."""

    name: str
    text: str
    line_starts: list[int] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.line_starts.append(0)
        for at, char in enumerate(self.text):
            if char == "\n":
                self.line_starts.append(at + 1)

    def position(self, offset: int) -> tuple[int, int]:
        """The line and column (both from 1) of a character offset."""
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line (from 1), without its newline."""
        start = self.line_starts[number - 1]
        ends = self.line_starts[number : number + 1]
        return self.text[start : ends[0] - 1 if ends else len(self.text)].rstrip("\r")


@dataclass(frozen=True, slots=True)
class Span:
    """The half-open range of characters `[start, end)` of a source."""

    source: Source
    start: int
    end: int

    def to(self, other: Span) -> Span:
        """The smallest span that covers this one and a later one."""
        return Span(self.source, min(self.start, other.start), max(self.end, other.end))

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def place(self) -> str:
        """Where it begins, as artifacts and run-time messages show it: `linear.tl:12`. What is no
        text in the name of the file is escaped."""
        file = self.source.name.rsplit("/", 1)[-1]
        return f"{file.encode(errors='backslashreplace').decode()}:{self.line}"

    def __str__(self) -> str:
        line, column = self.source.position(self.start)
        return f"{self.source.name}:{line}:{column}"
