"""Attention is one kernel however it is written, and gives what numpy gives in double precision.

Its kernels are tested by shape in `tests/codegen/attention_cases.py`.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tlc
from tests.codegen.attention_cases import exact_attention
from tests.ir.kernels import families, optimised
from tlc import driver
from tlc.runtime.devices import toolchain

Array = np.ndarray[Any, Any]
SIZES = ((1, 1), (3, 2), (7, 31), (33, 33), (1, 130))


def check(found: Any, exact: Array, off: Array, dtype: str) -> None:
    """The result is exact but for float32 arithmetic and one rounding to its dtype."""
    unit = 2.0**-11 if dtype == "float16" else 2.0**-24
    found = np.asarray(found).astype(np.float64).reshape(exact.shape)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
    error = np.abs(np.nan_to_num(found - exact))
    assert (error <= off + unit * np.abs(np.nan_to_num(exact)) + 2.0**-25).all(), error.max()


def normal(rng: np.random.Generator, dtype: str, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(dtype)


EINSUM = """
fn f(x: float16[N, 128], y: float16[N, 32], z: float16[N, 32]) -> float16[N, 128] {
    let q = reshape(x, [N, 8, 16])
    let k = reshape(broadcast_to(reshape(y, [N, 2, 1, 16]), [N, 2, 4, 16]), [N, 8, 16])
    let v = reshape(broadcast_to(reshape(z, [N, 2, 1, 16]), [N, 2, 4, 16]), [N, 8, 16])
    let scores = einsum("nhd,mhd->hnm", q, k) / 4.0
    let weights = softmax(apply_attention_mask(scores, causal_mask(N)), -1)
    reshape(einsum("hnm,mhd->nhd", weights, v), [N, 128])
}
"""
MATMUL = """
fn f(x: float16[N, 128], y: float16[N, 32], z: float16[N, 32]) -> float16[N, 128] {
    let q = permute(reshape(x, [N, 8, 16]), [1, 0, 2])
    let k = repeat(permute(reshape(y, [N, 2, 16]), [1, 0, 2]), 4, 0)
    let v = repeat(permute(reshape(z, [N, 2, 16]), [1, 0, 2]), 4, 0)
    let scores = (q @ transpose(k, 1, 2)) * 0.25
    let weights = softmax(apply_attention_mask(scores, causal_mask(N)))
    reshape(permute(weights @ v, [1, 0, 2]), [N, 128])
}
"""
BY_HAND = """
fn f(x: float16[N, 128], y: float16[N, 32], z: float16[N, 32]) -> float16[N, 128] {
    let q = permute(reshape(x, [N, 2, 4, 16]), [1, 2, 0, 3]) * 0.25
    let k = reshape(permute(reshape(y, [N, 2, 16]), [1, 2, 0]), [2, 1, 16, N])
    let v = reshape(permute(reshape(z, [N, 2, 16]), [1, 0, 2]), [2, 1, N, 16])
    let row = unsqueeze(arange([N]) as float32, 1)
    let column = arange([N]) as float32
    let bias = where(column <= row, 0.0, -6e4)
    let scores = (q @ k) as float32 + bias
    let large = exp(scores - max(scores, -1, keepdim: true))
    let weights = (large / sum(large, -1, keepdim: true)) as float16
    reshape(permute(weights @ v, [2, 0, 1, 3]), [N, 128])
}
"""


@pytest.mark.parametrize("text", [EINSUM, MATMUL, BY_HAND], ids=["einsum", "matmul", "by_hand"])
def test_what_people_write_is_one_kernel(text: str) -> None:
    model = tlc.compile("a.tl", text=text, device="cpu")
    rng = np.random.default_rng(1)
    for n in (1, 2, 7, 33, 150):
        x, y, z = (normal(rng, "float16", n, size) for size in (128, 32, 32))
        q, k, v = x.reshape(n, 8, 16), *(a.reshape(n, 2, 16) for a in (y, z))
        if "repeat" in text:  # head h reads group h % 2 here, not h / 4
            q = q.reshape(n, 4, 2, 16).transpose(0, 2, 1, 3).reshape(n, 8, 16)
        exact, off = exact_attention(q, k, v, 0.25, np.tri(n, dtype=bool))
        if "repeat" in text:
            exact = exact.reshape(n, 2, 4, 16).transpose(0, 2, 1, 3)
        # q * 0.25 is exact in float16, and is not rounded inside of the kernel anyway
        check(model.run("f", x, y, z), exact.reshape(n, 128), off, "float16")
    assert families(optimised(text)) == ["attention"]


def test_a_mask_for_every_head_and_a_bias() -> None:
    text = (
        "fn f(q: float32[N, 4, 32], k: float32[M, 2, 32], v: float32[M, 2, 32],"
        " s: float16[4, N, M], b: float16[N, M]) -> float32[N, 4, 32] {"
        " let keys = reshape(broadcast_to(unsqueeze(k, 2), [M, 2, 2, 32]), [M, 4, 32])\n"
        " let values = reshape(broadcast_to(unsqueeze(v, 2), [M, 2, 2, 32]), [M, 4, 32])\n"
        ' let scores = einsum("nhd,mhd->hnm", q, keys) * 0.2 + b\n'
        ' einsum("hnm,mhd->nhd", softmax(apply_attention_mask(scores, s > 0.0)), values) }'
    )
    assert families(optimised(text)) == ["attention"]
    model = tlc.compile("a.tl", text=text, device="cpu")
    rng = np.random.default_rng(2)
    for n, m in SIZES:
        q, k, v = (normal(rng, "float32", *s) for s in ((n, 4, 32), (m, 2, 32), (m, 2, 32)))
        s, b = normal(rng, "float16", 4, n, m), normal(rng, "float16", n, m)
        exact, off = exact_attention(q, k, v, 0.2, s > 0, b.astype(np.float64))
        check(model.run("f", q, k, v, s, b), exact, off, "float32")


def test_rows_that_keep_nothing_are_nan_and_no_keys_give_zeros() -> None:
    text = (
        "fn f(q: float32[N, 1, 8], k: float32[M, 1, 8], v: float32[M, 1, 8])"
        " { attention(q, k, v, causal_mask(N, M)) }"
    )
    model = tlc.compile("a.tl", text=text, device="cpu")
    ones = np.ones((200, 1, 8), np.float32)
    found = np.asarray(model.run("f", ones, ones[:50], ones[:50]))
    assert np.isnan(found[:150]).all()
    np.testing.assert_allclose(found[150:], 1, rtol=2**-20)
    np.testing.assert_array_equal(model.run("f", ones, ones[:0], ones[:0]), 0)


@pytest.fixture(params=["this processor", "AVX2"])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What kernels are compiled for; this processor may have wider lanes and a matrix unit."""
    if request.param == "AVX2":
        if platform.machine() != "x86_64":
            pytest.skip("needs an x86-64 processor")
        flags = ["-march=x86-64-v3"]
        monkeypatch.setattr(toolchain, "target", lambda: (flags, "AVX2"))


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize(("n", "m", "depth", "width"), [(70, 150, 40, 33), (9, 300, 64, 64)])
def test_blocks_with_infinities_and_nan(n: int, m: int, depth: int, width: int) -> None:
    text = (
        f"fn f(q: float16[{n}, 2, {depth}], k: float16[{m}, 1, {depth}],"
        f" v: float16[{m}, 1, {width}], s: float16[{n}, {m}]) {{ attention(q, k, v, s > 0.0) }}"
    )
    model = tlc.compile("a.tl", text=text, device="cpu")
    rng = np.random.default_rng(7)
    q, k = normal(rng, "float16", n, 2, depth), normal(rng, "float16", m, 1, depth)
    v, s = normal(rng, "float16", m, 1, width), normal(rng, "float16", n, m)
    heads = [np.moveaxis(x.astype(np.float64), 1, 0) for x in (q, k.repeat(2, 1), v.repeat(2, 1))]
    for case in ("finite", "an infinite value", "a key that is NaN", "an infinite query"):
        match case:
            case "an infinite value":
                heads[2][:, 3, 5], v[3, 0, 5] = np.inf, np.inf
            case "a key that is NaN":
                heads[1][:, m - 1, 0], k[m - 1, 0, 0] = np.nan, np.nan
            case "an infinite query":
                heads[0][1, 4, 2], q[4, 1, 2] = np.inf, np.inf
        scores = np.where(s > 0, heads[0] @ heads[1].swapaxes(1, 2) / depth**0.5, -np.inf)
        with np.errstate(invalid="ignore"):
            weights = np.exp(scores - np.nanmax(scores, -1, keepdims=True, initial=-1e30))
            weights /= weights.sum(-1, keepdims=True)
            exact = np.moveaxis(weights @ heads[2], 0, 1)
        found = model.f(q, k, v, s).reshape(exact.shape)
        number = np.isfinite(exact)
        # of sizes below 1: half a unit of float16, and sums of some hundred floats
        np.testing.assert_allclose(found[number], exact[number], rtol=2**-11, atol=2**-13)
        assert not np.isfinite(found[~number]).any(), case


