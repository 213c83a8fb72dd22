"""MIL operations with small operands, and what NumPy says of them.

The oracles are written from the documentation of coremltools' `mil.ops`, with loops where a loop is
the definition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(7)


def floats(*shape: int) -> Array:
    """Numbers from -2 to 2, in float32."""
    return RNG.uniform(-2, 2, shape).astype(np.float32)


def positive(*shape: int) -> Array:
    return RNG.uniform(0.2, 3, shape).astype(np.float32)


def whole(*shape: int, low: int = -3, high: int = 4) -> Array:
    return RNG.integers(low, high, shape).astype(np.int32)


@dataclass
class Case:
    """One operation: operands that the program is called with, constants, and the oracle.

    `wanted` gets operands and constants by name and returns the result, or a tuple of them.
    """

    kind: str
    operands: dict[str, Array | tuple[Array, ...]]
    wanted: Callable[..., Any]
    constants: dict[str, Any] = field(default_factory=dict)

    def result(self) -> tuple[Array, ...]:
        found = self.wanted(**self.operands, **self.constants)
        return tuple(np.asarray(v) for v in (found if isinstance(found, tuple) else (found,)))


# ---- elementwise ---------------------------------------------------------------------------------

_ERF = np.vectorize(math.erf, otypes=[np.float32])


def _elementwise() -> Iterator[Case]:
    x, y = floats(3, 5), floats(1, 5)
    for kind, function in {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "real_div": np.divide,
        "maximum": np.maximum,
        "minimum": np.minimum,
        "equal": np.equal,
        "less": np.less,
        "not_equal": np.not_equal,
        "less_equal": np.less_equal,
        "greater": np.greater,
        "greater_equal": np.greater_equal,
        "floor_div": np.floor_divide,
        "mod": np.mod,
    }.items():
        yield Case(kind, {"x": x, "y": y}, lambda x, y, f=function: f(x, y))
    yield Case("pow", {"x": positive(3, 5), "y": y}, lambda x, y: x**y)
    a, b = whole(3, 4), whole(4, low=1)
    for kind, function in {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "floor_div": np.floor_divide,
        "mod": np.mod,
        "maximum": np.maximum,
        "less": np.less,
        "equal": np.equal,
    }.items():
        yield Case(kind, {"x": a, "y": b}, lambda x, y, f=function: f(x, y))
    p, q = floats(3, 5) > 0, floats(3, 5) > 0
    for kind, function in {
        "logical_and": np.logical_and,
        "logical_or": np.logical_or,
        "logical_xor": np.logical_xor,
    }.items():
        yield Case(kind, {"x": p, "y": q}, lambda x, y, f=function: f(x, y))
    yield Case("logical_not", {"x": p}, lambda x: ~x)
    yield Case(
        "select", {"cond": p, "a": x, "b": floats(3, 5)}, lambda cond, a, b: np.where(cond, a, b)
    )
    yield Case(
        "select",
        {"cond": p, "a": whole(3, 5), "b": whole(3, 5)},
        lambda cond, a, b: np.where(cond, a, b),
    )
    for kind, function in {
        "abs": np.abs,
        "ceil": np.ceil,
        "cos": np.cos,
        "erf": _ERF,
        "exp": np.exp,
        "exp2": np.exp2,
        "floor": np.floor,
        "identity": lambda x: x,
        "sign": np.sign,
        "relu": lambda x: np.maximum(x, 0),
        "relu6": lambda x: np.clip(x, 0, 6),
        "round": np.rint,
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "sin": np.sin,
        "silu": lambda x: x / (1 + np.exp(-x)),
        "square": np.square,
        "tan": np.tan,
        "tanh": np.tanh,
        "softplus": lambda x: np.log1p(np.exp(x)),
        "softsign": lambda x: x / (1 + np.abs(x)),
    }.items():
        yield Case(kind, {"x": 4 * x if kind == "relu6" else x}, lambda x, f=function: f(x))
    yield Case("sqrt", {"x": positive(3, 5)}, lambda x: np.sqrt(x))
    for kind, function in {
        "rsqrt": lambda x, e: 1 / np.sqrt(x + e),
        "log": lambda x, e: np.log(x + e),
        "inverse": lambda x, e: 1 / (x + e),
    }.items():
        yield Case(
            kind,
            {"x": positive(3, 5)},
            lambda x, epsilon, f=function: f(x, epsilon),
            {"epsilon": 0.25},
        )
    yield Case(
        "clip",
        {"x": x},
        lambda x, alpha, beta: np.clip(x, alpha, beta),
        {"alpha": -0.5, "beta": 1.0},
    )
    yield Case("threshold", {"x": x}, lambda x, alpha: np.maximum(x, alpha), {"alpha": 0.5})
    yield Case("gelu", {"x": x}, lambda x, mode: x * (1 + _ERF(x / 2**0.5)) / 2, {"mode": "EXACT"})
    yield Case(
        "gelu",
        {"x": x},
        lambda x, mode: x / 2 * (1 + np.tanh(0.79788456 * (x + 0.044715 * x**3))),
        {"mode": "TANH_APPROXIMATION"},
    )
    yield Case(
        "gelu",
        {"x": x},
        lambda x, mode: x / (1 + np.exp(-1.702 * x)),
        {"mode": "SIGMOID_APPROXIMATION"},
    )
    yield Case(
        "leaky_relu", {"x": x}, lambda x, alpha: np.where(x >= 0, x, alpha * x), {"alpha": 0.25}
    )
    yield Case(
        "elu",
        {"x": x},
        lambda x, alpha: np.where(x >= 0, x, alpha * (np.exp(x) - 1)),
        {"alpha": 0.5},
    )
    yield Case(
        "clamped_relu",
        {"x": x},
        lambda x, alpha, beta: np.minimum(np.where(x >= 0, x, alpha * x), beta),
        {"alpha": 0.25, "beta": 1.0},
    )
    yield Case(
        "thresholded_relu", {"x": x}, lambda x, alpha: np.where(x >= alpha, x, 0), {"alpha": 0.5}
    )
    yield Case(
        "linear_activation",
        {"x": x},
        lambda x, alpha, beta: alpha * x + beta,
        {"alpha": 2.0, "beta": -1.0},
    )
    yield Case(
        "scaled_tanh",
        {"x": x},
        lambda x, alpha, beta: alpha * np.tanh(beta * x),
        {"alpha": 2.0, "beta": 0.5},
    )
    yield Case(
        "sigmoid_hard",
        {"x": x},
        lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
        {"alpha": 0.5, "beta": 0.5},
    )
    yield Case(
        "prelu",
        {"x": floats(2, 3, 4)},
        lambda x, alpha: np.where(x >= 0, x, x * alpha[:, None]),
        {"alpha": positive(3)},
    )
    yield Case(
        "softplus_parametric",
        {"x": floats(2, 3, 4)},
        lambda x, alpha, beta: alpha[:, None] * np.log1p(np.exp(beta[:, None] * x)),
        {"alpha": positive(3), "beta": positive(3)},
    )
    for axis in (-1, 0):
        yield Case("softmax", {"x": x}, softmax, {"axis": axis})
    for dtype, numpy in {"int32": np.int32, "fp16": np.float16, "fp32": np.float32}.items():
        yield Case("cast", {"x": 4 * x}, lambda x, dtype, n=numpy: x.astype(n), {"dtype": dtype})
    yield Case("cast", {"x": whole(3, 4)}, lambda x, dtype: x != 0, {"dtype": "bool"})
    yield Case("cast", {"x": p}, lambda x, dtype: x.astype(np.float32), {"dtype": "fp32"})


def softmax(x: Array, axis: int) -> Array:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis, keepdims=True))


# ---- reductions and normalisations ---------------------------------------------------------------


def _reductions() -> Iterator[Case]:
    kinds: dict[str, Callable[..., Any]] = {
        "reduce_sum": np.sum,
        "reduce_mean": np.mean,
        "reduce_max": np.max,
        "reduce_min": np.min,
        "reduce_prod": np.prod,
        "reduce_l1_norm": lambda x, a, keepdims: np.abs(x).sum(a, keepdims=keepdims),
        "reduce_l2_norm": lambda x, a, keepdims: np.sqrt((x * x).sum(a, keepdims=keepdims)),
        "reduce_sum_square": lambda x, a, keepdims: (x * x).sum(a, keepdims=keepdims),
        "reduce_log_sum": lambda x, a, keepdims: np.log(x.sum(a, keepdims=keepdims)),
        "reduce_log_sum_exp": lambda x, a, keepdims: np.log(np.exp(x).sum(a, keepdims=keepdims)),
    }
    for kind, function in kinds.items():
        yield Case(
            kind,
            {"x": positive(2, 3, 4)},
            lambda x, axes, keep_dims, f=function: f(x, tuple(axes), keepdims=keep_dims),
            {"axes": np.array([-1]), "keep_dims": True},
        )
    for axes in ([0, 2], [1, 2], [0, 1, 2]):
        yield Case(
            "reduce_sum",
            {"x": floats(2, 3, 4)},
            lambda x, axes, keep_dims: x.sum(tuple(axes), keepdims=keep_dims),
            {"axes": np.array(axes), "keep_dims": False},
        )
    yield Case(
        "reduce_max", {"x": floats(2, 3)}, lambda x, keep_dims: x.max(), {"keep_dims": False}
    )
    for kind, function in {"reduce_argmax": np.argmax, "reduce_argmin": np.argmin}.items():
        yield Case(
            kind,
            {"x": floats(3, 5)},
            lambda x, axis, keep_dims, f=function: f(x, axis).astype(np.int32),
            {"axis": 1, "keep_dims": False},
        )
    yield Case(
        "layer_norm",
        {"x": floats(2, 3, 4)},
        _layer_norm,
        {"axes": np.array([-1]), "gamma": floats(4), "beta": floats(4), "epsilon": 1e-3},
    )
    yield Case(
        "layer_norm",
        {"x": floats(2, 3, 4)},
        _layer_norm,
        {"axes": np.array([1, 2]), "gamma": floats(3, 4), "epsilon": 1e-3},
    )
    yield Case(
        "batch_norm",
        {"x": floats(2, 3, 4, 2)},
        _batch_norm,
        {
            "mean": floats(3),
            "variance": positive(3),
            "gamma": floats(3),
            "beta": floats(3),
            "epsilon": 1e-3,
        },
    )
    yield Case(
        "batch_norm",
        {"x": floats(2, 3, 4)},
        _batch_norm,
        {"mean": floats(3), "variance": positive(3), "epsilon": 1e-3},
    )
    yield Case(
        "instance_norm",
        {"x": floats(2, 3, 4, 2)},
        _instance_norm,
        {"gamma": floats(3), "beta": floats(3), "epsilon": 1e-3},
    )
    yield Case(
        "l2_norm",
        {"x": floats(2, 3, 4, 2)},
        lambda x, epsilon: x / np.sqrt((x * x).sum((1, 2, 3), keepdims=True) + epsilon),
        {"epsilon": 1e-3},
    )


def _layer_norm(x: Array, axes: Array, gamma: Array, epsilon: float, beta: Any = 0) -> Any:
    over = tuple(int(a) for a in axes)
    centred = x - x.mean(over, keepdims=True)
    spread = (centred**2).mean(over, keepdims=True)
    return centred / np.sqrt(spread + epsilon) * gamma + beta


def _line(v: Any, x: Array) -> Any:
    return v if np.ndim(v) == 0 else v.reshape([-1 if a == 1 else 1 for a in range(x.ndim)])


def _batch_norm(
    x: Array, mean: Array, variance: Array, epsilon: float, gamma: Any = 1, beta: Any = 0
) -> Any:
    normal = (x - _line(mean, x)) / np.sqrt(_line(variance, x) + epsilon)
    return normal * _line(gamma, x) + _line(beta, x)


def _instance_norm(x: Array, gamma: Array, beta: Array, epsilon: float) -> Any:
    centred = x - x.mean((2, 3), keepdims=True)
    normal = centred / np.sqrt((centred**2).mean((2, 3), keepdims=True) + epsilon)
    return normal * _line(gamma, x) + _line(beta, x)


CASES = [*_elementwise(), *_reductions()]
