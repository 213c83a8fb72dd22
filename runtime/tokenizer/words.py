"""Finds the texts of an array in a GGUF file: by their numbers, and their numbers by the texts."""

from __future__ import annotations

import struct
from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_LENGTH = struct.Struct("<Q")  # before each text


class Words:
    """Texts, which stay where they are in memory: as GGUF has them, each behind its length.

    A table of hashes finds their numbers, with linear probing (Knuth, volume 3, 6.4); of equal
    texts it holds the first. 262,144 tokens take 4 MB so, and 43 MB as strings of Python.
    """

    __slots__ = ("_data", "_places", "_slots")

    def __init__(self, data: memoryview, count: int) -> None:
        """`data` begins with the first of `count` texts."""
        self._data = data = data.toreadonly()  # which can be hashed
        self._places = places = array("Q" if len(data) >> 32 else "I")
        self._slots = slots = array("I", bytes(4 << (2 * count).bit_length()))
        length, mask, at = _LENGTH.unpack_from, len(slots) - 1, 0
        for number in range(count):
            start = at + 8
            at = start + length(data, at)[0]
            places.append(start)
            text = data[start:at]
            slot = hash(text) & mask
            while slots[slot]:
                other = places[slots[slot] - 1]
                if data[other - 8 : other + len(text)] == data[start - 8 : at]:
                    break
                slot = (slot + 1) & mask
            else:
                slots[slot] = number + 1

    @classmethod
    def of(cls, texts: Sequence[str]) -> Words:
        """Those of a list."""
        data = [text.encode("utf-8", "surrogatepass") for text in texts]
        pieces = (part for text in data for part in (_LENGTH.pack(len(text)), text))
        return cls(memoryview(b"".join(pieces)), len(texts))

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> str:
        start = self._places[number]
        end = start + _LENGTH.unpack_from(self._data, start - 8)[0]
        return str(self._data[start:end], "utf-8", "replace")

    def get(self, text: str, default: int = -1) -> int:
        """The number of a text."""
        found = text.encode("utf-8", "surrogatepass")
        wanted, slots, mask = _LENGTH.pack(len(found)) + found, self._slots, len(self._slots) - 1
        slot = hash(found) & mask
        while slots[slot]:
            number = slots[slot] - 1
            start = self._places[number]
            if self._data[start - 8 : start + len(found)] == wanted:
                return number
            slot = (slot + 1) & mask
        return default

    def __contains__(self, text: str) -> bool:
        return self.get(text) >= 0
