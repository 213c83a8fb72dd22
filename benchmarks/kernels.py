"""Kernels of the cpu profile beside numpy's float32, interleaved, in this process's CPU time.

One thread each: `TLC_THREADS` and OpenBLAS are held to one core, so that CPU time is comparable.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

TURNS = 9

PRODUCT = "fn f(x: float16[N, K], w: float16[K, M]) -> float16[N, M] { x @ w }"
SHAPES = ((1, 784, 1024), (64, 784, 1024), (512, 512, 512), (1, 4096, 4096))


def table() -> list[str]:
    """Median milliseconds of tlc and numpy for each case, and their ratio."""
    os.environ.update(TLC_THREADS="1", OPENBLAS_NUM_THREADS="1")
    import numpy as np

    import tlc

    rng = np.random.default_rng(0)
    model = tlc.compile("product.tl", text=PRODUCT, device="cpu")
    lines = [f"{'x @ w':20} {'tlc f16 ms':>11} {'numpy f32 ms':>13} {'numpy/tlc':>10}"]
    for n, k, m in SHAPES:
        x, w = (rng.standard_normal(s).astype(np.float16) for s in ((n, k), (k, m)))
        wide = (x.astype(np.float32), w.astype(np.float32))
        ours, theirs = interleaved(lambda x=x, w=w: model.f(x, w), lambda a=wide: a[0] @ a[1])
        name = f"[{n}, {k}] @ [{k}, {m}]"
        lines.append(f"{name:20} {ours * 1e3:11.3f} {theirs * 1e3:13.3f} {theirs / ours:10.2f}")
    return lines


def interleaved(*functions: Callable[[], Any]) -> list[float]:
    """The median CPU seconds of one call of each function, measured in turns."""
    repeats = []
    for function in functions:
        function()
        start = time.process_time()
        function()
        repeats.append(max(1, int(0.02 / max(time.process_time() - start, 1e-6))))
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(TURNS):
        for at, function in enumerate(functions):
            start = time.process_time()
            for _ in range(repeats[at]):
                function()
            times[at].append((time.process_time() - start) / repeats[at])
    return [statistics.median(t) for t in times]
