"""The parts of an expression, pattern or type in, its node out: functions for `grammar.py`.

A function takes one argument per symbol of its rule: the `Token` of a terminal, the value of a
nonterminal. A list nonterminal is a Python list that grows in place; a node keeps it as a tuple.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tlc.frontend import ast
from tlc.frontend.lexer import Token
from tlc.frontend.source import Span


def over(first: Token | ast.Node, last: Token | ast.Node) -> Span:
    return first.span.to(last.span)


# ---- values that are no nodes -----------------------------------------------------------------


def nothing(*_: Any) -> None:
    return None


def none() -> list[Any]:
    return []


def first(value: Any, *_: Any) -> Any:
    return value


def second(_: Any, value: Any, *rest: Any) -> Any:
    return value


def one(item: Any) -> list[Any]:
    return [item]


def append(items: list[Any], item: Any, end: Token) -> list[Any]:
    items.append(item)
    return items


def append_after(items: list[Any], comma: Token, item: Any) -> list[Any]:
    items.append(item)
    return items


def text(token: Token) -> str:
    return token.text


def value(token: Token) -> Any:
    return token.value


# ---- expressions ------------------------------------------------------------------------------


def name(token: Token) -> ast.Name:
    return ast.Name(token.span, token.text)


def number(token: Token) -> ast.Number:
    assert isinstance(token.value, int | float)
    return ast.Number(token.span, token.value)


def string(token: Token) -> ast.String:
    assert isinstance(token.value, str)
    return ast.String(token.span, token.value)


def boolean(token: Token) -> ast.Bool:
    return ast.Bool(token.span, token.kind == "true")


def path(start: Token, _: Token, end: Token) -> ast.Path:
    return ast.Path(over(start, end), (start.text, end.text))


def longer_path(start: ast.Path, _: Token, end: Token) -> ast.Path:
    return ast.Path(over(start, end), (*start.parts, end.text))


def grouped(opener: Token, value: ast.Expr, closer: Token) -> ast.Expr:
    return replace(value, span=over(opener, closer))


def bracketed(kind: Callable[..., ast.Expr]) -> Callable[..., ast.Expr]:
    """A builder for what is a bracket, items and a bracket."""

    def build(opener: Token, items: list[Any], closer: Token) -> ast.Expr:
        return kind(over(opener, closer), tuple(items))

    return build


def unit(opener: Token, closer: Token) -> ast.Tuple:
    return ast.Tuple(over(opener, closer), ())


def pair(opener: Token, head: ast.Expr, _: Token, rest: list[Any], closer: Token) -> ast.Tuple:
    return ast.Tuple(over(opener, closer), (head, *rest))


def repeat(opener: Token, value: ast.Expr, _: Token, count: ast.Expr, end: Token) -> ast.Repeat:
    return ast.Repeat(over(opener, end), value, count)


def struct_literal(name: Token, _: Token, fields: list[ast.Arg], end: Token) -> ast.StructLit:
    return ast.StructLit(over(name, end), name.text, tuple(fields))


def call(callee: ast.Expr, _: Token, args: list[ast.Arg], end: Token) -> ast.Call:
    return ast.Call(over(callee, end), callee, tuple(args))


def typed_call(
    callee: ast.Expr,
    _: Token,
    types: list[ast.TypeExpr],
    __: Token,
    ___: Token,
    args: list[ast.Arg],
    end: Token,
) -> ast.Call:
    return ast.Call(over(callee, end), callee, tuple(args), tuple(types))


def attribute(value: ast.Expr, _: Token, name: Token) -> ast.Attribute:
    return ast.Attribute(over(value, name), value, name.text, name.span)


def index(value: ast.Expr, _: Token, items: list[ast.Expr], end: Token) -> ast.Index:
    return ast.Index(over(value, end), value, tuple(items))


def argument(value: ast.Expr) -> ast.Arg:
    return ast.Arg(value.span, value)


def named_argument(name: Token, _: Token, value: ast.Expr) -> ast.Arg:
    return ast.Arg(over(name, value), value, name.text)


def whole_slice(colon: Token) -> ast.Slice:
    return ast.Slice(colon.span)


def slice_from(low: ast.Expr, colon: Token) -> ast.Slice:
    return ast.Slice(over(low, colon), low)


def slice_to(colon: Token, high: ast.Expr) -> ast.Slice:
    return ast.Slice(over(colon, high), None, high)


def slice_between(low: ast.Expr, _: Token, high: ast.Expr) -> ast.Slice:
    return ast.Slice(over(low, high), low, high)


def unary(operator: Token, operand: ast.Expr) -> ast.Unary:
    return ast.Unary(over(operator, operand), "-" if operator.kind == "-" else "!", operand)


def binary(left: ast.Expr, operator: Token, right: ast.Expr) -> ast.Binary:
    return ast.Binary(over(left, right), operator.kind, left, right)


def range_(low: ast.Expr, _: Token, high: ast.Expr) -> ast.Range:
    return ast.Range(over(low, high), low, high)


def cast(operand: ast.Expr, _: Token, type_: ast.TypeExpr) -> ast.Cast:
    return ast.Cast(over(operand, type_), operand, type_)


def choice(
    start: Token, test: ast.Expr, _: Token, then: ast.Expr, __: Token, orelse: ast.Expr
) -> ast.IfExpr:
    return ast.IfExpr(over(start, orelse), test, then, orelse)


def block_value(block: ast.Block) -> ast.BlockExpr:
    return ast.BlockExpr(block.span, block)


def conditional(
    start: Token, test: ast.Expr, then: ast.Block, _: Any = None, orelse: Any = None
) -> ast.IfExpr:
    """An `if` with blocks; without an `else` its last branch is an empty block of no width."""
    if orelse is None:
        end = Span(then.span.source, then.span.end, then.span.end)
        orelse = ast.Block(end, ())
    if isinstance(orelse, ast.Block):
        orelse = block_value(orelse)
    return ast.IfExpr(over(start, orelse), test, block_value(then), orelse)


def is_written(block: ast.BlockExpr) -> bool:
    """Whether the block stands in the text, and is not what a missing `else` left."""
    return block.span.start < block.span.end


def match(start: Token, subject: ast.Expr, _: Token, arms: list[ast.Arm], end: Token) -> ast.Match:
    return ast.Match(over(start, end), subject, tuple(arms))


def arm(
    pattern: ast.Pattern, guard: ast.Expr | None, _: Token, body: ast.Expr | ast.Stmt
) -> ast.Arm:
    if not isinstance(body, ast.Expr):
        body = block_value(ast.Block(body.span, (body,)))
    return ast.Arm(over(pattern, body), pattern, guard, body)


def literal_pattern(value: ast.Expr) -> ast.Pattern:
    return ast.Pattern(value.span, "literal", value)


def name_pattern(name: Token) -> ast.Pattern:
    if name.text == "_":
        return ast.Pattern(name.span, "any")
    return ast.Pattern(name.span, "bind", name=name.text)


def either_pattern(first: ast.Pattern, _: Token, other: ast.Pattern) -> ast.Pattern:
    parts = first.parts if first.kind == "or" else (first,)
    return ast.Pattern(over(first, other), "or", parts=(*parts, other))


def struct_pattern(name: Token, _: Token, parts: list[ast.Pattern], end: Token) -> ast.Pattern:
    return ast.Pattern(over(name, end), "struct", name=name.text, parts=tuple(parts))


def tuple_pattern(opener: Token, parts: list[ast.Pattern], closer: Token) -> ast.Pattern:
    """One pattern in brackets is that pattern."""
    if len(parts) == 1:
        return parts[0]
    return ast.Pattern(over(opener, closer), "tuple", parts=tuple(parts))


def field_pattern(name: Token, _: Token | None = None, part: Any = None) -> ast.Pattern:
    part = part or name_pattern(name)
    return ast.Pattern(over(name, part), "field", name=name.text, parts=(part,))


# ---- types ------------------------------------------------------------------------------------


def plain_type(name: Token) -> ast.TypeExpr:
    return ast.TypeExpr(name.span, name.text)


def with_dims(type_: ast.TypeExpr, _: Token, dims: list[ast.Expr], end: Token) -> ast.TypeExpr:
    return replace(type_, span=over(type_, end), dims=tuple(dims))


def with_args(name: Token, _: Token, args: list[ast.TypeExpr], end: Token) -> ast.TypeExpr:
    return ast.TypeExpr(over(name, end), name.text, args=tuple(args))


def array_type(opener: Token, item: ast.TypeExpr, *end: Any) -> ast.TypeExpr:
    """`[T]` is `Vec<T>`, `[T; n]` one of n elements."""
    dims = (end[1],) if end[1:] else None
    return ast.TypeExpr(over(opener, end[-1]), "Vec", dims, (item,))


def tuple_type(opener: Token, args: list[ast.TypeExpr], closer: Token) -> ast.TypeExpr:
    return ast.TypeExpr(over(opener, closer), "tuple", args=tuple(args))
