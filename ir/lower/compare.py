"""Comparisons of what the build knows, of sizes, and of texts that only run time knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from tlc.frontend import ast
from tlc.frontend.diagnostics import Label
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import texts
from tlc.ir.lower.context import Context, where
from tlc.ir.lower.values import Flag, Lowered, Struct, Text, describe, is_number, truth, whole
from tlc.ir.types import FLOATS

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _late(op: str, left: Dim, right: Dim) -> Flag:
    """A comparison that run time makes, in terms of `<`, `<=` and `==`."""
    if op in (">", ">="):
        op, left, right = {">": "<", ">=": "<="}[op], right, left
    found = left.compare("==" if op == "!=" else op, right)
    return Flag(1 - found if op == "!=" else found)


def compare(cx: Context, op: str, left: Lowered, right: Lowered, node: ast.Binary) -> bool | Flag:
    match left, right:
        case (list(), list()) | (tuple(), tuple()) if op in ("==", "!="):
            pairs = zip(left, right, strict=False)
            return _all_equal(cx, op, pairs, node) if len(left) == len(right) else op == "!="
        case (Struct(), Struct()) if left.decl is right.decl and op in ("==", "!="):
            pairs = zip(left.fields.values(), right.fields.values(), strict=True)
            return _all_equal(cx, op, pairs, node)
    if isinstance(left, Dim) or isinstance(right, Dim):
        if op == "==" and left == right:
            return True
        a, b = whole(left), whole(right)
        if a is not None and b is not None:
            gap = Dim.of(a) - Dim.of(b)
            if gap.is_static:
                return COMPARISONS[op](int(gap), 0)
            return _late(op, Dim.of(a), Dim.of(b))
        no_operator(cx, op, left, right, node)
    one, other = truth(left), truth(right)
    if one is not None and other is not None and op in ("==", "!=") and one != other:
        equal = one * other + (1 - one) * (1 - other)
        if not equal.is_static:
            return Flag(equal if op == "==" else 1 - equal)
    kinds = [
        bool if isinstance(v, bool) else float if is_number(v) else type(v) for v in (left, right)
    ]
    ordered = kinds[0] in (float, str) or op in ("==", "!=")
    if kinds[0] is not kinds[1] or not ordered or kinds[0] in (Value, list, tuple):
        no_operator(cx, op, left, right, node)
    return COMPARISONS[op](left, right)


def _all_equal(
    cx: Context, op: str, pairs: Iterable[tuple[Lowered, Lowered]], node: ast.Binary
) -> bool | Flag:
    """Whether all pairs are equal, or (for `!=`) some are not."""
    total = Dim.of(1)
    for a, b in pairs:
        found = _equal(cx, a, b, node)
        total = total * found
    equal = bool(int(total)) if total.is_static else Flag(total)
    if op == "==":
        return equal
    return Flag(1 - equal.dim) if isinstance(equal, Flag) else not equal


def _equal(cx: Context, one: Lowered, other: Lowered, node: ast.Binary) -> Dim:
    """Whether two parts of arrays or structs are equal; one of the device is read."""
    from tlc.ir.lower import operators, reading

    equal = operators.binary(cx, "==", one, other, node)
    if isinstance(equal, Value) and not equal.tensor.shape:
        equal = reading.on_host(cx, equal, node.span)
    found = truth(equal)
    return found if found is not None else no_operator(cx, "==", one, other, node)


def compare_texts(cx: Context, op: str, left: Lowered, right: Lowered, node: ast.Binary) -> Flag:
    """How a text that run time reads stands to another one; equal texts have one number."""
    text, other = (left, right) if isinstance(left, Text) else (right, left)
    if not isinstance(other, str | Text):
        no_operator(cx, op, left, right, node)
    if op not in ("==", "!="):
        if op not in COMPARISONS:
            no_operator(cx, op, left, right, node)
        return _late(op, _order(cx, left, right, node.span), Dim.of(0))
    if isinstance(other, Text):
        return _late(op, text.dim, other.dim)
    same = asked(cx, text, "is", other, node.span)
    return Flag(same if op == "==" else 1 - same)


def _order(cx: Context, left: str | Text, right: str | Text, span: Span) -> Dim:
    """A number below 0, 0, or above it, as a text stands to another one in the order of texts."""
    one, other = (texts.as_text(cx, text, span).dim for text in (left, right))
    symbol = cx.program.new_symbol()
    cx.builder.span = span
    cx.builder.append("text_order", text=one, other=other, symbol=symbol)
    return Dim.of(symbol)


def no_operator(cx: Context, op: str, left: Lowered, right: Lowered, node: ast.Binary) -> NoReturn:
    hint = ""
    kinds = {v.tensor.dtype for v in (left, right) if isinstance(v, Value)}
    if op in ("&&", "||") and kinds & set(FLOATS):
        hint = "masks are combined; a comparison makes one: `x != 0.0`"
    elif op == "+" and isinstance(left, str | Text) != isinstance(right, str | Text):
        hint = "`str(x)` writes a value as a string"
    elif "i32" in kinds and (is_number(left) or is_number(right)):
        hint = "integer tensors hold indices; convert with `as float16`"
    cx.fail(
        "E0302",
        f"no `{op}` of {describe(left)} and {describe(right)}",
        node.span,
        others=[
            Label(node.left.span, f"this is {describe(left)}"),
            Label(node.right.span, f"this is {describe(right)}"),
        ],
        hint=hint,
    )


def asked(cx: Context, text: Text, what: str, other: str, span: Span) -> Dim:
    """A number that run time finds in a text: see the operation `text_value`."""
    symbol = cx.program.new_symbol()
    cx.builder.span = span
    cx.builder.append(
        "text_value", text=text.dim, what=what, other=other, place=where(span), symbol=symbol
    )
    return Dim.of(symbol)
