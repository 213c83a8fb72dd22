"""Operands that belong together: patterns in the IR that bound a result whatever is in them."""

from __future__ import annotations

import math

from tlc.ir.core import Op, Value
from tlc.ir.dims import Dim
from tlc.ir.passes.canonical import splat
from tlc.ir.types import FLOATS


def largest_of(op: Op) -> bool:
    """Whether `a - b` takes from each element the largest of its row, or of all."""
    a, b = op.operands
    return _beside("reduce_max", b, a) is not None


def share_of(op: Op) -> Op | None:
    """The sum, where `a / b` divides each element by the sum of its row, or of all."""
    a, b = op.operands
    return _beside("reduce_sum", b, a)


def mean_of(op: Op) -> Value | None:
    """What is averaged, where `a / b` is a sum over the number of its elements."""
    total, number = _source(_reshaped(op.operands[0])), splat(op.operands[1])
    if total is None or total.name != "reduce_sum" or number is None:
        return None
    (x,) = total.operands
    size = x.tensor.shape[total.attrs["axis"]]
    same = number == size if isinstance(number, Dim) else size.is_static and int(size) == number
    return x if same else None


def over_root(op: Op) -> tuple[float, Op] | None:
    """Where `op` divides a by √(Σa²/c + eps): c and the sum. A row of results is then at most √c
    long, and so is each of them."""
    a, b = op.operands
    found = None
    if op.name == "div":
        found = _root(b, "sqrt", a)
    elif op.name == "mul":
        found = _root(b, "rsqrt", a) or _root(a, "rsqrt", b)
    return found


def _root(root: Value, name: str, a: Value) -> tuple[float, Op] | None:
    op = _source(_row(root))
    if op is not None and op.name == "maximum" and name == "sqrt":
        op = _source(_less_a_number(op))
    if op is None or op.name != name:
        return None
    (inner,) = op.operands
    added = _source(inner)
    if added is not None and added.name == "add":
        inner = _less_a_number(added)
    scaled, c = _source(inner), 1.0
    if scaled is not None and scaled.name == "div":
        number = splat(scaled.operands[1])
        if number is None or (not isinstance(number, Dim) and number <= 0):
            return None
        c = math.inf if isinstance(number, Dim) else float(number)
        inner = scaled.operands[0]
    total = _source(_reshaped(inner) if _is_one(inner) else inner)
    if total is None or total.name != "reduce_sum":
        return None
    square = _source(total.operands[0])
    if square is None or square.name != "mul":
        return None
    left, right = map(_float, square.operands)
    if left is not right or left is not _float(a) or not _aligned(total, root, a):
        return None
    return c, total


def _less_a_number(op: Op) -> Value:
    """The other operand, when one is a number that is not negative; else the result itself."""
    for value, other in (op.operands, op.operands[::-1]):
        number = splat(other)
        if number is not None and (isinstance(number, Dim) or number >= 0):
            return value
    return op.result


# ---- reductions and what they stand beside -------------------------------------------------------


def _beside(name: str, value: Value, of: Value) -> Op | None:
    """The reduction that each element of `value` is of the row of `of` that it stands beside."""
    op = _source(_reshaped(_row(value)) if _is_one(_row(value)) else _row(value))
    if op is None or op.name != name or not _aligned(op, value, of):
        return None
    source, wanted = _float(op.operands[0]), _float(of)
    if _is_one(op.result):  # of all: in whatever order
        source, wanted = _float(_reshaped(source)), _float(_reshaped(wanted))
    return op if source is wanted else None


def _aligned(op: Op, value: Value, of: Value) -> bool:
    """Whether `value` repeats something of the shape of a reduction's results along the rows of
    `of`: the axis stayed with size 1."""
    if _is_one(op.result):
        return op.operands[0].tensor.numel == of.tensor.numel
    rows = op.operands[0].tensor.shape
    return rows == of.tensor.shape == value.tensor.shape and (
        _row(value).tensor.shape == op.result.tensor.shape
    )


def _is_one(value: Value) -> bool:
    return value.tensor.numel == Dim.of(1)


def _source(value: Value) -> Op | None:
    """The operation that made a value, behind conversions between floats."""
    return _float(value).owner


def _float(value: Value) -> Value:
    while (
        value.owner is not None
        and value.owner.name == "cast"
        and value.owner.operands[0].tensor.dtype in FLOATS
        and value.tensor.dtype in FLOATS
    ):
        value = value.owner.operands[0]
    return value


def _row(value: Value) -> Value:
    """What a value repeats along axes that it already has, or as a whole."""
    value = _float(value)
    if value.owner is not None and value.owner.name == "broadcast":
        inner = value.owner.operands[0]
        if inner.tensor.rank == value.tensor.rank or _is_one(inner):
            return inner
    return value


def _reshaped(value: Value) -> Value:
    """The value behind reshapes."""
    value = _float(value)
    while value.owner is not None and value.owner.name == "reshape":
        value = _float(value.owner.operands[0])
    return value
