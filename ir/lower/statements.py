"""Statements: names get values, control flow that is known at build is followed."""

from __future__ import annotations

from collections.abc import Iterator

from tlc.frontend import ast
from tlc.frontend.diagnostics import CompileError
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.lower import expressions
from tlc.ir.lower.context import Context, Scope, TooLong
from tlc.ir.lower.literals import literal
from tlc.ir.lower.types import bound_symbols, convert, declared, unify
from tlc.ir.lower.values import Lowered, Poison, Range, describe, is_number

MAX_UNROLLED = 4096


class Return(Exception):
    """`return` reached: carries the value out of the function's body."""

    def __init__(self, value: Lowered, span: Span) -> None:
        self.value, self.span = value, span


class LoopExit(Exception):
    """`break` (stop is true) or `continue` reached."""

    def __init__(self, stop: bool) -> None:
        self.stop = stop


def block(cx: Context, node: ast.Block) -> Lowered:
    """A block with names of its own; its value is that of a last expression, else None."""
    with cx.inner():
        return body(cx, node.body)


def body(cx: Context, statements: tuple[ast.Stmt | ast.Item, ...]) -> Lowered:
    """Statements in order. Errors of one do not hide those of the next."""
    value: Lowered = None
    failed: list[CompileError] = []
    for at, node in enumerate(statements):
        try:
            value = statement(cx, node)
        except TooLong as problem:
            raise TooLong([d for p in (*failed, problem) for d in p.diagnostics]) from None
        except CompileError as problem:
            failed.append(problem)
            _poison(cx, node)
        except (Return, LoopExit):
            if failed:
                break
            raise
        last = at == len(statements) - 1
        if not (last and isinstance(node, ast.ExprStmt | ast.If)):
            value = None
    if failed:
        raise CompileError([d for problem in failed for d in problem.diagnostics])
    return value


def assigned(node: ast.Stmt | ast.Item) -> Iterator[str]:
    """The names that a statement gives a value, not counting those of blocks inside it."""
    match node:
        case ast.Let(names=names):
            yield from names
        case ast.Assign(target=ast.Name(id=name)):
            yield name
        case ast.Assign(target=ast.Tuple(items=items)):
            yield from (item.id for item in items if isinstance(item, ast.Name))
        case ast.TensorDecl(name=name):
            yield name


def _poison(cx: Context, node: ast.Stmt | ast.Item) -> None:
    """After an error in a statement, nothing more is said about the names it assigns."""
    for name in assigned(node):
        outer = cx.scope.find(name) if isinstance(node, ast.Assign) else None
        (outer or cx.scope).names[name] = Poison()
    waiting: list[ast.Node] = list(node.children())
    while waiting:
        inner = waiting.pop()
        waiting += inner.children()
        for name in assigned(inner) if isinstance(inner, ast.Assign) else ():
            outer = cx.scope.find(name)
            if outer is not None:
                outer.names[name] = Poison()


def statement(cx: Context, node: ast.Stmt | ast.Item) -> Lowered:
    """One statement; the value matters when it is the last of a block."""
    cx.step(node.span)
    match node:
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
        case ast.For(name=name, iterable=iterable, body=inner):
            for item in _items(cx, iterable):
                scope = Scope(cx.scope)
                scope.names[name] = item
                if _iteration(cx, inner, scope):
                    break
        case ast.While(test=test, body=inner):
            _repeat(cx, inner, test)
        case ast.Loop(body=inner):
            _repeat(cx, inner, None)
        case ast.Break():
            raise LoopExit(stop=True)
        case ast.Continue():
            raise LoopExit(stop=False)
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
    cx: Context, names: tuple[str, ...], type: ast.TypeExpr | None, node: ast.Expr, at: ast.Let
) -> None:
    value = _value(cx, node)
    if type is not None:
        value = convert(cx, type, value, node.span, f"`{names[0]}`", bound_symbols(cx, type))
    if len(names) == 1:
        cx.scope.names[names[0]] = value
        return
    cx.scope.names.update(zip(names, _parts(cx, value, len(names), at), strict=True))


def _parts(
    cx: Context, value: Lowered, count: int, node: ast.Stmt
) -> tuple[Lowered, ...] | list[Lowered]:
    """The parts of a tuple or array, one for each name."""
    if not isinstance(value, tuple | list) or len(value) != count:
        cx.fail("E0302", f"{count} names for {describe(value)}", node.span)
    return value


def _assign(cx: Context, target: ast.Expr, node: ast.Expr, at: ast.Assign) -> None:
    value = _value(cx, node)
    match target:
        case ast.Name(id=name):
            (cx.scope.find(name) or cx.scope).names[name] = value
        case ast.Tuple(items=items) if all(isinstance(item, ast.Name) for item in items):
            names = tuple(assigned(at))
            for name, part in zip(names, _parts(cx, value, len(names), at), strict=True):
                (cx.scope.find(name) or cx.scope).names[name] = part
        case ast.Index() | ast.Attribute():
            cx.unsupported("assignment to a part of a value", target.span)
        case _:
            cx.fail("E0302", "this cannot be assigned to", target.span)


def _value(cx: Context, node: ast.Expr) -> Lowered:
    value = expressions.expression(cx, node)
    if value is None:
        cx.fail("E0302", "this has no value", node.span)
    return value


def tensor_declaration(cx: Context, node: ast.TensorDecl) -> None:
    """`tensor x: float16[2, 3] = e`: a literal takes the declared shape, nothing means zeros."""
    if node.role == "learnable":
        cx.unsupported("`learnable`", node.span)
    type = declared(cx, node.type, bound_symbols(cx, node.type))
    known = all(d.is_static for d in type.shape)
    if node.value is not None:
        value = expressions.expression(cx, node.value)
        if isinstance(value, list) or is_number(value):
            shape = type.shape if known else None
            value = literal(cx, value, type.dtype, node.value.span, shape)
        value = expressions.need_tensor(cx, value, node.value.span)
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


def _if(cx: Context, node: ast.If) -> Lowered:
    if expressions.condition(cx, node.test):
        return block(cx, node.then)
    match node.orelse:
        case ast.If() as other:
            return _if(cx, other)
        case ast.Block() as other:
            return block(cx, other)
    return None


def _iteration(cx: Context, inner: ast.Block, scope: Scope) -> bool:
    """One pass through a loop's body; true when it broke out."""
    try:
        with cx.inner(scope):
            body(cx, inner.body)
    except LoopExit as way:
        return way.stop
    return False


def _repeat(cx: Context, inner: ast.Block, test: ast.Expr | None) -> None:
    for _ in range(MAX_UNROLLED):
        if test is not None and not expressions.condition(cx, test):
            return
        if _iteration(cx, inner, Scope(cx.scope)):
            return
    where = inner.span if test is None else test.span
    cx.unsupported(f"a loop of more than {MAX_UNROLLED} passes", where)


def _items(cx: Context, node: ast.Expr) -> list[Lowered] | range:
    if isinstance(node, ast.Set):
        return [expressions.expression(cx, item) for item in node.items]
    value = expressions.expression(cx, node)
    match value:
        case Range(low=low, high=high):
            items: list[Lowered] | range = range(low, high)
        case list():
            items = value
        case Value():
            cx.unsupported("a loop over a tensor", node.span)
        case _:
            cx.fail("E0302", f"{describe(value)} cannot be walked by `for`", node.span)
    if len(items) > MAX_UNROLLED:
        cx.unsupported(f"a loop of more than {MAX_UNROLLED} passes", node.span)
    return items
