"""Measurements as commands, see `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks import against, talk

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
        for line in importlib.import_module(f"benchmarks.{options.what}").table():
            print(line, flush=True)
        return 0
    peers, counts = options.peers.split(","), [int(n) for n in options.threads.split(",")]
    rows, told = against.measure(against.select(options.only), peers, counts)
    before = json.loads(options.compare.read_text()) if options.compare else {"cases": {}}
    fell = [row for row in rows if _fallen(row, before)]
    if fell:  # once more: what else the machine did may have been to blame
        cases = list({row.case.key: row.case for row in fell}.values())
        again = {row.key: row for row in against.measure(cases, peers, counts)[0]}
        rows = [again[row.key] if row in fell else row for row in rows]
    print("\n".join(against.report(rows, told, peers)))
    if not options.only and not options.compare:
        print()
        for line in talk.speeds(tuple(counts)):
            print(line, flush=True)
    if options.json:
        options.json.write_text(json.dumps(against.as_json(rows, told), indent=1) + "\n")
    if not options.compare:
        return 0
    fallen = [text for row in rows if (text := _fallen(row, before))]
    print(f"\nagainst {options.compare.name} of {before['processor']}: ", end="")
    print(f"{len(fallen)} of {len(rows)} fell", *fallen, sep="\n")
    return 1 if fallen else 0


def _fallen(row: against.Row, before: dict[str, Any]) -> str:
    """What a case's ratio to its best peer was and is, where it has fallen; else nothing."""
    old = before["cases"].get(row.key, {}).get("least")
    if old is None or row.least is None or row.least >= ALLOWED * old:
        return ""
    return f"{row.key}: {old:.2f} before, {row.least:.2f} now"


if __name__ == "__main__":
    sys.exit(main())
