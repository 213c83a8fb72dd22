"""Expressions: each node to an IR value, or to what is known already."""

from __future__ import annotations

import math
from typing import Any

from tlc.frontend import ast
from tlc.frontend.diagnostics import CompileError, Label
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim, truncated
from tlc.ir.lower import calls, control, indexing, patterns, statements, structs, texts
from tlc.ir.lower.compare import COMPARISONS, compare, no_operator, same_text
from tlc.ir.lower.context import Context, TooLong
from tlc.ir.lower.literals import check_range, literal
from tlc.ir.lower.types import dtype_of
from tlc.ir.lower.values import (
    Flag,
    Lowered,
    Range,
    Text,
    describe,
    first_piece,
    is_number,
    tell,
    truth,
    whole,
)
from tlc.ir.opdef import TypeRuleError
from tlc.ir.types import FLOATS, TensorType

MAX_LENGTH = 1 << 24  # of an array or string that is known at build

_TENSOR_OPS = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod", "**": "pow", "@": "matmul",
    "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "&&": "and", "||": "or",
}  # fmt: skip


_COMPARED = frozenset(_TENSOR_OPS[op] for op in COMPARISONS)


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
            found = expression(cx, count)
            times = whole(found)
            item = expression(cx, value)
            if isinstance(found, Value) and _whole(found):
                times = whole(on_host(cx, found, count.span))
            if isinstance(times, Dim):
                return _repeated(cx, item, times, node.span)
            if times is None or times < 0:
                cx.fail("E0303", "the count of `[value; count]` is a whole number", count.span)
            _limited(cx, times, node.span)
            return [item] * times
        case ast.Range(low=low, high=high):
            ends = [(expression(cx, e), e.span) for e in (low, high)]
            return Range(*(range_end(cx, value, at) for value, at in ends))
        case ast.Cast(operand=operand, type=wanted):
            return _cast(cx, expression(cx, operand), wanted, node.span)
        case ast.IfExpr(test=test, then=then, orelse=orelse):
            return _if(cx, test, then, orelse, node.span)
        case ast.BlockExpr(body=body):
            return statements.block(cx, body)
        case ast.StructLit():
            return structs.literal(cx, node)
        case ast.Match():
            return patterns.match(cx, node)
        case ast.Path(parts=parts):
            cx.fail("E0201", f"`{'::'.join(parts)}` is a function; call it", node.span)
        case ast.Set():
            cx.fail("E0302", "a set `{a, b}` can only be walked by `for`", node.span)
    cx.unsupported("this expression", node.span)


def _repeated(cx: Context, item: Lowered, times: Dim, span: Span) -> Value:
    """`[number; n]` of a length that only run time knows: a tensor."""
    one = as_tensor(cx, item, None, span)
    if one is None or one.tensor.shape:
        text = f"an array of {describe(item)} whose length only run time knows"
        cx.unsupported(text, span)
    cx.builder.span = span
    return cx.builder.broadcast(one, (times,))


# ---- operators -----------------------------------------------------------------------------------


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
            if not isinstance(value, bool | Value | Flag):
                cx.fail(
                    "E0302",
                    f"`{step.op}` needs bools, and this is {describe(value)}",
                    step.right.span,
                )
            continue
        value = binary(cx, step.op, value, expression(cx, step.right), step)
    return value


def range_end(cx: Context, value: Lowered, span: Span) -> int | Dim:
    """An end of a range: a whole number, which only run time may know."""
    if isinstance(value, Value) and value.tensor.dtype == "i32" and value.tensor.numel == Dim.of(1):
        return Dim.of(read(cx, value, span))
    end = whole(value)
    if end is None:
        cx.fail("E0303", f"a range ends at a whole number, and this is {tell(value)}", span)
    return end


def read(cx: Context, value: Value, span: Span) -> str:
    """The symbol of a tensor's one element."""
    symbol = cx.program.new_symbol()
    cx.builder.span = span
    cx.builder.append("read", value, symbol=symbol)
    return symbol


