"""The bytes of a Metal library to its functions and what is declared of them, all of it checked.

The container has no public description. Its layout was read off Apple's files, and agrees with what
MetalLibraryArchive (Archive.swift), Metal.jl (src/compiler/library.jl) and dxmt
(metallib_writer.cpp) read and write; little-endian:

     0  "MTLB", u16 1 | 0x8000 for macOS, u16 2, u16 revision, u8 type, u8 platform | 0x80
    12  u16 u8 u8 version of the system, u64 size of the file
    24  u64 offset, u64 size of: functions, public metadata, private metadata, bitcode
    88  u32 count, and for each function u32 size (its own four bytes counted) and tags; then tags
        of the library, up to the public metadata

A tag is a name of four letters, a u16 size and bytes; `ENDT` ends a list and has neither. The size
of the functions in the header leaves out their last `ENDT`.
"""

from __future__ import annotations

import struct
from itertools import pairwise

HEADER = 88
SIZE_AT = 16  # where the header holds the size of the file
WRAPPER = 0x0B17C0DE  # begins bitcode: this, u32 version, offset, size and processor
PLATFORMS = {
    **{1: "macOS", 2: "iOS", 3: "tvOS", 4: "watchOS", 5: "bridgeOS", 6: "Mac Catalyst"},
    **{7: "the iOS simulator", 8: "the tvOS simulator", 9: "the watchOS simulator"},
    **{10: "DriverKit", 11: "visionOS", 12: "the visionOS simulator"},
}
LIBRARY_TYPES = {0: "executable", 1: "Core Image", 2: "dynamic", 3: "symbol companion"}
FUNCTION_TYPES = {
    **{0: "vertex", 1: "fragment", 2: "kernel", 3: "unqualified", 4: "visible", 5: "extern"},
    **{6: "intersection"},
}
_SECTIONS = ("functions", "public metadata", "private metadata", "bitcode")
_WIDE = (b"RBUF", b"SBUF", b"SARC")  # tags whose size is a u32
_NO_SPAN = "UUID"  # the only tag of a library with 16 bytes that are no offset and size


class LibraryError(ValueError):
    """The bytes are no Metal library, or one that cannot be read; the text says why."""


class MetalFunction:
    """A function: `air` and `msl` are versions, `bitcode` is LLVM's with its wrapper."""

    __slots__ = ("air", "at", "bitcode", "digest", "kind", "msl", "name", "tags")

    def __init__(self, tags: dict[str, bytes], at: int, bitcode: memoryview) -> None:
        versions = struct.unpack("<4H", tags["VERS"])
        self.name = tags["NAME"].rstrip(b"\0").decode("utf-8", "backslashreplace")
        code = tags["TYPE"][0]
        self.kind = FUNCTION_TYPES.get(code, f"type {code}")
        self.air, self.msl = versions[:2], versions[2:]
        self.at, self.bitcode = at, bitcode
        self.digest, self.tags = tags["HASH"], tags


class MetalLibrary:
    """What a library declares; `end` is where the last byte ends that anything in it points at."""

    __slots__ = ("data", "end", "functions", "kind", "platform", "revision", "system", "tags")

    def __init__(self, data: memoryview) -> None:
        self.data = data
        _, _, self.revision, kind, platform = struct.unpack_from("<HHHBB", data, 4)
        self.kind = LIBRARY_TYPES.get(kind & 0x7F, f"type {kind}")
        self.platform = PLATFORMS.get(platform & 0x7F, f"platform {platform}")
        self.system = struct.unpack_from("<HBB", data, 12)
        self.functions: list[MetalFunction] = []
        self.tags: dict[str, bytes] = {}
        self.end = HEADER


def read_library(data: memoryview) -> MetalLibrary:
    """A library of as many bytes as its header says. Raises LibraryError, and nothing else."""
    if len(data) < HEADER or bytes(data[:4]) != b"MTLB":
        raise LibraryError("it does not begin as a Metal library")
    (size,) = struct.unpack_from("<Q", data, SIZE_AT)
    if size != len(data):
        raise LibraryError(f"it should have {size} bytes and has {len(data)}")
    numbers = struct.unpack_from("<8Q", data, 24)
    spans = list(zip(numbers[::2], numbers[1::2], strict=True))
    for name, (start, length) in zip(_SECTIONS, spans, strict=True):
        if not HEADER <= start <= size or length > size - start:
            raise LibraryError(f"its {name} end beyond the file")
    try:
        return _read(data, spans)
    except (struct.error, KeyError, IndexError) as error:
        raise LibraryError(f"it is damaged: {error}") from None


