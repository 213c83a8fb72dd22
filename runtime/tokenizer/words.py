"""Finds the texts of an array in a GGUF file: by their numbers, and their numbers by the texts."""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Mapping

from tlc.runtime.digests import digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterable, Iterator, Sequence

    Table = array[int] | memoryview[int]

_LENGTH = struct.Struct("<Q")  # before each text
# From this many texts on the tables are kept in the user's cache folder and mapped from there: to
# make those of 262,144 tokens takes 0.2 s.
KEPT = 50_000


class Words:
    """Texts, which stay where they are in memory: as GGUF has them, each behind its length.

    A table of hashes finds their numbers, with linear probing (Knuth, volume 3, 6.4); of equal
    texts it holds the first. 262,144 tokens take 3 MB so, and 43 MB as strings of Python.
    """

    __slots__ = ("_data", "_mapped", "_places", "_slots")

    def __init__(self, data: memoryview, count: int) -> None:
        """`data` are `count` texts, or begins with them."""
        self._data = data
        self._mapped: mmap.mmap | None = None
        self._places: Table
        self._slots: Table
        if count < KEPT or len(data) >> 32:
            self._places, self._slots = _tables(data, count)
        else:
            self._mapped = _kept(data, count)
            whole = memoryview(self._mapped).cast("I")
            self._places, self._slots = whole[:count], whole[count:]

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
        slot = _hash(found) & mask
        while slots[slot]:
            number = slots[slot] - 1
            start = self._places[number]
            if self._data[start - 8 : start + len(found)] == wanted:
                return number
            slot = (slot + 1) & mask
        return default

    def __contains__(self, text: str) -> bool:
        return self.get(text) >= 0

    def let_go(self) -> None:
        """Take the pages of the tables out of this process's memory; they can be read again."""
        import mmap

        if self._mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)


class Numbers:
    """A set of whole numbers: 4 bytes for each of them, where a set of Python has 80."""

    __slots__ = ("_sorted",)

    def __init__(self, numbers: Iterable[int]) -> None:
        self._sorted = array("I", sorted(numbers))

    def __iter__(self) -> Iterator[int]:
        return iter(self._sorted)

    def __len__(self) -> int:
        return len(self._sorted)

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        at = bisect_left(self._sorted, number)
        return at < len(self._sorted) and self._sorted[at] == number


class Some(Mapping[str, int]):
    """Some of the texts with their numbers, of equal ones the first, as a dict that holds none of
    them: 6,000 tokens would take 1 MB."""

    __slots__ = ("_hidden", "_numbers", "_words")

    def __init__(self, words: Words, numbers: Numbers) -> None:
        self._words, self._numbers = words, numbers
        # those whose text has another number first, which is not among these
        self._hidden: dict[str, int] = {}
        for number in self._numbers:
            text = words[number]
            if words.get(text) not in self._numbers:
                self._hidden.setdefault(text, number)

    def __getitem__(self, text: str) -> int:
        number = self._words.get(text)
        return number if number in self._numbers else self._hidden[text]

    def __iter__(self) -> Iterator[str]:
        return (self._words[number] for number in self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


def _hash(text: bytes | memoryview) -> int:
    """The same in every process, and nothing that a file could make equal for many texts."""
    return int.from_bytes(digest(text, 4), "little")


def _tables(data: memoryview, count: int) -> tuple[array[int], array[int]]:
    """Where each text starts, and by hashes one more than its number, 0 where there is none."""
    places = array("Q" if len(data) >> 32 else "I")
    slots = array("I", bytes(4 << (2 * count - 1).bit_length()))
    length, mask, at = _LENGTH.unpack_from, len(slots) - 1, 0
    for number in range(count):
        start = at + 8
        at = start + length(data, at)[0]
        places.append(start)
        text = data[start:at]
        slot = _hash(text) & mask
        while slots[slot]:
            other = places[slots[slot] - 1]
            if data[other - 8 : other + len(text)] == data[start - 8 : at]:
                break
            slot = (slot + 1) & mask
        else:
            slots[slot] = number + 1
    return places, slots


def _kept(data: memoryview, count: int) -> mmap.mmap:
    """The tables one behind the other, from the cache folder, where they are made once."""
    from tlc.runtime.devices import cache
    from tlc.runtime.mapped_file import map_file

    def build(path: str) -> None:
        places, slots = _tables(data, count)
        with open(path, "wb") as file:
            file.write(places)
            file.write(slots)

    name = cache.key([b"words", sys.byteorder.encode(), str(count).encode(), data])
    return map_file(cache.fetch(name, build, ".words"), "E0701")
