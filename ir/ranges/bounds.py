"""What is known of one value: its interval, and more where weights or relations decide it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tlc.ir import interp
from tlc.ir.core import Op, Value
from tlc.ir.dims import Dim
from tlc.ir.ranges.intervals import UNKNOWN, Interval, interval, of_array
from tlc.ir.ranges.relations import largest_of, mean_of, over_root, share_of
from tlc.ir.types import TensorType

Array = np.ndarray[Any, Any]
Numbers = Callable[[], Array]

MOST_KNOWN = 1 << 16  # elements of an array that is computed here
_PIECE = 1 << 22  # elements of a weight that are looked at together


class Bound(NamedTuple):
    """What is known of a value.

    `held` holds its finite numbers; `minus` and `plus` say that infinities are there on purpose, as
    in a mask. `numbers` gives them where weights and constants alone decide. `length` bounds the
    Euclidean length of a row along the last axis; `shares` says that rows are not negative and add
    up to at most 1.
    """

    held: Interval = UNKNOWN
    minus: bool = False
    plus: bool = False
    numbers: Numbers | None = None
    length: float = math.inf
    shares: bool = False

    def around(self, other: Bound) -> Bound:
        """What holds for either of two values."""
        return Bound(
            self.held.around(other.held),
            self.minus or other.minus,
            self.plus or other.plus,
            length=max(self.length, other.length),
            shares=self.shares and other.shares,
        )


def bound_of(op: Op, known: Mapping[Value, Bound]) -> Bound:
    """The bound of a pure operation's result, from those of its operands."""
    if not isinstance(op.result.type, TensorType):
        return Bound()
    operands = [known[v] for v in op.operands]
    exact = _exact(op, operands)
    if exact is not None:
        return exact
    if op.name == "constant":  # a size that only run time tells
        return Bound(Interval(0.0, math.inf))
    return _rounded(op.result.tensor, _related(op, operands, _with_infinities(op, operands), known))


def _with_infinities(op: Op, operands: Sequence[Bound]) -> Bound:
    """The rule of an operation for finite numbers, and for the infinities that are there too."""
    held = interval(op, [b.held for b in operands])
    if not any(b.minus or b.plus for b in operands):
        return Bound(held)
    low, high = interval(
        op,
        [
            Interval(-math.inf if b.minus else b.held.low, math.inf if b.plus else b.held.high)
            for b in operands
        ],
    )
    minus, plus = low == -math.inf, high == math.inf
    return Bound(
        held.around(Interval(held.low if minus else low, held.high if plus else high)),
        minus and held.low > low,
        plus and held.high < high,
    )


def _related(
    op: Op, operands: Sequence[Bound], found: Bound, known: Mapping[Value, Bound]
) -> Bound:
    """A bound made narrower by what is known of operands that belong together."""
    match op.name:
        case "sub" if largest_of(op):
            return _within(found, Interval(-math.inf, 0.0))
        case "div" if (total := share_of(op)) is not None and operands[0].held.low >= 0:
            last = total.attrs["axis"] == op.result.tensor.rank - 1
            return _within(found, Interval(0.0, 1.0))._replace(shares=last)
        case "div" if (averaged := mean_of(op)) is not None:
            return _within(found, known[averaged].held)
        case "mul" | "div" if (root := over_root(op)) is not None:
            c, total = root
            most = math.sqrt(c)
            last = total.attrs["axis"] == op.operands[0].tensor.rank - 1
            return _within(found, Interval(-most, most))._replace(
                length=most if last else math.inf, minus=False, plus=False
            )
        case "mul" if op.operands[0] is op.operands[1]:
            return _within(found, Interval(0.0, math.inf))
        case "mul":
            a, b = operands
            return found._replace(
                length=min(_product(a.length, b.held.largest), _product(b.length, a.held.largest))
            )
        case "contract":
            return _within(found, *_of_product(*operands))
        case "cast" | "reshape" | "permute" if _same_rows(op):
            (x,) = operands
            return found._replace(length=x.length, shares=x.shares)
    return found


def _within(bound: Bound, *limits: Interval) -> Bound:
    """A bound that holds together with others."""
    low, high = bound.held
    for limit in limits:
        low, high = max(low, limit.low), min(high, limit.high)
    return bound._replace(held=Interval(low, high))


def _product(a: float, b: float) -> float:
    return a * b if math.isfinite(a) and math.isfinite(b) else math.inf


