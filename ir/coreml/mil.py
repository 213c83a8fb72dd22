"""The table of MIL operations, one record each, and how one of them becomes operations of the IR.

MIL is the language of Core ML's ML programs; what its operations mean is in coremltools'
`converters/mil/mil/ops/defs`. A value is a tensor of the IR, or known already: a NumPy array, whose
elements may be dimensions (a shape that a program computes with), or a tuple of texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.opdef import Param, TypeRuleError, parse_params
from tlc.ir.types import FLOATS, TensorType, show_shape

Known = np.ndarray[Any, Any]
Lowered = Any  # Value, Known, or a tuple of texts
LARGEST_KNOWN = 4096  # elements that are computed with at build

# what MIL and the files call a type -> the dtype that it is computed in
DTYPES = {"i8": "i32", "i16": "i32", "i64": "i32", "u8": "i32", "u16": "i32", "u32": "i32",
          "i32": "i32", "f16": "f16", "f32": "f32", "f64": "f32", "bool": "bool"}  # fmt: skip
SPELLINGS = {"fp16": "f16", "fp32": "f32", "fp64": "f64", "bool": "bool", "int8": "i8",
             "int16": "i16", "int32": "i32", "int64": "i64", "uint8": "u8", "uint16": "u16",
             "uint32": "u32"}  # fmt: skip
_NUMPY = {"f16": np.float16, "f32": np.float32, "i32": np.int32, "bool": np.bool_}


@dataclass(frozen=True, slots=True)
class MilOp:
    """One MIL operation.

    build     (maker, **arguments) -> its value, or a tuple of values.
    params    its arguments, as in `ir/opdef.py`: `tensor` is a tensor of the IR, `tensors` a list
              of them, `any` a value as it is, `int`, `float`, `bool` and `str` are known numbers
              and texts, `ints` and `bools` lists of them, `dims` sizes.
    known     its meaning in NumPy when all its tensors are known.
    """

    name: str
    params: tuple[Param, ...]
    build: Callable[..., Lowered]
    known: Callable[..., Any] | None = None


MIL: dict[str, MilOp] = {}


def mil(
    names: str, params: str = "x", known: Callable[..., Any] | None = None
) -> Callable[[Callable[..., Lowered]], Callable[..., Lowered]]:
    """Register what builds a MIL operation; defaults of arguments are those of MIL."""

    def register(build: Callable[..., Lowered]) -> Callable[..., Lowered]:
        for name in names.split():
            assert name not in MIL, name
            MIL[name] = MilOp(name, parse_params(params), build, known)
        return build

    return register


class Refusal(Exception):
    """A model that cannot be compiled: a diagnostic code, a message and a hint."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        self.code, self.message, self.hint = code, message, hint
        super().__init__(message)


class AtRunTime(Exception):
    """What is known says too little: the operation is built, of tensors."""


def unsupported(what: str) -> Refusal:
    """An operation whose arguments ask for what is not there."""
    return Refusal("E0610", what)


