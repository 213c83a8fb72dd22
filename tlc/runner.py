"""`tlc run`: opens or builds a program, picks a device, runs an entry.

An artifact runs without the compiler: nothing of the other stages is imported, nor numpy unless
arrays are given or asked for.
"""

from __future__ import annotations

import os
import sys
import time

from tlc.runtime.errors import RunError
from tlc.runtime.format import all_steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from tlc.frontend.diagnostics import Diagnostic


def run(
    path: str,
    options: dict[str, Any],
    timings: Any,
    show: Callable[[Iterable[Diagnostic]], None],
) -> int:
    """Run an entry of an artifact or program; the exit code."""
    if options["stats"]:
        from tlc.stats import Stats

        with Stats(timings) as stats:
            return _run(path, options, stats, show)
    return _run(path, options, timings, show)


def _run(
    path: str,
    options: dict[str, Any],
    timings: Any,
    show: Callable[[Iterable[Diagnostic]], None],
) -> int:
    clock = _Clock(timings)
    artifact = read_or_build(path, options["store"], timings, show, options["engine"])
    clock("open")
    folders = [os.path.dirname(path), ""]
    if options["diff"]:
        from tlc.compare import compare

        return compare(artifact, folders, options)
    if options["check-finite"]:
        from tlc.finite import FiniteHost
        from tlc.reference import ReferenceProgram

        program, device = ReferenceProgram(artifact, folders, FiniteHost), "reference"
    else:
        program, device = open_program(artifact, options["device"], folders)
    if _engine(artifact.manifest) == "coreml":
        from tlc.runtime.coreml.engine import require

        require()
    _placement(artifact.manifest, device, options)
    clock("load")
    if options["selftest"]:
        return _selftest(artifact, program, device)
    if options["seed"] is not None:
        program.seed = int(options["seed"])
    entry = program.entry(options["entry"])
    steps = artifact.manifest["entries"][entry.name]["steps"]
    program.given = given_arguments(options, steps)
    if _converses(steps):
        from tlc.serving.conversation import converse

        return converse(program, options, program.given, _writer(options))
    for name in ("template", "system", "context"):
        if options[name] is not None:
            raise RunError("E0504", f"`--{name}` is for conversations, and this is none")
    if entry.params or options["input"] or options["output"]:
        _with_arrays(program, entry, options)
    else:
        program.call(entry, (), _writer(options), bool(options["print-full"]))
        if not steps:
            _nothing_to_run(artifact.manifest)
    sys.stdout.flush()
    clock("run")
    return 0


def _writer(options: dict[str, Any]) -> Callable[[str], object]:
    """What writes texts: at once where somebody waits for the rest of a line."""
    if not options["stream"] and not sys.stdout.isatty():
        return sys.stdout.write

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    return write


_SHORT = ("prompt", "max-tokens", "temperature")  # options that are arguments of that name


def given_arguments(options: dict[str, Any], steps: list[Any]) -> dict[str, str]:
    """The arguments of the run by name. Raises RunError E0504 for one that is never read."""
    given = {o.replace("-", "_"): options[o] for o in _SHORT if options[o] is not None}
    for pair in options["arg"]:
        name, equals, value = pair.partition("=")
        if not equals:
            raise RunError("E0504", f"`--arg {pair}` is not of the form NAME=VALUE")
        given[name] = value
    known = sorted(set(_arguments(steps))) if given else []
    for name in given:
        if name not in known:
            hint = f"it has {', '.join(known)}" if known else "it has none"
            raise RunError("E0504", f"the program has no argument `{name}`", hint)
    return given


def _arguments(steps: list[Any]) -> Iterator[str]:
    """The names of the arguments that steps read."""
    for step in all_steps(steps):
        if step[0] == "text" and step[2] == "arg":
            yield step[3].partition("=")[0]


def _converses(steps: list[Any]) -> bool:
    """Whether steps answer a prompt token by token, and read lines behind the answer."""
    found = {step[2] if step[0] == "text" else step[0] for step in all_steps(steps)}
    return {"arg", "input", "detokenize_next"} <= found and "prompt" in _arguments(steps)


