"""Gemma 3 beside llama.cpp: tokens a second of reading a prompt and of writing an answer.

The packages of `make models` carry the model, and `make test-models` leaves it in the cache folder
as other types; types that are not there are left out. Both are processes that are alive at once and
take turns; CPU time on one thread, wall time on two. llama.cpp runs without its own layouts of
weights, with which it ends on this model, whose embeddings are tied.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
KINDS = ("F16", "Q8_0", "Q4_0", "Q4_K_M")
PROMPT, ANSWER, TURNS = 128, 16, 5
CONTEXTS = (128, 512, 2048, 8000)  # of the curve
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


def table() -> list[str]:
    """A row for each type and number of threads, then the curve of ours by context."""
    folder = Path(os.environ.get("TLC_CACHE_DIR", Path.home() / ".cache" / "tlc")) / "models"
    files = {kind: folder / f"gemma3_{kind.lower()}.gguf" for kind in KINDS}
    there = {kind: path for kind, path in files.items() if path.exists()}
    lines = [f"{'tokens/s':20} {'prefill':>9} {'llama.cpp':>9} {'ratio':>6}"]
    lines[0] += f" {'decode':>9} {'llama.cpp':>9} {'ratio':>6}"
    for threads in (1, 2):
        for kind, path in there.items():
            lines.append(_row(f"{kind}, {threads} thread{'s' * (threads > 1)}", path, threads))
    if "Q4_K_M" in there:
        ours = _Side("ours", there["Q4_K_M"], 1)
        curve = [f"{n}: {ours.speeds(n)[1]:.1f}" for n in CONTEXTS]
        ours.close()
        lines += ["", "decode, tokens/s by context, Q4_K_M, 1 thread: " + ", ".join(curve)]
    return lines


def _row(name: str, path: Path, threads: int) -> str:
    sides = [_Side(which, path, threads) for which in ("ours", "theirs")]
    found: list[list[tuple[float, float]]] = [[], []]
    for _ in range(TURNS):
        for side, samples in zip(sides, found, strict=True):
            samples.append(side.speeds(PROMPT))
    for side in sides:
        side.close()
    combine = statistics.median if threads == 1 else max
    line = f"{name:20}"
    for part in (0, 1):
        a, b = (combine([sample[part] for sample in samples]) for samples in found)
        line += f" {a:9.1f} {b:9.1f} {a / b:6.2f}"
    return line


class _Side:
    """A process that has the model loaded."""

    def __init__(self, which: str, path: Path, threads: int) -> None:
        environment = {**os.environ, "TLC_THREADS": str(threads)}
        environment["PYTHONPATH"] = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.talk", which, str(path), str(threads)],
            cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._part = 0 if threads == 1 else 1
        self.speeds(PROMPT)  # compiles, and reads the file

    def speeds(self, prompt: int) -> tuple[float, float]:
        """Tokens a second of a prompt of so many, and of an answer behind it."""
        first, whole = self._ask(prompt, 1), self._ask(prompt, ANSWER + 1)
        return prompt / first, ANSWER / (whole - first)

    def _ask(self, prompt: int, steps: int) -> float:
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


def _theirs(path: Path, threads: int) -> Answer:
    from tests.models.llama_cpp_reference import LlamaCpp

    model = LlamaCpp(path, threads=threads, exact=False)

    def answer(prompt: int, steps: int) -> object:
        row = model.last_logits(list(range(1000, 1000 + prompt)))
        for at in range(steps - 1):
            row = model.last_logits([int(row.argmax())], prompt + at)
        return row

    return answer


def main() -> None:
    """Answer requests of standard input with CPU and wall seconds."""
    which, path, threads = sys.argv[1:]
    answer = {"ours": _ours, "theirs": _theirs}[which](Path(path), int(threads))
    for line in sys.stdin:
        prompt, steps = json.loads(line)
        cpu, wall = time.process_time(), time.perf_counter()
        answer(prompt, steps)
        print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]), flush=True)


if __name__ == "__main__":
    main()
