"""What a `for` goes through: the items of an array, or what run time can count to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import indexing, rows
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Lowered, Range, Rows, Zipped, describe, whole


@dataclass(frozen=True, slots=True)
class Walk:
    """Numbers from `low` to below `high`, and what the item at each of them is."""

    low: Dim
    high: Dim
    item: Callable[[int | Dim], Lowered]


def walk(cx: Context, value: Lowered, span: Span) -> list[Lowered] | Walk:
    """The items of a value. Reports what has none."""
    match value:
        case Range(low=low, high=high):
            return Walk(Dim.of(low), Dim.of(high), lambda at: at)
        case list() | tuple() | str():
            return list(value)
        case Value() if value.tensor.rank:
            row = partial(indexing.row, cx, value, span=span)
            return Walk(Dim.of(0), value.tensor.shape[0], row)
        case Rows():
            return Walk(Dim.of(0), rows.length(value), partial(rows.item, cx, value, span=span))
        case Zipped(parts=parts):
            return _together(cx, [walk(cx, part, span) for part in parts], span)
    hint = f"numbers are walked as `range({span.text})`" if whole(value) is not None else ""
    cx.fail("E0302", f"{describe(value)} cannot be walked by `for`", span, hint=hint)


def _together(
    cx: Context, walks: Sequence[list[Lowered] | Walk], span: Span
) -> list[Lowered] | Walk:
    """Tuples of the items at one place; the shortest of what has a known length ends them."""
    lengths = [
        walk.high - walk.low if isinstance(walk, Walk) else Dim.of(len(walk)) for walk in walks
    ]
    known = [int(length) for length in lengths if length.is_static]
    late = [length for length in lengths if not length.is_static]
    count = Dim.of(min(known)) if known else late[0]
    for length in late:
        cx.builder.span = span
        cx.builder.check(length, count, "what is walked together has different lengths")

    def item(at: int | Dim) -> tuple[Lowered, ...]:
        return tuple(
            walk.item(whole(walk.low + at) or 0) if isinstance(walk, Walk) else walk[int(at)]
            for walk in walks
        )

    if any(isinstance(walk, list) for walk in walks):
        return [item(at) for at in range(int(count))]
    return Walk(Dim.of(0), count, item)
