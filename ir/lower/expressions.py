"""Expressions: each node to an IR value, or to what is known already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tlc.frontend import ast
from tlc.frontend.diagnostics import CompileError, Label
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import calls, indexing, statements
from tlc.ir.lower.context import Context
from tlc.ir.lower.types import dtype_of
from tlc.ir.lower.values import Lowered, Range, describe, is_number, whole
from tlc.ir.types import FLOATS, TensorType

_TENSOR_OPS = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod", "**": "pow", "@": "matmul",
    "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "&&": "and", "||": "or",
}  # fmt: skip
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def expression(cx: Context, node: ast.Expr) -> Lowered:
    """The value of an expression."""
    match node:
        case ast.Number(value=value) | ast.String(value=value) | ast.Bool(value=value):
            return value
        case ast.Name(id=name):
            return cx.lookup(name, node.span)
        case ast.Binary():
            return _binary_chain(cx, node)
        case ast.Unary(op=op, operand=operand):
            return _unary(cx, op, expression(cx, operand), node)
        case ast.Call():
            return calls.call(cx, node)
        case ast.Attribute():
            return indexing.attribute(cx, node)
        case ast.Index():
            return indexing.index(cx, node)
        case ast.Array(items=items):
            return [expression(cx, item) for item in items]
        case ast.Tuple(items=items):
            return tuple(expression(cx, item) for item in items)
        case ast.Repeat(value=value, count=count):
            times = whole(expression(cx, count))
            if not isinstance(times, int) or times < 0:
                cx.fail("E0303", "the count of `[value; count]` is a whole number", count.span)
            return [expression(cx, value)] * times
        case ast.Range(low=low, high=high):
            ends = [whole(expression(cx, e)) for e in (low, high)]
            if not all(isinstance(e, int) for e in ends):
                cx.fail("E0304", "the ends of a range must be known at build", node.span)
            return Range(*ends)  # type: ignore[arg-type]
        case ast.Cast(operand=operand, type=type):
            return _cast(cx, expression(cx, operand), type, node.span)
        case ast.IfExpr(test=test, then=then, orelse=orelse):
            return _if(cx, test, then, orelse, node.span)
        case ast.BlockExpr(body=body):
            return statements.block(cx, body)
        case ast.Path(parts=parts):
            cx.fail("E0201", f"`{'::'.join(parts)}` is a function; call it", node.span)
        case ast.Set():
            cx.fail("E0302", "a set `{a, b}` can only be walked by `for`", node.span)
    cx.unsupported(_NAMES.get(type(node).__name__, "this expression"), node.span)


_NAMES = {"Match": "`match`", "StructLit": "a struct literal"}


# ---- operators --------------------------------------------------------------------------------------


def _binary_chain(cx: Context, node: ast.Binary) -> Lowered:
    """Walks the left spine in a loop, so that a sum of ten thousand terms is no deeper than one."""
    spine = [node]
    while isinstance(spine[-1].left, ast.Binary):
        spine.append(spine[-1].left)
    value = expression(cx, spine[-1].left)
    for step in reversed(spine):
        if step.op in ("&&", "||") and isinstance(value, bool):
            if value == (step.op == "||"):  # decided: the right side is not evaluated
                continue
            value = expression(cx, step.right)
            if not isinstance(value, bool | Value):
                cx.fail("E0302", f"`{step.op}` needs bools, and this is {describe(value)}", step.right.span)
            continue
        value = binary(cx, step.op, value, expression(cx, step.right), step)
    return value


def binary(cx: Context, op: str, left: Lowered, right: Lowered, node: ast.Binary) -> Lowered:
    """An operator applied to two values: at build when both are known, else as an operation."""
    if isinstance(left, Value) or isinstance(right, Value):
        return _tensor_binary(cx, op, left, right, node)
    if op in _COMPARE:
        return _compare(cx, op, left, right, node)
    numbers = (is_number(left) or isinstance(left, Dim)) and (
        is_number(right) or isinstance(right, Dim)
    )
    if numbers:
        return _arithmetic(cx, op, left, right, node)
    match op, left, right:
        case "+", str(), str():
            return left + right
        case "*", str(), int():
            return left * right
        case "+", list(), list():
            return [*left, *right]
    _no_operator(cx, op, left, right, node)


def _no_operator(cx: Context, op: str, left: Lowered, right: Lowered, node: ast.Binary) -> Any:
    cx.fail(
        "E0302",
        f"no `{op}` of {describe(left)} and {describe(right)}",
        node.span,
        others=[
            Label(node.left.span, f"this is {describe(left)}"),
            Label(node.right.span, f"this is {describe(right)}"),
        ],
    )


def _arithmetic(cx: Context, op: str, left: Any, right: Any, node: ast.Binary) -> Lowered:
    """Numbers known at build; integers divide as C does, toward zero."""
    sizes = isinstance(left, Dim) or isinstance(right, Dim)
    if sizes:
        left, right = whole(left), whole(right)
        if left is None or right is None or op not in "+-*/%":
            cx.fail("E0304", f"`{op}` of a size that only run time knows", node.span)
        left, right = Dim.of(left), Dim.of(right)
    if op in "/%" and right == (Dim.of(0) if sizes else 0):
        cx.fail("E0305", "division by zero", node.span)
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
                result = _truncated(left, right) if both_int else left / right
            case "%" if both_int:
                result = left - right * _truncated(left, right)
            case "%":
                from math import fmod

                result = left % right if sizes else fmod(left, right)
            case "**" if not both_int or abs(right) <= 64:
                result = left**right if not both_int or right >= 0 else float(left) ** right
            case _:
                _no_operator(cx, op, left, right, node)
    except (OverflowError, ZeroDivisionError):
        cx.fail("E0305", f"`{op}` of {left} and {right} has no finite result", node.span)
    if isinstance(result, complex):
        cx.fail("E0305", f"`{op}` of {left} and {right} is not a real number", node.span)
    return int(result) if isinstance(result, Dim) and result.is_static else result


def _truncated(left: int, right: int) -> int:
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _compare(cx: Context, op: str, left: Lowered, right: Lowered, node: ast.Binary) -> bool:
    if isinstance(left, Dim) or isinstance(right, Dim):
        if op == "==" and left == right:
            return True
        a, b = whole(left), whole(right)
        if a is not None and b is not None:
            gap = Dim.of(a) - Dim.of(b)
            if gap.is_static:
                return _COMPARE[op](int(gap), 0)
        cx.unsupported("a comparison of sizes that only run time knows", node.span)
    kinds = [bool if isinstance(v, bool) else float if is_number(v) else type(v) for v in (left, right)]
    if kinds[0] is not kinds[1] or (kinds[0] not in (float, str) and op not in ("==", "!=")):
        _no_operator(cx, op, left, right, node)
    return _COMPARE[op](left, right)


def _tensor_binary(cx: Context, op: str, left: Lowered, right: Lowered, node: ast.Binary) -> Value:
    places = (node.left.span, node.right.span)
    values = [as_tensor(cx, v, like, at) for v, like, at in zip((left, right), (right, left), places, strict=True)]
    if any(v is None for v in values):
        _no_operator(cx, op, left, right, node)
    a, b = values
    if op == "@":
        return cx.emit("matmul", a, b, span=node.span, places=places)
    return elementwise(cx, _TENSOR_OPS[op], [a, b], node.span, places)


def elementwise(
    cx: Context, op: str, values: list[Any], span: Span, places: tuple[Span, ...]
) -> Value:
    """An elementwise operation with NumPy's broadcasting; the message names the operands."""
    from tlc.ir.opdef import TypeRuleError

    cx.builder.span = span
    try:
        together = cx.builder.together(*values)
    except TypeRuleError as problem:
        cx.refuse(problem, span, values, places)
    return cx.emit(op, *together, span=span, places=places)


