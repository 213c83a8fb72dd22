"""Expressions: each node to an IR value, or to what is known already."""

from __future__ import annotations

from tlc.frontend import ast
from tlc.frontend.diagnostics import CompileError, Label
from tlc.frontend.source import Span
from tlc.ir.core import Block, Op, Value
from tlc.ir.dims import Dim
from tlc.ir.lower import (
    arrays,
    assignment,
    indexing,
    operators,
    patterns,
    reading,
    statements,
    structs,
    tensors,
)
from tlc.ir.lower.context import Context, TooLong
from tlc.ir.lower.control import regions
from tlc.ir.lower.values import Flag, Lowered, Range, describe, truth, whole
from tlc.ir.opdef import OPS


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
            return operators.unary(cx, op, expression(cx, operand), node)
        case ast.Call():
            return assignment.called(cx, node)
        case ast.Attribute():
            return indexing.attribute(cx, node)
        case ast.Index():
            return indexing.index(cx, node)
        case ast.Array(items=items):
            return arrays.level([expression(cx, item) for item in items])
        case ast.Tuple(items=items):
            return tuple(expression(cx, item) for item in items)
        case ast.Repeat(value=value, count=count):
            found = expression(cx, count)
            times = whole(found)
            item = expression(cx, value)
            if isinstance(found, Value) and reading.is_whole(found):
                times = whole(reading.on_host(cx, found, count.span))
            if isinstance(times, Dim):
                return _repeated(cx, item, times, node.span)
            if times is None or times < 0:
                cx.fail("E0303", "the count of `[value; count]` is a whole number", count.span)
            operators.limited(cx, times, node.span)
            return [item] * times
        case ast.Range(low=low, high=high):
            ends = [(expression(cx, e), e.span) for e in (low, high)]
            return Range(*(reading.range_end(cx, value, at) for value, at in ends))
        case ast.Cast(operand=operand, type=wanted):
            return operators.cast(cx, expression(cx, operand), wanted, node.span)
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
    one = tensors.as_tensor(cx, item, None, span)
    if one is None or one.tensor.shape:
        text = f"an array of {describe(item)} whose length only run time knows"
        cx.unsupported(text, span)
    cx.builder.span = span
    return cx.builder.broadcast(one, (times,))


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
        if step.op in ("&&", "||") and reading.is_truth(value):
            value = _decided_late(cx, step, value)
            continue
        value = operators.binary(cx, step.op, value, expression(cx, step.right), step)
    return value


def _decided_late(cx: Context, node: ast.Binary, left: Lowered) -> Lowered:
    """`left && right`: a right side with something to check is computed only where run time has to
    look at it."""
    around, branch = cx.builder.block, Block()
    cx.builder.block = branch
    try:
        right = expression(cx, node.right)
        late = reading.is_truth(right) and any(op.name == "check" for op in branch.ops)
        if late and isinstance(right, Value):
            right = reading.on_host(cx, right, node.right.span)
    finally:
        cx.builder.block = around
    found = truth(right)
    if not late or found is None:
        around.ops += branch.ops
        return operators.binary(cx, node.op, left, right, node)
    if isinstance(left, Value):
        left = reading.on_host(cx, left, node.left.span)
    chosen = truth(left)
    assert chosen is not None
    known, symbol = Block(), cx.program.new_symbol()
    cx.program.natural.add(symbol)
    for block in (branch, known):
        block.ops.append(Op(OPS["yield"], [], {}))
    both = node.op == "&&"
    sides = [branch, known] if both else [known, branch]
    values = (found, Dim.of(0)) if both else (Dim.of(1), found)
    cx.builder.span = node.span
    cx.builder.append("if", regions=sides, condition=chosen, ints=((symbol, *values),), results=())
    return Flag(Dim.of(symbol))


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
        return Dim.of(reading.read(cx, value, node.span))
    hint = "compare it, as with `!= 0`" if whole(value) is not None else ""
    cx.fail("E0302", f"a condition is a bool, and this is {describe(value)}", node.span, hint=hint)


def _if(cx: Context, test: ast.Expr, then: ast.Expr, orelse: ast.Expr, span: Span) -> Lowered:
    chosen = condition(cx, test)
    if isinstance(chosen, Dim):
        branches = (lambda: expression(cx, then), lambda: expression(cx, orelse))
        return regions.choose(cx, chosen, branches, ((then,), (orelse,)), span)
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
