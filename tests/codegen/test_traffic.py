"""Kernels bound by memory move little more than they have to, in whole lines of memory."""

from __future__ import annotations

import numpy as np
import pytest

from tests.codegen.product_cases import nt_of
from tests.codegen.running import Case, fused, normal, packed, size, view
from tests.codegen.traffic import traffic
from tests.ir.kernels import kernels, optimised
from tlc.ir.types import tensor

MOST_MOVED = 1.15  # of the bytes of operands and results
LEAST_COALESCED = 0.90  # of loads of whole simdgroups

# what a function computes, and its sizes
PROGRAMS = {
    "gemv": ("(x: float16[M, K], w: float16[N, K]) { x @ w.T }", {"M": 1, "K": 512, "N": 64}),
    "gemv, static": ("(x: float16[1, 512], w: float16[64, 512]) { x @ w.T }", {}),
    "gemv, f32": ("(x: float32[1, 512], w: float32[64, 512]) { x @ w.T }", {}),
    "gemv, the other layout": ("(x: float16[1, 512], w: float16[512, 128]) { x @ w }", {}),
    "linear": (
        "(x: float16[1, 512], w: float16[64, 512], b: float16[64]) { relu(x @ w.T + b) }",
        {},
    ),
    "silu, mul": ("(x: float16[M, N], y: float16[M, N]) { silu(x) * y }", {"M": 24, "N": 512}),
    "gelu": ("(x: float32[24, 512]) { gelu(x) }", {}),
    "bias": ("(x: float16[M, N], b: float16[N]) { relu(x + b) }", {"M": 24, "N": 512}),
    "softmax": ("(x: float16[M, N]) { softmax(x) }", {"M": 8, "N": 512}),
    "softmax, static": ("(x: float16[8, 512]) { softmax(x) }", {}),
    "layer_norm": (
        "(x: float16[M, N], g: float16[N], b: float16[N]) { layer_norm(x, g, b) }",
        {"M": 32, "N": 512},
    ),
    "rms_norm": ("(x: float16[M, N], g: float16[N]) { rms_norm(x, g) }", {"M": 32, "N": 512}),
    "sum": ("(x: float16[M, N]) { sum(x, 1) }", {"M": 8, "N": 512}),
    "argmax": ("(x: float16[M, N]) { argmax(x, 1) }", {"M": 8, "N": 512}),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_little_more_is_moved_than_has_to_be(name: str) -> None:
    text, sizes = PROGRAMS[name]
    (op,) = kernels(optimised(f"fn f{text}"))
    inputs = [
        normal(at, *(size(d, sizes) for d in operand.tensor.shape), dtype=operand.tensor.dtype)
        for at, operand in enumerate(op.operands)
    ]
    shape = [size(d, sizes) for d in op.result.tensor.shape]
    found = traffic(Case(name, op, inputs, np.zeros(shape), sizes=sizes))
    assert found.moved <= MOST_MOVED * found.least, found
    assert found.loads > 0
    assert found.coalesced >= LEAST_COALESCED * found.loads, found


def test_lanes_that_are_far_apart_are_seen() -> None:
    x = normal(0, 64, 96)
    op = fused("elementwise", [tensor("f16", 64, 96)], lambda b, x: view(b, x, (96, 64), (1, 96)))
    found = traffic(Case("transposed", op, [x], x.T))
    assert found.moved == found.least  # each element once, but
    assert found.coalesced < found.loads / 10


@pytest.mark.parametrize("encoding", ["q8_0", "q4_0", "q4_k", "q6_k"])
def test_packed_weights_are_read_once(encoding: str) -> None:
    op = fused("matmul", [tensor("f16", 1, 512), tensor("f16", 64, 512)], nt_of, ["f16", encoding])
    blocks, _ = packed(1, 64, 512, encoding)
    found = traffic(Case(encoding, op, [normal(0, 1, 512), blocks], np.zeros((1, 64))))
    assert found.moved <= MOST_MOVED * found.least, found
