"""Builtins that make tensors: literals, fills, counters, position codes."""

from __future__ import annotations

from collections.abc import Callable

from tlc.frontend import ast
from tlc.ir.builder import numel
from tlc.ir.core import Value
from tlc.ir.lower import reading, tensors
from tlc.ir.lower.arguments import Argument, shape_of
from tlc.ir.lower.builtins.table import hint_device, special
from tlc.ir.lower.context import Context
from tlc.ir.lower.literals import check_range, literal, own_dtype
from tlc.ir.lower.type_names import dtype_of
from tlc.ir.lower.values import Lowered, Range, describe, first_piece, is_number
from tlc.ir.types import TensorType


@special("tensor", "value: any, device: any = auto")
def _tensor(cx: Context, node: ast.Call, value: Argument, device: Argument | None) -> Value:
    hint_device(cx, device)
    given = first_piece(value.value)
    dtype = dtype_of(cx, node.type_args[0]) if node.type_args else own_dtype(given)
    if isinstance(given, Range):
        return tensors.counting(cx, given, dtype, value.span)
    if isinstance(given, Value):
        return cx.emit("cast", given, dtype=dtype, span=node.span)
    return literal(cx, given, dtype, value.span)


def _filled(
    cx: Context, node: ast.Call, shape: Argument, value: float, dtype: str, device: Argument | None
) -> Value:
    hint_device(cx, device)
    dims = shape_of(cx, shape.value, shape.span)
    cx.builder.span = node.span
    return cx.builder.broadcast(cx.builder.constant(value, TensorType(dtype, ())), dims)


def _fills(prefix: str, dtype: str) -> None:
    """`zeros`, `ones` and `full` of one dtype."""

    def same(number: float) -> Callable[..., Value]:
        return lambda cx, node, shape, device: _filled(cx, node, shape, number, dtype, device)

    def full(
        cx: Context, node: ast.Call, shape: Argument, value: Argument, device: Argument | None
    ) -> Value:
        number = value.value
        if isinstance(number, Value) and not number.tensor.rank:
            hint_device(cx, device)
            cx.builder.span = node.span
            dims = shape_of(cx, shape.value, shape.span)
            return cx.builder.broadcast(cx.builder.cast(number, dtype), dims)
        if not is_number(number):
            cx.fail("E0302", f"a number is needed, and this is {describe(number)}", value.span)
        check_range(cx, number, dtype, value.span)
        return _filled(cx, node, shape, float(number), dtype, device)

    special(prefix + "zeros", "shape: any, device: any = auto")(same(0.0))
    special(prefix + "ones", "shape: any, device: any = auto")(same(1.0))
    special(prefix + "full", "shape: any, value: any, device: any = auto")(full)
    if prefix:
        special(prefix + "arange", "shape: any")(
            lambda cx, node, shape: _counted(cx, node, shape, dtype)
        )


for _prefix, _dtype in (("", "f16"), ("f16::", "f16"), ("f32::", "f32")):
    _fills(_prefix, _dtype)


@special("arange range", "n: any, high: any = none")
def _arange(cx: Context, node: ast.Call, n: Argument, high: Argument | None) -> Lowered:
    """The numbers below `n`, or from `n` to below `high`; of a shape, a tensor that counts through
    its elements."""
    if high is not None:
        return _range(cx, n, high)
    if isinstance(n.value, list):
        return _counted(cx, node, n, "f16")
    return Range(0, reading.range_end(cx, n.value, n.span))


def _counted(cx: Context, node: ast.Call, shape: Argument, dtype: str) -> Value:
    """A tensor of a shape that counts through its elements."""
    dims = shape_of(cx, shape.value, shape.span)
    counted = cx.emit("iota", type=TensorType(dtype, (numel(dims),)), axis=0, span=node.span)
    return cx.emit("reshape", counted, shape=dims, span=node.span)


@special("range_i", "low: any, high: any")
def _range_i(cx: Context, node: ast.Call, low: Argument, high: Argument) -> Range:
    return _range(cx, low, high)


def _range(cx: Context, low: Argument, high: Argument) -> Range:
    return Range(*(reading.range_end(cx, end.value, end.span) for end in (low, high)))


@special("positional_encoding", "n: any, d: any")
def _positional_encoding(cx: Context, node: ast.Call, n: Argument, d: Argument) -> Value:
    """Even columns sin, odd columns cos, of pos / 10000^(i/d) with i the column."""
    rows, columns = shape_of(cx, [n.value, d.value], node.span)
    b, type = cx.builder, TensorType("f32", (rows, columns))
    b.span = node.span
    position = b.emit("iota", type=type, axis=0)
    column = b.emit("iota", type=type, axis=1)
    # 10000^(-i/d) = exp(-i * ln(10000) / d)
    power = b.emit("mul", column, b.scalar(-9.210340371976184, column))
    rate = b.emit("exp", b.emit("div", power, b.scalar(columns, column)))
    angle = b.emit("mul", position, rate)
    odd = b.emit("gt", b.emit("mod", column, b.scalar(2.0, column)), b.scalar(0.5, column))
    return b.cast(b.emit("where", odd, b.emit("cos", angle), b.emit("sin", angle)), "f16")
