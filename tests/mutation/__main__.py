"""`make mutants`: breaks the apple kernels in thousands of small ways, and counts what is noticed.

python -m tests.mutation [SUBJECT ...] [--processes N] [--list]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence

from tests.mutation.equivalent import reasons
from tests.mutation.judging import VERDICTS, judge
from tests.mutation.mutator import KINDS, Mutant
from tests.mutation.subjects import Subject, subjects

LEAST = 0.98  # of the mutants that differ in what they do
CAUGHT = ("lint", "emulator", "numerics", "values", "crash")


def main() -> int:
    """The exit code: 0 when enough is caught, and the table of equivalents is what there is."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("subject", nargs="*", help="beginnings of names; all when left out")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="show every mutant and its verdict")
    options = parser.parse_args()
    chosen = list(subjects(tuple(options.subject) or ("",)))
    jobs = work(chosen)
    known = reasons()
    began = time.monotonic()
    rows = {subject.name: Counter[str]() for subject in chosen}
    kinds = {kind: Counter[str]() for kind in KINDS}
    open_: list[str] = []
    met: set[tuple[str, str]] = set()
    for subject, mutant, verdict in judge(jobs, options.processes):
        name = (subject.name, mutant.key)
        outcome = verdict.kind
        if outcome == "survives" and name in known:
            outcome = "equivalent"
            met.add(name)
        rows[subject.name][outcome] += 1
        kinds[mutant.kind][outcome] += 1
        if outcome == "survives":
            open_.append(f"{subject.name} | {mutant.key}")
        if options.list:
            print(f"{subject.name}:{mutant.line} | {mutant.key} | {outcome} {verdict.why}")
    _table("kernel", rows)
    _table("what is gone", kinds)
    print(f"\n{len(open_)} survive and are in no table:", *sorted(open_), sep="\n")
    stale = {name for name in known if name[0] in rows} - met
    if stale:
        print("\nin tests/mutation/equivalent.txt, and noticed now or no mutant any more:")
        print(*sorted(f"{subject} | {key}" for subject, key in stale), sep="\n")
    total = sum(rows.values(), Counter[str]())
    caught = sum(total[kind] for kind in CAUGHT)
    effective = caught + total["survives"]
    share = caught / max(effective, 1)
    print(
        f"\n{total.total()} mutants of {len(rows)} kernels, {total.total() - effective} of them"
        f" equivalent; {caught} of the other {effective} are caught: {share:.2%}"
        f" ({time.monotonic() - began:.0f} s)"
    )
    return 0 if share >= LEAST and not stale else 1


def work(chosen: Sequence[Subject]) -> list[tuple[Subject, list[Mutant]]]:
    """The mutants of every subject: of lines that kernels of a family share, those of the first."""
    seen: dict[tuple[str, str], str] = {}
    jobs = []
    for subject in chosen:
        family = subject.name.partition(" ")[0]
        found = subject.mutants()
        first = [m for m in found if seen.setdefault((family, m.key), subject.name) == subject.name]
        jobs.append((subject, first))
    return jobs


def _table(title: str, rows: dict[str, Counter[str]]) -> None:
    columns = [*VERDICTS, "equivalent"]
    columns.insert(-2, columns.pop(columns.index("survives")))
    shown = [c for c in columns if any(row[c] for row in rows.values())]
    print(f"\n{title:20}" + "".join(f"{c:>12}" for c in shown))
    for name, row in [*rows.items(), ("all", sum(rows.values(), Counter[str]()))]:
        print(f"{name:20}" + "".join(f"{row[c] or '':>12}" for c in shown))


if __name__ == "__main__":
    # mutants are compiled once: nothing of them is to stay in the user's cache
    with tempfile.TemporaryDirectory(prefix="tlc-mutants-") as folder:
        os.environ["TLC_CACHE_DIR"] = folder
        sys.exit(main())
