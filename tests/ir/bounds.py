"""A function's exact results, and how far rounding may lead from them: running error analysis.

For every value the number in float64 is kept with a bound on the error of any evaluation in which
each operation's result is rounded to float32 or, where its type is f16, possibly to float16. This
covers the interpreter before fusion, where every result is rounded to its type, and after it, where
results inside a kernel are not. (Higham, Accuracy and Stability of Numerical Algorithms, §3.3.)

Rules come from the operations' records: what only moves numbers moves their errors, and an
elementwise operation is tried at the corners of its operands' errors. A bound is inf where nothing
is known: a mask that rounding may turn, a division by what may be 0, an overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from tlc.ir.core import Func, Op, Value
from tlc.ir.dims import Dim
from tlc.ir.types import TensorType

Array = np.ndarray[Any, Any]
Bounded = tuple[Array, Array]  # numbers, and bounds on their errors

# Functions are within 4 units in the last place of float32: NumPy's own are, ours within 2.
FUNCTION, TINY32 = 2.0**-21, 2.0**-140
STEP = 2.0**-24  # half a unit: one addition, or one multiplication with an addition
ROUNDING, TINY16 = 2.0**-11, 2.0**-25  # to float16: half a unit, normal and subnormal
LARGEST = 65504.0


def bounded(func: Func, args: Sequence[Array], sizes: dict[str, int]) -> list[Bounded]:
    """The results of a function; every f16 value on the way may have been rounded to float16."""
    known = _walk(func, args, sizes)
    return [_stored(v, *known[v]) for v in func.results]


def unrounded(func: Func, args: Sequence[Array], sizes: dict[str, int]) -> list[Bounded]:
    """The same before the results themselves are rounded to their type."""
    known = _walk(func, args, sizes)
    return [known[v] for v in func.results]


def _walk(func: Func, args: Sequence[Array], sizes: dict[str, int]) -> dict[Value, Bounded]:
    def settled(part: Any) -> Any:
        match part:
            case Dim():
                return int(part.substitute(sizes))
            case TensorType():
                return part.with_shape(map(settled, part.shape))
            case tuple():
                return tuple(map(settled, part))
        return part

    known = {
        value: (arg.astype(np.float64) if arg.dtype.kind == "f" else arg, np.zeros(arg.shape))
        for value, arg in zip(func.params, args, strict=True)
    }
    for op in func.body.ops[:-1]:
        operands = [known[v] if v.owner is None else _stored(v, *known[v]) for v in op.operands]
        attrs = {name: settled(value) for name, value in op.attrs.items()}
        if op.name == "check":
            assert attrs["left"] == attrs["right"], attrs["text"]
            continue
        with np.errstate(all="ignore"):
            known[op.result] = _apply(op, operands, attrs)
    return known


def _stored(value: Value, x: Array, e: Array) -> Bounded:
    """A value that may have been rounded to float16, where that is its type."""
    owner = value.owner
    moved = owner is not None and (owner.defn.view or owner.name in MOVES or not owner.operands)
    if value.tensor.dtype != "f16" or moved:
        return x, e
    with np.errstate(all="ignore"):
        wide = e + ROUNDING * (abs(x) + e) + TINY16
        wide = np.where(abs(x) + e < LARGEST, wide, np.inf)
    return x, np.where(np.isfinite(x), wide, e)


def _apply(op: Op, operands: list[Bounded], attrs: dict[str, Any]) -> Bounded:
    evaluate = op.defn.eval
    assert evaluate is not None
    if op.name in SUMS and not attrs.get("largest"):
        x, e = SUMS[op.name](op, evaluate, operands, attrs)
        certain = sum(float(f.sum()) for _, f in operands) == 0
        return x, np.where(np.isfinite(x), e, 0.0 if certain else np.inf)
    if op.name in MOVES or op.defn.view or not operands:
        chosen = MOVES.get(op.name, range(len(operands)))
        x = np.asarray(evaluate(np, *(x for x, _ in operands), **attrs))
        if not operands:
            if op.result.tensor.dtype in ("f16", "f32"):
                x = x.astype(np.float64)
            return x, np.zeros(x.shape)
        e = evaluate(np, *(e if at in chosen else x for at, (x, e) in enumerate(operands)), **attrs)
        return x, np.asarray(e)
    if op.name == "pool":  # the largest of each window, which is off as far as one of them
        ((x, e),) = operands
        return evaluate(np, x, **attrs), evaluate(np, e, **attrs)
    if op.defn.kernel == "reduce" and not op.name.startswith("reduce_arg"):
        ((x, e),) = operands
        largest = e.max(attrs["axis"], keepdims=True, initial=0.0)
        return evaluate(np, x, **attrs), largest
    if op.defn.elementwise:
        x, e = _at_corners(op, evaluate, operands, attrs)
    else:
        x = np.asarray(evaluate(np, *(x for x, _ in operands), **attrs))
        assert not any(e.any() for _, e in operands), f"{op.name} depends on rounding"
        e = np.zeros(x.shape)
    if op.result.tensor.dtype not in ("f16", "f32"):
        return x, np.where(e > 0, np.inf, 0.0)
    return x, np.where(np.isfinite(x), e + FUNCTION * (abs(x) + e) + TINY32, e)


def _at_corners(
    op: Op, evaluate: Callable[..., Any], operands: list[Bounded], attrs: dict[str, Any]
) -> Bounded:
    """An elementwise function, and how far it is off at the ends of its operands' errors."""
    y = np.asarray(evaluate(np, *(x for x, _ in operands), **attrs))
    if op.name == "cast" and op.result.tensor.dtype not in ("f16", "f32"):
        y = np.trunc(y)
    far = np.zeros(y.shape)
    known = np.ones(y.shape, bool)
    loose = [at for at, (_, e) in enumerate(operands) if e.any()]
    for signs in product((-1.0, 1.0), repeat=len(loose)):
        moved = [x for x, _ in operands]
        for at, sign in zip(loose, signs, strict=True):
            x, e = operands[at]
            if x.dtype.kind == "f":
                moved[at] = x + sign * np.where(np.isfinite(x), e, 0.0)
                known &= np.isfinite(e)
            else:
                known &= e == 0
        other = np.asarray(evaluate(np, *moved, **attrs))
        same = (other == y) | ((other != other) & (y != y))
        gap = np.where(same, 0.0, abs(other.astype(float) - y.astype(float)))
        far = np.maximum(far, np.where(np.isnan(gap), np.inf, gap))
    if op.name == "div" and loose:
        divisor, e = operands[1]
        known &= (abs(divisor) > e) | (e == 0)
    return y, np.where(known, far, np.inf)


