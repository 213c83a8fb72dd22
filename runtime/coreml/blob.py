"""Turns offsets into a weight.bin of a Core ML model into where its blobs lie and what they hold.

The layout is that of coremltools' MILBlob (mlmodel/src/MILBlob/Blob/StorageFormat.hpp): a header of
64 bytes (count, version), then for each blob 64 bytes that begin with {u32 0xDEADBEEF, u32 dtype,
u64 bytes, u64 offset of the data, u64 unused bits}, and the data, which begins at a multiple of 64.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SENTINEL = 0xDEADBEEF
DTYPES = {
    1: "f16", 2: "f32", 3: "u8", 4: "i8", 5: "bf16", 6: "i16", 7: "u16", 8: "i4", 9: "u1",
    10: "u2", 11: "u4", 12: "u3", 13: "u6", 14: "i32", 15: "u32", 16: "f8_e4m3", 17: "f8_e5m2",
}  # fmt: skip
BITS = {
    "f16": 16, "f32": 32, "f64": 64, "bf16": 16, "bool": 8, "i8": 8, "i16": 16, "i32": 32,
    "i64": 64, "u8": 8, "u16": 16, "u32": 32, "u64": 64, "i4": 4, "u1": 1, "u2": 2, "u3": 3,
    "u4": 4, "u6": 6, "f8_e4m3": 8, "f8_e5m2": 8,
}  # fmt: skip


class Blob:
    """Where numbers lie: in which of the model's files, from where, how many bytes of what type."""

    __slots__ = ("dtype", "file", "nbytes", "offset", "shape")

    def __init__(
        self, file: int, offset: int, nbytes: int, dtype: str, shape: tuple[int, ...]
    ) -> None:
        self.file, self.offset, self.nbytes = file, offset, nbytes
        self.dtype, self.shape = dtype, shape


def locate(data: Any, file: int, at: int, dtype: str, shape: tuple[int, ...], count: int) -> Blob:
    """The blob whose metadata lies at an offset; `count` is the number of elements of its shape.

    Raises ValueError when it does not lie in the file, or holds something else.
    """
    if not 0 <= at <= len(data) - 64:
        raise ValueError(f"a weight at byte {at} lies outside of a file of {len(data)}")
    mark, kind, nbytes, offset, _ = struct.unpack_from("<IIQQQ", data, at)
    if mark != SENTINEL:
        raise ValueError(f"there is no weight at byte {at} of its file")
    if DTYPES.get(kind) != dtype:
        held = DTYPES.get(kind, f"type {kind}")
        raise ValueError(f"the weight at byte {at} is {held}, and the program says {dtype}")
    if offset > len(data) or nbytes > len(data) - offset:
        raise ValueError(f"the weight at byte {at} ends behind its file")
    needed = stored_bytes(dtype, count)
    if nbytes != needed:
        raise ValueError(f"the weight at byte {at} has {nbytes} bytes, its shape needs {needed}")
    return Blob(file, offset, nbytes, dtype, shape)


def stored_bytes(dtype: str, count: int) -> int:
    """The bytes of so many elements; those of less than a byte are packed, lowest bits first."""
    return (count * BITS[dtype] + 7) // 8
