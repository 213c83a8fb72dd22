"""`tlc run --stats`: how long a program loads, how fast it reads and answers, its memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from tlc.runtime.texts import Texts

Timings = Callable[[str, float], object]


class Stats:
    """Counts tokens and their time while it is entered, and writes a table to stderr in the end.

    A prompt is read from when it is cut into tokens until the first token of the answer is chosen;
    every further token ends one step of decoding. It is called with the times of stages.
    """

    def __init__(self, timings: Timings | None = None) -> None:
        """`timings` gets the times of stages too."""
        self._timings = timings
        self._load = 0.0
        self._prompt, self._prefill = 0, 0.0
        self._answer, self._decode = 0, 0.0
        self._reading, self._last = False, 0.0

    def __call__(self, stage: str, seconds: float) -> None:
        if stage in ("open", "load"):
            self._load += seconds
        if self._timings is not None:
            self._timings(stage, seconds)

    def read(self, count: int) -> None:
        """So many tokens of a prompt are there."""
        if not self._reading:
            self._reading, self._last = True, time.perf_counter()
        self._prompt += count

    def said(self) -> None:
        """Another token of the answer is chosen."""
        now = time.perf_counter()
        spent, self._last = now - self._last, now
        if self._reading:
            self._reading = False
            self._prefill += spent
        else:
            self._answer += 1
            self._decode += spent

    def __enter__(self) -> Stats:
        Texts.watcher = self
        return self

    def __exit__(self, *problem: Any) -> None:
        Texts.watcher = None
        if not any(problem):
            sys.stdout.flush()
            print("\n".join(self.lines()), file=sys.stderr)

    def lines(self) -> list[str]:
        """The table; without what there was not."""
        lines = [f"load     {self._load:.3f} s"]
        for name, count, seconds in (
            ("prefill", self._prompt, self._prefill),
            ("decode", self._answer, self._decode),
        ):
            if count and seconds:
                speed = f"{count / seconds:.1f} tokens/s"
                lines.append(f"{name:8} {count} tokens in {seconds:.3f} s, {speed}")
        return [*lines, f"memory   {_memory()}"]


def _memory() -> str:
    """The most memory that the process has had; on Linux also how much of it are mapped files."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = f"{peak * (1 if sys.platform == 'darwin' else 1024) / 1e6:.0f} MB at most"
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            (mapped,) = (line.split()[1] for line in file if line.startswith("RssFile"))
    except (OSError, ValueError):
        return text
    return f"{text}, {int(mapped) * 1024 / 1e6:.0f} MB of files"
