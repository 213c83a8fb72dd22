"""`--check-finite`: runs the reference interpreter and stops at the first NaN or infinity made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlc.ir.core import Op, Value
from tlc.ir.types import FLOATS, TensorType
from tlc.reference import Array, ReferenceHost
from tlc.runtime.errors import RunError

# these only hand on what they are given, or say what somebody wrote
_SOURCES = frozenset({"constant", "weight", "weight_of", "fused", "once", "loop", "if"})


class FiniteHost(ReferenceHost):
    """Raises RunError E0508 for the first operation that makes a NaN or infinity of finite numbers.

    Values inside a kernel are float32, so what overflows float16 is found where it is stored.
    """

    def saw(self, op: Op, values: Sequence[Array], results: Sequence[Array]) -> None:
        if op.name in _SOURCES and op.name != "fused":
            return
        if any(not _finite(v) for v in values):
            return  # it was reported where it was made, or it is the program's own
        for value, result in zip(op.results, results, strict=True):
            if not _finite(result):
                raise RunError("E0508", _message(op, value, values, result), _HINT)


_HINT = "a kernel computes in float32; what is stored as float16 must stay within 65504"


def _finite(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _message(op: Op, value: Value, values: Sequence[Array], result: Array) -> str:
    at = tuple(int(i) for i in np.argwhere(~np.isfinite(result))[0])
    count = int((~np.isfinite(result)).sum())
    span = op.span or next((o.span for r in op.regions for o in r.ops[::-1] if o.span), None)
    place = f"{span.source.name}:{span.line}: " if span else ""
    what = "the value stored here" if op.name == "fused" else f"`{op.name}`"
    others = f", and {count - 1} more" if count > 1 else ""
    ranges = ", ".join(_range(v.type, a) for v, a in zip(op.operands, values, strict=True))
    given = f"; it reads {ranges}" if ranges else ""
    return f"{place}{what} is {result[at]} at {list(at)}{others}{given}"


def _range(type: object, array: Array) -> str:
    """What an operand holds: `f16[4, 2] from -1.0 to 3.5`."""
    if not isinstance(type, TensorType) or type.dtype not in FLOATS or not array.size:
        return str(type)
    return f"{type.dtype}{list(array.shape)} from {array.min()} to {array.max()}"
