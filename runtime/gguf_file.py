"""Turns a mapped GGUF file into its metadata and its table of tensors, without touching the data.

The layout is that of docs/gguf.md in the ggml repository, versions 2 and 3, little-endian. Every
length is checked against the bytes that are left before anything of that length is made. The
values of the metadata are decoded when asked for: a vocabulary has hundreds of thousands.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from tlc.runtime.errors import RunError
from tlc.runtime.model_file import ModelFile, Part, TensorEntry, element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator
    from typing import Any

# ggml type -> (name, elements per block, bytes per block), from ggml_type_traits
TENSOR_TYPES = {
    0: ("f32", 1, 4),
    1: ("f16", 1, 2),
    2: ("q4_0", 32, 18),
    3: ("q4_1", 32, 20),
    6: ("q5_0", 32, 22),
    7: ("q5_1", 32, 24),
    8: ("q8_0", 32, 34),
    9: ("q8_1", 32, 40),
    10: ("q2_k", 256, 84),
    11: ("q3_k", 256, 110),
    12: ("q4_k", 256, 144),
    13: ("q5_k", 256, 176),
    14: ("q6_k", 256, 210),
    15: ("q8_k", 256, 292),
    16: ("iq2_xxs", 256, 66),
    17: ("iq2_xs", 256, 74),
    18: ("iq3_xxs", 256, 98),
    19: ("iq1_s", 256, 50),
    20: ("iq4_nl", 32, 18),
    21: ("iq3_s", 256, 110),
    22: ("iq2_s", 256, 82),
    23: ("iq4_xs", 256, 136),
    24: ("i8", 1, 1),
    25: ("i16", 1, 2),
    26: ("i32", 1, 4),
    27: ("i64", 1, 8),
    28: ("f64", 1, 8),
    29: ("iq1_m", 256, 56),
    30: ("bf16", 1, 2),
    34: ("tq1_0", 256, 54),
    35: ("tq2_0", 256, 66),
    39: ("mxfp4", 32, 17),
    40: ("nvfp4", 64, 36),
    41: ("q1_0", 128, 18),
}

# metadata value type -> struct code; the format stores a bool as one byte
NUMBERS: dict[int, Any] = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
# fmt: off
KIND_NAMES = {
    0: "u8", 1: "i8", 2: "u16", 3: "i16", 4: "u32", 5: "i32", 6: "f32", 7: "bool", 8: "str",
    10: "u64", 11: "i64", 12: "f64",
}
# fmt: on
_SIZES = {kind: struct.calcsize("<" + code) for kind, code in NUMBERS.items()}
_UINT32, _BOOL, _STRING, _ARRAY = 4, 7, 8, 9

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_DEEPEST_ARRAY = 4
_LONGEST_NAME = 65535
_MOST_DIMS = 8
_SMALLEST_PAIR = 8 + 4 + 1  # an empty key, a type, one byte
_SMALLEST_TENSOR = 8 + 4 + 4 + 8  # an empty name, no dims, a type, an offset


class Metadata(Mapping[str, object]):
    """The key-value pairs of a GGUF file, each decoded when it is first asked for.

    Numbers and bools come as such, text as `str` (bytes that are no UTF-8 become U+FFFD), arrays
    of numbers as a memoryview of the file, all other arrays as a list.
    """

    __slots__ = ("_data", "_places", "_values")

    def __init__(self, data: memoryview, places: dict[str, tuple[int, int, int]]) -> None:
        self._data = data
        self._places = places
        self._values: dict[str, object] = {}

    def __getitem__(self, key: str) -> object:
        if key not in self._values:
            kind, at, _ = self._places[key]
            self._values[key] = _value(self._data, kind, at)[0]
        return self._values[key]

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def kind(self, key: str) -> str:
        """The type of a value: `u32`, `str`, `[str]` for an array, `[[i32]]` for one of arrays."""
        kind, at, _ = self._places[key]
        brackets = 0
        while kind == _ARRAY:
            kind, count = (
                _U32.unpack_from(self._data, at)[0],
                _U64.unpack_from(self._data, at + 4)[0],
            )
            at, brackets = at + 12, brackets + 1
            if not count and kind == _ARRAY:
                kind = _STRING  # of no arrays: nothing says what they would hold
        return "[" * brackets + KIND_NAMES[kind] + "]" * brackets

    def texts(self, key: str) -> tuple[memoryview, int] | None:
        """The texts of an array, each behind its length, and how many there are; None for a value
        of another type."""
        if self.kind(key) != "[str]":
            return None
        _, at, end = self._places[key]
        return self._data[at + 12 : end], _U64.unpack_from(self._data, at + 4)[0]

    def encoded(self, key: str) -> memoryview:
        """A value as the file has it, without its type."""
        _, at, end = self._places[key]
        return self._data[at:end]

    def let_go(self) -> None:
        """Take the pages of all values out of this process's memory; they can be read again."""
        import mmap

        mapping = self._data.obj
        if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            end = max((end for _, _, end in self._places.values()), default=0)
            mapping.madvise(mmap.MADV_DONTNEED, 0, end // mmap.PAGESIZE * mmap.PAGESIZE)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def read(path: str, mapping: mmap.mmap) -> ModelFile:
    """The model in a GGUF file. Raises RunError E0601 when the file breaks the format."""
    data = memoryview(mapping)
    try:
        scanner = _Scanner(data)
        if unsupported := _unsupported(scanner.u32("the version")):
            hint = "`gguf-convert-endian FILE little` of the Python package gguf changes it"
            raise RunError(
                "E0601", f"{path}: {unsupported}", hint if "endian" in unsupported else ""
            )
        tensors, pairs = scanner.counts()
        places = scanner.metadata(pairs)
        infos = scanner.tensors(tensors)
        end, metadata = scanner.at, Metadata(data, places)
        entries = _entries(infos, end, _alignment(metadata, places), len(data))
    except ValueError as error:
        raise RunError("E0601", f"{path}: a damaged GGUF file: {error}") from None
    return ModelFile(path, "GGUF", metadata, entries, [Part(path, mapping, end)])


def _unsupported(version: int) -> str:
    if version in (2, 3):
        return ""
    if version and version & 0xFFFF == 0:
        return "a big-endian GGUF file, which is not supported"
    return f"a GGUF file of version {version}; versions 2 and 3 are supported"


class _Scanner:
    """Walks the head of the file from front to back; `at` is the next byte."""

    __slots__ = ("at", "data")

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 4

    def skip(self, size: int, what: str) -> int:
        """Move past `size` bytes that must exist; gives the place where they start."""
        start, left = self.at, len(self.data) - self.at
        if size > left:
            raise ValueError(f"{what} needs {size} bytes, {left} are left")
        self.at += size
        return start

    def u32(self, what: str) -> int:
        return int(_U32.unpack_from(self.data, self.skip(4, what))[0])

    def u64(self, what: str) -> int:
        return int(_U64.unpack_from(self.data, self.skip(8, what))[0])

    def name(self, what: str) -> str:
        size = self.u64(what)
        if size > _LONGEST_NAME:
            raise ValueError(f"{what} has {size} bytes")
        start = self.skip(size, what)
        try:
            return str(self.data[start : self.at], "utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{what} is not UTF-8") from None

    def counts(self) -> tuple[int, int]:
        """The number of tensors and of key-value pairs."""
        tensors, pairs = self.u64("the number of tensors"), self.u64("the number of keys")
        left = len(self.data) - self.at
        if tensors * _SMALLEST_TENSOR + pairs * _SMALLEST_PAIR > left:
            raise ValueError(f"{tensors} tensors and {pairs} keys do not fit in {left} bytes")
        return tensors, pairs

    def metadata(self, count: int) -> dict[str, tuple[int, int, int]]:
        """Of which type the value of each key is, where it starts and where it ends."""
        places: dict[str, tuple[int, int, int]] = {}
        for number in range(count):
            key = self.name(f"key {number}")
            if key in places:
                raise ValueError(f"the key {key[:80]!r} appears twice")
            kind = self.u32(f"the type of {key[:80]!r}")
            start = self.at
            self.skip_value(kind, f"the value of {key[:80]!r}", _DEEPEST_ARRAY)
            places[key] = kind, start, self.at
        return places

    def skip_value(self, kind: int, what: str, depth: int) -> None:
        if kind in _SIZES:
            self.skip(_SIZES[kind], what)
        elif kind == _STRING:
            self.skip(self.u64(what), what)
        elif kind != _ARRAY:
            raise ValueError(f"{what} has the unknown type {kind}")
        elif depth == 0:
            raise ValueError(f"{what} is nested too deep")
        else:
            kind, count = self.u32(what), self.u64(what)
            if kind in _SIZES:
                self.skip(count * _SIZES[kind], what)
            elif kind == _STRING:
                self.skip_strings(count, what)
            else:
                for _ in range(count):  # each takes bytes, so a false count ends soon
                    self.skip_value(kind, what, depth - 1)

    def skip_strings(self, count: int, what: str) -> None:
        """Move past many strings: the one loop of an opening that is long, so it is bare."""
        at, last, data, length = self.at, len(self.data) - 8, self.data, _U64.unpack_from
        for _ in range(count):
            if at > last:
                raise ValueError(f"{what} runs past the end of the file")
            at += 8 + length(data, at)[0]
        if at > len(data):
            raise ValueError(f"{what} ends at byte {at}, the file has {len(data)}")
        self.at = at

    def tensors(self, count: int) -> dict[str, tuple[tuple[int, ...], int, int]]:
        """Name -> (shape in NumPy order, type, offset from the start of the data)."""
        infos: dict[str, tuple[tuple[int, ...], int, int]] = {}
        for number in range(count):
            name = self.name(f"the name of tensor {number}")
            if name in infos:
                raise ValueError(f"tensor {name[:80]!r} appears twice")
            what = f"tensor {name[:80]!r}"
            rank = self.u32(what)
            if rank > _MOST_DIMS:
                raise ValueError(f"{what} has {rank} dimensions")
            dims = struct.unpack_from(f"<{rank}Q", self.data, self.skip(8 * rank, what))
            infos[name] = dims[::-1], self.u32(what), self.u64(what)
        return infos


def _alignment(metadata: Metadata, places: dict[str, tuple[int, int, int]]) -> int:
    kind, _, _ = places.get("general.alignment", (None, 0, 0))
    if kind is None:
        return 32
    value = metadata["general.alignment"]
    if kind != _UINT32 or not isinstance(value, int) or value.bit_count() != 1:
        raise ValueError("general.alignment is no power of two")
    return value


def _entries(
    infos: dict[str, tuple[tuple[int, ...], int, int]], end: int, alignment: int, size: int
) -> dict[str, TensorEntry]:
    start = end + -end % alignment
    entries: dict[str, TensorEntry] = {}
    after, last = start, ""
    for name, (shape, kind, offset) in sorted(infos.items(), key=lambda item: item[1][2]):
        what = f"tensor {name[:80]!r}"
        if offset % alignment:
            raise ValueError(f"{what} is not aligned to {alignment} bytes")
        try:
            at, nbytes = start + offset, _byte_count(shape, kind)
        except ValueError as error:
            raise ValueError(f"{what} {error}") from None
        if nbytes and at < after:
            raise ValueError(f"{what} overlaps {last}")
        if at + nbytes > size:
            raise ValueError(f"{what} ends at byte {at + nbytes}, the file has {size}")
        encoding = TENSOR_TYPES[kind][0] if kind in TENSOR_TYPES else f"type_{kind}"
        entries[name] = TensorEntry(name, shape, encoding, at, nbytes)
        if nbytes:
            after, last = at + nbytes, what
    return {name: entries[name] for name in infos}


def _byte_count(shape: tuple[int, ...], kind: int) -> int:
    """Bytes of a tensor; 0 for a type that is not known, whose data is never touched."""
    count = element_count(shape)
    if kind not in TENSOR_TYPES:
        return 0
    _, block, width = TENSOR_TYPES[kind]
    if block > 1 and (not shape or shape[-1] % block):
        raise ValueError(f"has rows that are not a multiple of {block} elements")
    return count // block * width


def _value(data: memoryview, kind: int, at: int) -> tuple[object, int]:
    """A metadata value that the scanner has been over, and the place after it."""
    if kind in NUMBERS:
        end = at + _SIZES[kind]
        if kind == _BOOL:
            return data[at] != 0, end
        return struct.unpack_from("<" + NUMBERS[kind], data, at)[0], end
    if kind == _STRING:
        end = at + 8 + _U64.unpack_from(data, at)[0]
        return str(data[at + 8 : end], "utf-8", "replace"), end
    kind, count, at = _U32.unpack_from(data, at)[0], _U64.unpack_from(data, at + 4)[0], at + 12
    if kind in NUMBERS and kind != _BOOL:
        end = at + count * _SIZES[kind]
        return data[at:end].cast(NUMBERS[kind]), end
    values: list[object] = []
    if kind == _STRING:  # a vocabulary: the one long loop of reading metadata, so it is bare
        length, append = _U64.unpack_from, values.append
        for _ in range(count):
            start = at + 8
            at = start + length(data, at)[0]
            append(str(data[start:at], "utf-8", "replace"))
        return values, at
    for _ in range(count):
        value, at = _value(data, kind, at)
        values.append(value)
    return values, at
