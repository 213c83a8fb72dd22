"""Operations made of other operations, on every device, against formulas in numpy, at odd sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tlc

Array = NDArray[Any]
SIZES = ((1, 1), (2, 3), (3, 31), (7, 2), (31, 7), (33, 33))
DTYPES = {"f16": np.float16, "f32": np.float32}
# Intermediate results are float32 and the last one is rounded once. A hundred float32 roundings of
# numbers below 64 are off by less than 2^-11, which is also half a unit of a float16 below 1; where
# a float16 product is rounded before its activation, there is one more rounding of float16.
ABSOLUTE, RELATIVE = 2.0**-10, {"f16": 2.0**-9, "f32": 2.0**-15}


@dataclass(frozen=True)
class Operation:
    """A function of the language, as text with DTYPE for its dtype, and what it computes.

    `shapes` gives the shape of each argument for sizes m and n; a shape that begins with "ids" or
    "mask" is of whole numbers below m, or of truth values.
    """

    text: str
    shapes: Callable[[int, int], list[Any]]
    formula: Callable[..., Array]


def _gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _attention(q: Array, k: Array, v: Array, mask: Array) -> Array:
    out = np.zeros((*q.shape[:2], v.shape[2]))
    for head in range(q.shape[1]):
        shared = head * k.shape[1] // q.shape[1]
        scores = q[:, head] @ k[:, shared].T / np.sqrt(q.shape[2])
        out[:, head] = _softmax(np.where(mask, scores, -1e30)) @ v[:, shared]
    return out


def _rope(x: Array, positions: Array, half: bool) -> Array:
    pairs = np.arange(x.shape[2] // 2)
    angle = positions[:, None, None] * 10000.0 ** (-2 * pairs / x.shape[2])
    first, second = (
        (x[..., : len(pairs)], x[..., len(pairs) :]) if half else (x[..., ::2], x[..., 1::2])
    )
    turned = (first + 1j * second) * np.exp(1j * angle)
    if half:
        return np.concatenate([turned.real, turned.imag], -1)
    return np.stack([turned.real, turned.imag], -1).reshape(x.shape)


def _batch_norm(x: Array, mean: Array, var: Array, gamma: Array, beta: Array) -> Array:
    mean, var, gamma, beta = (v[None, :, None] for v in (mean, var * var, gamma, beta))
    return (x - mean) / np.sqrt(var + 1e-5) * gamma + beta


def _scattered(x: Array, ids: Array, rows: Array) -> Array:
    out = x.copy()
    for at, row in zip(ids, rows, strict=True):
        out[at] = row
    return out


T = "DTYPE"
OPERATIONS = {
    "fused_add_relu": Operation(
        f"(a: {T}[M, N], b: {T}[N]) -> {T}[M, N] {{ fused_add_relu(a, b) }}",
        lambda m, n: [(m, n), (n,)],
        lambda a, b: np.maximum(a + b, 0),
    ),
    "fused_mul_relu": Operation(
        f"(a: {T}[M, N], b: {T}[M, N]) -> {T}[M, N] {{ fused_mul_relu(a, b) }}",
        lambda m, n: [(m, n), (m, n)],
        lambda a, b: np.maximum(a * b, 0),
    ),
    "fused_affine": Operation(
        f"(x: {T}[M, N], s: {T}[N], t: {T}[N]) -> {T}[M, N] {{ fused_affine(x, s, t) }}",
        lambda m, n: [(m, n), (n,), (n,)],
        lambda x, s, t: x * s + t,
    ),
    "fused_gelu_linear": Operation(
        f"(x: {T}[M, N], w: {T}[K, N], b: {T}[K]) -> {T}[M, K] {{ fused_gelu_linear(x, w, b) }}",
        lambda m, n: [(m, n), (3, n), (3,)],
        lambda x, w, b: _gelu(x @ w.T + b),
    ),
    "masked_softmax": Operation(
        f"(x: {T}[H, M, N]) -> {T}[H, M, N]"
        " { softmax(apply_attention_mask(x, causal_mask(shape(x)[1], shape(x)[2]))) }",
        lambda m, n: [(2, m, m + n)],
        lambda x: _softmax(
            np.where(np.tri(x.shape[1], x.shape[2], x.shape[2] - x.shape[1], dtype=bool), x, -1e30)
        ),
    ),
    "padding_mask": Operation(
        f"(x: {T}[M, N], ids: int32[M]) -> {T}[M, N]"
        " { where(combine_masks(padding_mask(ids, shape(x)[1]), x), x, 0.0) }",
        lambda m, n: [(m, n), ("ids", m)],
        lambda x, ids: np.where(np.arange(x.shape[1]) < ids[:, None], x, 0),
    ),
    "rope": Operation(
        f"(x: {T}[M, 2, N]) -> {T}[M, 2, N] {{ rope(x, 5) }}",
        lambda m, n: [(m, 2, 2 * n)],
        lambda x: _rope(x, 5.0 + np.arange(len(x)), False),
    ),
    "rope_half": Operation(
        f"(x: {T}[M, 2, N], ids: int32[M]) -> {T}[M, 2, N] {{ rope(x, ids, layout: half) }}",
        lambda m, n: [(m, 2, 2 * n), ("ids", m)],
        lambda x, ids: _rope(x, ids.astype(np.float64), True),
    ),
    "attention": Operation(
        f"(q: {T}[M, 4, N], k: {T}[L, 2, N], v: {T}[L, 2, D]) -> {T}[M, 4, D]"
        " { attention(q, k, v, causal_mask(shape(q)[0], shape(k)[0])) }",
        lambda m, n: [(m, 4, n), (m + 2, 2, n), (m + 2, 2, 3)],
        lambda q, k, v: _attention(q, k, v, np.tri(len(q), len(k), 2, dtype=bool)),
    ),
    "attention_of_heads": Operation(
        f"(q: {T}[M, H, N], k: {T}[M, H, N], v: {T}[M, H, N], mask: bool[M, M]) -> {T}[M, H, N]"
        " { attention(q, k, v, mask) }",
        lambda m, n: [(m, 3, n), (m, 3, n), (m, 3, n), ("mask", m, m)],
        _attention,
    ),
    "batch_norm": Operation(
        f"(x: {T}[M, N, 3], mean: {T}[N], v: {T}[N], g: {T}[N], b: {T}[N]) -> {T}[M, N, 3]"
        " { batch_norm(x, mean, v * v, g, b) }",
        lambda m, n: [(m, n, 3), *[(n,)] * 4],
        _batch_norm,
    ),
    "normalize_features": Operation(
        f"(x: {T}[M, N]) -> {T}[M, N] {{ normalize_features(x) }}",
        lambda m, n: [(m, n)],
        lambda x: x / np.sqrt((x * x).sum(-1, keepdims=True)),
    ),
    "one_hot": Operation(
        f"(x: {T}[M, N], ids: int32[K]) -> {T}[K, M] {{ one_hot(ids, shape(x)[0]) as {T} }}",
        lambda m, n: [(m, n), ("ids", n)],
        lambda x, ids: np.eye(len(x))[ids],
    ),
    "sum_of_pairs": Operation(
        f'(x: {T}[M, N], y: {T}[M, N]) -> {T}[M] {{ einsum("ij,ij->i", x, y) }}',
        lambda m, n: [(m, n), (m, n)],
        lambda x, y: (x * y).sum(1),
    ),
    "three_operands": Operation(
        f'(x: {T}[M, N], y: {T}[M, N], z: {T}[N]) -> {T}[M] {{ einsum("ij,kj,j->i", x, y, z) }}',
        lambda m, n: [(m, n), (m, n), (n,)],
        lambda x, y, z: x @ (y.sum(0) * z),
    ),
    "batches_and_traces": Operation(
        f'(x: {T}[B, N, N], y: {T}[N, M]) -> {T}[M, B] {{ einsum("bii,ij->jb", x, y) }}',
        lambda m, n: [(3, n, n), (n, m)],
        lambda x, y: np.einsum("bii,ij->jb", x, y),
    ),
    "cumsum": Operation(
        f"(x: {T}[M, N]) -> {T}[M, N] {{ cumsum(x, 0) }}",
        lambda m, n: [(m, n)],
        lambda x: np.cumsum(x, 0),
    ),
    "sort": Operation(
        f"(x: {T}[M, N]) -> {T}[M, N] {{ sort(x, descending: true) }}",
        lambda m, n: [(m, n)],
        lambda x: np.sort(x)[:, ::-1],
    ),
    "sort_columns": Operation(
        f"(x: {T}[M, N]) -> {T}[M, N] {{ sort(x * 2.0, 0) }}",
        lambda m, n: [(m, n)],
        lambda x: np.sort(2 * x, 0),
    ),
    "topk": Operation(
        f"(x: {T}[M, N]) -> {T}[M, 2] {{ topk(x, 2).0 + one_hot(topk(x, 2).1, 1)[:, :, 0] }}",
        lambda m, n: [(m, n + 1)],
        lambda x: (
            np.sort(x)[:, : -3 if x.shape[1] > 2 else None : -1]
            + (np.argsort(-x, kind="stable")[:, :2] == 0)
        ),
    ),
    "scatter": Operation(
        f"(x: {T}[M, N], ids: int32[K], y: {T}[K, N]) -> {T}[M, N] {{ scatter(x, ids, y + 1.0) }}",
        lambda m, n: [(m, n), ("ids", 5), (5, n)],
        lambda x, ids, y: _scattered(x, ids, y + 1),
    ),
    "index_select": Operation(
        f"(x: {T}[N, M, 3], ids: int32[K]) -> {T}[N, K, 3] {{ index_select(x, ids, 1) }}",
        lambda m, n: [(n, m, 3), ("ids", 5)],
        lambda x, ids: x[:, ids],
    ),
}


def _program(dtype: str) -> str:
    name = {"f16": "float16", "f32": "float32"}[dtype]
    return "\n".join(f"fn my_{n}{o.text.replace(T, name)}" for n, o in OPERATIONS.items())


@pytest.fixture(scope="module", params=["cpu", "reference"])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=DTYPES)
def model(request: pytest.FixtureRequest, device: str) -> tuple[str, tlc.Model]:
    """All operations in one program, so that there is one compilation for each dtype."""
    dtype = str(request.param)
    return dtype, tlc.compile("operations.tl", text=_program(dtype), device=device)


def _argument(shape: Any, m: int, dtype: str, seed: int) -> Array:
    random = np.random.default_rng([seed, m])
    match shape:
        case ("ids", *sizes):
            return random.integers(0, m, sizes).astype(np.int32)
        case ("mask", *sizes):
            return (random.random(sizes) < 0.5) | np.eye(*sizes, dtype=bool)
    return random.standard_normal(shape).astype(DTYPES[dtype])


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_computes_its_formula(name: str, model: tuple[str, tlc.Model]) -> None:
    dtype, program = model
    operation = OPERATIONS[name]
    for m, n in SIZES:
        args = [_argument(s, m, dtype, k) for k, s in enumerate(operation.shapes(m, n))]
        got = program.run(f"my_{name}", *args)
        exact = operation.formula(*(a if a.dtype.kind in "bi" else a.astype(float) for a in args))
        assert got.dtype == DTYPES[dtype]
        assert got.shape == exact.shape, (m, n)
        np.testing.assert_allclose(
            got, exact, rtol=RELATIVE[dtype], atol=ABSOLUTE, err_msg=f"{name} of {m}, {n}"
        )


# ---- windows: their sizes are part of the program ------------------------------------------------


@dataclass(frozen=True)
class Windows:
    """A convolution: shapes of image and weights, and where the windows are."""

    image: tuple[int, int, int, int]
    weight: tuple[int, int, int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


CONVOLUTIONS = (
    Windows((1, 1, 3, 3), (1, 1, 3, 3)),
    Windows((2, 3, 7, 5), (4, 3, 3, 2), padding=(1, 0)),
    Windows((1, 4, 31, 7), (6, 2, 3, 3), (2, 1), (1, 1), groups=2),
    Windows((3, 4, 9, 9), (8, 1, 3, 3), (2, 2), (1, 1), groups=4),
    Windows((2, 7, 6, 6), (33, 7, 1, 1)),
    Windows((2, 2, 33, 11), (2, 2, 2, 5), (3, 2), (0, 2), (5, 2)),
    Windows((1, 6, 8, 8), (6, 2, 2, 2), groups=3),
    Windows((1, 2, 12, 12), (2, 1, 7, 7), groups=2),
)


def _convolved(x: Array, w: Array, bias: Array, at: Windows) -> Array:
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in at.padding)])
    rows, columns = (
        (length - d * (k - 1) - 1) // s + 1
        for length, k, s, d in zip(x.shape[2:], w.shape[2:], at.stride, at.dilation, strict=True)
    )
    out = np.zeros((len(x), len(w), rows, columns)) + bias[:, None, None]
    each, depth = len(w) // at.groups, w.shape[1]
    for o in range(len(w)):
        part = x[:, o // each * depth :][:, :depth]
        for i in range(rows):
            for j in range(columns):
                top, left = i * at.stride[0], j * at.stride[1]
                seen = part[:, :, top :: at.dilation[0], left :: at.dilation[1]]
                seen = seen[:, :, : w.shape[2], : w.shape[3]]
                out[:, o, i, j] += (seen * w[o]).sum((1, 2, 3))
    return out


@pytest.mark.parametrize("dtype", DTYPES)
def test_convolutions(device: str, dtype: str) -> None:
    name = {"f16": "float16", "f32": "float32"}[dtype]
    lines = []
    for number, c in enumerate(CONVOLUTIONS):
        _, *image = c.image
        lines.append(
            f"fn conv{number}(x: {name}[B, {', '.join(map(str, image))}],"
            f" w: {name}{list(c.weight)}, b: {name}[{c.weight[0]}])"
            f" -> {name}[B, {c.weight[0]}, ?, ?] {{"
            f" conv2d(x, w, b, stride: {list(c.stride)}, padding: {list(c.padding)},"
            f" dilation: {list(c.dilation)}, groups: {c.groups}) }}"
        )
    program = tlc.compile("convolutions.tl", text="\n".join(lines), device=device)
    for number, c in enumerate(CONVOLUTIONS):
        x, w, b = (
            _argument(s, number, dtype, k) for k, s in enumerate((c.image, c.weight, c.weight[:1]))
        )
        got = program.run(f"conv{number}", x, w, b)
        exact = _convolved(*(v.astype(float) for v in (x, w, b)), c)
        np.testing.assert_allclose(
            got, exact, rtol=RELATIVE[dtype], atol=8 * ABSOLUTE, err_msg=str(c)
        )


POOLS = (
    ((1, 1, 2, 2), (2, 2), (2, 2), (0, 0)),
    ((2, 3, 7, 5), (3, 2), (1, 2), (1, 1)),
    ((1, 2, 33, 31), (3, 3), (2, 2), (1, 1)),
    ((2, 1, 9, 12), (7, 9), (1, 1), (3, 4)),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pools(device: str, kind: str, dtype: str) -> None:
    name = {"f16": "float16", "f32": "float32"}[dtype]
    lines = [
        f"fn pool{number}(x: {name}[B, C, {image[2]}, {image[3]}]) -> {name}[B, C, ?, ?]"
        f" {{ {kind}_pool2d(x, {list(kernel)}, {list(stride)}, {list(padding)}) }}"
        for number, (image, kernel, stride, padding) in enumerate(POOLS)
    ]
    program = tlc.compile("pools.tl", text="\n".join(lines), device=device)
    for number, (image, kernel, stride, padding) in enumerate(POOLS):
        x = _argument(image, number, dtype, 0)
        edge = -np.inf if kind == "max" else 0.0
        wide = np.pad(
            x.astype(float), [(0, 0), (0, 0), *((p, p) for p in padding)], constant_values=edge
        )
        seen = np.lib.stride_tricks.sliding_window_view(wide, kernel, axis=(2, 3))
        seen = seen[:, :, :: stride[0], :: stride[1]]
        exact = seen.max((-2, -1)) if kind == "max" else seen.mean((-2, -1))
        got = program.run(f"pool{number}", x)
        np.testing.assert_allclose(got, exact, rtol=RELATIVE[dtype], atol=ABSOLUTE)


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("width", [5, 64, 77])
def test_quotients_by_what_a_row_has_in_common(device: str, width: int) -> None:
    """The cpu device multiplies by the inverse where that is as good: 1 / d and the product round
    once each, so that results are within an ulp and a half of the quotient."""
    text = "fn f(x: float32[N, D]) -> float32[N, D] { x / max(x, 1, keepdims: true) }"
    model = tlc.compile("quotients.tl", text=text, device=device)
    x = np.random.default_rng(5).uniform(-1, 1, (9, width)).astype(np.float32)
    largest = [1.0, 0.0, -0.0, np.inf, 1e38, 1e-38, 1e-40, -2.0, np.nan]
    x = np.minimum(x, np.nextafter(np.float32(largest), -np.inf, dtype=np.float32)[:, None])
    x[:, -1] = largest
    with np.errstate(all="ignore"):
        wanted = x / x.max(1, keepdims=True)
    got = model.f(x)
    special = ~np.isfinite(wanted) | (np.abs(wanted) < 1e-37)
    np.testing.assert_allclose(got[~special], wanted[~special], rtol=1.5 * 2**-23)
    np.testing.assert_allclose(got[special], wanted[special], atol=1e-44)


def test_a_kernel_of_many_values_has_a_name_for_each() -> None:
    """Values are numbered, and one number makes the name of a type that kernels use."""
    steps = [1.5 + at / 8 for at in range(8)]
    body = "\n".join(f"y = sigmoid(y * {step} + 0.25) - x" for step in steps)
    text = f"fn f(x: float32[N, 64]) {{\nlet y = softmax(x)\n{body}\ny }}"
    x = np.random.default_rng(5).standard_normal((5, 64)).astype(np.float32)
    wanted = _softmax(x.astype(np.float64))
    for step in steps:
        wanted = 1 / (1 + np.exp(-(wanted * step + 0.25))) - x
    found = tlc.compile("p.tl", text=text, device="cpu").f(x)
    # some sixty float32 roundings of numbers below 8, none of which grows by more than 2.4 / 4
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2.0**-18)


@pytest.mark.parametrize("shape", ["[9, 1000]", "[N, D]"])
def test_positions_of_extremes_in_long_rows(shape: str) -> None:
    """The first of equals, and the first NaN, wherever it is in its block of 256."""
    text = f"fn f(x: float16{shape}) {{ (argmax(x, 1), argmin(x * 2.0, 1)) }}"
    model = tlc.compile("positions.tl", text=text, device="cpu")
    rng = np.random.default_rng(3)
    for width in (1000,) if "1000" in shape else (40, 255, 256, 513, 1000, 4096):
        x = np.round(rng.standard_normal((9, width)) * 2).astype(np.float16)
        x[0], x[1], x[2, : width // 2] = -np.inf, np.inf, -np.inf
        x[3, width - 1] = x[4, [width // 3, width - 1]] = x[5, 0] = np.nan
        x[6] = np.sort(x[6])
        x[7] = -x[6]
        largest, least = model.f(x)
        np.testing.assert_array_equal(largest, x.argmax(1))
        np.testing.assert_array_equal(least, x.argmin(1))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(("n", "m"), [(70, 33), (31, 80), (8, 128)])
def test_axes_that_change_places(n: int, m: int, dtype: str) -> None:
    """The cpu device copies in blocks; there are sizes and views that end within one."""
    orders = ((0, 2, 1), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    x = np.random.default_rng(2).standard_normal((3, n, m)).astype(dtype)
    for shape in (f"3, {n}, {m}", "3, N, M"):
        entries = [
            f"fn f{at}(x: {dtype}[{shape}]) {{ permute(x[1:3, :, :], {list(order)}) }}"
            for at, order in enumerate(orders)
        ]
        model = tlc.compile("turned.tl", text="\n".join(entries), device="cpu")
        for at, order in enumerate(orders):
            np.testing.assert_array_equal(model.run(f"f{at}", x), x[1:3].transpose(order))
