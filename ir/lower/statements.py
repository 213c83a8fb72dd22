"""Statements: names get values, control flow that is known at build is followed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

from tlc.frontend import ast
from tlc.frontend.diagnostics import CompileError, Diagnostic, InternalError
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import assignment, expressions, indexing, patterns, structs, tensors
from tlc.ir.lower.composite import is_composite
from tlc.ir.lower.context import RESULT, RETURNED, SKIP, Context, Scope, TooLong
from tlc.ir.lower.control import following, regions, returns
from tlc.ir.lower.literals import literal
from tlc.ir.lower.signature import bound_symbols, declared, unify
from tlc.ir.lower.type_names import is_tensor_type
from tlc.ir.lower.types import convert
from tlc.ir.lower.values import Lowered, Poison, describe, is_number


class Return(Exception):
    """`return` reached: carries the value out of the function's body."""

    def __init__(self, value: Lowered, span: Span) -> None:
        self.value, self.span = value, span


class LoopExit(Exception):
    """`break` (stop is true) or `continue` reached."""

    def __init__(self, stop: bool, span: Span) -> None:
        self.stop, self.span = stop, span


def misplaced(exit: Return | LoopExit) -> Diagnostic:
    """What is wrong with a `return`, `break` or `continue` that has nothing to leave."""
    if isinstance(exit, Return):
        return Diagnostic("E0101", "this `return` stands outside of a function", exit.span)
    word = "break" if exit.stop else "continue"
    return Diagnostic("E0101", f"this `{word}` stands outside of a loop", exit.span)


class Panic(Exception):
    """`panic` reached: nothing behind it runs."""


def block(cx: Context, node: ast.Block) -> Lowered:
    """A block with names of its own; its value is that of a last expression, else None."""
    with cx.inner():
        return body(cx, node.body)


def body(cx: Context, statements: tuple[ast.Stmt | ast.Item, ...]) -> Lowered:
    """The statements of a scope; what it owns is dropped at its end, however that is reached."""
    try:
        value = run(cx, statements)
    except Return as way:
        structs.leave(cx, way.value)
        raise
    except LoopExit:
        structs.leave(cx, None)
        raise
    structs.leave(cx, value)
    return value


def run(cx: Context, statements: tuple[ast.Stmt | ast.Item, ...]) -> Lowered:
    """Statements in order. Errors of one do not hide those of the next."""
    value: Lowered = None
    failed: list[CompileError] = []
    for at, node in enumerate(statements):
        rest = statements[at + 1 :]
        absorbs = isinstance(node, ast.If) and bool(rest) and returns.absorbs(cx, node, rest)
        try:
            if isinstance(node, ast.If) and absorbs:
                value = _if(cx, node, rest)
            else:
                value = statement(cx, node)
        except TooLong as problem:
            found = [d for p in (*failed, problem) for d in p.diagnostics]
            raise type(problem)(found) from None
        except CompileError as problem:
            failed.append(problem)
            if isinstance(node, ast.If) and absorbs and not _inside(problem, node.test.span):
                break  # what is wrong with the rest was found with it
            _poison(cx, node)
        except (Return, LoopExit, Panic):
            if failed:
                break
            raise
        if rest or not isinstance(node, ast.ExprStmt | ast.If):
            value = None
        ended = regions.returned(cx)
        if ended is not None:
            _behind_return(cx, ended, node, rest)
        late = regions.skipped(cx)
        if late is not None and rest:  # a `continue` that only run time decides lies behind us
            try:
                _unless_skipped(cx, late, rest, node.span)
            except CompileError as problem:
                failed.append(problem)
            break
    if failed:
        raise CompileError([d for problem in failed for d in problem.diagnostics])
    return value


def _inside(problem: CompileError, span: Span) -> bool:
    places = [d.span for d in problem.diagnostics if d.span is not None]
    return all(span.start <= place.start < span.end for place in places)


def _unless_skipped(
    cx: Context, late: Dim, rest: tuple[ast.Stmt | ast.Item, ...], span: Span
) -> None:
    """What follows in a pass of a loop that run time may have left by here."""

    def going() -> Lowered:
        scope = cx.scope.find(SKIP)
        assert scope is not None
        scope.names[SKIP] = 0
        return body(cx, rest)

    regions.choose(cx, late.compare("==", 0), (going, lambda: None), (rest, ()), span)


