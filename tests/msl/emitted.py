"""The kernels that a test run compiles programs to, kept to be linted: `pytest --lint-kernels`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tlc.codegen import kernels as module
from tlc.codegen.kernels import Kernel, module_text
from tlc.codegen.profiles import APPLE
from tlc.runtime.msl.lint import lint

BATCH = 50  # kernels of a text


@contextmanager
def collected() -> Iterator[dict[str, Kernel]]:
    """The apple kernels of all programs built here, by their text without names and comments."""
    found: dict[str, Kernel] = {}
    original: Callable[..., str] = module.module_text

    def watched(kernels: Sequence[Kernel], profile: Any, name: str) -> str:
        if profile is APPLE:
            for kernel in kernels:
                text = re.sub("//.*", "", _named(kernel, "kernel").text)
                found.setdefault(text, kernel)
        return original(kernels, profile, name)

    module.module_text = watched
    try:
        yield found
    finally:
        module.module_text = original


def problems(kernels: Sequence[Kernel]) -> list[str]:
    """What the lint says with the rules of our own kernels, each with the line that it is about."""
    said = []
    for at in range(0, len(kernels), BATCH):
        batch = [_named(k, f"k{n}") for n, k in enumerate(kernels[at : at + BATCH])]
        text = module_text(batch, APPLE, "tests")  # not the one that is watched
        lines = text.splitlines()
        said += [f"{message!r}\n    {lines[message.line - 1]}" for message in lint(text, own=True)]
    return said


def _named(kernel: Kernel, name: str) -> Kernel:
    text = re.sub(rf"\b{kernel.name}(?=\b|_Dims)", name, kernel.text)
    return replace(kernel, name=name, text=text)
