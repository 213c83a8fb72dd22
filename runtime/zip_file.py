"""Turns the bytes of a ZIP archive into its members, trusting nothing that the archive says.

Only what tlc writes is read: one disk, no encryption, members stored or deflated, sizes in the
headers (those of ZIP64 where 32 bits are too few), no comment. The layout is that of PKWARE's
APPNOTE.TXT, 4.3.
"""

from __future__ import annotations

import struct
import zlib

MOST_MEMBERS = 64
MOST_INFLATED = 1 << 30  # bytes that all deflated members together may grow to
SMALL = 1 << 20  # bytes below which no ratio is suspicious
MOST_RATIO = 200  # kernel text shrinks about tenfold; deflate itself can reach 1032

_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_EXTRA = struct.Struct("<2H")
_ZIP64 = 1  # the extra field that holds 64-bit numbers
_ELSEWHERE = 0xFFFFFFFF  # in a field of 32 bits: ZIP64 has the number
STORED, DEFLATED = 0, 8
_UTF8, _DEFLATE_LEVEL = 0x800, 0x006  # the flags that change nothing for a reader


class ZipError(Exception):
    """The bytes are no ZIP archive, or not one that tlc writes; the text says why."""


class NoZipError(ZipError):
    """There is no archive at the end of the bytes at all."""


class Member:
    """Where a member's bytes lie, and what they must inflate to."""

    __slots__ = ("at", "checksum", "method", "name", "packed", "size", "start")

    def __init__(
        self, name: str, method: int, checksum: int, packed: int, size: int, start: int
    ) -> None:
        self.name = name
        self.method = method
        self.checksum = checksum
        self.packed = packed  # bytes in the archive
        self.size = size
        self.start = start  # of the local header
        self.at = 0  # where the bytes begin, set by `_check_local`


def members(data: memoryview) -> dict[str, Member]:
    """The members of the archive that ends where `data` ends, by name, in the archive's order.

    Raises ZipError, and nothing else, unless every header is consistent; contents are checked by
    `read`.
    """
    if len(data) < _END.size or bytes(data[-_END.size :][:4]) != b"PK\5\6":
        raise NoZipError("there is no ZIP directory at its end")
    count, start, end = _directory(data)
    if count > MOST_MEMBERS:
        raise ZipError(f"its ZIP directory has {count} members, more than {MOST_MEMBERS}")
    found: dict[str, Member] = {}
    at = start
    for _ in range(count):
        member, at = _central(data, at, end)
        if member.name in found:
            raise ZipError(f"it has two members {member.name!r}")
        found[member.name] = member
    if at != end:
        raise ZipError("its ZIP directory has bytes that belong to no member")
    after = 0
    for member in sorted(found.values(), key=lambda member: member.start):
        if member.start < after:
            raise ZipError(f"its member {member.name!r} overlaps another")
        after = _check_local(data, member, start)
    inflated = sum(member.size for member in found.values() if member.method == DEFLATED)
    if inflated > MOST_INFLATED:
        raise ZipError(f"its members grow to {inflated} bytes, more than {MOST_INFLATED}")
    return found


def _directory(data: memoryview) -> tuple[int, int, int]:
    """The number of members, and where their directory starts and ends."""
    end = len(data) - _END.size
    _, disk, first_disk, here, count, size, start, comment = _END.unpack_from(data, end)
    if disk or first_disk or here != count or comment:
        raise ZipError("its ZIP directory is split or has a comment")
    locator = end - _LOCATOR.size
    if locator >= _END64.size and bytes(data[locator:][:4]) == b"PK\6\7":
        end = locator - _END64.size
        magic, _, _, _, disk, first_disk, here, *wide = _END64.unpack_from(data, end)
        if magic != b"PK\6\6" or disk or first_disk or here != wide[0]:
            raise ZipError("its ZIP directory is split or damaged")
        narrow = zip((count, size, start), wide, (0xFFFF, _ELSEWHERE, _ELSEWHERE), strict=True)
        if _LOCATOR.unpack_from(data, locator)[1:] != (0, end, 1) or any(
            short not in (long, elsewhere) for short, long, elsewhere in narrow
        ):
            raise ZipError("its ZIP directory has two ends that differ")
        count, size, start = wide
    if start + size != end:
        raise ZipError("its ZIP directory is not where its end says")
    return count, start, end


