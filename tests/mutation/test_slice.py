"""A few kernels broken in every way there is: each is noticed, or known to do the same.

`make mutants` does so with all kernels of the table, and keeps in judged.txt what it found.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation import judging, ledger
from tests.mutation.__main__ import LEAST, report
from tests.mutation.equivalent import reasons
from tests.mutation.judging import judge
from tests.mutation.mutator import Mutant
from tests.mutation.subjects import subjects

SLICE = ("scan", "call argmax")


@pytest.mark.parametrize("name", SLICE)
def test_what_breaks_a_kernel_is_noticed(name: str) -> None:
    (subject,) = subjects((name,))
    known = reasons()
    verdicts = [(m, v) for _, m, v in judge([(subject, subject.mutants())], 1)]
    assert len(verdicts) == len(subject.mutants())
    kinds = {verdict.kind for _, verdict in verdicts}
    assert {"lint", "emulator", "numerics"} <= kinds
    assert "crash" not in kinds
    unnoticed = [m.key for m, v in verdicts if v.kind == "survives"]
    assert [key for key in unnoticed if (name, key) not in known] == []


def test_a_mutant_that_goes_on_and_on_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "SECONDS", 60)  # the emulator would stop it too, after these
    monkeypatch.setattr(judging, "TIMES", 1)
    monkeypatch.setattr(judging, "LEAST", 1)
    (subject,) = subjects(("call argmax",))
    start = subject.text.index("{", subject.text.index("kernel void")) + 1
    text = subject.text[:start] + " while (true) { simdgroup_barrier(mem_flags::mem_none); }"
    endless = Mutant("bound", 1, "", "endless", text + subject.text[start:])
    same = Mutant("bound", 1, "", "same", subject.text.replace("{", "{ ", 1))
    verdicts = {m.after: v.kind for _, m, v in judge([(subject, [endless, same])], 1)}
    assert verdicts == {"endless": "time", "same": "same code"}


def test_enough_was_noticed_of_the_kernels_as_they_are_now() -> None:
    rows = ledger.read()
    now = {job[0].name: ledger.digest(*job) for job in ledger.jobs()}
    for (subject, _), reason in reasons().items():
        assert subject in now
        assert reason
    assert report({name: counts for name, (_, counts) in rows.items()}) >= LEAST
    changed = [name for name in now if name not in rows or rows[name][0] != now[name]]
    if changed:
        pytest.skip(f"`make mutants` has to judge again what changed: {', '.join(changed)}")


def test_the_table_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ledger.read()
    monkeypatch.setattr(ledger, "TABLE", tmp_path / "judged.txt")
    assert not ledger.read()
    ledger.write(rows, list(rows))
    assert ledger.read() == rows
