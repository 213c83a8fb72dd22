"""How many kernels a program becomes, of which families, and how large they may get."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.ir.kernels import families, kernels, optimised, stored_by
from tests.ir.programs import lowered, run_func
from tlc.ir import interp
from tlc.ir.passes import optimise
from tlc.ir.types import tensor

Array = np.ndarray[Any, Any]


# ---- how many kernels a program becomes ----------------------------------------------------------

SIGNATURE = (
    "fn f(x: float16[N, K], w: float16[K, M], v: float16[M, K], b: float16[M], r: float16[N, M],"
    " c: float16[N, K], g: float16[K], h: float16[K], q: float16[B, N, K], p: float16[B, K, M])"
    " -> Tensor { return %s }"
)


MATMUL = {
    "bias": "x @ w + b",
    "bias_first": "b + x @ w",
    "relu": "relu(x @ w + b)",
    "relu_of_bias_first": "relu(b + x @ w)",
    "methods": "matmul(x, w).add(b).relu()",
    "gelu": "gelu(b + x @ w)",
    "gelu_erf": "gelu_erf(x @ w + b)",
    "silu": "silu(x @ w + b)",
    "tanh_without_bias": "tanh(x @ w)",
    "bias_residual_scale": "(x @ w + b + r) * 0.5",
    "residual_first": "r + (b + x @ w)",
    "gate": "silu(x @ w) * r",
    "scale_then_bias": "(x @ w) * 0.125 + b",
    "difference": "b - x @ w",
    "clamp": "clamp(x @ w + b, -1.0, 1.0)",
    "mask": "where(r > 0.0, x @ w, 0.0)",
    "to_float32": "(x @ w + b) as float32",
    "linear": "linear(x, v, b)",
    "linear_relu": "relu(linear(x, v, b))",
    "linear_residual": "linear(x, v) + r",
    "through_a_reshape": "relu(reshape(x @ w, [N * M]) * 2.0)",
    "reshaped_bias": "reshape(x @ w + b, [N, 1, M])",
    "bias_behind_a_reshape": "relu(reshape(x @ w, [1, N, M]) + b)",
    "batch_of_one_matrix": "relu(q @ w + b)",
    "batch_of_many": "gelu(q @ p + b)",
    "batch_linear": "silu(linear(q, v, b))",
    "vector": "relu(x[0, :] @ w + b)",
    "transposed_operands": "relu(transpose(w) @ transpose(x))",
}


@pytest.mark.parametrize("body", MATMUL.values(), ids=MATMUL.keys())
def test_a_matrix_product_takes_what_follows_into_its_kernel(body: str) -> None:
    assert families(optimised(SIGNATURE % body)) == ["matmul"]


ROW = {
    "softmax": "softmax(x)",
    "softmax_between": "softmax(x * 0.5 + g) * 2.0",
    "softmax_of_batch": "softmax(q / 8.0)",
    "log_softmax": "log_softmax(relu(x))",
    "rms_norm": "rms_norm(x, g)",
    "rms_norm_between": "relu(rms_norm(x + c, g))",
    "layer_norm": "layer_norm(x, g, h)",
    "layer_norm_between": "gelu(layer_norm(x + c, g, h) * 2.0) + c",
    "layer_norm_without_weights": "layer_norm(x + c, [K])",
    "sum": "sum(x)",
    "sum_of_squares": "sum(x * x, 1)",
    "mean_then_root": "sqrt(mean(x * x, 1) + 1.0)",
    "mean_of_all": "mean(relu(x)) * 2.0 + 1.0",
    "variance": "mean((x - mean(x, 1, true)) ** 2, 1)",
    "less_the_largest": "x - max(x, 1, true)",
    "normalised": "x / sqrt(sum(x * x, 1, true) + 0.001)",
    "argmax": "argmax(x * 2.0, 1)",
    "mask": "softmax(where(c > 0.0, x, -1000.0))",
    "causal": "softmax(where(unsqueeze(arange([N]), 1) >= arange([K]), x, -1000.0))",
    "bias_for_every_head": "softmax(q * 0.125 + x)",
    "distance": "sqrt(sum((x - c) ** 2, -1))",
}
COLUMN = {
    "sum_of_columns": "sum(x, 0)",
    "with_epilogue": "relu(sum(x * x, 0) * 0.5 + g)",
    "mean_of_columns": "mean(x + c, 0)",
    "batch": "max(q, 1)",
}
ELEMENTWISE = {
    "chain": "relu(x * 2.0 + c) * x - 1.0",
    "vector_and_column": "x * g + x[:, 0:1]",
    "views": "transpose(reshape(w, [1, K, M])) * 2.0",
    "slices": "x[0, :] + x[1, :] * c[:, 0:1][0, 0]",
    "counters": "x + arange([K]) * reshape(arange([N]), [N, 1])",
    "several_uses": "exp(x) * exp(x) + exp(x)",
}


@pytest.mark.parametrize("body", ROW.values(), ids=ROW.keys())
def test_row_operations_are_one_kernel_with_their_neighbours(body: str) -> None:
    assert families(optimised(SIGNATURE % body)) == ["row"]


@pytest.mark.parametrize("body", COLUMN.values(), ids=COLUMN.keys())
def test_a_reduction_along_another_axis_is_one_kernel(body: str) -> None:
    assert families(optimised(SIGNATURE % body)) == ["column"]


@pytest.mark.parametrize("body", ELEMENTWISE.values(), ids=ELEMENTWISE.keys())
def test_elementwise_work_is_one_kernel(body: str) -> None:
    assert families(optimised(SIGNATURE % body)) == ["elementwise"]


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("x", []),
        ("reshape(x, [K, N])", []),
        ("transpose(x)", ["elementwise"]),
        ("x[1:, :]", ["elementwise"]),
        ("softmax(x @ w) @ v", ["matmul", "row", "matmul"]),
        ("relu(x @ w + b) @ v", ["matmul", "matmul"]),
        ("concat(x * 2.0, c, 0)", ["concat"]),
        ("relu(embedding(w, tensor<int>([0, 0])))", ["gather"]),
        # read by two kernels: computed and stored once
        ("exp(x) @ w + sum(exp(x), 1, true)", ["elementwise", "row", "matmul"]),
        # strides cannot say it: written out in between
        ("reshape(transpose(x), [N, K]) + x", ["elementwise", "elementwise"]),
        # a row's sum goes to columns: the reduction has to be complete first
        ("x @ transpose(x) + sum(x @ transpose(x), 1) * 0.25", ["matmul", "row", "elementwise"]),
    ],
)
def test_what_cannot_be_one_kernel_is_several(body: str, wanted: list[str]) -> None:
    assert families(optimised(SIGNATURE % body)) == wanted


def test_a_value_read_by_two_kernels_is_stored_once() -> None:
    func = optimised(SIGNATURE % "softmax(x @ w) @ v + sum(softmax(x @ w), 1, true)")
    first, soft, *_ = kernels(func)
    readers = [op for op in kernels(func) if soft.result in op.operands]
    assert len(readers) == 2
    assert soft.operands == [first.result]
    assert soft.result.type == tensor("f16", "N", "M"), "stored as its type says, not wider"


def test_a_mask_for_every_head_is_stored_for_one() -> None:
    func = optimised(SIGNATURE % "softmax(where(x > 0.0, q, -1000.0))")
    mask, soft = kernels(func)
    assert mask.result.type == tensor("bool", "N", "K")
    assert soft.attrs["family"] == "row"
    assert func.params[8] in soft.operands


def test_a_number_per_row_goes_to_its_own_row_or_is_stored_first() -> None:
    """The rows' sums are read in another order: no row has the sum it needs at hand."""
    text = "fn f(q: float16[N, N, K]) -> Tensor { q - unsqueeze(transpose(sum(q, 2)), -1) }"
    func = optimised(text)
    assert families(func) == ["row", "elementwise"]
    q = np.arange(18).reshape(3, 3, 2).astype(np.float16)
    ((found,), _) = run_func(func, [q])
    np.testing.assert_array_equal(found, q - q.sum(2).T[:, :, None])
    straight = optimised(text.replace("transpose(sum(q, 2))", "sum(q, 2)"))
    assert families(straight) == ["row"]


