"""Loops that run time goes round, and what leaves a loop early: `break`, `continue`, `return`.

A loop becomes a region when its passes do the same work (`carried.py`), and is followed pass by
pass when they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from tlc.frontend import ast
from tlc.ir.dims import Dim
from tlc.ir.lower import statements
from tlc.ir.lower.context import BREAK, RESULT, RETURNED, SKIP, Context, Scope
from tlc.ir.lower.control import regions
from tlc.ir.lower.control.carried import Attempt
from tlc.ir.lower.control.findings import Counter, Findings
from tlc.ir.lower.control.handed import blank
from tlc.ir.lower.values import Lowered, whole


def loop(
    cx: Context,
    node: ast.For | ast.While | ast.Loop,
    counter: Counter | None,
    test: ast.Expr | None,
    passes: int | None = -1,
) -> bool:
    """A loop as a region. Raises CompileError for what a region cannot hold.

    `passes` is -1 when only run time knows how often it goes round, and None when the build could
    find out by following it. False, with nothing done, when the build should follow it: because it
    does nothing but compute numbers, or because it hands on numbers and is short.
    """
    findings = Findings()

    def attempt() -> bool | None:
        names = regions.outer_names(cx, [node])
        made = Attempt(cx, names, findings, node.span, passes)
        return made.emitted if made.run(node.body, counter, test) else None

    return _left(cx, node, attempt)


def followed(cx: Context, node: ast.For, items: Sequence[Mapping[str, Lowered]]) -> None:
    """A `for` pass by pass, with what its names are in each; run time may leave it early."""

    def attempt() -> bool:
        _passes(cx, node, items)
        return True

    _left(cx, node, attempt)


def _passes(cx: Context, node: ast.For, items: Sequence[Mapping[str, Lowered]]) -> None:
    marks = cx.scope.find(BREAK)
    assert marks is not None
    marks.names[BREAK] = 0
    for at, item in enumerate(items, 1):
        marks.names[SKIP] = 0
        scope = Scope(cx.scope)
        scope.names.update(item)
        if statements.iteration(cx, node.body, scope):
            return
        left = whole(marks.names[BREAK])
        if isinstance(left, Dim):
            rest = (partial(_passes, cx, node, items[at:]), lambda: None)
            regions.choose(cx, left.compare("==", 0), rest, ((node,), ()), node.span)
            return


def _left(cx: Context, node: ast.Stmt, attempt: Callable[[], bool | None]) -> bool:
    """A loop with marks of its own, tried again from the start until it has a result. What it
    returns from the function is known only by trying: passes hand it on from the first one."""
    before = {n: scope.names[n] for n, scope in regions.outer_names(cx, [node]).items()}
    result: Lowered = None
    with cx.inner():
        hidden = cx.scope.names
        while True:
            start = len(cx.builder.block.ops)
            hidden |= {BREAK: 0, SKIP: 0, RETURNED: 0, RESULT: blank(cx, result)}
            try:
                done = attempt()
            except regions.ResultFound as found:
                done, result = None, found.value
            if done is not None:
                break
            del cx.builder.block.ops[start:]
            for name, value in before.items():
                scope = cx.scope.find(name)
                if scope is not None and scope.names is not hidden:
                    scope.names[name] = value
    if done and hidden[RETURNED] != 0:
        _hand_out(cx, hidden[RETURNED], hidden[RESULT])
    return done


def _hand_out(cx: Context, returned: Lowered, result: Lowered) -> None:
    """A loop that may have returned from the function: the loop around it is left too, and what
    stands behind it in the function depends on it."""
    around = regions.loop_around(cx)
    if around is not None:
        if around.names[RESULT] is None and result is not None:
            raise regions.ResultFound(result)
        around.names |= {RETURNED: returned, RESULT: result, BREAK: returned, SKIP: returned}
    else:
        cx.scope.names |= {RETURNED: returned, RESULT: result}


__all__ = ["Counter", "followed", "loop"]