def _behind_return(
    cx: Context, returned: Dim, node: ast.Stmt | ast.Item, rest: tuple[ast.Stmt | ast.Item, ...]
) -> NoReturn:
    """The end of a function in which a loop may have returned: its result, or what follows."""
    result = cx.scope.names[RESULT]

    def left() -> NoReturn:
        raise Return(result, node.span)

    endless = isinstance(node, ast.Loop) or (isinstance(node, ast.While) and _certain(node.test))
    breaks = endless and any(isinstance(n, ast.Break) for n in returns.inside([node]))
    if not rest and (result is None or (endless and not breaks)):
        left()
    if not rest:
        text = "a function that returns a value in a loop, and none behind it"
        cx.fail("E0302", text, node.span, hint="say what it returns when the loop ends")
    if not cx.scope.tail and not isinstance(rest[-1], ast.Return):
        cx.unsupported("a `return` that only run time decides, here", node.span)
    cx.scope.names[RETURNED] = 0
    regions.choose(cx, returned, (left, lambda: _ended(cx, rest)), ((), rest), node.span)
    raise InternalError("a branch that ends a function came back")


def _certain(test: ast.Expr) -> bool:
    return isinstance(test, ast.Bool) and test.value


def _poison(cx: Context, node: ast.Stmt | ast.Item) -> None:
    """After an error in a statement, nothing more is said about the names it assigns."""
    for name in assignment.assigned(node):
        outer = cx.scope.find(name) if isinstance(node, ast.Assign | ast.ExprStmt) else None
        (outer or cx.scope).names[name] = Poison()
    waiting: list[ast.Node] = list(node.children())
    while waiting:
        inner = waiting.pop()
        waiting += inner.children()
        for name in (
            assignment.assigned(inner) if isinstance(inner, ast.Assign | ast.ExprStmt) else ()
        ):
            outer = cx.scope.find(name)
            if outer is not None:
                outer.names[name] = Poison()


def statement(cx: Context, node: ast.Stmt | ast.Item) -> Lowered:
    """One statement; the value matters when it is the last of a block."""
    cx.step(node.span)
    match node:
        case ast.ExprStmt(value=ast.Call() as call):
            return assignment.update(cx, call)
        case ast.ExprStmt(value=ast.Match() as match):
            return patterns.match(cx, match, is_statement=True)
        case ast.ExprStmt(value=ast.IfExpr(test=test, then=then, orelse=orelse)):
            sides = [ast.Block(e.span, (ast.ExprStmt(e.span, e),)) for e in (then, orelse)]
            return _if(cx, ast.If(node.span, test, *sides))
        case ast.ExprStmt(value=value):
            return expressions.expression(cx, value)
        case ast.Let(names=names, type=type, value=value):
            _let(cx, names, type, value, node)
        case ast.Assign(target=target, value=value):
            _assign(cx, target, value, node)
        case ast.TensorDecl():
            tensor_declaration(cx, node)
        case ast.If():
            return _if(cx, node)
        case ast.Block():
            return block(cx, node)
        case ast.For():
            following.walked(cx, node)
        case ast.While(test=test):
            following.repeated(cx, node, test)
        case ast.Loop():
            following.repeated(cx, node, None)
        case ast.Break():
            raise LoopExit(True, node.span)
        case ast.Continue():
            raise LoopExit(False, node.span)
        case ast.Return(value=value):
            result = None if value is None else expressions.expression(cx, value)
            raise Return(result, node.span if value is None else value.span)
        case ast.Learn():
            cx.unsupported("`learn`", node.span)
        case _:
            cx.unsupported(f"`{type_name(node)}` here", node.span)
    return None


def type_name(node: ast.Node) -> str:
    """How a construct is called in messages."""
    return type(node).__name__.lower()


# ---- names ---------------------------------------------------------------------------------------


def _let(
    cx: Context,
    names: tuple[ast.Target, ...],
    type: ast.TypeExpr | None,
    node: ast.Expr,
    at: ast.Let,
) -> None:
    value = _value(cx, node)
    if type is not None:
        value = _laid_out(cx, value, type, node.span)
        value = tensors.widened(cx, value, type, node.span)
        shown = next(ast.targets(names), "()")
        value = convert(cx, type, value, node.span, f"`{shown}`", bound_symbols(cx, type))
    for name, part in named(cx, names, value, at.span):
        assignment.give(cx, cx.scope, name, part)


def named(
    cx: Context, names: tuple[ast.Target, ...], value: Lowered, span: Span
) -> Iterator[tuple[str, Lowered]]:
    """Names and what they get of a value: all of it, or its parts where there are several."""
    if len(names) == 1 and isinstance(names[0], str):
        yield names[0], value
        return
    for name, part in zip(names, taken_apart(cx, value, len(names), span), strict=True):
        yield from named(cx, (name,) if isinstance(name, str) else name, part, span)


