"""`tlc selftest`: runs every kernel family on a device, and compares with numpy in float64.

It needs nothing but a device: inputs are made, shapes are odd, and what a result may be off by is
derived beside it. What it prints is meant to be sent along with a report.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Exact = Callable[..., tuple[Array, Any]]  # of inputs in float64, and a unit: result and slack

DTYPES = {"float16": np.float16, "float32": np.float32}
UNITS = {np.float16: (2.0**-11, 2.0**-25), np.float32: (2.0**-24, 2.0**-149)}
EPS = 2.0**-24  # what an operation in float32 rounds off, relative
SIZES = ((1, 1), (3, 7), (5, 33), (33, 130), (70, 257))  # around simdgroups and tiles


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
CASES: dict[str, tuple[str, Callable[[int, int], tuple[tuple[int, ...], ...]], Exact]] = {
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


def selftest(options: dict[str, Any]) -> int:
    """Run everything on the device that was asked for; the exit code is 1 when one fails."""
    from tlc import __version__
    from tlc.api import compile

    model = compile("selftest.tl", text=program(), device=options["device"])
    rows = []
    for family in CASES:
        for dtype in DTYPES:
            worst, problem = 0.0, ""
            for m, n in SIZES:
                try:
                    worst = max(worst, *_compared(model, family, dtype, m, n))
                except Exception as found:  # whatever it is, the other kernels are tried too
                    problem = problem or f"{m} x {n}: {' '.join(str(found).split())}"
            passed = not problem and worst <= 1
            rows.append(
                {"family": family, "dtype": dtype, "passed": passed,
                 "error": worst if np.isfinite(worst) else None,
                 "problem": problem}
            )  # fmt: skip
    failed = sum(not row["passed"] for row in rows)
    device = getattr(model._program, "device", None)
    probes: dict[str, Any] = {}
    if device is not None and device.profile == "apple":
        from tlc.probes import probe

        probes = probe(device, timed=not model.device.startswith("emulator"))
    if options["json"]:
        report = {"tlc": __version__, "device": model.device, "rows": rows, "probes": probes}
        print(json.dumps(report, indent=1))
        return 1 if failed else 0
    print(f"tlc {__version__} on {model.device}; errors as parts of what is allowed")
    for row in rows:
        error = "wrong" if row["error"] is None else f"{row['error']:.2f}"
        said = row["problem"] or error
        state = "ok" if row["passed"] else "FAILED"
        print(f"{state:8}{row['family']:15}{row['dtype']:9}{said}")
    for name, value in probes.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        print(f"{name}: {', '.join(f'{k} {v}'.strip() for k, v in parts)}")
    print(f"{len(rows) - failed} passed, {failed} failed, each for {len(SIZES)} sizes")
    return 1 if failed else 0


def program() -> str:
    """The functions of all families for all dtypes, as TensorLogic."""
    return "".join(
        f"fn {family}_{dtype}{body.replace('T[', f'{dtype}[')}\n"
        for family, (body, _, _) in CASES.items()
        for dtype in DTYPES
    )


def _compared(model: Any, family: str, dtype: str, m: int, n: int) -> Iterator[float]:
    """The largest error of a call as a part of what is allowed; infinite for a wrong shape."""
    _, shapes, exact = CASES[family]
    rng = np.random.default_rng([m, n])
    params = model._program.entry(f"{family}_{dtype}").params
    args = [
        rng.integers(-m, m, shape, dtype=np.int32)
        if param["dtype"] == "i32"
        else rng.standard_normal(shape).astype(DTYPES[dtype])
        for param, shape in zip(params, shapes(m, n), strict=True)
    ]
    got = model.run(f"{family}_{dtype}", *args)
    wide = [a if a.dtype == np.int32 else a.astype(np.float64) for a in args]
    unit, tiny = UNITS[DTYPES[dtype]]
    wanted, slack = exact(unit, *wide)
    if got.shape != wanted.shape or not np.isfinite(got).all():
        yield float("inf")
        return
    error = np.abs(got.astype(np.float64) - wanted)
    if got.dtype == np.int32:
        yield float("inf") if error.any() else 0.0
        return
    allowed = slack + (np.abs(wanted) + slack) * unit + tiny
    yield float((error / allowed).max())
