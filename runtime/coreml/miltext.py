"""Turns the text of an ML program, `model.mil` of a compiled model, into records.

The text is what Core ML's compiler writes: `program(1.0) { func main<ios16>(tensor<fp16, [1, 3]> x)
{ tensor<fp16, [1, 3]> y = relu(x = x)[name = ...]; } -> (y); }`. It is not documented; this reads
the forms that compiled models have. What stands in brackets behind a function is skipped.
"""

from __future__ import annotations

import re
import struct

from tlc.runtime.coreml.features import Description
from tlc.runtime.coreml.milproto import known_shape
from tlc.runtime.coreml.records import Feature, Literal, Operation, Program, Ref, TensorType
from tlc.runtime.model_file import element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from tlc.runtime.coreml.tensors import Tensors

DTYPES = {"fp16": "f16", "fp32": "f32", "fp64": "f64", "bf16": "bf16", "bool": "bool",
          "string": "str", **{f"{u}int{n}": f"{'u' if u else 'i'}{n}" for u in ("", "u")
                              for n in (1, 2, 3, 4, 6, 8, 16, 32, 64)}}  # fmt: skip
_PACK = {"f16": "e", "f32": "f", "f64": "d", "i8": "b", "i16": "h", "i32": "i", "i64": "q",
         "u8": "B", "u16": "H", "u32": "I", "u64": "Q", "bool": "?"}  # fmt: skip
_TOKEN = re.compile(
    r'\s*(?:("(?:[^"\\]|\\.)*")|(->|[-+]?(?:0[xX][0-9a-fA-F.]+[pP][-+]?\d+|inf|nan|'
    r"\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?![\w.])|[A-Za-z_][\w.]*|[][(){}<>,=;?]))"
)
_LONGEST = 1 << 28  # bytes of a text
_MOST_NESTED = 32
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def read(data: memoryview, tensors: Tensors) -> Program:
    """The function `main` of a program. Raises ValueError for what is none."""
    if len(data) > _LONGEST:
        raise ValueError(f"a program of {len(data)} bytes")
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError:
        raise ValueError("its program is not UTF-8") from None
    return _Parser(text, tensors).program()


def described(program: Program) -> Description:
    """What goes in, by the program itself: a compiled model has no other description to read."""
    inputs = [Feature(name, dtype=type.dtype, shape=type.shape) for name, type in program.inputs]
    types = {name: type for op in program.operations for name, type in op.outputs}
    outputs = [
        Feature(name, dtype=types[name].dtype, shape=types[name].shape)
        for name in program.outputs
        if name in types
    ]
    return Description("main", inputs, outputs, {})


