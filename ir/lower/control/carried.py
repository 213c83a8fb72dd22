"""What a loop hands from pass to pass, and the region of a pass: one attempt to lower a loop.

What a pass hands to the next is carried: tensors as region arguments and results, whole numbers as
symbols of dimensions. A tensor may change its size from pass to pass, such as a cache that grows:
its dimension is then a number that is carried too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Op, Value, replace_operands, symbols_of
from tlc.ir.dims import Dim
from tlc.ir.lower import composite, expressions, reading, statements
from tlc.ir.lower.context import BREAK, SKIP, Context, Scope
from tlc.ir.lower.control import regions
from tlc.ir.lower.control.findings import (
    COUNTER,
    Counter,
    Findings,
    has_fraction,
    settle,
    size_path,
    substituted,
)
from tlc.ir.lower.control.growing import all_begun, cannot_grow, columns, grown, unlike
from tlc.ir.lower.control.handed import (
    as_type,
    blank,
    host_number,
    is_count,
    plain,
)
from tlc.ir.lower.control.merge import Region
from tlc.ir.lower.texts import as_text
from tlc.ir.lower.values import Lowered, Text, describe, is_number, whole
from tlc.ir.types import TensorType

ONE = Dim.of(1)
FOLLOWED = 16  # a loop of known length that hands on numbers is followed up to so many passes
HOST = ("check", "if", "loop", "yield")


class Attempt:
    """One attempt to lower a loop."""

    def __init__(
        self,
        cx: Context,
        names: dict[str, Scope],
        findings: Findings,
        span: Span,
        passes: int | None,
    ) -> None:
        self.cx, self.names, self.findings, self.span = cx, names, findings, span
        self.passes = passes
        self.known = passes != -1  # the build could follow it
        self.begun = cx.program.symbols
        self.emitted = self.breaks = False
        self.tensors: dict[str, Value] = {}  # carried, by name: the value before the loop
        self.symbols: dict[str, str] = {}  # of numbers and of loose axes
        self.first: dict[str, Dim] = {}
        self.makes: dict[str, Callable[[Dim], Lowered]] = {}
        # the symbol of sizes and numbers that begin so, by group
        self.shared: dict[tuple[Dim, int], str] = {}

    def run(self, body: ast.Block, counter: Counter | None, test: ast.Expr | None) -> bool:
        """Whether that was it; else the findings have grown, and the loop begins otherwise."""
        cx, new = self.cx, self.cx.program.new_symbol
        entry = ONE if test is None else _dim(expressions.condition(cx, test))
        given = {name: scope.names[name] for name, scope in self.names.items()}
        given = all_begun(cx, given, self.findings.vectors, self.span)
        before = composite.flat(given)
        arguments = self._enter(before)
        ticks: list[tuple[str, Dim, Dim, str]] = []
        go_on = ONE
        if test is not None:
            go_on = Dim.of(new())
        with regions.filling(cx, self.names) as region:
            region.block.args = list(arguments.values())
            inside = {path: self._inside(path, arguments, before) for path in before}
            for name, scope in self.names.items():
                scope.names[name] = composite.rebuilt(name, given[name], inside)
            inner = Scope(cx.scope)
            if counter is not None:
                tick = self._symbol(COUNTER, counter.low)
                go_on = Dim.of(tick).compare("<", counter.high)
                cx.ranges[tick] = (counter.low, counter.high)
                inner.names.update(counter.names(Dim.of(tick)))
            late = self.passes == -1  # whether there is a pass at all is decided by the run
            with cx.inner(inner):
                cx.undecided += late
                try:
                    statements.body(cx, body.body)
                except (statements.LoopExit, statements.Return) as way:
                    regions.leave(cx, way, self.span)
                except statements.Panic:
                    pass  # the first pass ends the run
                finally:
                    cx.undecided -= late
            if test is not None:
                again = _dim(expressions.condition(cx, test))
                if entry == again == ONE:  # `while true`
                    go_on = ONE
                else:
                    ticks.append((str(go_on.symbol), entry, again, new()))
            behind = {name: scope.names[name] for name, scope in self.names.items()}
            behind = all_begun(cx, behind, self.findings.vectors, self.span)
            after = composite.flat(behind)
            for path in [p for p in self.symbols if p in after]:
                after[path] = self._counted(after[path])
        self.breaks = whole(after[BREAK]) != 0 and after[BREAK] != Dim.of(self.symbols[BREAK])
        if self.breaks or whole(after[SKIP]) != 0:
            self.passes = -1  # the build cannot follow what run time may leave early
        if self._lengthened(given, behind):
            return False
        if self.known and all(op.name in HOST for op in _within(region)):
            if self._foreseen(region):
                return True
            if self.passes is None or self.passes > FOLLOWED:
                self.passes = -1  # it counts on with numbers of run time
            elif not region.block.ops:
                return True
        if self._found(before, after):
            return False
        steps = self._steps(after)
        if self._part(steps):
            return False
        self.emitted = self._emit(region, before, after, steps, ticks, go_on, given)
        return True

    # ---- what is carried ------------------------------------------------------------------------

    def _enter(self, before: dict[str, Lowered]) -> dict[str, Value]:
        """Arguments for carried tensors, symbols for carried numbers and for loose axes."""
        arguments: dict[str, Value] = {}
        numbers: list[str] = []
        for name, value in before.items():
            if name in self.findings.promoted:
                type = self.findings.promoted[name]
                if type is None:
                    value = self._counted(value)
                elif value is None:
                    value = blank(self.cx, Value(type))
                else:
                    value = as_type(value, type, self.span)(self.cx)
            number = host_number(value)
            if isinstance(value, Value):
                self.tensors[name] = value
                arguments[name] = Value(self._argument_type(name, value.tensor), name=name)
            elif number is not None:
                numbers.append(name)
                self.first[name], self.makes[name] = number
        for name in numbers:
            self._symbol(name, self.first[name])
        return arguments

    def _argument_type(self, name: str, type: TensorType) -> TensorType:
        """The type of a carried tensor in the region, a symbol for every size that changes."""
        shape = list(type.shape)
        for axis, size in enumerate(shape):
            if (name, axis) in self.findings.loose:
                path = size_path(name, axis)
                key = (size, self.findings.groups.get(path, 0))
                if key not in self.shared:
                    self.shared[key] = self.cx.program.new_symbol()
                symbol = self._symbol(path, size)
                self.cx.program.natural.add(symbol)
                shape[axis] = Dim.of(symbol)
        return type.with_shape(shape)

    def _symbol(self, path: str, first: Dim) -> str:
        """The symbol of a number or size: that of a size which begins as it does, else its own."""
        shared = None
        if self.makes.get(path, plain) is plain and path not in regions.HIDDEN:
            shared = self.shared.get((first, self.findings.groups.get(path, 0)))
        self.symbols[path] = shared or self.cx.program.new_symbol()
        self.first[path] = first
        return self.symbols[path]

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
        return reading.on_host(self.cx, value, self.span) if is_count(value) else value

    def _foreseen(self, region: Region) -> bool:
        """Whether the build knows all numbers that a pass computes with."""
        given = [first for name, first in self.first.items() if name != COUNTER]
        outside = symbols_of(tuple(given)) | {
            symbol for op in _within(region) for symbol in symbols_of(tuple(op.attrs.values()))
        }
        own = {f"${n}" for n in range(self.begun, self.cx.program.symbols)}
        return outside <= own

    # ---- what a pass leaves behind --------------------------------------------------------------

    def _lengthened(self, given: Mapping[str, Lowered], behind: Mapping[str, Lowered]) -> bool:
        """Whether arrays change their length: they have to begin as the rows of tensors."""
        vectors = self.findings.vectors
        known = len(vectors)
        for name, old in given.items():
            for path, before, after in unlike(name, old, behind[name]):
                row = grown(before, after)
                if row is None or self.passes != -1:
                    self._changes(path, before, after)
                vectors[path] = row
                self.findings.loose.update(dict.fromkeys((p, 0) for p in columns(path, row)))
        return len(vectors) > known

    def _found(self, before: Mapping[str, Lowered], after: Mapping[str, Lowered]) -> bool:
        """Whether names have to begin otherwise: numbers that are tensors behind a pass (those with
        fractions that change live on the device too, where only run time knows how often they do),
        what a pass leaves to the host (a number of the device, a string), sizes that change."""
        promoted, loose = self.findings.promoted, self.findings.loose
        known = len(promoted) + len(loose)
        for name, value in after.items():
            if name in self.tensors:
                loose.update(dict.fromkeys((name, axis) for axis in self._changed(name, value)))
            if name in promoted:
                continue
            if before[name] is None and isinstance(value, Value):
                promoted[name] = value.tensor.with_shape((0, *value.tensor.shape[1:]))
                loose[name, 0] = None
            elif not is_number(before[name]):
                number = is_count(before[name]) and not isinstance(value, Value)
                text = isinstance(before[name], str) and isinstance(value, str | Text)
                if number or (text and value != before[name]):
                    promoted[name] = None
            elif isinstance(value, Value):
                promoted[name] = value.tensor
            elif self.passes == -1 and value != before[name] and has_fraction(before[name], value):
                promoted[name] = TensorType("f32", ())
        return len(promoted) + len(loose) > known

    def _changed(self, name: str, value: Lowered) -> list[int]:
        """The axes of a carried tensor whose size a pass changes."""
        old = self.tensors[name].tensor
        if not isinstance(value, Value) or value.tensor.rank != old.rank:
            return []
        pairs = enumerate(zip(old.shape, value.tensor.shape, strict=True))
        axes = [at for at, (a, b) in pairs if a != b and (name, at) not in self.findings.loose]
        if axes and (self.passes is None or 0 <= self.passes <= FOLLOWED):
            self._changes(name, self.tensors[name], value)  # the build follows the loop
        return axes

    def _steps(self, after: Mapping[str, Lowered]) -> dict[str, Dim]:
        """What every number and loose size is behind a pass."""
        steps: dict[str, Dim] = {}
        for name, axis in self.findings.loose:
            value = after[name]
            if not isinstance(value, Value) or value.tensor.rank <= axis:
                self._changes(name, self.tensors[name], value)
            steps[size_path(name, axis)] = value.tensor.shape[axis]
        for name, make in self.makes.items():
            if name == SKIP:
                continue
            number = host_number(after[name])
            if number is None or number[1] is not make:
                self._changes(name, make(self.first[name]), after[name])
            steps[name] = number[0]
        if COUNTER in self.symbols:
            steps[COUNTER] = Dim.of(self.symbols[COUNTER]) + 1
        return steps

    def _part(self, steps: Mapping[str, Dim]) -> bool:
        """Whether numbers and sizes that share a symbol differ behind a pass; they then part."""
        groups = self.findings.groups
        first: dict[str, Dim] = {}
        new: dict[tuple[str, Dim], int] = {}
        for path, step in steps.items():
            symbol = self.symbols[path]
            if first.setdefault(symbol, step) != step:
                key = (symbol, step)
                groups[path] = new.setdefault(key, max(groups.values(), default=0) + 1)
        return bool(new)

    # ---- the operation --------------------------------------------------------------------------

    def _emit(
        self,
        region: Region,
        before: dict[str, Lowered],
        after: dict[str, Lowered],
        steps: dict[str, Dim],
        ticks: list[tuple[str, Dim, Dim, str]],
        go_on: Dim,
        given: dict[str, Lowered],
    ) -> bool:
        """Append the loop; False when the build should follow it instead."""
        cx, block = self.cx, region.block
        ints = list(ticks)
        ends: dict[str, Dim] = {}  # of symbols: what they are behind the loop
        for path, step in steps.items():
            symbol, first = self.symbols[path], self.first[path]
            if symbol in ends:
                continue
            if step == Dim.of(symbol):
                settle(block, symbol, first)
                ints = [substituted(i, {symbol: first}) for i in ints]
                steps = {k: step.substitute({symbol: first}) for k, step in steps.items()}
                ends[symbol] = first
                continue
            ints.append((symbol, first, step, cx.program.new_symbol()))
            ends[symbol] = Dim.of(ints[-1][3])
            if symbol in cx.program.natural:
                cx.program.natural.add(ints[-1][3])
            if path not in (BREAK, COUNTER) and self.passes != -1:
                known = self._known_end(symbol, first, step)
                if known is None:
                    return False
                ends[symbol] = known
        results: dict[str, Lowered] = {}
        kept: list[str] = []  # carried tensors that change
        for name, value in after.items():
            if name in self.tensors:
                if value is block.args[list(self.tensors).index(name)]:
                    results[name] = self.tensors[name]
                else:
                    kept.append(name)
            elif name == SKIP:
                results[name] = 0
            elif name in self.makes:
                end = ends[self.symbols[name]]
                results[name] = before[name] if end == self.first[name] else self.makes[name](end)
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
        moves = {i[0]: i[2] for i in ints}
        for name, argument in zip(kept, block.args, strict=True):
            self._same_type(name, substituted(argument.type, moves), after[name])
        regions.finish(region, [after[n] for n in kept])
        cx.builder.span = self.span
        made = cx.builder.append(
            "loop",
            *(self.tensors[n] for n in kept),
            regions=[block],
            condition=go_on,
            ints=tuple(ints),
            results=tuple(substituted(a.type, ends) for a in block.args),
        )
        assert isinstance(made, Op)
        results.update(zip(kept, made.results, strict=True))
        for name, scope in self.names.items():
            scope.names[name] = composite.rebuilt(name, given[name], results)
        return True

    def _known_end(self, symbol: str, first: Dim, step: Dim) -> Dim | None:
        """What a number is behind a loop of known length that adds the same to it in each pass."""
        gain = step - Dim.of(symbol)
        if self.passes is None or self.passes <= FOLLOWED or not gain.is_static:
            return None
        return first + gain * self.passes

    def _same_type(self, name: str, wanted: TensorType, after: Lowered) -> None:
        if not isinstance(after, Value) or after.type != wanted:
            self._changes(name, self.tensors[name], after)

    def _changes(self, name: str, before: Lowered, after: Lowered) -> NoReturn:
        if isinstance(before, list) and isinstance(after, list):
            what, hint = cannot_grow([*before, *after])
            text = f"an array of {what} whose length changes in a loop that only the run ends"
            self.cx.unsupported(text, self.span, hint)
        self.cx.fail(
            "E0302",
            f"`{name}` is {describe(before)} before this loop and {describe(after)} behind a pass",
            self.span,
            hint="what a loop hands from pass to pass keeps its type and rank",
        )


def _within(region: Region) -> Iterator[Op]:
    return (inner for op in region.block.ops for inner in op.walk())


def _dim(condition: bool | Dim) -> Dim:
    return condition if isinstance(condition, Dim) else Dim.of(int(condition))
