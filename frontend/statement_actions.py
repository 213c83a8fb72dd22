"""The parts of a statement or declaration in, its node out: functions for `grammar.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tlc.frontend import ast
from tlc.frontend.expression_actions import is_written, over
from tlc.frontend.lexer import Token

# ---- statements -------------------------------------------------------------------------------


def block(opener: Token, body: list[ast.Stmt], closer: Token) -> ast.Block:
    return ast.Block(over(opener, closer), tuple(body))


def expression_statement(value: ast.Expr) -> ast.Stmt:
    """An `if` with blocks and a bare block are statements here, whatever they may be elsewhere."""
    match value:
        case ast.BlockExpr(body=body):
            return body
        case ast.IfExpr(then=ast.BlockExpr()):
            return _if_statement(value)
    return ast.ExprStmt(value.span, value)


def _if_statement(value: ast.IfExpr) -> ast.Stmt:
    chain: list[tuple[ast.IfExpr, ast.Block]] = []
    last: ast.Expr = value
    while isinstance(last, ast.IfExpr) and isinstance(last.then, ast.BlockExpr):
        chain.append((last, last.then.body))
        last = last.orelse
    if not isinstance(last, ast.BlockExpr):  # `if a then {} else b` has no form as a statement
        return ast.ExprStmt(value.span, value)
    orelse: ast.Block | ast.If | None = last.body if is_written(last) else None
    for link, then in reversed(chain):
        orelse = ast.If(link.span, link.test, then, orelse)
    assert orelse is not None
    return orelse


def let(
    start: Token, name: Token, type_: ast.TypeExpr | None, _: Token, value: ast.Expr
) -> ast.Let:
    return ast.Let(over(start, value), (name.text,), type_, value)


def let_pair(
    start: Token,
    _: Token,
    names: list[ast.Target],
    __: Token,
    type_: ast.TypeExpr | None,
    ___: Token,
    value: ast.Expr,
) -> ast.Let:
    return ast.Let(over(start, value), tuple(names), type_, value)


def assign(target: ast.Expr, _: Token, value: ast.Expr) -> ast.Assign:
    return ast.Assign(over(target, value), target, value)


def target(_: Token, targets: list[ast.Target], __: Token) -> ast.Target:
    return targets[0] if len(targets) == 1 else tuple(targets)


def for_(
    start: Token, names: list[ast.Target], _: Token, iterable: ast.Expr, body: ast.Block
) -> ast.For:
    if len(names) == 1 and isinstance(names[0], tuple):  # `for (a, b) in` is `for a, b in`
        return ast.For(over(start, body), names[0], iterable, body)
    return ast.For(over(start, body), tuple(names), iterable, body)


def while_(start: Token, test: ast.Expr, body: ast.Block) -> ast.While:
    return ast.While(over(start, body), test, body)


def loop(start: Token, body: ast.Block) -> ast.Loop:
    return ast.Loop(over(start, body), body)


def break_(token: Token) -> ast.Break:
    return ast.Break(token.span)


def continue_(token: Token) -> ast.Continue:
    return ast.Continue(token.span)


def return_(token: Token, value: ast.Expr | None = None) -> ast.Return:
    return ast.Return(token.span if value is None else over(token, value), value)


def learn(start: Token, _: Token, lines: list[ast.Stmt | ast.Arg], end: Token) -> ast.Learn:
    body = tuple(line for line in lines if isinstance(line, ast.Stmt))
    options = tuple(line for line in lines if isinstance(line, ast.Arg))
    return ast.Learn(over(start, end), body, options)


# ---- declarations -----------------------------------------------------------------------------


def program(start: Token, body: list[ast.Item | ast.Stmt]) -> ast.Program:
    return ast.Program(start.span, tuple(body))


def parameter(name: Token, _: Token | None = None, type_: Any = None) -> ast.Param:
    return ast.Param(over(name, type_ or name), name.text, type_)


def fn(
    start: Token,
    name: Token,
    generics: list[str],
    _: Token,
    params: list[ast.Param],
    __: Token,
    result: ast.TypeExpr | None,
    body: ast.Block,
) -> ast.Fn:
    span = over(start, body)
    return ast.Fn(span, name.text, name.span, tuple(generics), tuple(params), result, body)


def tensor(
    start: Token, name: Token, _: Token, type_: ast.TypeExpr, role: Token | None, value: Any
) -> ast.TensorDecl:
    span = over(start, value or role or type_)
    return ast.TensorDecl(span, name.text, type_, role.text if role else "", value)


def struct(
    start: Token, name: Token, generics: list[str], _: Token, fields: list[ast.Param], end: Token
) -> ast.Struct:
    return ast.Struct(over(start, end), name.text, tuple(generics), tuple(fields))


def impl(
    start: Token, generics: list[str], type_: ast.TypeExpr, _: Token, fns: list[ast.Fn], end: Token
) -> ast.Impl:
    return ast.Impl(over(start, end), None, type_, tuple(fns), tuple(generics))


def impl_for(
    start: Token,
    generics: list[str],
    trait: Token,
    _: Token,
    type_: ast.TypeExpr,
    __: Token,
    fns: list[ast.Fn],
    end: Token,
) -> ast.Impl:
    return ast.Impl(over(start, end), trait.text, type_, tuple(fns), tuple(generics))


def import_(start: Token, path: Token) -> ast.Import:
    return ast.Import(over(start, path), str(path.value))


def main(start: Token, body: ast.Block) -> ast.Main:
    return ast.Main(over(start, body), body)


def test(start: Token, name: str, body: ast.Block) -> ast.Test:
    return ast.Test(over(start, body), name, body)


def bench(start: Token, name: str, body: ast.Block) -> ast.Bench:
    return ast.Bench(over(start, body), name, body)


# ---- logic ------------------------------------------------------------------------------------


def entity(start: Token, names: list[Token]) -> ast.Entity:
    return ast.Entity(over(start, names[-1]), "", tuple(name.text for name in names))


def entity_set(start: Token, name: Token, _: Token, names: list[str], end: Token) -> ast.Entity:
    return ast.Entity(over(start, end), name.text, tuple(names))


def relation(
    start: Token,
    name: Token,
    _: Token,
    params: list[ast.Param],
    end: Token,
    embed: ast.TypeExpr | None,
) -> ast.Relation:
    return ast.Relation(over(start, embed or end), name.text, tuple(params), embed)


def embedding(start: Token, name: Token, _: Token, lines: list[ast.Arg], end: Token) -> Any:
    return ast.Embedding(over(start, end), name.text, tuple(lines))


def atom(goal: ast.Expr) -> ast.Atom:
    """`R(a, X)` and `not R(a, X)` are about a relation; anything else is a condition to compute."""
    negated = isinstance(goal, ast.Unary) and goal.op == "!"
    relation = goal.operand if isinstance(goal, ast.Unary) and negated else goal
    match relation:
        case ast.Call(callee=ast.Name(id=name), args=args, type_args=()):
            if all(arg.name is None for arg in args):
                values = tuple(arg.value for arg in args)
                return ast.Atom(goal.span, name, values, negated)
    return ast.Atom(goal.span, "", value=goal)


def rule(head: ast.Expr, _: Token, goals: list[ast.Atom], where: list[ast.Expr]) -> ast.Rule:
    body = (*goals, *(ast.Atom(test.span, "", value=test) for test in where))
    return ast.Rule(over(head, body[-1]), atom(head), body)


def keyword_rule(
    start: Token, head: ast.Expr, arrow: Token, goals: list[ast.Atom], where: list[ast.Expr]
) -> ast.Rule:
    read = rule(head, arrow, goals, where)
    return replace(read, span=over(start, read))


def certain_rule(start: Token, head: ast.Expr) -> ast.Rule:
    return ast.Rule(over(start, head), atom(head), ())


def query(goals: list[ast.Atom], mark: Token | None, where: list[ast.Expr]) -> ast.Query:
    last: Token | ast.Node = where[-1] if where else mark or goals[-1]
    test = where[0] if where else None
    for other in where[1:]:
        assert test is not None
        test = ast.Binary(over(test, other), "&&", test, other)
    return ast.Query(over(goals[0], last), tuple(goals), test)


def keyword_query(
    start: Token, goals: list[ast.Atom], mark: Token | None, where: list[ast.Expr]
) -> ast.Query:
    read = query(goals, mark, where)
    return replace(read, span=over(start, read))
