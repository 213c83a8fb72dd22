"""Devices: what runs kernels; one protocol, one module per device."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    class Buffer(Protocol):
        """Device memory of `nbytes` bytes."""

        nbytes: int

    class Library(Protocol):
        """The compiled kernels of one artifact."""

    class Batch(Protocol):
        """Launches prepared once, to be run many times in order."""

    class Device(Protocol):
        """Every method that touches memory first waits for the launches that came before it.

        A device may have a method `library_of(data, kernels)` too, which loads a Metal library that
        Apple's compiler made, or gives None when `library` has to compile the text.
        """

        name: str  # as `--device` spells it
        profile: str  # the kernel text it runs: "cpu" or "apple"

        def library(self, text: str, kernels: Sequence[Kernel]) -> Library:
            """Compile `text`, or find it compiled. Raises RunError E0701 (no toolchain), E0703."""

        def buffer(self, nbytes: int) -> Buffer:
            """Zeroed memory; its start is aligned to at least 64 bytes."""

        def constant(self, data: memoryview) -> Buffer:
            """Read-only memory with these bytes, without a copy where the device can.

            The memory behind `data` (often a mapped file) is kept alive by the buffer.
            """

        def write(self, buffer: Buffer, data: bytes | memoryview) -> None:
            """Copy bytes to the start of a buffer made by `buffer`."""

        def read(self, buffer: Buffer, nbytes: int) -> memoryview:
            """The first bytes of a buffer; valid until the next launch or write."""

        def batch(self, library: Library, launches: Sequence[Launch]) -> Batch:
            """Make launches ready to run: nothing is looked up or built in `run`."""

        # Only devices that gain by it have:
        # def resize(self, batch, groups, words): give a batch that is not running other numbers of
        # threadgroups, one for each launch, and other words of dims, those of all launches.

        def run(self, batch: Batch) -> None:
            """Start all launches of a batch in order, each seeing what the one before wrote."""

        def close(self) -> None:
            """Release everything; a closed device is not used again."""


class Kernel:
    """One kernel of a library: `threads` is the threadgroup size it was written for."""

    __slots__ = ("name", "threads")

    def __init__(self, name: str, threads: int) -> None:
        self.name, self.threads = name, threads


class Launch:
    """One launch: `groups` threadgroups of `kernel`, with `buffers` at `[[buffer(0)]]` and up.

    `dims` (native-endian 32-bit unsigned words, as bytes) is the content of one more, last buffer
    that holds the kernel's `Dims` struct; None when the kernel has no dynamic dimension.
    """

    __slots__ = ("buffers", "dims", "groups", "kernel")

    def __init__(
        self, kernel: Kernel, buffers: list[Buffer], groups: int, dims: bytes | None = None
    ) -> None:
        self.kernel, self.buffers, self.groups, self.dims = kernel, buffers, groups, dims
