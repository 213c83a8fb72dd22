"""A tree or its tokens in, text for people out: what `--emit ast` and `--emit tokens` show."""

from __future__ import annotations

from collections.abc import Iterable

from tlc.frontend import ast
from tlc.frontend.lexer import Token
from tlc.frontend.source import Span
from tlc.frontend.unparse import explicit

LINES = (ast.Stmt, ast.Item)
"""Nodes that have a line of their own; all others stand in the line of their owner."""


def dump_tokens(tokens: Iterable[Token]) -> str:
    """One line for each token: its place, its kind and, where that says more, its text."""
    lines = []
    for token in tokens:
        shown = "" if token.kind == token.text else token.text.replace("\n", "\\n")
        lines.append(f"{_place(token.span)} {token.kind:<11} {shown}".rstrip() + "\n")
    return "".join(lines)


def dump_tree(program: ast.Program) -> str:
    """One line for each statement and declaration, indented: its place, its kind, its parts.

    Expressions stand on that line, with brackets around the operands of every operator.
    """
    lines = []
    waiting: list[tuple[str, ast.Node, int]] = [("", program, 0)]
    while waiting:
        role, node, depth = waiting.pop()
        parts, inner = _parts(node)
        name = f"{role}: {type(node).__name__}" if role else type(node).__name__
        indent = "  " * depth
        lines.append(" ".join([f"{_place(node.span)} {indent}{name}", *parts]) + "\n")
        waiting += [(label, child, depth + 1) for label, child in reversed(inner)]
    return "".join(lines)


def _place(span: Span) -> str:
    line, column = span.source.position(span.start)
    return f"{line}:{column}".ljust(7)


def _parts(node: ast.Node) -> tuple[list[str], list[tuple[str, ast.Node]]]:
    """The fields of a node as text, and the nodes of it that get lines of their own."""
    parts: list[str] = []
    inner: list[tuple[str, ast.Node]] = []
    for field in node.__match_args__:
        value = getattr(node, field)
        if isinstance(value, LINES):
            inner.append((field, value))
        elif isinstance(value, tuple) and value and all(isinstance(part, LINES) for part in value):
            inner += [("", part) for part in value]
        elif isinstance(value, Span) or value is None or value in ("", ()):
            continue
        elif isinstance(value, tuple):
            parts.append(f"{field}=[{', '.join(map(_inline, value))}]")
        else:
            parts.append(f"{field}={_inline(value)}")
    return parts, inner


def _inline(value: object) -> str:
    return explicit(value) if isinstance(value, ast.Node) else str(value)
