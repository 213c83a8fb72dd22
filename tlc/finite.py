"""`--check-finite`: runs the reference interpreter and stops at the first NaN or infinity made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlc.codegen.notation import word
from tlc.frontend.source import Span
from tlc.ir.core import Op, Value
from tlc.ir.types import FLOATS, TensorType
from tlc.reference import Array, ReferenceHost
from tlc.runtime.errors import RunError

# these only hand on what they are given, or say what somebody wrote
_SOURCES = frozenset({"constant", "weight", "weight_of", "once", "loop", "if", "call"})

_HALF = "float16 holds up to 65504: `as float32` keeps one value wide, --store f32 all of them"
# what makes a NaN or infinity of finite numbers, in the words of whoever wrote it
_HINTS = {
    "div": "a division by zero gives infinity, and 0 / 0 NaN; add a small eps to what divides",
    "mod": "the remainder of a division by zero is NaN",
    "log": "the logarithm of 0 is -inf, and of less NaN; add a small eps, or use log_softmax",
    "sqrt": "the root of a number below zero is NaN",
    "rsqrt": "1 / sqrt(0) is infinity, and of less NaN; add a small eps",
    "exp": "exp of more than 88.7 is beyond float32; subtract the largest first, as softmax does",
    "pow": "0 to a negative power is infinity, a negative number to a fractional one NaN",
    "sub": "inf - inf is NaN: softmax of a row in which a mask drops everything does this",
}
_WIDE = "float32 holds up to 3.4e38"


class FiniteHost(ReferenceHost):
    """Raises RunError E0508 for the first operation that makes a NaN or infinity.

    An infinity must come from finite numbers, a NaN from numbers that are none: what a program
    writes itself, as a mask does, is its own. Values inside a kernel are float32, so what overflows
    float16 is found where it is stored.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        # of the kernel that runs: what made each value, from what
        self._made: dict[Value, tuple[Op, Sequence[Array], Array]] = {}

    def saw(self, op: Op, values: Sequence[Array], results: Sequence[Array]) -> None:
        if op.name == "fused":
            self._stored(op, results)
            self._made.clear()
        elif op.name not in _SOURCES:
            for value, result in zip(op.results, results, strict=True):
                wrong = _wrong(op, values, result)
                if wrong.any():
                    raise _error(op, values, result, wrong)
                self._made[value] = op, values, result

    def _stored(self, kernel: Op, results: Sequence[Array]) -> None:
        for value, result in zip(kernel.regions[0].yielded, results, strict=True):
            inner = value
            while inner.owner is not None and inner.owner.name == "cast":
                (inner,) = inner.owner.operands
            value = inner if inner in self._made else value  # a conversion of an operand is itself
            if value in self._made and result.dtype.kind == "f":
                op, values, wide = self._made[value]
                wrong = np.isfinite(wide) & ~np.isfinite(result)
                if wrong.any():
                    raise _error(op, values, wide, wrong, kernel.span, stored=True)


def _wrong(op: Op, values: Sequence[Array], result: Array) -> Array:
    """Where a result is infinite or NaN through the fault of the operation."""
    if result.dtype.kind != "f" or np.isfinite(result).all():
        return np.zeros(result.shape, bool)
    floats = [v for v in values if v.dtype.kind == "f"]
    finite, numbers = np.ones(result.shape, bool), np.ones(result.shape, bool)
    for v in floats:
        each = op.defn.elementwise  # or any element can be to blame for any other
        finite &= np.isfinite(v) if each else np.isfinite(v).all()
        numbers &= ~np.isnan(v) if each else not np.isnan(v).any()
    return np.asarray((np.isinf(result) & finite) | (np.isnan(result) & numbers))


def _error(
    op: Op,
    values: Sequence[Array],
    result: Array,
    wrong: Array,
    around: Span | None = None,
    stored: bool = False,
) -> RunError:
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    count = int(wrong.sum())
    span = op.span or around
    place = f"{span.source.name}:{span.line}: " if span else ""
    beyond = ", beyond float16," if stored else ""
    others = f", and {count - 1} more" if count > 1 else ""
    ranges = ", ".join(_range(v.type, a) for v, a in zip(op.operands, values, strict=True))
    given = f"; it reads {ranges}" if ranges else ""
    hint = _HALF if stored else _HINTS.get(op.name, _WIDE)
    if span is None:
        hint += "; run the .tl file to see the source line"
    name = word(op.name) or op.name
    text = f"{place}`{name}` is {result[at]:g}{beyond} at {list(at)}{others}{given}"
    return RunError("E0508", text, hint)


def _range(type: object, array: Array) -> str:
    """What an operand holds: `f16[4, 2] from -1 to 3.5`."""
    if not isinstance(type, TensorType) or type.dtype not in FLOATS or not array.size:
        return str(type)
    low, high = (f"{end:.6g}" for end in (array.min(), array.max()))
    shown = f"{type.dtype}{list(array.shape)}"
    return f"{shown} of {low}" if low == high else f"{shown} from {low} to {high}"
