"""What an artifact stores or refers to: constants as bytes, weights by name."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from tlc.ir.core import Op

ALIGNMENT = 64  # of a constant, in bytes
_STRUCT = {"f16": "e", "f32": "f", "i32": "i", "bool": "?"}


@dataclass(slots=True)
class Storage:
    """The constants and weights of all entries, each once, under their names in the manifest."""

    weights: list[dict[str, Any]] = field(default_factory=list)
    constants: bytearray = field(default_factory=bytearray)
    places: list[list[int]] = field(default_factory=list)  # offset and bytes of each constant
    known: dict[bytes, int] = field(default_factory=dict)

    def constant(self, op: Op) -> str:
        """The name of a constant."""
        data = constant_bytes(op)
        at = self.known.setdefault(data, len(self.places))
        if at == len(self.places):
            self.constants += bytes(-len(self.constants) % ALIGNMENT)
            self.places.append([len(self.constants), len(data)])
            self.constants += data
        return f"c{at}"

    def weight(self, op: Op, tensor: str) -> str:
        """The name of a tensor of a model file."""
        attrs = op.attrs
        record = {
            "model": attrs["model"],
            "tensor": tensor,
            "encoding": attrs["encoding"],
            "stored": attrs["stored"],
            "shape": [int(d) for d in op.result.tensor.shape],
        }
        if record not in self.weights:
            self.weights.append(record)
        return f"w{self.weights.index(record)}"


def constant_bytes(op: Op) -> bytes:
    """The little-endian bytes of a constant of static shape."""
    value, type = op.attrs["value"], op.result.tensor
    if isinstance(value, bytes):
        return value
    count = int(type.numel)
    numbers = value if isinstance(value, tuple) else (value,) * count
    code = _STRUCT[type.dtype]
    whole = type.dtype == "i32"
    return struct.pack(f"<{count}{code}", *(int(n) if whole else n for n in numbers))
