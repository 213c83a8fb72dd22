"""`tlc test` and `tlc bench`: builds a program with its blocks, runs each, says what came out."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

from tlc import driver
from tlc.frontend.diagnostics import Diagnostic
from tlc.runner import open_program
from tlc.runtime.errors import RunError

Show = Callable[[Iterable[Diagnostic]], None]
LEAST_RUNS, MOST_RUNS = 5, 1000
SECONDS = 1.0  # that one benchmark goes on for


def test(path: str, options: dict[str, Any], show: Show) -> int:
    """Run every `test` block; the exit code is 1 when one fails.

    What a test prints is shown only when it fails.
    """
    program, names, skipped = _opened(path, "test", options, show)
    failed = 0
    for name in names:
        lines: list[str] = []
        problem = skipped.get(f"test {name}")
        if problem is None:
            try:
                full = bool(options["print-full"])
                program.call(program.entry(f"test {name}"), (), lines.append, full)
            except RunError as found:
                problem = found.message
        if problem is None:
            print(f"ok {name}")
            continue
        failed += 1
        print("".join(lines), end="")
        print(f"FAILED {name}: {problem}")
    if not names:
        print(f"{path} has no `test` blocks")
    else:
        print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


def bench(path: str, options: dict[str, Any], show: Show) -> int:
    """Time every `bench` block: the median of its runs, behind one that is not counted."""
    program, names, skipped = _opened(path, "bench", options, show)
    if not names:
        print(f"{path} has no `bench` blocks")
    for name in names:
        if f"bench {name}" in skipped:
            raise RunError("E0503", f"`bench {name}` does not run: {skipped[f'bench {name}']}")
        seconds = _timed(program, program.entry(f"bench {name}"))
        print(f"{name}: {_shown(statistics.median(seconds))} (median of {len(seconds)} runs)")
    return 0


def _opened(
    path: str, kind: str, options: dict[str, Any], show: Show
) -> tuple[Any, list[str], dict[str, str]]:
    """The program on its device, the names of its blocks, and why some of them do not run."""
    built = driver.build(path, blocks=True, store=options["store"] or "f16")
    show(built.warnings)
    program, _ = open_program(built, options["device"], [os.path.dirname(path), ""])
    skipped: dict[str, str] = built.manifest["skipped"]
    names = [n for n in (*built.manifest["entries"], *skipped) if n.startswith(f"{kind} ")]
    return program, [n.removeprefix(f"{kind} ") for n in names], skipped


def _timed(program: Any, entry: Any) -> list[float]:
    """Seconds of each run."""
    program.call(entry, (), _nowhere)
    seconds: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(seconds) < LEAST_RUNS or (len(seconds) < MOST_RUNS and time.perf_counter() < end):
        start = time.perf_counter()
        program.call(entry, (), _nowhere)
        seconds.append(time.perf_counter() - start)
    return seconds


def _nowhere(text: str) -> None:
    """Takes what a benchmark prints."""


def _shown(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3f} {unit}"
    return f"{seconds / 1e-6:.1f} us"
