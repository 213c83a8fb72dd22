"""Arrays of the build indexed by a number that only run time knows: branches choose the element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import reading, statements
from tlc.ir.lower.context import Context
from tlc.ir.lower.control import regions
from tlc.ir.lower.places import from_front, within
from tlc.ir.lower.signature import Symbols
from tlc.ir.lower.types import convert
from tlc.ir.lower.values import Lowered, Vector, is_number, tell, whole


def place(cx: Context, found: Lowered, length: int, span: Span) -> int | Dim:
    """An index into so many elements, counted from the front; run time checks what it decides.

    The counter of a loop that the build can follow is refused: each pass then has its own element.
    """
    if isinstance(found, Value) and found.tensor.dtype == "i32" and found.tensor.numel == Dim.of(1):
        found = reading.on_host(cx, found, span)
    at = whole(reading.integral(cx, found, span))
    if at is None:
        cx.fail("E0303", f"an index is a whole number, and this is {tell(found)}", span)
    text = f"index {at} is out of range for {length} elements"
    beyond = not length if isinstance(at, Dim) else not -length <= at < length
    if beyond and cx.undecided and regions.loop_around(cx) is not None:
        _ends(cx, text, span)
    if beyond:
        cx.fail("E0303", text, span)
    if isinstance(at, Dim):
        if any(_followed(cx, symbol) for symbol in at.symbols()):
            cx.fail("E0304", "this index must be known at build", span)
        start = from_front(cx, at, Dim.of(length))
        within(cx, start, Dim.of(1), Dim.of(length), span, text)
        return start
    return at % length


def _ends(cx: Context, text: str, span: Span) -> NoReturn:
    """What comes here asks for an element that there is not. Run time may never make such a pass,
    or the array may be longer by then; so it is the run that ends here."""
    cx.builder.span = span
    cx.builder.check(Dim.of(1), Dim.of(0), text)
    raise statements.Panic


def _followed(cx: Context, symbol: str) -> bool:
    return symbol in cx.ranges and all(end.is_static for end in cx.ranges[symbol])


def item(cx: Context, items: Sequence[Lowered], at: int | Dim, span: Span) -> Lowered:
    """The element at an index: half of the others are ruled out by each branch."""
    if isinstance(at, int):
        return items[at]

    def among(low: int, high: int) -> Lowered:
        if high - low == 1:
            return items[low]
        middle = (low + high) // 2
        halves = (lambda: among(low, middle), lambda: among(middle, high))
        return regions.choose(cx, at.compare("<", middle), halves, ((), ()), span)

    return among(0, len(items))


def with_item(
    cx: Context, items: Sequence[Lowered], at: int | Dim, value: Lowered, span: Span
) -> list[Lowered]:
    """The array with one element replaced."""
    new = element(cx, items, value, span)
    if isinstance(at, int):
        return alike(items, [*items[:at], new, *items[at + 1 :]])

    def chosen(number: int, old: Lowered) -> Lowered:
        branches = (lambda: new, lambda: old)
        return regions.choose(cx, at.compare("==", number), branches, ((), ()), span)

    return alike(items, [chosen(number, old) for number, old in enumerate(items)])


def element(cx: Context, items: Sequence[Lowered], value: Lowered, span: Span) -> Lowered:
    """A value as an element of this array: of the array's type where it has one, a whole number
    among numbers with fractions as one of these."""
    if not isinstance(items, Vector):
        fractions = items and all(isinstance(item, float) for item in items)
        return float(value) if fractions and is_number(value) else value
    return convert(cx, items.item, value, span, "an element of this array", Symbols())


def alike(old: Sequence[Lowered], items: list[Lowered]) -> list[Lowered]:
    """The items as an array of the same kind as another."""
    return Vector(items, old.item) if isinstance(old, Vector) else items


def level(items: list[Lowered]) -> list[Lowered]:
    """The items of an array as it is written: numbers have fractions all together or not at all."""
    mixed = {type(item) for item in items} == {int, float}
    return [float(item) for item in items] if mixed else items


__all__ = ["alike", "element", "item", "level", "place", "with_item"]
