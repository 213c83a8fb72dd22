"""What regions hand on: tensors, numbers of the host, and values that stand for none yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import composite
from tlc.ir.lower.context import Context
from tlc.ir.lower.literals import literal
from tlc.ir.lower.values import Flag, Lowered, Struct, Text, is_number, truth, whole
from tlc.ir.types import TensorType


def is_count(value: Lowered) -> bool:
    """Whether this is a whole number or truth value on the device."""
    return (
        isinstance(value, Value)
        and value.tensor.dtype in ("i32", "bool")
        and not value.tensor.shape
    )


def host_number(value: Lowered) -> tuple[Dim, Callable[[Dim], Lowered]] | None:
    """What the host keeps as a number, a whole number, truth value or text of the run, as a
    dimension; and what makes such a value of another dimension."""
    flag, number = truth(value), whole(value)
    if flag is not None:
        return flag, Flag
    if isinstance(value, Text):
        return value.dim, Text
    return None if number is None or isinstance(value, float) else (Dim.of(number), plain)


def plain(dim: Dim) -> Lowered:
    """A whole number as programs have it."""
    return dim


def as_type(value: Lowered, type: TensorType, span: Span) -> Callable[[Context], Value]:
    """The value as a tensor of a type, made in the block that is current when it is called."""

    def make(cx: Context) -> Value:
        if isinstance(value, Value):
            return value
        cx.builder.span = span
        known = value if isinstance(value, Dim) else float(value)
        number = cx.builder.constant(known, type.with_shape(()))
        return cx.builder.broadcast(number, type.shape)

    return make


def blank(cx: Context, like: Lowered) -> Lowered:
    """What stands for something before there is one: of its type, and empty where its sizes are not
    known there."""

    def leaf(value: Lowered) -> Lowered:
        match value:
            case Value(tensor=type):
                late = [any(s[0] == "$" for s in d.symbols()) for d in type.shape]
                shape = [Dim.of(0) if at else d for d, at in zip(type.shape, late, strict=True)]
                zero = cx.builder.constant(0.0, type.with_shape(()))
                return cx.builder.broadcast(zero, shape)
            case bool() | Flag():
                return Flag(Dim.of(0))
            case int() | Dim():
                return 0
            case str() | Text():
                return ""
        return value

    return composite.mapped(like, leaf)


def element_type(items: Sequence[Lowered]) -> TensorType | None:
    """What the rows are of a tensor that holds the elements of an array: numbers, or tensors of one
    type, whose sizes are known before the run; None where they are neither."""
    dtypes = set()
    for item in items:
        match item:
            case Value(tensor=TensorType(dtype=dtype, shape=())):
                dtypes.add(dtype)
            case Value(tensor=type):
                late = any(s[0] == "$" for d in type.shape for s in d.symbols())
                alike = all(isinstance(v, Value) and v.type == type for v in items)
                return type if alike and not late else None
            case Dim():
                dtypes.add("i32")
            case _ if is_number(item):
                dtypes.add("i32" if isinstance(item, int) else "f32")
            case _:
                return None
    for dtype in ("f32", "f16", "i32"):
        if dtype in dtypes:
            return TensorType(dtype, ())
    return None


def grown(one: Lowered, other: Lowered) -> TensorType | None:
    """The type of the elements of what is an array on both ways, longer on one, or a tensor that it
    has become already there; None for all else."""
    if isinstance(one, list) and isinstance(other, list):
        return None if len(one) == len(other) else element_type([*one, *other])
    for array, found in ((one, other), (other, one)):
        if isinstance(array, list) and isinstance(found, Value) and found.tensor.rank:
            row = found.tensor.with_shape(found.tensor.shape[1:])
            mine = element_type(array)
            fits = not array or (mine is not None and mine.shape == row.shape)
            return row if fits else None
    return None


def as_rows(cx: Context, value: Lowered, row: TensorType, span: Span) -> Value:
    """An array as the tensor of its elements."""
    if isinstance(value, Value):
        return value
    if value or not row.shape:
        return literal(cx, value, row.dtype, span)
    cx.builder.span = span
    zero = cx.builder.constant(0.0, row.with_shape(()))
    return cx.builder.broadcast(zero, (Dim.of(0), *row.shape))


def cannot_grow(items: Sequence[Lowered]) -> tuple[str, str]:
    """What the elements of an array are that cannot change its length at run time, and a hint."""
    for kinds, what, hint in _STAY:
        if any(isinstance(item, kinds) for item in items):
            return what, hint
    return "such things", "numbers, and tensors of one shape, may be in an array that grows"


_STAY = (
    ((str, Text), "strings", "join them to one string as they come: `s = s + word`"),
    ((Struct,), "structs", "keep an array for each of their fields"),
    ((Value,), "tensors of several shapes", "`concat` what is alike to one tensor that grows"),
    ((list, tuple), "arrays", "keep an array for each part, or one array that is reshaped"),
)
