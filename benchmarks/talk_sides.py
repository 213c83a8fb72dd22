"""A process that answers with a language model, by tlc or by llama.cpp: requests for so many tokens
of a prompt and of an answer on standard input; on standard output CPU and wall seconds until the
first token, and behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PROGRAM = """
import "language_model.tl"
model = load_model("MODEL")

fn answer(ids: int[N], steps: int[S]) {
    let cache = empty_cache(model)
    let next = argmax(last_logits(model, ids, cache))
    let n = 0
    while n < S - 1 {
        next = argmax(last_logits(model, [next], cache))
        n = n + 1
    }
    next
}
"""
# of so many tokens of a prompt, so many of an answer, telling when the first is there
Answer = Callable[[int, int, Callable[[], None]], object]


class Side:
    """A process that has a model loaded. `which` is ours, theirs, or host: ours without kernels."""

    def __init__(self, which: str, path: Path, threads: int) -> None:
        environment = {**os.environ, "TLC_THREADS": str(threads)}
        environment["PYTHONPATH"] = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.talk_sides", which, str(path), str(threads)],
            cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._part = 0 if threads == 1 else 1

    def speeds(self, prompt: int, tokens: int) -> tuple[float, float]:
        """Tokens a second of a prompt of so many, and of so many behind it."""
        first, rest = self.ask(prompt, tokens + 1)
        return prompt / first, tokens / rest

    def ask(self, prompt: int, steps: int) -> tuple[float, float]:
        """Seconds until the first token of an answer and from there to its end: of CPU on one
        thread, of wall time on two."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([prompt, steps]) + "\n")
        self._process.stdin.flush()
        first, rest = json.loads(self._process.stdout.readline())[self._part]
        return float(first), float(rest)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _ours(path: Path, threads: int) -> Answer:
    import numpy as np

    import tlc
    from tlc.runtime.devices.cpu import CpuDevice

    text = PROGRAM.replace("MODEL", str(path))
    program: Any = tlc.compile(str(ROOT / "examples/llm/talk.tl"), text=text, device="cpu")

    runs = 0  # of launches that follow one another
    run, told = CpuDevice.run, lambda: None
    first = -1  # of them, until a token is there

    def counted(self: CpuDevice, batch: Any) -> None:
        nonlocal runs
        run(self, batch)
        runs += 1
        if runs == first:
            told()

    def answer(prompt: int, steps: int, tell: Callable[[], None]) -> object:
        nonlocal runs, told
        ids = np.arange(1000, 1000 + prompt, dtype=np.int32)
        runs, told = 0, tell
        return program.answer(ids, np.zeros(steps, np.int32))

    CpuDevice.run = counted  # type: ignore[method-assign]
    answer(2, 1, told)  # what weights alone decide is done once
    answer(2, 1, told)
    first = runs
    return answer


def _host(path: Path, threads: int) -> Answer:
    """Ours, where kernels do nothing: what is left is the work of the host."""
    from tlc.runtime.devices.cpu import CpuDevice

    answer = _ours(path, threads)
    answer(1, 1, lambda: None)
    CpuDevice.run = lambda self, batch: None  # type: ignore[method-assign]

    def idle(prompt: int, steps: int, tell: Callable[[], None]) -> object:
        tell()
        return answer(prompt, steps, tell)

    return idle


def _theirs(path: Path, threads: int) -> Answer:
    from tests.models.llama_cpp_reference import LlamaCpp

    model = LlamaCpp(path, context=8192, threads=threads, exact=False)

    def answer(prompt: int, steps: int, tell: Callable[[], None]) -> object:
        row = model.last_logits(list(range(1000, 1000 + prompt)))
        tell()
        for at in range(steps - 1):
            row = model.last_logits([int(row.argmax())], prompt + at)
        return row

    return answer


def main() -> None:
    """Answer requests of standard input."""
    which, path, threads = sys.argv[1:]
    answer = {"ours": _ours, "theirs": _theirs, "host": _host}[which](Path(path), int(threads))
    marks: list[tuple[float, float]] = []

    def mark() -> None:
        marks.append((time.process_time(), time.perf_counter()))

    for line in sys.stdin:
        prompt, steps = json.loads(line)
        marks.clear()
        mark()
        answer(prompt, steps, mark)
        mark()
        parts = list(zip(*marks, strict=True))
        print(json.dumps([(first - start, end - first) for start, first, end in parts]), flush=True)


if __name__ == "__main__":
    main()
