"""Runs a program one launch at a time, tells what memory each found and left, and runs one again.

A launch that was seen on one device can be repeated on another, from the same memory: what differs
then is that kernel's doing, and of none before it.
"""

from __future__ import annotations

import re

from tlc.runtime.devices import Launch
from tlc.runtime.errors import RunError
from tlc.runtime.format import evaluate, launch_steps
from tlc.runtime.program import Entry, Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tlc.runtime.devices import Buffer, Device

# Metal's name of an element -> ours; bytes of packed weights have none
ELEMENTS = {
    "half": "f16", "float": "f32", "int": "i32", "uint": "i32", "atomic_uint": "i32",
    "bool": "bool",
}  # fmt: skip
_WHOLE = re.compile(r"kernel void (\w+)\((.*?)\)\n?\{", re.S)
_POINTER = re.compile(r"device (const )?(\w+?)[248]?\s*\* *\w+ \[\[buffer\((\d+)\)\]\]")


class Seen:
    """A launch: `step` counts the launches of its entry's record, in the order of the text.

    before  of each buffer its bytes, or the name of the weight or constant that it is.
    after   the bytes of those that the kernel may write, by their place.
    types   of the elements of all, by their place, where they have one.
    """

    __slots__ = ("after", "before", "entry", "kernel", "sizes", "step", "types")

    def __init__(
        self,
        entry: str,
        step: int,
        kernel: str,
        sizes: dict[str, int],
        before: list[bytes | str],
        after: dict[int, bytes],
        types: dict[int, str],
    ) -> None:
        self.entry, self.step, self.kernel, self.sizes = entry, step, kernel, sizes
        self.before, self.after, self.types = before, after, types


def pointers(text: str) -> dict[str, dict[int, tuple[str, bool]]]:
    """By kernel and place of a buffer: the type of its elements, and whether it may be written."""
    return {
        name: {
            int(at): (ELEMENTS.get(kind, ""), not const)
            for const, kind, at in _POINTER.findall(parameters)
        }
        for name, parameters in _WHOLE.findall(text)
    }


def steps_of(entry: Entry) -> list[list[Any]]:
    """All launches of an entry: those done once, then the others."""
    return [*launch_steps(entry.record["once"]), *launch_steps(entry.record["steps"])]


class _Made(Launch):
    """A launch that knows what it was made of."""

    __slots__ = ("entry", "sizes", "step")

    entry: Entry
    step: list[Any]
    sizes: dict[str, int]


class _WatchedEntry(Entry):
    __slots__ = ()

    def launch(
        self, step: list[Any], sizes: dict[str, int], memory: dict[str, list[Buffer]]
    ) -> Launch:
        plain = super().launch(step, sizes, memory)
        made = _Made(plain.kernel, plain.buffers, plain.groups, plain.dims)
        made.entry, made.step, made.sizes = self, step, dict(sizes)
        return made


class OneByOne:
    """A device that runs launches one by one; `see` is told of each after it ran."""

    def __init__(self, device: Device) -> None:
        self._device: Any = device
        self.name, self.profile = device.name, device.profile
        self.see: Callable[[Seen], object] = lambda seen: None
        self._pointers: dict[str, dict[int, tuple[str, bool]]] = {}

    def __getattr__(self, name: str) -> Any:
        if name == "resize":  # every launch is prepared anew, with its sizes
            raise AttributeError(name)
        return getattr(self._device, name)

    def library(self, text: str, kernels: Any) -> Any:
        self._pointers = pointers(text)
        return self._device.library(text, kernels)

    def batch(self, library: Any, launches: list[Any]) -> Any:
        return [(launch, self._device.batch(library, [launch])) for launch in launches]

    def run(self, batch: Any) -> None:
        for launch, alone in batch:
            if isinstance(launch, _Made):
                self._run(launch, alone)
            else:
                self._device.run(alone)

    def _run(self, launch: _Made, alone: Any) -> None:
        entry, name = launch.entry, launch.kernel.name
        names = [_plain(memory, launch.sizes) for memory in launch.step[2]]
        before = [
            memory if memory[0] in "wc" else self._bytes(buffer)
            for memory, buffer in zip(names, launch.buffers, strict=True)
        ]
        self._device.run(alone)
        known = self._pointers[name]
        after = {
            at: self._bytes(buffer)
            for at, buffer in enumerate(launch.buffers)
            if names[at][0] not in "wc" and known[at][1]
        }
        types = {at: kind for at, (kind, _) in known.items() if kind}
        step = next(n for n, other in enumerate(steps_of(entry)) if other is launch.step)
        self.see(Seen(entry.name, step, name, launch.sizes, before, after, types))

    def _bytes(self, buffer: Buffer) -> bytes:
        return bytes(self._device.read(buffer, buffer.nbytes)) if buffer.nbytes else b""


class WatchedProgram(Program):
    """A program whose device is a `OneByOne`."""

    __slots__ = ()

    def made(self, name: str, record: dict[str, Any], constants: memoryview) -> Entry:
        return _WatchedEntry(self, name, record, constants)


def again(program: Program, seen: Seen) -> dict[int, bytes]:
    """What the launch leaves on another device, from the memory that it found.

    Raises RunError E0501 for a launch that the program does not have.
    """
    entry, device = program.entry(seen.entry), program.device
    steps = steps_of(entry)
    if not 0 <= seen.step < len(steps) or len(steps[seen.step][2]) != len(seen.before):
        raise RunError("E0501", f"the artifact is damaged: {seen.entry} has no such launch")
    buffers: list[Buffer] = []
    for found in seen.before:
        if isinstance(found, str):
            buffers.append(entry.buffer(found, {}, {}))
            continue
        buffers.append(device.buffer(len(found)))
        if found:
            device.write(buffers[-1], found)
    launch = entry.launch_on(steps[seen.step], seen.sizes, buffers)
    if launch.groups:
        device.run(program.batch([launch]))
    return {
        at: bytes(device.read(buffers[at], len(data))) if data else b""
        for at, data in seen.after.items()
    }


def _plain(memory: Any, sizes: dict[str, int]) -> str:
    """The name of memory; of several weights, the one of these sizes."""
    return str(memory[0][evaluate(memory[1], sizes)] if isinstance(memory, list) else memory)
