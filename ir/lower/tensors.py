"""Numbers, arrays and ranges as tensors."""

from __future__ import annotations

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower.context import Context
from tlc.ir.lower.literals import check_range, literal
from tlc.ir.lower.values import Flag, Lowered, Range, describe, first_piece, is_number, whole
from tlc.ir.types import FLOATS, SPELLINGS, TensorType


def as_tensor(cx: Context, value: Lowered, like: Lowered, span: Span) -> Value | None:
    """A number or an array as a tensor of the other operand's dtype; None for what is neither."""
    value = first_piece(value)
    if isinstance(value, Value):
        return value
    if isinstance(like, Value):
        dtype = like.tensor.dtype
    else:  # numbers that only the run computes are kept in full
        dtype = "f32" if isinstance(value, Dim) or isinstance(like, Dim) else "f16"
    if isinstance(value, Range):
        return counting(cx, value, "f16" if dtype == "bool" else dtype, span)
    if isinstance(value, list):
        return literal(cx, value, "f16" if dtype == "bool" else dtype, span)
    if isinstance(value, Flag) and dtype == "bool":
        cx.builder.span = span
        number = cx.builder.constant(value.dim, TensorType("i32", ()))
        return cx.builder.cast(number, "bool")
    if isinstance(value, bool):
        if dtype != "bool":
            return None
    elif is_number(value) or isinstance(value, Dim):
        if dtype == "i32" and whole(value) is None:
            return None
        dtype = "f16" if dtype == "bool" else dtype
        if not isinstance(value, Dim):
            check_range(cx, value, dtype, span)
    else:
        return None
    if isinstance(value, int) and dtype in FLOATS:
        value = float(value)
    cx.builder.span = span
    return cx.builder.constant(value, TensorType(dtype, ()))


def counting(cx: Context, numbers: Range, dtype: str, span: Span) -> Value:
    """The numbers of a range as a tensor."""
    low, high = Dim.of(numbers.low), Dim.of(numbers.high)
    if low.is_static and high.is_static:
        return literal(cx, list(range(int(low), int(high))), dtype, span)
    b = cx.builder
    b.span = span
    b.check_at_most(low, high, f"the range {low}..{high} ends before it starts")
    steps = b.emit("iota", type=TensorType("f32", (high - low,)), axis=0)
    return b.cast(b.binary("add", steps, b.constant(low, TensorType("f32", ()))), dtype)


def widened(cx: Context, value: Lowered, declared: ast.TypeExpr, span: Span) -> Lowered:
    """A float16 tensor as float32 where a declaration says so, for nothing is lost by that."""
    narrow = isinstance(value, Value) and value.tensor.dtype == "f16"
    if not narrow or SPELLINGS.get(declared.name) != "f32":
        return value
    return cx.emit("cast", value, dtype="f32", span=span)


def need_tensor(cx: Context, value: Lowered, span: Span) -> Value:
    """A tensor, or an array as one. Reports anything else."""
    if isinstance(value, Value):
        return value
    found = None if isinstance(value, Dim) or is_number(value) else as_tensor(cx, value, None, span)
    if found is None:
        cx.fail("E0302", f"a tensor is needed, and this is {describe(value)}", span)
    return found
