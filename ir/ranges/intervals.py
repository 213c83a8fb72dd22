"""What interval each operation makes of the intervals that it reads: one rule for one operation.

An interval holds every finite number that a tensor can hold; an end is infinite where nothing is
known. Rules are those of exact arithmetic; `ir/bounds.py` walks functions with them and knows what
they cannot: which operands are related, and which numbers are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tlc.ir.core import Op
from tlc.ir.dims import Dim
from tlc.ir.opdef import OPS


class Interval(NamedTuple):
    """The numbers from `low` to `high`, both included."""

    low: float
    high: float

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))

    def around(self, other: Interval) -> Interval:
        """The least interval that holds both."""
        return Interval(min(self.low, other.low), max(self.high, other.high))


UNKNOWN = Interval(-math.inf, math.inf)
ZERO = Interval(0.0, 0.0)
_TRUTH = Interval(0.0, 1.0)
_SIGNED = Interval(-1.0, 1.0)

Rule = Callable[..., Interval]
# (operation, sizes with what is known put in, intervals of the operands) -> interval
RULES: dict[str, Callable[..., Interval]] = {}


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


def _times(a: float, b: float) -> float:
    """A product of ends: an infinite end stands for some finite number, so zero times it is 0."""
    return 0.0 if a == 0 or b == 0 else a * b


def times(a: Interval, b: Interval) -> Interval:
    """Every product of a number of one interval and one of the other."""
    ends = [_times(x, y) for x in a for y in b]
    return Interval(min(ends), max(ends))


def summed(each: Interval, count: float) -> Interval:
    """A sum of so many numbers of an interval; `count` is infinite when it is not known, and then
    there may be none."""
    found = Interval(_times(each.low, count), _times(each.high, count))
    return found if math.isfinite(count) else found.around(ZERO)


def count(size: Dim) -> float:
    """A size as a number; infinite when only run time tells."""
    return int(size) if size.is_static else math.inf


# ---- elementwise ---------------------------------------------------------------------------------

_rule("add")(lambda op, a, b: Interval(a.low + b.low, a.high + b.high))
_rule("sub")(lambda op, a, b: Interval(a.low - b.high, a.high - b.low))
_rule("mul")(lambda op, a, b: times(a, b))
_rule("neg")(lambda op, x: Interval(-x.high, -x.low))
_rule("maximum")(lambda op, a, b: Interval(max(a.low, b.low), max(a.high, b.high)))
_rule("minimum")(lambda op, a, b: Interval(min(a.low, b.low), min(a.high, b.high)))
_rule("where")(lambda op, mask, a, b: a.around(b))
_rule("sin", "cos")(lambda op, x: _SIGNED)
_rule("eq", "ne", "lt", "le", "gt", "ge", "and", "or")(lambda op, a, b: _TRUTH)
_rule("not")(lambda op, a: _TRUTH)
_rule("upper_bits")(lambda op, x: Interval(0.0, 2.0**24 - 1))
_rule("mix")(lambda op, x, y: Interval(-(2.0**31), 2.0**31 - 1))


@_rule("div")
def _div(op: Op, a: Interval, b: Interval) -> Interval:
    if b.low <= 0 <= b.high:
        return UNKNOWN
    return times(a, Interval(1 / b.high, 1 / b.low))


@_rule("abs")
def _abs(op: Op, x: Interval) -> Interval:
    return Interval(max(x.low, -x.high, 0.0), x.largest)


@_rule("mod")
def _mod(op: Op, a: Interval, b: Interval) -> Interval:
    most = min(a.largest, b.largest)
    return Interval(-most if a.low < 0 else 0.0, most if a.high > 0 else 0.0)


@_rule("pow")
def _pow(op: Op, a: Interval, b: Interval) -> Interval:
    if a.low < 0:  # of whole exponents the magnitude is that of |a|; others give NaN
        most = _pow(op, _abs(op, a), b).high
        return Interval(-most, most)
    with np.errstate(all="ignore"):
        ends = [float(np.power(np.float64(x), np.float64(y))) for x in a for y in b]
    return UNKNOWN if any(map(math.isnan, ends)) else Interval(min(ends), max(ends))


def _rising(name: str) -> Rule:
    """A function that never falls: its values at the ends."""
    eval = OPS[name].eval

    def rule(op: Op, x: Interval) -> Interval:
        assert eval is not None
        with np.errstate(all="ignore"):
            low, high = (float(eval(np, np.float64(end))) for end in x)
        return Interval(-math.inf if math.isnan(low) else low, high)

    return rule


for _name in ("exp", "tanh", "erf", "sigmoid", "floor", "ceil", "round", "relu"):
    RULES[_name] = _rising(_name)


@_rule("sqrt", "log")
def _of_positive(op: Op, x: Interval) -> Interval:
    """Below zero they are NaN, which no interval holds."""
    return _rising(op.name)(op, Interval(max(x.low, 0.0), max(x.high, 0.0)))


@_rule("rsqrt")
def _rsqrt(op: Op, x: Interval) -> Interval:
    if x.high <= 0:
        return UNKNOWN
    return Interval(1 / math.sqrt(x.high), 1 / math.sqrt(x.low) if x.low > 0 else math.inf)


@_rule("cast")
def _cast(op: Op, x: Interval) -> Interval:
    match op.attrs["dtype"]:
        case "bool":
            return _TRUTH
        case "i32":
            return Interval(*(math.trunc(end) if math.isfinite(end) else end for end in x))
    return x


# ---- what moves numbers, or counts ---------------------------------------------------------------

_rule("broadcast", "reshape", "permute", "slice", "access")(lambda op, x: x)
_rule("gather")(lambda op, table, ids: table)
_rule("scatter")(lambda op, table, ids, rows: table.around(rows))


@_rule("concat")
def _concat(op: Op, first: Interval, *others: Interval) -> Interval:
    for other in others:
        first = first.around(other)
    return first


@_rule("iota")
def _iota(op: Op) -> Interval:
    type = op.attrs["type"]
    return Interval(0.0, max(count(type.shape[op.attrs["axis"]]) - 1, 0.0))


@_rule("order")
def _order(op: Op, x: Interval) -> Interval:
    type = op.operands[0].tensor
    return Interval(0.0, count(type.numel if op.attrs["flat"] else type.shape[-1]))


# ---- along an axis -------------------------------------------------------------------------------

_rule("reduce_max", "reduce_min")(lambda op, x: x)


def _length(op: Op) -> float:
    return count(op.operands[0].tensor.shape[op.attrs["axis"]])


_rule("reduce_sum")(lambda op, x: summed(x, _length(op)))
_rule("reduce_argmax", "reduce_argmin")(lambda op, x: Interval(0.0, _length(op)))


@_rule("running_sum")
def _running_sum(op: Op, x: Interval) -> Interval:
    return x.around(summed(x, count(op.result.tensor.shape[-1])))


@_rule("contract")
def _contract(op: Op, a: Interval, b: Interval) -> Interval:
    return summed(times(a, b), count(op.operands[0].tensor.shape[-1]))


@_rule("convolve", "convolve_each")
def _convolve(op: Op, x: Interval, w: Interval) -> Interval:
    return summed(times(x.around(ZERO), w), count(op.operands[1].tensor.shape[-1]))


@_rule("pool")
def _pool(op: Op, x: Interval) -> Interval:
    height, width = op.attrs["size"]
    return x if op.attrs["largest"] else summed(x.around(ZERO), height * width)


def interval(op: Op, given: list[Interval]) -> Interval:
    """What an operation makes of intervals; everything, for one without a rule."""
    rule = RULES.get(op.name)
    found = UNKNOWN if rule is None else rule(op, *given)
    return UNKNOWN if any(map(math.isnan, found)) else found


def of_array(array: Any) -> tuple[Interval, bool, bool]:
    """The finite numbers of an array, and whether it holds -inf and inf."""
    numbers = np.asarray(array, np.float32)
    finite = numbers[np.isfinite(numbers)]
    held = Interval(float(finite.min()), float(finite.max())) if finite.size else ZERO
    return held, bool((numbers == -math.inf).any()), bool((numbers == math.inf).any())
