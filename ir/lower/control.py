"""Control flow that only run time decides: loops and branches as IR regions.

Names that a region assigns are carried: tensors as region arguments and results, whole numbers as
symbols of dimensions. `break` and `continue` become hidden numbers, `BREAK` and `SKIP`, that the
rest of a pass and the next pass depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Block, Op, Value, replace_operands
from tlc.ir.dims import Dim
from tlc.ir.lower import assignment, composite, expressions, statements
from tlc.ir.lower.context import DRAW, Context, Scope
from tlc.ir.lower.merge import Merge, Region, Result, as_text, as_type, host_number, is_count
from tlc.ir.lower.values import NEVER, Lowered, Poison, Text, describe, is_number, whole
from tlc.ir.opdef import OPS
from tlc.ir.types import TensorType

BREAK, SKIP = "break ", "continue "  # no name of a program holds a space
ONE = Dim.of(1)
FOLLOWED = 16  # a loop of known length that hands on numbers is followed up to so many passes


def assigned_inside(nodes: Iterable[ast.Node]) -> Iterator[str]:
    """The names that statements assign, at any depth."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Assign | ast.ExprStmt):
            yield from assignment.assigned(node)
        waiting += node.children()


def outer_names(cx: Context, nodes: Iterable[ast.Node]) -> dict[str, Scope]:
    """The names of the scopes around a region that it may assign, hidden ones included."""
    found: dict[str, Scope] = {}
    for name in [*dict.fromkeys(assigned_inside(nodes)), BREAK, SKIP, DRAW]:
        scope = cx.scope.find(name)
        if scope is not None and not isinstance(scope.names[name], Poison):
            found[name] = scope
    return found


@contextmanager
def _filling(cx: Context, names: dict[str, Scope]) -> Iterator[Region]:
    """Operations go to a new region; the names are afterwards what they were before."""
    before = {name: scope.names[name] for name, scope in names.items()}
    outer, region = cx.builder.block, Region(Block())
    cx.builder.block = region.block
    try:
        yield region
        region.after = {name: scope.names[name] for name, scope in names.items()}
    finally:
        cx.builder.block = outer
        for name, scope in names.items():
            scope.names[name] = before[name]


def _finish(region: Region, values: list[Value]) -> None:
    region.block.ops.append(Op(OPS["yield"], values, {}))


