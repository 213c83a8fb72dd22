"""Branches that only run time decides, as IR regions; what regions of any kind have in common.

Names that a region assigns are handed on: tensors as results, whole numbers as symbols of
dimensions. `break` and `continue` become hidden numbers, `BREAK` and `SKIP`, that the rest of a
pass and the next pass depend on; `return` in a loop is one of them too, `RETURNED`, and `RESULT`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Block, Op, Value
from tlc.ir.dims import Dim
from tlc.ir.lower import assignment, composite, statements
from tlc.ir.lower.context import BREAK, CACHE, DRAW, RESULT, RETURNED, SKIP, Context, Scope
from tlc.ir.lower.control.merge import Merge, Region, Result
from tlc.ir.lower.values import NEVER, Lowered, Poison, whole
from tlc.ir.opdef import OPS

HIDDEN = (BREAK, SKIP, RETURNED, RESULT, DRAW)


class ResultFound(Exception):
    """A loop returns this from its function: its passes hand such a thing on from the start."""

    def __init__(self, value: Lowered) -> None:
        self.value = value


def assigned_inside(nodes: Iterable[ast.Node], changing: Collection[str] = ()) -> Iterator[str]:
    """The names that statements assign, at any depth, also by methods that change their `self`."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Assign | ast.ExprStmt | ast.Call):
            yield from assignment.assigned(node, changing)
        waiting += node.children()


def outer_names(cx: Context, nodes: Iterable[ast.Node]) -> dict[str, Scope]:
    """The names of the scopes around a region that it may assign, hidden ones included."""
    found: dict[str, Scope] = {}
    nodes = list(nodes)
    caches = [name for name in cx.globals.names if name.startswith(CACHE)]
    for name in dict.fromkeys([*assigned_inside(nodes, cx.program.changing), *HIDDEN, *caches]):
        scope = cx.scope.find(name)
        if scope is not None and not isinstance(scope.names[name], Poison):
            found[name] = scope
    for name in _by_functions(cx, nodes):
        if cx.scope.find(name) is cx.globals and not isinstance(cx.globals.names[name], Poison):
            found.setdefault(name, cx.globals)
    return found


def _by_functions(cx: Context, nodes: list[ast.Node]) -> Iterator[str]:
    """The names that the functions which nodes call assign, and the functions that these call."""
    program, waiting = cx.program, [*nodes, *cx.program.drops.values()]
    seen: set[int] = set()
    while waiting:
        for name in called_inside([waiting.pop()]):
            methods = (table[name] for table in program.methods.values() if name in table)
            for fn in (program.functions.get(name), *methods):
                if fn is not None and id(fn) not in seen:
                    seen.add(id(fn))
                    waiting.append(fn.body)
                    yield from assigned_inside([fn.body], program.changing)
    for drop in program.drops.values():
        yield from assigned_inside([drop.body], program.changing)


def called_inside(nodes: Iterable[ast.Node]) -> Iterator[str]:
    """The names of functions and methods that are called at any depth."""
    waiting = list(nodes)
    while waiting:
        match waiting.pop():
            case ast.Call(callee=ast.Name(id=name) | ast.Attribute(name=name)) as node:
                yield name
            case ast.Call(callee=ast.Path(parts=parts)) as node:
                yield parts[-1]
            case node:
                pass
        waiting += node.children()


@contextmanager
def filling(cx: Context, names: dict[str, Scope]) -> Iterator[Region]:
    """Operations go to a new region; the names are afterwards what they were before."""
    before = {name: scope.names[name] for name, scope in names.items()}
    outer, region = cx.builder.block, Region(Block())
    cx.builder.block = region.block
    cx.around[region.block] = outer
    try:
        yield region
        region.after = {name: scope.names[name] for name, scope in names.items()}
    finally:
        cx.builder.block = outer
        for name, scope in names.items():
            scope.names[name] = before[name]


def finish(region: Region, values: list[Value]) -> None:
    """End a region with what it hands on."""
    region.block.ops.append(Op(OPS["yield"], values, {}))