def _laid_out(cx: Context, value: Lowered, node: ast.TypeExpr, span: Span) -> Lowered:
    """A flat array of numbers in the declared shape of a tensor, where that has several axes."""
    flat = isinstance(value, list) and len(value) > 0 and not any(map(is_composite, value))
    if not flat or not is_tensor_type(node) or len(node.dims or ()) < 2:
        return value
    type = declared(cx, node, bound_symbols(cx, node))
    known = all(d.is_static for d in type.shape)
    return literal(cx, value, type.dtype, span, type.shape) if known else value


def taken_apart(cx: Context, value: Lowered, count: int, span: Span) -> Sequence[Lowered]:
    """The parts of a tuple or array, or the rows of a tensor, one for each name."""
    if isinstance(value, Value) and value.tensor.rank and value.tensor.shape[0] == Dim.of(count):
        return [indexing.row(cx, value, at, span) for at in range(count)]
    if not isinstance(value, tuple | list) or len(value) != count:
        cx.fail("E0302", f"{count} names, and this is {describe(value)}", span)
    return value


def _assign(cx: Context, target: ast.Expr, node: ast.Expr, at: ast.Assign) -> None:
    _store(cx, target, _value(cx, node), node, at)


def _store(cx: Context, target: ast.Expr, value: Lowered, node: ast.Expr, at: ast.Assign) -> None:
    """Give a name or a part of one, or several, a value or its parts."""
    match target:
        case ast.Name(id=name):
            assignment.give(cx, cx.scope.find(name) or cx.scope, name, value)
        case ast.Tuple(items=items):
            for item, part in zip(items, taken_apart(cx, value, len(items), at.span), strict=True):
                _store(cx, item, part, node, at)
        case ast.Index() | ast.Attribute():
            assignment.store(cx, target, value, node.span)
        case _:
            cx.fail("E0302", "this cannot be assigned to", target.span)


def _value(cx: Context, node: ast.Expr) -> Lowered:
    value = expressions.expression(cx, node)
    if value is None:
        cx.fail("E0302", "this has no value", node.span)
    return value


def tensor_declaration(cx: Context, node: ast.TensorDecl) -> None:
    """`tensor x: float16[2, 3] = e`: a flat literal takes the declared shape, a number fills it,
    nothing means zeros."""
    type = declared(cx, node.type, bound_symbols(cx, node.type))
    known = all(d.is_static for d in type.shape)
    if node.value is not None:
        value = expressions.expression(cx, node.value)
        if is_number(value) and known:
            number = literal(cx, value, type.dtype, node.value.span)
            value = cx.builder.broadcast(number, type.shape)
        elif isinstance(value, list):
            shape = type.shape if known else None
            value = literal(cx, value, type.dtype, node.value.span, shape)
        value = tensors.need_tensor(cx, value, node.value.span)
        value = tensors.widened(cx, value, node.type, node.value.span)
        symbols = bound_symbols(cx, node.type)
        unify(cx, node.type, value, node.value.span, f"`{node.name}`", symbols)
    elif known:
        cx.builder.span = node.span
        zero = cx.builder.constant(0.0, type.with_shape(()))
        value = cx.builder.broadcast(zero, type.shape)
    else:
        cx.fail("E0304", "the shape of a tensor without a value must be known", node.type.span)
    cx.scope.names[node.name] = value


# ---- control flow --------------------------------------------------------------------------------


def _if(cx: Context, node: ast.If, rest: tuple[ast.Stmt | ast.Item, ...] = ()) -> Lowered:
    """An `if`; `rest` is what follows it in a function that it may return from."""

    def other() -> Lowered:
        match node.orelse:
            case ast.If() as inner:
                return _if(cx, inner)
            case ast.Block() as inner:
                return block(cx, inner)
        return None

    test = expressions.condition(cx, node.test)
    if isinstance(test, bool):
        return block(cx, node.then) if test else other()
    orelse = () if node.orelse is None else (node.orelse,)
    if not rest:
        branches = (lambda: block(cx, node.then), other)
        return regions.choose(cx, test, branches, ((node.then,), orelse), node.span)
    # each branch goes on with all that follows, so that both end the function
    sides = (returns.going_on(cx, node.then, rest), returns.going_on(cx, node.orelse, rest))
    branches = (lambda: _ended(cx, sides[0]), lambda: _ended(cx, sides[1]))
    return regions.choose(cx, test, branches, sides, node.span)


def _ended(cx: Context, statements: tuple[ast.Stmt | ast.Item, ...]) -> NoReturn:
    """Statements up to the end of a function, whose value the last one is."""
    with cx.inner():
        cx.scope.tail = True
        value = body(cx, statements)
    raise Return(value, statements[-1].span)


def iteration(cx: Context, inner: ast.Block, scope: Scope) -> bool:
    """One pass through a loop's body; true when it broke out."""
    try:
        with cx.inner(scope):
            body(cx, inner.body)
    except LoopExit as way:
        return way.stop
    return False
