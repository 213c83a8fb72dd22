"""`assert`, `assert_eq` and `panic`: what stops a run, with a message and its place."""

from __future__ import annotations

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim, product
from tlc.ir.lower import composite, operators, reading, statements, tensors
from tlc.ir.lower.arguments import Argument
from tlc.ir.lower.builtins.output import formatted
from tlc.ir.lower.builtins.table import SPECIAL, arguments
from tlc.ir.lower.context import Context, where
from tlc.ir.lower.control import regions
from tlc.ir.lower.fitting import may_be_equal
from tlc.ir.lower.texts import Part, part
from tlc.ir.lower.values import Flag, Lowered, describe, truth

TRUE, FALSE = Dim.of(1), Dim.of(0)


def _demand(
    cx: Context, condition: Dim, parts: tuple[Part, ...], operands: list[Value], span: Span
) -> None:
    if condition != TRUE:
        cx.effect(
            "assert", *operands, condition=condition, parts=parts, place=where(span), span=span
        )


def _assert(cx: Context, node: ast.Call, first: list[Argument]) -> None:
    """`assert(condition)`, `assert(condition, message, ...)`: the message as `print` writes it."""
    args = _given(cx, node, first, 1)
    value, span = args[0].value, args[0].span
    if isinstance(value, Value) and value.tensor.dtype == "bool":
        if value.tensor.numel != TRUE:
            text = f"an assertion is one truth value, and this is {value.type}"
            cx.fail("E0302", text, span, hint="`assert_eq(a, b)` compares all elements")
        value = reading.on_host(cx, value, span)
    condition = truth(value)
    if condition is None:
        text = f"an assertion is a truth value, and this is {describe(value)}"
        cx.fail("E0302", text, span)
    if args[1:]:
        parts, operands = formatted(cx, args[1:], node.span)
    else:
        parts, operands = (f"assertion failed: {' '.join(span.text.split())}",), []
    _demand(cx, condition, parts, operands, node.span)


def _assert_eq(cx: Context, node: ast.Call, first: list[Argument]) -> None:
    """`assert_eq(a, b)`: tensors are equal when all elements are, and NaN equals nothing."""
    args = _given(cx, node, first, 2)
    left, right = args[:2]
    condition = _equal(cx, left.value, right.value, node)
    parts: list[Part] = ["assertion failed"]
    operands: list[Value] = []
    if args[2:]:
        said, operands = formatted(cx, args[2:], node.span)
        parts = list(said)
    for text, side in ((": left is ", left), (", right is ", right)):
        parts.append(text)
        part(cx, side.value, side.span, parts, operands)
    _demand(cx, condition, tuple(parts), operands, node.span)


def _panic(cx: Context, node: ast.Call, first: list[Argument]) -> None:
    """`panic(message, ...)`: nothing behind it runs."""
    parts, operands = formatted(cx, _given(cx, node, first, 0), node.span)
    _demand(cx, FALSE, ("panic: ", *parts) if parts else ("panic",), operands, node.span)
    raise statements.Panic


SPECIAL["assert"], SPECIAL["assert_eq"], SPECIAL["panic"] = _assert, _assert_eq, _panic


def _given(cx: Context, node: ast.Call, first: list[Argument], least: int) -> list[Argument]:
    args = arguments(cx, node, first)
    named = next((arg for arg in args if arg.name is not None), None)
    name = node.callee.span.text.rsplit(".", 1)[-1]
    if named is not None:
        cx.fail("E0203", f"`{name}` has no named arguments", named.span)
    if len(args) < least:
        what = "a condition" if least == 1 else "two values"
        cx.fail("E0203", f"`{name}` needs {what}", node.span)
    return args


# ---- equality ------------------------------------------------------------------------------------


def _equal(cx: Context, left: Lowered, right: Lowered, node: ast.Call) -> Dim:
    """Whether two values are equal, as a dimension that is 0 or 1."""
    if isinstance(left, Value) or isinstance(right, Value):
        return _same_elements(cx, left, right, node)
    if composite.is_composite(left) and composite.is_composite(right):
        a, b = composite.leaves("", left), composite.leaves("", right)
        if type(left) is not type(right) or a.keys() != b.keys():
            return FALSE
        total = TRUE
        for path in a:
            total = total * _equal(cx, a[path], b[path], node)
        return total
    one, other = truth(left), truth(right)
    if one is not None and other is not None:
        return one * other + (1 - one) * (1 - other)
    pair = ast.Binary(node.span, "==", node, node)
    found = truth(operators.binary(cx, "==", left, right, pair))
    assert found is not None
    return found


def _same_elements(cx: Context, left: Lowered, right: Lowered, node: ast.Call) -> Dim:
    a = tensors.as_tensor(cx, left, right, node.span)
    b = tensors.as_tensor(cx, right, left, node.span)
    if a is None or b is None:
        cx.fail("E0302", f"no `==` of {describe(left)} and {describe(right)}", node.span)
    numbers = not all(isinstance(v, Value | list) for v in (left, right))
    if a.tensor.shape != b.tensor.shape and not numbers:
        pairs = list(zip(a.tensor.shape, b.tensor.shape, strict=False))
        certain = any(one != other and not may_be_equal(one, other) for one, other in pairs)
        if len(a.tensor.shape) != len(b.tensor.shape) or certain:
            return FALSE
        alike = product(one.compare("==", other) for one, other in pairs)
        branches = (lambda: Flag(_none_differs(cx, a, b, node)), lambda: False)
        found = regions.choose(cx, alike, branches, ((), ()), node.span)
        return truth(found) or FALSE
    return _none_differs(cx, a, b, node)


def _none_differs(cx: Context, a: Value, b: Value, node: ast.Call) -> Dim:
    """One read: the number of elements that differ, compared with none."""
    if {a.tensor.dtype, b.tensor.dtype} == {"bool"}:
        a, b = (cx.emit("cast", v, dtype="i32", span=node.span) for v in (a, b))
    places = (node.span, node.span)
    differ = operators.elementwise(cx, "ne", [a, b], node.span, places)
    b_ = cx.builder
    b_.span = node.span
    counted = b_.emit("sum", b_.cast(differ, "f32"))
    none = b_.emit("eq", counted, b_.scalar(0.0, counted))
    return Dim.of(reading.read(cx, none, node.span))
