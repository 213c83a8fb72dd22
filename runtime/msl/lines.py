"""Addresses in compiled kernels to lines of the text: reads the line table of a shared object.

ELF: System V ABI, chapter 4. Line table: DWARF 4, section 6.2 (clang is asked for that version).
"""

from __future__ import annotations

import struct
from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Lines:
    """The lines of one shared object, found by the offset of an address in it."""

    __slots__ = ("_places", "_starts")

    def __init__(self, path: str) -> None:
        """Read a shared object that clang wrote for a 64-bit little-endian machine."""
        with open(path, "rb") as file:
            rows = sorted(_rows(_section(file.read(), b".debug_line")))
        self._starts = [row[0] for row in rows]
        self._places = [row[1:] for row in rows]

    def find(self, offset: int) -> tuple[str, int] | None:
        """File and line of an instruction; None for code that has none."""
        at = bisect_right(self._starts, offset) - 1
        if at < 0:
            return None
        file, line = self._places[at]
        return (file, line) if file and line else None


def _section(data: bytes, name: bytes) -> bytes:
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count, names = struct.unpack_from("<HHH", data, 58)
    headers = [struct.unpack_from("<IIQQQQ", data, table + size * at) for at in range(count)]
    base = headers[names][4]
    for where, _, _, _, offset, length in headers:
        if data[base + where :].startswith(name + b"\0"):
            return data[offset : offset + length]
    return b""


def _rows(data: bytes) -> Iterator[tuple[int, str, int]]:
    """Address, file and line, for every program in the section; ("", 0) where a sequence ends."""
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        yield from _program(data[at + 4 : at + 4 + length])
        at += 4 + length


def _program(data: bytes) -> Iterator[tuple[int, str, int]]:
    reader = _Reader(data)
    version, header = reader.take("<H"), reader.take("<I")
    start = reader.at + header
    if version != 4:
        return
    smallest, _, _, base, span, first_special = (
        reader.take(f) for f in ("<B", "<B", "<B", "<b", "<B", "<B")
    )
    operands = [reader.take("<B") for _ in range(first_special - 1)]
    while reader.string():  # folders
        pass
    files = [""]
    while name := reader.string():
        files.append(name.decode("utf-8", "replace"))
        for _ in range(3):
            reader.unsigned()
    reader.at = start
    address, file, line = 0, 1, 1
    while reader.at < len(data):
        code = reader.take("<B")
        if code >= first_special:
            address += (code - first_special) // span * smallest
            line += base + (code - first_special) % span
            yield address, files[file], line
        elif code == 0:  # extended
            size = reader.unsigned()
            end = reader.at + size
            match reader.take("<B"):
                case 1:  # end of sequence
                    yield address, "", 0
                    address, file, line = 0, 1, 1
                case 2:
                    address = reader.take("<Q")
            reader.at = end
        elif code == 1:
            yield address, files[file], line
        elif code == 2:
            address += reader.unsigned() * smallest
        elif code == 3:
            line += reader.signed()
        elif code == 4:
            file = reader.unsigned()
        elif code == 8:
            address += (255 - first_special) // span * smallest
        elif code == 9:
            address += reader.take("<H")
        else:
            for _ in range(operands[code - 1]):
                reader.unsigned()


class _Reader:
    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return int(value)

    def string(self) -> bytes:
        end = self.data.index(b"\0", self.at)
        found, self.at = self.data[self.at : end], end + 1
        return found

    def unsigned(self) -> int:  # LEB128
        value = shift = 0
        while True:
            byte = self.take("<B")
            value |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                return value

    def signed(self) -> int:
        start = self.at
        value = self.unsigned()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) & 1 else value
