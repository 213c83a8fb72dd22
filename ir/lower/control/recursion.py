"""A recursion that only run time can end, to one function of the IR and calls of it.

The build follows a recursion call by call as long as it knows more in each. A call below a branch
of run time that knows what a call around it knew (or the hundredth in a row) would be followed for
ever: then the call around it becomes a `function`, found by trying. What it changes of the names
around it, and what it gives, is known only once it is lowered; the first try takes calls of itself
for what does not come back, so that the other ways through it say what it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Block, Op, Value
from tlc.ir.dims import Dim
from tlc.ir.lower import composite, reading, statements
from tlc.ir.lower.context import Context, Entered, where
from tlc.ir.lower.control.handed import as_type, host_number, is_count, plain
from tlc.ir.lower.texts import as_text
from tlc.ir.lower.values import Flag, Lowered, Text, describe, is_number, whole
from tlc.ir.opdef import OPS
from tlc.ir.types import TensorType

RESULT = "result"
MOST_TRIES = 64
FRACTION = TensorType("f32", ())  # a number with a fraction, which run time keeps on the device

# what declared types of the host promise, of which no way through a function may tell
_PROMISED: Mapping[str, Callable[[Dim], Lowered] | TensorType] = {
    **{"int": plain, "bool": Flag, "string": Text, "float": FRACTION},
}


class Endless(Exception):
    """The call at a place in `cx.entered` calls itself, knowing no more than it did: only run time
    can end that. `wide` are the parts of its parameters that differ from call to call."""

    def __init__(self, at: int, wide: frozenset[str] = frozenset()) -> None:
        self.at, self.wide = at, wide


class _Again(Exception):
    """Something was found out that the function has to begin with."""


@dataclass(slots=True, eq=False)
class Recursion:
    """A function that calls itself, and what is known of it so far.

    Paths name parts of parameters, of `carried` names and of the result. `makes` and `takes` are
    how a function gets them, as numbers of the host and as tensors; `counts` and `gives` are how
    it hands them back, once `known`. Sizes of tensors that differ from call to call are numbers
    too, those of `loose` axes and those in `ends`.
    """

    fn: ast.Fn
    name: str
    params: dict[str, Lowered]
    wide: frozenset[str]
    carried: dict[str, Lowered] = field(default_factory=dict)  # names around it that it changes
    loose: set[tuple[str, int]] = field(default_factory=set)
    symbols: dict[str, str] = field(default_factory=dict)
    makes: dict[str, Callable[[Dim], Lowered]] = field(default_factory=dict)
    takes: dict[str, TensorType] = field(default_factory=dict)
    known: bool = False
    like: dict[str, Lowered] = field(default_factory=dict)  # what it hands back looks like this
    counts: dict[str, Callable[[Dim], Lowered]] = field(default_factory=dict)
    gives: dict[str, TensorType] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    begun: int = 0  # symbols from here on are the function's own

    def fits(self, fn: ast.Fn, params: Mapping[str, Lowered]) -> bool:
        """Whether a call may be one of this function: what was known at build is still so."""
        if fn is not self.fn:
            return False
        mine, other = composite.flat(self.params), composite.flat(params)
        return mine.keys() == other.keys() and all(
            self._fits(path, mine[path], value) for path, value in other.items()
        )

    def _fits(self, path: str, mine: Lowered, value: Lowered) -> bool:
        if path in self.makes:
            number = host_number(value)
            same = number is not None and number[1] is self.makes[path]
            return same or (path in self.wide and isinstance(value, str))
        type = self.takes.get(path)
        if type is None:
            return known_part(mine) == known_part(value)
        if not isinstance(value, Value):
            return path in self.wide and type == FRACTION and isinstance(value, int | float)
        pairs = enumerate(zip(type.shape, value.tensor.shape, strict=False))
        return (value.tensor.dtype, value.tensor.rank) == (type.dtype, type.rank) and all(
            a == b or (path, axis) in self.loose for axis, (a, b) in pairs
        )

    # ---- what it is given ---------------------------------------------------------------------

    def enter(self, cx: Context) -> tuple[list[Value], dict[str, Lowered]]:
        """The arguments of its region, and what parts of names are inside of it."""
        arguments: list[Value] = []
        inside: dict[str, Lowered] = {}
        for path, value in composite.flat({**self.params, **self.carried}).items():
            number, is_wide = host_number(value), path in self.wide or path[:1] == " "
            if isinstance(value, str) and is_wide:
                number = Dim.of(0), Text
            if number is not None and (is_wide or not number[0].is_static):
                self.makes[path] = number[1]
                inside[path] = number[1](Dim.of(self._symbol(cx, path)))
            elif isinstance(value, Value) or (isinstance(value, float) and path in self.wide):
                type = value.tensor if isinstance(value, Value) else FRACTION
                self.takes[path] = type.with_shape(
                    Dim.of(self._symbol(cx, _axis(path, at))) if (path, at) in self.loose else size
                    for at, size in enumerate(type.shape)
                )
                inside[path] = Value(self.takes[path])
                arguments.append(inside[path])
            else:
                inside[path] = value
        self.begun = cx.program.symbols
        return arguments, inside

    def _symbol(self, cx: Context, path: str) -> str:
        if path not in self.symbols:
            self.symbols[path] = cx.program.new_symbol()
        return self.symbols[path]

    def given(self, cx: Context, params: Mapping[str, Lowered], span: Span) -> _Given:
        """What a call hands to it. Raises _Again for a tensor of another size than expected."""
        now = {path: cx.globals.names[path[1:]] for path in self.carried}
        numbers: dict[str, Dim] = {}
        operands: list[Value] = []
        for path, value in composite.flat({**params, **now}).items():
            if path in self.makes:
                value = as_text(cx, value, span) if isinstance(value, str) else value
                number = host_number(value)
                if number is None:
                    self._changes(cx, path[1:], self.makes[path](Dim.of(0)), value, span)
                numbers[self.symbols[path]] = number[0]
            elif path in self.takes:
                type, made = self.takes[path], as_type(value, self.takes[path], span)(cx)
                if (made.tensor.dtype, made.tensor.rank) != (type.dtype, type.rank):
                    self._changes(cx, path[1:], Value(type), made, span)
                for at, size in enumerate(made.tensor.shape):
                    if (path, at) in self.loose:
                        numbers[self.symbols[_axis(path, at)]] = size
                    elif size != type.shape[at]:
                        self.loose.add((path, at))
                        raise _Again
                operands.append(made)
        return numbers, operands

    # ---- what it hands back -------------------------------------------------------------------

    def promise(self, cx: Context) -> bool:
        """Take its declared result for what it gives; False where that says too little."""
        given = None if self.fn.result is None else _PROMISED.get(self.fn.result.name)
        if self.known or given is None:
            return False
        self.known, self.like = True, {RESULT: 0}
        if isinstance(given, TensorType):
            self.gives[RESULT] = given
        else:
            self.counts[RESULT], self.ends[RESULT] = given, cx.program.new_symbol()
        return True

    def leave(
        self, cx: Context, after: dict[str, Lowered], span: Span
    ) -> tuple[list[Value], list[tuple[str, Dim]]]:
        """The tensors and numbers that its region ends with. Raises _Again when they are not yet
        what calls inside of it took them to be."""
        values: dict[str, Value] = {}
        numbers: dict[str, Dim] = {}
        before = (dict(self.counts), dict(self.gives)) if self.known else None
        old = composite.flat(self.like)
        found = composite.flat(after)
        if self.known and old.keys() != found.keys():
            self._changes(cx, "what it gives", self.like[RESULT], after[RESULT], span)
        for path, value in found.items():
            if isinstance(value, str) and (
                path in self.counts or path[:1] == " " or old.get(path, value) != value
            ):
                value = as_text(cx, value, span)
            if is_count(value) and path in self.counts:
                value = reading.on_host(cx, value, span)
            number, is_tensor = host_number(value), isinstance(value, Value | float)
            if path in self.gives or is_tensor:
                if not is_tensor and whole(value) is None:
                    self._changes(cx, "what it gives", Value(self.gives[path]), value, span)
                self.counts.pop(path, None)
                made = as_type(value, self.gives.get(path, FRACTION), span)(cx)
                self._sized(cx, path, made, span, numbers)
                values[path] = made
            elif number is not None:
                if self.counts.setdefault(path, number[1]) is not number[1]:
                    self._changes(cx, "what it gives", old.get(path), value, span)
                self.ends.setdefault(path, cx.program.new_symbol())
                numbers[path] = number[0]
            elif self.known and known_part(old[path]) != known_part(value):
                self._changes(cx, "what it gives", old[path], value, span)
        self.like, self.known = after, True
        self.ends = {key: symbol for key, symbol in self.ends.items() if key in numbers}
        if before != (self.counts, self.gives):
            raise _Again
        return [values[path] for path in self.gives], [
            (symbol, numbers[key]) for key, symbol in self.ends.items()
        ]

    def _sized(
        self, cx: Context, path: str, value: Value, span: Span, numbers: dict[str, Dim]
    ) -> None:
        """Note the type of a tensor that it gives; a size that calls cannot tell is a number."""
        type = self.gives.get(path)
        if type is not None and (type.dtype, type.rank) != (value.tensor.dtype, value.tensor.rank):
            self._changes(cx, "what it gives", Value(type), value, span)
        shape = []
        for at, size in enumerate(value.tensor.shape):
            key = _axis(path, at)
            if key in self.ends or not self._tells(size) or (type and type.shape[at] != size):
                self.ends.setdefault(key, cx.program.new_symbol())
                numbers[key] = size
                shape.append(Dim.of(self.ends[key]))
            else:
                shape.append(size)
        self.gives[path] = value.tensor.with_shape(shape)

    def _tells(self, size: Dim) -> bool:
        """Whether a size is known where the function is called."""
        own = [s[1:] for s in size.symbols() if s[0] == "$" and s[1:].isdecimal()]
        return all(int(number) < self.begun for number in own)

    def _changes(
        self, cx: Context, what: str, before: Lowered, after: Lowered, span: Span
    ) -> NoReturn:
        text = f"{what} is {describe(before)} in one call of `{self.fn.name}`, and"
        hint = "calls that only run time ends hand on and give values of one type"
        cx.fail("E0302", f"{text} {describe(after)} in another", span, hint=hint)


_Given = tuple[dict[str, Dim], list[Value]]


def known_part(value: Lowered) -> object:
    """What the build knows of an argument: a call within a call that knows the same, with a branch
    of run time between them, would be followed for ever."""
    if isinstance(value, Value):
        return value.type
    if composite.is_composite(value):
        return tuple(map(known_part, composite.leaves("", value).values()))
    number = whole(value)
    if isinstance(number, Dim) or isinstance(value, Flag | Text):
        return type(value)
    return value if isinstance(value, int | float | str) else id(value)


def around(cx: Context, fn: ast.Fn, params: Mapping[str, Lowered]) -> Recursion | None:
    """The innermost function being lowered that a call may be one of."""
    return next((made for made in reversed(cx.recursions) if made.fits(fn, params)), None)


def look_out(cx: Context, call: Entered, late: bool) -> None:
    """Raises Endless when a call around this one knew as much; with `late`, also when one knew
    other numbers or sizes."""
    for at, outer in enumerate(cx.entered):
        if outer.fn is not call.fn or cx.undecided <= outer.undecided:
            continue
        if outer.known == call.known:
            raise Endless(at)
        wide = _differing(outer.params, call.params) if late else None
        if wide is not None:
            raise Endless(at, wide)


def _differing(mine: Mapping[str, Lowered], other: Mapping[str, Lowered]) -> frozenset[str] | None:
    """The parts of parameters that differ in a number or in sizes; None where more does."""
    before, after = composite.flat(mine), composite.flat(other)
    if before.keys() != after.keys():
        return None
    wide = {p for p in before if known_part(before[p]) != known_part(after[p])}
    return frozenset(wide) if all(_alike(before[p], after[p]) for p in wide) else None


def _alike(a: Lowered, b: Lowered) -> bool:
    """Whether run time can hand on one where it handed on the other."""
    match a, b:
        case Value(), Value():
            return (a.tensor.dtype, a.tensor.rank) == (b.tensor.dtype, b.tensor.rank)
        case float(), Value():
            return bool(b.type == FRACTION)
        case float(), _:
            return is_number(b)
        case ((str() | Text()), (str() | Text())):
            return True
    return host_number(a) is not None and host_number(b) is not None


def lowered(
    cx: Context,
    call: Entered,
    wide: frozenset[str],
    body: Callable[[dict[str, Lowered]], Lowered],
    span: Span,
) -> Lowered:
    """A call as one of a function that run time enters as often as it likes. `body` lowers it,
    given its parameters."""
    made = Recursion(call.fn, f"{call.fn.name}{cx.program.new_symbol()}", call.params, wide)
    leaves = composite.flat(call.params)
    made.loose |= {
        (path, at)
        for path in wide
        if isinstance(leaves[path], Value)
        for at in range(leaves[path].tensor.rank)
    }
    before = dict(cx.globals.names)
    for _ in range(MOST_TRIES):
        start = len(cx.builder.block.ops)
        try:
            _defined(cx, made, body, before, span)
            return called(cx, made, call.params, span)
        except _Again:
            del cx.builder.block.ops[start:]
            cx.globals.names = dict(before)
    cx.unsupported(f"the recursion of `{call.fn.name}`, which only run time ends", span)


def _defined(
    cx: Context,
    made: Recursion,
    body: Callable[[dict[str, Lowered]], Lowered],
    before: Mapping[str, Lowered],
    span: Span,
) -> None:
    """Append the function of a recursion. Raises _Again where its calls need another."""
    arguments, inside = made.enter(cx)
    outer, region = cx.builder.block, Block(arguments)
    cx.builder.block = region
    cx.recursions.append(made)
    cx.undecided += 1
    try:
        for path, value in made.carried.items():
            cx.globals.names[path[1:]] = composite.rebuilt(path, value, inside)
        entered = dict(cx.globals.names)
        params = {name: composite.rebuilt(name, v, inside) for name, v in made.params.items()}
        after = {RESULT: body(params)}
        for name, value in entered.items():
            if cx.globals.names[name] is not value and f" {name}" not in made.carried:
                made.carried[f" {name}"], made.known = before[name], False
                made.counts, made.gives, made.ends = {}, {}, {}
                raise _Again
        after |= {path: cx.globals.names[path[1:]] for path in made.carried}
        values, ends = made.leave(cx, after, span)
        region.ops.append(Op(OPS["yield"], values, {}))
    except statements.Panic:
        if not made.promise(cx):
            text = f"the recursion of `{made.fn.name}` has no end"
            hint = "one way through it has to end without calling it again"
            cx.fail("E0304", text, span, hint=hint)
        raise _Again from None
    finally:
        cx.undecided -= 1
        cx.recursions.pop()
        cx.builder.block = outer
        cx.globals.names = dict(before)
    cx.builder.span = span
    cx.builder.append(
        "function",
        regions=[region],
        name=made.name,
        ints=tuple(made.symbols.values()),
        ends=tuple(ends),
        types=tuple(made.gives.values()),
    )


def called(cx: Context, made: Recursion, params: Mapping[str, Lowered], span: Span) -> Lowered:
    """A call of the function of a recursion: what it gives; names that it changes have changed."""
    if not made.known:
        raise statements.Panic
    numbers, operands = made.given(cx, params, span)
    behind = {symbol: cx.program.new_symbol() for symbol in made.ends.values()}
    known: dict[str, Dim | str] = {**numbers, **behind}
    cx.builder.span = span
    op = cx.builder.append(
        "call",
        *operands,
        name=made.name,
        ints=tuple(numbers[symbol] for symbol in made.symbols.values()),
        symbols=tuple(behind.values()),
        results=tuple(
            type.with_shape(size.substitute(known) for size in type.shape)
            for type in made.gives.values()
        ),
        place=where(span),
    )
    assert isinstance(op, Op)
    leaves = composite.flat(made.like)
    leaves.update({p: make(Dim.of(behind[made.ends[p]])) for p, make in made.counts.items()})
    leaves.update(zip(made.gives, op.results, strict=True))
    back = {path: composite.rebuilt(path, like, leaves) for path, like in made.like.items()}
    for path in made.carried:
        cx.globals.names[path[1:]] = back[path]
    return back[RESULT]


def _axis(path: str, axis: int) -> str:
    """How the size of a tensor along an axis is called among the numbers."""
    return f"{path} axis {axis}"


__all__ = ["Endless", "Recursion", "around", "called", "known_part", "look_out", "lowered"]
