"""The kernel families that `tlc selftest` tries: programs, shapes, and what NumPy makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Exact = Callable[..., tuple[Array, Any]]  # of inputs in float64, and a unit: result and slack
Shapes = Callable[[int, int], tuple[tuple[int, ...], ...]]

EPS = 2.0**-24  # what an operation in float32 rounds off, relative


def _silu(u: float, x: Array, b: Array) -> tuple[Array, Any]:
    y = x + b
    return y / (1 + np.exp(-y)), (8 * EPS + 1.1 * u) * np.abs(y)  # the slope is at most 1.1


def _softmax(u: float, x: Array) -> tuple[Array, Any]:
    e = np.exp(x - x.max(-1, keepdims=True))
    exact = e / e.sum(-1, keepdims=True)
    return exact, (16 + x.shape[-1]) * EPS * exact


def _norm(u: float, x: Array, g: Array, b: Array) -> tuple[Array, Any]:
    centred = x - x.mean(-1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    off = (16 + x.shape[-1]) * EPS * scale * (1 + np.abs(x).max()) * (np.abs(g) + 1)
    return centred * scale * g + b, off


def _mean(u: float, x: Array) -> tuple[Array, Any]:
    return x.mean(0, keepdims=True), (len(x) + 2) * EPS * np.abs(x).mean(0, keepdims=True)


def _sums(u: float, x: Array) -> tuple[Array, Any]:
    return np.cumsum(x, 1), x.shape[1] * EPS * np.cumsum(np.abs(x), 1)


def _scatter(u: float, x: Array, ids: Array, rows: Array) -> tuple[Array, Any]:
    exact = x.copy()
    for at, row in zip(ids, rows, strict=True):
        exact[at] = row
    return exact, 0.0


def _linear(u: float, x: Array, w: Array, b: Array) -> tuple[Array, Any]:
    product = x @ w
    off = x.shape[-1] * EPS * (np.abs(x) @ np.abs(w))
    return np.maximum(product + b, 0), off + u * (np.abs(product) + np.abs(product + b))


def _product(u: float, x: Array, w: Array) -> tuple[Array, Any]:
    w = np.swapaxes(w, -1, -2)
    return x @ w, x.shape[-1] * EPS * (np.abs(x) @ np.abs(w))


def _windows(x: Array) -> Array:
    """The elements of windows of 3 x 3 around each pixel: [batch, channels, 9, height, width]."""
    height, width = x.shape[2:]
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    places = [(i, j) for i in range(3) for j in range(3)]
    return np.stack([wide[:, :, i : i + height, j : j + width] for i, j in places], 2)


def _convolution(u: float, x: Array, w: Array, b: Array) -> tuple[Array, Any]:
    """Two groups; a single channel in each of them is a kernel of its own."""
    batch, channels, height, width = x.shape
    seen = _windows(x).reshape(batch, 2, channels // 2, 9, height, width)
    weights = w.reshape(2, len(w) // 2, channels // 2, 9)
    shape = (batch, len(w), height, width)
    made, size = (
        np.einsum("bgcpyx,gocp->bgoyx", *both).reshape(shape)
        for both in ((seen, weights), (np.abs(seen), np.abs(weights)))
    )
    exact = np.maximum(made + b[:, None, None], 0)
    return exact, 9 * channels * EPS * size + u * (np.abs(made) + exact)


def _attention(u: float, q: Array, k: Array, v: Array) -> tuple[Array, Any]:
    """A score is off by a unit for each of its terms, weights by that and by exp, sums by a key."""
    n, depth = len(q), q.shape[-1]
    heads = [np.repeat(a.transpose(1, 0, 2), q.shape[1] // a.shape[1], 0) for a in (q, k, v)]
    scores = heads[0] @ heads[1].transpose(0, 2, 1) / np.sqrt(depth)
    terms = (np.abs(heads[0]) @ np.abs(heads[1]).transpose(0, 2, 1)).max() / np.sqrt(depth)
    scores = np.where(np.tri(n, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    off = (2 * (depth + 8) * terms + n + 40) * EPS * np.abs(v).max()
    return (weights @ heads[2]).transpose(1, 0, 2), off


# family -> its function, where T stands for the dtype, the shapes of its arguments for M and N (an
# integer type has whole numbers below M), and what it gives
CASES: dict[str, tuple[str, Shapes, Exact]] = {
    "elementwise": (
        "(x: T[M, N], b: T[N]) { silu(x + b) }", lambda m, n: ((m, n), (n,)), _silu
    ),
    "transposed": (
        "(x: T[M, N], y: T[N, M]) { x * y.T }",
        lambda m, n: ((m, n), (n, m)),
        lambda u, x, y: (x * y.T, 0.0),
    ),
    "softmax": ("(x: T[M, N]) { softmax(x) }", lambda m, n: ((m, n),), _softmax),
    "layer_norm": (
        "(x: T[M, N], g: T[N], b: T[N]) { layer_norm(x, g, b) }",
        lambda m, n: ((m, n), (n,), (n,)),
        _norm,
    ),
    "row_extreme": (
        "(x: T[M, N]) { max(x, 1) }", lambda m, n: ((m, n),), lambda u, x: (x.max(1), 0.0)
    ),
    "column": ("(x: T[M, N]) { mean(x, 0, keepdim: true) }", lambda m, n: ((m, n),), _mean),
    "column_argmax": (
        "(x: T[M, N]) { argmax(x, 0) }", lambda m, n: ((m, n),), lambda u, x: (x.argmax(0), 0.0)
    ),
    "gather": (
        "(x: T[M, N], i: int[N]) { gather(x, i) }",
        lambda m, n: ((m, n), (n,)),
        lambda u, x, i: (x[i], 0.0),
    ),
    "concat": (
        "(x: T[M, N], y: T[M, 3]) { concat(x, y, 1) }",
        lambda m, n: ((m, n), (m, 3)),
        lambda u, x, y: (np.concatenate([x, y], 1), 0.0),
    ),
    "sort": (
        "(x: T[M, N]) { argsort(x, 1) }",
        lambda m, n: ((m, n),),
        lambda u, x: (np.argsort(x, 1, kind="stable"), 0.0),
    ),
    "scan": ("(x: T[M, N]) { cumsum(x, 1) }", lambda m, n: ((m, n),), _sums),
    "scatter": (
        "(x: T[M, N], i: int[K], r: T[K, N]) { scatter(x, i, r) }",
        lambda m, n: ((m, n), (5,), (5, n)),
        _scatter,
    ),
    "linear": (
        "(x: T[M, K], w: T[K, N], b: T[N]) { relu(x @ w + b) }",
        lambda m, n: ((m, 65), (65, n), (n,)),
        _linear,
    ),
    "product": (
        "(x: T[M, K], w: T[N, K]) { x @ w.T }", lambda m, n: ((m, 40), (n, 40)), _product
    ),
    "batched": (
        "(x: T[B, M, K], w: T[B, N, K]) { x @ transpose(w, 1, 2) }",
        lambda m, n: ((3, m, 33), (3, n, 33)),
        _product,
    ),
    "convolution": (
        "(x: T[1, 4, M, N], w: T[6, 2, 3, 3], b: T[6])"
        " { relu(conv2d(x, w, b, padding: 1, groups: 2)) }",
        lambda m, n: ((1, 4, m, n), (6, 2, 3, 3), (6,)),
        _convolution,
    ),
    "depthwise": (
        "(x: T[2, 2, M, N], w: T[4, 1, 3, 3], b: T[4])"
        " { relu(conv2d(x, w, b, padding: 1, groups: 2)) }",
        lambda m, n: ((2, 2, m, n), (4, 1, 3, 3), (4,)),
        _convolution,
    ),
    "pool": (
        "(x: T[2, M, N]) { avg_pool2d(x, 3, 1, 1) }",
        lambda m, n: ((2, m, n),),
        lambda u, x: (
            _windows(x[None]).mean(2)[0], 12 * EPS * np.abs(_windows(x[None])).mean(2)[0]
        ),
    ),
    "attention": (
        "(q: T[M, 4, 20], k: T[M, 2, 20], v: T[M, 2, 33])"
        " { attention(q, k, v, causal_mask(M, M)) }",
        lambda m, n: ((m, 4, 20), (m, 2, 20), (m, 2, 33)),
        _attention,
    ),
}  # fmt: skip