KEPT_APART = {
    "the weights are a result too": "let w = softmax(q @ k.T)\n(w, w @ v)",
    "the scores are a result too": "let s = q @ k.T\n(s, softmax(s) @ v)",
    "another axis": "softmax(q @ k.T, 0) @ v",
    "no softmax": "exp(q @ k.T) @ v",
}


@pytest.mark.parametrize("body", KEPT_APART.values(), ids=KEPT_APART.keys())
def test_what_is_no_attention_stays_as_it_is(body: str) -> None:
    head = "fn f(q: float16[N, 32], k: float16[M, 32], v: float16[M, 32])"
    assert "attention" not in families(optimised(f"{head} {{ {body} }}"))


@pytest.mark.parametrize(
    ("layout", "depth"),
    [("interleaved", 32), ("half", 16), ("half", 24), ("half", 32), ("half", 128)],
)
def test_the_queries_are_turned_where_they_are_read(layout: str, depth: int) -> None:
    text = (
        f"fn f(x: float16[N, {4 * depth}], k: float16[M, 2, {depth}], v: float16[M, 2, {depth}],"
        f" pos: int[N]) {{ let q = reshape(x, [N, 4, {depth}])\n"
        f" attention(rope(q, pos, layout: {layout}), k, v) }}"
    )
    assert families(optimised(text)) == ["elementwise", "attention"], "the table, and attention"
    cpu = tlc.compile("a.tl", text=text, device="cpu")
    reference = tlc.compile("a.tl", text=text, device="reference")
    rng = np.random.default_rng(4)
    for n, m in ((1, 9), (30, 40)):
        shapes = (n, 4 * depth), (m, 2, depth), (m, 2, depth)
        args = [normal(rng, "float16", *s) for s in shapes]
        args.append(rng.integers(0, 99, n).astype(np.int32))
        found, wanted = (np.asarray(d.run("f", *args), np.float32) for d in (cpu, reference))
        # both are float32 until the result is rounded: a unit of float16, where sizes are below 4
        np.testing.assert_allclose(found, wanted, rtol=0, atol=4 * 2.0**-11)


def test_one_head_is_stored_where_it_is_read() -> None:
    text = (
        "fn one(x: float16[N, 16]) { unsqueeze(x, 1) }"
        " fn f(q: float16[N, 16], k: float16[M, 16], v: float16[M, 16]) {"
        " squeeze(attention(one(q), one(k), one(v)), 1) }"
    )
    assert families(optimised(text)) == ["attention"], "no copy in another order"


def test_a_layer_of_llama_has_no_scores_in_memory() -> None:
    root = Path(__file__).parent.parent
    text = (root / "examples" / "llama.tl").read_text()
    text = text.replace("model.gguf", str(root / "tests" / "data" / "tiny_llama_f16.gguf"))
    steps = driver.build("llama.tl", text=text).manifest["entries"]["logits"]["steps"]
    (loop,) = [step for step in steps if step[0] == "loop"]
    launches = [step for step in loop[3] if step[0] == "launch"]
    assert len(launches) <= LAUNCHES_OF_A_LAYER


LAUNCHES_OF_A_LAYER = 13
