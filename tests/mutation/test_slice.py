"""A few kernels broken in every way there is: each is noticed, or known to do the same.

`make mutants` does so with all kernels of the table.
"""

from __future__ import annotations

import pytest

from tests.mutation.equivalent import reasons
from tests.mutation.judging import judge
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


def test_every_equivalent_mutant_has_a_reason() -> None:
    names = {subject.name for subject in subjects()}
    for (subject, _), reason in reasons().items():
        assert subject in names
        assert reason