def _read(data: memoryview, spans: list[tuple[int, int]]) -> MetalLibrary:
    library = MetalLibrary(data)
    (at, listed), (public, public_size), (private, private_size), (code, code_size) = spans
    library.end = max(start + length for start, length in spans)
    (count,) = struct.unpack_from("<I", data, at)
    end, at = at + listed, at + 4
    seen: set[int] = set()
    for number in range(count):
        (size,) = struct.unpack_from("<I", data, at)
        tags, after = _tags(data, at + 4)
        if after != at + size:
            raise LibraryError(f"function {number} has {after - at} bytes and says {size}")
        at = after
        missing = [n for n in ("NAME", "TYPE", "HASH", "MDSZ", "OFFT", "VERS") if n not in tags]
        if missing:
            raise LibraryError(f"function {number} has no {missing[0]}")
        places, length = struct.unpack("<3Q", tags["OFFT"]), struct.unpack("<Q", tags["MDSZ"])[0]
        if places[2] > code_size or length > code_size - places[2]:
            raise LibraryError(f"the bitcode of function {number} ends beyond that of the file")
        start = code + places[2]
        library.functions.append(MetalFunction(tags, start, data[start : start + length]))
        for section, length, place in (
            (public, public_size, places[0]),
            (private, private_size, places[1]),
        ):
            if length:
                if place >= length:
                    raise LibraryError(f"the metadata of function {number} is outside of it")
                _tags(data, section + place + 4, seen)
    _apart(library.functions)
    if at - end not in (0, 4):
        raise LibraryError(f"its functions end at byte {at} and not at {end}")
    library.end = max(library.end, at)
    if at < public:
        library.tags, after = _tags(data, at)
        library.end = max(library.end, after)
    for name, value in library.tags.items():
        if len(value) == 16 and name != _NO_SPAN:
            start, length = struct.unpack("<2Q", value)
            if start > len(data) or length > len(data) - start:
                raise LibraryError(f"its {name} ends beyond the file")
            library.end = max(library.end, start + length)
    return library


def _apart(functions: list[MetalFunction]) -> None:
    """Functions may share their bitcode, but not a part of it: checking would take for ever."""
    spans = sorted({(f.at, len(f.bitcode)): f for f in functions}.items(), key=lambda item: item[0])
    for ((at, length), before), ((start, _), function) in pairwise(spans):
        if start < at + length:
            raise LibraryError(f"the bitcode of {before.name} and {function.name} overlaps")


def _tags(data: memoryview, at: int, seen: set[int] | None = None) -> tuple[dict[str, bytes], int]:
    """The tags from here to `ENDT`, or to one that was `seen`, and where what is behind begins."""
    found: dict[str, bytes] = {}
    while True:
        if seen is not None:
            if at in seen:
                return found, at
            seen.add(at)
        name = bytes(data[at : at + 4])
        at += 4
        if name == b"ENDT":
            return found, at
        if len(name) < 4 or not name.isalnum():
            raise LibraryError(f"there is no tag at byte {at - 4}")
        width, format = (4, "<I") if name in _WIDE else (2, "<H")
        (size,) = struct.unpack_from(format, data, at)
        at += width
        if size > len(data) - at:
            raise LibraryError(f"the tag at byte {at - 4 - width} ends beyond the file")
        found[name.decode()] = bytes(data[at : at + size])
        at += size


def alone(library: MetalLibrary) -> bytes:
    """The library before anything was put behind it; Metal need not take what was."""
    found = bytearray(library.data[: library.end])
    struct.pack_into("<Q", found, SIZE_AT, len(found))
    return bytes(found)


def problems(library: MetalLibrary) -> list[str]:
    """What is wrong with the contents: bitcode that is none, or whose hash is not its own."""
    import hashlib

    found: list[str] = []
    digests: dict[tuple[int, int], bytes] = {}
    for function in library.functions:
        code = function.bitcode
        key = (function.at, len(code))  # functions may share it
        if key not in digests:
            digests[key] = hashlib.sha256(code).digest()
        if digests[key] != function.digest:
            found.append(f"{function.name}: the hash is not that of its bitcode")
        elif len(code) < 20 or struct.unpack_from("<I", code)[0] != WRAPPER:
            found.append(f"{function.name}: this is no bitcode")
    return found
