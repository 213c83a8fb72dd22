"""Control flow that only run time decides: loops and branches as IR regions.

Names that a region assigns are carried: tensors as region arguments and results, whole numbers as
symbols of dimensions. `break` and `continue` become hidden numbers, `BREAK` and `SKIP`, that the
rest of a pass and the next pass depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Block, Op, Value, replace_operands
from tlc.ir.dims import Dim
from tlc.ir.lower import expressions, statements
from tlc.ir.lower.context import Context, Scope
from tlc.ir.lower.values import Flag, Lowered, Poison, describe, is_number, truth, whole
from tlc.ir.opdef import OPS
from tlc.ir.types import TensorType

BREAK, SKIP = "break ", "continue "  # no name of a program holds a space
ONE = Dim.of(1)
FOLLOWED = 16  # a loop of known length that hands on numbers is followed up to so many passes


@dataclass(slots=True)
class Region:
    """A region being filled, and what the names that it assigns are at its end."""

    block: Block
    after: dict[str, Lowered] = field(default_factory=dict)
    value: Lowered = None


def assigned_inside(nodes: Iterable[ast.Node]) -> Iterator[str]:
    """The names that statements assign, at any depth."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Assign):
            yield from statements.assigned(node)
        waiting += node.children()


def outer_names(cx: Context, nodes: Iterable[ast.Node]) -> dict[str, Scope]:
    """The names of the scopes around a region that it may assign, hidden ones included."""
    found: dict[str, Scope] = {}
    for name in [*dict.fromkeys(assigned_inside(nodes)), BREAK, SKIP]:
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
    regions = []
    for branch in branches:
        with _filling(cx, names) as region, cx.inner():
            try:
                region.value = branch()
            except statements.LoopExit as way:
                _leave(cx, way, span)
            except statements.Return as way:
                cx.unsupported("a `return` that only run time decides, here", way.span)
        regions.append(region)
    then, orelse = regions
    merge = _Merge(cx, span)
    merged = {n: merge.join(f"`{n}`", then.after[n], orelse.after[n]) for n in names}
    no_value = then.value is None or orelse.value is None
    value = None if no_value else merge.join("the value", then.value, orelse.value)
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

    def settled(joined: Lowered) -> Lowered:
        return made.results[joined.index] if isinstance(joined, _Result) else joined

    for name, joined in merged.items():
        names[name].names[name] = settled(joined)
    return settled(value)


@dataclass(frozen=True, slots=True)
class _Result:
    """The tensor result of an `if`, by its number."""

    index: int


class _Merge:
    """Joins what two branches leave behind."""

    def __init__(self, cx: Context, span: Span) -> None:
        self.cx, self.span = cx, span
        self.ints: list[tuple[str, Dim, Dim]] = []
        self.yields: tuple[list[Callable[[Context], Value]], list[Callable[[Context], Value]]] = (
            [],
            [],
        )

    def join(self, what: str, then: Lowered, orelse: Lowered) -> Lowered:
        """One value for both: the same thing, a number of the host, or a result of the `if`."""
        alike = type(then) is type(orelse) and not isinstance(then, Value)
        if then is orelse or (alike and then == orelse):
            return then
        if isinstance(then, Value) or isinstance(orelse, Value):
            return self._tensor(what, then, orelse)
        flags = [truth(v) for v in (then, orelse)]
        if flags[0] is not None and flags[1] is not None:
            return Flag(self._number(flags[0], flags[1]))
        a, b = whole(then), whole(orelse)
        if a is not None and b is not None:
            return self._number(Dim.of(a), Dim.of(b))
        if is_number(then) and is_number(orelse):  # numbers with fractions live on the device
            return self._tensor(what, then, orelse)
        self._differ(what, then, orelse)
        return None

    def _number(self, then: Dim, orelse: Dim) -> Dim:
        symbol = self.cx.program.new_symbol()
        self.ints.append((symbol, then, orelse))
        return Dim.of(symbol)

    def _tensor(self, what: str, then: Lowered, orelse: Lowered) -> Lowered:
        like = then if isinstance(then, Value) else orelse
        type = like.tensor if isinstance(like, Value) else TensorType("f32", ())
        for at, side in enumerate((then, orelse)):
            fits = side.type == type if isinstance(side, Value) else is_number(side)
            if not fits:
                self._differ(what, then, orelse)
            self.yields[at].append(_as_type(side, type, self.span))
        return _Result(len(self.yields[0]) - 1)

    def _differ(self, what: str, then: Lowered, orelse: Lowered) -> None:
        self.cx.fail(
            "E0302",
            f"{what} is {describe(then)} in one branch and {describe(orelse)} in the other",
            self.span,
        )


