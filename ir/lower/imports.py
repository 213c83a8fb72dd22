"""A program and the files it imports to one list of declarations, each file once."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field

from tlc.frontend import ast
from tlc.frontend.diagnostics import CompileError, Diagnostic, Label
from tlc.frontend.source import Span

ImportFile = Callable[[str, Span], ast.Program]
"""The tree of a file, its path as an `import` at a place writes it. Raises CompileError."""


@dataclass(slots=True)
class Declarations:
    """What a program declares: `own` tells the items of its own file from imported ones."""

    items: list[tuple[ast.Item | ast.Stmt, bool]] = field(default_factory=list)
    problems: list[Diagnostic] = field(default_factory=list)


@dataclass(slots=True)
class _Walk:
    import_file: ImportFile | None
    found: Declarations
    done: set[str] = field(default_factory=set)
    open: list[tuple[str, Span | None]] = field(default_factory=list)  # files, and who imports them


def collect(tree: ast.Program, import_file: ImportFile | None) -> Declarations:
    """The items of a program, those of imported files before those of the file that imports them.

    What is wrong with an import is among the problems; the rest of the program stays.
    """
    walk = _Walk(import_file, Declarations())
    _file(walk, tree, None)
    return walk.found


def _file(walk: _Walk, tree: ast.Program, by: Span | None) -> None:
    name = posixpath.normpath(tree.span.source.name)
    if name in walk.done:
        return
    names = [n for n, _ in walk.open]
    if name in names:
        assert by is not None
        walk.found.problems.append(_cycle(walk, names.index(name), name, by))
        return
    walk.open.append((name, by))
    for item in tree.body:
        if isinstance(item, ast.Import):
            _import(walk, item)
    walk.open.pop()
    walk.done.add(name)
    for item in tree.body:
        if isinstance(item, ast.Import):
            continue
        if by is None:
            walk.found.items.append((item, True))
        elif isinstance(item, ast.Item):
            walk.found.items.append((item, False))
        else:
            text = "a file that is imported holds declarations only"
            here = Label(by, "imported here")
            hint = "`main { }` of an imported file does not run: statements can stand there"
            walk.found.problems.append(
                Diagnostic("E0101", text, item.span, others=(here,), hint=hint)
            )


def _import(walk: _Walk, item: ast.Import) -> None:
    if walk.import_file is None:
        text = "an import needs a program that is read from a file"
        walk.found.problems.append(Diagnostic("E0104", text, item.span))
        return
    try:
        tree = walk.import_file(item.path, item.span)
    except CompileError as problem:
        walk.found.problems += problem.diagnostics
        return
    _file(walk, tree, item.span)


def _cycle(walk: _Walk, start: int, name: str, by: Span) -> Diagnostic:
    """Names the files of the cycle in order; every import on the way is shown."""
    files = [n for n, _ in walk.open[start:]]
    short = [posixpath.basename(n) for n in (*files, name)]
    steps = [Label(at, "through this import") for _, at in walk.open[start + 1 :] if at is not None]
    text = f"these files import one another: {' -> '.join(short)}"
    return Diagnostic("E0202", text, by, others=tuple(steps))
