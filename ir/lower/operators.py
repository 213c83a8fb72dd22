"""Operators applied to values: at build where both are known, else as operations."""

from __future__ import annotations

import math
from typing import Any

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Block, Op, Value
from tlc.ir.dims import Dim, truncated
from tlc.ir.lower import reading, tensors, texts
from tlc.ir.lower.compare import COMPARISONS, compare, compare_texts, no_operator
from tlc.ir.lower.context import Context
from tlc.ir.lower.literals import literal
from tlc.ir.lower.type_names import dtype_of
from tlc.ir.lower.values import (
    Flag,
    Lowered,
    Range,
    Text,
    describe,
    first_piece,
    is_number,
    truth,
    whole,
)
from tlc.ir.opdef import OPS
from tlc.ir.types import FLOATS, TensorType

SHORT_POWER = 4  # is a formula
MAX_LENGTH = 1 << 24  # of an array or string that is known at build

_TENSOR_OPS = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod", "**": "pow", "@": "matmul",
    "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "&&": "and", "||": "or",
}  # fmt: skip


_COUNTED = ("+", "-", "*", "/", "%", "**")  # of whole numbers these are whole numbers
_COMPARED = frozenset(_TENSOR_OPS[op] for op in COMPARISONS)


def limited(cx: Context, length: int, span: Span) -> None:
    if length > MAX_LENGTH:
        cx.unsupported(f"an array or string of more than {MAX_LENGTH} elements", span)


def binary(cx: Context, op: str, left: Lowered, right: Lowered, node: ast.Binary) -> Lowered:
    """An operator applied to two values: at build when both are known, else as an operation."""
    left, right = first_piece(left), first_piece(right)
    if op == "*" and isinstance(left, str | Text) != isinstance(right, str | Text):
        word, times = (left, right) if isinstance(left, str | Text) else (right, left)
        number = reading.count(cx, times, node.span)
        if number is not None:
            return _repeated(cx, word, number, node.span)
    # the index that `argmax` finds is a number to count on with
    fraction = isinstance(left, float) or isinstance(right, float)
    counts = op in _COUNTED and reading.is_whole(left) and reading.is_whole(right) and not fraction
    truths = reading.is_truth(left) and reading.is_truth(right)
    host = isinstance(left, Flag) or isinstance(right, Flag)
    if counts or (truths and (op in ("==", "!=") or (op in ("&&", "||") and host))):
        left, right = (
            reading.on_host(cx, v, at.span) if isinstance(v, Value) else v
            for v, at in ((left, node.left), (right, node.right))
        )
    if isinstance(left, Value) or isinstance(right, Value):
        return _tensor_binary(cx, op, left, right, node)
    several = isinstance(left, list | Range) and (is_number(right) or isinstance(right, list))
    if op in ("<", "<=", ">", ">=") and several:  # arrays are tensors, but where they are equal
        return _tensor_binary(cx, op, left, right, node)
    if op in COMPARISONS and not isinstance(left, Text) and not isinstance(right, Text):
        return compare(cx, op, left, right, node)
    a, b = truth(left), truth(right)
    if op in ("&&", "||") and a is not None and b is not None:
        return Flag(a * b if op == "&&" else a + b - a * b)
    numbers = (is_number(left) or isinstance(left, Dim)) and (
        is_number(right) or isinstance(right, Dim)
    )
    if numbers:
        return _arithmetic(cx, op, left, right, node)
    strings = isinstance(left, str | Text) and isinstance(right, str | Text)
    if op == "+" and strings and not (isinstance(left, str) and isinstance(right, str)):
        return texts.text(cx, [left, right], node.span)
    if isinstance(left, Text) or isinstance(right, Text):
        return compare_texts(cx, op, left, right, node)
    match op, left, right:
        case "+", str(), str():
            limited(cx, len(left) + len(right), node.span)
            return left + right
        # on their own, arrays are float16 tensors
        case _, list() | Range(), list() | Range() | int() | float() | Dim():
            return _tensor_binary(cx, op, left, right, node)
        case _, int() | float() | Dim(), list() | Range():
            return _tensor_binary(cx, op, left, right, node)
    no_operator(cx, op, left, right, node)


