"""Places along an axis: negative ones count from the end, and what may lie outside is checked."""

from __future__ import annotations

from tlc.frontend.source import Span
from tlc.ir.dims import Dim
from tlc.ir.lower.context import Context
from tlc.ir.opdef import TypeRuleError


def from_front(cx: Context, place: int | Dim, size: Dim) -> Dim:
    """A place along an axis, counted from its beginning: a negative one counts from its end."""
    at = Dim.of(place)
    if at.is_static:
        return size + at if int(at) < 0 else at
    if at == -size:
        return Dim.of(0)
    if is_natural(cx, _end(cx, at, -1)):
        return at
    if is_natural(cx, -1 - _end(cx, at, 1)):
        return size + at
    return at + size * at.compare("<", 0)


def is_natural(cx: Context, number: Dim) -> bool:
    """Whether a number is certainly at least 0: sizes are, and some numbers of the run."""
    known = all(s in cx.program.natural for s in number.symbols() if s.startswith("$"))
    return known and all(times > 0 for _, times in number.terms)


def _end(cx: Context, at: Dim, sign: int) -> Dim:
    """The least (-1) or largest (1) that a formula of the counters of loops can be."""
    values: dict[str, Dim] = {}
    for monomial, times in at.terms:
        if len(monomial) == 1 and monomial[0] in cx.ranges:
            low, high = cx.ranges[str(monomial[0])]
            values[str(monomial[0])] = low if times * sign < 0 else high - 1
    return at.substitute(values)


def within(cx: Context, start: Dim, length: Dim, size: Dim, span: Span, text: str) -> None:
    """Demand that a part lies inside an axis; `text` is the message for when it does not."""
    cx.builder.span = span
    try:
        for low, high in ((Dim.of(0), start), (Dim.of(0), length), (start + length, size)):
            cx.builder.check_at_most(low, high, text)
        for number in (start, length):
            if not number.is_static and not is_natural(cx, _end(cx, number, -1)):
                cx.builder.check(number.compare("<", 0), Dim.of(0), text)
    except TypeRuleError:
        cx.fail("E0303", text, span)
