"""Launches compiled kernels on emulated threads, in memory that notices what kernels do wrong."""

from __future__ import annotations

import ctypes
from _thread import allocate_lock

from tlc.runtime.msl import build
from tlc.runtime.msl.findings import Finding, Report, findings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tlc.runtime.msl.build import Function, Kernels

ORDERS = ("forward", "reverse", "random")
MAX_THREADS = 1024  # of a threadgroup
MAX_THREADGROUP_BYTES = 32768
SECONDS = 20  # of computing that a threadgroup may take
SLOTS = range(2, 1024)  # of native/memory.h

_MOST_REPORTS, _MOST_BUFFERS = 64, 31


class _Options(ctypes.Structure):  # native/report.h
    _fields_ = tuple(
        (name, ctypes.c_uint32)
        for name in ("checked", "poison", "order", "seed", "flush", "seconds", "threadgroup_bytes")
    )


class _Binding(ctypes.Structure):  # native/runtime.cpp
    _fields_ = (
        ("slot", ctypes.c_uint32),
        ("writable", ctypes.c_uint32),
        ("offset", ctypes.c_uint64),
    )


class _Dispatch(ctypes.Structure):  # native/runtime.cpp
    _fields_ = (
        ("entry", ctypes.c_uint64),
        ("groups", ctypes.c_uint32 * 3),
        ("threads", ctypes.c_uint32 * 3),
        ("grid", ctypes.c_uint32 * 3),
        ("bound", ctypes.c_uint32),
        ("buffers", _Binding * _MOST_BUFFERS),
        ("threadgroup_bytes", ctypes.c_uint64 * _MOST_BUFFERS),
    )


_lock = allocate_lock()  # the state of the runtime is global
_free = list(reversed(SLOTS))
_declared: list[ctypes.CDLL] = []


def _runtime() -> ctypes.CDLL:
    if not _declared:
        library = build.load_runtime()
        library.tlc_buffer_open.argtypes = [ctypes.c_uint32, ctypes.c_uint64]
        library.tlc_buffer_open.restype = ctypes.c_void_p
        library.tlc_buffer_close.argtypes = [ctypes.c_uint32]
        library.tlc_buffer_fresh.argtypes = [
            ctypes.c_uint32,
            *[ctypes.c_uint64] * 2,
            ctypes.c_uint32,
        ]
        library.tlc_buffer_unwritten.argtypes = [ctypes.c_uint32, ctypes.c_uint64]
        library.tlc_buffer_unwritten.restype = ctypes.c_uint64
        library.tlc_buffer_origin.argtypes = [ctypes.c_uint32, ctypes.c_uint64]
        library.tlc_buffer_origin.restype = ctypes.c_uint32
        library.tlc_origin_name.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
        library.tlc_reports.restype = ctypes.POINTER(Report * _MOST_REPORTS)
        library.tlc_options.restype = ctypes.POINTER(_Options)
        library.tlc_log.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
        library.tlc_logged.restype = ctypes.c_uint64
        library.tlc_dispatch.argtypes = [ctypes.POINTER(_Dispatch)]
        _declared.append(library)
    return _declared[0]


class EmulatedBuffer:
    """Device memory of `nbytes` bytes between guard pages; `view` are its bytes.

    The emulator knows which of them somebody has written: fresh memory is zero and nobody's.
    """

    __slots__ = ("_slot", "nbytes", "view")

    def __init__(self, nbytes: int) -> None:
        """Raises MemoryError when there is no room."""
        runtime = _runtime()
        with _lock:
            if not _free:
                raise MemoryError("the emulator has room for no more buffers")
            self._slot = _free.pop()
            address = runtime.tlc_buffer_open(self._slot, nbytes)
        self.nbytes = nbytes
        if not address:
            raise MemoryError(f"no memory for a buffer of {nbytes} bytes")
        self.view = memoryview((ctypes.c_char * nbytes).from_address(address)).cast("B")
        self.fresh()

    @property
    def slot(self) -> int:
        return self._slot

    def write(self, data: bytes | memoryview) -> None:
        """Copy bytes to the start; they count as written."""
        source = memoryview(data)
        if source.nbytes:
            self.view[: source.nbytes] = source.cast("B")
            _runtime().tlc_buffer_fresh(self._slot, 0, source.nbytes, 0)

    def fresh(self, is_fresh: bool = True) -> None:
        """From now on all bytes count as unwritten, or as written."""
        _runtime().tlc_buffer_fresh(self._slot, 0, self.nbytes, int(is_fresh))

    def unwritten(self) -> list[tuple[int, int]]:
        """Ranges of bytes that nobody has written, or that hold values without a value."""
        ranges: list[tuple[int, int]] = []
        shadow, at = _runtime().tlc_buffer_unwritten, 0
        while (start := shadow(self._slot, at)) < self.nbytes and len(ranges) < 8:
            at = start + 1
            while at < self.nbytes and shadow(self._slot, at) == at:
                at += 1
            ranges.append((start, at))
        return ranges

    def origin(self, at: int) -> str:
        """The variable that a byte without a value came from (poison mode)."""
        text = ctypes.create_string_buffer(96)
        runtime = _runtime()
        runtime.tlc_origin_name(runtime.tlc_buffer_origin(self._slot, at), text)
        return text.value.decode("utf-8", "replace")

    def __del__(self) -> None:
        slot = getattr(self, "_slot", None)
        if slot is not None and _declared:
            _declared[0].tlc_buffer_close(slot)
            _free.append(slot)