def _whole(value: Lowered) -> bool:
    """Whether this is one whole number, of the host or the device."""
    if isinstance(value, Value):
        return value.tensor.dtype == "i32" and not value.tensor.shape
    return whole(value) is not None


def _true_or_false(value: Lowered) -> bool:
    """Whether this is one truth value, of the host or the device."""
    if isinstance(value, Value):
        return value.tensor.dtype == "bool" and not value.tensor.shape
    return truth(value) is not None


def on_host(cx: Context, value: Value, span: Span) -> Dim | Flag:
    """The one element of a tensor of whole numbers or truth values, as the host knows it."""
    if value.tensor.dtype not in ("i32", "bool") or value.tensor.numel != Dim.of(1):
        text = f"one whole number or truth value is needed, and this is {value.type}"
        cx.fail("E0302", text, span)
    number = Dim.of(read(cx, value, span))
    return Flag(number) if value.tensor.dtype == "bool" else number


def count(cx: Context, value: Lowered, span: Span) -> int | Dim | None:
    """A whole number as the host knows it, also one that the device has found; None for others."""
    if isinstance(value, Value) and _whole(value):
        value = on_host(cx, value, span)
    return whole(value) if not isinstance(value, Flag) else None


def _limited(cx: Context, length: int, span: Span) -> None:
    if length > MAX_LENGTH:
        cx.unsupported(f"an array or string of more than {MAX_LENGTH} elements", span)