def _summed(op: Op, evaluate: Any, operands: list[Bounded], attrs: dict[str, Any]) -> Bounded:
    """Each of n additions may be off by half a unit of what the absolute values sum to."""
    ((x, e),) = operands
    terms = math.prod(attrs["size"]) if op.name == "pool" else x.shape[attrs.get("axis", -1)]
    order = (terms + 2) * STEP * evaluate(np, abs(x) + e, **attrs)
    # the reference device adds running sums in float32 whatever it is given
    total = np.cumsum(x, -1) if op.name == "running_sum" else evaluate(np, x, **attrs)
    return total, evaluate(np, e, **attrs) + order


def _multiplied(op: Op, evaluate: Any, operands: list[Bounded], attrs: dict[str, Any]) -> Bounded:
    (x, e), (y, f) = operands
    terms = (x if op.name == "contract" else y).shape[-1]

    def made(x: Array, y: Array) -> Array:
        return np.asarray(evaluate(np, x, y, **attrs))

    far = made(abs(x), f) + made(e, abs(y)) + made(e, f)
    return made(x, y), far + (terms + 2) * STEP * made(abs(x) + e, abs(y) + f)


SUMS: dict[str, Callable[..., Bounded]] = {
    "reduce_sum": _summed,
    "running_sum": _summed,
    "pool": _summed,
    "contract": _multiplied,
    "convolve": _multiplied,
    "convolve_each": _multiplied,
}
# operations that move numbers, and which operands hold them
MOVES: dict[str, Sequence[int]] = {"concat": range(99), "gather": (0,), "scatter": (0, 2)}
