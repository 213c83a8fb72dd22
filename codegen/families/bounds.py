"""Which keys a row of scores can keep at all, read off the comparisons of a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tlc.codegen.expression import Region, kind, rounded
from tlc.codegen.iteration import ONE, ZERO, Sizes
from tlc.ir.core import Op, Value
from tlc.ir.dims import Dim

_FLIPPED = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}


@dataclass(frozen=True, slots=True)
class Linear:
    """A sum of whole multiples of positions along axes, and a size."""

    axes: tuple[tuple[int, int], ...]
    rest: Dim

    def plus(self, other: Linear, times: int = 1) -> Linear:
        total = dict(self.axes)
        for axis, factor in other.axes:
            total[axis] = total.get(axis, 0) + factor * times
        kept = tuple(sorted((axis, factor) for axis, factor in total.items() if factor))
        return Linear(kept, self.rest + other.rest * times)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The keys that a row may keep: from the largest of `first`, before the smallest of `past`.

    Outside of them every score is -infinity. `axes` are those of the rows that it depends on.
    """

    first: tuple[Linear, ...]
    past: tuple[Linear, ...]
    axes: frozenset[int]

    def statements(self, sizes: Sizes, names: Sequence[str]) -> list[str]:
        """Statements that narrow the variables `start` and `stop` of a row."""
        return [
            *(f"start = max(start, {_text(line, sizes, names)});" for line in self.first),
            *(f"stop = min(stop, {_text(line, sizes, names)});" for line in self.past),
        ]


def _text(line: Linear, sizes: Sizes, names: Sequence[str]) -> str:
    terms: list[tuple[bool, str]] = []
    for axis, factor in line.axes:
        if names[axis] != "0u":
            times = f" * {abs(factor)}" if abs(factor) != 1 else ""
            terms.append((factor > 0, f"int({names[axis]}){times}"))
    more = Dim(tuple((atoms, times) for atoms, times in line.rest.terms if times > 0))
    less = Dim(tuple((atoms, -times) for atoms, times in line.rest.terms if times < 0))
    terms += [(sign, f"int({sizes(d)})") for sign, d in ((True, more), (False, less)) if d != ZERO]
    text = ""
    for positive, term in sorted(terms, key=lambda term: not term[0]):
        text += f" {'+' if positive else '-'} {term}" if text else term if positive else f"-{term}"
    return text or "0"


def bounds_of(region: Region, scores: Value, rank: int) -> Bounds:
    """The bounds that hold for scores whose axis number `rank` is that of the keys."""
    first: list[Linear] = []
    past: list[Linear] = []
    axes: set[int] = set()
    for line in _lowest_unless(region, scores):
        # `line` <= 0 wherever a score is kept
        factor = dict(line.axes).get(rank, 0)
        rest = Linear(tuple(a for a in line.axes if a[0] != rank), line.rest)
        none = Linear((), ZERO)
        if factor == 1:
            past.append(none.plus(rest, -1).plus(Linear((), ONE)))
        elif factor == -1:
            first.append(rest)
        axes |= {axis for axis, _ in rest.axes} if abs(factor) == 1 else set()
    return Bounds(tuple(dict.fromkeys(first)), tuple(dict.fromkeys(past)), frozenset(axes))


def _lowest_unless(region: Region, value: Value) -> list[Linear]:
    """Sums that are 0 or less wherever a score is not -infinity."""
    op = _op(region, value)
    match op.name if op else "":
        case "cast":
            assert op is not None
            return _lowest_unless(region, op.operands[0])
        case "where":
            assert op is not None
            condition, yes, no = op.operands
            if _number(region, no) == float("-inf"):
                return _holds(region, condition, True) + _lowest_unless(region, yes)
            if _number(region, yes) == float("-inf"):
                return _holds(region, condition, False) + _lowest_unless(region, no)
    return []


def _holds(region: Region, condition: Value, truth: bool) -> list[Linear]:
    """Sums that are 0 or less wherever a condition is true, or is not."""
    op = _op(region, condition)
    if op is None:
        return []
    name = op.name if truth else _FLIPPED.get(op.name, op.name)
    match name:
        case "and" if truth:
            return [line for v in op.operands for line in _holds(region, v, True)]
        case "or" if not truth:
            return [line for v in op.operands for line in _holds(region, v, False)]
        case "not":
            return _holds(region, op.operands[0], not truth)
        case "le" | "lt" | "ge" | "gt":
            left, right = (_linear(region, v) for v in op.operands)
            if left is None or right is None:
                return []
            less, more = (left, right) if name in ("le", "lt") else (right, left)
            line = less.plus(more, -1)
            return [line if name in ("le", "ge") else line.plus(Linear((), ONE))]
    return []


def _op(region: Region, value: Value) -> Op | None:
    return region.definition(value)


def _number(region: Region, value: Value) -> float | Dim | None:
    op = _op(region, value)
    while op is not None and op.name in ("broadcast", "cast"):
        op = _op(region, op.operands[0])
    number = op.attrs["value"] if op is not None and op.name == "constant" else None
    if isinstance(number, float) and op is not None and kind(op.result) == "float":
        return rounded(number, op.result.tensor.dtype)
    return number if isinstance(number, int | float | Dim) else None


def _linear(region: Region, value: Value) -> Linear | None:
    """A value as positions and sizes, which float32 holds exactly; None for anything else."""
    number = _number(region, value)
    if isinstance(number, Dim):
        return Linear((), number)
    if number is not None:
        return Linear((), Dim.of(int(number))) if float(number).is_integer() else None
    op = _op(region, value)
    match op.name if op else "":
        case "iota":
            assert op is not None
            return Linear(((op.attrs["axis"], 1),), ZERO)
        case "cast":
            assert op is not None
            return _linear(region, op.operands[0])
        case "neg":
            assert op is not None
            inner = _linear(region, op.operands[0])
            return None if inner is None else Linear((), ZERO).plus(inner, -1)
        case "add" | "sub":
            assert op is not None
            left, right = (_linear(region, v) for v in op.operands)
            if left is None or right is None:
                return None
            return left.plus(right, 1 if op.name == "add" else -1)
    return None
