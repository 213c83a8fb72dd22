"""Layers of neural networks over images and products, each with what NumPy says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.coreml.layer_cases import conv, pool
from tests.coreml.mil_cases import Array, floats, positive, softmax
from tests.coreml.network_writer import (
    integers,
    lookup,
    number,
    part,
    quantized,
    real,
    weights,
)

X = floats(3, 4, 5)  # channels, height, width
Y = floats(3, 4, 5)
VECTOR = floats(6)


@dataclass
class Case:
    """A layer of the network, its inputs as the model describes them, and the oracle."""

    name: str
    kind: int
    params: bytes
    inputs: tuple[Array, ...]
    wanted: Callable[..., Any]
    exact: bool = False
    outputs: int = 1


def border(*pairs: tuple[int, int]) -> bytes:
    return part(1, *(part(10, number(1, a), number(2, b)) for a, b in pairs))


def edges(*pairs: tuple[int, int]) -> bytes:
    return b"".join(part(10, number(1, a), number(2, b)) for a, b in pairs)


def cases() -> Iterator[Case]:
    w, b = floats(2, 6), floats(2)
    dense = number(1, 6) + number(2, 2) + number(10, 1) + weights(20, w) + weights(21, b)
    yield Case("innerProduct", 140, dense, (VECTOR,), lambda x: w @ x + b)
    yield Case("innerProduct", 140, dense, (floats(3, 6),), lambda x: x @ w.T + b, exact=True)
    half = w.astype(np.float16)
    params = number(1, 6) + number(2, 2) + weights(20, half)
    yield Case("half", 140, params, (VECTOR,), lambda x: half.astype(np.float32) @ x)
    codes = np.arange(12, dtype=np.uint8)
    bits = np.unpackbits(codes[:, None], axis=1)[:, 4:].ravel()
    params = number(1, 6) + number(2, 2)
    scale, bias = np.float32([0.5, 0.25]), np.float32([-2, 1])
    linear = scale[:, None] * codes.reshape(2, 6) + bias[:, None]
    held = quantized(20, np.packbits(bits).tobytes(), 4, scale.tolist(), bias.tolist())
    yield Case("linear_4_bits", 140, params + held, (VECTOR,), lambda x: linear @ x)
    table = floats(16)
    held = lookup(20, np.packbits(bits).tobytes(), 4, table.tolist())
    yield Case(
        "lookup_4_bits", 140, params + held, (VECTOR,), lambda x: table[codes].reshape(2, 6) @ x
    )

    kernel, shift = floats(4, 3, 3, 2), floats(4)
    shared = number(1, 4) + number(2, 3) + integers(20, [3, 2]) + integers(30, [2, 1])
    shared += number(70, 1) + weights(90, kernel) + weights(91, shift)
    for name, padding, pad_type, pad in (
        ("valid", part(50), "valid", [0, 0, 0, 0]),
        ("custom", part(50, border((1, 0), (0, 2))), "custom", [1, 0, 0, 2]),
        ("same", part(51), "same", [0] * 4),
        ("same_lower", part(51, number(1, 1)), "same_lower", [0] * 4),
    ):

        def convolved(x: Array, pad_type: str = pad_type, pad: list[int] = pad) -> Array:
            steps, ones = np.array([2, 1]), np.array([1, 1])
            return conv(x[None], kernel, steps, ones, 1, pad_type, np.array(pad), shift)[0]

        yield Case(f"convolution_{name}", 100, shared + padding, (X,), convolved)

    sizes = integers(10, [2, 3]) + integers(20, [2, 2])
    for at, kind in enumerate(("max_pool", "avg_pool", "l2_pool")):

        def pooled(x: Array, kind: str = kind) -> Array:
            return pool(kind, x[None], np.array([2, 3]), np.array([2, 2]), "valid", np.zeros(4))[0]

        yield Case(kind, 120, number(1, at) + sizes + part(30), (X,), pooled)
    params = number(1, 1) + sizes + part(30, border((1, 1), (1, 1))) + number(50, 1)
    yield Case(
        "avg_excluded",
        120,
        params,
        (X,),
        lambda x: pool(
            "avg_pool",
            x[None],
            np.array([2, 3]),
            np.array([2, 2]),
            "custom",
            np.array([1, 1, 1, 1]),
            exclude_padding_from_average=True,
        )[0],
    )
    last = integers(10, [3, 3]) + integers(20, [2, 2]) + part(32, integers(10, [0, 0]))
    filled = np.pad(X, [(0, 0), (0, 1), (0, 0)], constant_values=-np.inf)
    yield Case(
        "max_with_the_last_pixels",
        120,
        last,
        (X,),
        lambda x: pool(
            "max_pool", filled[None], np.array([3, 3]), np.array([2, 2]), "valid", np.zeros(4)
        )[0],
    )
    yield Case("whole_average", 120, number(1, 1) + number(60, 1), (X,), lambda x: x.mean((1, 2)))

    for name, at, params, function in (
        ("linear", 5, real(1, 2) + real(2, -1), lambda x: 2 * x - 1),
        ("relu", 10, b"", lambda x: np.maximum(x, 0)),
        ("leaky", 15, real(1, 0.25), lambda x: np.where(x >= 0, x, x / 4)),
        ("thresholded", 20, real(1, 0.5), lambda x: np.where(x >= 0.5, x, 0)),
        ("tanh", 30, b"", np.tanh),
        ("scaled_tanh", 31, real(1, 2) + real(2, 0.5), lambda x: 2 * np.tanh(x / 2)),
        ("sigmoid", 40, b"", lambda x: 1 / (1 + np.exp(-x))),
        ("hard", 41, real(1, 0.5) + real(2, 0.5), lambda x: np.clip(x / 2 + 0.5, 0, 1)),
        ("elu", 50, real(1, 0.5), lambda x: np.where(x >= 0, x, np.exp(x) / 2 - 0.5)),
        ("softsign", 60, b"", lambda x: x / (1 + np.abs(x))),
        ("softplus", 70, b"", lambda x: np.log1p(np.exp(x))),
    ):
        yield Case(f"activation_{name}", 130, part(at, params), (X,), function)
    slope = positive(3)
    yield Case(
        "activation_prelu",
        130,
        part(25, weights(1, slope)),
        (X,),
        lambda x: np.where(x >= 0, x, x * slope[:, None, None]),
    )

    gamma, beta, mean, variance = floats(3), floats(3), floats(3), positive(3)
    params = number(1, 3) + real(10, 1e-3) + weights(15, gamma) + weights(16, beta)
    line = (-1, 1, 1)

    def normal(x: Array, centre: Any, spread: Any) -> Array:
        made = (x - centre) / np.sqrt(spread + 1e-3)
        return np.asarray(made * gamma.reshape(line) + beta.reshape(line))

    yield Case(
        "batchnorm",
        160,
        params + weights(17, mean) + weights(18, variance),
        (X,),
        lambda x: normal(x, mean.reshape(line), variance.reshape(line)),
    )
    yield Case(
        "instance_norm",
        160,
        params + number(5, 1) + number(6, 1),
        (X,),
        lambda x: normal(x, x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)),
    )
    yield Case(
        "mvn",
        165,
        number(2, 1) + real(3, 1e-3),
        (X,),
        lambda x: (
            (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-3)
        ),
    )
    yield Case("l2normalize", 170, real(1, 1e-3), (X,), lambda x: x / np.sqrt((x * x).sum() + 1e-3))
    yield Case("softmax", 175, b"", (X,), lambda x: softmax(x, 0))
    yield Case("softmaxND", 950, number(1, -1), (X,), lambda x: softmax(x, -1), exact=True)

    yield Case("add", 230, b"", (X, Y), lambda x, y: x + y)
    yield Case("add_number", 230, real(1, 1.5), (X,), lambda x: x + 1.5)
    yield Case("multiply", 231, b"", (X, Y), lambda x, y: x * y)
    yield Case("average", 240, b"", (X, Y), lambda x, y: (x + y) / 2)
    yield Case("max", 260, b"", (X, Y), np.maximum)
    yield Case("min", 261, b"", (X, Y), np.minimum)
    yield Case("subtract", 905, b"", (X, Y[0]), np.subtract, exact=True)
    factor, offset = floats(3), floats(3)
    params = (
        integers(1, [3]) + weights(2, factor) + number(3, 1) + integers(4, [3]) + weights(5, offset)
    )
    yield Case(
        "scale", 245, params, (X,), lambda x: x * factor.reshape(line) + offset.reshape(line)
    )
    yield Case(
        "bias", 250, integers(1, [3]) + weights(2, offset), (X,), lambda x: x + offset.reshape(line)
    )
    for kind, function in ((0, np.sqrt), (4, np.exp), (5, np.log), (6, np.abs)):
        yield Case(
            f"unary_{kind}",
            220,
            number(1, kind) + real(4, 1) + real(5, 0.5),
            (positive(3, 4, 5),),
            lambda x, f=function: f(x / 2 + 1),
        )
    yield Case("clip", 660, real(1, -0.5) + real(2, 0.5), (X,), lambda x: np.clip(x, -0.5, 0.5))
    yield Case("loadConstant", 290, integers(1, [3, 4, 5]) + weights(2, Y), (), lambda: Y)
    yield Case(
        "loadConstantND",
        1070,
        integers(1, [3, 20]) + weights(2, Y),
        (),
        lambda: Y.reshape(3, 20),
        exact=True,
    )

    for mode, function in ((0, np.sum), (1, np.mean), (7, np.max)):
        yield Case(
            f"reduce_{mode}",
            280,
            number(1, mode) + number(3, 1),
            (X,),
            lambda x, f=function: f(x, (1, 2)),
        )
    yield Case(
        "reduceMean",
        1280,
        integers(1, [1]) + number(2, 1),
        (X,),
        lambda x: x.mean(1, keepdims=True),
        exact=True,
    )

    yield Case("reshape", 300, integers(1, [2, 5, 6]), (X,), lambda x: x.reshape(2, 5, 6))
    yield Case(
        "reshape_channels_last",
        300,
        integers(1, [2, 5, 6]) + number(2, 1),
        (X,),
        lambda x: x.transpose(1, 2, 0).reshape(5, 6, 2).transpose(2, 0, 1),
    )
    yield Case("flatten", 301, b"", (X,), lambda x: x.ravel())
    yield Case(
        "flatten_channels_last", 301, number(1, 1), (X,), lambda x: x.transpose(1, 2, 0).ravel()
    )
    yield Case("permute", 310, integers(1, [0, 2, 3, 1]), (X,), lambda x: x.transpose(1, 2, 0))
    yield Case("concat", 320, b"", (X, Y), lambda x, y: np.concatenate([x, y]))
    yield Case("split", 330, number(1, 3), (X,), lambda x: tuple(np.split(x, 3)), outputs=3)
    yield Case(
        "slice",
        350,
        number(1, 1) + number(2, -1) + number(3, 2) + number(4, 2),
        (X,),
        lambda x: x[:, :, 1:-1:2],
    )
    yield Case(
        "padding",
        200,
        part(1, real(1, 1.5)) + part(10, edges((1, 0), (0, 2))),
        (X,),
        lambda x: np.pad(x, [(0, 0), (1, 0), (0, 2)], constant_values=1.5),
    )
    yield Case(
        "padding_mirrored",
        200,
        part(2) + part(10, edges((1, 0), (0, 2))),
        (X,),
        lambda x: np.pad(x, [(0, 0), (1, 0), (0, 2)], "reflect"),
    )
    yield Case("upsample", 210, integers(1, [2, 3]), (X,), lambda x: x.repeat(2, 1).repeat(3, 2))
    yield Case(
        "transpose", 985, integers(1, [2, 0, 1]), (X,), lambda x: x.transpose(2, 0, 1), exact=True
    )
    yield Case(
        "reshapeStatic", 1140, integers(1, [3, -1]), (X,), lambda x: x.reshape(3, 20), exact=True
    )
    yield Case("squeeze", 1120, integers(1, [1]), (floats(3, 1, 2),), lambda x: x[:, 0], exact=True)
    yield Case("expandDims", 1125, integers(1, [0]), (X,), lambda x: x[None], exact=True)
    yield Case(
        "concatND", 980, number(1, 1), (X, Y), lambda x, y: np.concatenate([x, y], 1), exact=True
    )
    yield Case("stack", 925, number(1, 0), (X, Y), lambda x, y: np.stack([x, y]), exact=True)
    yield Case(
        "splitND",
        975,
        number(1, 1) + integers(3, [1, 3]),
        (X,),
        lambda x: (x[:, :1], x[:, 1:]),
        exact=True,
        outputs=2,
    )
    yield Case(
        "tile", 920, integers(1, [1, 2, 1]), (X,), lambda x: np.tile(x, (1, 2, 1)), exact=True
    )
    a, c = floats(2, 3, 4), floats(2, 5, 4)
    yield Case(
        "batchedMatmul", 1045, number(2, 1), (a, c), lambda x, y: x @ y.swapaxes(1, 2), exact=True
    )
    m = floats(4, 6)
    yield Case(
        "batchedMatmul_weights",
        1045,
        number(5, 4) + number(6, 6) + weights(8, m),
        (a,),
        lambda x: x @ m,
        exact=True,
    )
    embedded = number(1, 6) + number(2, 2) + weights(20, w)
    yield Case("embedding", 150, embedded, (np.float32([4]),), lambda x: w[:, 4])
    params = integers(1, [5]) + real(2, 1e-3) + weights(3, VECTOR[:5]) + weights(4, VECTOR[1:])
    yield Case(
        "layerNormalization",
        1350,
        params,
        (X,),
        lambda x: (
            (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3) * VECTOR[:5]
            + VECTOR[1:]
        ),
        exact=True,
    )
