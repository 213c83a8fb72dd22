"""A GPU for tests of the Metal devices: a queue of command buffers that run late, on the emulator.

What is true of Metal and can go unnoticed is made to show: nothing runs before somebody waits, and
then only what the waiting needs; a queue holds 64 unfinished command buffers; threads beyond the
last element run too; memory ends at a page that nobody may touch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from tlc.runtime.msl.build import Function, Kernels, build
from tlc.runtime.msl.emulator import EmulatedBuffer, launch

QUEUE = 64  # unfinished command buffers; Metal blocks whoever makes one more
WIDTH = 32  # of a simdgroup
MOST_THREADS = 1024  # of a threadgroup


class Mapped(EmulatedBuffer):
    """A buffer over memory of the host, of which the GPU sees what is there when it runs."""

    def __init__(self, address: int, nbytes: int) -> None:
        super().__init__(nbytes)
        self.address = address

    def refresh(self) -> None:
        self.write(ctypes.string_at(self.address, self.nbytes))


class Dispatch:
    """A kernel, its threadgroups, and buffers by number with the offset each is bound at.

    Bytes in the place of a buffer are one that is there for this dispatch.
    """

    def __init__(
        self,
        kernels: Kernels,
        function: Function,
        groups: int,
        threads: int,
        buffers: dict[int, tuple[EmulatedBuffer | bytes, int]],
    ) -> None:
        self.kernels, self.function = kernels, function
        self.groups, self.threads, self.buffers = groups, threads, buffers

    def touches(self, slots: set[int]) -> bool:
        return not slots.isdisjoint(self.slots())

    def slots(self) -> set[int]:
        bound = [buffer for buffer, _ in self.buffers.values()]
        return {buffer.slot for buffer in bound if isinstance(buffer, EmulatedBuffer)}


class CommandBuffer:
    """Dispatches in order; `error` is what the GPU has to say once it is done."""

    def __init__(self, dispatches: Sequence[Dispatch] = ()) -> None:
        self.dispatches = list(dispatches)
        self.encoded = self.committed = self.done = False
        self.error = ""


class Gpu:
    """Compiles and runs for a Metal device under test, and counts what it did."""

    def __init__(self, mode: str = "checked") -> None:
        self.mode = mode
        self.queue: list[CommandBuffer] = []  # committed and unfinished, oldest first
        self.most_queued = 0
        self.compiled = self.dispatched = self.threads = self.stalls = 0
        self.findings: list[str] = []  # what kernels did that a GPU forbids

    def compile(self, text: str) -> Kernels:
        """Raises RunError E0703 with the compiler's messages."""
        self.compiled += 1
        return build(text, "program_source", self.mode)

    def commit(self, work: CommandBuffer) -> None:
        """Queue a command buffer; a full queue blocks until its oldest is done."""
        if len(self.queue) >= QUEUE:
            self.stalls += 1
            self.wait(self.queue[0])
        work.committed = True
        self.queue.append(work)
        self.most_queued = max(self.most_queued, len(self.queue))

    def wait(self, work: CommandBuffer) -> None:
        """Finish a command buffer, and of the older ones those that it shares memory with.

        Metal starts command buffers in order and promises an order of completion to none.
        """
        if work.done:
            return
        needed, slots = [work], slots_of(work)
        for earlier in reversed(self.queue[: self.queue.index(work)]):
            if any(dispatch.touches(slots) for dispatch in earlier.dispatches):
                needed.append(earlier)
                slots |= slots_of(earlier)
        for each in reversed(needed):
            self.queue.remove(each)
            each.done = True
            for dispatch in each.dispatches:
                self._run(dispatch)
            each.dispatches.clear()

    def _run(self, dispatch: Dispatch) -> None:
        self.dispatched += 1
        self.threads += dispatch.groups * dispatch.threads
        bound = {index: ready(buffer) for index, (buffer, _) in dispatch.buffers.items()}
        found = launch(
            dispatch.kernels,
            dispatch.function.name,
            bound,
            (dispatch.groups,),
            (dispatch.threads,),
            offsets={index: offset for index, (_, offset) in dispatch.buffers.items()},
        )
        self.findings += map(str, found)


def ready(buffer: EmulatedBuffer | bytes) -> EmulatedBuffer:
    """A buffer with the bytes that a dispatch is to see."""
    if isinstance(buffer, bytes):
        made = EmulatedBuffer(len(buffer))
        made.write(buffer)
        return made
    if isinstance(buffer, Mapped):
        buffer.refresh()
    return buffer


def slots_of(work: CommandBuffer) -> set[int]:
    return {slot for dispatch in work.dispatches for slot in dispatch.slots()}


def most_threads(function: Function) -> int:
    """`maxTotalThreadsPerThreadgroup` of the kernel's pipeline."""
    return min(function.entry.signature.limit or MOST_THREADS, MOST_THREADS)
