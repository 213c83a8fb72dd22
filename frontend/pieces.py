"""What `unparse` writes with: texts, line breaks and nodes to be written in turn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tlc.frontend import ast

ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """An expression to be written: in brackets if it binds less than `least`.

    In a `head`, before the `{` of a block, an expression with a brace needs brackets too.
    """

    node: ast.Expr
    least: int = 0
    head: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """An argument as a line of `learn` or `embedding`."""

    arg: ast.Arg


class Break:
    """A place for a line break: the start, the middle or the end of lines in braces."""

    def __init__(self, on_one_line: str, deeper: int) -> None:
        self.on_one_line = on_one_line
        self.deeper = deeper


OPENING, CLOSING = Break(" ", 1), Break(" ", -1)
STATEMENT_END, ARM_END, LINE_END = Break("; ", 0), Break(", ", 0), Break("\n", 0)

Piece = str | Wanted | Option | Break | ast.Node
Pieces = list[Piece]


def joined(items: Iterable[Piece], separator: Piece = ", ") -> Pieces:
    pieces: Pieces = []
    for item in items:
        pieces += [separator, item] if pieces else [item]
    return pieces


def in_braces(items: Iterable[Piece], end: Break = STATEMENT_END) -> Pieces:
    inside = joined(items, end)
    return ["{", OPENING, *inside, CLOSING, "}"] if inside else ["{}"]


def quoted(text: str) -> str:
    chars = (ESCAPES.get(c) or (c if c.isprintable() else f"\\u{{{ord(c):x}}}") for c in text)
    return f'"{"".join(chars)}"'
