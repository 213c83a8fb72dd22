"""Turns the protobuf of an ML program into records, and its constants into tensors of the file.

Field numbers are those of Apple's MIL.proto. Blocks inside operations (`cond`, `while_loop`) are
not read: the operation itself is refused by its name when the program is compiled.
"""

from __future__ import annotations

import struct

from tlc.runtime.coreml.blob import BITS, stored_bytes
from tlc.runtime.coreml.records import Literal, Operation, Program, Ref, TensorType
from tlc.runtime.model_file import element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tlc.runtime.coreml.tensors import Tensors
    from tlc.runtime.coreml.wire import Message, Wire

DTYPES = {
    1: "bool", 2: "str", 10: "f16", 11: "f32", 12: "f64", 13: "bf16", 21: "i8", 22: "i16",
    23: "i32", 24: "i64", 25: "i4", 31: "u8", 32: "u16", 33: "u32", 34: "u64", 35: "u4", 36: "u2",
    37: "u1", 38: "u6", 39: "u3", 40: "f8_e4m3", 41: "f8_e5m2",
}  # fmt: skip

_PROGRAM = {2: "functions"}
_FUNCTION = {1: "inputs", 2: "opset", 3: "blocks"}
_BLOCK = {2: "outputs", 3: "operations"}
_OPERATION = {1: "type", 2: "inputs", 3: "outputs", 5: "attributes"}
_NAMED = {1: "name", 2: "type"}
_VALUE_TYPE = {1: "tensor", 2: "list"}
_TENSOR_TYPE = {1: "dtype", 3: "dimensions"}
_DIMENSION = {1: "constant", 2: "unknown"}
_ARGUMENT = {1: "bindings"}
_BINDING = {1: "name", 2: "value"}
_VALUE = {2: "type", 3: "immediate", 5: "blob"}
_IMMEDIATE = {1: "tensor", 2: "tuple", 3: "list"}
_BLOB = {1: "file", 2: "offset"}
# how a tensor holds its numbers
_HELD = {1: "floats", 2: "ints", 3: "bools", 4: "strings", 5: "longs", 6: "doubles", 7: "bytes"}
_VALUES = {1: "values"}
_INTEGERS = {"i8": "b", "i16": "h", "i32": "i", "i64": "q", "u8": "B", "u16": "H", "u32": "I",
             "u64": "Q", "bool": "?"}  # fmt: skip

_MOST_NESTED = 8  # lists in lists


def read(wire: Wire, span: slice, wanted: str, tensors: Tensors) -> Program:
    """One function of a program, by name. Raises ValueError for what is no program."""
    functions = dict(wire.entries(wire.message(span, _PROGRAM).spans("functions")))
    if wanted not in functions:
        raise ValueError(f"it has no function `{wanted[:80]}` among its {len(functions)}")
    function = wire.message(functions[wanted], _FUNCTION)
    opset = function.text("opset")
    blocks = dict(wire.entries(function.spans("blocks")))
    if opset not in blocks:
        raise ValueError("its function has no block for its opset")
    block = wire.message(blocks[opset], _BLOCK)
    reader = _Reader(wire, tensors)
    inputs = [reader.named(at) for at in function.spans("inputs")]
    operations = [reader.operation(at) for at in block.spans("operations")]
    outputs = block.texts("outputs")
    return Program(opset, inputs, tensors.folded(operations, outputs), outputs)


