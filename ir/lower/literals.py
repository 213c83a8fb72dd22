"""Arrays of the program text to tensors: constants, where all of their numbers are known."""

from __future__ import annotations

import math
import struct
from array import array
from itertools import groupby

from tlc.frontend.source import Span
from tlc.ir.builder import numel
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower.composite import leaves
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Flag, Lowered, Struct, describe, first_piece, is_number, whole
from tlc.ir.types import FLOATS, TensorType, show_shape

LISTED = 64  # a constant of at most so many numbers is kept as a list that people can read
MAX_RANK = 32
# the least numbers that round to infinity, and the largest that do not
_LIMITS = {
    "f16": (65520.0, "float16, 65504"),
    "f32": ((2 - 2**-24) * 2.0**127, "float32, 3.4028235e38"),
}
_STRUCT = {"f16": "e", "f32": "f", "i32": "i", "bool": "?"}


def literal(
    cx: Context,
    value: Lowered,
    dtype: str,
    span: Span,
    shape: tuple[Dim, ...] | None = None,
) -> Value:
    """A nested array of numbers as a tensor; a flat one is laid out in `shape`."""
    if any(isinstance(leaf, Value | Dim | Flag) for leaf in leaves("", value).values()):
        made = _assembled(cx, value, dtype, span)
        same = shape is None or numel(shape) == made.tensor.numel
        if not same:
            text = f"{made.tensor.numel} numbers do not fill a tensor of shape"
            cx.fail("E0301", f"{text} {show_shape(shape or ())}", span)
        return made if shape is None else cx.emit("reshape", made, shape=shape, span=span)
    numbers: list[float] = []
    found = _flatten(cx, value, numbers, span)
    dims = tuple(map(Dim.of, found)) if shape is None else shape
    if numel(dims) != Dim.of(len(numbers)):
        cx.fail(
            "E0301",
            f"{len(numbers)} numbers do not fill a tensor of shape {show_shape(dims)}",
            span,
        )
    if len(dims) > MAX_RANK:
        cx.fail("E0303", f"a tensor has at most {MAX_RANK} axes, and this has {len(dims)}", span)
    for number in numbers:
        check_range(cx, number, dtype, span)
    if dtype in FLOATS:
        numbers = [float(number) for number in numbers]
    cx.builder.span = span
    if not dims:
        return cx.builder.constant(numbers[0], TensorType(dtype, dims))
    return cx.builder.constant(_stored(numbers, dtype), TensorType(dtype, dims))


def own_dtype(value: Lowered) -> str:
    """The dtype of an array on its own: float16, but int for indices that the run finds, such as
    `[argmax(x)]`, which float16 could not hold."""
    held = leaves("", value).values()
    found = {v.tensor.dtype for v in held if isinstance(v, Value)}
    counts = all(isinstance(v, Value) or isinstance(whole(v), int | Dim) for v in held)
    return "i32" if counts and found == {"i32"} else "f16"


def _assembled(cx: Context, value: Lowered, dtype: str, span: Span) -> Value:
    """A nested array that holds tensors or sizes, put together from its parts."""
    cx.builder.span = span
    value = first_piece(value)
    match value:
        case Value():
            return cx.builder.cast(value, dtype)
        case Dim():
            return cx.builder.constant(value, TensorType(dtype, ()))
        case Flag(dim=dim):
            return cx.builder.constant(dim, TensorType(dtype, ()))
        case list() if value:
            rows: list[Value] = []
            for known, items in groupby(value, lambda item: is_number(item)):
                run = list(items)
                if known:  # neighbours are one constant
                    rows.append(literal(cx, run, dtype, span))
                    continue
                for part in (_assembled(cx, item, dtype, span) for item in run):
                    shape = (Dim.of(1), *part.tensor.shape)
                    rows.append(cx.emit("reshape", part, shape=shape, span=span))
            if any(row.tensor.shape[1:] != rows[0].tensor.shape[1:] for row in rows):
                cx.fail("E0301", "the parts of this array have different shapes", span)
            return cx.emit("concat", *rows, axis=0, span=span) if rows[1:] else rows[0]
        case tuple() | Struct():
            text = f"a tensor is made of numbers, and this holds {describe(value)}"
            cx.fail("E0302", text, span)
    return literal(cx, value, dtype, span)


def check_range(cx: Context, number: float, dtype: str, span: Span) -> None:
    """Report a number that its dtype cannot hold: nothing becomes infinite silently."""
    if dtype == "i32":
        if not isinstance(number, bool) and (
            not isinstance(whole(number), int) or not -(2**31) <= number < 2**31
        ):
            cx.fail("E0305", f"{number} is not a 32-bit whole number", span)
    elif dtype in _LIMITS and math.isfinite(number):
        limit, largest = _LIMITS[dtype]
        if abs(number) >= limit:
            hint = "compute in float32, as with `x as float32`" if dtype == "f16" else ""
            cx.fail("E0305", f"{number} is beyond the largest {largest}", span, hint=hint)


def _stored(numbers: list[float], dtype: str) -> tuple[float, ...] | bytes:
    if len(numbers) <= LISTED:
        return tuple(numbers)
    if dtype == "f32":
        return array("f", numbers).tobytes()
    whole_numbers = map(int, numbers) if dtype == "i32" else numbers
    return struct.pack(f"<{len(numbers)}{_STRUCT[dtype]}", *whole_numbers)


def _flatten(cx: Context, value: Lowered, into: list[float], span: Span) -> tuple[int, ...]:
    """Appends the numbers of a nested array; returns its shape, which must be rectangular."""
    if is_number(value) or isinstance(value, bool):
        into.append(value)
        return ()
    if not isinstance(value, list):
        cx.fail("E0302", f"a tensor is made of numbers, and this holds {describe(value)}", span)
    shapes = [_flatten(cx, item, into, span) for item in value]
    if any(s != shapes[0] for s in shapes):
        cx.fail("E0301", "the rows of this array have different lengths", span)
    return (len(value), *(shapes[0] if shapes else ()))
