"""The cpu device: compiles kernel text of the cpu profile and runs launch lists on its threads."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct

from tlc.runtime.devices import cache, toolchain
from tlc.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from tlc.runtime.devices import Kernel, Launch

MAX_THREADS = 256
# Chunks of a launch that a thread takes: enough that the last ones end at nearly the same time.
CHUNKS_PER_THREAD = 8
# From here on memory is worth backing with huge pages: a weight matrix is read from end to end.
HUGE_BYTES = 4 << 20

# What native/pool.cpp declares: Batch without its launches, Launch.
_BATCH = struct.Struct("=QIIQQ")
_LAUNCH = struct.Struct("=QQII")
_GROUPS, _GROUPS_AT = struct.Struct("=II"), 16
# Batch's trial and best times: find out by trying, or never share.
_TRY = (0, 0, 0)
_ALONE = (4, 1, 0)

_pool_library: list[ctypes.CDLL] = []


class CpuBuffer:
    """Memory of this process: `view` are its bytes, `address` is where they start."""

    __slots__ = ("address", "nbytes", "view")

    def __init__(self, view: memoryview, nbytes: int, address: int) -> None:
        self.view, self.nbytes, self.address = view, nbytes, address


class CpuLibrary:
    """The entry points of the compiled kernels, by name; the object stays loaded."""

    __slots__ = ("entries",)

    def __init__(self, entries: dict[str, int]) -> None:
        self.entries = entries


class CpuBatch:
    """A `Batch` of native/pool.cpp, its pointer tables and dims in one piece of memory."""

    __slots__ = ("address", "buffers", "groups", "memory", "sharing", "words")

    def __init__(
        self,
        memory: ctypes.Array[Any],
        launches: Sequence[Launch],
        words: tuple[struct.Struct, int],
        sharing: tuple[int, int, int],
    ) -> None:
        self.memory, self.buffers = memory, [launch.buffers for launch in launches]
        self.groups = tuple(launch.groups for launch in launches)
        self.words, self.sharing = words, sharing  # how all dims lie in memory, and from where on
        self.address = ctypes.addressof(memory)


class CpuDevice:
    """Runs the `cpu` profile on `threads` threads, the caller's among them.

    The number of threads is $TLC_THREADS, else that of the processors this process may use. `run`
    returns when all launches are done. Two Python threads may use one device; the second caller's
    batch is then run by that thread alone.
    """

    name = "cpu"
    profile = "cpu"

    def __init__(self, threads: int | None = None) -> None:
        self._pool = 0  # made with the first library: it needs the compiler too
        self._run: Callable[[int], None] = _closed
        self._end: Callable[[int], None] = _closed
        self.threads = _threads() if threads is None else threads

    def library(self, text: str, kernels: Sequence[Kernel]) -> CpuLibrary:
        """Compile `text`, or find it compiled. Raises RunError E0701, E0703."""
        if not self._pool:
            pool = _load_pool()
            self._pool = pool.tlc_pool_open(self.threads)
            if not self._pool:
                raise MemoryError("no memory for the thread pool")
            self._run, self._end = pool.tlc_pool_run, pool.tlc_pool_close
        if not kernels:
            return CpuLibrary({})
        names = [kernel.name for kernel in kernels]
        entries = ",\n".join(f"tlc::entry<::{name}>" for name in names)
        table = f"TLC_EXPORT const tlc::entry_point tlc_entries[] = {{\n{entries}}};"
        source = f'# 1 "kernels.metal"\n{text}\n# 1 "entries"\n{table}\n'
        loaded = load_object(source, uses_header=True)
        addresses = (ctypes.c_size_t * len(names)).in_dll(loaded, "tlc_entries")
        return CpuLibrary(dict(zip(names, addresses, strict=True)))

    def buffer(self, nbytes: int) -> CpuBuffer:
        """Zeroed memory, aligned to a page. Raises MemoryError."""
        pages = zeroed(nbytes)
        start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        return CpuBuffer(memoryview(pages), nbytes, start)

    def constant(self, data: memoryview) -> CpuBuffer:
        """A buffer over the memory of `data` itself, which must be contiguous."""
        view = memoryview(data).cast("B") if data.nbytes else memoryview(bytes(1))
        return CpuBuffer(view, data.nbytes, address(view))

    def write(self, buffer: CpuBuffer, data: bytes | memoryview) -> None:
        """Copy bytes to the start of the buffer."""
        view = memoryview(data)
        if view.nbytes:
            buffer.view[: view.nbytes] = view.cast("B")

    def read(self, buffer: CpuBuffer, nbytes: int) -> memoryview:
        """The first bytes of the buffer: its memory, not a copy."""
        return buffer.view[:nbytes]

    def batch(self, library: CpuLibrary, launches: Sequence[Launch]) -> CpuBatch:
        """Lay out the launches as native/pool.cpp reads them."""
        tables = _BATCH.size + _LAUNCH.size * len(launches)
        tables += -tables % 8
        slots = sum(len(each.buffers) + (each.dims is not None) for each in launches)
        dims = tables + 8 * slots
        size = dims + sum(len(each.dims or b"") + 15 & -16 for each in launches)
        memory = (ctypes.c_uint64 * ((size + 7) // 8))()
        base = ctypes.addressof(memory)
        table = tables
        sharing, start, layout = _ALONE, dims, "="
        for index, launch in enumerate(launches):
            buffers: list[Any] = launch.buffers
            addresses = [buffer.address for buffer in buffers]
            if launch.dims is not None:
                ctypes.memmove(base + dims, launch.dims, len(launch.dims))
                addresses.append(base + dims)
                dims += len(launch.dims) + 15 & -16
                layout += f"{len(launch.dims) // 4}I{-len(launch.dims) % 16}x"
            chunk = self._chunk(launch.groups)
            if launch.groups > chunk:
                sharing = _TRY
            entry = library.entries[launch.kernel.name]
            at = _BATCH.size + _LAUNCH.size * index
            _LAUNCH.pack_into(memory, at, entry, base + table, launch.groups, chunk)
            struct.pack_into(f"={len(addresses)}Q", memory, table, *addresses)
            table += 8 * len(addresses)
        _BATCH.pack_into(memory, 0, self._pool, len(launches), *sharing)
        return CpuBatch(memory, launches, (struct.Struct(layout), start), sharing)

    def resize(self, batch: CpuBatch, groups: tuple[int, ...], words: tuple[int, ...]) -> None:
        """Give a batch other numbers of threadgroups and other words of dims."""
        layout, start = batch.words
        layout.pack_into(batch.memory, start, *words)
        if groups == batch.groups:
            return
        sharing = _ALONE
        for index, number in enumerate(groups):
            chunk = self._chunk(number)
            at = _BATCH.size + _LAUNCH.size * index + _GROUPS_AT
            _GROUPS.pack_into(batch.memory, at, number, chunk)
            if number > chunk:
                sharing = _TRY
        batch.groups = groups
        if sharing != batch.sharing:
            batch.sharing = sharing
            _BATCH.pack_into(batch.memory, 0, self._pool, len(groups), *sharing)

    def _chunk(self, groups: int) -> int:
        if self.threads == 1:
            return max(groups, 1)
        return max(groups // (self.threads * CHUNKS_PER_THREAD), 1)

    @property
    def runner(self) -> int:
        """Where the function lies that takes a batch's address and runs it."""
        return ctypes.cast(self._run, ctypes.c_void_p).value or 0  # type: ignore[arg-type]

    def run(self, batch: CpuBatch) -> None:
        """Run all launches of the batch; they are done when this returns."""
        self._run(batch.address)

    def close(self) -> None:
        """End the threads. Buffers are freed with the last reference to them."""
        pool, self._pool, self._run = self._pool, 0, _closed
        if pool:
            self._end(pool)

    __del__ = close


