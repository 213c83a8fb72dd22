"""What regions hand on: tensors, numbers of the host, and values that stand for none yet."""

from __future__ import annotations

from collections.abc import Callable

from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import composite
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Flag, Lowered, Text, truth, whole
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
