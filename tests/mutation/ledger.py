"""Reads and writes judged.txt: what was found for each subject, and by what texts it was found.

A row holds as long as its digest does: of the subject's mutants, the names of the cases that judge
them, and its part of equivalent.txt. A change of the lint, the emulator or the numbers of a case is
not in it; `make mutants ALL=1` judges everything again.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.mutation.equivalent import reasons
from tests.mutation.mutator import KINDS, Mutant
from tests.mutation.subjects import Subject, subjects

TABLE = Path(__file__).parent / "judged.txt"
HEAD = """\
# What `make mutants` found: of each subject the digest of what was judged, then by what is gone
# from the text (see KINDS) how many mutants came to which end. Written by ledger.py.
"""
Job = tuple[Subject, list[Mutant]]
Counts = Counter[tuple[str, str]]  # by the kind of a mutant, and what became of it


def jobs() -> list[Job]:
    """The mutants of every subject: of lines that kernels of a family share, those of the first."""
    seen: dict[tuple[str, str], str] = {}
    found = []
    for subject in subjects():
        family, name = subject.name.partition(" ")[0], subject.name
        mutants = subject.mutants()
        first = [m for m in mutants if seen.setdefault((family, m.key), name) == name]
        found.append((subject, first))
    return found


def digest(subject: Subject, mutants: Sequence[Mutant]) -> str:
    """What a row of the table is about."""
    parts = [subject.head, *(mutant.text for mutant in mutants)]
    parts += [case.name for case in subject.cases]
    parts += sorted(key for name, key in reasons() if name == subject.name)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def read() -> dict[str, tuple[str, Counts]]:
    """The rows by the names of their subjects: a digest, and counts."""
    rows: dict[str, tuple[str, Counts]] = {}
    if not TABLE.exists():
        return rows
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        name, known, *parts = (piece.strip() for piece in line.split("|"))
        counts: Counts = Counter()
        for part in parts:
            kind, _, found = part.partition(": ")
            for piece in found.split(", "):
                number, _, outcome = piece.partition(" ")
                counts[kind, outcome] = int(number)
        rows[name] = known, counts
    return rows


def write(rows: Mapping[str, tuple[str, Counts]], order: Sequence[str]) -> None:
    """Replace the table by these rows, as far as their subjects are in `order`, in that order."""
    lines = [HEAD]
    for name in order:
        if name in rows:
            known, counts = rows[name]
            kinds = (f"{kind}: {_shown(counts, kind)}" for kind in KINDS)
            parts = [name, known, *(part for part in kinds if not part.endswith(": "))]
            lines.append(" | ".join(parts) + "\n")
    fresh = TABLE.with_suffix(".new")
    fresh.write_text("".join(lines), encoding="utf-8")
    os.replace(fresh, TABLE)


def _shown(counts: Counts, kind: str) -> str:
    found = sorted((outcome, n) for (of, outcome), n in counts.items() if of == kind and n)
    return ", ".join(f"{n} {outcome}" for outcome, n in found)
