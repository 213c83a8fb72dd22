"""A process that answers with a language model, by tlc or by llama.cpp: requests for so many tokens
of a prompt and of an answer on standard input, CPU and wall seconds on standard output."""

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
Answer = Callable[[int, int], object]  # of so many tokens of a prompt, so many of an answer


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
        first, whole = self.ask(prompt, 1), self.ask(prompt, tokens + 1)
        return prompt / first, tokens / (whole - first)

    def ask(self, prompt: int, steps: int) -> float:
        """Seconds of an answer: of CPU on one thread, of wall time on two."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([prompt, steps]) + "\n")
        self._process.stdin.flush()
        return float(json.loads(self._process.stdout.readline())[self._part])

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _ours(path: Path, threads: int) -> Answer:
    import numpy as np

    import tlc

    text = PROGRAM.replace("MODEL", str(path))
    program: Any = tlc.compile(str(ROOT / "examples/llm/talk.tl"), text=text, device="cpu")

    def answer(prompt: int, steps: int) -> object:
        ids = np.arange(1000, 1000 + prompt, dtype=np.int32)
        return program.answer(ids, np.zeros(steps, np.int32))

    return answer


def _host(path: Path, threads: int) -> Answer:
    """Ours, where kernels do nothing: what is left is the work of the host."""
    from tlc.runtime.devices.cpu import CpuDevice

    answer = _ours(path, threads)
    answer(1, 1)
    CpuDevice.run = lambda self, batch: None  # type: ignore[method-assign]
    return answer


def _theirs(path: Path, threads: int) -> Answer:
    from tests.models.llama_cpp_reference import LlamaCpp

    model = LlamaCpp(path, context=8192, threads=threads, exact=False)

    def answer(prompt: int, steps: int) -> object:
        row = model.last_logits(list(range(1000, 1000 + prompt)))
        for at in range(steps - 1):
            row = model.last_logits([int(row.argmax())], prompt + at)
        return row

    return answer


def main() -> None:
    """Answer requests of standard input."""
    which, path, threads = sys.argv[1:]
    answer = {"ours": _ours, "theirs": _theirs, "host": _host}[which](Path(path), int(threads))
    for line in sys.stdin:
        prompt, steps = json.loads(line)
        cpu, wall = time.process_time(), time.perf_counter()
        answer(prompt, steps)
        print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]), flush=True)


if __name__ == "__main__":
    main()