@dataclass(slots=True)
class Maker:
    """Builds operations with a builder; `wide` computes all floats in float32."""

    b: Builder
    wide: bool = False

    def dtype(self, name: str) -> str:
        """The dtype that a type of the model is computed in."""
        found = DTYPES.get(name)
        if found is None:
            raise unsupported(f"values of type {name} are not computed with")
        return "f32" if self.wide and found == "f16" else found

    def run(self, name: str, given: Mapping[str, Sequence[Lowered]]) -> Lowered:
        """The value of an operation with these arguments, each a list of values."""
        op = MIL[name]
        names = [p.name for p in op.params]
        unknown = [key for key in given if key not in names]
        if unknown:
            raise unsupported(f"the argument `{unknown[0]}` of `{name}` is not supported")
        if op.known is not None and _all_known(op, given):
            raw = {p.name: self._raw(p, given.get(p.name, ())) for p in op.params}
            try:
                return op.known(**{k: v for k, v in raw.items() if v is not None})
            except AtRunTime:
                pass
        return op.build(self, **{p.name: self._argument(p, given.get(p.name)) for p in op.params})

    def _raw(self, param: Param, held: Sequence[Lowered]) -> Any:
        if param.kind == "tensors":
            return [np.asarray(v) for v in held]
        if param.kind in ("tensor", "any"):
            return np.asarray(held[0]) if held else None
        return self._argument(param, held or None)

    def _argument(self, param: Param, held: Sequence[Lowered] | None) -> Any:
        """An argument as its kind wants it; the default when it is left out."""
        if not held:
            if param.default is None:
                raise Refusal("E0601", f"the argument `{param.name}` is missing")
            return param.left_out()
        match param.kind:
            case "tensor":
                return self.tensor(held[0])
            case "tensors":
                return [self.tensor(v) for v in held]
            case "any":
                return held[0]
        value = held[0] if len(held) == 1 else np.asarray(held)
        if isinstance(value, Value):
            raise unsupported(f"`{param.name}` is known only at run time")
        return _plain(param, value)

    # ---- values ---------------------------------------------------------------------------------

    def tensor(self, value: Lowered) -> Value:
        """A value as a tensor of the IR."""
        if isinstance(value, Value):
            return value
        array = np.asarray(value)
        if array.dtype.kind in "OUS":
            return self._of_dims(array)
        name = {"f": f"f{8 * array.dtype.itemsize}", "b": "bool"}.get(array.dtype.kind, "i32")
        dtype = self.dtype(name)
        type = TensorType(dtype, tuple(map(Dim.of, array.shape)))
        with np.errstate(over="ignore"):
            stored: Known = array.astype(_NUMPY[dtype])
        if array.size and (stored == stored.flat[0]).all():
            return self.b.constant(stored.flat[0].item(), type)
        return self.b.constant(stored.tobytes(), type)

    def _of_dims(self, array: Known) -> Value:
        items = [Dim.of(v) for v in array.flat if isinstance(v, Dim | int)]
        if len(items) != array.size:
            raise unsupported("a text where a tensor is needed")
        if all(d.is_static for d in items):
            numbers = np.array([int(d) for d in items], np.int32)
            return self.tensor(numbers.reshape(array.shape))
        parts = [self.b.constant(d, TensorType("i32", ())) for d in items]
        if len(parts) == 1:
            return self.b.reshape(parts[0], array.shape)
        if len(parts) > 16:
            raise unsupported("a list of more than 16 sizes as a tensor")
        line = self.b.emit("concat", *(self.b.reshape(p, (1,)) for p in parts), axis=0)
        return self.b.reshape(line, array.shape)

    def binary(self, op: str, x: Value, y: Value) -> Value:
        """Arithmetic with broadcasting; whole numbers are computed as float32, exact to 2^24."""
        whole = x.tensor.dtype == y.tensor.dtype == "i32"
        if op in ("add", "sub", "mul", "div", "pow", "maximum", "minimum") and whole:
            return self.b.cast(self.b.binary(op, self.b.f32(x), self.b.f32(y)), "i32")
        return self.b.binary(op, x, y)

    def number(self, op: str, x: Value, number: float) -> Value:
        """Arithmetic with a number."""
        return self.b.emit(op, x, self.b.scalar(number, x))

    def wide_result(self, x: Value, compute: Callable[[Value], Value]) -> Value:
        """What is computed in float32 and rounded once, to the dtype of x."""
        return self.b.cast(compute(self.b.f32(x)), x.tensor.dtype)


def _all_known(op: MilOp, given: Mapping[str, Sequence[Lowered]]) -> bool:
    held = [v for p in op.params if p.kind in ("tensor", "tensors", "any")
            for v in given.get(p.name, ())]  # fmt: skip
    known = [v for v in held if isinstance(v, np.ndarray | np.generic)]
    return len(held) == len(known) > 0 and all(np.size(v) <= LARGEST_KNOWN for v in known)


def _plain(param: Param, value: Lowered) -> Any:
    """A known value as plain Python, by the kind of the argument."""
    array = np.asarray(value)
    items = [v.item() if isinstance(v, np.generic) else v for v in array.flat]
    match param.kind:
        case "dims":
            return [Dim.of(v if isinstance(v, Dim) else int(v)) for v in items]
        case "str":
            return str(items[0]) if items else ""
    items = [int(v) if isinstance(v, Dim) and v.is_static else v for v in items]
    if any(isinstance(v, Dim | str) for v in items):
        raise unsupported(f"`{param.name}` is known only at run time")
    match param.kind:
        case "ints":
            return [int(v) for v in items]
        case "bools":
            return [bool(v) for v in items]
        case kind if len(items) == 1:
            return {"int": int, "float": float, "bool": bool}[kind](items[0])
    raise Refusal("E0601", f"the argument `{param.name}` has {len(items)} elements")


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front. Raises TypeRuleError."""
    if not -rank <= axis < rank:
        raise TypeRuleError(f"axis {axis} is out of range for rank {rank}", "E0303")
    return axis % rank


def fits(found: tuple[Dim, ...], declared: Sequence[int | None]) -> bool:
    """Whether a computed shape can be the one that the model declares."""
    return len(found) == len(declared) and all(
        want is None or not have.is_static or int(have) == want
        for have, want in zip(found, declared, strict=True)
    )


__all__ = ["FLOATS", "MIL", "AtRunTime", "Maker", "Refusal", "axis_of", "fits", "mil", "show_shape"]