class Access(ctypes.Structure):  # native/shadow.h
    """An access to a buffer: its place in the code, bytes, thread of the launch, `[[buffer]]`."""

    _fields_ = (
        ("pc", ctypes.c_uint64),
        ("offset", ctypes.c_uint64),
        ("who", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("buffer", ctypes.c_uint32),
        ("write", ctypes.c_uint32),
    )


class Log:
    """All accesses to buffers while it is entered, of kernels compiled to be checked."""

    __slots__ = ("_room",)

    def __init__(self, most: int) -> None:
        self._room = (Access * most)()

    def __enter__(self) -> Log:
        _runtime().tlc_log(self._room, len(self._room))
        return self

    def __exit__(self, *_: object) -> None:
        _runtime().tlc_log(None, 0)

    def accesses(self) -> memoryview:
        """Those so far, as bytes of `Access`. Raises MemoryError when there was no room for all."""
        count = _runtime().tlc_logged()
        if count > len(self._room):
            raise MemoryError(f"{count} accesses, and room for {len(self._room)}")
        return memoryview(self._room).cast("B")[: count * ctypes.sizeof(Access)]


class Schedule:
    """In which order lanes and simdgroups run; threadgroups run forward or in reverse."""

    __slots__ = ("flush", "order", "seconds", "seed")

    def __init__(
        self, order: str = "forward", seed: int = 1, flush: bool = True, seconds: int = SECONDS
    ) -> None:
        """`flush`: float32 denormals are zero, as on a GPU; `seconds`: of one threadgroup."""
        self.order, self.seed, self.flush, self.seconds = order, seed, flush, seconds


def launch(
    kernels: Kernels,
    name: str,
    buffers: Mapping[int, EmulatedBuffer],
    groups: Sequence[int],
    threads: Sequence[int],
    *,
    grid: Sequence[int] | None = None,
    threadgroup_bytes: Mapping[int, int] | None = None,
    offsets: Mapping[int, int] | None = None,
    schedule: Schedule | None = None,
    texts: dict[str, str] | None = None,
) -> list[Finding]:
    """Run a kernel; what it did wrong.

    `groups` threadgroups of `threads` threads, or as many as `grid` threads need; each has up to
    three numbers. Buffers without a place in the kernel are ignored; `offsets` are the bytes into
    them at which they are bound.
    """
    schedule = schedule or Schedule()
    function = kernels.function(name)
    size = _three(threads)
    if problem := _too_many(function, size):
        return [problem]
    count = _three(groups)
    whole = [c * s for c, s in zip(count, size, strict=True)]
    if grid is not None:
        whole = _three(grid)
        count = [-(-n // s) for n, s in zip(whole, size, strict=True)]
    dispatch = _Dispatch()
    dispatch.entry = function.address
    dispatch.groups[:], dispatch.threads[:], dispatch.grid[:] = count, size, whole
    for parameter in function.entry.signature.parameters:
        if parameter.kind == "buffer" and parameter.index in buffers:
            bound = buffers[parameter.index]
            dispatch.bound |= 1 << parameter.index
            offset = offsets.get(parameter.index, 0) if offsets else 0
            dispatch.buffers[parameter.index] = _Binding(bound.slot, int(parameter.written), offset)
    for index, nbytes in (threadgroup_bytes or {}).items():
        dispatch.threadgroup_bytes[index] = nbytes
    runtime = _runtime()
    with _lock:
        options = runtime.tlc_options().contents
        options.checked, options.poison = kernels.mode == "checked", kernels.mode == "poison"
        options.order, options.seed = ORDERS.index(schedule.order), schedule.seed
        options.flush, options.seconds = schedule.flush, schedule.seconds
        options.threadgroup_bytes = MAX_THREADGROUP_BYTES
        number = runtime.tlc_dispatch(ctypes.byref(dispatch))
        reports = runtime.tlc_reports().contents[:number]
        return findings(reports, function, {} if texts is None else texts)


def _three(numbers: Sequence[int]) -> list[int]:
    return [*numbers, 1, 1][:3]


def _too_many(function: Function, size: Sequence[int]) -> Finding | None:
    """Whether a threadgroup is larger than the GPU or the kernel allows."""
    total = size[0] * size[1] * size[2]
    limit = function.entry.signature.limit
    most = min(MAX_THREADS, limit or MAX_THREADS)
    if 1 <= total <= most:
        return None
    why = "[[max_total_threads_per_threadgroup]]" if limit and limit < MAX_THREADS else "the GPU"
    message = f"{total} threads in a threadgroup, and {why} allows {most}"
    return Finding("threads", message, function.name, function.entry.signature.comment)


def stored_without_value(
    function: Function, buffers: Mapping[int, EmulatedBuffer]
) -> list[Finding]:
    """What a launch in poison mode has stored that depends on a value that was never set."""
    found = []
    signature = function.entry.signature
    for parameter in signature.parameters:
        buffer = buffers.get(parameter.index) if parameter.kind == "buffer" else None
        if buffer is None or not parameter.written:
            continue
        for start, end in buffer.unwritten()[:1]:
            message = (
                f"bytes {start} to {end - 1} of buffer({parameter.index}) are computed from"
                f" {buffer.origin(start)}, which has no value"
            )
            found.append(Finding("uninitialised-value", message, function.name, signature.comment))
    return found
