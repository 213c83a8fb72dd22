"""Mutants to verdicts: the lint looks at each, the emulator runs it, its results are compared.

A batch of mutants is one text, in which each has names of its own. It is judged in a process of its
own, so that a mutant which brings the process down gets a verdict too.
"""

from __future__ import annotations

import multiprocessing
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess

from tests.codegen.emulation import launched, ways
from tests.codegen.running import check
from tests.mutation.mutator import Mutant
from tests.mutation.subjects import Subject
from tlc.runtime.errors import RunError
from tlc.runtime.msl import build
from tlc.runtime.msl.lint import lint

CONTROL = -1  # the number of the kernel as it is, which every batch holds, and which has to pass
BATCH = 24  # mutants of a text; clang stops after 50 errors
SECONDS = 1  # that a threadgroup of a mutant may compute
# All launches of a mutant may take TIMES as long as those of the kernel as it is did just before,
# and LEAST seconds more, for what else the machine does. The limit of a threadgroup does not see
# to that: there may be hundreds of them in a launch, and each may stay below it.
TIMES, LEAST = 20, 30

VERDICTS = {
    "lint": "refused by the lint",
    "emulator": "breaks a rule in checked mode",
    "numerics": "gives wrong numbers",
    "values": "uses a value that was never set",
    "crash": "brings the emulator down",
    "time": "does not come to an end",
    "same code": "is compiled to the same instructions",
    "survives": "is not noticed",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One of VERDICTS for a mutant, and the message that says so."""

    kind: str
    why: str = ""


Batch = dict[int, Mutant]
News = Verdict | float | None  # None: it runs now; a number: it ran for so many seconds
Tell = Callable[[int, News], None]


@dataclass(slots=True)
class _Judge:
    """A process: what it has yet to judge, what it runs, until when, and the usual limit."""

    process: ForkProcess
    subject: Subject
    batch: Batch
    current: int | None = None
    until: float = inf
    limit: float = inf
    stopped: bool = False

    def hears(self, at: int, news: News) -> None:
        if news is None:
            self.current, self.until = at, time.monotonic() + self.limit
            return
        self.current, self.until = None, inf
        if isinstance(news, Verdict) and at == CONTROL:
            raise RuntimeError(f"{self.subject.name} itself is found wrong: {news}")
        if isinstance(news, float) and at == CONTROL:
            self.limit = TIMES * news + LEAST

    def stop_late(self) -> None:
        if self.until < time.monotonic():
            self.stopped = True
            self.process.kill()


def judge(
    jobs: Sequence[tuple[Subject, Sequence[Mutant]]], processes: int
) -> Iterator[tuple[Subject, Mutant, Verdict]]:
    """The verdict of every mutant, as they come in."""
    context = multiprocessing.get_context("fork")
    waiting: list[tuple[Subject, Batch]] = []
    for subject, found in jobs:
        starts = range(0, len(found), BATCH)
        waiting += [(subject, dict(enumerate(found[at : at + BATCH]))) for at in starts]
    waiting.reverse()
    running: dict[Connection, _Judge] = {}
    while waiting or running:
        while waiting and len(running) < processes:
            subject, batch = waiting.pop()
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(subject, batch, sender), daemon=True)
            process.start()
            sender.close()
            running[receiver] = _Judge(process, subject, batch)
        for receiver in wait(list(running), timeout=1):
            assert isinstance(receiver, Connection)
            judging = running[receiver]
            subject, batch = judging.subject, judging.batch
            try:
                at, news = receiver.recv()
            except EOFError:
                receiver.close()
                del running[receiver]
                if not batch:
                    continue
                waiting.append((subject, batch))
                if (last := judging.current) is not None and last != CONTROL:
                    yield subject, batch.pop(last), Verdict("time" if judging.stopped else "crash")
                elif not judging.stopped:
                    raise RuntimeError(f"the judge of {subject.name} failed") from None
            else:
                judging.hears(at, news)
                if isinstance(news, Verdict):
                    yield subject, batch.pop(at), news
        for judging in running.values():
            judging.stop_late()


def _work(subject: Subject, batch: Batch, sender: Connection) -> None:
    left = {CONTROL: Mutant("", 0, "", "", subject.text), **batch}

    def tell(at: int, news: News) -> None:
        sender.send((at, news))
        if isinstance(news, Verdict):
            del left[at]

    _lint(subject, left, tell)
    for mode in ("checked", "poison"):
        _emulate(subject, left, mode, tell)
    del left[CONTROL]
    if left:
        original = _instructions(subject, subject.text)
        for at, mutant in list(left.items()):
            same = _instructions(subject, mutant.text) == original
            tell(at, Verdict("same code" if same else "survives"))


def _joined(subject: Subject, batch: Batch) -> tuple[str, dict[int, int]]:
    """One text of all mutants, each with names of its own, and the mutants by line."""
    pieces, lines, owners = [subject.head], subject.head.count("\n") + 1, {}
    for at, mutant in batch.items():
        pieces.append(re.sub(subject.names, rf"\g<0>{_mark(at)}", mutant.text))
        for _ in range(pieces[-1].count("\n")):
            owners[lines] = at
            lines += 1
    return "".join(pieces), owners


def _mark(at: int) -> str:
    return "_control" if at == CONTROL else f"_{at}"


def _lint(subject: Subject, left: Batch, tell: Tell) -> None:
    """What breaks clang's rules hides what breaks others: look again without it."""
    while left:
        text, owners = _joined(subject, left)
        refused = {owners[m.line]: repr(m) for m in reversed(lint(text, own=True))}
        if not refused:
            return
        for at, why in refused.items():
            tell(at, Verdict("lint", why))


def _emulate(subject: Subject, left: Batch, mode: str, tell: Tell) -> None:
    """Run what a compiler takes; a text that it does not take is halved until it is one mutant."""
    groups = [list(left)]
    while groups:
        group = groups.pop()
        if not group:
            continue
        text, _ = _joined(subject, {at: left[at] for at in group})
        try:
            kernels = build.build(text, "mutants.metal", mode, optimise=False)
        except RunError as problem:
            if len(group) == 1:
                tell(group[0], Verdict("emulator", problem.message))
            else:
                half = len(group) // 2
                groups += [group[half:], group[:half]]
            continue
        for at in group:
            tell(at, None)
            began = time.monotonic()
            verdict = _run(subject, kernels, at)
            tell(at, verdict or time.monotonic() - began)


def _run(subject: Subject, kernels: build.Kernels, at: int) -> Verdict | None:
    """What the first case says in which anything is wrong; the rules come before the numbers."""
    kernel = replace(subject.kernel, name=f"{subject.kernel.name}{_mark(at)}")
    for case in subject.cases:
        wrong = ""
        for groups, threads, order in ways(kernel, case):
            got, status, found = launched(
                kernels, kernel, case, groups, threads, order, seconds=SECONDS
            )
            if found:
                kind = "values" if kernels.mode == "poison" else "emulator"
                return Verdict(kind, str(found[0]).splitlines()[0])
            try:
                for part, array in zip(case.parts, got, strict=True):
                    check(part, array)
                assert status == case.status, f"{case.name}: a status of {status}"
            except AssertionError as problem:
                wrong = wrong or " ".join(str(problem).split())[:200]
        if wrong:
            return Verdict("numerics", wrong)
    return None


def _instructions(subject: Subject, text: str) -> str:
    """What clang makes of a text at its best."""
    return build.assembly(subject.head + text, "mutants.metal")
