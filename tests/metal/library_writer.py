"""Metal libraries for tests, written tag by tag and apart from the code that reads them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping


def tag(name: str, data: bytes) -> bytes:
    return name.encode() + struct.pack("<H", len(data)) + data


def wrapped(code: bytes) -> bytes:
    """Bytes as Apple's linker stores bitcode: behind a header, filled up to 16 bytes."""
    found = struct.pack("<5I", 0x0B17C0DE, 0, 20, len(code), 0xFFFFFFFF) + code
    return found + bytes(-len(found) % 16)


def write_library(
    functions: Mapping[str, bytes],
    *,
    kinds: Mapping[str, int] | None = None,
    system: tuple[int, int] = (14, 0),
    sources: bytes = b"",
) -> bytes:
    """A library of kernels, or of other `kinds`; `sources` stand behind the bitcode, by a tag."""
    groups, public, private, code = b"", b"", b"", b""
    for name, content in functions.items():
        bitcode = wrapped(content)
        tags = (
            tag("NAME", name.encode() + b"\0")
            + tag("TYPE", bytes([(kinds or {}).get(name, 2)]))
            + tag("HASH", hashlib.sha256(bitcode).digest())
            + tag("MDSZ", struct.pack("<Q", len(bitcode)))
            + tag("OFFT", struct.pack("<3Q", len(public), len(private), len(code)))
            + tag("VERS", struct.pack("<4H", 2, 6, 2, 3))
            + b"ENDT"
        )
        groups += struct.pack("<I", len(tags) + 4) + tags
        public += struct.pack("<I", 8) + b"ENDT"
        private += struct.pack("<I", 8) + b"ENDT"
        code += bitcode
    listed = struct.pack("<I", len(functions)) + groups
    extension = len(tag("UUID", bytes(16)) + b"ENDT") + (22 if sources else 0)
    at_public = 88 + len(listed) + extension
    at_private, at_code = at_public + len(public), at_public + len(public) + len(private)
    size = at_code + len(code) + len(sources)
    header = b"MTLB" + struct.pack("<HHHBBHBBQ", 0x8001, 2, 7, 0, 0x81, *system, 0, size)
    sections = (88, max(len(listed) - 4, 0), at_public, len(public), at_private, len(private))
    header += struct.pack("<8Q", *sections, at_code, len(code))
    tags = tag("UUID", bytes(range(16)))
    if sources:
        tags += tag("HSRC", struct.pack("<2Q", at_code + len(code), len(sources)))
    return header + listed + tags + b"ENDT" + public + private + code + sources