def _as_type(value: Lowered, type: TensorType, span: Span) -> Callable[[Context], Value]:
    """The value as a tensor of a type, made in the block that is current when it is called."""

    def make(cx: Context) -> Value:
        if isinstance(value, Value):
            return value
        cx.builder.span = span
        number = cx.builder.constant(float(value), type.with_shape(()))
        return cx.builder.broadcast(number, type.shape)

    return make


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
        promoted: dict[str, TensorType] = {}
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
        promoted: dict[str, TensorType],
        span: Span,
        passes: int | None,
    ) -> None:
        self.cx, self.names, self.promoted, self.span = cx, names, promoted, span
        self.passes = passes
        self.emitted = self.breaks = False
        self.tensors: dict[str, Value] = {}  # carried, by name: the value before the loop
        self.symbols: dict[str, str] = {}
        self.first: dict[str, Dim] = {}
        self.flags: set[str] = set()

    def run(
        self, body: ast.Block, counter: Counter | None, test: ast.Expr | None
    ) -> dict[str, TensorType] | None:
        """None when done; else the names that have to be tensors from the start."""
        cx, new = self.cx, self.cx.program.new_symbol
        before = {name: scope.names[name] for name, scope in self.names.items()}
        arguments = self._enter(before)
        ticks: list[tuple[str, Dim, Dim, str]] = []
        go_on = ONE
        if test is not None:
            entry = _dim(expressions.condition(cx, test))
            go_on = Dim.of(new())
        with _filling(cx, self.names) as region:
            region.block.args = list(arguments.values())
            for name, scope in self.names.items():
                scope.names[name] = self._inside(name, arguments, before)
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
            if test is not None:
                again = _dim(expressions.condition(cx, test))
                ticks.append((str(go_on.symbol), entry, again, new()))
            after = {name: scope.names[name] for name, scope in self.names.items()}
        if self.passes != -1 and not region.block.ops:
            return None
        wanted = self._wanted(before, after)
        if wanted:
            return wanted
        self._check_sizes(region.block)
        self.breaks = whole(after[BREAK]) != 0 and after[BREAK] != Dim.of(self.symbols[BREAK])
        self.emitted = self._emit(region, before, after, ticks, go_on)
        return None

    def _enter(self, before: dict[str, Lowered]) -> dict[str, Value]:
        """Arguments for carried tensors, symbols for carried numbers."""
        arguments: dict[str, Value] = {}
        for name, value in before.items():
            if name in self.promoted:
                value = _as_type(value, self.promoted[name], self.span)(self.cx)
            flag = truth(value)
            number = flag if flag is not None else whole(value)
            if isinstance(value, Value):
                self.tensors[name] = value
                arguments[name] = Value(value.type, name=name)
            elif number is not None and not isinstance(value, float):
                self.symbols[name] = self.cx.program.new_symbol()
                self.first[name] = Dim.of(number)
                if flag is not None:
                    self.flags.add(name)
        return arguments

    def _inside(
        self, name: str, arguments: dict[str, Value], before: dict[str, Lowered]
    ) -> Lowered:
        if name == SKIP:
            return 0
        if name in arguments:
            return arguments[name]
        if name in self.symbols:
            symbol = Dim.of(self.symbols[name])
            return Flag(symbol) if name in self.flags else symbol
        return before[name]

    def _wanted(
        self, before: dict[str, Lowered], after: dict[str, Lowered]
    ) -> dict[str, TensorType]:
        """Names that are numbers before the loop and tensors behind a pass."""
        return {
            name: value.tensor
            for name, value in after.items()
            if isinstance(value, Value) and is_number(before[name]) and name not in self.promoted
        }

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
                flag = truth(value)
                number = flag if flag is not None else whole(value)
                if number is None or isinstance(value, float):
                    self._changes(name, before[name], value)
                symbol, behind = self.symbols[name], cx.program.new_symbol()
                step = Dim.of(number if number is not None else 0)
                if step == Dim.of(symbol):
                    self._settle(block, symbol, self.first[name])
                    ints = [tuple(_in(p, symbol, self.first[name]) for p in i) for i in ints]  # type: ignore[misc]
                    results[name] = before[name]
                    continue
                ints.append((symbol, self.first[name], step, behind))
                results[name] = Flag(Dim.of(behind)) if name in self.flags else Dim.of(behind)
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
        for name, value in results.items():
            self.names[name].names[name] = value
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

    def _changes(self, name: str, before: Lowered, after: Lowered) -> None:
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
