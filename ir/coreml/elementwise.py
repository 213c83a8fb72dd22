"""MIL's elementwise operations: arithmetic, comparisons, functions and activations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tlc.ir.core import Value
from tlc.ir.coreml.mil import SPELLINGS, AtRunTime, Known, Lowered, Maker, mil, unsupported
from tlc.ir.dims import Dim
from tlc.ir.types import FLOATS

# ---- two operands --------------------------------------------------------------------------------


def _objects(*arrays: Known) -> list[Known]:
    """Arrays whose whole numbers are Python's, so that they can be added to dimensions."""
    return [a.astype(object) if a.dtype.kind in "iu" else a for a in arrays]


def _arithmetic(name: str, op: str, known: Any) -> None:
    mil(name, "x, y", lambda x, y: np.asarray(known(*_objects(x, y))))(
        lambda m, x, y: m.binary(op, x, y)
    )


def _pick(larger: bool) -> Any:
    def pick(a: Any, b: Any) -> Any:
        if isinstance(a, Dim) or isinstance(b, Dim):
            if a != b:
                raise unsupported("the larger of two sizes that only run time knows")
            return a
        return max(a, b) if larger else min(a, b)

    return np.frompyfunc(pick, 2, 1)


_arithmetic("add", "add", lambda x, y: x + y)
_arithmetic("sub", "sub", lambda x, y: x - y)
_arithmetic("mul", "mul", lambda x, y: x * y)
_arithmetic("maximum", "maximum", _pick(True))
_arithmetic("minimum", "minimum", _pick(False))


def _known_floor_div(x: Known, y: Known) -> Known:
    if x.dtype.kind == y.dtype.kind == "f":
        return np.floor_divide(x, y)
    return np.asarray(np.frompyfunc(_floor_div, 2, 1)(*_objects(x, y)))


def _floor_div(a: Any, b: Any) -> Any:
    if b == 0:
        raise unsupported("a division by zero")
    return a // b  # sizes are not negative: toward zero is down


@mil("floor_div", "x, y", _known_floor_div)
def _floor_division(m: Maker, x: Value, y: Value) -> Value:
    dtype = x.tensor.dtype
    quotient = m.b.emit("floor", m.b.binary("div", m.b.f32(x), m.b.f32(y)))
    return m.b.cast(quotient, dtype)


def _known_div(x: Known, y: Known) -> Known:
    if x.dtype.kind == y.dtype.kind == "f":
        return np.asarray(x / y)
    return _known_floor_div(x, y)


@mil("real_div", "x, y", _known_div)
def _division(m: Maker, x: Value, y: Value) -> Value:
    if x.tensor.dtype == "i32":  # whole numbers divide toward zero
        return m.b.cast(m.b.binary("div", m.b.f32(x), m.b.f32(y)), "i32")
    return m.b.binary("div", x, y)


@mil("mod", "x, y", lambda x, y: np.asarray(np.mod(*_objects(x, y))))
def _modulo(m: Maker, x: Value, y: Value) -> Value:
    """x - y * floor(x / y)."""
    dtype, a, b = x.tensor.dtype, m.b.f32(x), m.b.f32(y)
    times = m.b.emit("floor", m.b.binary("div", a, b))
    return m.b.cast(m.b.binary("sub", a, m.b.binary("mul", b, times)), dtype)


mil("pow", "x, y")(lambda m, x, y: m.binary("pow", x, y))

for _name, _op, _known in (
    ("equal", "eq", np.equal),
    ("not_equal", "ne", np.not_equal),
    ("less", "lt", np.less),
    ("less_equal", "le", np.less_equal),
    ("greater", "gt", np.greater),
    ("greater_equal", "ge", np.greater_equal),
):
    mil(_name, "x, y", lambda x, y, _f=_known: _compared(_f, x, y))(
        lambda m, x, y, _op=_op: m.b.binary(_op, _comparable(m, x), _comparable(m, y))
    )


def _compared(compare: Any, x: Known, y: Known) -> Known:
    found = np.asarray(compare(x, y))
    if any(isinstance(v, Dim) and not v.is_static for v in (*x.flat, *y.flat)) and not (
        compare in (np.equal, np.not_equal) and bool(np.all(np.equal(x, y)))
    ):
        raise unsupported("a comparison of a size that only run time knows")
    return found.astype(bool)


def _comparable(m: Maker, x: Value) -> Value:
    return m.b.f32(x) if x.tensor.dtype == "bool" else x


mil("logical_and", "x, y", np.logical_and)(lambda m, x, y: m.b.binary("and", x, y))
mil("logical_or", "x, y", np.logical_or)(lambda m, x, y: m.b.binary("or", x, y))
mil("logical_xor", "x, y", np.logical_xor)(lambda m, x, y: m.b.binary("ne", m.b.f32(x), m.b.f32(y)))
mil("logical_not", "x", np.logical_not)(lambda m, x: m.b.emit("not", x))