# ---- branches ------------------------------------------------------------------------------------


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
        with _filling(cx, names) as region, cx.inner():
            try:
                region.value = branch()
            except statements.LoopExit as way:
                _leave(cx, way, span)
            except statements.Panic:
                region.value = NEVER
            except statements.Return as way:
                region.value = way.value
                ways.append(way)
        regions.append(region)
    then, orelse = regions
    if ways:
        if len(ways) + [r.value for r in regions].count(NEVER) < 2:
            cx.unsupported("a `return` that only run time decides, here", ways[0].span)
        # only what outlives the function matters behind it
        names = {name: scope for name, scope in names.items() if scope is cx.globals}
    for region in regions:
        if region.value is NEVER:
            region.after = dict.fromkeys(names, NEVER)
    merge = Merge(cx, span, (then, orelse))
    merged = {n: merge.join(f"`{n}`", then.after[n], orelse.after[n]) for n in names}
    no_value = then.value is None or orelse.value is None
    never = then.value is NEVER and orelse.value is NEVER
    value = None if no_value or never else merge.join("the value", then.value, orelse.value)
    for region, values in zip(regions, merge.yields, strict=True):
        cx.builder.block, outer = region.block, cx.builder.block
        tensors = [v(cx) for v in values]
        cx.builder.block = outer
        _finish(region, tensors)
    results = tuple(v.type for v in regions[0].block.yielded)
    cx.builder.span = span
    made = cx.builder.append(
        "if",
        regions=[r.block for r in regions],
        condition=condition,
        ints=tuple(merge.ints),
        results=results,
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


def _leave(cx: Context, way: statements.LoopExit, span: Span) -> None:
    """`break` and `continue` in a branch: the rest of the pass is skipped."""
    for name in (BREAK, SKIP) if way.stop else (SKIP,):
        scope = cx.scope.find(name)
        if scope is None:
            cx.unsupported("leaving a loop that the build follows, decided at run time", span)
        scope.names[name] = 1


def skipped(cx: Context) -> Dim | None:
    """Whether run time may skip what follows in this pass; None when it does not."""
    scope = cx.scope.find(SKIP)
    value = whole(scope.names[SKIP]) if scope is not None else None
    return value if isinstance(value, Dim) else None


# ---- loops ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Counter:
    """The name of a `for`, and the numbers it runs through."""

    name: str
    low: Dim
    high: Dim


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
    with cx.inner():
        cx.scope.names[BREAK] = cx.scope.names[SKIP] = 0
        names = outer_names(cx, [node])
        promoted: dict[str, TensorType | None] = {}
        while True:  # a number that becomes a tensor in the loop has to be one before it
            start = len(cx.builder.block.ops)
            made = _Loop(cx, names, promoted, node.span, passes)
            wanted = made.run(node.body, counter, test)
            if wanted is None:
                return made.emitted
            del cx.builder.block.ops[start:]
            promoted.update(wanted)


class _Loop:
    """One attempt to lower a loop."""

    def __init__(
        self,
        cx: Context,
        names: dict[str, Scope],
        promoted: dict[str, TensorType | None],
        span: Span,
        passes: int | None,
    ) -> None:
        self.cx, self.names, self.promoted, self.span = cx, names, promoted, span
        self.passes = passes
        self.emitted = self.breaks = False
        self.tensors: dict[str, Value] = {}  # carried, by name: the value before the loop
        self.symbols: dict[str, str] = {}
        self.first: dict[str, Dim] = {}
        self.makes: dict[str, Callable[[Dim], Lowered]] = {}

    def run(
        self, body: ast.Block, counter: Counter | None, test: ast.Expr | None
    ) -> dict[str, TensorType | None] | None:
        """None when done; else the names that have to be tensors from the start."""
        cx, new = self.cx, self.cx.program.new_symbol
        given = {name: scope.names[name] for name, scope in self.names.items()}
        before = composite.flat(given)
        arguments = self._enter(before)
        ticks: list[tuple[str, Dim, Dim, str]] = []
        go_on = ONE
        if test is not None:
            entry = _dim(expressions.condition(cx, test))
            go_on = Dim.of(new())
        with _filling(cx, self.names) as region:
            region.block.args = list(arguments.values())
            inside = {path: self._inside(path, arguments, before) for path in before}
            for name, scope in self.names.items():
                scope.names[name] = composite.rebuilt(name, given[name], inside)
            inner = Scope(cx.scope)
            if counter is not None:
                tick = new()
                ticks.append((tick, counter.low, Dim.of(tick) + 1, new()))
                go_on = Dim.of(tick).compare("<", counter.high)
                inner.names[counter.name] = Dim.of(tick)
                cx.ranges[tick] = (counter.low, counter.high)
            with cx.inner(inner):
                try:
                    statements.body(cx, body.body)
                except statements.LoopExit as way:
                    _leave(cx, way, self.span)
                except statements.Panic:
                    pass  # the first pass ends the run
            if test is not None:
                again = _dim(expressions.condition(cx, test))
                ticks.append((str(go_on.symbol), entry, again, new()))
            behind = {name: scope.names[name] for name, scope in self.names.items()}
            after = composite.flat(behind)
            for path in [p for p in self.symbols if p in after]:
                after[path] = self._counted(after[path])
        for name in self.names:
            if (
                composite.leaves("", given[name]).keys()
                != composite.leaves("", behind[name]).keys()
            ):
                self._changes(name, given[name], behind[name])
        if self.passes != -1 and not region.block.ops:
            return None
        wanted = self._wanted(before, after)
        if wanted:
            return wanted
        self._check_sizes(region.block)
        self.breaks = whole(after[BREAK]) != 0 and after[BREAK] != Dim.of(self.symbols[BREAK])
        self.emitted = self._emit(region, before, after, ticks, go_on, given)
        return None

    def _enter(self, before: dict[str, Lowered]) -> dict[str, Value]:
        """Arguments for carried tensors, symbols for carried numbers."""
        arguments: dict[str, Value] = {}
        for name, value in before.items():
            if name in self.promoted:
                type = self.promoted[name]
                if type is None:
                    value = self._counted(value)
                else:
                    value = as_type(value, type, self.span)(self.cx)
            number = host_number(value)
            if isinstance(value, Value):
                self.tensors[name] = value
                arguments[name] = Value(value.type, name=name)
            elif number is not None:
                self.symbols[name] = self.cx.program.new_symbol()
                self.first[name], self.makes[name] = number
        return arguments

    def _inside(
        self, name: str, arguments: dict[str, Value], before: dict[str, Lowered]
    ) -> Lowered:
        if name == SKIP:
            return 0
        if name in arguments:
            return arguments[name]
        if name in self.symbols:
            return self.makes[name](Dim.of(self.symbols[name]))
        return before[name]

    def _counted(self, value: Lowered) -> Lowered:
        """What the host carries as a number: one of the device is read, a string is noted."""
        if isinstance(value, str):
            return as_text(self.cx, value, self.span)
        return expressions.on_host(self.cx, value, self.span) if is_count(value) else value

    def _wanted(
        self, before: dict[str, Lowered], after: dict[str, Lowered]
    ) -> dict[str, TensorType | None]:
        """Names that are numbers before the loop and tensors behind a pass; numbers with fractions
        that change live on the device too, where only run time knows how often they do. None for
        the opposite, what a pass leaves to the host: a number of the device, a string."""
        wanted: dict[str, TensorType | None] = {}
        for name, value in after.items():
            if name in self.promoted:
                continue
            if not is_number(before[name]):
                number = is_count(before[name]) and not isinstance(value, Value)
                text = isinstance(before[name], str) and isinstance(value, str | Text)
                if number or (text and value != before[name]):
                    wanted[name] = None
            elif isinstance(value, Value):
                wanted[name] = value.tensor
            elif self.passes == -1 and isinstance(value, float) and value != before[name]:
                wanted[name] = TensorType("f32", ())
        return wanted

    def _check_sizes(self, block: Block) -> None:
        for op in (inner for outer in block.ops for inner in outer.walk()):
            for value in op.results:
                late = [d for d in value.tensor.shape if any(s[0] == "$" for s in d.symbols())]
                if late:
                    self.cx.unsupported(
                        "a tensor whose size changes from pass to pass", op.span or self.span
                    )

    def _emit(
        self,
        region: Region,
        before: dict[str, Lowered],
        after: dict[str, Lowered],
        ticks: list[tuple[str, Dim, Dim, str]],
        go_on: Dim,
        given: dict[str, Lowered],
    ) -> bool:
        """Append the loop; False when the build should follow it instead."""
        cx, block = self.cx, region.block
        ints = list(ticks)
        results: dict[str, Lowered] = {}
        kept: list[str] = []  # carried tensors that change
        for name, value in after.items():
            if name in self.tensors:
                self._same_type(name, self.tensors[name], value)
                if value is block.args[list(self.tensors).index(name)]:
                    results[name] = self.tensors[name]
                else:
                    kept.append(name)
            elif name == SKIP:
                results[name] = 0
            elif name in self.symbols:
                number = host_number(value)
                if number is None or number[1] is not self.makes[name]:
                    self._changes(name, before[name], value)
                symbol, behind = self.symbols[name], cx.program.new_symbol()
                step = number[0]
                if step == Dim.of(symbol):
                    self._settle(block, symbol, self.first[name])
                    ints = [tuple(_in(p, symbol, self.first[name]) for p in i) for i in ints]  # type: ignore[misc]
                    results[name] = before[name]
                    continue
                ints.append((symbol, self.first[name], step, behind))
                results[name] = self.makes[name](Dim.of(behind))
                if name != BREAK and self.passes != -1:
                    known = self._known_end(symbol, name, step)
                    if known is None:
                        return False
                    results[name] = known
            elif value is not before[name] and value != before[name]:
                self._changes(name, before[name], value)
            else:
                results[name] = before[name]
        if self.breaks:
            go_on = go_on * (ONE - Dim.of(self.symbols[BREAK]))
        names = list(self.tensors)
        fixed = {block.args[names.index(n)]: self.tensors[n] for n in names if n not in kept}
        block.args = [block.args[names.index(n)] for n in kept]
        replace_operands(block, fixed)
        _finish(region, [after[n] for n in kept])
        cx.builder.span = self.span
        made = cx.builder.append(
            "loop",
            *(self.tensors[n] for n in kept),
            regions=[block],
            condition=go_on,
            ints=tuple(ints),
        )
        assert isinstance(made, Op)
        results.update(zip(kept, made.results, strict=True))
        for name, scope in self.names.items():
            scope.names[name] = composite.rebuilt(name, given[name], results)
        return True

    def _known_end(self, symbol: str, name: str, step: Dim) -> Dim | None:
        """What a number is behind a loop of known length that adds the same to it in each pass."""
        gain = step - Dim.of(symbol)
        breaks = BREAK in self.symbols and self.breaks
        if self.passes is None or self.passes <= FOLLOWED or not gain.is_static or breaks:
            return None
        return self.first[name] + gain * self.passes

    def _settle(self, block: Block, symbol: str, value: Dim) -> None:
        """A number that no pass changes is what it was before."""
        for op in (inner for outer in block.ops for inner in outer.walk()):
            op.attrs = {k: _in(v, symbol, value) for k, v in op.attrs.items()}

    def _same_type(self, name: str, before: Value, after: Lowered) -> None:
        if not isinstance(after, Value) or after.type != before.type:
            self._changes(name, before, after)

    def _changes(self, name: str, before: Lowered, after: Lowered) -> NoReturn:
        if isinstance(before, list) and isinstance(after, list):
            text = "an array whose length changes in a loop whose passes only the run counts"
            self.cx.unsupported(text, self.span)
        self.cx.fail(
            "E0302",
            f"`{name}` is {describe(before)} before this loop and {describe(after)} behind a pass",
            self.span,
            hint="what a loop hands from pass to pass keeps its type and shape",
        )


def _in(part: object, symbol: str, value: Dim) -> object:
    """A part of an attribute with a symbol replaced."""
    match part:
        case Dim():
            return part.substitute({symbol: value})
        case TensorType():
            return part.with_shape(d.substitute({symbol: value}) for d in part.shape)
        case tuple():
            return tuple(_in(p, symbol, value) for p in part)
    return part


def _dim(condition: bool | Dim) -> Dim:
    return condition if isinstance(condition, Dim) else Dim.of(int(condition))


__all__ = ["Counter", "choose", "loop", "outer_names", "skipped"]
