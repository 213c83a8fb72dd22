"""Opens the files that a program names while it is compiled: imports, models, tokenizers."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tlc.frontend.diagnostics import CompileError, error
from tlc.frontend.source import Source, Span


def read(path: str) -> str:
    """The text of a source file. Raises CompileError E0104."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        text = (
            f"{path} is not UTF-8 text: byte {problem.start} is {problem.object[problem.start]:#x}"
        )
        raise error("E0104", text) from problem
    except OSError as problem:
        raise error("E0104", f"{path} cannot be read: {problem.strerror}") from problem


def importer(parse: Callable[[Source], Any]) -> Callable[[str, Span], Any]:
    """Reads and parses the files that programs import, each from beside the importing file."""
    trees: dict[str, Any] = {}

    def import_file(path: str, span: Span) -> Any:
        folder = os.path.dirname(span.source.name)
        name = os.path.normpath(os.path.join(folder, path)).replace(os.sep, "/")
        if name not in trees:
            try:
                text = read(name)
            except CompileError as problem:
                raise error("E0104", problem.diagnostics[0].message, span) from problem
            trees[name] = parse(Source(name, text))
        return trees[name]

    return import_file


def model_opener(program: str, opened: dict[str, Any]) -> Callable[[str, Span], Any]:
    """Opens model files for the lowering: beside the program first, then where it is built."""
    from tlc.ir.lower.values import ModelProblem
    from tlc.runtime.errors import RunError
    from tlc.runtime.weights import find

    folders = [os.path.dirname(program), ""]

    def open_model(path: str, span: Span) -> Any:
        from tlc.runtime.model_file import open_model as open_file

        there = find(path, folders)
        try:
            opened[path] = open_file(there)
        except RunError as problem:
            hint = problem.hint or ("" if os.path.exists(there) else _near(path, folders))
            raise ModelProblem(problem.code, problem.message, hint) from problem
        return opened[path]

    return open_model


def tokenizer_opener(opened: dict[str, Any]) -> Callable[[str, Span], Any]:
    """Reads the tokenizers of model files that are open."""
    from tlc.ir.lower.values import ModelProblem
    from tlc.runtime.errors import RunError

    def open_tokenizer(path: str, span: Span) -> Any:
        from tlc.runtime.tokenizer import tokenizer_of

        try:
            return tokenizer_of(opened[path])
        except RunError as problem:
            raise ModelProblem(problem.code, problem.message, problem.hint) from problem

    return open_tokenizer


def _near(path: str, folders: list[str]) -> str:
    """A hint for a model file that is not there: like names, or where it was looked for."""
    from tlc.frontend.suggest import did_you_mean

    inside, name = os.path.split(path)
    names: list[str] = []
    for folder in folders:
        with suppress(OSError):
            names += os.listdir(os.path.join(folder, inside) or ".")
    looked = "it is looked for beside the program, then in the current folder"
    return did_you_mean(name, names) or ("" if os.path.isabs(path) else looked)
