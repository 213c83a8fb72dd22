"""A function that calls itself: what its calls hand to it and what it hands back.

Numbers of the host are symbols, tensors are arguments and results of a region. What is found out by
trying, such as a size that differs from call to call, stays known for the next try.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import composite, reading
from tlc.ir.lower.context import Context
from tlc.ir.lower.control import growing
from tlc.ir.lower.control.handed import as_type, host_number, is_count, plain
from tlc.ir.lower.texts import as_text
from tlc.ir.lower.values import Flag, Lowered, Text, describe, whole
from tlc.ir.types import TensorType

RESULT = "result"
FRACTION = TensorType("f32", ())  # a number with a fraction, which run time keeps on the device

# what declared types of the host promise, of which no way through a function may tell
PROMISED: Mapping[str, Callable[[Dim], Lowered] | TensorType] = {
    **{"int": plain, "bool": Flag, "string": Text, "float": FRACTION},
}


class Again(Exception):
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
    grown: dict[str, Lowered] = field(default_factory=dict)  # arrays handed back that get longer
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
        """What a call hands to it. Raises Again for a tensor of another size than expected."""
        now = {path: cx.globals.names[path[1:]] for path in self.carried}
        now = growing.all_begun(cx, now, self.grown, span)
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
                        raise Again
                operands.append(made)
        return numbers, operands

    # ---- what it hands back -------------------------------------------------------------------

    def promise(self, cx: Context) -> bool:
        """Take its declared result for what it gives; False where that says too little."""
        given = None if self.fn.result is None else PROMISED.get(self.fn.result.name)
        if self.known or given is None:
            return False
        self.known, self.like = True, {RESULT: 0}
        if isinstance(given, TensorType):
            self.gives[RESULT] = given
        else:
            self.counts[RESULT], self.ends[RESULT] = given, cx.program.new_symbol()
        return True

    def forget(self) -> None:
        """Find out anew what it hands back."""
        self.known, self.counts, self.gives, self.ends = False, {}, {}, {}

    def leave(
        self, cx: Context, after: dict[str, Lowered], span: Span
    ) -> tuple[list[Value], list[tuple[str, Dim]]]:
        """The tensors and numbers that its region ends with. Raises Again when they are not yet
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
            raise Again
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


def _axis(path: str, axis: int) -> str:
    """How the size of a tensor along an axis is called among the numbers."""
    return f"{path} axis {axis}"


__all__ = ["FRACTION", "RESULT", "Again", "Recursion", "known_part"]
