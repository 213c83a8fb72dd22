"""The emulator device: runs kernels of the apple profile here and checks every access."""

from __future__ import annotations

from tlc.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tlc.runtime.devices import Kernel, Launch
    from tlc.runtime.msl.build import Kernels
    from tlc.runtime.msl.emulator import EmulatedBuffer, Schedule
    from tlc.runtime.msl.findings import Finding

MOST_SHOWN = 3  # findings of a launch; the first are the ones to look at


class EmulatorLibrary:
    """The kernels of one artifact, and their text, of which findings show lines."""

    __slots__ = ("kernels", "texts")

    def __init__(self, kernels: Kernels, texts: dict[str, str]) -> None:
        self.kernels, self.texts = kernels, texts


class EmulatorBatch:
    """Launches with their buffers, the sizes among them."""

    __slots__ = ("calls", "library")

    def __init__(
        self, library: EmulatorLibrary, calls: list[tuple[Launch, dict[int, EmulatedBuffer]]]
    ) -> None:
        self.library, self.calls = library, calls


class EmulatorDevice:
    """Runs the `apple` profile, a fiber for each GPU thread; what a kernel does wrong is an error.

    `mode` is that of msl/build.py: `checked` looks at every access, `poison` follows values that
    were never set, `fast` finds only what hits a guard page or a barrier.
    """

    profile = "apple"

    def __init__(self, mode: str = "checked", schedule: Schedule | None = None) -> None:
        self.name = "emulator" if mode == "checked" else f"emulator-{mode}"
        self._mode, self._schedule = mode, schedule

    def library(self, text: str, kernels: Sequence[Kernel]) -> EmulatorLibrary:
        """Compile `text`, or find it compiled. Raises RunError E0701, E0703."""
        from tlc.runtime.msl.build import build

        name = "apple.metal"
        return EmulatorLibrary(build(text, name, self._mode), {name: text})

    def buffer(self, nbytes: int) -> EmulatedBuffer:
        """Zeroed memory that counts as unwritten. Raises MemoryError."""
        from tlc.runtime.msl.emulator import EmulatedBuffer

        made = EmulatedBuffer(nbytes)
        if self._mode == "poison":
            made.fresh(False)  # only what kernels store is of interest
        return made

    def constant(self, data: memoryview) -> EmulatedBuffer:
        """A copy, between guard pages of its own."""
        made = self.buffer(data.nbytes)
        made.write(data)
        return made

    def write(self, buffer: EmulatedBuffer, data: bytes | memoryview) -> None:
        """Copy bytes to the start of the buffer."""
        buffer.write(data)

    def read(self, buffer: EmulatedBuffer, nbytes: int) -> memoryview:
        """The first bytes of the buffer: its memory, not a copy."""
        return buffer.view[:nbytes]

    def batch(self, library: EmulatorLibrary, launches: Sequence[Launch]) -> EmulatorBatch:
        """Number the buffers of every launch, the sizes behind them."""
        calls = []
        for launch in launches:
            buffers: list[Any] = list(launch.buffers)
            if launch.dims is not None:
                buffers.append(self.constant(memoryview(launch.dims)))
            calls.append((launch, dict(enumerate(buffers))))
        return EmulatorBatch(library, calls)

    def run(self, batch: EmulatorBatch) -> None:
        """Run all launches. Raises RunError E0704 with what the first wrong one does."""
        from tlc.runtime.msl.emulator import launch, stored_without_value

        library = batch.library
        for call, buffers in batch.calls:
            name = call.kernel.name
            found = launch(
                library.kernels,
                name,
                buffers,
                (call.groups,),
                (call.kernel.threads,),
                schedule=self._schedule,
                texts=library.texts,
            )
            if self._mode == "poison":
                found += stored_without_value(library.kernels.function(name), buffers)
            if found:
                raise broken(found)

    def close(self) -> None:
        """Nothing is kept: buffers end with their last reference."""


def broken(found: Sequence[Finding]) -> RunError:
    """The error that a kernel's findings are."""
    shown = [str(finding) for finding in found[:MOST_SHOWN]]
    if len(found) > MOST_SHOWN:
        shown.append(f"and {len(found) - MOST_SHOWN} more")
    return RunError("E0704", "\n".join(["a kernel breaks the rules of the GPU", *shown]))


def why_not() -> str:
    """Why this machine cannot emulate a GPU, or an empty text."""
    import os
    import sys

    if sys.platform != "linux" or os.uname().machine not in ("x86_64", "aarch64"):
        return "it needs Linux on x86-64 or aarch64"
    from tlc.runtime.devices import toolchain

    return toolchain.why_not()
