"""Layers of neural networks that compare, choose, order and count, with what NumPy says of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tests.coreml.mil_cases import Array, floats
from tests.coreml.network_cases import Case, X, Y
from tests.coreml.network_writer import integers, number, part, real, reals, weights


def of_order() -> Iterator[Case]:
    """Layers that compare, choose, order and count; truth values are 1 and 0."""
    z = X.copy()
    z[:, 1], z[0] = Y[:, 1], 0
    for kind, name, compare in (
        (815, "equal", np.equal), (820, "notEqual", np.not_equal), (825, "lessThan", np.less),
        (827, "lessEqual", np.less_equal), (830, "greaterThan", np.greater),
        (832, "greaterEqual", np.greater_equal),
    ):  # fmt: skip
        alpha = real(1 if kind < 825 else 2, 0.25)
        yield Case(name, kind, b"", (z, Y), lambda x, y, f=compare: f(x, y).astype(float))
        yield Case(name, kind, alpha, (X,), lambda x, f=compare: f(x, 0.25).astype(float))
    for kind, name, combine in (
        (840, "logicalOr", np.logical_or), (845, "logicalXor", np.logical_xor),
        (855, "logicalAnd", np.logical_and),
    ):  # fmt: skip
        yield Case(name, kind, b"", (z, z[::-1]), lambda x, y, f=combine: f(x, y).astype(float))
    yield Case("logicalNot", 850, b"", (z,), lambda x: (x == 0).astype(float))
    yield Case("where", 1330, b"", (z, X, Y), lambda c, x, y: np.where(c != 0, x, y))
    for kind, name, index in ((1020, "argMin", np.argmin), (1025, "argMax", np.argmax)):
        for drop in (False, True):
            params = number(1, 1) + number(2, int(drop))
            yield Case(name, kind, params, (X,), lambda x, f=index, d=drop: f(x, 1, keepdims=not d),
                       exact=True)  # fmt: skip
    for bottom in (0, 1):
        order = np.argsort(X if bottom else -X, 2, kind="stable")[..., :3]
        yield Case(
            "topK",
            1015,
            number(1, 2) + number(2, 3) + number(3, bottom),
            (X,),
            lambda x, at=order: (np.take_along_axis(x, at, 2), at),
            exact=True,
            outputs=2,
        )
        yield Case(
            "argSort",
            1461,
            number(1, 1) + number(2, 1 - bottom),
            (X,),
            lambda x, b=bottom: np.argsort(x if b else -x, 1, kind="stable"),
            exact=True,
        )
    ids, many = np.float32([[2, 0], [1, 2]]), np.float32([2, 0, 0, 1])
    yield Case("gather", 930, number(1, 0), (X, many), lambda x, i: x[i.astype(int)], exact=True)
    yield Case(
        "gatherAlongAxis",
        952,
        number(1, 0),
        (floats(3, 2), ids),
        lambda x, i: np.take_along_axis(x, i.astype(int), 0),
        exact=True,
    )
    hot = number(1, 3) + number(2, 1) + real(3, 2.0) + real(4, -1.0)
    yield Case(
        "oneHot",
        1450,
        hot,
        (many,),
        lambda i: np.where(i[:, None] == np.arange(3), 2.0, -1.0),
        exact=True,
    )
    sums = number(1, 1) + number(2, 1)
    yield Case("cumSum", 1455, number(1, 1), (X,), lambda x: x.cumsum(1), exact=True)
    yield Case("cumSum", 1455, sums, (X,), lambda x: x.cumsum(1) - x, exact=True)
    yield Case("reverse", 960, integers(1, [0, 1, 1]), (X,), lambda x: x[:, ::-1, ::-1], exact=True)
    for linear, height, width in ((0, 8, 15), (1, 8, 15), (2, 8, 15), (2, 6, 5)):
        factors = integers(1, [2, 3]) if height == 8 else reals(7, [1.5, 1.0])
        params = factors + number(5, 1) + number(6, linear)
        yield Case(
            "upsample_linear", 210, params, (X,), lambda x, k=linear, h=height, w=width: between(
                between(x, places(k, 4, h), 1), places(k, 5, w), 2
            )
        )  # fmt: skip
    for method, kind in ((0, 1), (1, 1), (2, 0)):
        params = integers(1, [7, 3]) + part(2, number(1, method))
        yield Case(
            "resizeBilinear", 211, params, (X,), lambda x, k=kind: between(
                between(x, places(k, 4, 7), 1), places(k, 5, 3), 2
            )
        )  # fmt: skip


def places(linear: int, size: int, target: int) -> Array:
    """Where new pixels lie among the old, as NeuralNetwork.proto says for LinearUpsampleMode."""
    at = np.arange(target)
    match linear:
        case 0:
            found = at * (size - size / target) / (target - 1)
        case 1:
            found = at * (size - 1) / (target - 1)
        case _:
            found = at * size / target + 0.5 * size / target - 0.5
    return np.clip(found, 0, size - 1)


def between(x: Array, at: Array, axis: int) -> Array:
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    share = (at - low).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    return x.take(low, axis) * (1 - share) + x.take(high, axis) * share


def of_one_element() -> Iterator[Case]:
    for kind, name, function in (
        (600, "copy", lambda x: x), (665, "ceil", np.ceil), (670, "floor", np.floor),
        (680, "sign", np.sign), (685, "round", np.round), (700, "exp2", np.exp2),
        (710, "sin", np.sin), (715, "cos", np.cos), (720, "tan", np.tan), (760, "tanh", np.tanh),
        (790, "erf", np.vectorize(math.erf)),
    ):  # fmt: skip
        yield Case(name, kind, b"", (X,), function)
    for kind, name, combine in (
        (865, "mod", np.mod), (870, "min", np.minimum), (875, "max", np.maximum),
        (880, "add", np.add), (885, "pow", lambda x, y: np.abs(x) ** y), (890, "divide", np.divide),
        (895, "floorDiv", np.floor_divide), (900, "multiply", np.multiply),
    ):  # fmt: skip
        row = np.abs(Y[0, :1]) + np.float32(0.5)  # broadcast over channels and rows
        first = np.abs(X) if name == "pow" else X
        yield Case(name, kind, b"", (first, row), combine, exact=True)
    cube = np.sqrt(2 / np.pi) * (X + 0.044715 * X**3)
    third = X / (1 + np.exp(-1.702 * X))
    erf = np.vectorize(math.erf)(X / np.sqrt(2))
    for mode, wanted in enumerate((X * (1 + erf) / 2, X * (1 + np.tanh(cube)) / 2, third)):
        yield Case("gelu", 795, number(1, mode), (X,), lambda x, w=wanted: w)
    clamped = real(1, 0.25) + real(2, 0.75)
    yield Case(
        "clampedReLU", 1460, clamped, (X,), lambda x: np.minimum(np.where(x < 0, x / 4, x), 0.75)
    )


def of_shape() -> Iterator[Case]:
    cut = integers(1, [-2, 0, 1]) + integers(2, [0, 1, 0]) + integers(3, [3, -1, 2])
    cut += integers(5, [1, 2, 1]) + integers(6, [0, 0, 1])
    filled = real(1, 2.5) + integers(2, [2, 3])
    yield Case("fillStatic", 1085, filled, (), lambda: np.full((2, 3), 2.5), exact=True)
    yield Case("sliceStatic", 995, cut, (X,), lambda x: x[-2:3, :-1:2, 1], exact=True)
    table, bias = floats(2, 6), floats(2)
    embedded = number(1, 6) + number(2, 2) + number(3, 1) + weights(20, table) + weights(21, bias)
    column = np.float32([[5], [0], [5]])
    yield Case(
        "embeddingND",
        1040,
        embedded,
        (column,),
        lambda i: table[:, i[:, 0].astype(int)].T + bias,
        exact=True,
    )
    yield Case(
        "broadcastToStatic",
        1105,
        integers(1, [3, 4, 5]),
        (X[:1],),
        lambda x: x.repeat(3, 0),
        exact=True,
    )
    yield Case("flattenTo2D", 1130, number(1, 2), (X,), lambda x: x.reshape(12, 5), exact=True)
    yield Case(
        "rankPreservingReshape",
        1150,
        integers(1, [0, 2, -1]),
        (X,),
        lambda x: x.reshape(3, 2, 10),
        exact=True,
    )
    padded = real(1, 0.5) + integers(2, [0, 0, 1, 2, 0, 3])
    yield Case(
        "constantPad",
        1155,
        padded,
        (X,),
        lambda x: np.pad(x, [(0, 0), (1, 2), (0, 3)], constant_values=0.5),
        exact=True,
    )
    for kind, name, reduce in (
        (1250, "L1", lambda x, a, k: np.abs(x).sum(a, keepdims=k)),
        (1255, "L2", lambda x, a, k: np.sqrt((x * x).sum(a, keepdims=k))),
        (1260, "Max", lambda x, a, k: x.max(a, keepdims=k)),
        (1265, "Min", lambda x, a, k: x.min(a, keepdims=k)),
        (1270, "Sum", lambda x, a, k: x.sum(a, keepdims=k)),
        (1275, "Prod", lambda x, a, k: x.prod(a, keepdims=k)),
        (1285, "LogSum", lambda x, a, k: np.log(x.sum(a, keepdims=k))),
        (1290, "SumSquare", lambda x, a, k: (x * x).sum(a, keepdims=k)),
        (1295, "LogSumExp", lambda x, a, k: np.log(np.exp(x).sum(a, keepdims=k))),
    ):  # fmt: skip
        for keep in (False, True):
            params = integers(1, [0, 2]) + number(2, int(keep))
            yield Case(
                name,
                kind,
                params,
                (np.abs(X) + np.float32(0.1),),
                lambda x, f=reduce, k=keep: f(x, (0, 2), k),
                exact=True,
            )
