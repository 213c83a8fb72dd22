"""Loops: which ones the build follows pass by pass, and which stay loops of the program.

A loop stays one when its passes do the same work. What only computes numbers is followed, unless
that takes long: then run time goes round it, if it can.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NoReturn

from tlc.frontend import ast
from tlc.frontend.diagnostics import CompileError
from tlc.frontend.source import Span
from tlc.ir.dims import Dim
from tlc.ir.lower import expressions, statements
from tlc.ir.lower.context import SKIP, Context, Scope, TooLong, TooSlow
from tlc.ir.lower.control import loops, regions, walks
from tlc.ir.lower.values import Lowered

MAX_UNROLLED = 1 << 16
# statements of a loop that the build follows (half a second), or tries to keep as a loop
PATIENCE = 20_000
TRIAL = 3_000


def walked(cx: Context, node: ast.For) -> None:
    """A `for`: over numbers it may be a loop of the program, over other things it is followed."""
    items = _items(cx, node.iterable)
    if not isinstance(items, walks.Walk):
        loops.followed(cx, node, [_named(cx, node, item) for item in items])
        return
    low, high, item = items.low, items.high, items.item
    counter = loops.Counter(low, high, lambda at: _named(cx, node, item(at)))
    keep = partial(loops.loop, cx, node, counter, None)
    if not (low.is_static and high.is_static):
        keep()
        return
    passes = int(high) - int(low)
    if passes > 1 and _kept(cx, node, counter, None, passes):
        return
    if passes > MAX_UNROLLED:
        keep()
        return

    def follow() -> None:
        named = [_named(cx, node, item(at)) for at in range(int(low), int(high))]
        loops.followed(cx, node, named)

    _patiently(cx, node, follow, keep)


def repeated(cx: Context, node: ast.While | ast.Loop, test: ast.Expr | None) -> None:
    """A `while` or `loop`: kept when it does the same work in each pass, followed while the build
    knows its condition, kept after all where only run time can tell when it ends."""
    back = _way_back(cx, node)

    def keep() -> None:
        loops.loop(cx, node, None, test)
        if _endless(cx):
            _too_many(cx, node.span if test is None else test.span)

    try:
        _patiently(cx, node, partial(_follow, cx, node, test), keep)
    except TooLong:
        raise
    except CompileError as problem:
        if cx.skipping:
            raise
        back()
        loops.loop(cx, node, None, test)
        if _endless(cx):
            raise problem from None


def _endless(cx: Context) -> bool:
    """Whether the loop that was lowered last does nothing, for ever."""
    made = cx.builder.block.ops[-1]
    return len(made.regions[0].ops) == 1 and made.attrs["condition"].is_static


def _follow(cx: Context, node: ast.While | ast.Loop, test: ast.Expr | None) -> None:
    """Pass by pass, as long as the build knows the condition."""
    parts = [] if test is None else [test]
    changes = any(regions.assigned_inside(parts, cx.program.changing))  # `while queue.pop() > 0`
    for passes in range(MAX_UNROLLED):
        start = len(cx.builder.block.ops)
        back = _way_back(cx, node) if changes else None
        going = True if test is None else expressions.condition(cx, test)
        if isinstance(going, Dim):  # from here on run time decides
            del cx.builder.block.ops[start:]
            if back is not None:
                back()
            loops.loop(cx, node, None, test)
            return
        if not going or (passes == 0 and not changes and _kept(cx, node, None, test, None)):
            return
        scope = Scope(cx.scope)
        scope.names[SKIP] = None  # run time leaves a loop in a region alone
        if statements.iteration(cx, node.body, scope):
            return
    _too_many(cx, node.span if test is None else test.span)


def _patiently(
    cx: Context,
    node: ast.For | ast.While | ast.Loop,
    follow: Callable[[], None],
    keep: Callable[[], object],
) -> None:
    """Follow a loop. When that takes long run time goes round it, unless it cannot: what only the
    build can do, such as to choose a struct by its number, is followed to the end."""
    back = _way_back(cx, node)
    if _soon(cx, PATIENCE, follow):
        return
    back()
    followed, cx.program.followed = cx.program.followed, set()  # loops inside meet other numbers
    try:
        if _soon(cx, PATIENCE, keep):
            return
    except TooLong:
        raise
    except CompileError:
        pass
    finally:
        cx.program.followed = followed
    back()
    follow()


def _soon(cx: Context, steps: int, lower: Callable[[], object]) -> bool:
    """Whether something could be lowered, within so many steps; when not, a part of it is."""
    try:
        with cx.patience(steps):
            return lower() is not False
    except TooSlow:
        if cx.program.steps > cx.program.limit:
            raise
        return False


def _way_back(cx: Context, node: ast.For | ast.While | ast.Loop) -> Callable[[], None]:
    """What takes back all that is lowered of a loop from here on."""
    start = len(cx.builder.block.ops)
    scopes = regions.outer_names(cx, [node])
    before = {name: scope.names[name] for name, scope in scopes.items()}

    def back() -> None:
        del cx.builder.block.ops[start:]
        for name, scope in scopes.items():
            scope.names[name] = before[name]

    return back


def _kept(
    cx: Context,
    node: ast.For | ast.While | ast.Loop,
    counter: loops.Counter | None,
    test: ast.Expr | None,
    passes: int | None,
) -> bool:
    """Lower a loop whose passes the build could follow as a loop all the same.

    False, with nothing changed, when its passes differ in more than numbers, such as the shapes of
    their weights, when it computes numbers of the host, or when it does no work at all.
    """
    key = (node.span.source.name, node.span.start)
    if key in cx.program.followed or cx.program.straight or cx.skipping:
        return False
    start = len(cx.builder.block.ops)
    try:
        if _soon(cx, TRIAL, partial(loops.loop, cx, node, counter, test, passes)):
            return True
    except TooLong:
        raise
    except CompileError:
        pass
    del cx.builder.block.ops[start:]
    cx.program.followed.add(key)
    return False


def _items(cx: Context, node: ast.Expr) -> list[Lowered] | walks.Walk:
    if isinstance(node, ast.Set):
        return [expressions.expression(cx, item) for item in node.items]
    items = walks.walk(cx, expressions.expression(cx, node), node.span)
    if isinstance(items, list) and len(items) > MAX_UNROLLED:
        _too_many(cx, node.span)
    return items


def _too_many(cx: Context, span: Span) -> NoReturn:
    cx.unsupported(f"a loop of more than {MAX_UNROLLED} passes", span)


def _named(cx: Context, node: ast.For, item: Lowered) -> dict[str, Lowered]:
    """The names of a `for` in one pass."""
    return dict(statements.named(cx, node.names, item, node.iterable.span))