def _repeated(cx: Context, word: str | Text, times: int | Dim, span: Span) -> Lowered:
    if isinstance(word, str) and isinstance(times, int):
        limited(cx, len(word) * max(times, 0), span)
        return word * times
    return texts.repeated(cx, word, Dim.of(times), span)


def _arithmetic(cx: Context, op: str, left: Any, right: Any, node: ast.Binary) -> Lowered:
    """Numbers known at build; integers divide as C does, toward zero."""
    sizes = isinstance(left, Dim) or isinstance(right, Dim)
    if sizes:
        fraction = isinstance(left, float) or isinstance(right, float)
        whole_left, whole_right = whole(left), whole(right)
        if whole_left is None or whole_right is None or fraction:
            return _tensor_binary(cx, op, left, right, node)
        if op == "**":
            return _power(cx, Dim.of(whole_left), Dim.of(whole_right), node)
        if op not in "+-*/%":
            no_operator(cx, op, left, right, node)
        left, right = Dim.of(whole_left), Dim.of(whole_right)
    if op in "/%" and right == (Dim.of(0) if sizes else 0):
        cx.fail("E0305", "division by zero", node.span)
    if sizes and op in "/%":
        cx.builder.span = node.span
        cx.builder.check(right.compare("==", 0), Dim.of(0), "division by zero")
    both_int = isinstance(left, int) and isinstance(right, int)
    try:
        match op:
            case "+":
                result = left + right
            case "-":
                result = left - right
            case "*":
                result = left * right
            case "/" if sizes:
                result = left // right
            case "/":
                result = truncated(left, right) if both_int else left / right
            case "%" if both_int:
                result = left - right * truncated(left, right)
            case "%":
                result = left % right if sizes else math.fmod(left, right)
            case "**" if both_int and right > 64 and abs(left) > 1:
                raise OverflowError
            case "**":
                result = left**right if not both_int or right >= 0 else float(left) ** right
            case _:
                no_operator(cx, op, left, right, node)
    except (OverflowError, ZeroDivisionError):
        cx.fail("E0305", f"`{op}` of {left} and {right} has no finite result", node.span)
    if isinstance(result, complex):
        cx.fail("E0305", f"`{op}` of {left} and {right} is not a real number", node.span)
    if isinstance(result, int) and not -(2**63) <= result < 2**63:
        cx.fail("E0305", f"`{op}` of {left} and {right} is beyond 64 bits", node.span)
    if not isinstance(result, Dim):
        return result
    return int(result) if result.is_static else reading.shortened(cx, result, node.span)


def _power(cx: Context, base: Dim, exponent: Dim, node: ast.Binary) -> Lowered:
    """A power of whole numbers that only run time knows: a product, or a loop of products."""
    if exponent.is_static and 0 <= int(exponent) <= SHORT_POWER:
        found = Dim.of(1)
        for _ in range(int(exponent)):
            found = found * base
        return int(found) if found.is_static else reading.shortened(cx, found, node.span)
    if exponent.is_static and int(exponent) < 0:
        return _tensor_binary(cx, "**", base, float(int(exponent)), node)
    cx.builder.span = node.span
    text = "a power of whole numbers with an exponent below zero is no whole number"
    cx.builder.check(exponent.compare("<", 0), Dim.of(0), text)
    new = cx.program.new_symbol
    so_far, at, end, behind = new(), new(), new(), new()
    region = Block()
    region.ops.append(Op(OPS["yield"], [], {}))
    cx.builder.append(
        "loop",
        regions=[region],
        condition=Dim.of(at).compare("<", exponent),
        ints=(
            (so_far, Dim.of(1), Dim.of(so_far) * base, end),
            (at, Dim.of(0), Dim.of(at) + 1, behind),
        ),
        results=(),
    )
    return Dim.of(end)


def _tensor_binary(cx: Context, op: str, left: Lowered, right: Lowered, node: ast.Binary) -> Value:
    places = (node.left.span, node.right.span)
    left, right = beside(cx, left, right), beside(cx, right, left)
    values = [
        tensors.as_tensor(cx, v, like, at)
        for v, like, at in zip((left, right), (right, left), places, strict=True)
    ]
    a, b = values
    if a is None or b is None:
        no_operator(cx, op, left, right, node)
    if op == "@":
        return cx.emit("matmul", a, b, span=node.span, places=places)
    return elementwise(cx, _TENSOR_OPS[op], [a, b], node.span, places)