class _Reader:
    __slots__ = ("_tensors", "_wire")

    def __init__(self, wire: Wire, tensors: Tensors) -> None:
        self._wire, self._tensors = wire, tensors

    def named(self, span: slice) -> tuple[str, TensorType]:
        """A name and its type."""
        found = self._wire.message(span, _NAMED)
        return found.text("name"), self.type(found.span("type"))

    def type(self, span: slice | None) -> TensorType:
        """A tensor's type; that of anything else has the dtype `other`."""
        wire = self._wire
        held = wire.message(span, _VALUE_TYPE)
        if "tensor" not in held:
            return TensorType("list" if "list" in held else "other", ())
        tensor = wire.message(held.span("tensor"), _TENSOR_TYPE)
        code = tensor.integer("dtype")
        if code not in DTYPES:
            raise ValueError(f"a tensor has the unknown type {code}")
        shape: list[int | None] = []
        for at in tensor.spans("dimensions"):
            dimension = wire.message(at, _DIMENSION)
            if "constant" in dimension:
                size = wire.message(dimension.span("constant"), {1: "size"}).integer("size")
                shape.append(size)
            else:
                shape.append(None)
        element_count(size or 0 for size in shape)
        return TensorType(DTYPES[code], tuple(shape))

    def operation(self, span: slice) -> Operation:
        wire = self._wire
        found = wire.message(span, _OPERATION)
        inputs: dict[str, tuple[Any, ...]] = {}
        for key, at in wire.entries(found.spans("inputs")):
            inputs[key] = self.argument(at)
        name = ""
        for key, at in wire.entries(found.spans("attributes")):
            value = self.value(at, 0)
            if key == "name" and isinstance(value, Literal) and isinstance(value.data, tuple):
                name = "".join(value.data[:1])
            else:
                inputs[key] = value if isinstance(value, tuple) else (value,)
        outputs = [self.named(at) for at in found.spans("outputs")]
        return Operation(found.text("type"), name, inputs, outputs)

    def argument(self, span: slice) -> tuple[Any, ...]:
        """The values bound to one argument."""
        out: list[Any] = []
        for at in self._wire.message(span, _ARGUMENT).spans("bindings"):
            binding = self._wire.message(at, _BINDING)
            if "value" in binding:
                value = self.value(binding.span("value") or slice(0, 0), 0)
                out += value if isinstance(value, tuple) else (value,)
            else:
                out.append(Ref(binding.text("name")))
        return tuple(out)

    def value(self, span: slice, depth: int) -> Any:
        """A literal or stored tensor, or a tuple of values."""
        if depth > _MOST_NESTED:
            raise ValueError("a value is nested too deep")
        wire = self._wire
        found = wire.message(span, _VALUE)
        type = self.type(found.span("type"))
        if "blob" in found:
            blob = wire.message(found.span("blob"), _BLOB)
            shape = known_shape(type)
            return self._tensors.stored(
                blob.text("file"), blob.integer("offset"), type.dtype, shape
            )
        held = wire.message(found.span("immediate"), _IMMEDIATE)
        for kind in ("list", "tuple"):
            if kind in held:
                spans = wire.message(held.span(kind), _VALUES).spans("values")
                return tuple(self.value(at, depth + 1) for at in spans)
        shape = known_shape(type)
        return self.literal(wire.message(held.span("tensor"), _HELD), type.dtype, shape)

    def literal(self, held: Message, dtype: str, shape: tuple[int, ...]) -> Literal:
        """Numbers or texts that stand in the program."""
        count, wire = element_count(shape), self._wire
        if dtype not in BITS and dtype != "str":
            raise ValueError("a constant is neither a tensor nor a list of them")
        if "strings" in held:
            texts = wire.message(held.span("strings"), _VALUES).texts("values")
            return Literal("str", shape, tuple(texts))
        data: bytes | memoryview
        if "bytes" in held:
            span = wire.message(held.span("bytes"), _VALUES).span("values")
            data = wire.data[span or slice(0, 0)]
        elif "floats" in held or "doubles" in held:
            kind, width = ("floats", 4) if "floats" in held else ("doubles", 8)
            spans = wire.message(held.span(kind), _VALUES).packed("values", width)
            data = b"".join(wire.data[at] for at in spans)
            dtype = {4: "f32", 8: "f64"}[width]
        elif dtype in _INTEGERS:
            found = next((name for name in ("ints", "bools", "longs") if name in held), "ints")
            numbers = wire.message(held.span(found), _VALUES).integers("values")
            data = _packed(numbers, dtype)
        elif dtype == "str":
            return Literal("str", shape, ("",) * min(count, 1))
        else:
            data = b""
        needed = stored_bytes(dtype, count)
        if len(data) != needed:
            width = BITS[dtype] // 8
            if not data and needed <= 64:  # a default value is left out
                data = bytes(needed)
            elif width and len(data) == width and needed <= 1 << 20:
                data = bytes(data) * count  # one number for all
            else:
                raise ValueError(f"a constant has {len(data)} bytes, its shape needs {needed}")
        return Literal(dtype, shape, data)


def known_shape(type: TensorType) -> tuple[int, ...]:
    """The shape of a constant. Raises ValueError when the type leaves it open."""
    shape = tuple(size for size in type.shape if size is not None)
    if len(shape) != len(type.shape):
        raise ValueError("a constant has an open shape")
    element_count(shape)
    return shape


def _packed(numbers: list[int], dtype: str) -> bytes:
    """Whole numbers as bytes. Raises ValueError for one that the dtype does not hold."""
    try:
        return struct.pack(f"<{len(numbers)}{_INTEGERS[dtype]}", *numbers)
    except struct.error:
        raise ValueError(f"a constant of type {dtype} holds a number that does not fit") from None


__all__ = ["read"]
