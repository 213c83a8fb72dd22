"""An entry with its memory, for one set of sizes: what a call of it is."""

from __future__ import annotations

import sys

from tlc.runtime.errors import RunError
from tlc.runtime.format import DTYPE_BYTES, MAX_BYTES, numel, size, symbols
from tlc.runtime.seed import SEED
from tlc.runtime.steps import MOST_FRAMES, Launches, check, prepared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tlc.runtime.devices import Batch, Buffer, Device
    from tlc.runtime.program import Entry
    from tlc.runtime.steps import Function, Host
    from tlc.runtime.weights import Weights


class Steady:
    """The launches of a call, the flags they raise, and where its results are."""

    __slots__ = ("batch", "flags", "results")

    def __init__(
        self,
        batch: Batch,
        flags: list[Buffer],
        results: list[tuple[Buffer, str, tuple[int, ...]]],
    ) -> None:
        self.batch, self.flags, self.results = batch, flags, results


class Bound:
    """An entry with its memory, for one set of sizes."""

    __slots__ = (
        *("_entry", "_fixed", "_flags", "_found", "_steps"),
        *("functions", "inputs", "memory", "moved", "sizes"),
    )

    def __init__(self, entry: Entry, sizes: dict[str, int]) -> None:
        record, device = entry.record, entry.program.device
        for left, right, text, place in record["checks"]:
            check(left, right, text, place, sizes)
        self._entry, self.sizes = entry, sizes
        self.inputs = [
            device.buffer(numel(p["shape"], sizes) * DTYPE_BYTES[p["dtype"]])
            for p in record["params"]
        ]
        self._flags = entry.flags()
        slots = [device.buffer(max(size(f, sizes) for f in s)) for s in record["slots"]]
        self.memory = {"p": self.inputs, "s": slots, "f": self._flags}
        self.moved = 0  # how often a slot has got other memory, because it was too small
        self.functions: dict[str, Function] = {}
        self._steps = prepared(self, record["steps"])
        # results whose place and shape no run decides are found once, while no slot moves
        self._fixed = not symbols([[r["buffer"], r["shape"]] for r in entry.results])
        self._found: tuple[int, list[tuple[Buffer, str, tuple[int, ...]]]] | None = None

    @property
    def device(self) -> Device:
        return self._entry.program.device

    @property
    def weights(self) -> Weights:
        return self._entry.program.weights

    def batch(self, launches: list[list[Any]], sizes: dict[str, int], idle: bool = False) -> Batch:
        """Launch steps made ready for these sizes; those of no threadgroups only with `idle`."""
        made = [self._entry.launch(step, sizes, self.memory) for step in launches]
        return self._entry.program.batch([launch for launch in made if launch.groups or idle])

    def variant(self, step: list[Any], sizes: dict[str, int]) -> Any:
        """Of the variants of a launch step, the first whose guard holds for these sizes."""
        return self._entry.variant(step, sizes)

    def buffer(self, name: str | list[Any], sizes: dict[str, int]) -> Buffer:
        return self._entry.buffer(name, self.memory, sizes)

    def room(self, slot: str, nbytes: int) -> None:
        """Let a slot hold so many bytes; one that is too small is doubled and keeps its content."""
        old, slots, at = self.buffer(slot, {}), self.memory["s"], int(slot[1:])
        if not 0 <= nbytes <= MAX_BYTES:
            raise RunError("E0505", f"a size comes out as {nbytes}")
        if nbytes > old.nbytes:
            slots[at] = self.device.buffer(max(nbytes, 2 * old.nbytes))
            if old.nbytes:
                self.device.write(slots[at], self.device.read(old, old.nbytes))
            self.moved += 1

    def content(self, slot: str) -> bytes:
        """All bytes of a slot."""
        buffer = self.buffer(slot, {})
        return bytes(self.device.read(buffer, buffer.nbytes)) if buffer.nbytes else b""

    def write(self, slot: str, data: bytes) -> None:
        """Put bytes into a slot, which grows where it has to."""
        self.room(slot, len(data))
        if data:
            self.device.write(self.memory["s"][int(slot[1:])], data)

    def run(self, host: Host) -> list[tuple[Buffer, str, tuple[int, ...]]]:
        """All steps in order; inputs are written before. The results: memory, dtype and shape.

        Raises RunError E0505 when a kernel has raised a flag or a check does not hold.
        """
        for flag in self._flags:
            self.device.write(flag, b"\0\0\0\0")
        sizes = {**self.sizes, SEED: host.key}
        if self.functions:
            self._deeply(sizes, host)
        else:
            for step in self._steps:
                step.run(self, sizes, host)
        self.check_flags()
        if self._found is not None and self._found[0] == self.moved:
            return self._found[1]
        found = [
            (self.buffer(r["buffer"], sizes), r["dtype"], tuple(size(f, sizes) for f in r["shape"]))
            for r in self._entry.results
        ]
        if self._fixed:
            self._found = (self.moved, found)
        return found

    def _deeply(self, sizes: dict[str, int], host: Host) -> None:
        """All steps, where functions call themselves: that takes frames of Python, and no more of
        the stack below it, so that many are allowed."""
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, MOST_FRAMES))
        try:
            for step in self._steps:
                step.run(self, sizes, host)
        finally:
            sys.setrecursionlimit(limit)

    def steady(self) -> Steady | None:
        """What a call is when it has run before and is nothing but launches; else None."""
        first = self._steps[0] if len(self._steps) == 1 else None
        batch = first.only() if isinstance(first, Launches) else None
        if batch is None or self._found is None or self._found[0] != self.moved:
            return None
        return Steady(batch, self._flags, self._found[1])

    def check_flags(self) -> None:
        self._entry.check(self._flags)