def beside(cx: Context, value: Lowered, other: Lowered) -> Lowered:
    """One whole number of the device, beside numbers with fractions, as one of these."""
    fractions = other.tensor.dtype in FLOATS if isinstance(other, Value) else is_number(other)
    return measured(cx, value) if fractions and isinstance(value, Value) else value


def measured(cx: Context, value: Value) -> Value:
    """One whole number of the device as one with a fraction; anything else as it is."""
    return cx.builder.f32(value) if reading.is_whole(value) else value


def elementwise(
    cx: Context, op: str, values: list[Any], span: Span, places: tuple[Span, ...]
) -> Value:
    """An elementwise operation with NumPy's broadcasting; the message names the operands.

    A float32 number beside float16 tensors that have axes makes them no float32 tensors.
    """
    cx.builder.span = span
    together = cx.fitting(cx.builder.together, _as_numbers(cx, op, values), span, places)
    return narrowed(cx, cx.emit(op, *together, span=span, places=places), values)


def narrowed(cx: Context, result: Value, operands: list[Value]) -> Value:
    """A float32 result as float16 where only numbers among its operands are float32."""
    shaped = {v.tensor.dtype for v in operands if v.tensor.rank}
    narrow = shaped == {"f16"} and result.tensor.dtype == "f32"
    return cx.builder.cast(result, "f16") if narrow else result


def _as_numbers(cx: Context, op: str, values: list[Value]) -> list[Value]:
    """Operands of different kinds as numbers of one: in arithmetic and comparisons a mask is 0
    and 1, and an index is compared with a number with a fraction as one."""
    dtypes = {v.tensor.dtype for v in values}
    floats = sorted(dtypes & set(FLOATS))
    compared = op in _COMPARED
    if "bool" in dtypes and op not in ("and", "or"):
        kind = floats[-1] if floats else "i32" if compared else "f16"
        values = [cx.builder.cast(v, kind) if v.tensor.dtype == "bool" else v for v in values]
    if floats and "i32" in dtypes and compared:
        values = [cx.builder.f32(v) for v in values]
    return values


def unary(cx: Context, op: str, value: Lowered, node: ast.Unary) -> Lowered:
    value = first_piece(value)
    if isinstance(value, list | Range) and op == "-":
        value = tensors.need_tensor(cx, value, node.operand.span)
    if op == "-" and isinstance(value, Value) and reading.is_whole(value):
        value = reading.on_host(cx, value, node.operand.span)
    if isinstance(value, Value):
        name = "neg" if op == "-" else "not"
        return cx.emit(name, value, span=node.span, places=(node.operand.span,))
    if op == "-" and (is_number(value) or isinstance(value, Dim)):
        return -value
    if op == "!" and isinstance(value, bool):
        return not value
    if op == "!" and isinstance(value, Flag):
        return Flag(1 - value.dim)
    cx.fail("E0302", f"no `{op}` of {describe(value)}", node.span)


def cast(cx: Context, value: Lowered, wanted: ast.TypeExpr, span: Span) -> Lowered:
    value = first_piece(value)
    if wanted.name in ("string", "String", "str"):
        return value if isinstance(value, Text) else texts.text(cx, [value], span)
    dtype = dtype_of(cx, wanted)
    match value:
        case Value():
            return cx.emit("cast", value, dtype=dtype, span=span)
        case list():
            return literal(cx, value, dtype, span)
        case Dim():
            if dtype == "i32":
                return value
            cx.builder.span = span
            return cx.builder.constant(value, TensorType(dtype, ()))
        case bool() | int() | float():
            return _cast_number(cx, value, dtype, span)
    cx.fail("E0302", f"{describe(value)} cannot be converted to {wanted.span.text}", span)


def _cast_number(cx: Context, value: float, dtype: str, span: Span) -> float:
    match dtype:
        case "bool":
            return bool(value)
        case "i32" if not math.isfinite(value):
            cx.fail("E0305", f"{value} has no whole number", span)
        case "i32":
            return int(value)
    return float(value)
