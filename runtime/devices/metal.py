"""The metal device: runs kernels of the apple profile on a Mac's GPU, through metalcompute."""

from __future__ import annotations

import os
import sys

from tlc.runtime.devices import objc
from tlc.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tlc.runtime.devices import Kernel, Launch

MAX_BUFFERS = 31  # of one kernel, Metal's limit
# Metal's queue holds 64 unfinished command buffers, one per launch; the next would block in Metal.
MAX_IN_FLIGHT = 60
SMALLEST_BUFFER = 16  # Metal makes no empty buffers
COPY_BYTES = 16 << 20  # weights are copied in pieces, so that a mapped file stays mapped piecewise
DARWIN_OF_MACOS_14 = 23


class MetalBuffer:
    """Memory shared with the GPU: `handle` is what kernels are given, `view` its bytes."""

    __slots__ = ("handle", "nbytes", "view")

    def __init__(self, handle: Any, nbytes: int) -> None:
        self.handle, self.nbytes, self.view = handle, nbytes, memoryview(handle)


class MetalLibrary:
    """The functions of one compiled text, by kernel name."""

    __slots__ = ("functions",)

    def __init__(self, functions: dict[str, Any]) -> None:
        self.functions = functions


class MetalBatch:
    """What metalcompute is called with, launch by launch: name, function, thread count, buffers."""

    __slots__ = ("calls",)

    def __init__(self, calls: list[tuple[str, Any, int, tuple[Any, ...]]]) -> None:
        self.calls = calls


class MetalDevice:
    """Runs the `apple` profile. `run` returns early; `read` and `write` wait for all launches.

    metalcompute takes any object as a kernel's argument: it makes a new zeroed buffer of an int's
    value in bytes, and a new copy of an array, each time. So it is given its own buffers only.
    A launch lasts as long as the handle that metalcompute returns is kept; letting go of the handle
    waits for it. Raises RunError E0702 where Metal cannot be used.
    """

    name = "metal"
    profile = "apple"

    def __init__(self) -> None:
        reason = why_not()
        if reason:
            raise RunError("E0702", f"the metal device cannot be used: {reason}", _instead())
        import metalcompute

        self._error: type[Exception] = metalcompute.error
        try:
            self._device = metalcompute.Device()
        except self._error as error:
            raise RunError("E0702", f"the metal device cannot be used: {error}") from None
        self._in_flight: list[Any] = []
        self._push, self._pop = objc.autorelease_pools()

    def library(self, text: str, kernels: Sequence[Kernel]) -> MetalLibrary:
        """Compile `text` with Metal's own compiler. Raises RunError E0703 with its message."""
        try:
            compiled = self._device.kernel(text)
        except (self._error, ValueError) as error:
            raise RunError("E0703", f"Metal refuses the kernels\n{str(error).strip()}") from None
        functions = {}
        for kernel in kernels:
            try:
                functions[kernel.name] = compiled.function(kernel.name)
            except self._error as error:
                raise RunError("E0703", f"kernel {kernel.name}: {error}") from None
        return MetalLibrary(functions)

    def buffer(self, nbytes: int) -> MetalBuffer:
        """Zeroed memory, aligned to a page. Raises MemoryError."""
        try:
            return MetalBuffer(self._device.buffer(int(max(nbytes, SMALLEST_BUFFER))), nbytes)
        except self._error:
            raise MemoryError(f"Metal has no memory for a buffer of {nbytes} bytes") from None

    def constant(self, data: memoryview) -> MetalBuffer:
        """A copy: metalcompute cannot take over memory that it did not make."""
        made = self.buffer(data.nbytes)
        self._copy(made, data)
        return made

    def write(self, buffer: MetalBuffer, data: bytes | memoryview) -> None:
        """Wait for all launches, then copy bytes to the start of the buffer."""
        self._wait()
        self._copy(buffer, memoryview(data))

    def _copy(self, buffer: MetalBuffer, data: memoryview) -> None:
        if not data.nbytes:
            return
        source = data.cast("B")
        for start in range(0, data.nbytes, COPY_BYTES):
            end = min(start + COPY_BYTES, data.nbytes)
            buffer.view[start:end] = source[start:end]

    def read(self, buffer: MetalBuffer, nbytes: int) -> memoryview:
        """Wait for all launches; the first bytes of the buffer, not a copy."""
        self._wait()
        return buffer.view[:nbytes]

    def batch(self, library: MetalLibrary, launches: Sequence[Launch]) -> MetalBatch:
        """Raises RunError E0703 for a kernel with more buffers than Metal can bind."""
        calls = []
        for launch in launches:
            buffers: list[Any] = launch.buffers
            handles = [buffer.handle for buffer in buffers]
            if launch.dims is not None:
                handles.append(self.constant(memoryview(launch.dims)).handle)
            name = launch.kernel.name
            if len(handles) > MAX_BUFFERS:
                message = f"kernel {name} has {len(handles)} buffers; Metal binds {MAX_BUFFERS}"
                raise RunError("E0703", message)
            # metalcompute counts threads and rounds up to whole threadgroups of the kernel's size.
            count = int(launch.groups) * int(launch.kernel.threads)
            if count:
                calls.append((name, library.functions[name], count, tuple(handles)))
        return MetalBatch(calls)

    def run(self, batch: MetalBatch) -> None:
        """Queue all launches of the batch, waiting for the oldest when the queue is full."""
        token = self._push()
        try:
            for name, function, count, handles in batch.calls:
                if len(self._in_flight) >= MAX_IN_FLIGHT:
                    del self._in_flight[0]
                try:
                    self._in_flight.append(function(count, *handles))
                except self._error as error:
                    raise RunError("E0703", f"kernel {name} cannot be started: {error}") from None
        finally:
            self._pop(token)

    def _wait(self) -> None:
        # The last launch may end before an earlier one that shares no buffer with it: wait for all.
        if self._in_flight:
            token = self._push()
            try:
                self._in_flight.clear()
            finally:
                self._pop(token)

    def close(self) -> None:
        """Wait for all launches and let go of the device."""
        self._wait()
        self._device = None


def why_not() -> str:
    """Why this machine cannot run the metal device, or an empty text."""
    if sys.platform != "darwin":
        return "it needs macOS"
    system = os.uname()
    if system.machine != "arm64":
        return "it needs a Mac with Apple silicon; metalcompute has no wheel for Intel"
    if int(system.release.partition(".")[0]) < DARWIN_OF_MACOS_14:
        return "it needs macOS 14 or newer"
    if sys.version_info >= (3, 14):
        return "metalcompute has no wheel for Python 3.14 and newer; Python 3.13 has one"
    try:
        import metalcompute  # noqa: F401
    except ImportError:
        return "the Python package metalcompute is missing; pip install 'tlc[metal]'"
    return ""


def _instead() -> str:
    """The device that works here."""
    from tlc.runtime.devices import metal_objc

    if metal_objc.why_not():
        return "use the cpu device: --device cpu"
    return "--device metal-objc runs on the GPU without a package, --device cpu without a GPU"
