"""Compositions of neural networks: softmax and normalisations, in float32 and rounded once."""

from __future__ import annotations

from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.opdef import Sample, TypeRuleError, compose
from tlc.ir.ops.elementwise import in_f32
from tlc.ir.ops.reduce import along
from tlc.ir.ops.shape import normal_axis
from tlc.ir.types import show_shape, tensor

_X = tensor("f16", 3, 5)
_W = tensor("f16", 5)


def _shifted(b: Builder, x: Value, dim: int) -> Value:
    """x less its largest element along an axis, so that exp cannot overflow."""
    return b.binary("sub", x, along(b, "reduce_max", x, dim, True))


def _softmax(b: Builder, x: Value, dim: int = -1) -> Value:
    dim = normal_axis(dim, x.tensor.rank)
    powers = b.emit("exp", _shifted(b, x, dim))
    return b.binary("div", powers, along(b, "reduce_sum", powers, dim, True))


def _log_softmax(b: Builder, x: Value, dim: int = -1) -> Value:
    dim = normal_axis(dim, x.tensor.rank)
    shifted = _shifted(b, x, dim)
    total = along(b, "reduce_sum", b.emit("exp", shifted), dim, True)
    return b.binary("sub", shifted, b.emit("log", total))


compose(
    "softmax",
    "exp(x) over its sum along an axis.",
    in_f32(_softmax),
    params="x, dim: axis = -1",
    sample=(Sample((_X,), {}), Sample((_X,), {"dim": 0})),
)
compose(
    "log_softmax",
    "The logarithm of softmax.",
    in_f32(_log_softmax),
    params="x, dim: axis = -1",
    sample=(Sample((_X,), {}),),
)


def _mean(b: Builder, x: Value) -> Value:
    total = along(b, "reduce_sum", x, -1, True)
    return b.emit("div", total, b.scalar(x.tensor.shape[-1], total))


def _scaled(b: Builder, x: Value, spread: Value, eps: float) -> Value:
    return b.binary("mul", x, b.emit("rsqrt", b.emit("add", spread, b.scalar(eps, spread))))


def _feature_vector(x: Value, *weights: Value) -> None:
    for at, w in enumerate(weights):
        if w.tensor.shape != x.tensor.shape[-1:]:
            raise TypeRuleError(
                f"the weights have shape {show_shape(w.tensor.shape)}, and the last dimension of"
                f" {show_shape(x.tensor.shape)} is normalised",
                "E0301",
                (at + 1, 0),
            )


def _rms_norm(b: Builder, x: Value, weight: Value, eps: float = 1e-6) -> Value:
    _feature_vector(x, weight)
    normal = _scaled(b, x, _mean(b, b.emit("mul", x, x)), eps)
    return b.binary("mul", normal, weight)


def _layer_norm(b: Builder, x: Value, gamma: Value, beta: Value, eps: float = 1e-5) -> Value:
    _feature_vector(x, gamma, beta)
    centred = b.binary("sub", x, _mean(b, x))
    normal = _scaled(b, centred, _mean(b, b.emit("mul", centred, centred)), eps)
    return b.binary("add", b.binary("mul", normal, gamma), beta)


compose(
    "rms_norm",
    "x over the root of the mean of its squares (plus eps) along the last axis, times w"
    " (Zhang and Sennrich 2019).",
    in_f32(_rms_norm),
    params="x, w, eps: float = 1e-6",
    sample=(Sample((_X, _W), {}),),
)
compose(
    "layer_norm",
    "x with mean 0 and variance 1 (plus eps) along the last axis, times gamma, plus beta"
    " (Ba et al. 2016).",
    in_f32(_layer_norm),
    params="x, gamma, beta, eps: float = 1e-5",
    sample=(Sample((_X, _W, _W), {}),),
)
