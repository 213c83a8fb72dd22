"""The Python interface: `tlc.compile("a.tl")`, `tlc.load("a.metallib")`, entries as methods."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from tlc.arrays import call
from tlc.runtime.errors import RunError


class Model:
    """A compiled program on a device; each entry is a method: `model.forward(x, w, b)`.

    Arguments are numpy arrays, anything with `__array__` or DLPack, or nested lists, in their order
    or by name; their shapes are checked against the signature. An entry returns a numpy array, a
    tuple of them for several results, or None. Several threads may call one model; it takes one
    call at a time.
    """

    def __init__(self, program: Any, device: str) -> None:
        self._program = program
        self.device = device
        for name in program.entries:
            if not hasattr(Model, name):
                self.__dict__[name] = _method(weakref.ref(self), program, name)

    @property
    def entries(self) -> dict[str, str]:
        """The entries by name, each with its signature."""
        return {name: _signature(entry) for name, entry in self._program.entries.items()}

    def run(self, name: str, /, *args: Any, **named: Any) -> Any:
        """Call an entry by name. Raises RunError E0503, E0504, E0505."""
        return _results(self._program, name, args, named)

    def __getattr__(self, name: str) -> Any:
        try:
            self.__dict__["_program"].entry(name)
        except KeyError:
            pass  # a model that is not made yet, as of `copy`
        except RunError as problem:
            raise AttributeError(f"{problem.message}; {problem.hint}") from None
        raise AttributeError(name)

    def __repr__(self) -> str:
        return f"<tlc.Model on {self.device}: {', '.join(self.entries.values())}>"


def _results(program: Any, name: str, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    entry = program.entry(name)
    if named:
        args = _placed(entry, args, named)
    results = call(program, entry, args, sys.stdout.write)
    return None if not results else results[0] if len(results) == 1 else tuple(results)


def _placed(entry: Any, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
    """Arguments in the order of the parameters, of which some are named. Raises RunError E0504."""
    names = [param["name"] for param in entry.params]
    rest = names[len(args) :]
    wrong = [(n, "is given twice" if n in names else "is no parameter") for n in named]
    for name, what in [w for w in wrong if w[0] not in rest] + [
        (name, "is missing") for name in rest if name not in named
    ]:
        hint = f"its parameters are {', '.join(names) or 'none'}"
        raise RunError("E0504", f"`{name}` of `{entry.name}` {what}", hint)
    return (*args, *(named[name] for name in rest))


def _method(owner: weakref.ref[Model], program: Any, name: str) -> Callable[..., Any]:
    """An entry as a function. Once it is called twice with arrays of the same shapes, a direct
    function takes its place in the model, and gives what is not like these calls back to it."""
    before: tuple[tuple[int, ...], ...] | None = None
    hopeful = True

    def method(*args: Any, **named: Any) -> Any:
        nonlocal before, hopeful
        results = _results(program, name, args, named)
        if named or not hopeful:
            return results
        plain = all(type(a) is np.ndarray for a in args)
        shapes = tuple([a.shape for a in args]) if plain else None
        model = owner() if shapes == before else None
        if model is not None and shapes is not None:
            from tlc.direct import direct

            made = direct(program, name, shapes, method)
            hopeful = made is not None
            model.__dict__[name] = made or method
        before = shapes
        return results

    return method


def _signature(entry: Any) -> str:
    def type(record: dict[str, Any]) -> str:
        return f"{record['dtype']}[{', '.join(map(_size, record['shape']))}]"

    params = ", ".join(f"{p['name']}: {type(p)}" for p in entry.params)
    results = ", ".join(map(type, entry.results))
    return f"{entry.name}({params})" + (f" -> {results}" if results else "")


def _size(formula: Any) -> str:
    if isinstance(formula, list):
        op, left, right = formula
        return f"{_size(left)}{op}{_size(right)}"
    return str(formula)


def compile(
    source: str | os.PathLike[str],
    *,
    text: str | None = None,
    device: str = "auto",
    seed: int = 0,
    store: str = "f16",
    engine: str = "tlc",
) -> Model:
    """Compile a `.tl` file (or `text`, under the file's name) for a device.

    `seed` is that of random numbers, `store` is how computed float16 values are stored: `f16`, or
    `f32` where float16 overflows. `engine` is what runs Core ML models: `tlc`, compiled like the
    rest, or `coreml`, by Core ML itself on a Mac. Raises CompileError with every diagnostic, and
    RunError when the device is not there.
    """
    from tlc import driver

    path = os.fspath(source)
    built = driver.build(path, text=text, seed=seed, store=store, engine=engine)
    return _open(built, device, path)


def load(
    artifact: str | os.PathLike[str], *, device: str = "auto", seed: int | None = None
) -> Model:
    """Open an artifact that `tlc build` wrote; `seed` is that of random numbers, and the one of the
    build when left out. Raises RunError."""
    from tlc.runtime.artifact import read_artifact

    path = os.fspath(artifact)
    return _open(read_artifact(path), device, path, seed)


def _open(artifact: Any, device: str, path: str, seed: int | None = None) -> Model:
    from tlc.runner import open_program

    folders = [os.path.dirname(os.path.abspath(path)), os.getcwd()]
    program, name = open_program(artifact, device, folders)
    if seed is not None:
        program.seed = seed
    return Model(program, name)


__all__ = ["Model", "RunError", "compile", "load"]