def test_no_kernel_reads_what_it_writes() -> None:
    func = optimised(SIGNATURE % "(x + c) * (x - max(x + c, 1, true)) @ w @ v")
    for op in kernels(func):
        assert op.result not in op.operands
        assert op.result not in op.regions[0].args


def test_views_become_accesses_of_what_is_stored() -> None:
    func = optimised(SIGNATURE % "transpose(x[1:3, :]) * 2.0 + reshape(b, [K, 2])")
    (op,) = kernels(func)
    assert stored_by(func) == ["check", "check"], "the slice and the reshape must fit"
    accesses = [inner.attrs for inner in op.regions[0].ops if inner.name == "access"]
    shown = [(str(a["offset"]), [*map(str, a["strides"])]) for a in accesses]
    assert shown == [("K", ["1", "K"]), ("0", ["2", "1"])]
    assert op.operands == [func.params[0], func.params[3]]


def test_a_reshape_of_what_is_stored_costs_nothing() -> None:
    func = optimised(SIGNATURE % "reshape(relu(x), [K * N])")
    assert families(func) == ["elementwise"]
    assert stored_by(func) == ["reshape"]


# ---- sizes that only run time tells --------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "x.shape[0] as float",
        "sqrt(N)",
        "x * N",
        "concat(x, reshape(N as float, [1]), 0)",
        "x / sqrt(N)",
        "mean(x) + N",
        "reshape(N as float, [1]) @ reshape(N as float, [1, 1])",
    ],
)
@pytest.mark.parametrize("n", [1, 4])
def test_sizes_are_numbers_for_kernels(body: str, n: int) -> None:
    """They stand in no file: where something reads them from memory, a kernel writes them."""
    module = lowered(f"fn f(x: float16[N]) -> Tensor {{ return {body} }}").module
    arg = np.arange(n).astype(np.float16)
    (wanted,) = interp.run(module.func("f"), [arg])
    optimise(module)
    func = module.func("f")
    (found,) = interp.run(func, [arg])
    np.testing.assert_allclose(found, wanted, 2e-3)
    assert not any(op.name == "constant" for op in func.body.ops)
    assert kernels(func)


def test_a_function_may_return_a_size() -> None:
    func = optimised("fn f(x: float16[N]) -> Tensor { return N }")
    ((found,), _) = run_func(func, [np.zeros(5, np.float16)])
    assert found.tolist() == 5.0


def test_passes_are_shown_in_order_and_verified() -> None:
    module = lowered(SIGNATURE % "relu(x @ w + b)").module
    seen: list[str] = []
    optimise(module, after=lambda name, module: seen.append(name))
    assert seen == ["canonical", "cse", "dce", "expand", "invariant", "hoist", "fuse", "merge"]


@pytest.mark.parametrize("made", ["f16::randn([3, 4, 5])", "f16::rand([N, 2])"])
def test_random_numbers_are_one_kernel_that_counts_for_itself(made: str) -> None:
    """Their counter runs along all elements, and the kernel takes its shape."""
    assert families(optimised(SIGNATURE % f"{made} * 0.1")) == ["elementwise"]