def _same_rows(op: Op) -> bool:
    """Whether the rows along the last axis stay what they are."""
    before, after = op.operands[0].tensor, op.result.tensor
    if op.name == "permute":
        return not before.rank or bool(op.attrs["axes"][-1] % before.rank == before.rank - 1)
    return before.rank > 0 < after.rank and before.shape[-1] == after.shape[-1]


def _of_product(a: Bound, b: Bound) -> list[Interval]:
    """Bounds of a matrix product, beside the number of terms times the largest."""
    found = []
    if a.shares:  # rows of weights that add up to 1; float16 rounds each of them by 2^-11
        low, high = b.held
        found.append(Interval(min(low, 0.0) * (1 + 2.0**-10), max(high, 0.0) * (1 + 2.0**-10)))
    for x, given, axis in ((a, b, -2), (b, a, -1)):
        if given.numbers is None or not (math.isfinite(x.held.largest) or x is a):
            continue
        above, below, length = _sums(given.numbers(), axis)
        if math.isfinite(x.held.largest):
            low, high = x.held
            found.append(
                Interval(
                    float((low * above + high * below).min(initial=0.0)),
                    float((high * above + low * below).max(initial=0.0)),
                )
            )
        most = _product(x.length, float(length.max(initial=0.0))) if x is a else math.inf
        found.append(Interval(-most, most))
    return found


def _sums(array: Array, axis: int) -> tuple[Array, Array, Array]:
    """Along an axis: the sums of positive and of negative numbers, and the Euclidean length."""
    rows = np.moveaxis(array, axis, -1)
    rows = rows.reshape(-1, rows.shape[-1])
    step = max(1, _PIECE // max(1, rows.shape[1]))
    pieces = []
    for start in range(0, len(rows), step):
        piece = rows[start : start + step].astype(np.float32)
        above = np.maximum(piece, 0).sum(1, dtype=np.float64)
        below = np.minimum(piece, 0).sum(1, dtype=np.float64)
        pieces.append((above, below, np.sqrt((piece * piece).sum(1, dtype=np.float64))))
    above, below, length = (np.concatenate(part) for part in zip(*pieces, strict=True))
    return above, below, length


def _exact(op: Op, operands: Sequence[Bound]) -> Bound | None:
    """The numbers of an operation on given ones, where they are few or only seen in another order;
    in float32, so that what float16 cannot hold is seen."""
    eval, type = op.defn.eval, op.result.tensor
    parts = [*type.shape, *(d for attr in op.attrs.values() for d in _dims(attr))]
    given = [b.numbers for b in operands]
    if eval is None or not all(given) or not all(d.is_static for d in parts):
        return None
    if op.defn.effect != "pure" or not (operands or op.name in ("constant", "iota")):
        return None

    attrs = {name: _plain(attr) for name, attr in op.attrs.items()}

    def numbers() -> Array:
        arrays = [np.asarray(n()) for n in given if n is not None]
        wide = [a.astype(np.float32) if a.dtype == np.float16 else a for a in arrays]
        with np.errstate(all="ignore"):
            return interp.stored(eval(np, *wide, **attrs), type, True)

    if int(type.numel) > MOST_KNOWN:
        if not op.defn.view:
            return None
        return operands[0]._replace(numbers=numbers, length=math.inf, shares=False)
    if any(v.tensor.numel.is_static and int(v.tensor.numel) > MOST_KNOWN for v in op.operands):
        return None
    try:
        array = numbers()
    except (IndexError, ValueError):  # an index that is not there, which the run reports
        return None
    return Bound(*of_array(array), lambda: array)


def _dims(attr: Any) -> list[Dim]:
    match attr:
        case Dim():
            return [attr]
        case TensorType(shape=parts) | tuple(parts):
            return [dim for part in parts for dim in _dims(part)]
    return []


def _plain(attr: Any) -> Any:
    """An attribute with sizes as whole numbers."""
    match attr:
        case Dim():
            return int(attr)
        case tuple():
            return tuple(map(_plain, attr))
    return attr


def _rounded(type: TensorType, bound: Bound) -> Bound:
    """Ends as float16 rounds them, since rounding keeps the order; beyond it, a little wider."""
    if type.dtype != "f16":
        return bound

    def end(number: float) -> float:
        if abs(number) < 65520:
            return float(np.float16(number))
        return number * (1 + 2.0**-11)

    return bound._replace(held=Interval(*map(end, bound.held)))
