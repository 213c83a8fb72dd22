"""Measurements as commands, see `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from benchmarks import against

BASELINE = Path(__file__).parent / "baseline.json"
ALLOWED = 0.9  # of a ratio of the baseline


def main() -> int:
    """Print what is asked for; the exit code, 1 where ratios have fallen."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "what",
        nargs="?",
        default="against",
        choices=[
            "against",
            "starts",
            "process",
            "kernels",
            "scale",
            "curves",
            "load",
            "models",
            "talk",
        ],
    )
    parser.add_argument("--only", action="append", default=[], help="cases whose name holds this")
    parser.add_argument("--peers", default=",".join(against.PEERS), help="names with commas")
    parser.add_argument("--threads", default="1,2", help="numbers with commas: 1, 2 or both")
    parser.add_argument("--json", type=Path, help="write the figures to a file as well")
    parser.add_argument("--compare", type=Path, help="fail where a ratio falls by 10 %%")
    options = parser.parse_args()
    if options.what != "against":
        import importlib

        print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
        print("\n".join(importlib.import_module(f"benchmarks.{options.what}").table()))
        return 0
    peers, counts = options.peers.split(","), [int(n) for n in options.threads.split(",")]
    rows, told = against.measure(against.select(options.only), peers, counts)
    print("\n".join(against.report(rows, told, peers)))
    found = against.as_json(rows, told)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return _compared(options.compare, rows) if options.compare else 0


def _compared(path: Path, rows: list[against.Row]) -> int:
    """Compare the ratio to the best peer of each case with that of the baseline."""
    before = json.loads(path.read_text())
    fallen = []
    for row in rows:
        old = before["cases"].get(row.key)
        if old is None or row.least is None or old["least"] is None:
            continue
        if row.least < ALLOWED * old["least"]:
            fallen.append(f"{row.key}: {old['least']:.2f} before, {row.least:.2f} now")
    print(f"\nagainst {path.name} of {before['processor']}: {len(fallen)} of {len(rows)} fell")
    print("\n".join(fallen))
    return 1 if fallen else 0


if __name__ == "__main__":
    sys.exit(main())
