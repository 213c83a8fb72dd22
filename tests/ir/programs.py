"""Programs as text to IR, to what they print, and to what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlc.frontend.diagnostics import CompileError, Diagnostic
from tlc.frontend.parser import parse
from tlc.frontend.source import Source, Span
from tlc.ir import interp
from tlc.ir.core import Func, Op
from tlc.ir.lower import Lowered, lower
from tlc.ir.lower.values import ModelProblem
from tlc.ir.printer import print_module
from tlc.ir.verify import verify
from tlc.runtime.seed import key_of

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class FakeTensor:
    """A tensor of a fake model: its shape, how the file stores it, its numbers."""

    shape: tuple[int, ...]
    encoding: str = "f16"
    numbers: Array | None = None


@dataclass(frozen=True)
class FakeModel:
    """Stands for a model file that has been opened."""

    tensors: Mapping[str, FakeTensor]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    format: str = "SafeTensors"
    quantization: str = "F16"
    fingerprint: str = "12e34f"


class Files:
    """Fake model files by path; `opened` lists the paths in the order they are asked for."""

    def __init__(self, models: Mapping[str, FakeModel]) -> None:
        self.models, self.opened = models, list[str]()

    def __call__(self, path: str, span: Span) -> FakeModel:
        self.opened.append(path)
        if path not in self.models:
            raise ModelProblem("E0601", f"{path}: no such file", "look for it")
        return self.models[path]


def lowered(text: str, models: Mapping[str, FakeModel] | None = None) -> Lowered:
    """The IR of a program without syntax errors. Raises CompileError."""
    tree, problems = parse(Source("test.tl", text))
    assert not problems, [d.message for d in problems]
    found = lower(tree, Files(models or {}))
    verify(found.module)
    return found


def errors(text: str, models: Mapping[str, FakeModel] | None = None) -> list[Diagnostic]:
    """What is wrong with a program."""
    try:
        lowered(text, models)
    except CompileError as problem:
        return [d for d in problem.diagnostics if d.severity == "error"]
    return []


def only_error(text: str, models: Mapping[str, FakeModel] | None = None) -> Diagnostic:
    """The one thing that is wrong with a program."""
    found = errors(text, models)
    assert len(found) == 1, [f"{d.code} {d.message}" for d in found]
    return found[0]


def marked(diagnostic: Diagnostic) -> str:
    """The text that a diagnostic points at."""
    assert diagnostic.span is not None
    return diagnostic.span.text


def ir(text: str, models: Mapping[str, FakeModel] | None = None) -> str:
    """The printed IR of a program, without source places."""
    return print_module(lowered(text, models).module, places=False)


class Screen(interp.Host):
    """Keeps what a program prints and saves, and gives it the weights of fake models."""

    seed = key_of(0)

    def __init__(self, models: Sequence[FakeModel] = ()) -> None:
        self.models = models
        self.lines: list[str] = []
        self.printed: list[Array] = []
        self.saved: dict[str, Array] = {}

    def weight(self, model: int, tensor: str, dtype: str) -> Array:
        numbers = self.models[model].tensors[tensor].numbers
        assert numbers is not None
        return numbers.astype(interp.NUMPY_DTYPES[dtype])

    def io(self, op: Op, values: Sequence[Array], attrs: Mapping[str, Any]) -> None:
        if op.name == "print":
            shown = iter(values)
            parts = [str(next(shown).tolist()) if p is None else str(p) for p in attrs["parts"]]
            self.lines.append("".join(parts).removesuffix("\n"))
            self.printed += values
        elif op.name == "save":
            self.saved[attrs["path"]] = values[0]


def run_func(
    func: Func, args: Sequence[Array] = (), models: Sequence[FakeModel] = ()
) -> tuple[list[Array], Screen]:
    """The results of a function, and what it printed."""
    screen = Screen(models)
    return interp.run(func, args, screen), screen


def output(text: str, models: Mapping[str, FakeModel] | None = None) -> list[str]:
    """The lines that a program prints; tensors as nested lists."""
    module = lowered(text, models).module
    held = [(models or {})[ref.path] for ref in module.models]
    return run_func(module.func("main"), (), held)[1].lines


def value(expression: str, before: str = "") -> Array:
    """The tensor that an expression is."""
    module = lowered(f"{before}\nprint({expression})").module
    (found,) = run_func(module.func("main"))[1].printed
    return found


def known(expression: str, before: str = "", models: Mapping[str, FakeModel] | None = None) -> str:
    """The text that an expression is at build, as `print` shows it."""
    module = lowered(f"{before}\nprint({expression})", models).module
    (op,) = (op for op in module.func("main").body.ops if op.name == "print")
    assert all(isinstance(part, str) for part in op.attrs["parts"]), op.attrs["parts"]
    return "".join(op.attrs["parts"]).removesuffix("\n")


def call(text: str, name: str, *args: Array) -> Array:
    """The result of an entry of a program."""
    ((found,), _) = run_func(lowered(text).module.func(name), args)
    return found
