"""Calls on two threads while other programs keep every core busy: wall time, beside one thread.

Who waits for every thread at the end of each product waits for a turn of the one that was set
aside; who hands out chunks does the rest of the work himself.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
from typing import NamedTuple

from benchmarks.against import PEERS, Worker, peers_python
from benchmarks.cases import Case, cases

CASES = ("network: MLP", "network: encoder", "GEMM: 1024x1024x1024 f16")
NAMES = ("numpy", "torch", "onnxrt", "ggml")
TURNS = 20


class Figures(NamedTuple):
    """Milliseconds on one thread and on two: the median, and what nine of ten calls stay within."""

    one: float
    two: float
    most_one: float
    most_two: float

    def line(self, name: str) -> str:
        ratios = f"{self.two / self.one:8.2f} {self.most_two / self.most_one:8.2f}"
        return f"  {name:28} {self.one:9.2f} {self.two:10.2f} {ratios}"


def table() -> list[str]:
    """For each case and library: one thread, two, and how many times the first the second is."""
    chosen = [case for case in cases() if case.key.startswith(CASES)]
    command = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    lines = [f"{'every core busy, wall ms':32} 1 thread  2 threads    ratio  9 of 10"]
    workers: dict[tuple[str, int], Worker] = {}
    try:
        _send(busy, signal.SIGSTOP)
        with tempfile.TemporaryDirectory(prefix="tlc-bench-") as folder:
            workers = _workers(folder)
            for case in chosen:
                lines.append(case.key)
                for name, found in _measured(case, workers, busy).items():
                    lines.append(found.line(name))
            for worker in workers.values():
                worker.close()
    finally:
        _send(busy, signal.SIGKILL)
        for process in busy:
            process.wait()
    return lines


def _send(busy: list[subprocess.Popen[bytes]], what: signal.Signals) -> None:
    for process in busy:
        process.send_signal(what)


def _workers(folder: str) -> dict[tuple[str, int], Worker]:
    """The libraries that are there, each on one thread and on two."""
    workers = {}
    for threads in (1, 2):
        workers["tlc", threads] = Worker("ours", sys.executable, threads, folder)
        for name in NAMES:
            workers[name, threads] = Worker(PEERS[name], peers_python(), threads, folder)
    there = {key: "version" in worker.answer() for key, worker in workers.items()}
    return {key: worker for key, worker in workers.items() if there[key]}


def _measured(
    case: Case, workers: dict[tuple[str, int], Worker], busy: list[subprocess.Popen[bytes]]
) -> dict[str, Figures]:
    """What each library that has the case needs; all take samples in turns."""
    able = {k: w for k, w in workers.items() if "runs" in w.ask({"prepare": case.key})}
    walls: dict[tuple[str, int], list[float]] = {key: [] for key in able}
    _send(busy, signal.SIGCONT)
    for _ in range(TURNS):
        for key, worker in able.items():
            walls[key].append(worker.ask({"sample": 1})["wall"] * 1e3)
    _send(busy, signal.SIGSTOP)
    found = {}
    for name, threads in walls:
        if threads == 2 and (name, 1) in walls:
            one, two = (sorted(walls[name, count]) for count in (1, 2))
            middle, nine = statistics.median, TURNS * 9 // 10 - 1
            found[name] = Figures(middle(one), middle(two), one[nine], two[nine])
    return found
