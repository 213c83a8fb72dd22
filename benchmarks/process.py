"""Process figures: the CPU time and memory of whole commands, caches warm, runs interleaved."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
RUNS = 15


class Sample(NamedTuple):
    """CPU seconds (user and system), peak resident bytes and wall seconds of one run."""

    cpu: float
    peak: int
    wall: float


# A process begins with the peak of the one it was forked from: a small one does that.
_LAUNCHER = """
import os, sys, time
start = time.perf_counter()
pid = os.fork()
if pid == 0:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.execv(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - start
print(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, wall)
"""


def measure(command: list[str]) -> Sample:
    """Run a command without output. Raises RuntimeError when it fails."""
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # modules are compiled once, as at users'
    launcher = [sys.executable, "-S", "-E", "-c", _LAUNCHER, *command]
    done = subprocess.run(launcher, capture_output=True, env=environment, text=True, check=True)
    status, cpu, peak, wall = done.stdout.split()
    if status != "0":
        raise RuntimeError(f"{' '.join(command)} failed")
    return Sample(float(cpu), int(peak) * 1024, float(wall))


def table() -> list[str]:
    """The median of each command, in milliseconds of CPU time, and its peak memory."""
    tlc = [sys.executable, "-m", "tlc"]
    source = str(ROOT / "examples" / "linear.tl")
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        artifact = str(Path(folder) / "linear.metallib")
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
            "tlc --help": [*tlc, "--help"],
            "tlc build linear.tl": [*tlc, "build", source, "-o", artifact],
            "tlc run linear.metallib": [*tlc, "run", artifact, "--device", "cpu"],
        }
        samples: dict[str, list[Sample]] = {name: [] for name in commands}
        for turn in range(RUNS + 1):
            for name, command in commands.items():
                found = measure(command)
                if turn:  # the first turn fills the caches
                    samples[name].append(found)
    lines = [f"{'command':28} {'CPU ms, median':>15} {'least':>8} {'peak MiB':>9}"]
    for name, found_samples in samples.items():
        times = [s.cpu * 1e3 for s in found_samples]
        peak = max(s.peak for s in found_samples) / 2**20
        lines.append(f"{name:28} {statistics.median(times):15.1f} {min(times):8.1f} {peak:9.1f}")
    return lines