def choose(
    cx: Context,
    condition: Dim,
    branches: tuple[Callable[[], Lowered], Callable[[], Lowered]],
    nodes: tuple[Iterable[ast.Node], Iterable[ast.Node]],
    span: Span,
) -> Lowered:
    """An `if` that run time decides; its value, and new values of the names it assigns."""
    names = outer_names(cx, (n for part in nodes for n in part))
    regions, ways = [], []
    for branch in branches:
        with filling(cx, names) as region, cx.inner():
            cx.undecided += 1
            try:
                region.value = branch()
            except statements.LoopExit as way:
                leave(cx, way, span)
            except statements.Panic:
                region.value = NEVER
            except statements.Return as way:
                if loop_around(cx) is not None:
                    leave(cx, way, span)
                else:
                    region.value = way.value
                    ways.append(way)
            finally:
                cx.undecided -= 1
        regions.append(region)
    then, orelse = regions
    if ways:
        if len(ways) + [r.value for r in regions].count(NEVER) < 2:
            cx.unsupported("a `return` that only run time decides, here", ways[0].span)
        # only what outlives the function matters behind it, and what a method makes of its `self`
        names = {n: scope for n, scope in names.items() if scope is cx.globals or n == "self"}
    before = {name: scope.names[name] for name, scope in names.items()}
    for region, other in ((then, orelse), (orelse, then)):
        if region.value is NEVER:  # what the other branch leaves alone is as it was
            kept = {name for name in names if other.after.get(name) is before[name]}
            region.after = {name: before[name] if name in kept else NEVER for name in names}
    merge = Merge(cx, span, (then, orelse))
    merged = {n: merge.join(f"`{n}`", then.after[n], orelse.after[n]) for n in names}
    no_value = then.value is None or orelse.value is None
    never = then.value is NEVER and orelse.value is NEVER
    value = None if no_value or never else merge.join("the value", then.value, orelse.value)
    for region, values in zip(regions, merge.yields, strict=True):
        cx.builder.block, outer = region.block, cx.builder.block
        tensors = [v(cx) for v in values]
        cx.builder.block = outer
        finish(region, tensors)
    cx.builder.span = span
    made = cx.builder.append(
        "if",
        regions=[r.block for r in regions],
        condition=condition,
        ints=tuple(merge.ints),
        results=tuple(merge.types),
    )
    assert isinstance(made, Op)

    def result(joined: Lowered) -> Lowered:
        return made.results[joined.index] if isinstance(joined, Result) else joined

    def settled(joined: Lowered) -> Lowered:
        return composite.mapped(joined, result)

    if never:
        raise statements.Panic
    for name, joined in merged.items():
        names[name].names[name] = settled(joined)
    if ways:
        raise statements.Return(settled(value), ways[0].span)
    return settled(value)


def leave(cx: Context, way: statements.LoopExit | statements.Return, span: Span) -> None:
    """`break`, `continue` and `return` in a branch: the rest of the pass is skipped."""
    marks: dict[str, Lowered] = {SKIP: 1}
    if isinstance(way, statements.Return):
        known = cx.scope.find(RESULT)
        if known is not None and known.names[RESULT] is None and way.value is not None:
            raise ResultFound(way.value)
        marks |= {BREAK: 1, RETURNED: 1, RESULT: way.value}
    elif way.stop:
        marks |= {BREAK: 1}
    scope = loop_around(cx)
    if scope is None:
        cx.unsupported("leaving a loop that the build follows, decided at run time", span)
    scope.names |= marks


def loop_around(cx: Context) -> Scope | None:
    """The scope with the marks of the innermost loop, when run time may leave it."""
    scope = cx.scope.find(SKIP)
    return scope if scope is not None and scope.names[SKIP] is not None else None


def returned(cx: Context) -> Dim | None:
    """Whether run time may have ended the function in a loop; None when it did not."""
    value = whole(cx.scope.names.get(RETURNED))
    return value if isinstance(value, Dim) else None


def skipped(cx: Context) -> Dim | None:
    """Whether run time may skip what follows in this pass; None when it does not."""
    scope = cx.scope.find(SKIP)
    value = whole(scope.names[SKIP]) if scope is not None else None
    return value if isinstance(value, Dim) else None


__all__ = ["choose", "filling", "finish", "leave", "outer_names", "skipped"]