class _Parser:
    __slots__ = ("_depth", "_next", "_tensors", "_tokens")

    def __init__(self, text: str, tensors: Tensors) -> None:
        self._tensors, self._depth = tensors, 0
        self._tokens = _tokens(text)
        self._next = next(self._tokens)

    # ---- tokens ---------------------------------------------------------------------------------

    def take(self, wanted: str = "") -> str:
        """The next token, which must be the wanted one, if any."""
        token = self._next
        if wanted and token != wanted:
            raise ValueError(f"its program has {token[:40]!r} where {wanted!r} is expected")
        if not token:
            raise ValueError("its program ends too soon")
        self._next = next(self._tokens)
        return token

    def taken(self, token: str) -> bool:
        """Whether the next token is this one, which is then gone."""
        if self._next != token:
            return False
        self.take()
        return True

    def skip(self) -> None:
        """Everything from an opening bracket to its end."""
        depth = 0
        while True:
            token = self.take()
            depth += (token in ("(", "[", "{")) - (token in (")", "]", "}"))
            if depth == 0:
                return

    # ---- program --------------------------------------------------------------------------------

    def program(self) -> Program:
        self.take("program")
        self.skip()
        if self._next == "[":
            self.skip()
        self.take("{")
        found: Program | None = None
        while not self.taken("}"):
            self.take("func")
            name = self.take()
            function = self.function()
            found = function if name == "main" or found is None else found
        if found is None:
            raise ValueError("its program has no function")
        operations = self._tensors.folded(found.operations, found.outputs)
        return Program(found.opset, found.inputs, operations, found.outputs)

    def function(self) -> Program:
        opset = ""
        if self.taken("<"):
            opset = self.take()
            self.take(">")
        self.take("(")
        inputs: list[tuple[str, TensorType]] = []
        while not self.taken(")"):
            type = self.type()
            inputs.append((self.take(), type))
            self.taken(",")
        if self._next == "[":
            self.skip()
        self.take("{")
        operations: list[Operation] = []
        while not self.taken("}"):
            operations.append(self.operation())
        self.take("->")
        self.take("(")
        outputs: list[str] = []
        while not self.taken(")"):
            outputs.append(self.take())
            self.taken(",")
        self.taken(";")
        return Program(opset, inputs, operations, outputs)

    def operation(self) -> Operation:
        """`type name, type name = kind(key = value, ...)[key = value, ...];`"""
        outputs: list[tuple[str, TensorType]] = []
        while True:
            type = self.type()
            outputs.append((self.take(), type))
            if not self.taken(","):
                break
        self.take("=")
        kind = self.take()
        inputs: dict[str, tuple[Any, ...]] = {}
        self.take("(")
        self.arguments(")", inputs)
        while self._next == "{":  # the blocks of `cond`, which is refused by its name
            self.skip()
        if self.taken("["):
            self.arguments("]", inputs)
        self.take(";")
        name = ""
        match inputs.pop("name", ()):
            case (Literal(data=(str(name),)),):
                pass
        return Operation(kind, name, inputs, outputs)

    def arguments(self, end: str, into: dict[str, tuple[Any, ...]]) -> None:
        while not self.taken(end):
            key = self.take()
            self.take("=")
            value = self.value()
            into[key] = value if isinstance(value, tuple) else (value,)
            self.taken(",")

    # ---- types and values -----------------------------------------------------------------------

    def type(self) -> TensorType:
        """`tensor<fp16, [1, ?]>`, or the dtype alone for a single number."""
        name = self.take()
        if name in DTYPES:
            return TensorType(DTYPES[name], ())
        self.take("<")
        if name != "tensor":
            depth = 1
            while depth:
                token = self.take()
                depth += (token == "<") - (token == ">")
            return TensorType("list" if name == "list" else "other", ())
        dtype = self.take()
        if dtype not in DTYPES:
            raise ValueError(f"its program has tensors of type {dtype[:40]!r}")
        self.take(",")
        self.take("[")
        shape: list[int | None] = []
        while not self.taken("]"):
            size = self.take()
            shape.append(None if size == "?" else _whole(size))
            self.taken(",")
        self.take(">")
        element_count(size or 0 for size in shape)
        return TensorType(DTYPES[dtype], tuple(shape))

    def value(self) -> Any:
        """A name, a list of values, or a literal with its type."""
        self._depth += 1
        if self._depth > _MOST_NESTED:
            raise ValueError("a value is nested too deep")
        try:
            if self.taken("("):
                out: list[Any] = []
                while not self.taken(")"):
                    found = self.value()
                    out += found if isinstance(found, tuple) else (found,)
                    self.taken(",")
                return tuple(out)
            if self._next not in DTYPES and self._next not in ("tensor", "list", "tuple", "dict"):
                return Ref(self.take())
            type = self.type()
            if type.dtype in ("list", "other"):
                return self.value() if self._next == "(" else ()
            self.take("(")
            if self.taken("BLOBFILE"):
                return self.blob(type)
            items = self.items()
            self.take(")")
            return _literal(items, type)
        finally:
            self._depth -= 1

    def items(self) -> list[str]:
        """Numbers or texts, in brackets or not, in row-major order."""
        out: list[str] = []
        depth = 0
        while self._next != ")":
            token = self.take()
            depth += (token == "[") - (token == "]")
            if token not in ("[", "]", ","):
                out.append(token)
        if depth:
            raise ValueError("a list has no end")
        return out

    def blob(self, type: TensorType) -> Any:
        """`BLOBFILE(path = string("..."), offset = uint64(64)))`"""
        given: dict[str, tuple[Any, ...]] = {}
        self.take("(")
        self.arguments(")", given)
        self.take(")")
        match given:
            case {"path": (Literal(data=(str(path),)),), "offset": (Literal(data=bytes(at)),)}:
                offset = int.from_bytes(at, "little")
                return self._tensors.stored(path, offset, type.dtype, known_shape(type))
        raise ValueError("a weight says neither its file nor its place")


def _tokens(text: str) -> Iterator[str]:
    """The tokens, and empty ones behind the last."""
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"its program cannot be read at character {at}")
        yield found[1] or found[2]
        at = found.end()
    while True:
        yield ""


def _whole(text: str) -> int:
    if not text.isdecimal() or len(text) > 20:
        raise ValueError(f"{text[:40]!r} is no size")
    return int(text)


def _literal(items: list[str], type: TensorType) -> Literal:
    shape = known_shape(type)
    count = element_count(shape)
    if len(items) == 1 < count <= 1 << 20:
        items = items * count
    if len(items) != count:
        raise ValueError(f"a constant has {len(items)} elements, its shape {count}")
    if type.dtype == "str":
        return Literal("str", shape, tuple(map(_text, items)))
    if type.dtype not in _PACK:
        raise ValueError(f"a constant of type {type.dtype} stands in the text")
    numbers = [_number(item, type.dtype) for item in items]
    try:
        data = struct.pack(f"<{count}{_PACK[type.dtype]}", *numbers)
    except (struct.error, OverflowError):
        raise ValueError(f"a constant of type {type.dtype} holds what does not fit") from None
    return Literal(type.dtype, shape, data)


def _number(text: str, dtype: str) -> int | float | bool:
    try:
        if dtype == "bool":
            return {"true": True, "false": False}[text]
        if dtype[0] in "iu":
            return int(text)
        return float.fromhex(text) if "x" in text.lower() else float(text)
    except (ValueError, KeyError, OverflowError):
        raise ValueError(f"{text[:40]!r} is no {dtype}") from None


def _text(token: str) -> str:
    """A text without its quotes."""
    if token[:1] != '"':
        raise ValueError(f"{token[:40]!r} is no text")
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), token[1:-1], flags=re.DOTALL)


__all__ = ["described", "read"]
