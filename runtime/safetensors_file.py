"""Turns a mapped SafeTensors file into its table of tensors, without touching the data.

The layout and the rules come from the reference implementation (the Rust crate `safetensors`,
`Metadata::validate`): u64 header length, JSON header, then the data, which the tensors must cover
exactly, with neither gaps nor overlaps.
"""

from __future__ import annotations

import struct

from tlc.runtime import strict_json
from tlc.runtime.errors import RunError
from tlc.runtime.model_file import ModelFile, Part, TensorEntry, element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterable, Mapping

LONGEST_HEADER = 100_000_000
TYPES = "gguf.types"  # the key of a converted file under which its metadata has types

# dtype -> bits per element
DTYPE_BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}


def read(path: str, mapping: mmap.mmap) -> ModelFile:
    """The model in a SafeTensors file. Raises RunError E0601 when the file breaks the format."""
    try:
        end, texts, tensors = _table(memoryview(mapping))
    except ValueError as error:
        raise RunError("E0601", f"{path}: a damaged SafeTensors file: {error}") from None
    metadata: Mapping[str, object] = texts
    if TYPES in texts:
        from tlc.runtime.metadata import TypedTexts

        metadata = TypedTexts(texts)
    return ModelFile(path, "SafeTensors", metadata, tensors, [Part(path, mapping, end)])


def _table(data: memoryview) -> tuple[int, dict[str, str], dict[str, TensorEntry]]:
    if len(data) < 8:
        raise ValueError(f"it has {len(data)} bytes, less than the length of its header")
    (length,) = struct.unpack_from("<Q", data)
    if length > len(data) - 8:
        raise ValueError(f"its header should have {length} bytes, the file has {len(data) - 8}")
    if length > LONGEST_HEADER:
        raise ValueError(f"its header has {length} bytes, more than {LONGEST_HEADER}")
    start = 8 + length
    header = strict_json.parse(data[8:start])
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    metadata = _metadata(header.pop("__metadata__", None))
    tensors = {name: _entry(name, fields, start) for name, fields in header.items()}
    _check_cover(tensors.values(), start, len(data))
    return start, metadata, tensors


def _metadata(found: object) -> dict[str, str]:
    match found:
        case None:
            return {}
        case dict() if all(isinstance(value, str) for value in found.values()):
            return found
        case _:
            raise ValueError("its __metadata__ is not a map from text to text")


def _entry(name: str, fields: object, start: int) -> TensorEntry:
    match fields:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            raise ValueError(f"the header of tensor {name[:80]!r} is malformed")
    if dtype not in DTYPE_BITS:
        raise ValueError(f"tensor {name[:80]!r} has the unknown dtype {dtype[:80]!r}")
    try:
        bits = element_count(shape) * DTYPE_BITS[dtype]
    except ValueError as error:
        raise ValueError(f"tensor {name[:80]!r} {error}") from None
    if type(begin) is not int or type(end) is not int or not 0 <= begin <= end:
        raise ValueError(f"tensor {name[:80]!r} has impossible data offsets")
    if bits != 8 * (end - begin):
        raise ValueError(
            f"tensor {name[:80]!r} has {end - begin} bytes of data, its shape needs {bits / 8:g}"
        )
    return TensorEntry(name, tuple(shape), dtype.lower(), start + begin, end - begin)


def _check_cover(tensors: Iterable[TensorEntry], start: int, size: int) -> None:
    at = start
    for entry in sorted(tensors, key=lambda entry: (entry.offset, entry.nbytes)):
        if entry.offset != at:
            what = "overlaps another" if entry.offset < at else "leaves a gap before it"
            raise ValueError(f"the data of tensor {entry.name[:80]!r} {what}")
        at += entry.nbytes
    if at != size:
        raise ValueError(f"its tensors end at byte {at}, the file has {size}")
