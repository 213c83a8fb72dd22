"""`make mutants`: breaks the apple kernels in thousands of small ways, and counts what is noticed.

python -m tests.mutation [SUBJECT ...] [--all] [--processes N] [--list]

Subjects that are what they were when judged.txt got its row for them are not judged again.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tests.mutation import ledger
from tests.mutation.equivalent import reasons
from tests.mutation.judging import VERDICTS, judge
from tests.mutation.ledger import Counts, Job
from tests.mutation.mutator import KINDS

LEAST = 0.98  # of the mutants that differ in what they do
CAUGHT = ("lint", "emulator", "numerics", "values", "crash", "time")


def main() -> int:
    """The exit code: 0 when enough is caught, and every survivor has a reason that holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("subject", nargs="*", help="beginnings of names; all when left out")
    parser.add_argument("--all", action="store_true", help="judge again what is known")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="show every mutant that is judged")
    options = parser.parse_args()
    began = time.monotonic()
    jobs = ledger.jobs()
    digests = {job[0].name: ledger.digest(*job) for job in jobs}
    chosen = [name for name in digests if name.startswith(tuple(options.subject) or ("",))]
    rows = ledger.read()
    fresh = {n for n in chosen if options.all or n not in rows or rows[n][0] != digests[n]}
    problems = []
    for name, counts, wrong in judged([job for job in jobs if job[0].name in fresh], options):
        problems += wrong
        rows[name] = "open" if wrong else digests[name], counts
        ledger.write(rows, list(digests))
    print(f"judged {len(fresh)} of {len(chosen)} kernels in {time.monotonic() - began:.0f} s")
    for problem in problems:
        print(problem)
    share = report({name: rows[name][1] for name in chosen})
    return 0 if share >= LEAST and not problems else 1


def judged(
    jobs: Sequence[Job], options: argparse.Namespace
) -> Iterator[tuple[str, Counts, list[str]]]:
    """Each subject when all its mutants have their verdicts: how many have which, and what is to be
    looked at: those that survive without a reason, and reasons for what does not survive."""
    left = {subject.name: len(found) for subject, found in jobs}
    counts: dict[str, Counts] = {name: Counter() for name in left}
    wrong: dict[str, list[str]] = {name: [] for name in left}
    unmet = {name: {key for subject, key in reasons() if subject == name} for name in left}
    known = reasons()

    def done(name: str) -> tuple[str, Counts, list[str]]:
        stale = sorted(unmet[name])
        says = "is in equivalent.txt, and is noticed or no mutant any more"
        return name, counts[name], wrong[name] + [f"{name} | {key}\n    {says}" for key in stale]

    yield from (done(name) for name, number in left.items() if not number)
    for subject, mutant, verdict in judge(jobs, options.processes):
        name, outcome = subject.name, verdict.kind
        if outcome == "survives" and (name, mutant.key) in known:
            outcome = "equivalent"
            unmet[name].discard(mutant.key)
        elif outcome == "survives":
            wrong[name].append(f"{name} | {mutant.key}\n    survives and has no reason")
        if options.list:
            print(f"{name}:{mutant.line} | {mutant.key} | {outcome} {verdict.why}", flush=True)
        counts[name][mutant.kind, outcome] += 1
        left[name] -= 1
        if not left[name]:
            yield done(name)


def report(found: Mapping[str, Counts]) -> float:
    """Print tables of subjects and of kinds; the share of the effective mutants that is caught."""
    rows = {name: Counter[str]() for name in found}
    kinds = {kind: Counter[str]() for kind in KINDS}
    for name, counts in found.items():
        for (kind, outcome), number in counts.items():
            rows[name][outcome] += number
            kinds[kind][outcome] += number
    _table("kernel", rows)
    _table("what is gone", kinds)
    total = sum(rows.values(), Counter[str]())
    caught = sum(total[kind] for kind in CAUGHT)
    effective = caught + total["survives"]
    share = caught / max(effective, 1)
    print(
        f"\n{total.total()} mutants of {len(rows)} kernels, {total.total() - effective} of them"
        f" equivalent; {caught} of the other {effective} are caught: {share:.2%}"
    )
    return share


def _table(title: str, rows: Mapping[str, Counter[str]]) -> None:
    columns = [*VERDICTS, "equivalent"]
    columns.insert(-2, columns.pop(columns.index("survives")))
    shown = [c for c in columns if any(row[c] for row in rows.values())]
    print(f"\n{title:26}" + "".join(f"{c:>12}" for c in shown))
    for name, row in [*rows.items(), ("all", sum(rows.values(), Counter[str]()))]:
        print(f"{name:26}" + "".join(f"{row[c] or '':>12}" for c in shown))


if __name__ == "__main__":
    # mutants are compiled once: nothing of them is to stay in the user's cache
    with tempfile.TemporaryDirectory(prefix="tlc-mutants-") as folder:
        os.environ["TLC_CACHE_DIR"] = folder
        sys.exit(main())