def read_or_build(
    path: str,
    store: str | None,
    timings: Any,
    show: Callable[[Iterable[Diagnostic]], None],
    engine: str | None = None,
) -> Any:
    """The artifact in a file, or that of the program in it. Raises RunError and CompileError."""
    if path.endswith(".tl"):
        from tlc import driver

        built = driver.build(path, timings=timings, store=store or "f16", engine=engine or "tlc")
        show(built.warnings)
        return built
    from tlc.runtime.artifact import read_artifact

    artifact = read_artifact(path)
    if store not in (None, artifact.manifest.get("store")):
        raise RunError(
            "E0504",
            f"the artifact was not built with `--store {store}`",
            f"build it again: tlc build FILE.tl --store {store}",
        )
    if engine is not None:
        from tlc.runtime.schema import validate

        validate(artifact.manifest)
        if engine != _engine(artifact.manifest):
            raise RunError(
                "E0504",
                f"the artifact was not built with `--engine {engine}`",
                f"build it again: tlc build FILE.tl --engine {engine}",
            )
    return artifact


def _engine(manifest: dict[str, Any]) -> str:
    """What runs the Core ML models of an artifact."""

    for entry in manifest["entries"].values():
        if any(step[0] == "core_ml" for step in all_steps(entry["steps"])):
            return "coreml"
    return "tlc"


class _Clock:
    """Reports the time since the last report."""

    def __init__(self, timings: Any) -> None:
        self._timings, self._last = timings, time.perf_counter()

    def __call__(self, stage: str) -> None:
        now = time.perf_counter()
        if self._timings is not None:
            self._timings(stage, now - self._last)
        self._last = now


def open_program(artifact: Any, device: str, folders: list[str]) -> tuple[Any, str]:
    """The program on a device, and the device's name."""
    if device == "reference":
        from tlc.reference import ReferenceProgram

        return ReferenceProgram(artifact, folders), device
    from tlc.runtime.devices.select import open_device
    from tlc.runtime.loader import load

    opened = open_device(device)
    program = load(artifact, opened, folders)
    artifact.forget()
    return program, opened.name


def _selftest(artifact: Any, program: Any, device: str) -> int:
    from tlc.runtime.recorded import selftest

    if device == "reference":
        raise RunError("E0504", "the reference device launches no kernels", "use --device cpu")
    return selftest(artifact, program, device)


def _placement(manifest: dict[str, Any], device: str, options: dict[str, Any]) -> None:
    """Say once when the program asks for other hardware than it runs on."""
    kind = {"metal": "gpu", "metal-objc": "gpu"}.get(device, device)
    others = [hint for hint in manifest["hints"] if hint != kind]
    if others:
        text = f"the program asks for {' and '.join(others)}, and runs on {device}"
        if options["error-format"] == "json":
            import json

            data = {"severity": "warning", "code": "W0001", "message": text}
            text = json.dumps({**data, "place": None, "others": [], "hint": ""})
        else:
            text = f"warning[W0001]: {text}"
        print(text, file=sys.stderr)


def _nothing_to_run(manifest: dict[str, Any]) -> None:
    others = [name for name in manifest["entries"] if name != "main"]
    if others:
        print(f"nothing to run: the program only defines {', '.join(others)}", file=sys.stderr)


def _with_arrays(program: Any, entry: Any, options: dict[str, Any]) -> None:
    """Call an entry with arrays from .npy files; print its results, or write one to a file."""
    from tlc.arrays import call, from_files, write_npy

    args = from_files(options["input"], entry)
    write, full = sys.stdout.write, bool(options["print-full"])
    if options["output"] and len(entry.results) != 1:
        raise RunError(
            "E0504",
            f"`{entry.name}` has {len(entry.results)} results, and --output writes one",
            "name an entry that has one with --entry" if entry.name == "main" else "",
        )
    results = call(program, entry, args, write, full)
    if options["output"]:
        write_npy(options["output"], results[0])
        return
    from tlc.runtime.text import format_tensor

    for array in results:
        dtype = {"float16": "f16", "float32": "f32", "int32": "i32", "bool": "bool"}[
            array.dtype.name
        ]
        write(format_tensor(array.tobytes(), dtype, array.shape, full) + "\n")
