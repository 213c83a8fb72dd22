"""Elementwise operations, constants and views of the IR as operations of MIL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tlc.codegen.coreml_mil import NAMES, WRITERS, Mil, Var, Writer, writes
from tlc.ir.core import Op, Value
from tlc.ir.dims import Dim
from tlc.ir.ops.shape import constant_array

# ---- elementwise ---------------------------------------------------------------------------------


def _elementwise(mil: str, *names: str, **fixed: Any) -> Writer:
    """An operation that broadcasts; of operands that are all repeated, the result is too."""

    def write(m: Mil, op: Op, *operands: Value) -> Var:
        given = {name: m.small(v) for name, v in zip(names, operands, strict=True)}
        made = getattr(m.mb, mil)(**given, **fixed)
        if all(map(m.is_small, operands)):
            m.repeat(op.result, made)
            return None
        return made

    return write


for _name, _mil in {
    "add": "add", "sub": "sub", "mul": "mul", "div": "real_div", "pow": "pow",
    "maximum": "maximum", "minimum": "minimum", "eq": "equal", "ne": "not_equal", "lt": "less",
    "le": "less_equal", "gt": "greater", "ge": "greater_equal", "and": "logical_and",
    "or": "logical_or",
}.items():  # fmt: skip
    WRITERS[_name] = _elementwise(_mil, "x", "y")
for _name in ("abs", "sqrt", "exp", "sin", "cos", "tan", "tanh", "erf", "floor", "ceil", "round",
              "sigmoid", "relu", "silu"):  # fmt: skip
    WRITERS[_name] = _elementwise(_name, "x")
WRITERS["not"] = _elementwise("logical_not", "x")
WRITERS["gelu"] = _elementwise("gelu", "x", mode="TANH_APPROXIMATION")
WRITERS["gelu_erf"] = _elementwise("gelu", "x", mode="EXACT")


for _name, _epsilon in (("log", 1e-45), ("rsqrt", 1e-12)):

    @writes(_name)
    def _shifted(m: Mil, op: Op, x: Value, _kind: str = _name, _epsilon: float = _epsilon) -> Var:
        epsilon = m.number(_epsilon, x)
        return _elementwise_of(m, op, x, lambda v: getattr(m.mb, _kind)(x=v, epsilon=epsilon))


@writes("where")
def _where(m: Mil, op: Op, mask: Value, a: Value, b: Value) -> Var:
    return m.mb.select(cond=m[mask], a=m[a], b=m[b])


@writes("neg")
def _neg(m: Mil, op: Op, x: Value) -> Var:
    return _elementwise_of(m, op, x, lambda v: m.mb.mul(x=v, y=m.number(-1.0, x)))


@writes("cast")
def _cast(m: Mil, op: Op, x: Value) -> Var:
    return _elementwise_of(m, op, x, lambda v: m.mb.cast(x=v, dtype=NAMES[op.attrs["dtype"]]))


@writes("clamp")
def _clamp(m: Mil, op: Op, x: Value) -> Var:
    ends = {key: m.number(op.attrs[name], x) for key, name in (("alpha", "low"), ("beta", "high"))}
    return _elementwise_of(m, op, x, lambda v: m.mb.clip(x=v, **ends))


def _elementwise_of(m: Mil, op: Op, x: Value, write: Callable[[Var], Var]) -> Var:
    made = write(m.small(x))
    if m.is_small(x):
        m.repeat(op.result, made)
        return None
    return made


# ---- sources and views ---------------------------------------------------------------------------


@writes("constant")
def _constant(m: Mil, op: Op) -> Var:
    value, type = op.attrs["value"], op.result.tensor
    if isinstance(value, Dim):
        number = m.mb.cast(x=m.size(value), dtype=NAMES[type.dtype])
    elif not isinstance(value, tuple | bytes):
        number = m.mb.const(val=m.array_type(type.dtype)(value))
    else:
        return m.mb.const(val=constant_array(m.np, value, type))
    if type.rank:
        m.repeat(op.result, number)
        return None
    return number


@writes("iota")
def _iota(m: Mil, op: Op) -> Var:
    type, axis = op.attrs["type"], op.attrs["axis"]
    axis %= type.rank
    line = m.mb.range_1d(start=0, end=m.size(type.shape[axis]), step=1)
    line = m.mb.cast(x=line, dtype=NAMES[type.dtype])
    behind = list(range(1, type.rank - axis))
    m.repeat(op.result, m.mb.expand_dims(x=line, axes=behind) if behind else line)
    return None


@writes("broadcast")
def _broadcast(m: Mil, op: Op, x: Value) -> Var:
    m.repeat(op.result, m.small(x))
    return None


@writes("reshape")
def _reshape(m: Mil, op: Op, x: Value) -> Var:
    shape = op.result.tensor.shape
    if m.is_small(x) and not m.small(x).shape:  # one number, repeated, in another shape
        m.repeat(op.result, m.small(x))
        return None
    open_axes = [a for a, d in enumerate(shape) if not d.is_static]
    if len(open_axes) == 1 and not any(d == Dim.of(0) for d in shape):
        sizes = [-1 if a == open_axes[0] else int(d) for a, d in enumerate(shape)]
        return m.mb.reshape(x=m[x], shape=sizes)
    if not shape:
        return m.mb.squeeze(x=m[x])
    return m.mb.reshape(x=m[x], shape=m.sizes(shape))


@writes("permute")
def _permute(m: Mil, op: Op, x: Value) -> Var:
    return m.mb.transpose(x=m[x], perm=[a % x.tensor.rank for a in op.attrs["axes"]])


@writes("slice")
def _slice(m: Mil, op: Op, x: Value) -> Var:
    axis, start, length = (op.attrs[k] for k in ("axis", "start", "length"))
    rank = x.tensor.rank
    axis %= rank
    others = [a != axis for a in range(rank)]
    if start.is_static and (length.is_static or start + length == x.tensor.shape[axis]):
        begin, end = [0] * rank, [0] * rank
        begin[axis] = int(start)
        last = list(others)
        if length.is_static:
            end[axis] = int(start + length)
        else:
            last[axis] = True
        return m.mb.slice_by_index(x=m[x], begin=begin, end=end, begin_mask=others, end_mask=last)
    begin = m.sizes([start if a == axis else 0 for a in range(rank)])
    return m.mb.slice_by_size(x=m[x], begin=begin, size=m.sizes(op.result.tensor.shape))


@writes("concat")
def _concat(m: Mil, op: Op, *operands: Value) -> Var:
    return m.mb.concat(values=[m[v] for v in operands], axis=op.attrs["axis"])


@writes("gather")
def _gather(m: Mil, op: Op, table: Value, ids: Value) -> Var:
    return m.mb.gather(x=m[table], indices=m[ids], axis=0)
