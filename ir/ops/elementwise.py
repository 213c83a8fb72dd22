"""Elementwise operations: arithmetic, comparisons and functions of one element at a time.

Arithmetic is float32 whatever the storage; a result is rounded once, when it is stored. `max`,
`min` and comparisons follow NumPy for NaN: `max` and `min` hand it on.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.opdef import OpDef, Sample, TypeRuleError, compose, defop
from tlc.ir.types import FLOATS, TensorType, Type, tensor

_X = tensor("f16", 3, 5)

_AS_NUMBERS = {
    "i32": "integer tensors hold indices; convert with `as float32`",
    "bool": "a mask becomes 0 and 1 with `as float16`, and is negated with `!`",
}


def _floats(*types: Type, start: int = 0) -> TensorType:
    """The common type of floating-point operands, from number `start` on, broadcast together."""
    first = types[0]
    for at, other in enumerate(types, start):
        if not isinstance(other, TensorType) or other.dtype not in FLOATS:
            raise TypeRuleError(
                f"arithmetic needs floating-point tensors, and this is {other}",
                "E0302",
                (at,),
                _AS_NUMBERS.get(getattr(other, "dtype", ""), ""),
            )
        if other != first:
            raise TypeRuleError(f"{first} and {other} differ", "E0301", (start, at))
    assert isinstance(first, TensorType)
    return first


def _same(*types: Type) -> tuple[Type, ...]:
    return (_floats(*types),)


def _mask(*types: Type) -> tuple[Type, ...]:
    if all(isinstance(t, TensorType) and t.dtype == "i32" for t in types):
        assert isinstance(types[0], TensorType)
        return (types[0].with_dtype("bool"),)
    return (_floats(*types).with_dtype("bool"),)


def _logical(*types: Type) -> tuple[Type, ...]:
    for at, other in enumerate(types):
        if not isinstance(other, TensorType) or other.dtype != "bool":
            hint = "a comparison such as `x > 0.0` makes a mask"
            raise TypeRuleError(f"a mask is needed, and this is {other}", "E0302", (at,), hint)
    return (types[0],)


def _unary(name: str, doc: str, eval: Any, msl: str, **rest: Any) -> OpDef:
    low, high = rest.pop("range", (-2.0, 2.0))
    return defop(
        name,
        doc,
        params="x",
        names=rest.pop("names", name),
        type=_same,
        eval=eval,
        msl=msl,
        sample=(Sample((_X,), {}, low, high),),
        **rest,
    )


def _binary(name: str, doc: str, eval: Any, msl: str, type: Any = _same, **rest: Any) -> OpDef:
    low, high = rest.pop("range", (0.5, 2.0))
    sample = Sample((_X, _X), {}, low, high) if type is not _logical else None
    return defop(
        name,
        doc,
        params="a, b",
        names=rest.pop("names", ""),
        type=type,
        eval=eval,
        msl=msl,
        sample=(sample,) if sample else (),
        **rest,
    )


# ---- arithmetic ----------------------------------------------------------------------------------

_binary("add", "`a + b`.", lambda np, a, b: a + b, "{0} + {1}", names="add")
_binary("sub", "`a - b`.", lambda np, a, b: a - b, "{0} - {1}")
_binary("mul", "`a * b`, also spelled `⊙`.", lambda np, a, b: a * b, "{0} * {1}")
_binary("div", "`a / b`; division by zero gives inf or NaN.", lambda np, a, b: a / b, "{0} / {1}")
_binary(
    "mod",
    "`a % b`: the remainder of truncated division, with the sign of `a` (C's fmod).",
    lambda np, a, b: np.fmod(a, b),
    "precise::fmod({0}, {1})",
)
_binary(
    "pow",
    "`a ** b`, also `⊗` and `pow(a, b)`; NaN for a negative base and a fractional exponent.",
    lambda np, a, b: np.power(a, b),
    "precise::pow({0}, {1})",
    names="pow",
)
_binary(
    "maximum",
    "The larger of two; NaN if either is NaN.",
    lambda np, a, b: np.maximum(a, b),
    "tlc_max({0}, {1})",
    lanes="max8({0}, {1})",
)
_binary(
    "minimum",
    "The smaller of two; NaN if either is NaN.",
    lambda np, a, b: np.minimum(a, b),
    "tlc_min({0}, {1})",
    lanes="min8({0}, {1})",
)
_unary("neg", "`-x`.", lambda np, x: -x, "-{0}", names="neg")
_unary("abs", "The absolute value.", lambda np, x: np.abs(x), "fabs({0})", lanes="abs8({0})")

# ---- functions -----------------------------------------------------------------------------------

_POSITIVE = (0.1, 4.0)
_unary("sqrt", "The square root.", lambda np, x: np.sqrt(x), "precise::sqrt({0})", range=_POSITIVE)
_unary(
    "rsqrt",
    "One over the square root.",
    lambda np, x: 1 / np.sqrt(x),
    "precise::rsqrt({0})",
    range=_POSITIVE,
)
_unary("exp", "e to the power of x.", lambda np, x: np.exp(x), "precise::exp({0})")
_unary(
    "log", "The natural logarithm.", lambda np, x: np.log(x), "precise::log({0})", range=_POSITIVE
)
_unary("sin", "The sine of x in radians.", lambda np, x: np.sin(x), "precise::sin({0})")
_unary("cos", "The cosine of x in radians.", lambda np, x: np.cos(x), "precise::cos({0})")
_unary("tan", "The tangent of x in radians.", lambda np, x: np.tan(x), "precise::tan({0})")
_unary("tanh", "The hyperbolic tangent.", lambda np, x: np.tanh(x), "precise::tanh({0})")
_unary(
    "erf",
    "The error function, 2/sqrt(pi) times the integral of exp(-t*t) from 0 to x.",
    lambda np, x: _erf(np, x),
    "tlc_erf({0})",
    lanes="erf8({0})",
)
_unary(
    "floor",
    "Rounded down to a whole number.",
    lambda np, x: np.floor(x),
    "floor({0})",
    lanes="floor8({0})",
)
_unary(
    "ceil",
    "Rounded up to a whole number.",
    lambda np, x: np.ceil(x),
    "ceil({0})",
    lanes="ceil8({0})",
)
_unary(
    "round",
    "Rounded to the nearest whole number, halves to even.",
    lambda np, x: np.rint(x),
    "rint({0})",
    lanes="round8({0})",
)
_unary(
    "sigmoid",
    "1 / (1 + exp(-x)).",
    lambda np, x: np.where(x < 0, np.exp(-abs(x)), 1) / (1 + np.exp(-abs(x))),
    "1.0f / (1.0f + precise::exp(-{0}))",
    lanes="sigmoid8({0})",
)
_unary(
    "relu",
    "The larger of x and 0.",
    lambda np, x: np.maximum(x, 0),
    "tlc_max({0}, 0.0f)",
    lanes="max8({0}, splat8(0.0f))",
)


def _erf(np: Any, x: Any) -> Any:
    from math import erf

    return np.vectorize(erf, otypes=[np.float64])(x).astype(x.dtype)


def _silu(b: Builder, x: Value) -> Value:
    return b.emit("mul", x, b.emit("sigmoid", x))


def _gelu(b: Builder, x: Value) -> Value:
    cube = b.emit("mul", b.emit("mul", x, x), x)
    inner = b.emit("add", x, b.emit("mul", cube, b.scalar(0.044715, x)))
    # (1 + tanh(u)) / 2 is sigmoid(2u), which does not cancel where u is far below 0
    rising = b.emit("sigmoid", b.emit("mul", inner, b.scalar(1.5957691216057308, x)))
    return b.emit("mul", x, rising)


def _gelu_erf(b: Builder, x: Value) -> Value:
    inner = b.emit("erf", b.emit("mul", x, b.scalar(0.7071067811865476, x)))
    half = b.emit("mul", x, b.scalar(0.5, x))
    return b.emit("mul", half, b.emit("add", inner, b.scalar(1.0, x)))


def in_f32(expand: Any) -> Any:
    """A composition computed in float32 and rounded once, at its end."""

    @wraps(expand)
    def rounded(b: Builder, x: Value, *rest: Value, **attrs: Any) -> Value:
        dtype = x.tensor.dtype
        if dtype not in FLOATS:
            raise TypeRuleError(
                f"a floating-point tensor is needed, and this is {x.type}", "E0302", (0,)
            )
        wide = [b.f32(v) if v.tensor.dtype in FLOATS else v for v in rest]
        return b.cast(expand(b, b.f32(x), *wide, **attrs), dtype)

    return rounded


compose(
    "silu",
    "x * sigmoid(x).",
    in_f32(_silu),
    params="x",
    names="silu swish",
    sample=(Sample((_X,), {}),),
)
compose(
    "gelu",
    "x times the normal distribution's integral, by the tanh approximation:"
    " 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).",
    in_f32(_gelu),
    params="x",
    names="gelu gelu_tanh",
    sample=(Sample((_X,), {}),),
)
compose(
    "gelu_erf",
    "x times the normal distribution's integral, exactly: 0.5 x (1 + erf(x / sqrt(2))).",
    in_f32(_gelu_erf),
    params="x",
    sample=(Sample((_X,), {}),),
)


def _clamp(b: Builder, x: Value, low: float, high: float) -> Value:
    return b.emit("minimum", b.emit("maximum", x, b.scalar(low, x)), b.scalar(high, x))


compose(
    "clamp",
    "x kept between two numbers; NaN stays NaN.",
    _clamp,
    params="x, low: float, high: float",
    names="clamp clip",
    sample=(Sample((_X,), {"low": -1.0, "high": 0.5}),),
)

# ---- comparisons and masks -----------------------------------------------------------------------

for _name, _sign, _function in (
    ("eq", "==", "equal"),
    ("ne", "!=", "not_equal"),
    ("lt", "<", "less"),
    ("le", "<=", "less_equal"),
    ("gt", ">", "greater"),
    ("ge", ">=", "greater_equal"),
):
    _binary(
        _name,
        f"`a {_sign} b`, a mask; false where either is NaN, except for `!=`.",
        lambda np, a, b, _f=_function: getattr(np, _f)(a, b),
        f"{{0}} {_sign} {{1}}",
        _mask,
    )

_binary(
    "and", "`a && b` of masks.", lambda np, a, b: a & b, "{0} && {1}", _logical, lanes="{0} & {1}"
)
_binary(
    "or", "`a || b` of masks.", lambda np, a, b: a | b, "{0} || {1}", _logical, lanes="{0} | {1}"
)
defop(
    "not",
    "`!a` of a mask.",
    params="a",
    type=_logical,
    eval=lambda np, a: ~a,
    msl="!{0}",
)


def _where(mask: Type, a: Type, b: Type) -> tuple[Type, ...]:
    if isinstance(mask, TensorType) and mask.dtype in FLOATS:
        text = f"a mask is needed, and this is {mask}"
        raise TypeRuleError(text, "E0302", (0,), "a comparison makes one: `x > 0.0`")
    _logical(mask)
    found = a if isinstance(a, TensorType) and a == b else _floats(a, b, start=1)
    if mask != found.with_dtype("bool"):
        raise TypeRuleError(f"{mask} and {found} differ", "E0301", (0, 1))
    return (found,)


defop(
    "where",
    "`a` where the mask is true, else `b`.",
    params="mask, a, b",
    names="where",
    type=_where,
    eval=lambda np, m, a, b: np.where(m, a, b),
    msl="({0} ? {1} : {2})",
    lanes="select8({2}, {1}, {0})",
    sample=(Sample((tensor("bool", 3, 5), _X, _X), {}),),
)


# ---- conversion ----------------------------------------------------------------------------------


def _cast(x: Type, dtype: str) -> tuple[Type, ...]:
    assert isinstance(x, TensorType)
    return (x.with_dtype(dtype),)


defop(
    "cast",
    "`x as float32`: the same numbers in another type; float16 rounds to nearest even, a fraction"
    " becomes a whole number by truncation, a mask becomes 0 and 1.",
    params="x, dtype: dtype",
    type=_cast,
    eval=lambda np, x, dtype: x,
    msl="{0}",
    sample=(Sample((_X,), {"dtype": "f32"}), Sample((tensor("f32", 4),), {"dtype": "f16"})),
)
