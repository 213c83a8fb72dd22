"""Cold starts beside the peers: CPU time and memory from a process's start to its printed output,
and what builds cost. Kernels are compiled and files read before, as at a second start."""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.against import ROOT, peers_python
from benchmarks.cases import PROGRAMS, weight_file
from benchmarks.process import Sample, measure

RUNS = 5


def table() -> list[str]:
    """Median CPU milliseconds and peak memory of each start, then the builds."""
    os.environ |= {"PYTHONPATH": str(ROOT), "TLC_THREADS": "1"}
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)
    tlc = [sys.executable, "-m", "tlc"]
    python = peers_python()
    commands: dict[str, list[str]] = {"python -c pass": [sys.executable, "-c", "pass"]}
    builds = [f"{'build':28} {'CPU s':>7} {'artifact B':>11} {'launches':>9}"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ("linear", "mlp", "encoder"):
            source = folder / f"{kind}.tl"
            if kind == "linear":
                source.write_text((ROOT / "examples" / "linear.tl").read_text())
            else:
                weight_file(kind, folder)
                text = (PROGRAMS / f"{kind}.tl").read_text()
                source.write_text(text.replace("weights.", f"{kind}."))
            artifact = folder / f"{kind}.metallib"
            build = [*tlc, "build", str(source), "-o", str(artifact)]
            spent = statistics.median(measure(build).cpu for _ in range(RUNS))
            shown = f"{spent:7.2f} {artifact.stat().st_size:11} {_launches(artifact):9}"
            builds.append(f"tlc build {kind + '.tl':18} {shown}")
            commands[f"tlc run {kind}.metallib"] = [*tlc, "run", str(artifact), "--device", "cpu"]
            for peer in ("numpy", "onnxruntime", "torch") if kind != "linear" else ():
                commands[f"{peer} {kind}"] = [
                    *(python, "-m", "benchmarks.peers.start", peer, kind, str(folder))
                ]
            if kind != "linear":
                save = [python, "-m", "benchmarks.peers.start", "save", kind, str(folder)]
                with contextlib.suppress(RuntimeError):  # then ONNX Runtime is missing
                    measure(save)
        return [*_starts(commands), "", *builds]


def _starts(commands: dict[str, list[str]]) -> list[str]:
    """Each command in turns; one that fails is said to be missing."""
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    missing: list[str] = []
    for turn in range(RUNS + 1):
        for name, command in commands.items():
            if name in missing:
                continue
            try:
                found = measure(command)
            except (OSError, RuntimeError):
                missing.append(name)
                continue
            if turn:  # the first turn compiles kernels and reads files
                samples[name].append(found)
    lines = [f"{'to the output':28} {'CPU ms':>8} {'least':>8} {'peak MiB':>9}"]
    for name, taken in samples.items():
        if name in missing:
            lines.append(f"{name:28} missing")
            continue
        times = [s.cpu * 1e3 for s in taken]
        peak = max(s.peak for s in taken) / 2**20
        lines.append(f"{name:28} {statistics.median(times):8.1f} {min(times):8.1f} {peak:9.1f}")
    return lines


def _launches(artifact: Path) -> int:
    """How many kernels a run of the program launches, what is done once among them."""
    from tlc.runtime.artifact import read_artifact

    entry = read_artifact(str(artifact)).manifest["entries"]["main"]
    return sum(step[0] == "launch" for step in (*entry["steps"], *entry["once"]))
