"""`tlc build --selftest`: runs a program on the checked emulator, and keeps a launch per kernel."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tlc.codegen.metallib import member_digests
from tlc.driver import Built, manifest_member
from tlc.emulate import ODD, sampled
from tlc.runtime.closeness import EXACT, slack
from tlc.runtime.devices.select import open_device
from tlc.runtime.errors import RunError
from tlc.runtime.loader import load
from tlc.runtime.program import Program
from tlc.runtime.recorded import LAUNCHES, MEMORY
from tlc.runtime.steps import Host
from tlc.runtime.watched import OneByOne, Seen, WatchedProgram

SIZES = (ODD, (70, 33, 40, 17))  # of arguments: few rows, and many
IDLE = 1000  # launches without a new kernel, after which an entry has shown enough


class _Enough(Exception):
    """The entry shows no new kernels."""


class _Quiet(Host):
    """Prints and saves nothing."""

    __slots__ = ()

    def step(self, step: list[Any], bound: Any, sizes: dict[str, int]) -> None:
        if step[0] not in ("print", "save", "save_model"):
            super().step(step, bound, sizes)


def with_selftest(built: Built, folders: list[str]) -> tuple[Built, list[str]]:
    """The artifact with its self-test, and the kernels that no run has reached.

    Raises RunError E0702 where there is no emulator, and E0704 for what a kernel does wrong.
    """
    device: Any = OneByOne(open_device("emulator"))
    program = load(built, device, folders, WatchedProgram)
    record = _Record(program)
    device.see = record.see
    for entry in program.entries.values():
        for sizes in SIZES if entry.params else SIZES[:1]:
            args = sampled(entry, sizes)
            if args is None:
                continue
            record.idle = 0
            try:
                program.run(entry, args, _Quiet(lambda text: None))
            except _Enough:
                pass
            except RunError as problem:
                # arguments at random may be wrong ones, and there is no user to answer
                if problem.code not in ("E0504", "E0505", "E0507"):
                    raise
    members = {
        LAUNCHES: json.dumps(record.launches, separators=(",", ":"), sort_keys=True).encode(),
        MEMORY: bytes(record.memory),
    }
    digests = {**built.manifest["members"], **member_digests(members)}
    manifest = {**built.manifest, "members": digests}
    members = {**built.members, "tlc.json": manifest_member(manifest), **members}
    kernels = [kernel["name"] for kernel in manifest["profiles"]["apple"]["kernels"]]
    missing = [name for name in kernels if name not in record.known]
    return replace(built, manifest=manifest, members=members), missing


class _Record:
    """The first launch of every kernel; equal bytes are kept once."""

    def __init__(self, program: Program) -> None:
        self.launches: list[dict[str, Any]] = []
        self.memory = bytearray()
        self.known: set[str] = set()
        self.idle = 0
        self._program = program
        self._places: dict[bytes, list[int]] = {}

    def see(self, seen: Seen) -> None:
        """Keep a launch of a new kernel. Raises _Enough after many of known ones."""
        self.idle += 1
        if self.idle > IDLE:
            raise _Enough
        if seen.kernel in self.known:
            return
        self.idle = 0
        self.known.add(seen.kernel)
        limits = slack(self._program, seen)
        self.launches.append(
            {
                "entry": seen.entry,
                "step": seen.step,
                "kernel": seen.kernel,
                "sizes": seen.sizes,
                "before": [b if isinstance(b, str) else self._place(b) for b in seen.before],
                "after": [
                    [
                        at,
                        seen.types.get(at, ""),
                        *self._place(data),
                        *_finite(limits.get(at, EXACT)),
                    ]
                    for at, data in seen.after.items()
                ],
            }
        )

    def _place(self, data: bytes) -> list[int]:
        if data not in self._places:
            self._places[data] = [len(self.memory), len(data)]
            self.memory += data
        return self._places[data]


def _finite(limit: tuple[float, float]) -> list[float | None]:
    return [None if bound == float("inf") else bound for bound in limit]
