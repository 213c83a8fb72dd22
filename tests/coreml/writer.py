"""Writes small Core ML models: protobuf by hand, so that no test needs coremltools.

The field numbers are Apple's (`Model.proto`, `MIL.proto`, `FeatureTypes.proto`), the layout of
weight.bin is that of MILBlob.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Type = tuple[str, tuple[int | None, ...]]

DTYPES = {"bool": 1, "str": 2, "f16": 10, "f32": 11, "i8": 21, "i16": 22, "i32": 23, "i64": 24,
          "i4": 25, "u8": 31, "u16": 32, "u32": 33, "u64": 34, "u4": 35, "u1": 37}  # fmt: skip
NAMES = {"float16": "f16", "float32": "f32", "int8": "i8", "int16": "i16", "int32": "i32",
          "int64": "i64", "uint8": "u8", "uint16": "u16", "uint32": "u32",
          "bool": "bool"}  # fmt: skip
BLOBS = {"f16": 1, "f32": 2, "u8": 3, "i8": 4, "i16": 6, "u16": 7, "i4": 8, "u1": 9, "u4": 11,
         "i32": 14, "u32": 15}  # fmt: skip
ARRAYS = {"f16": 65552, "f32": 65568, "i32": 131104}


# ---- protobuf ------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def number(at: int, value: int) -> bytes:
    return varint(at << 3) + varint(value)


def real(at: int, value: float) -> bytes:
    return varint(at << 3 | 5) + struct.pack("<f", value)


def part(at: int, *payload: bytes) -> bytes:
    data = b"".join(payload)
    return varint(at << 3 | 2) + varint(len(data)) + data


def text(at: int, value: str) -> bytes:
    return part(at, value.encode())


def entry(at: int, key: str, value: bytes) -> bytes:
    return part(at, text(1, key), part(2, value))


def integers(at: int, values: Iterable[int]) -> bytes:
    return part(at, *map(varint, values))


def reals(at: int, values: Iterable[float]) -> bytes:
    numbers = list(values)
    return part(at, struct.pack(f"<{len(numbers)}f", *numbers))


# ---- MIL -----------------------------------------------------------------------------------------


def value_type(type: Type) -> bytes:
    dtype, shape = type
    if dtype in ("table", "state"):
        return part({"table": 4, "state": 5}[dtype])
    sizes = [
        part(3, part(2)) if size is None else part(3, part(1, number(1, size))) for size in shape
    ]
    return part(1, number(1, DTYPES[dtype]), number(2, len(shape)), *sizes)


def immediate(value: Any) -> bytes:
    """A number, a text, an array or a list of numbers, in the program itself."""
    if isinstance(value, str):
        held = part(4, part(1, value.encode()))
        return part(2, value_type(("str", ()))) + part(3, part(1, held))
    if isinstance(value, bool | int | float):
        value = np.array(value, {bool: bool, int: np.int32, float: np.float32}[type(value)])
    array = np.asarray(value)
    if array.dtype == np.int64:
        array = array.astype(np.int32)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    dtype = NAMES[array.dtype.name]
    if dtype == "f32":
        held = part(1, part(1, array.astype("<f4").tobytes()))
    elif dtype == "i32":
        held = part(2, integers(1, map(int, array.flat)))
    elif dtype == "bool":
        held = part(3, integers(1, map(int, array.flat)))
    else:
        held = part(7, part(1, array.tobytes()))
    return part(2, value_type((dtype, array.shape))) + part(3, part(1, held))


@dataclass
class Weights:
    """A weight.bin under construction."""

    data: bytearray = field(default_factory=lambda: bytearray(64))
    count: int = 0

    def add(self, data: bytes, dtype: str) -> int:
        """The offset of the metadata of a new blob."""
        self.data += bytes(-len(self.data) % 64)
        at = len(self.data)
        self.data += struct.pack("<IIQQQ", 0xDEADBEEF, BLOBS[dtype], len(data), at + 64, 0)
        self.data += bytes(at + 64 - len(self.data)) + data
        self.count += 1
        struct.pack_into("<II", self.data, 0, self.count, 2)
        return at


@dataclass
class MilModel:
    """An ML program of one function; inputs and results are types by name."""

    inputs: Mapping[str, Type]
    version: int = 7
    opset: str = "CoreML6"
    weights: Weights = field(default_factory=Weights)
    operations: list[bytes] = field(default_factory=list)
    outputs: list[tuple[str, Type]] = field(default_factory=list)
    ranges: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)

    def const(self, name: str, value: Any) -> str:
        """A constant in the program."""
        held = immediate(value)
        return self._const(name, held)

    def stored(self, name: str, data: Array | bytes, type: Type | None = None) -> str:
        """A constant in weight.bin; `type` is that of packed bytes."""
        return self._const(name, self.blob(data, type))

    def blob(self, data: Array | bytes, type: Type | None = None) -> bytes:
        """A value in weight.bin."""
        if not isinstance(data, bytes):
            type, data = (NAMES[data.dtype.name], data.shape), data.tobytes()
        assert type is not None
        at = self.weights.add(data, type[0])
        where = part(5, text(1, "@model_path/weights/weight.bin"), number(2, at))
        return part(2, value_type(type)) + where

    def _const(self, name: str, value: bytes) -> str:
        # the type of the result is the first part of the value
        self.raw("const", {}, [part(3, text(1, name), value[: _length(value)])],
                 [entry(5, "name", immediate(name)), entry(5, "val", value)])  # fmt: skip
        return name

    def op(
        self, kind: str, results: Mapping[str, Type], /, output: bool = False, **arguments: Any
    ) -> None:
        """An operation; a text that names a value is that value, and so are those of a list."""
        outs = [part(3, text(1, n), part(2, value_type(t))) for n, t in results.items()]
        called = entry(5, "name", immediate(next(iter(results), kind)))
        self.raw(kind, arguments, outs, [called])
        if output:
            self.outputs += results.items()

    def raw(
        self, kind: str, arguments: Mapping[str, Any], outs: list[bytes], attributes: list[bytes]
    ) -> None:
        """An operation of parts that are written already."""
        given = [entry(2, key, self._argument(value)) for key, value in arguments.items()]
        self.operations.append(part(3, text(1, kind), *given, *outs, *attributes))

    def _argument(self, value: Any) -> bytes:
        values = value if isinstance(value, tuple) else (value,)
        return b"".join(
            part(1, text(1, v.name)) if isinstance(v, Name) else part(1, part(2, immediate(v)))
            for v in values
        )

    # ---- the file -------------------------------------------------------------------------------

    def program(self) -> bytes:
        block = [text(2, name) for name, _ in self.outputs] + self.operations
        inputs = [part(1, text(1, n), part(2, value_type(t))) for n, t in self.inputs.items()]
        function = b"".join([*inputs, text(2, self.opset), entry(3, self.opset, b"".join(block))])
        return number(1, 1) + entry(2, "main", function)

    def specification(self) -> bytes:
        shown = [part(1, self._feature(n, t)) for n, t in self.inputs.items()]
        shown += [part(10, self._feature(n, t)) for n, t in self.outputs]
        user = [entry_of_texts(100, k, v) for k, v in self.metadata.items()]
        description = b"".join([*shown, part(100, *user)])
        return number(1, self.version) + part(2, description) + part(502, self.program())

    def _feature(self, name: str, type: Type) -> bytes:
        if name in self.images:
            width, height, color = self.images[name]
            held = part(4, number(1, width), number(2, height), number(3, color))
            return text(1, name) + part(3, held)
        dtype, shape = type
        sizes = [size or 1 for size in shape]
        parts = [integers(1, sizes), number(2, ARRAYS.get(dtype, 65568))]
        if name in self.ranges:
            spans = [part(1, number(1, low), number(2, high)) for low, high in self.ranges[name]]
            parts.append(part(31, *spans))
        return text(1, name) + part(3, part(5, *parts))

    def write(self, path: Path) -> Path:
        """A package."""
        data = path / "Data" / "com.apple.CoreML"
        (data / "weights").mkdir(parents=True)
        (data / "weights" / "weight.bin").write_bytes(self.weights.data)
        (data / "model.mlmodel").write_bytes(self.specification())
        items = {"A": {"path": "com.apple.CoreML/model.mlmodel", "name": "model.mlmodel"},
                 "B": {"path": "com.apple.CoreML/weights", "name": "weights"}}  # fmt: skip
        manifest = {"fileFormatVersion": "1.0.0", "itemInfoEntries": items,
                    "rootModelIdentifier": "A"}  # fmt: skip
        (path / "Manifest.json").write_text(json.dumps(manifest))
        return path


def entry_of_texts(at: int, key: str, value: str) -> bytes:
    return part(at, text(1, key), text(2, value))


class Name:
    """A value of the program by its name, as an argument."""

    def __init__(self, name: str) -> None:
        self.name = name


def _length(data: bytes) -> int:
    """The bytes of the first field of a message."""
    at = 1
    size = shift = 0
    while True:
        byte = data[at]
        size |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return at + size
