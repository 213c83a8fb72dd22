"""A `return` in an `if` that only run time decides: which statements the branches take with them.

Both branches of such an `if` have to end the function, so what follows it moves into them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tlc.frontend import ast
from tlc.ir.lower import assignment
from tlc.ir.lower.context import Context

Statements = tuple[ast.Stmt | ast.Item, ...]


def absorbs(cx: Context, node: ast.If, rest: Statements) -> bool:
    """Whether the branches take the rest, the end of a function, with them: when one may return."""
    if not any(isinstance(inner, ast.Return) for inner in inside([node])):
        return False
    certain = bool(node.then.body) and isinstance(node.then.body[-1], ast.Return)
    return cx.scope.tail or (certain and not node.orelse and isinstance(rest[-1], ast.Return))


def going_on(cx: Context, first: ast.Block | ast.If | None, rest: Statements) -> Statements:
    """A branch and what follows it. They are one scope where that changes no name's meaning, so
    that an `if` at the end of the branch may return as well."""
    if first is None:
        return rest
    if isinstance(first, ast.Block) and not cx.program.drops:
        own = {
            name
            for node in first.body
            for name in assignment.assigned(node)
            if not isinstance(node, ast.Assign) or cx.scope.find(name) is None
        }
        used = {node.id for node in inside(rest) if isinstance(node, ast.Name)}
        if not own & used:
            return (*first.body, *rest)
    return (first, *rest)


def inside(nodes: Iterable[ast.Node]) -> Iterator[ast.Node]:
    """Nodes and all nodes inside them."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.children()
