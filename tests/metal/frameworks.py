"""Metal's objects for tests: the classes of Metal.framework over `objc.c`, on a `Gpu`.

What Metal ends the process for, or leaves undefined, is a fault; `faults` lists them.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from typing import Any

from tests.metal.gpu import WIDTH, CommandBuffer, Dispatch, Gpu, Mapped, most_threads
from tests.metal.native import compiled
from tlc.runtime.devices.metal_api import Range, Size
from tlc.runtime.devices.objc import FLAG, ID, WORD
from tlc.runtime.errors import RunError
from tlc.runtime.metal_library import LibraryError, alone, read_library
from tlc.runtime.msl.build import Function, Kernels
from tlc.runtime.msl.emulator import EmulatedBuffer

ADDRESS = ctypes.c_void_p
MOST_INLINE = 4096  # bytes that setBytes takes
LAST_BUFFER = 30


class Encoder:
    """A compute command encoder: what is bound now, and the command buffer it writes to."""

    def __init__(self, object: int, commands: CommandBuffer) -> None:
        self.object, self.commands, self.ended = object, commands, False
        self.pipeline: tuple[Kernels, Function] | None = None
        self.bound: dict[int, tuple[EmulatedBuffer | bytes, int]] = {}


class Frameworks:
    """Objective-C's libraries with Metal in them; `models` says what the objects stand for."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu, self.path = gpu, compiled(["objc.c"])
        self.models: dict[int, Any] = {}
        self.owned: dict[int, list[int]] = {}  # objects that an object keeps
        self._faults: list[str] = []
        self.options: dict[str, int] = {}
        self.working_set, self.longest = 1 << 33, 1 << 32
        self.family = 1007
        self.mapped = 0  # buffers that were made without a copy
        self.takes_compiled, self.loaded = True, 0
        self.has_queue = self.has_commands = True
        self.has_gpu, self.can_make_pipelines = True, True
        self.errors: list[str] = []  # what the next command buffers end with
        self.commits = 0
        self._library = library = ctypes.CDLL(self.path)
        for name in ("fake_class", "fake_new", "fake_autorelease", "fake_bytes"):
            getattr(library, name).restype = ctypes.c_void_p
        library.fake_fault.restype = ctypes.c_char_p
        library.fake_size.restype = library.fake_alive.restype = ctypes.c_size_t
        library.fake_begin()
        library.fake_reset()
        library.sel_registerName.restype = ctypes.c_void_p
        self._release_selector = library.sel_registerName(b"release")
        self._release = ctypes.CFUNCTYPE(None, ADDRESS, ADDRESS)(("objc_msgSend", library))
        self._kept: list[Any] = []
        for of, table in self._classes().items():
            for selector, (function, result, *types) in table.items():
                made = ctypes.CFUNCTYPE(result, ADDRESS, ADDRESS, *types)(self._plain(function))
                self._kept.append(made)
                where = ADDRESS(self._class(of))
                library.fake_method(where, selector.encode(), made)
        self._on_end = ctypes.CFUNCTYPE(None, ADDRESS)(self._ended)
        self._default = ctypes.CFUNCTYPE(ADDRESS)(self._default_device)
        library.fake_on_end(self._on_end)
        library.fake_default_device(self._default)

    @staticmethod
    def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
        """A method without its selector."""
        return lambda receiver, selector, *arguments: function(receiver, *arguments)

    @property
    def faults(self) -> list[str]:
        found = self._faults[:]
        while text := self._library.fake_fault(len(found) - len(self._faults)):
            found.append(text.decode())
        return found

    def finish(self) -> None:
        """Let the GPU do what is still queued, which it does whether somebody waits or not."""
        for work in list(self.gpu.queue):
            self.gpu.wait(work)
        self._let_go()

    def alive(self) -> dict[str, int]:
        """How many objects of each class there are."""
        names = [*self._classes(), "NSString", "NSError", "OS_dispatch_data"]
        counts = {n: self._library.fake_alive(ADDRESS(self._class(n))) for n in names}
        return {name: count for name, count in counts.items() if count}

    def open_pools(self) -> int:
        return int(self._library.fake_open_pools())

    # ---- objects -----------------------------------------------------------------------------

    def _class(self, name: str) -> int:
        return int(self._library.fake_class(name.encode()))

    def _new(self, of: str, model: object, *keeps: int) -> int:
        made = int(self._library.fake_new(ADDRESS(self._class(of)), None, WORD(0)))
        self.models[made] = model
        for each in keeps:
            self._retain(made, each)
        return made

    def _retain(self, owner: int, kept: int) -> None:
        ctypes.c_long.from_address(kept + 8).value += 1
        self.owned.setdefault(owner, []).append(kept)

    def _autoreleased(self, made: int) -> int:
        return int(self._library.fake_autorelease(ADDRESS(made)))

    def _bytes(self, of: int) -> bytes:
        size = self._library.fake_size(ADDRESS(of))
        return ctypes.string_at(self._library.fake_bytes(ADDRESS(of)), size)

    def _fail(self, where: int | None, text: str) -> None:
        """Put an NSError where a method was told to."""
        if where:
            data = text.encode()
            made = self._library.fake_new(ADDRESS(self._class("NSError")), data, WORD(len(data)))
            ctypes.c_void_p.from_address(where).value = self._autoreleased(made)

    def _ended(self, gone: int) -> None:
        """What an object kept goes when it does."""
        model = self.models.pop(gone, None)
        if isinstance(model, Encoder) and not model.ended:
            self._faults.append("a command encoder has gone without endEncoding")
        for kept in self.owned.pop(gone, ()):
            self._release(kept, self._release_selector)

    # ---- classes -----------------------------------------------------------------------------

    def _classes(self) -> dict[str, dict[str, tuple[Any, ...]]]:
        return {
            "MTLDevice": {
                "supportsFamily:": (lambda _, family: family <= self.family, FLAG, WORD),
                "recommendedMaxWorkingSetSize": (lambda _: self.working_set, WORD),
                "maxBufferLength": (lambda _: self.longest, WORD),
                "newCommandQueue": (self._new_queue, ID),
                "newBufferWithLength:options:": (self._new_buffer, ID, WORD, WORD),
                "newBufferWithBytesNoCopy:length:options:deallocator:": (
                    *(self._new_mapped, ID),
                    *(ADDRESS, WORD, WORD, ADDRESS),
                ),
                "newLibraryWithSource:options:error:": (self._new_library, ID, ID, ID, ADDRESS),
                "newLibraryWithData:error:": (self._new_compiled, ID, ID, ADDRESS),
                "newComputePipelineStateWithFunction:error:": (
                    *(self._new_pipeline, ID),
                    *(ID, ADDRESS),
                ),
            },
            "MTLCompileOptions": {
                "new": (lambda _: self._new("MTLCompileOptions", 0), ID),
                "setFastMathEnabled:": (self._option("fast math"), None, FLAG),
                "setLanguageVersion:": (self._option("version"), None, WORD),
            },
            "MTLBuffer": {"contents": (self._contents, ADDRESS)},
            "MTLLibrary": {"newFunctionWithName:": (self._new_function, ID, ID)},
            "MTLFunction": {},
            "MTLComputePipelineState": {
                "threadExecutionWidth": (lambda _: WIDTH, WORD),
                "maxTotalThreadsPerThreadgroup": (
                    lambda pipeline: most_threads(self.models[pipeline][1]),
                    WORD,
                ),
            },
            "MTLCommandQueue": {"commandBuffer": (self._command_buffer, ID)},
            "MTLCommandBuffer": {
                "computeCommandEncoder": (self._encoder, ID),
                "commit": (self._commit, None),
                "waitUntilCompleted": (self._wait, None),
                "status": (self._status, WORD),
                "error": (self._error, ID),
            },
            "MTLComputeCommandEncoder": {
                "setComputePipelineState:": (self._set_pipeline, None, ID),
                "setBuffers:offsets:withRange:": (
                    *(self._set_buffers, None),
                    *(ctypes.POINTER(ADDRESS), ctypes.POINTER(WORD), Range),
                ),
                "setBytes:length:atIndex:": (self._set_bytes, None, ADDRESS, WORD, WORD),
                "dispatchThreadgroups:threadsPerThreadgroup:": (self._dispatch, None, Size, Size),
                "endEncoding": (self._end_encoding, None),
            },
        }

    def _option(self, name: str) -> Callable[[int, int], None]:
        return lambda _, value: self.options.update({name: value})

    def _default_device(self) -> int | None:
        return self._new("MTLDevice", self.gpu) if self.has_gpu else None

    def _new_queue(self, device: int) -> int | None:
        return self._new("MTLCommandQueue", 0, device) if self.has_queue else None

    def _new_buffer(self, device: int, length: int, options: int) -> int | None:
        if not length or length > self.longest:
            return None
        made = EmulatedBuffer(length)
        made.fresh(False)  # Metal gives zeros
        return self._new("MTLBuffer", made, device)

    def _new_mapped(self, device: int, start: int, length: int, options: int, end: Any) -> Any:
        if start % mmap.PAGESIZE or length % mmap.PAGESIZE or not length:
            return None
        self.mapped += 1
        return self._new("MTLBuffer", Mapped(start, length), device)

    def _contents(self, buffer: int) -> int:
        found = self.models[buffer]
        if isinstance(found, Mapped):
            return found.address
        return ctypes.addressof(ctypes.c_char.from_buffer(found.view))

    def _new_library(self, device: int, text: int, options: int, error: int) -> int | None:
        try:
            kernels = self.gpu.compile(self._bytes(text).decode())
        except RunError as refused:
            self._fail(error, refused.message)
            return None
        return self._new("MTLLibrary", kernels, device)

    def _new_compiled(self, device: int, data: int, error: int) -> int | None:
        """A library whose bitcode is the Metal text that it was made from; nothing behind it."""
        content = self._bytes(data)
        try:
            library = read_library(memoryview(content))
            assert alone(library) == content, "Metal may refuse what stands behind a library"
        except LibraryError:
            self._fail(error, "Invalid library file")
            return None
        if not self.takes_compiled:
            self._fail(error, "This library is using language version 2.3")
            return None
        code = bytes(library.functions[0].bitcode)
        kernels = self.gpu.compile(code[20 : 20 + int.from_bytes(code[12:16], "little")].decode())
        self.loaded += 1
        return self._new("MTLLibrary", kernels, device)

    def _new_function(self, library: int, name: int) -> int | None:
        kernels: Kernels = self.models[library]
        found = kernels.functions.get(self._bytes(name).decode())
        return self._new("MTLFunction", (kernels, found), library) if found else None

    def _new_pipeline(self, device: int, function: int, error: int) -> int | None:
        if not self.can_make_pipelines:
            self._fail(error, "Compiler encountered an internal error")
            return None
        return self._new("MTLComputePipelineState", self.models[function], device, function)

    def _command_buffer(self, queue: int) -> int | None:
        if not self.has_commands:
            return None
        return self._autoreleased(self._new("MTLCommandBuffer", CommandBuffer(), queue))

    def _encoder(self, commands: int) -> int:
        model = Encoder(commands, self.models[commands])
        return self._autoreleased(self._new("MTLComputeCommandEncoder", model, commands))

    def _set_pipeline(self, encoder: int, pipeline: int) -> None:
        self.models[encoder].pipeline = self.models[pipeline]
        self._retain(self.models[encoder].object, pipeline)

    def _set_buffers(self, encoder: int, buffers: Any, offsets: Any, where: Range) -> None:
        bound = self.models[encoder].bound
        for at in range(where.length):
            buffer, offset, index = buffers[at], offsets[at], where.location + at
            found = self.models.get(buffer)
            if found is None or index > LAST_BUFFER or offset >= found.nbytes:
                self._faults.append(f"buffer {index} cannot be bound at {offset}")
                continue
            bound[index] = found, offset
            self._retain(self.models[encoder].object, buffer)

    def _set_bytes(self, encoder: int, source: int, length: int, index: int) -> None:
        if not 0 < length <= MOST_INLINE or index > LAST_BUFFER:
            self._faults.append(f"{length} bytes cannot be set as buffer {index}")
            return
        self.models[encoder].bound[index] = ctypes.string_at(source, length), 0

    def _dispatch(self, encoder: int, groups: Size, threads: Size) -> None:
        found: Encoder = self.models[encoder]
        if found.pipeline is None or found.ended:
            self._faults.append("a dispatch without a pipeline, or after the end")
            return
        kernels, function = found.pipeline
        count, size = (s.width * s.height * s.depth for s in (groups, threads))
        if not 0 < size <= most_threads(function) or not count:
            self._faults.append(f"{count} threadgroups of {size} threads")
            return
        found.commands.dispatches.append(
            Dispatch(kernels, function, count, size, dict(found.bound))
        )

    def _end_encoding(self, encoder: int) -> None:
        self.models[encoder].ended = self.models[encoder].commands.encoded = True

    def _commit(self, commands: int) -> None:
        found = self.models[commands]
        if found.committed or not found.encoded:
            self._faults.append("a commit before endEncoding, or the second one")
            return
        self.commits += 1
        self._retain(0, commands)  # the queue keeps it until it is done
        self.gpu.commit(found)

    def _wait(self, commands: int) -> None:
        found = self.models[commands]
        if not found.committed:
            self._faults.append("waiting for what was not committed never ends")
            return
        self.gpu.wait(found)
        self._let_go()
        if self.errors:
            found.error = self.errors.pop(0)

    def _let_go(self) -> None:
        for each in [c for c in self.owned.get(0, ()) if self.models[c].done]:
            self.owned[0].remove(each)
            self._release(each, self._release_selector)

    def _status(self, commands: int) -> int:
        found = self.models[commands]
        return 5 if found.error else 4 if found.done else 2

    def _error(self, commands: int) -> int | None:
        found = self.models[commands]
        if not found.error:
            return None
        data = found.error.encode()
        made = self._library.fake_new(ADDRESS(self._class("NSError")), data, WORD(len(data)))
        return self._autoreleased(made)
