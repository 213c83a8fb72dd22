"""Turns the parts of a built program into one file that is a Metal library and a ZIP archive.

From the front it is an `MTLB` container: what Apple's compiler made of the kernels where it was
there, else one with an empty list of functions, laid out as Apple's tools write one for an empty
source. From the back it is a ZIP archive. The size in the library's header covers both, and the
archive's offsets count from the start of the file, so strict readers of either format accept it.
`runtime/metal_library.py` describes the layout of the library.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Protocol

WEIGHTS = "weights/"
ALIGNMENT = 16384  # a page of Apple's processors, so that stored weights can be mapped

_MACOS, _EXECUTABLE = 0x81, 0
_SIZE_AT = 16  # where the header holds the size of the file
_EXTRA_ID = 0x6C74  # of the padding before aligned members: "tl"
_LOCAL_HEADER = 30
_ZIP64_EXTRA = 20  # bytes that zipfile adds to it for 64-bit sizes
_LEVEL = 9

# What the reader (`runtime/zip_file.py`) takes: so many members, and above this size none that
# grows more than so many times when it is inflated.
MOST_MEMBERS = 64
_SMALL, _MOST_RATIO = 1 << 20, 200


class Pieces(Protocol):
    """Bytes too many to hold at once: the same pieces each time."""

    @property
    def nbytes(self) -> int: ...
    def pieces(self) -> Iterator[bytes | memoryview]: ...


Contents = bytes | memoryview | Pieces


def member_digests(members: Mapping[str, Contents]) -> dict[str, str]:
    """The SHA-256 of each member in hex: what the manifest holds under `members`."""
    return {name: _digest(data) for name, data in members.items()}


def _digest(data: Contents) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(data):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(data: Contents) -> Iterator[bytes | memoryview]:
    return iter((data,)) if isinstance(data, bytes | memoryview) else data.pieces()


def pack(
    members: Mapping[str, Contents], *, os_version: tuple[int, int] = (14, 0), library: bytes = b""
) -> bytes:
    """The bytes of an artifact with these members, in this order, behind a Metal library.

    `library` is that of Apple's compiler, or nothing, for one without functions.
    Members under `weights/` are stored on 16 KiB boundaries, all others deflated. Equal input
    gives equal bytes (with the same zlib): no dates, no paths, no platform. Raises ValueError
    for more than 64 members.
    """
    file = io.BytesIO()
    _write(file, members, library or _empty_library(os_version))
    return file.getvalue()


def write_artifact(
    path: str,
    members: Mapping[str, Contents],
    *,
    os_version: tuple[int, int] = (14, 0),
    library: bytes = b"",
) -> None:
    """Write what `pack` gives to a file, which is either replaced as a whole or left as it was.

    Raises OSError when it cannot be written, ValueError as `pack` does.
    """
    target = os.path.realpath(path)
    folder, base = os.path.split(target)
    temporary = os.path.join(folder, f".{base}.{secrets.token_hex(4)}.tmp")
    with open(temporary, "xb") as file:
        try:
            _write(file, members, library or _empty_library(os_version))
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise


def _write(file: IO[bytes], members: Mapping[str, Contents], library: bytes) -> None:
    if len(members) > MOST_MEMBERS:
        raise ValueError(f"an artifact holds at most {MOST_MEMBERS} members")
    file.write(library)
    # Opened where the library ends, so that the archive's offsets count that in.
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            _add(archive, file, name, data)
    size = file.seek(0, os.SEEK_END)
    file.seek(_SIZE_AT)
    file.write(struct.pack("<Q", size))


def _add(archive: zipfile.ZipFile, file: IO[bytes], name: str, data: Contents) -> None:
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.create_system = 3  # Unix, wherever this runs
    info.external_attr = 0o100644 << 16
    if not name.startswith(WEIGHTS):
        contents = b"".join(_pieces(data))
        bomb = _looks_like_a_bomb(contents)
        info.compress_type = zipfile.ZIP_STORED if bomb else zipfile.ZIP_DEFLATED
        archive.writestr(info, contents, compresslevel=_LEVEL)
        return
    info.file_size = len(data) if isinstance(data, bytes | memoryview) else data.nbytes
    wide = info.file_size > zipfile.ZIP64_LIMIT // 2  # zipfile would choose somewhere above this
    header = _LOCAL_HEADER + len(name.encode()) + 4 + wide * _ZIP64_EXTRA
    padding = -(file.tell() + header) % ALIGNMENT
    info.extra = struct.pack("<HH", _EXTRA_ID, padding) + bytes(padding)
    with archive.open(info, "w", force_zip64=wide) as member:
        for piece in _pieces(data):
            member.write(piece)
    info.extra = b""  # the directory at the end needs no padding


def _looks_like_a_bomb(data: bytes | memoryview) -> bool:
    return len(data) > _SMALL and len(zlib.compress(data, _LEVEL)) * _MOST_RATIO < len(data)


def _empty_library(os_version: tuple[int, int]) -> bytes:
    """A Metal library without functions, 118 bytes; little-endian:

    "MTLB", u16 container version | 0x8000 for macOS, u16 minor, u16 revision, u8 type,
    u8 platform | 0x80 for 64 bits, u16 u8 u8 version of the system, u64 size of the file, then
    u64 offset and u64 size of the functions, public metadata, private metadata and bitcode; then
    those. The functions are a u32 count (the size in the header leaves out the last "ENDT", which
    has the size of the count), followed by extension tags: a name, a u16 size, bytes.
    """
    major, minor = os_version
    revision = 7 if major < 15 else 8 if major < 26 else 9
    identity = hashlib.sha256(b"").digest()[:16]
    functions = struct.pack("<I", 0)
    extension = b"UUID" + struct.pack("<H", len(identity)) + identity + b"ENDT"
    start = 88
    end = start + len(functions) + len(extension)
    return (
        b"MTLB"
        + struct.pack("<HHHBB", 0x8001, 2, revision, _EXECUTABLE, _MACOS)
        + struct.pack("<HBBQ", major, minor, 0, end)
        + struct.pack("<8Q", start, 0, end, 0, end, 0, end, 0)
        + functions
        + extension
    )
