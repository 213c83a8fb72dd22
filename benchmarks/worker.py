"""One peer in a process of its own: `python -m benchmarks.worker PEER FOLDER`.

Requests and answers are lines of JSON. `{"prepare": KEY}` makes a case ready and answers with a
summary of its result, or with why the peer has no such case; `{"sample": N}` answers with the CPU
and wall seconds of one of N runs.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import cases

SAMPLE = 0.015  # CPU seconds of a sample, at least, or one run


def main(peer: str, folder: Path) -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    known = {case.key: case for case in cases()}
    try:
        module = importlib.import_module(f"benchmarks.peers.{peer}")
        hello: dict[str, Any] = {"version": module.version()}
    except (ImportError, OSError) as problem:
        hello = {"missing": str(problem).splitlines()[0]}
    print(json.dumps(hello), file=answers)
    run: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            run = None  # what the last case held is freed
            try:
                run = module.prepare(known[request["prepare"]], folder)
                answer = {"none": True} if run is None else _first(*run)
            except Exception as problem:  # a peer may fail in any way: it is said in the report
                answer = {"failed": f"{type(problem).__name__}: {str(problem).splitlines()[:1]}"}
        else:
            answer = _sample(run[0], request["sample"])
        print(json.dumps(answer), file=answers)


def _first(run: Any, result: Any) -> dict[str, Any]:
    """Runs it warm; how often it fits a sample, and what the result is like.

    The likeness is the result's norm and its products with vectors of random signs: two results
    differ about as much as these do.
    """
    run()
    values = np.asarray(result(), np.float64).reshape(-1)
    signs = np.random.default_rng(1).integers(0, 2, (4, values.size), np.int8) * 2.0 - 1.0
    start, count = time.process_time(), 0
    while (spent := time.process_time() - start) < SAMPLE:
        run()
        count += 1
    runs = max(1, round(count * SAMPLE / spent))
    return {
        "runs": runs,
        "norm": float(np.linalg.norm(values)),
        "likeness": (signs @ values).tolist(),
    }


def _sample(run: Any, runs: int) -> dict[str, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(runs):
        run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"cpu": cpu / runs, "wall": wall / runs}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
