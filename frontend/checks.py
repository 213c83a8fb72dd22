"""A tree in, diagnostics out, for the mistakes that a grammar would need many rules to refuse."""

from __future__ import annotations

from tlc.frontend import ast
from tlc.frontend.brackets import DEEPEST, too_deep
from tlc.frontend.diagnostics import Diagnostic, Label
from tlc.frontend.expression_actions import is_written


def check(program: ast.Program) -> list[Diagnostic]:
    """What is wrong with the tree; the depth first, as nothing may walk a tree too deep for it.

    The depth is that of a walk which loops down the left of calls, members, indices, casts and
    operators, as `a + b + c` and `x.f().g()` lean that way and may be long. Blocks and arguments
    do not count.
    """
    problems: list[Diagnostic] = []
    waiting: list[tuple[ast.Node, int]] = [(program, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > DEEPEST:
            return [too_deep(node.span)]
        left: ast.Node | None = None
        match node:
            case ast.Binary(left=left) | ast.Call(callee=left):
                pass
            case ast.Attribute(value=left) | ast.Index(value=left) | ast.Cast(operand=left):
                pass
            case ast.Assign(target=target):
                problems += _target(target)
            case ast.Fn(params=named) | ast.Struct(fields=named):
                problems += _twice(named)
            case ast.IfExpr(orelse=ast.BlockExpr() as orelse) if not is_written(orelse):
                message = "this `if` has no value when the condition is false"
                hint = "add an `else`"
                problems.append(Diagnostic("E0101", message, node.span, hint=hint))
        inner = depth if isinstance(node, ast.Block | ast.BlockExpr | ast.Arg) else depth + 1
        waiting += [(child, depth if child is left else inner) for child in node.children()]
    return problems


def _twice(params: tuple[ast.Param, ...]) -> list[Diagnostic]:
    """Parameters or fields that have the name of one before them."""
    first: dict[str, ast.Param] = {}
    problems = []
    for param in params:
        if first.setdefault(param.name, param) is not param:
            others = (Label(first[param.name].span, "the first one is here"),)
            text = f"`{param.name}` is defined twice"
            problems.append(Diagnostic("E0202", text, param.span, others=others))
    return problems


def _target(target: ast.Expr) -> list[Diagnostic]:
    match target:
        case ast.Name() | ast.Attribute() | ast.Index():
            return []
        case ast.Tuple(items=items) if items:
            return [problem for item in items for problem in _target(item)]
    message = "this cannot be assigned to"
    hint = "the left of `=` is a name, a member, an element or a tuple of those"
    return [Diagnostic("E0101", message, target.span, hint=hint)]
