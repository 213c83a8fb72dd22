"""How costs grow: with rows of a batch, layers of a network, bytes of a weight file."""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.process import ROOT, measure

ROWS = (1, 4, 16, 64, 256, 1024, 4096, 8192)
LAYERS = (1, 2, 4, 8, 16, 32, 64)
MEGABYTES = (1, 16, 128, 512, 2048)
WIDTH = 512

LAYER = """\
model = load_model("layers.safetensors")
fn layer(x: float16[N, 512], w, b) -> float16[N, 512] { x + gelu(linear(rms_norm(x, b), w, b)) }
fn f(x: float16[N, 512]) -> float16[N, 512] {
    for i in 0..COUNT { x = layer(x, model.w[i], model.b[i]) }
    x
}
"""
LOOKUP = 'model = load_model("big.safetensors")\nprint(sum(model.w[3, :]))\n'


def table() -> list[str]:
    """The three curves; CPU time on one thread."""
    os.environ |= {"TLC_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory(prefix="tlc-bench-") as name:
        folder = Path(name)
        return [*_layers(folder), "", *_rows(folder), "", *_files(folder)]


def _model(folder: Path, count: int) -> tuple[Any, float, int]:
    """A network of so many layers, the CPU seconds of its build, and the bytes of its artifact."""
    import tlc
    from tlc import driver

    source, artifact = folder / "layers.tl", folder / "layers.metallib"
    source.write_text(LAYER.replace("COUNT", str(count)))
    start = time.process_time()
    built = driver.build(str(source))
    driver.write(built, str(artifact))
    spent = time.process_time() - start
    return tlc.load(artifact, device="cpu"), spent, artifact.stat().st_size


def _median(run: Any) -> float:
    """CPU seconds of a call."""
    for _ in range(3):
        run()
    found = []
    for _ in range(5):
        start, calls = time.process_time(), 0
        while (spent := time.process_time() - start) < 0.02:
            run()
            calls += 1
        found.append(spent / calls)
    return statistics.median(found)


def _layers(folder: Path) -> list[str]:
    from safetensors.numpy import save_file

    rng = np.random.default_rng(1)
    weights = rng.standard_normal((max(LAYERS), WIDTH, WIDTH), np.float32) / np.float32(WIDTH)
    ones = np.ones((max(LAYERS), WIDTH), np.float16)
    save_file({"w": weights.astype(np.float16), "b": ones}, folder / "layers.safetensors")
    lines = ["layers    build s  artifact B  call us, 16 rows  us a layer"]
    x = rng.standard_normal((16, WIDTH), np.float32).astype(np.float16)
    for count in LAYERS:
        model, spent, nbytes = _model(folder, count)
        call = _median(lambda model=model: model.f(x)) * 1e6
        lines.append(f"{count:6} {spent:10.2f} {nbytes:11} {call:17.1f} {call / count:11.1f}")
    return lines


def _rows(folder: Path) -> list[str]:
    model, _, _ = _model(folder, 4)
    lines = ["rows      call us  us a row"]
    for count in ROWS:
        x = np.ones((count, WIDTH), np.float16)
        call = _median(lambda x=x: model.f(x)) * 1e6
        lines.append(f"{count:4} {call:12.1f} {call / count:9.2f}")
    return lines


def _files(folder: Path) -> list[str]:
    """Starts of a program that reads one row of a matrix; the file is mapped, and is all zeros."""
    lines = ["file MB   start CPU ms  build CPU s  artifact B"]
    tlc = [sys.executable, "-m", "tlc"]
    source, artifact, weights = (
        folder / name for name in ("big.tl", "big.metallib", "big.safetensors")
    )
    source.write_text(LOOKUP)
    for size in MEGABYTES:
        rows = size * (1 << 20) // 2 // 4096
        entry = {"dtype": "F16", "shape": [rows, 4096], "data_offsets": [0, rows * 8192]}
        header = json.dumps({"w": entry}).encode()
        header += b" " * (-len(header) % 8)
        with weights.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + rows * 8192)
        built = measure([*tlc, "build", str(source), "-o", str(artifact)]).cpu
        command = [*tlc, "run", str(artifact), "--device", "cpu"]
        starts = [measure(command).cpu * 1e3 for _ in range(6)]
        start = statistics.median(starts[1:])
        lines.append(f"{size:7} {start:14.1f} {built:12.2f} {artifact.stat().st_size:11}")
    return lines
