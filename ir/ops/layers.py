"""Layers and their short forms: affine maps with activations, normalisation, dropout, one-hot."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.opdef import Sample, TypeRuleError, compose
from tlc.ir.ops.elementwise import in_f32
from tlc.ir.ops.reduce import along
from tlc.ir.types import FLOATS, show_shape, tensor

_X = tensor("f16", 3, 5)
_W = tensor("f16", 5)

# ---- short forms ---------------------------------------------------------------------------------


def _rounded_once(expand: Callable[..., Value]) -> Callable[..., Value]:
    """A composition in float32; the result has the dtype that arithmetic of the operands has."""

    @wraps(expand)
    def rounded(b: Builder, *values: Value) -> Value:
        for at, v in enumerate(values):
            if v.tensor.dtype not in FLOATS:
                raise TypeRuleError(
                    f"a floating-point tensor is needed, and this is {v.type}", "E0302", (at,)
                )
        dtype = "f32" if any(v.tensor.dtype == "f32" for v in values) else "f16"
        return b.cast(expand(b, *map(b.f32, values)), dtype)

    return rounded


def _add_relu(b: Builder, a: Value, c: Value) -> Value:
    return b.emit("relu", b.binary("add", a, c))


def _mul_relu(b: Builder, a: Value, c: Value) -> Value:
    return b.emit("relu", b.binary("mul", a, c))


def _affine(b: Builder, x: Value, scale: Value, shift: Value) -> Value:
    return b.binary("add", b.binary("mul", x, scale), shift)


compose(
    "fused_add_relu",
    "relu(a + b), rounded once.",
    _rounded_once(_add_relu),
    params="a, b",
    sample=(Sample((_X, _W), {}),),
)
compose(
    "fused_mul_relu",
    "relu(a * b), rounded once.",
    _rounded_once(_mul_relu),
    params="a, b",
    sample=(Sample((_X, _W), {}),),
)
compose(
    "fused_affine",
    "x * scale + shift, rounded once.",
    _rounded_once(_affine),
    params="x, scale, shift",
    sample=(Sample((_X, _W, _W), {}),),
)


def _gelu_linear(b: Builder, x: Value, weight: Value, bias: Value | None = None) -> Value:
    given = (x, weight) if bias is None else (x, weight, bias)
    return b.emit("gelu", b.emit("linear", *given))


compose(
    "fused_gelu_linear",
    "gelu(linear(x, w, b)).",
    _gelu_linear,
    params="x, w, b = none",
    sample=(Sample((tensor("f16", 2, 5), tensor("f16", 4, 5), tensor("f16", 4)), {}),),
)

# ---- normalisation -------------------------------------------------------------------------------


def _batch_norm(
    b: Builder, x: Value, mean: Value, var: Value, gamma: Value, beta: Value, eps: float = 1e-5
) -> Value:
    if x.tensor.rank < 2:
        raise TypeRuleError(
            f"`batch_norm` needs [batch, channels, ...], and this is {show_shape(x.tensor.shape)}",
            "E0301",
            (0,),
        )
    channels = x.tensor.shape[1]
    for at, per_channel in enumerate((mean, var, gamma, beta), 1):
        if per_channel.tensor.shape != (channels,):
            raise TypeRuleError(
                f"a number for each of {channels} channels is needed, and this has shape"
                f" {show_shape(per_channel.tensor.shape)}",
                "E0301",
                (at, 0),
            )
    shape = (channels, *[Dim.of(1)] * (x.tensor.rank - 2))
    mean, var, gamma, beta = (b.reshape(v, shape) for v in (mean, var, gamma, beta))
    scale = b.emit("mul", gamma, b.emit("rsqrt", b.emit("add", var, b.scalar(eps, var))))
    return b.binary("add", b.binary("mul", b.binary("sub", x, mean), scale), beta)


compose(
    "batch_norm",
    "(x - mean) / sqrt(var + eps) * gamma + beta for every channel, the second axis: inference,"
    " with the running mean and variance (Ioffe and Szegedy 2015).",
    in_f32(_batch_norm),
    params="x, mean, var, gamma, beta, eps: float = 1e-5",
    sample=(Sample((tensor("f16", 2, 5, 3), _W, _W, _W, _W), {}, 0.5, 2.0),),
)


def _normalize_features(b: Builder, x: Value, eps: float = 1e-12) -> Value:
    length = b.emit("sqrt", along(b, "reduce_sum", b.emit("mul", x, x), -1, True))
    return b.binary("div", x, b.emit("maximum", length, b.scalar(eps, length)))


compose(
    "normalize_features",
    "x over its Euclidean length (at least eps) along the last axis.",
    in_f32(_normalize_features),
    params="x, eps: float = 1e-12",
    sample=(Sample((_X,), {}),),
)

# ---- the rest ------------------------------------------------------------------------------------


def _dropout(b: Builder, x: Value, p: float = 0.5, train: bool = False) -> Value:
    if not 0 <= p <= 1:
        raise TypeRuleError(f"a probability lies between 0 and 1, and this is {p}", "E0303", (0,))
    return x


compose(
    "dropout",
    "x as it is; with `train: true`, each element is 0 with probability p, else divided by 1 - p.",
    _dropout,
    params="x, p: float = 0.5, train: bool = false",
    sample=(Sample((_X,), {"p": 0.1, "train": False}),),
)


def _one_hot(b: Builder, ids: Value, n: Dim) -> Value:
    if ids.tensor.dtype != "i32":
        raise TypeRuleError(
            f"an index tensor is needed, and this is {ids.type}",
            "E0302",
            (0,),
            "write the ids as `tensor<int>([1, 2, 3])`",
        )
    if n.is_static and int(n) < 0:
        raise TypeRuleError(f"the number of classes is {n}", "E0303", (0,))
    shape = (*ids.tensor.shape, n)
    spread = b.broadcast(b.reshape(ids, (*ids.tensor.shape, 1)), shape)
    column = b.emit("iota", type=spread.tensor, axis=len(shape) - 1)
    return b.cast(b.emit("eq", spread, column), "f16")


compose(
    "one_hot",
    "A row of n numbers for each index: 1 at the index, 0 elsewhere; all 0 for an index beyond.",
    _one_hot,
    params="ids: tensor_i32, n: dim",
    sample=(Sample((tensor("i32", 4),), {"n": Dim.of(3)}, 0, 2),),
)