def binary(cx: Context, op: str, left: Lowered, right: Lowered, node: ast.Binary) -> Lowered:
    """An operator applied to two values: at build when both are known, else as an operation."""
    left, right = first_piece(left), first_piece(right)
    # the index that `argmax` finds is a number to count on with
    counts = op in "+-*/%" and _whole(left) and _whole(right)
    truths = _true_or_false(left) and _true_or_false(right)
    host = isinstance(left, Flag) or isinstance(right, Flag)
    if counts or (truths and (op in ("==", "!=") or (op in ("&&", "||") and host))):
        left, right = (
            on_host(cx, v, at.span) if isinstance(v, Value) else v
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
        return same_text(cx, op, left, right, node)
    match op, left, right:
        case "+", str(), str():
            _limited(cx, len(left) + len(right), node.span)
            return left + right
        case "*", str(), int() if not isinstance(right, bool):
            _limited(cx, len(left) * max(right, 0), node.span)
            return left * right
        # on their own, arrays are float16 tensors
        case _, list() | Range(), list() | Range() | int() | float() | Dim():
            return _tensor_binary(cx, op, left, right, node)
        case _, int() | float() | Dim(), list() | Range():
            return _tensor_binary(cx, op, left, right, node)
    no_operator(cx, op, left, right, node)


def _arithmetic(cx: Context, op: str, left: Any, right: Any, node: ast.Binary) -> Lowered:
    """Numbers known at build; integers divide as C does, toward zero."""
    sizes = isinstance(left, Dim) or isinstance(right, Dim)
    if sizes:
        # a division of floats is another one than that of sizes
        exact = op in ("/", "%") and (isinstance(left, float) or isinstance(right, float))
        whole_left, whole_right = whole(left), whole(right)
        if whole_left is None or whole_right is None or exact or op not in "+-*/%":
            return _tensor_binary(cx, op, left, right, node)
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
    return int(result) if isinstance(result, Dim) and result.is_static else result


def _tensor_binary(cx: Context, op: str, left: Lowered, right: Lowered, node: ast.Binary) -> Value:
    places = (node.left.span, node.right.span)
    left, right = beside(cx, left, right), beside(cx, right, left)
    values = [
        as_tensor(cx, v, like, at)
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
    return cx.builder.f32(value) if _whole(value) else value


def elementwise(
    cx: Context, op: str, values: list[Any], span: Span, places: tuple[Span, ...]
) -> Value:
    """An elementwise operation with NumPy's broadcasting; the message names the operands.

    A float32 number beside float16 tensors that have axes makes them no float32 tensors.
    """
    cx.builder.span = span
    try:
        together = cx.builder.together(*_as_numbers(cx, op, values))
    except TypeRuleError as problem:
        cx.refuse(problem, span, values, places)
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


def need_tensor(cx: Context, value: Lowered, span: Span) -> Value:
    """A tensor, or an array as one. Reports anything else."""
    if isinstance(value, Value):
        return value
    found = None if isinstance(value, Dim) or is_number(value) else as_tensor(cx, value, None, span)
    if found is None:
        cx.fail("E0302", f"a tensor is needed, and this is {describe(value)}", span)
    return found


def _unary(cx: Context, op: str, value: Lowered, node: ast.Unary) -> Lowered:
    value = first_piece(value)
    if isinstance(value, list | Range) and op == "-":
        value = need_tensor(cx, value, node.operand.span)
    if op == "-" and isinstance(value, Value) and _whole(value):
        value = on_host(cx, value, node.operand.span)
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


def _cast(cx: Context, value: Lowered, wanted: ast.TypeExpr, span: Span) -> Lowered:
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


# ---- choices -------------------------------------------------------------------------------------


def condition(cx: Context, node: ast.Expr) -> bool | Dim:
    """A condition: known at build, or a dimension that run time makes 0 or 1."""
    value = expression(cx, node)
    if isinstance(value, bool):
        return value
    if isinstance(value, Flag):
        return value.dim
    if isinstance(value, Value):
        one = value.tensor.numel == Dim.of(1)
        if value.tensor.dtype != "bool" or not one:
            cx.fail(
                "E0302",
                f"a condition is one truth value, and this is {value.type}",
                node.span,
                hint="`where(mask, a, b)` chooses element by element" if not one else "",
            )
        return Dim.of(read(cx, value, node.span))
    cx.fail("E0302", f"a condition is a bool, and this is {describe(value)}", node.span)


def _if(cx: Context, test: ast.Expr, then: ast.Expr, orelse: ast.Expr, span: Span) -> Lowered:
    chosen = condition(cx, test)
    if isinstance(chosen, Dim):
        branches = (lambda: expression(cx, then), lambda: expression(cx, orelse))
        return control.choose(cx, chosen, branches, ((then,), (orelse,)), span)
    taken, other = (then, orelse) if chosen else (orelse, then)
    with cx.inner():
        value = expression(cx, taken)
    with cx.inner(), cx.scratch():
        try:
            skipped = expression(cx, other)
        except CompileError as problem:
            unknown = any(d.code.startswith("E02") for d in problem.diagnostics)
            if unknown or isinstance(problem, TooLong):
                raise
            return value  # code that never runs may rest on what does not hold, as a size does
        except (statements.Return, statements.LoopExit, statements.Panic):
            return value
    _agree(cx, (taken, value), (other, skipped), span)
    return value


def _agree(
    cx: Context, taken: tuple[ast.Node, Lowered], other: tuple[ast.Node, Lowered], span: Span
) -> None:
    """The two branches of an `if` that is used as a value must have one kind of value."""
    if _kind(taken[1]) != _kind(other[1]):
        cx.fail(
            "E0302",
            "the branches of this `if` have different types",
            span,
            others=[
                Label(node.span, f"this is {describe(value)}")
                for node, value in sorted((taken, other), key=lambda pair: pair[0].span.start)
            ],
        )


def _kind(value: Lowered) -> str:
    """What has to be the same in both branches: the dtype of a tensor, the type of anything else.

    A tensor of rank 0 is a number, as a literal is.
    """
    if isinstance(value, Value):
        dtype = value.tensor.dtype
        if value.tensor.shape:
            return dtype
        return "int" if dtype == "i32" else "bool" if dtype == "bool" else "float"
    return describe(value)