def as_tensor(cx: Context, value: Lowered, like: Lowered, span: Span) -> Value | None:
    """A number as a tensor of the other operand's dtype; None for what is neither."""
    if isinstance(value, Value):
        return value
    if isinstance(value, bool) or not (is_number(value) or isinstance(value, Dim)):
        return None
    dtype = like.tensor.dtype if isinstance(like, Value) else "f16"
    if dtype == "i32" and whole(value) is None:
        return None
    cx.builder.span = span
    return cx.builder.constant(value, TensorType("f16" if dtype == "bool" else dtype, ()))


def _unary(cx: Context, op: str, value: Lowered, node: ast.Unary) -> Lowered:
    if isinstance(value, Value):
        name = "neg" if op == "-" else "not"
        return cx.emit(name, value, span=node.span, places=(node.operand.span,))
    if op == "-" and (is_number(value) or isinstance(value, Dim)):
        return -value
    if op == "!" and isinstance(value, bool):
        return not value
    cx.fail("E0302", f"no `{op}` of {describe(value)}", node.span)


def _cast(cx: Context, value: Lowered, type: ast.TypeExpr, span: Span) -> Lowered:
    if isinstance(value, Value):
        return cx.emit("cast", value, dtype=dtype_of(cx, type), span=span)
    if is_number(value) or isinstance(value, bool):
        match type.name:
            case "int" | "int32":
                return int(value)
            case "float" | "float16" | "float32":
                return float(value)
            case "bool":
                return bool(value)
    if type.name in ("string", "String", "str") and not isinstance(value, Value):
        from tlc.ir.lower.values import show

        return show(value)
    cx.fail("E0302", f"{describe(value)} cannot be converted to {type.span.text}", span)


# ---- choices ----------------------------------------------------------------------------------------


def condition(cx: Context, node: ast.Expr) -> bool:
    """A condition that is known at build."""
    value = expression(cx, node)
    if isinstance(value, bool):
        return value
    if isinstance(value, Value):
        cx.unsupported(
            "a condition on a tensor",
            node.span,
            "`where(mask, a, b)` chooses element by element",
        )
    cx.fail("E0302", f"a condition is a bool, and this is {describe(value)}", node.span)


def _if(cx: Context, test: ast.Expr, then: ast.Expr, orelse: ast.Expr, span: Span) -> Lowered:
    taken, other = (then, orelse) if condition(cx, test) else (orelse, then)
    with cx.inner():
        value = expression(cx, taken)
    with cx.inner(), cx.scratch():
        try:
            skipped = expression(cx, other)
        except CompileError as problem:
            if any(d.code.startswith("E02") for d in problem.diagnostics):
                raise
            return value  # code that never runs may rest on what does not hold, as a size does
    agree(cx, taken, value, other, skipped, span)
    return value


def agree(
    cx: Context, taken: ast.Node, value: Lowered, other: ast.Node, skipped: Lowered, span: Span
) -> None:
    """The two branches of an `if` that is used as a value must have one kind of value."""
    if _kind(value) != _kind(skipped):
        places = sorted([(taken.span, value), (other.span, skipped)], key=lambda p: p[0].start)
        cx.fail(
            "E0302",
            "the branches of this `if` have different types",
            span,
            others=[Label(at, f"this is {describe(v)}") for at, v in places],
        )


def _kind(value: Lowered) -> str:
    if isinstance(value, Value):
        return value.tensor.dtype if value.tensor.shape or value.tensor.dtype in FLOATS else "int"
    return describe(value)
