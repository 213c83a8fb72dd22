"""An expression in, the pieces of its text out, with the brackets that its operators need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tlc.frontend import ast
from tlc.frontend.pieces import ARM_END, Pieces, Wanted, in_braces, joined, quoted

ANY, RANGE, OR, AND, COMPARISON, AS, SUM, PRODUCT, UNARY, POWER, POSTFIX = range(11)

BINARY_LEVEL = {
    "||": OR,
    "&&": AND,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), COMPARISON),
    **dict.fromkeys(("+", "-"), SUM),
    **dict.fromkeys(("*", "/", "%", "@"), PRODUCT),
    "**": POWER,
}


def expression(wanted: Wanted, explicit: bool) -> Pieces:
    node, head = wanted.node, wanted.head
    if explicit:
        enclosed = _level(node) < POSTFIX
    else:
        misread = _is_misread(node) or (head and isinstance(node, BRACED))
        enclosed = misread or _level(node) < wanted.least
    if enclosed:
        return ["(", *_bare(node, False), ")"]
    return _bare(node, head)


BRACED = (ast.StructLit, ast.BlockExpr, ast.IfExpr, ast.Match)
"""Expressions with a brace outside of all brackets."""


def _is_misread(node: ast.Expr) -> bool:
    """Whether a brace of the expression may be taken for that of a block."""
    return isinstance(node, ast.Set) or (isinstance(node, ast.StructLit) and node.name == "main")


def _level(node: ast.Expr) -> int:
    """How tightly the expression's outermost operator binds."""
    match node:
        case ast.Binary(op=op):
            return BINARY_LEVEL[op]
        case ast.Range():
            return RANGE
        case ast.Cast():
            return AS
        case ast.Unary():
            return UNARY
        case ast.IfExpr() | ast.BlockExpr() | ast.Match():
            return ANY
    return POSTFIX


def _bare(node: ast.Expr, head: bool) -> Pieces:
    return EXPRESSIONS[type(node)](node, head)


def _name(node: ast.Name, _: bool) -> Pieces:
    # bare, `not (x)` and `not - 1` would be the operator
    return ["(not)" if node.id == "not" else node.id]


def _number(node: ast.Number, _: bool) -> Pieces:
    return [repr(node.value)]


def _binary(node: ast.Binary, head: bool) -> Pieces:
    level = BINARY_LEVEL[node.op]
    left, right = level, level + 1
    if node.op == "**":
        left, right = POSTFIX, UNARY
    elif level == COMPARISON:
        left = level + 1
    return [Wanted(node.left, left, head), f" {node.op} ", Wanted(node.right, right, head)]


def _unary(node: ast.Unary, head: bool) -> Pieces:
    return [node.op, Wanted(node.operand, UNARY, head)]


def _range(node: ast.Range, head: bool) -> Pieces:
    return [Wanted(node.low, OR, head), "..", Wanted(node.high, OR, head)]


def _cast(node: ast.Cast, head: bool) -> Pieces:
    return [Wanted(node.operand, AS, head), " as ", node.type]


def _call(node: ast.Call, head: bool) -> Pieces:
    types = ["<", *joined(node.type_args), ">"] if node.type_args else []
    return [Wanted(node.callee, POSTFIX, head), *types, "(", *joined(node.args), ")"]


def _attribute(node: ast.Attribute, head: bool) -> Pieces:
    if isinstance(node.value, ast.Number) and isinstance(node.value.value, int):
        return ["(", node.value, ").", node.name]
    return [Wanted(node.value, POSTFIX, head), ".", node.name]


def _index(node: ast.Index, head: bool) -> Pieces:
    return [Wanted(node.value, POSTFIX, head), "[", *joined(node.items), "]"]


def _slice(node: ast.Slice, _: bool) -> Pieces:
    low = [] if node.low is None else [Wanted(node.low)]
    high = [] if node.high is None else [Wanted(node.high)]
    return [*low, ":", *high]


def _tuple(node: ast.Tuple, _: bool) -> Pieces:
    return ["(", *joined(node.items), ",)" if len(node.items) == 1 else ")"]


def set_literal(node: ast.Set) -> Pieces:
    return ["{", *joined(node.items), ",}" if len(node.items) == 1 else "}"]


def _struct_literal(node: ast.StructLit, _: bool) -> Pieces:
    return [node.name, " { ", *joined(node.fields), " }"] if node.fields else [node.name, " {}"]


def _choice(node: ast.IfExpr, _: bool) -> Pieces:
    pieces: Pieces = []
    last: ast.Expr = node
    while isinstance(last, ast.IfExpr) and isinstance(last.then, ast.BlockExpr):
        pieces += [
            "if ",
            Wanted(last.test, ANY, True),
            " ",
            *_value_block(last.then.body),
            " else ",
        ]
        last = last.orelse
    if pieces and isinstance(last, ast.BlockExpr):
        return [*pieces, *_value_block(last.body)]
    return [
        "if ",
        Wanted(node.test, ANY, True),
        " then ",
        Wanted(node.then),
        " else ",
        Wanted(node.orelse),
    ]


def _match(node: ast.Match, _: bool) -> Pieces:
    return ["match ", Wanted(node.subject, ANY, True), " ", *in_braces(node.arms, ARM_END)]


def _value_block(block: ast.Block) -> Pieces:
    """A block that is a value: short ones stay on the line."""
    match block.body:
        case (ast.ExprStmt(value=value),):
            return ["{ ", Wanted(value), " }"]
    return [block]


EXPRESSIONS: dict[type, Callable[[Any, bool], Pieces]] = {
    ast.Name: _name,
    ast.Number: _number,
    ast.String: lambda node, _: [quoted(node.value)],
    ast.Bool: lambda node, _: ["true" if node.value else "false"],
    ast.Path: lambda node, _: ["::".join(node.parts)],
    ast.Array: lambda node, _: ["[", *joined(node.items), "]"],
    ast.Repeat: lambda node, _: ["[", node.value, "; ", node.count, "]"],
    ast.Set: lambda node, _: set_literal(node),
    ast.Tuple: _tuple,
    ast.StructLit: _struct_literal,
    ast.Binary: _binary,
    ast.Unary: _unary,
    ast.Range: _range,
    ast.Cast: _cast,
    ast.Call: _call,
    ast.Attribute: _attribute,
    ast.Index: _index,
    ast.Slice: _slice,
    ast.IfExpr: _choice,
    ast.BlockExpr: lambda node, _: _value_block(node.body),
    ast.Match: _match,
}
