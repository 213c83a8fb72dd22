"""What the emulator reports about a launch, with the line of the text that it happened at."""

from __future__ import annotations

import ctypes
import os

from tlc.runtime.msl.lines import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlc.runtime.msl.build import Function

KINDS = {
    "out-of-bounds": "an access outside of its buffer, variable, array or vector",
    "data-race": "two threads access a byte, one writes, and no barrier orders them",
    "uninitialised-read": "a read of buffer or threadgroup memory that nobody has written",
    "uninitialised-value": "a value of a thread that has none decides what happens, or is stored",
    "unwritten-output": "bytes of a result that no thread has written",
    "barrier-divergence": "some threads of a threadgroup do not come to a barrier",
    "simdgroup-divergence": "lanes call functions of their simdgroup in different places",
    "exited-lanes": "a function of a simdgroup after some of its lanes have returned",
    "inactive-lane": "a shuffle from a lane that does not take part",
    "matrix-divergence": "an 8x8 matrix function without all 32 lanes",
    "matrix-nonuniform": "an 8x8 load or store where lanes name different places",
    "threadgroup-memory": "more threadgroup memory than there is",
    "threads": "more threads in a threadgroup than the kernel or the GPU allows",
    "read-only": "a write to memory that the kernel may only read",
    "misaligned": "an access at an address that its type does not allow",
    "null-pointer": "an access to a buffer that is not bound",
    "undefined": "arithmetic without a defined result",
    "endless-loop": "a threadgroup that does not end",
    "thread-memory": "a thread that needs too much memory of its own",
    "order": "results that depend on the order in which threads run",
}


class Finding:
    """One defect. `place` is file and line, where known; `source` the text of that line."""

    __slots__ = ("comment", "kernel", "kind", "message", "place", "source", "thread")

    def __init__(
        self, kind: str, message: str, kernel: str, comment: str = "", thread: str = ""
    ) -> None:
        self.kind, self.message, self.kernel, self.comment = kind, message, kernel, comment
        self.thread = thread
        self.place: tuple[str, int] | None = None
        self.source = ""

    def __str__(self) -> str:
        where = f"{self.place[0]}:{self.place[1]}: " if self.place else ""
        lines = [f"{where}{self.kind}: {self.message}"]
        if self.source:
            lines.append(f"    {self.source.strip()}")
        by = f" ({self.comment})" if self.comment else ""
        lines.append(
            f"    in kernel {self.kernel}{by}" + (f", {self.thread}" if self.thread else "")
        )
        return "\n".join(lines)


class Report(ctypes.Structure):
    """As native/report.h declares it."""

    _fields_ = (
        ("kind", ctypes.c_char_p),
        ("pc", ctypes.c_uint64 * 2),
        ("group", ctypes.c_uint32 * 3),
        ("thread", ctypes.c_uint32),
        ("simdgroup", ctypes.c_uint32),
        ("lane", ctypes.c_uint32),
        ("in_thread", ctypes.c_uint32),
        ("text", ctypes.c_char * 240),
    )


class _Found(ctypes.Structure):  # Dl_info
    _fields_ = (
        ("path", ctypes.c_char_p),
        ("base", ctypes.c_uint64),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_uint64),
    )


_tables: dict[str, Lines] = {}


def findings(reports: Sequence[Report], function: Function, texts: dict[str, str]) -> list[Finding]:
    """The reports of a launch, with places; `texts` are the files whose lines can be shown."""
    return [_finding(report, function, texts) for report in reports]


def _finding(report: Report, function: Function, texts: dict[str, str]) -> Finding:
    thread = ""
    if report.in_thread:
        thread = (
            f"threadgroup ({', '.join(map(str, report.group))}), thread {report.thread}"
            f" (simdgroup {report.simdgroup}, lane {report.lane})"
        )
    message = report.text.decode("utf-8", "replace")
    comment = function.entry.signature.comment
    found = Finding(report.kind.decode(), message, function.name, comment, thread)
    found.place = _place(report.pc[0]) or _place(report.pc[1])
    if found.place:
        found.source = _line(*found.place, texts)
    return found


def _place(pc: int) -> tuple[str, int] | None:
    """The line of the call that returns to `pc`."""
    if not pc:
        return None
    found = _Found()
    lookup = ctypes.CDLL(None).dladdr
    lookup.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Found)]
    if not lookup(pc, ctypes.byref(found)) or not found.path:
        return None
    path = os.fsdecode(found.path)
    if path not in _tables:
        _tables[path] = Lines(path)
    return _tables[path].find(pc - 1 - int(found.base))


def _line(file: str, line: int, texts: dict[str, str]) -> str:
    text = texts.get(file)
    if text is None:
        try:
            with open(file, encoding="utf-8", errors="replace") as opened:
                text = texts[file] = opened.read()
        except OSError:
            return ""
    lines = text.splitlines()
    return lines[line - 1] if line <= len(lines) else ""