@mil("select", "cond, a, b", lambda cond, a, b: np.where(cond.astype(bool), a, b))
def _select(m: Maker, cond: Value, a: Value, b: Value) -> Value:
    whole = a.tensor.dtype in ("i32", "bool")
    dtype = a.tensor.dtype
    if whole:
        a, b = m.b.f32(a), m.b.f32(b)
    mask, a, b = m.b.together(cond, a, b)
    return m.b.cast(m.b.emit("where", mask, a, b), dtype)


# ---- one operand ---------------------------------------------------------------------------------

for _name in ("ceil", "cos", "erf", "exp", "floor", "relu", "round", "sigmoid", "sin", "sqrt",
              "tan", "tanh"):  # fmt: skip
    mil(_name, "x")(lambda m, x, _op=_name: m.b.emit(_op, _floating(m, x)))

for _name, _op in (("silu", "silu"), ("identity", "")):
    mil(_name, "x", (lambda x: x) if not _op else None)(
        lambda m, x, _op=_op: m.b.emit(_op, x) if _op else x
    )


def _floating(m: Maker, x: Value) -> Value:
    return x if x.tensor.dtype in FLOATS else m.b.f32(x)


@mil("abs", "x", lambda x: np.abs(x))
def _abs(m: Maker, x: Value) -> Value:
    return m.b.cast(m.b.emit("abs", _floating(m, x)), x.tensor.dtype)


@mil("sign")
def _sign(m: Maker, x: Value) -> Value:
    """1, 0 or -1."""
    zero = m.b.scalar(0.0, x)
    above, below = (m.b.cast(m.b.emit(op, x, zero), x.tensor.dtype) for op in ("gt", "lt"))
    return m.b.emit("sub", above, below)


@mil("square")
def _square(m: Maker, x: Value) -> Value:
    return m.b.emit("mul", x, x)


@mil("exp2")
def _exp2(m: Maker, x: Value) -> Value:
    return m.wide_result(x, lambda v: m.b.emit("exp", m.number("mul", v, math.log(2.0))))


@mil("rsqrt", "x, epsilon: float = 1e-12")
def _rsqrt(m: Maker, x: Value, epsilon: float) -> Value:
    return m.wide_result(x, lambda v: m.b.emit("rsqrt", m.number("add", v, epsilon)))


@mil("log", "x, epsilon: float = 1e-45")
def _log(m: Maker, x: Value, epsilon: float) -> Value:
    return m.wide_result(x, lambda v: m.b.emit("log", m.number("add", v, epsilon)))


@mil("inverse", "x, epsilon: float = 1e-4")
def _inverse(m: Maker, x: Value, epsilon: float) -> Value:
    def inverse(v: Value) -> Value:
        return m.b.emit("div", m.b.scalar(1.0, v), m.number("add", v, epsilon))

    return m.wide_result(x, inverse)


@mil("clip", "x, alpha: float = -inf, beta: float = inf")
def _clip(m: Maker, x: Value, alpha: float, beta: float) -> Value:
    return m.b.emit("clamp", x, low=alpha, high=beta)


@mil("threshold", "x, alpha: float")
def _threshold(m: Maker, x: Value, alpha: float) -> Value:
    return m.number("maximum", x, alpha)


@mil("relu6")
def _relu6(m: Maker, x: Value) -> Value:
    return m.b.emit("clamp", x, low=0.0, high=6.0)


def _known_cast(x: Known, dtype: str) -> Known:
    numpy = {"f16": np.float16, "f32": np.float32, "f64": np.float32, "bool": np.bool_}
    wanted = numpy.get(SPELLINGS.get(dtype, ""), np.int32)
    if x.dtype.kind == "O" and any(isinstance(v, Dim) and not v.is_static for v in x.flat):
        if wanted is np.int32:
            return x
        raise AtRunTime  # a size as a floating-point number
    plain = np.array([v if not isinstance(v, Dim) else int(v) for v in x.flat])
    return plain.astype(wanted).reshape(x.shape)


@mil("cast", "x, dtype: str", _known_cast)
def _cast(m: Maker, x: Value, dtype: str) -> Lowered:
    """Another type; whole numbers of every width are int32, and those too wide are not cut."""
    if dtype not in SPELLINGS:
        raise unsupported(f"a cast to {dtype}")
    wanted = m.dtype(SPELLINGS[dtype])
    if wanted == "bool" and x.tensor.dtype != "bool":
        wide = m.b.f32(x)
        return m.b.emit("ne", wide, m.b.scalar(0.0, wide))
    return m.b.cast(x, wanted)


# ---- activations ---------------------------------------------------------------------------------


@mil("gelu", "x, mode: str = EXACT")
def _gelu(m: Maker, x: Value, mode: str) -> Value:
    match mode:
        case "EXACT":
            return m.b.emit("gelu_erf", x)
        case "TANH_APPROXIMATION":
            return m.b.emit("gelu", x)
        case "SIGMOID_APPROXIMATION":
            return m.wide_result(
                x,
                lambda v: m.b.emit("mul", v, m.b.emit("sigmoid", m.number("mul", v, 1.702))),
            )
    raise unsupported(f"the mode {mode} of `gelu`")