def _closed(address: int) -> None:
    raise ValueError("the device is closed or has no library")


def _threads() -> int:
    chosen = os.environ.get("TLC_THREADS")
    if chosen:
        if not chosen.isdecimal() or not 1 <= int(chosen) <= MAX_THREADS:
            message = f"TLC_THREADS is {chosen!r}; it must be a number from 1 to {MAX_THREADS}"
            raise RunError("E0702", message)
        return int(chosen)
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MAX_THREADS)
    return min(os.cpu_count() or 1, MAX_THREADS)


def zeroed(nbytes: int) -> mmap.mmap:
    """Memory of at least so many zeros, aligned to a page. Raises MemoryError."""
    try:
        pages = mmap.mmap(-1, max(nbytes, 1), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError):
        raise MemoryError(f"no memory for a buffer of {nbytes} bytes") from None
    if nbytes >= HUGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        try:  # noqa: SIM105 (contextlib takes as long to load as ctypes)
            pages.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            pass  # a kernel built without huge pages
    return pages


def address(view: memoryview) -> int:
    """Where the bytes of a view start; unlike ctypes' from_buffer, also for read-only memory."""
    description = (ctypes.c_void_p * 16)()  # a Py_buffer; `buf` is its first field
    api = ctypes.pythonapi
    api.PyObject_GetBuffer(ctypes.py_object(view), description, 0)
    address = description[0] or 0
    # Releasing drops only this description: the buffer keeps `view`, and `view` keeps the memory.
    api.PyBuffer_Release(description)
    return address


def _load_pool() -> ctypes.CDLL:
    if not _pool_library:
        with open(os.path.join(toolchain.NATIVE, "pool.cpp"), encoding="utf-8") as file:
            _pool_library.append(_declare(load_object(file.read(), uses_header=False)))
    return _pool_library[0]


def _declare(pool: ctypes.CDLL) -> ctypes.CDLL:
    pool.tlc_pool_open.argtypes = [ctypes.c_uint32]
    pool.tlc_pool_open.restype = ctypes.c_void_p
    pool.tlc_pool_run.argtypes = [ctypes.c_void_p]
    pool.tlc_pool_run.restype = None
    pool.tlc_pool_close.argtypes = [ctypes.c_void_p]
    pool.tlc_pool_close.restype = None
    pool.tlc_pool_forked.restype = None
    os.register_at_fork(after_in_child=pool.tlc_pool_forked)
    return pool


def load_object(source: str, uses_header: bool) -> ctypes.CDLL:
    """Compile C++ text, or take it from the cache, and load it. Raises RunError E0701, E0703."""
    found = toolchain.find()
    parts = [source, *toolchain.target()[0], toolchain.target()[1], *toolchain.FLAGS]
    parts += [each.identity() for each in found]
    keyed = [part.encode() for part in parts]
    if uses_header:
        with open(os.path.join(toolchain.NATIVE, "metal_stdlib"), "rb") as file:
            keyed.append(file.read())

    def build(path: str) -> None:
        toolchain.compile_shared(source, path, found)

    path = cache.fetch(cache.key(keyed), build)
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise RunError(
            "E0703",
            f"the compiled kernels cannot be loaded: {error}",
            "TLC_CACHE_DIR must be on a file system that programs may be loaded from",
        ) from None
