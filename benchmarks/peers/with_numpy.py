"""NumPy in float32, with the BLAS of its wheel; `stream` reads the bytes of a matrix once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case, inputs, packed, unpacked, weights


def version() -> str:
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"numpy {np.__version__}, {blas['name']} {blas['version']}"


def prepare(case: Case, folder: Path) -> Any:
    if case.kind in ("efficientnet", "minilm"):
        return None  # NumPy has no convolutions of images, and MiniLM is six times its encoder
    kept: list[Any] = [None]
    work = _work(case, folder)

    def run() -> None:
        kept[0] = work()

    return run, lambda: kept[0]


def _work(case: Case, folder: Path) -> Any:
    given, sizes = inputs(case), case.sizes
    x = given.get("x")
    match case.kind:
        case "linear":
            a, w, b = given.values()
            return lambda: a @ w + b
        case "mlp":
            return _mlp(x, weights("mlp"))
        case "encoder":
            return _encoder(x, weights("encoder"))
        case "product":
            w = unpacked(case, folder).T
            return lambda: x @ w
        case "attention":
            return _attention(*given.values(), sizes["causal"])
        case "softmax":
            return lambda: _softmax(x.copy())
        case "rms_norm":
            w = given["w"]
            return lambda: x * (1 / np.sqrt(_mean_square(x) + np.float32(1e-6))) * w
        case "layer_norm":
            return lambda: _layer_norm(x, given["w"], given["b"])
        case "gelu":
            return lambda: _gelu_tanh(x)
        case "silu_mul":
            return lambda: _silu_mul(x, given["y"])
        case "sum":
            return lambda: x.sum(1)
        case "argmax":
            return lambda: x.argmax(1)
        case "transpose":
            return lambda: np.ascontiguousarray(x.T)
        case "gather":
            return lambda: x[given["ids"]]
    raise ValueError(case.kind)


def stream(case: Case, folder: Path) -> Any:
    """The largest of the matrix's bytes, eight at a time: a read of all of them in order."""
    data = np.ascontiguousarray(packed(case, folder)).reshape(-1).view(np.int64)
    return lambda: data.max()


def _mlp(x: Any, w: Any) -> Any:
    layers = [(np.ascontiguousarray(w[f"w{at}"].T), w[f"b{at}"]) for at in range(3)]

    def run() -> Any:
        y = x
        for at, (matrix, bias) in enumerate(layers):
            y = y @ matrix
            y += bias
            if at < 2:
                np.maximum(y, 0, out=y)
        return y

    return run


def _softmax(x: Any) -> Any:
    x -= x.max(-1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(-1, keepdims=True)
    return x


def _mean_square(x: Any) -> Any:
    return (np.einsum("...i,...i->...", x, x) / np.float32(x.shape[-1]))[..., None]


def _layer_norm(x: Any, gain: Any, shift: Any) -> Any:
    y = x - x.mean(-1, keepdims=True)
    y *= 1 / np.sqrt(_mean_square(y) + np.float32(1e-5))
    y *= gain
    y += shift
    return y


def _gelu_tanh(x: Any) -> Any:
    y = x * x
    y *= np.float32(0.044715)
    y += 1
    y *= x
    y *= np.float32((2 / np.pi) ** 0.5)
    np.tanh(y, out=y)
    y += 1
    y *= x
    y *= np.float32(0.5)
    return y


def _silu_mul(x: Any, y: Any) -> Any:
    z = np.exp(-x)
    z += 1
    np.divide(x, z, out=z)
    z *= y
    return z


def _attention(q: Any, k: Any, v: Any, causal: bool) -> Any:
    times = q.shape[1] // k.shape[1]
    scale = np.float32(q.shape[2] ** -0.5)
    mask = np.triu(np.full((q.shape[0], k.shape[0]), -np.inf, np.float32), 1) if causal else None

    def run() -> Any:
        # [groups, heads of a group, tokens, d], and keys and values once for each group
        heads = q.transpose(1, 0, 2).reshape(k.shape[1], times, *q.shape[::2])
        scores = heads @ k.transpose(1, 2, 0)[:, None]
        scores *= scale
        if mask is not None:
            scores += mask
        out = _softmax(scores) @ v.transpose(1, 0, 2)[:, None]
        return out.reshape(q.shape[1], *q.shape[::2]).transpose(1, 0, 2)

    return run


def _erf(x: Any) -> Any:
    """Abramowitz and Stegun 7.1.26, within 1.5e-7: NumPy has no erf."""
    a = np.abs(x)
    t = 1 / (1 + np.float32(0.3275911) * a)
    p = np.float32(1.061405429)
    for each in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        p = p * t + np.float32(each)
    return np.sign(x) * (1 - p * t * np.exp(-a * a))


def _encoder(x: Any, w: Any) -> Any:
    w = {n: np.ascontiguousarray(v.T) if v.ndim == 2 and n != "x" else v for n, v in w.items()}

    def linear(y: Any, name: str) -> Any:
        out = y @ w[f"w{name}"]
        out += w[f"b{name}"]
        return out

    def run() -> Any:
        q, k, v = (linear(x, name).reshape(len(x), 12, 32) for name in "qkv")
        mixed = _attention(q, k, v, False)().reshape(x.shape)
        y = _layer_norm(x + linear(mixed, "o"), w["gain0"], w["shift0"])
        wide = linear(y, "up")
        wide *= np.float32(0.5) * (1 + _erf(wide * np.float32(0.5**0.5)))
        return _layer_norm(y + linear(wide, "down"), w["gain1"], w["shift1"])

    return run
