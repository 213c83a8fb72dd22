"""Kernels that become one launch: which do, which do not, and that they compute the same."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ir.kernels import families, kernels, optimised
from tests.ir.programs import lowered
from tlc.ir import interp

SIGNATURE = (
    "fn f(x: float16[N, K], w: float16[K, M], v: float16[M, K], u: float16[2, K, M],"
    " b: float16[M]) -> Tensor { return %s }"
)
MERGED = {
    "two": ("softmax(x @ w) @ v - softmax(x @ u[0, :, :]) @ v", [2, 2, 1, 1]),
    "with_epilogues": (
        "softmax(relu(x @ w + b)) - softmax(linear(x, v) * 2.0)",
        [2, 1],
    ),
    "of_what_was_computed": ("softmax(exp(x) @ w) - softmax(exp(x) @ u[1, :, :])", [1, 2, 1]),
    "of_different_widths": ("softmax(x @ w) - sum(softmax(x @ w[:, 1:]), 1, true)", [2, 1, 1]),
}


@pytest.mark.parametrize(("body", "results"), MERGED.values(), ids=MERGED.keys())
def test_products_of_the_same_rows_are_one_launch(body: str, results: list[int]) -> None:
    text = SIGNATURE % body
    func = optimised(text)
    assert sorted(len(op.results) for op in kernels(func)) == sorted(results)
    rng = np.random.default_rng(7)
    shapes = [(3, 4), (4, 5), (5, 4), (2, 4, 5), (5,)]
    args = [rng.standard_normal(shape).astype(np.float16) for shape in shapes]
    (found,) = interp.run(func, args)
    (wanted,) = interp.run(lowered(text).module.func("f"), args)
    # a few roundings to float16 of numbers below 8 are left out
    np.testing.assert_allclose(found, wanted, rtol=0, atol=8 * 4 * 2.0**-11)


@pytest.mark.parametrize(
    "body",
    [
        "silu(x @ w) * (x @ u[0, :, :])",
        "relu(linear(x, v) + b) * linear(x, v * 2.0) - 1.0",
        "(x @ w) / (exp(x @ u[0, :, :]) + 1.0)",
    ],
)
def test_a_gate_and_what_it_opens_are_one_kernel(body: str) -> None:
    func = optimised(SIGNATURE % body)
    matmuls = [op for op in kernels(func) if op.attrs["family"] == "matmul"]
    (op,) = matmuls
    assert [inner.name for inner in op.regions[0].ops].count("contract") == 2
    assert len(op.results) == 1


ROWS = {
    "rms_norm": "rms_norm(x, x[0, :]) @ w",
    "layer_norm": "relu(layer_norm(x, x[0, :], x[1, :]) @ w + b)",
    "projections": "softmax(rms_norm(x, x[0, :]) @ w) - softmax(rms_norm(x, x[0, :]) @ u[1, :, :])",
    "gate": "silu(rms_norm(x, x[0, :]) @ w) * (rms_norm(x, x[0, :]) @ u[0, :, :])",
    "sum": "(x + x[0:1, :]) @ w",
}


@pytest.mark.parametrize("body", ROWS.values(), ids=ROWS.keys())
def test_a_product_makes_the_rows_that_only_it_reads(body: str) -> None:
    func = optimised(SIGNATURE % body)
    first, *others = kernels(func)
    assert first.attrs["family"] == "matmul"
    assert func.params[0] in first.operands, "x itself, not what is made of it"
    assert not any(func.params[0] in op.operands for op in others)


LAYER = (
    "fn f(x: float16[N, 8], g: float16[8], up: float16[M, 8], down: float16[8, M]) {"
    " let y = layer_norm(x * x, g, g);"
    " %s }"
)


def test_short_rows_that_a_product_and_a_kernel_of_rows_read_are_made_by_both() -> None:
    """An encoder layer: what is normalised is multiplied, and added to what comes of that."""
    text = LAYER % "layer_norm(y + linear(linear(y, up), down), g, g)"
    func = optimised(text)
    assert families(func) == ["matmul", "matmul", "row"]
    rng = np.random.default_rng(7)
    shapes = [(3, 8), (8,), (5, 8), (8, 5)]
    args = [rng.standard_normal(shape).astype(np.float16) for shape in shapes]
    (found,) = interp.run(func, args)
    (wanted,) = interp.run(lowered(text).module.func("f"), args)
    # what is normalised last has a spread of 1 at least; a rounding of numbers below 8 is left out
    np.testing.assert_allclose(found, wanted, rtol=0, atol=8 * 4 * 2.0**-11)


TOKEN = (
    "fn f(x: float16[%s, %s], g: float16[%s], up: float16[5, %s], down: float16[%s, 5]) {"
    " let y = x + rms_norm(x * x, g); %s }"
)
NORMALISED = "y + rms_norm(linear(tanh(linear(rms_norm(y, g), up)), down), g)"


def test_a_row_of_one_token_is_stored_beside_the_product_that_goes_on_with_it() -> None:
    """A layer with norms of what is added, too: what is added is made by the product that reads it
    normalised, and stored for the sum behind it."""
    text = TOKEN % (1, 8, 8, 8, 8, NORMALISED)
    func = optimised(text)
    assert [(op.attrs["family"], len(op.results)) for op in kernels(func)] == [
        ("matmul", 2),
        ("matmul", 1),
        ("row", 1),
    ]
    rng = np.random.default_rng(8)
    args = [rng.standard_normal(s).astype(np.float16) for s in ((1, 8), (8,), (5, 8), (8, 5))]
    (found,) = interp.run(func, args)
    (wanted,) = interp.run(lowered(text).module.func("f"), args)
    # a rounding of numbers below 8 is left out, and another behind a norm
    np.testing.assert_allclose(found, wanted, rtol=0, atol=8 * 4 * 2.0**-11)


@pytest.mark.parametrize(
    "text",
    [
        TOKEN % (2, 8, 8, 8, 8, NORMALISED),
        TOKEN % (1, 4096, 4096, 4096, 4096, NORMALISED),
        TOKEN % (1, 8, 8, 8, 8, "sum(y) + sum(linear(rms_norm(y, g), up))"),
        TOKEN % (1, 8, 8, 8, 8, "y + linear(linear(rms_norm(y, g), up) * y[0, 0], down)"),
    ],
    ids=["two rows", "long", "read before", "read behind the product by it"],
)
def test_other_rows_that_a_product_goes_on_with_are_stored_before(text: str) -> None:
    func = optimised(text)
    assert families(func)[0] == "row"
    assert all(len(op.results) == 1 for op in kernels(func))


@pytest.mark.parametrize(
    ("width", "rest"),
    [
        ("K", "layer_norm(y + linear(linear(y, up), down), g, g)"),
        ("8", "layer_norm(linear(linear(y, up), down), g, g) + y * sum(y)"),
    ],
    ids=["perhaps long", "read by another kernel"],
)
def test_other_rows_that_two_kernels_read_are_stored(width: str, rest: str) -> None:
    text = (LAYER % rest).replace("8]", f"{width}]")
    assert families(optimised(text.replace("[8,", f"[{width},")))[0] == "row"


STORED = {
    "exp": "exp(x) @ w",
    "softmax": "softmax(x) @ w",
    "read by others": "softmax(rms_norm(x, x[0, :]) @ w) @ v + rms_norm(x, x[0, :])",
    "on the right": "v @ (x[0:5, :] * 2.0).T",
    "both sides": "(x * 2.0) @ (x * 2.0).T",
}


@pytest.mark.parametrize("body", STORED.values(), ids=STORED.keys())
def test_rows_that_cost_much_or_that_others_read_are_stored(body: str) -> None:
    func = optimised(SIGNATURE % body)
    assert families(func)[0] in ("row", "elementwise")


PIECES = {
    "elementwise": ("concat(x * 2.0, exp(x), 0)", ["concat"]),
    "stack": ("stack(relu(x), x + 1.0, 0)", ["concat"]),
    "positions": (
        "concat(reshape(x, [N, 2, 2]), rope(reshape(x, [N, 2, 2]), 0), 0)",
        ["elementwise", "concat"],
    ),
    "sums": ("concat(softmax(x), x, 1)", ["row", "concat"]),
    "a part": ("concat((x * 2.0)[1:, :], x, 0)", ["elementwise", "concat"]),
    "twice": ("concat(x * 2.0, x * 2.0, 0)", ["elementwise", "concat"]),
}


@pytest.mark.parametrize(("body", "wanted"), PIECES.values(), ids=PIECES.keys())
def test_a_concatenation_computes_its_pieces(body: str, wanted: list[str]) -> None:
    text = SIGNATURE.replace("K", "4") % body
    func = optimised(text)
    assert families(func) == wanted
    rng = np.random.default_rng(8)
    shapes = [(3, 4), (4, 5), (5, 4), (2, 4, 5), (5,)]
    args = [rng.standard_normal(shape).astype(np.float16) for shape in shapes]
    (found,) = interp.run(func, args)
    (wide,) = interp.run(lowered(text).module.func("f"), args)
    # exp(x) below 16, rounded in other places
    np.testing.assert_allclose(found, wide, rtol=0, atol=16 * 2.0**-11)


TOGETHER = {
    # results, and the families of the kernels with how many results each has
    "normalised": (
        "rms_norm(x @ w, b), rms_norm(x @ u[0, :, :], b)",
        [("matmul", 2), ("row", 2)],
    ),
    "halves": (
        "rms_norm((x @ w)[:, 0:2], b[0:2]), softmax((x @ w)[:, 2:4])",
        [("matmul", 1), ("row", 2)],
    ),
    "appended": (
        "concat(v.T, x @ w, 0), concat(w * 2.0, exp(x @ u[0, :, :]), 0)",
        [("matmul", 2), ("concat", 2)],
    ),
    "of other lengths": (
        "softmax(x @ w), softmax(x @ w[:, 1:])",
        [("matmul", 2), ("row", 1), ("row", 1)],
    ),
    "of no launch": ("softmax(x), rms_norm(x, x[0, :])", [("row", 1), ("row", 1)]),
    "one needs the other": (
        "softmax(x @ w), softmax(softmax(x @ w) + x @ u[1, :, :])",
        [("matmul", 2), ("row", 1), ("row", 1)],
    ),
    "larger": (
        "concat(x, x @ w, 1), concat(x, x @ u[0, :, 1:], 1)",
        [("matmul", 2), ("concat", 1), ("concat", 1)],
    ),
}


@pytest.mark.parametrize(("body", "wanted"), TOGETHER.values(), ids=TOGETHER.keys())
def test_rows_and_concatenations_of_one_size_are_one_launch(
    body: str, wanted: list[tuple[str, int]]
) -> None:
    text = SIGNATURE.replace("-> Tensor { return %s }", "{ (%s) }") % body
    func = optimised(text)
    assert [(op.attrs["family"], len(op.results)) for op in kernels(func)] == wanted
    rng = np.random.default_rng(9)
    shapes = [(3, 4), (4, 5), (5, 4), (2, 4, 5), (5,)]
    args = [rng.standard_normal(shape).astype(np.float16) for shape in shapes]
    results = interp.run(func, args)
    before = interp.run(lowered(text).module.func("f"), args)
    for found, wide in zip(results, before, strict=True):
        # a few roundings to float16 of numbers below 16 are made in other places
        np.testing.assert_allclose(found, wide, rtol=0, atol=16 * 4 * 2.0**-11)


APART = {
    "other_rows": "softmax(x @ w) - softmax(exp(x) @ w)",
    "one_column": "softmax(x @ w) - sum(x @ w[:, 0:1], 1, true)",
    "one_needs_the_other": "softmax(x @ w) - softmax(x @ (v.T @ softmax(v @ w)))",
    "batches": "softmax(u @ v) - softmax(u @ (v * 2.0))",
}


@pytest.mark.parametrize("body", APART.values(), ids=APART.keys())
def test_other_products_are_launches_of_their_own(body: str) -> None:
    func = optimised(SIGNATURE % body)
    assert all(len(op.results) == 1 for op in kernels(func))
    assert families(func).count("matmul") >= 2