def _negative_part(m: Maker, v: Value, below: Value) -> Value:
    """v where it is not negative, else another tensor."""
    return m.b.emit("where", m.b.emit("ge", v, m.b.scalar(0.0, v)), v, below)


@mil("leaky_relu", "x, alpha: float = 0.01")
def _leaky_relu(m: Maker, x: Value, alpha: float) -> Value:
    return m.wide_result(x, lambda v: _negative_part(m, v, m.number("mul", v, alpha)))


@mil("clamped_relu", "x, alpha: float = 1, beta: float = 1")
def _clamped_relu(m: Maker, x: Value, alpha: float, beta: float) -> Value:
    return m.wide_result(
        x,
        lambda v: m.number("minimum", _negative_part(m, v, m.number("mul", v, alpha)), beta),
    )


@mil("thresholded_relu", "x, alpha: float = 1")
def _thresholded_relu(m: Maker, x: Value, alpha: float) -> Value:
    above = m.b.emit("ge", x, m.b.scalar(alpha, x))
    return m.b.emit("where", above, x, m.b.scalar(0.0, x))


@mil("elu", "x, alpha: float = 1")
def _elu(m: Maker, x: Value, alpha: float) -> Value:
    def elu(v: Value) -> Value:
        power = m.number("sub", m.b.emit("exp", m.number("minimum", v, 0.0)), 1.0)
        return _negative_part(m, v, m.number("mul", power, alpha))

    return m.wide_result(x, elu)


@mil("prelu", "x, alpha")
def _prelu(m: Maker, x: Value, alpha: Value) -> Value:
    """One slope for each channel, which is the second axis."""
    slopes = per_channel(m, alpha, x, 1)
    return m.wide_result(x, lambda v: _negative_part(m, v, m.b.binary("mul", v, m.b.f32(slopes))))


def per_channel(m: Maker, numbers: Value, x: Value, axis: int) -> Value:
    """A number, or one for each index of an axis of x, in a shape that broadcasts to x."""
    if numbers.tensor.rank == 0:
        return numbers
    shape = [Dim.of(1)] * x.tensor.rank
    shape[axis] = numbers.tensor.numel
    return m.b.reshape(numbers, shape)


@mil("linear_activation", "x, alpha: float = 1, beta: float = 0")
def _affine(m: Maker, x: Value, alpha: float, beta: float) -> Value:
    return m.wide_result(x, lambda v: m.number("add", m.number("mul", v, alpha), beta))


@mil("scaled_tanh", "x, alpha: float = 1, beta: float = 1")
def _scaled_tanh(m: Maker, x: Value, alpha: float, beta: float) -> Value:
    """alpha * tanh(beta * x)."""
    return m.wide_result(
        x, lambda v: m.number("mul", m.b.emit("tanh", m.number("mul", v, beta)), alpha)
    )


@mil("sigmoid_hard", "x, alpha: float = 0.2, beta: float = 0.5")
def _sigmoid_hard(m: Maker, x: Value, alpha: float, beta: float) -> Value:
    """alpha * x + beta, kept between 0 and 1."""
    return m.wide_result(
        x,
        lambda v: m.b.emit(
            "clamp", m.number("add", m.number("mul", v, alpha), beta), low=0.0, high=1.0
        ),
    )


def _softplus_of(m: Maker, v: Value) -> Value:
    """log(1 + exp(v)) as max(v, 0) + log(1 + exp(-|v|)), which cannot overflow."""
    small = m.b.emit("exp", m.b.emit("neg", m.b.emit("abs", v)))
    return m.b.emit("add", m.b.emit("relu", v), m.b.emit("log", m.number("add", small, 1.0)))


@mil("softplus")
def _softplus(m: Maker, x: Value) -> Value:
    return m.wide_result(x, lambda v: _softplus_of(m, v))


@mil("softplus_parametric", "x, alpha, beta")
def _softplus_parametric(m: Maker, x: Value, alpha: Value, beta: Value) -> Value:
    """alpha * softplus(beta * x), each with a number for every channel."""
    a, b = (m.b.f32(per_channel(m, v, x, 1)) for v in (alpha, beta))
    return m.wide_result(
        x, lambda v: m.b.binary("mul", _softplus_of(m, m.b.binary("mul", v, b)), a)
    )


@mil("softsign")
def _softsign(m: Maker, x: Value) -> Value:
    """x / (1 + |x|)."""
    return m.wide_result(x, lambda v: m.b.emit("div", v, m.number("add", m.b.emit("abs", v), 1.0)))


@mil("softmax", "x, axis: int = -1")
def _softmax(m: Maker, x: Value, axis: int) -> Value:
    return m.b.emit("softmax", x, dim=axis)
