"""Turns a loaded model into a GGUF file of version 3 that replaces the old one.

The layout is that of docs/gguf.md in the ggml repository, little-endian, aligned to 32 bytes.
"""

from __future__ import annotations

import struct

from tlc.runtime.errors import RunError
from tlc.runtime.gguf_file import TENSOR_TYPES
from tlc.runtime.metadata import pairs
from tlc.runtime.model_file import ModelFile, element_count
from tlc.runtime.save import replacing, stored_tensors
from tlc.runtime.weights import bytes_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ALIGNMENT = 32
LONGEST_NAME = 63  # bytes of a tensor's name: GGML_MAX_NAME is 64 and counts the end
MOST_AXES = 4  # GGML_MAX_DIMS

TYPES = {name: kind for kind, (name, _, _) in TENSOR_TYPES.items()}
ARCHITECTURE = "general.architecture"


def write_gguf(model: ModelFile, path: str, stored: Mapping[str, str]) -> None:
    """Write a model's tensors, each stored as its own encoding or as "f16" or "f32".

    The metadata goes along; a model without `general.architecture` gets its `model_type` as that.
    Raises RunError E0604 and E0606, and the old file stays.
    """
    entries = list(model.tensors.values())
    for entry in entries:
        if len(entry.name.encode()) > LONGEST_NAME:
            raise _refusal(path, entry.name, f"has a name of more than {LONGEST_NAME} bytes")
        if not 0 < len(entry.shape) <= MOST_AXES:
            raise _refusal(path, entry.name, f"has {len(entry.shape)} axes, not 1 to {MOST_AXES}")
    notes = dict(pairs(model, stored))
    if ARCHITECTURE not in notes:
        notes[ARCHITECTURE] = notes.get("model_type") or struct.pack("<I", 8) + _text("unknown")
    begin = head(notes, len(entries))
    at, table = 0, []
    for entry in entries:
        shape = entry.shape[::-1]
        table.append(_text(entry.name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
        table.append(struct.pack("<IQ", TYPES[stored[entry.name]], at))
        nbytes = bytes_of(stored[entry.name], element_count(entry.shape))
        at += nbytes + -nbytes % ALIGNMENT
    begin += b"".join(table)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(begin + bytes(-len(begin) % ALIGNMENT))
        for data in stored_tensors(model, entries, stored, path):
            file.write(data)
            file.write(bytes(-len(data) % ALIGNMENT))


def head(notes: Mapping[str, bytes], tensors: int) -> bytes:
    """What a file begins with: how many tensors it has, and its metadata, each value encoded."""
    start = b"GGUF" + struct.pack("<IQQ", 3, tensors, len(notes))
    return start + b"".join(_text(key) + value for key, value in notes.items())


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _refusal(path: str, name: str, reason: str) -> RunError:
    return RunError("E0606", f"{path}: tensor {name[:80]!r} {reason}, which GGUF cannot hold")
