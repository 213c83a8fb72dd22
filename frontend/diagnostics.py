"""Diagnostics: what the compiler tells its user, as data, and the text and JSON it is shown as."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from tlc.frontend.source import Span

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Label:
    """A second place that matters, with a few words on why."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message: a code of `tlc explain`, a place, other places, and what to do about it."""

    code: str
    message: str
    span: Span | None = None
    label: str = ""
    others: tuple[Label, ...] = ()
    hint: str = ""
    severity: Severity = "error"


class CompileError(Exception):
    """Raised when a program is wrong; carries every diagnostic found, warnings included."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n\n".join(render_text(d) for d in self.diagnostics))


class InternalError(Exception):
    """A fault of the compiler itself; `ir` is the module it was working on, as text."""

    def __init__(self, message: str, ir: str = "") -> None:
        self.message, self.ir = message, ir
        parts = [
            f"internal error: {message}",
            "This is a bug in tlc, not in your program. Please report it with the program"
            " and the lines below.",
        ]
        super().__init__("\n".join(parts + ([ir] if ir else [])))


def error(code: str, message: str, span: Span | None = None, **rest: Any) -> CompileError:
    """A `CompileError` of one diagnostic, ready to raise."""
    return CompileError([Diagnostic(code, message, span, **rest)])


# ---- rendering -----------------------------------------------------------------------------------

_COLORS = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m", "bold": "\x1b[1m", "blue": "\x1b[1;34m"}


def render_text(diagnostic: Diagnostic, *, color: bool = False) -> str:
    """The diagnostic as a terminal shows it, without a final newline."""

    def paint(style: str, text: str) -> str:
        return f"{_COLORS[style]}{text}\x1b[0m" if color else text

    d = diagnostic
    head = paint(d.severity, f"{d.severity}[{d.code}]") + paint("bold", f": {d.message}")
    places = [] if d.span is None else [Label(d.span, d.label)]
    places += d.others
    width = max((len(str(p.span.source.position(p.span.start)[0])) for p in places), default=0)
    out = [head]
    for at, place in enumerate(places):
        first = at == 0 and d.span is not None
        out += _snippet(place, width, "^" if first else "-", d.severity if first else "blue", paint)
    if d.hint:
        lead = f"{' ' * width} {paint('blue', '=')} " if places else "  "
        first_line, *rest = d.hint.split("\n")
        out.append(f"{lead}hint: {first_line}")
        out += [f"{' ' * (width + 3)}      {line}" for line in rest]
    return "\n".join(out)


def _snippet(place: Label, width: int, mark: str, style: str, paint: Any) -> list[str]:
    source = place.span.source
    line, column = source.position(place.span.start)
    text = source.line(line)
    length = max(1, min(place.span.end - place.span.start, len(text) - column + 1))
    before, marked = text[: column - 1], text[column - 1 : column - 1 + length]
    pad = "".join("\t" if c == "\t" else " " * _cells(c) for c in before)
    carets = mark * max(1, sum(map(_cells, marked)))
    gutter = " " * width
    bar = paint("blue", "|")
    return [
        f"{gutter}{paint('blue', '-->')} {source.name}:{line}:{column}",
        f"{gutter} {bar}",
        f"{paint('blue', str(line).rjust(width))} {bar} {text}",
        f"{gutter} {bar} {pad}{paint(style, carets)} {place.text}".rstrip(),
    ]


def _cells(char: str) -> int:
    """The number of terminal cells a character takes."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def render_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """The diagnostic as plain data: lines and columns count from 1, ends are exclusive."""

    def place(span: Span, text: str) -> dict[str, Any]:
        (line, column), (end_line, end_column) = map(span.source.position, (span.start, span.end))
        where = {"line": line, "column": column, "end_line": end_line, "end_column": end_column}
        return {"file": span.source.name, **where, "text": text}

    d = diagnostic
    return {
        "severity": d.severity,
        "code": d.code,
        "message": d.message,
        "place": None if d.span is None else place(d.span, d.label),
        "others": [place(o.span, o.text) for o in d.others],
        "hint": d.hint,
    }
