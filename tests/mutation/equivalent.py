"""Reads equivalent.txt: mutants that nothing can tell from the kernel, with the reason why."""

from __future__ import annotations

from pathlib import Path

TABLE = Path(__file__).parent / "equivalent.txt"


def reasons() -> dict[tuple[str, str], str]:
    """Subject and key of every mutant of the table, and the comment above it."""
    found: dict[tuple[str, str], str] = {}
    reason: list[str] = []
    listing = False
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            reason = [] if listing else reason
            listing = False
            reason.append(line[2:])
        elif line:
            subject, _, key = line.partition(" | ")
            found[subject, key] = " ".join(reason)
            listing = True
    return found
