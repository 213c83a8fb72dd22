"""The metal-objc device: runs kernels of the apple profile on a Mac's GPU, with no Python package.

Metal is called through ctypes. A batch is one command buffer, pipelines are made once, weights of a
mapped file are read by the GPU where they are.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys

from tlc.runtime.devices import metal_api, objc
from tlc.runtime.devices.cpu import address
from tlc.runtime.devices.metal_api import Owned, Range, Size
from tlc.runtime.devices.objc import ID, TEXT, WORD
from tlc.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tlc.runtime.devices import Kernel, Launch

MAX_BUFFERS = 31  # of one kernel
MAX_IN_FLIGHT = 32  # command buffers; Metal's queue holds 64 unfinished ones, the next would block
SMALLEST_BUFFER = 16  # Metal makes no empty buffers
ALIGNMENT = 16  # of what kernels load at once: the GPU reads no mapped weight at another address


class ObjcBuffer:
    """Memory of the GPU: `offset` bytes into the MTLBuffer `owned`; `view` are its bytes."""

    __slots__ = ("_counted", "_device", "kept", "nbytes", "offset", "owned", "view")

    def __init__(
        self, device: MetalObjcDevice, owned: Owned, nbytes: int, view: memoryview
    ) -> None:
        self._device, self.owned, self.nbytes, self.view = device, owned, nbytes, view
        self.offset = self._counted = 0
        self.kept: Any = None  # whose memory this is

    def count(self, nbytes: int) -> None:
        """Let the device know that so many bytes were allocated, until this buffer goes."""
        self._counted = nbytes
        self._device.allocated += nbytes

    def __del__(self) -> None:
        self._device.allocated -= self._counted


class Pipeline:
    """A kernel that is ready to run, and the threadgroups that it can have."""

    __slots__ = ("handle", "owned", "threads")

    def __init__(self, owned: Owned, threads: int) -> None:
        self.owned, self.handle, self.threads = owned, owned.handle, threads


class ObjcLibrary:
    """Compiled kernels; a pipeline is made when the first batch uses it."""

    __slots__ = ("owned", "pipelines")

    def __init__(self, owned: Owned) -> None:
        self.owned = owned
        self.pipelines: dict[str, Pipeline] = {}


class ObjcBatch:
    """Launches as they are encoded, and the buffers that have to outlive them."""

    __slots__ = ("_kept", "calls")

    def __init__(self, calls: list[tuple[Any, ...]], kept: list[Any]) -> None:
        self.calls, self._kept = calls, kept


class MetalObjcDevice:
    """Runs the `apple` profile. `run` returns early; `read` and `write` wait for all launches.

    `allocated` are the bytes that buffers take up, mapped weights not among them: more than what
    Metal recommends for this GPU are refused. Raises RunError E0702 where Metal cannot be used.
    """

    name = "metal-objc"
    profile = "apple"

    def __init__(self) -> None:
        reason = why_not()
        if reason:
            message = f"the metal-objc device cannot be used: {reason}"
            raise RunError("E0702", message, "use the cpu device: --device cpu")
        self._send = send = objc.Messages(metal_api.MESSAGES)
        self._push, self._pop = objc.autorelease_pools()
        ctypes.CDLL(metal_api.GRAPHICS)
        device = objc.function(metal_api.METAL, "MTLCreateSystemDefaultDevice", ID)()
        if not device:
            raise RunError("E0702", "the metal-objc device cannot be used: there is no GPU")
        self._device: Owned | None = Owned(send, device)
        if not send.supports_family(device, metal_api.APPLE7):
            text = "the metal-objc device cannot be used: the GPU is older than that of an M1"
            raise RunError("E0702", text, "use the cpu device: --device cpu")
        queue = send.new_queue(device)
        if not queue:
            raise RunError("E0702", "the metal-objc device cannot be used: Metal gives no queue")
        self._queue: Owned | None = Owned(send, queue)
        self.allocated, self._most = 0, int(send.working_set(device))
        self._longest = int(send.longest_buffer(device))
        self._in_flight: list[tuple[Owned, ObjcBatch]] = []

    def library(self, text: str, kernels: Sequence[Kernel]) -> ObjcLibrary:
        """Compile `text` with Metal's own compiler. Raises RunError E0703 with its message.

        Not with fast math: NaN and infinities are part of what programs mean.
        """
        send, device, failure = self._send, self._open(), ctypes.c_void_p()
        token = self._push()
        try:
            options = Owned(send, send.new(objc.class_named("MTLCompileOptions")))
            send.set_fast_math(options.handle, False)
            send.set_version(options.handle, metal_api.METAL_2_3)
            source = self._string(text)
            made = send.new_library(device, source, options.handle, ctypes.byref(failure))
            if not made:
                message = f"Metal refuses the kernels\n{self._reason(failure)}"
                raise RunError("E0703", message)
            return ObjcLibrary(Owned(send, made))
        finally:
            self._pop(token)

    def library_of(self, data: bytes, kernels: Sequence[Kernel]) -> ObjcLibrary | None:
        """A library that Apple's compiler made; None, with a note, when Metal does not take it."""
        send, device, failure = self._send, self._open(), ctypes.c_void_p()
        token = self._push()
        try:
            copied = objc.function(metal_api.SYSTEM, "dispatch_data_create", ID, TEXT, WORD, ID, ID)
            held = Owned(send, copied(data, len(data), None, None))
            made = send.new_compiled(device, held.handle, ctypes.byref(failure))
            if not made:
                raise RunError("E0703", self._reason(failure))
            library = ObjcLibrary(Owned(send, made))
            for kernel in kernels[:1]:  # a GPU that takes one takes all
                self._pipeline(library, kernel)
            return library
        except RunError as error:
            note = f"the compiled kernels are not used, their text is: {error.message}"
            sys.stderr.write(f"note: {note}\n")
            return None
        finally:
            self._pop(token)

    def _open(self) -> int:
        if self._device is None:
            raise ValueError("the device is closed")
        return self._device.handle

    def _string(self, text: str) -> int:
        """An NSString that lasts until the pool ends. Raises RunError E0703 for a null character,
        where it would end."""
        if "\0" in text:
            raise RunError("E0703", "the kernel text has a null character")
        return int(self._send.string(objc.class_named("NSString"), text.encode()))

    def _reason(self, error: ctypes.c_void_p | int | None) -> str:
        """What an NSError says."""
        found = error.value if isinstance(error, ctypes.c_void_p) else error
        if not found:
            return "Metal gives no reason"
        said: bytes = self._send.utf8(self._send.described(found)) or b""
        return said.decode("utf-8", "replace").strip()

    def buffer(self, nbytes: int) -> ObjcBuffer:
        """Zeroed memory, aligned to a page. Raises MemoryError."""
        size = max(nbytes, SMALLEST_BUFFER)
        made = None
        if size <= self._longest and self.allocated + size <= self._most:
            made = self._send.new_buffer(self._open(), size, metal_api.SHARED)
        if not made:
            raise MemoryError(
                f"Metal has no memory for a buffer of {nbytes} bytes: it recommends"
                f" {self._most} for this GPU, and {self.allocated} are in use"
            )
        owned = Owned(self._send, made)
        memory = (ctypes.c_char * size).from_address(self._send.contents(made))
        buffer = ObjcBuffer(self, owned, nbytes, memoryview(memory).cast("B"))
        buffer.count(size)
        return buffer

    def constant(self, data: memoryview) -> ObjcBuffer:
        """The memory of a mapped file itself where Metal can take it, else a copy."""
        view = memoryview(data).cast("B") if data.nbytes else memoryview(b"")
        return self._mapped(view) or self._copied(view)

    def _mapped(self, data: memoryview) -> ObjcBuffer | None:
        """A buffer over the pages that `data` lies in, bound where it begins.

        Metal takes whole pages of one mapping: no other memory than a file's is sure to be that.
        """
        if not isinstance(data.obj, mmap.mmap):
            return None
        start = address(data)
        if start % ALIGNMENT:
            return None
        offset = start % mmap.PAGESIZE
        length = -(-(offset + data.nbytes) // mmap.PAGESIZE) * mmap.PAGESIZE
        if length > self._longest:
            return None
        made = self._send.new_mapped(self._open(), start - offset, length, metal_api.SHARED, None)
        if not made:
            return None
        buffer = ObjcBuffer(self, Owned(self._send, made), data.nbytes, data)
        buffer.offset, buffer.kept = offset, data
        return buffer

    def _copied(self, data: memoryview) -> ObjcBuffer:
        made = self.buffer(data.nbytes)
        made.view[: data.nbytes] = data
        return made

    def write(self, buffer: ObjcBuffer, data: bytes | memoryview) -> None:
        """Wait for all launches, then copy bytes to the start of the buffer."""
        self._wait()
        view = memoryview(data)
        if view.nbytes:
            buffer.view[: view.nbytes] = view.cast("B")

    def read(self, buffer: ObjcBuffer, nbytes: int) -> memoryview:
        """Wait for all launches; the first bytes of the buffer, not a copy."""
        self._wait()
        return buffer.view[:nbytes]

    def batch(self, library: ObjcLibrary, launches: Sequence[Launch]) -> ObjcBatch:
        """Raises RunError E0703 for a kernel that Metal cannot make ready or bind."""
        calls: list[tuple[Any, ...]] = []
        kept: list[Any] = [library]
        for launch in launches:
            buffers: list[Any] = launch.buffers
            count, dims = len(buffers), launch.dims or b""
            if count + bool(dims) > MAX_BUFFERS:
                message = f"kernel {launch.kernel.name} has {count + bool(dims)} buffers"
                raise RunError("E0703", f"{message}; Metal binds {MAX_BUFFERS}")
            pipeline = self._pipeline(library, launch.kernel)
            threads = min(launch.kernel.threads, pipeline.threads)
            # kernels walk on by the number of threads there are: fewer in a group is more groups
            groups = -(-launch.groups * launch.kernel.threads // threads)
            if not groups:
                continue
            handles = (ctypes.c_void_p * count)(*(buffer.owned.handle for buffer in buffers))
            offsets = (WORD * count)(*(buffer.offset for buffer in buffers))
            where = (handles, offsets, Range(0, count))
            size = (Size(groups, 1, 1), Size(threads, 1, 1))
            calls.append((pipeline.handle, where, dims, len(dims), count, size))
            kept.append(buffers)
        return ObjcBatch(calls, kept)

    def _pipeline(self, library: ObjcLibrary, kernel: Kernel) -> Pipeline:
        """The pipeline of a kernel, made once. Raises RunError E0703."""
        if kernel.name not in library.pipelines:
            send, failure = self._send, ctypes.c_void_p()
            token = self._push()
            try:
                name = self._string(kernel.name)
                function = send.new_function(library.owned.handle, name)
                if not function:
                    raise RunError("E0703", f"kernel {kernel.name}: the library lacks it")
                owned = Owned(send, function)
                made = send.new_pipeline(self._open(), owned.handle, ctypes.byref(failure))
                if not made:
                    raise RunError("E0703", f"kernel {kernel.name}: {self._reason(failure)}")
                width = send.width(made)
                threads = send.most_threads(made) // width * width
                library.pipelines[kernel.name] = Pipeline(Owned(send, made), threads)
            finally:
                self._pop(token)
        return library.pipelines[kernel.name]

    def run(self, batch: ObjcBatch) -> None:
        """Queue the batch as one command buffer. Raises RunError E0706 for one that has failed."""
        if not batch.calls:
            return
        if len(self._in_flight) >= MAX_IN_FLIGHT:
            self._finish(1)
        if self._queue is None:
            raise ValueError("the device is closed")
        send = self._send
        set_pipeline, set_buffers, set_bytes = send.set_pipeline, send.set_buffers, send.set_bytes
        dispatch, last = send.dispatch, 0
        token = self._push()
        try:
            commands = send.command_buffer(self._queue.handle)
            encoder = send.encoder(commands)
            if not encoder:  # messages to nil do nothing, and say nothing
                raise RunError("E0706", "Metal gives no command buffer")
            for pipeline, where, dims, length, index, size in batch.calls:
                if pipeline != last:
                    set_pipeline(encoder, pipeline)
                    last = pipeline
                set_buffers(encoder, *where)
                if length:
                    set_bytes(encoder, dims, length, index)
                dispatch(encoder, *size)
            send.end(encoder)
            self._in_flight.append((Owned(send, send.retain(commands)), batch))
            send.commit(commands)
        finally:
            self._pop(token)

    def _wait(self) -> None:
        if self._in_flight:
            self._finish(len(self._in_flight))

    def _finish(self, count: int) -> None:
        """Wait for the oldest command buffers. Raises RunError E0706 with the first failure."""
        send, failure = self._send, ""
        ending, self._in_flight = self._in_flight[:count], self._in_flight[count:]
        token = self._push()
        try:
            for commands, _ in ending:
                send.wait(commands.handle)
                if send.status(commands.handle) == metal_api.FAILED and not failure:
                    failure = self._reason(send.error(commands.handle))
        finally:
            self._pop(token)
        if failure:
            raise RunError("E0706", f"the GPU did not finish: {failure}")

    def close(self) -> None:
        """Wait for all launches and let go of the device."""
        try:
            self._wait()
        finally:
            self._queue = self._device = None


def why_not() -> str:
    """Why this machine cannot run the metal-objc device, or an empty text."""
    if sys.platform != "darwin":
        return "it needs macOS"
    if os.uname().machine != "arm64":
        return "it needs a Mac with Apple silicon"
    return ""
