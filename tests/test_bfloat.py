"""Weights of bfloat16 in all that may read one: products of every form, attention, convolution, and
loops over layers. Each number is rounded to float16, where the kernel reads it or in a copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import tlc

Array = np.ndarray[Any, Any]
SHAPES = {"k": (5, 4, 8), "e": (3, 16, 32), "w": (32, 32), "g": (32,), "c": (6, 3, 3, 3),
          "blk.0.w": (32, 32), "blk.1.w": (32, 32)}  # fmt: skip
PROGRAM = """
m = load_model("m.gguf")
fn rows(x: float16[N, 32]) { linear(x, m.w) * m.g }
fn columns(x: float16[N, 32]) { x @ m.w }
fn left(x: float16[N, 32]) { m.w @ x.T }
fn part(x: float16[N, 32]) { linear(x[:, 4:20], m.w[3:, 4:20]) }
fn batch(x: float16[N, 32]) { einsum("nk,bok->bno", x, m.e) }
fn layers(x: float16[N, 32]) { for i in range(2) { x = x + linear(x, m.blk[i].w) }
    x }
fn tied(x: float16[N, 32]) { linear(m.w[[1, 30, 1], :], m.w) + x[0, :] }
fn seen(x: float16[N, 32]) { attention(reshape(x, [N, 4, 8]), m.k, m.k) }
fn image(x: float16[N, 32]) { conv2d(reshape(x[0:6, :], [1, 3, 8, 8]), m.c) }
"""
X = np.random.default_rng(2).standard_normal((7, 32)).astype(np.float16)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Array]]:
    folder, rng, numbers = tmp_path_factory.mktemp("bfloat"), np.random.default_rng(1), {}
    writer = gguf.GGUFWriter(folder / "m.gguf", "test")
    for name, shape in SHAPES.items():
        bits = (rng.uniform(-0.5, 0.5, shape).astype("<f4").view("<u4") >> 16).astype("<u2")
        bits.flat[0] = 0x3481  # 2.4e-7, of which float16 keeps two bits
        wide = (bits.astype("<u4") << 16).view("<f4")
        numbers[name] = wide.astype(np.float16).astype(np.float64)
        raw = gguf.GGMLQuantizationType.BF16
        writer.add_tensor(name, np.ascontiguousarray(bits).view(np.uint8), raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder, numbers


def expected(w: dict[str, Array]) -> dict[str, Array]:
    x = X.astype(np.float64)
    deep = x + x @ w["blk.0.w"].T
    scores = np.einsum("nhd,mhd->hnm", x.reshape(7, 4, 8), w["k"]) / np.sqrt(8)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    windows = np.lib.stride_tricks.sliding_window_view(x[:6].reshape(3, 8, 8), (3, 3), (1, 2))
    return {
        "rows": x @ w["w"].T * w["g"],
        "columns": x @ w["w"],
        "left": w["w"] @ x.T,
        "part": x[:, 4:20] @ w["w"][3:, 4:20].T,
        "batch": np.einsum("nk,bok->bno", x, w["e"]),
        "layers": deep + deep @ w["blk.1.w"].T,
        "tied": w["w"][[1, 30, 1]] @ w["w"].T + x[0],
        "seen": np.einsum("hnm,mhd->nhd", shares, w["k"]),
        "image": np.einsum("chwij,ocij->ohw", windows, w["c"])[None],
    }


@pytest.mark.parametrize("device", ["cpu", "reference", "emulator"])
def test_every_reader_sees_the_same_numbers(
    weights: tuple[Path, dict[str, Array]], device: str
) -> None:
    folder, numbers = weights
    model = tlc.compile(folder / "p.tl", text=PROGRAM, device=device)
    for name, wanted in expected(numbers).items():
        found = getattr(model, name)(X)
        assert found.shape == wanted.shape
        # up to three results of at most 16 are rounded to 11 bits, and sums of 32 after them
        np.testing.assert_allclose(found, wanted, rtol=2**-9, atol=2**-7, err_msg=name)