def read(data: memoryview, member: Member) -> bytes | memoryview:
    """The contents of a member: a view when stored, new bytes when deflated. Raises ZipError."""
    packed = data[member.at : member.at + member.packed]
    contents = packed if member.method == STORED else _inflate(packed, member)
    if zlib.crc32(contents) != member.checksum:
        raise ZipError(f"its member {member.name!r} is damaged (CRC)")
    return contents


def _inflate(packed: memoryview, member: Member) -> bytes:
    stream = zlib.decompressobj(-15)
    try:
        # One byte more than promised, so that a longer stream shows without being followed.
        contents = stream.decompress(packed, member.size + 1)
    except zlib.error:
        raise ZipError(f"its member {member.name!r} is damaged (deflate)") from None
    if len(contents) != member.size or not stream.eof or stream.unused_data:
        raise ZipError(f"its member {member.name!r} does not inflate to its size")
    return contents


def _central(data: memoryview, at: int, end: int) -> tuple[Member, int]:
    if at + _CENTRAL.size > end:
        raise ZipError("its ZIP directory is cut short")
    (
        magic, _, _, flags, method, _, _, checksum, packed, size,
        name_size, extra_size, comment_size, disk, _, _, start,
    ) = _CENTRAL.unpack_from(data, at)  # fmt: skip
    name_at = at + _CENTRAL.size
    after = name_at + name_size + extra_size + comment_size
    if magic != b"PK\1\2" or after > end or disk:
        raise ZipError("its ZIP directory is damaged")
    extra = data[name_at + name_size :][:extra_size]
    size, packed, start = _widened(extra, (size, packed, start))
    name = _name(bytes(data[name_at : name_at + name_size]), flags)
    if flags & ~(_UTF8 | _DEFLATE_LEVEL):
        raise ZipError(f"its member {name!r} is encrypted or streamed")
    if method not in (STORED, DEFLATED):
        raise ZipError(f"its member {name!r} is packed by the unknown method {method}")
    if method == STORED and packed != size:
        raise ZipError(f"its member {name!r} is stored and has two sizes")
    if size > max(SMALL, MOST_RATIO * packed):
        raise ZipError(f"its member {name!r} claims to grow from {packed} to {size} bytes")
    return Member(name, method, checksum, packed, size, start), after


def _widened(extra: memoryview, fields: tuple[int, ...]) -> tuple[int, ...]:
    """Fields of a header, with what its extra field has of those that 32 bits cannot hold."""
    at = 0
    while at + _EXTRA.size <= len(extra):
        kind, length = _EXTRA.unpack_from(extra, at)
        at += _EXTRA.size
        if kind == _ZIP64:
            count = fields.count(_ELSEWHERE)
            if length != 8 * count or at + length > len(extra):
                raise ZipError("its ZIP directory is damaged (ZIP64)")
            wide = iter(struct.unpack_from(f"<{count}Q", extra, at))
            return tuple(next(wide) if field == _ELSEWHERE else field for field in fields)
        at += length
    return fields


def _name(raw: bytes, flags: int) -> str:
    try:
        name = raw.decode("utf-8" if flags & _UTF8 else "ascii")
    except UnicodeDecodeError:
        raise ZipError("it has a member whose name is not UTF-8") from None
    # `a//b`, `/a`, `a/`, `.` and `..` all have such a part.
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise ZipError(f"its member {name[:80]!r} has no plain relative name")
    if not name.isprintable() or "\\" in name or ":" in name:
        raise ZipError(f"its member {name[:80]!r} has no plain relative name")
    return name


def _check_local(data: memoryview, member: Member, limit: int) -> int:
    """Compare the header before the member with the directory; gives the end of the member."""
    if member.start + _LOCAL.size > limit:
        raise ZipError(f"its member {member.name!r} lies outside the archive")
    (
        magic, _, flags, method, _, _, checksum, packed, size, name_size, extra_size,
    ) = _LOCAL.unpack_from(data, member.start)  # fmt: skip
    name_at = member.start + _LOCAL.size
    member.at = name_at + name_size + extra_size
    size, packed = _widened(data[name_at + name_size : member.at], (size, packed))
    same = (
        magic == b"PK\3\4"
        and not flags & ~(_UTF8 | _DEFLATE_LEVEL)
        and (method, checksum, packed, size)
        == (member.method, member.checksum, member.packed, member.size)
        and bytes(data[name_at : name_at + name_size]) == member.name.encode()
    )
    if not same:
        raise ZipError(f"its member {member.name!r} has two headers that differ")
    after = member.at + member.packed
    if after > limit:
        raise ZipError(f"its member {member.name!r} lies outside the archive")
    return after
