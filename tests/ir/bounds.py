"""A function's exact results, and how far rounding may lead from them: running error analysis.

For every value the number in float64 is kept with a bound on the error of any evaluation in which
each operation's result is rounded to float32 or, where its type is f16, possibly to float16. This
covers the interpreter before fusion, where every result is rounded to its type, and after it, where
results inside a kernel are not. (Higham, Accuracy and Stability of Numerical Algorithms, §3.3.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tlc.ir.core import Func, Op, Value
from tlc.ir.dims import Dim

Array = np.ndarray[Any, Any]
Bounded = tuple[Array, Array]  # numbers, and bounds on their errors

# unit roundoff, with room for functions that are off by a few units in the last place; and the
# spacing of subnormal numbers
UNIT = {"f16": 2.0**-11 + 2.0**-21, "f32": 2.0**-21}
TINY = {"f16": 2.0**-24, "f32": 2.0**-140}
FLOAT = {"f16": np.float16, "f32": np.float32}


def bounded(func: Func, args: Sequence[Array], sizes: dict[str, int]) -> list[Bounded]:
    """The results of a function whose operations are all in the tables below."""
    known: dict[Value, Bounded] = {
        value: (np.asarray(arg, np.float64), np.zeros(arg.shape))
        for value, arg in zip(func.params, args, strict=True)
    }

    def size(dim: Dim) -> int:
        return int(dim.substitute(sizes))

    for op in func.body.ops[:-1]:
        with np.errstate(all="ignore"):
            x, e = _apply(op, [known[v] for v in op.operands], size)
            dtype = op.result.tensor.dtype
            if dtype in UNIT and op.name not in EXACT:
                e = e + UNIT[dtype] * (abs(x) + e) + TINY[dtype]
            elif dtype not in UNIT:
                assert not e.any(), "a mask or an index that depends on rounding"
        known[op.result] = x, e
    return [known[v] for v in func.results]


def _apply(op: Op, operands: list[Bounded], size: Callable[[Dim], int]) -> Bounded:
    if op.name in EXACT:
        arrays = [x for x, _ in operands]
        errors = [e for _, e in operands]
        move = EXACT[op.name]
        if op.name in ("constant", "iota"):
            x = move(op, size)
            return x, np.zeros(x.shape)
        if op.name == "gather":
            return move(op, size, arrays[0], arrays[1]), move(op, size, errors[0], arrays[1])
        return move(op, size, *arrays), move(op, size, *errors)
    return ROUNDED[op.name](op, *operands)


# ---- operations that only move numbers, or make them exactly -------------------------------------

Size = Callable[[Dim], int]


def _shape(op: Op, size: Size) -> tuple[int, ...]:
    return tuple(map(size, op.result.tensor.shape))


def _slice(op: Op, size: Size, x: Array) -> Array:
    start, length = size(op.attrs["start"]), size(op.attrs["length"])
    return np.take(x, range(start, start + length), op.attrs["axis"])


def _constant(op: Op, size: Size) -> Array:
    number = op.attrs["value"]
    if isinstance(number, Dim):
        number = size(number)
    return np.asarray(FLOAT[op.result.tensor.dtype](number), np.float64)


EXACT: dict[str, Callable[..., Any]] = {
    "constant": _constant,
    "iota": lambda op, size: np.indices(_shape(op, size))[op.attrs["axis"]].astype(float),
    "broadcast": lambda op, size, x: np.broadcast_to(x, _shape(op, size)),
    "reshape": lambda op, size, x: x.reshape(_shape(op, size)),
    "permute": lambda op, size, x: x.transpose(op.attrs["axes"]),
    "slice": _slice,
    "concat": lambda op, size, *x: np.concatenate(x, op.attrs["axis"]),
    "gather": lambda op, size, table, ids: table[ids.astype(int)],
}

# ---- operations that round -----------------------------------------------------------------------


def _smooth(value: Callable[[Array], Array], slope: float) -> Callable[..., Bounded]:
    """A function that is nowhere steeper than `slope`."""
    return lambda op, a: (value(a[0]), slope * a[1])


def _monotone(value: Callable[[Array], Array]) -> Callable[..., Bounded]:
    """A function that only grows, or only falls: its values at the ends bound the error."""

    def apply(op: Op, a: Bounded) -> Bounded:
        x, e = a
        y = value(x)
        far = np.maximum(abs(value(x + e) - y), abs(value(x - e) - y))
        return y, np.where(e > 0, np.where(np.isnan(far), np.inf, far), 0.0)

    return apply


def _product(op: Op, a: Bounded, b: Bounded) -> Bounded:
    (x, e), (y, f) = a, b
    return x * y, abs(x) * f + abs(y) * e + e * f


def _quotient(op: Op, a: Bounded, b: Bounded) -> Bounded:
    (x, e), (y, f) = a, b
    room = abs(y) - f
    far = np.where(room > 0, (e + abs(x / y) * f) / np.where(room > 0, room, 1.0), np.inf)
    return x / y, far


def _contract(op: Op, a: Bounded, b: Bounded) -> Bounded:
    (x, e), (y, f) = a, b
    large = (abs(x) + e) @ (abs(y) + f)
    return x @ y, abs(x) @ f + e @ abs(y) + e @ f + (x.shape[-1] + 2) * 2.0**-23 * large


def _sum(op: Op, a: Bounded) -> Bounded:
    (x, e), axis = a, op.attrs["axis"]
    order = (x.shape[axis] + 2) * 2.0**-23 * (abs(x) + e).sum(axis, keepdims=True)
    return x.sum(axis, keepdims=True), e.sum(axis, keepdims=True) + order


def _extreme(function: Any) -> Callable[..., Bounded]:
    return lambda op, a: tuple(f(p, op.attrs["axis"], keepdims=True) for f, p in function(a))


def _where(op: Op, mask: Bounded, a: Bounded, b: Bounded) -> Bounded:
    chosen = mask[0] != 0
    return np.where(chosen, a[0], b[0]), np.where(chosen, a[1], b[1])


def _mask(compare: Callable[[Array, Array], Array]) -> Callable[..., Bounded]:
    def apply(op: Op, a: Bounded, b: Bounded) -> Bounded:
        return compare(a[0], b[0]).astype(float), np.zeros(a[0].shape) + a[1] + b[1]

    return apply


ROUNDED: dict[str, Callable[..., Bounded]] = {
    "cast": lambda op, a: a,
    "add": lambda op, a, b: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda op, a, b: (a[0] - b[0], a[1] + b[1]),
    "mul": _product,
    "div": _quotient,
    "maximum": lambda op, a, b: (np.maximum(a[0], b[0]), np.maximum(a[1], b[1])),
    "minimum": lambda op, a, b: (np.minimum(a[0], b[0]), np.maximum(a[1], b[1])),
    "neg": lambda op, a: (-a[0], a[1]),
    "abs": _smooth(np.abs, 1.0),
    "relu": _smooth(lambda x: np.maximum(x, 0.0), 1.0),
    "tanh": _smooth(np.tanh, 1.0),
    "sigmoid": _smooth(lambda x: 1.0 / (1.0 + np.exp(-x)), 0.25),
    "exp": _monotone(np.exp),
    "log": _monotone(np.log),
    "rsqrt": _monotone(lambda x: 1.0 / np.sqrt(x)),
    "contract": _contract,
    "reduce_sum": _sum,
    "reduce_max": _extreme(lambda a: ((np.max, a[0]), (np.max, a[1]))),
    "reduce_min": _extreme(lambda a: ((np.min, a[0]), (np.max, a[1]))),
    "where": _where,
    "gt": _mask(np.greater),
    "le": _mask(np.less_equal),
    "eq": _mask(np.equal),
    "not": lambda op, a: (1.0 - a[0], a[1]),
}
