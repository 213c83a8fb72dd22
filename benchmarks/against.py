"""Our programs against what users would run instead: one table of ratios, measured in one run.

Every peer is a process of its own, all of them alive at once; for each case they take samples in
turns. A ratio is the peer's median CPU time over ours on one thread, or the least wall time over
ours on two, so above 1 we are faster. A result that is not like ours has no ratio.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.cases import Case, cases

ROOT = Path(__file__).parent.parent
_PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
TURNS, LEAST_TURNS = 9, 3
SECONDS = 4.0  # after which a case takes no more than the least turns: on a busy machine
TOLERANCE = 0.05  # of the result's norm: a peer may round activations to 8 bits

# The module of each peer by its heading; those in brackets are shown and never counted.
PEERS = {
    "numpy": "with_numpy",
    "torch": "with_torch",
    "onnxrt": "with_onnxruntime",
    "ggml": "with_ggml",
    "(stream)": "with_stream",
    "(torch16)": "with_torch_f16",
}


class Row(NamedTuple):
    """One measured case: our seconds, the ratios of peers, and why some that tried have none."""

    case: Case
    threads: int
    ours: float
    ratios: dict[str, float]
    failed: dict[str, str]

    @property
    def key(self) -> str:
        return f"{self.case.key} ({self.threads})"

    @property
    def least(self) -> float | None:
        """The ratio to the best peer that counts."""
        counted = [ratio for name, ratio in self.ratios.items() if not name.startswith("(")]
        return min(counted, default=None)


def peers_python() -> str:
    """The interpreter that `make bench-peers` made; without it our own, which has NumPy."""
    return str(_PEERS_PYTHON) if _PEERS_PYTHON.exists() else sys.executable


class Worker:
    """A peer's process."""

    def __init__(self, module: str, python: str, threads: int, folder: str) -> None:
        hidden = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # would hold BLAS to older kernels
        environment = {n: v for n, v in os.environ.items() if n not in hidden}
        count = str(threads)
        environment |= dict.fromkeys(
            ("TLC_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), count
        )
        # freed memory stays with the process: who allocates results pays no page faults for them
        environment |= {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": "-1"}
        environment |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", module, folder],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request; `{"missing": ...}` once the process has died."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {}
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {}

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def measure(
    chosen: list[Case], peers: list[str], counts: list[int]
) -> tuple[list[Row], dict[str, str]]:
    """The rows of all cases for each number of threads, and what each peer says of itself or why it
    is missing."""
    rows: list[Row] = []
    told: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="tlc-bench-") as folder:
        for threads in counts:
            here = [case for case in chosen if threads == 1 or case.shared]
            if not here or threads > (os.cpu_count() or 1):
                continue
            workers = {"tlc": Worker("ours", sys.executable, threads, folder)}
            for name in peers:
                workers[name] = Worker(PEERS[name], peers_python(), threads, folder)
            for name, worker in workers.items():
                hello = worker.answer()
                told[name] = (
                    hello.get("version") or f"missing: {hello.get('missing', 'it stopped')}"
                )
            able = {n: w for n, w in workers.items() if not told[n].startswith("missing")}
            for at, case in enumerate(here):
                _progress(f"{threads}: {at + 1} of {len(here)}, {case.key}")
                rows.append(_row(case, threads, able))
            for worker in workers.values():
                worker.close()
    _progress("")
    return rows, told


def _row(case: Case, threads: int, workers: dict[str, Worker]) -> Row:
    first, failed = {}, {}
    for name, worker in workers.items():
        answer = worker.ask({"prepare": case.key})
        if "runs" in answer:
            first[name] = answer
        elif "none" not in answer:
            failed[name] = answer.get("failed", "it stopped")
    if "tlc" not in first:
        raise RuntimeError(f"our own program of {case.key} does not run: {failed['tlc']}")
    samples: dict[str, list[float]] = {name: [] for name in first}
    which = "cpu" if threads == 1 else "wall"
    start = time.monotonic()
    for turn in range(TURNS if threads == 1 else 3 * TURNS):
        if turn >= LEAST_TURNS and time.monotonic() - start > SECONDS:
            break
        for name, answer in first.items():
            samples[name].append(workers[name].ask({"sample": answer["runs"]})[which])
    combine = statistics.median if threads == 1 else min
    times = {name: combine(found) for name, found in samples.items()}
    ours = first.pop("tlc")
    differ = [
        name for name, answer in first.items() if name != "(stream)" and _differs(ours, answer)
    ]
    ratios = {name: times[name] / times["tlc"] for name in first if name not in differ}
    failed |= dict.fromkeys(differ, "another result")
    return Row(case, threads, times["tlc"], ratios, failed)


def _differs(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    apart = max(abs(a - b) for a, b in zip(ours["likeness"], theirs["likeness"], strict=True))
    return not apart <= TOLERANCE * ours["norm"]


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def report(rows: list[Row], told: dict[str, str], peers: list[str]) -> list[str]:
    """The table, and before it what was measured where and when."""
    lines = [f"{processor()}, {datetime.date.today()}", *(f"  {n}: {v}" for n, v in told.items())]
    group = None
    for row in rows:
        heading = f"{row.case.group}, {row.threads} thread{'s' * (row.threads > 1)}"
        if heading != group:
            group = heading
            lines += ["", f"{heading:34} {'tlc us':>9} " + " ".join(f"{n:>9}" for n in peers)]
        cells = " ".join(f"{_cell(row, name):>9}" for name in peers)
        lines.append(f"{row.case.name:34} {row.ours * 1e6:9.1f} {cells}")
    lines += [f"{row.key}: {name}: {why}" for row in rows for name, why in row.failed.items()]
    return lines


def _cell(row: Row, name: str) -> str:
    if name in row.failed:
        return "failed"
    return f"{row.ratios[name]:.2f}" if name in row.ratios else "-"


def processor() -> str:
    """The processor's name, and how many of its cores there are."""
    name = "processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {os.cpu_count()} cores"


def as_json(rows: list[Row], told: dict[str, str]) -> dict[str, Any]:
    """Everything measured, by the key of the case and the number of threads."""
    return {
        "processor": processor(),
        "peers": told,
        "cases": {
            row.key: {
                "seconds": row.ours,
                "least": row.least,
                "ratios": row.ratios,
                "failed": row.failed,
            }
            for row in rows
        },
    }


def select(words: list[str]) -> list[Case]:
    """The cases whose key holds one of the words; all without any."""
    return [c for c in cases() if not words or any(word in c.key for word in words)]
