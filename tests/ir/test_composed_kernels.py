"""How many kernels compositions of operations become, and of which families."""

from __future__ import annotations

import pytest

from tests.ir.kernels import families, optimised

F16 = "float16"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        # short forms and norms go into one kernel each
        (
            f"(x: {F16}[N, 8], w: {F16}[4, 8]) -> {F16}[N, 4] {{ fused_gelu_linear(x, w) }}",
            "matmul",
        ),
        (
            f"(x: {F16}[N, 8], w: {F16}[8]) -> {F16}[N, 8] {{ fused_affine(x, w, w) }}",
            "elementwise",
        ),
        (f"(x: {F16}[N, 8]) -> {F16}[N, 8] {{ normalize_features(x) }}", "row"),
        # a mask of sizes is part of the softmax that it masks
        (
            f"(x: {F16}[N, M]) -> {F16}[N, M]"
            " { softmax(apply_attention_mask(x, causal_mask(shape(x)[0], shape(x)[1]))) }",
            "row",
        ),
        # a table of cosines and sines, and the turning
        (
            f"(x: {F16}[N, 4, 8], p: int32[N]) -> {F16}[N, 4, 8] {{ rope(x, p) }}",
            "elementwise elementwise",
        ),
        # queries and keys share the table
        (
            f"(q: {F16}[N, 4, 8], k: {F16}[N, 4, 8], p: int32[N]) -> {F16}[N, 4, 8]"
            " { rope(q, p, layout: half) * rope(k, p, layout: half) }",
            "elementwise elementwise",
        ),
        # keys and values are read where they are
        (
            f"(q: {F16}[N, 4, 8], k: {F16}[M, 4, 8], v: {F16}[M, 4, 8]) -> {F16}[N, 4, 8]"
            " { attention(q, k, v) }",
            "attention",
        ),
        # the products with windows where they are, their bias and what follows
        (
            f"(x: {F16}[1, 3, 9, 9], w: {F16}[4, 3, 3, 3], b: {F16}[4]) -> {F16}[1, 4, 7, 7]"
            " { relu(conv2d(x, w, b)) }",
            "convolution",
        ),
        (
            f"(x: {F16}[N, 8, 9, 9], w: {F16}[8, 4, 3, 3], m: {F16}[8], v: {F16}[8], g: {F16}[8])"
            f" -> {F16}[N, 8, 9, 9] {{ let y = conv2d(x, w, padding: 1, groups: 2);"
            " clamp(batch_norm(y, m, v, g, m), 0.0, 6.0) + x }",
            "elementwise convolution",
        ),
        # zeros that a program puts around an image are not stored
        (
            f"(x: {F16}[N, 4, H, 9], w: {F16}[4, 1, 3, 3]) -> {F16}[N, 4, H - 2, 5]"
            " { let y = concat(zeros([N, 4, H, 2]), x, zeros([N, 4, H, 1]), 3);"
            " conv2d(y, w, stride: [1, 2], groups: 4) }",
            "window",
        ),
        # windows of one element are the image itself
        (
            f"(x: {F16}[1, 8, 9, 9], w: {F16}[4, 8, 1, 1]) -> {F16}[1, 4, 9, 9] {{ conv2d(x, w) }}",
            "matmul",
        ),
        # small windows of single channels
        (
            f"(x: {F16}[N, 8, 9, 9], w: {F16}[8, 1, 3, 3], b: {F16}[8]) -> {F16}[N, 8, 7, 7]"
            " { relu(conv2d(x, w, b, groups: 8)) }",
            "window",
        ),
        (f"(x: {F16}[N, 8, 8, 8]) -> {F16}[N, 8, 4, 4] {{ max_pool2d(x, 2) }}", "window"),
        (f"(x: {F16}[N, 8, 8, 8]) -> {F16}[N, 8, 1, 1] {{ avg_pool2d(x, 8) }}", "row"),
        (f"(x: {F16}[M, N]) -> {F16}[M, N] {{ sort(x) }}", "sort gather"),
        # one row: the flat indices are the indices
        (f"(x: {F16}[N]) -> {F16}[2] {{ topk(x, 2).0 * one_hot(topk(x, 2).1, 1)[:, 0] }}", ""),
    ],
)
def test_a_composition_becomes_few_kernels(text: str, wanted: str) -> None:
    made = families(optimised(f"fn f{text}"))
    if wanted:
        assert made == wanted.split()
    else:
        assert made.count("sort") == 1
