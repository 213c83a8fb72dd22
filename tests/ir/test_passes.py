"""The passes change how a program computes and not what: checked on random and written modules.

`tests/ir/passes/*.ir` show what a pass makes of a module; the tables below say how many kernels a
program becomes, and of which family.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given

from tests.ir.bounds import bounded
from tests.ir.kernels import check_kernels, families, kernels, launches_before
from tests.ir.programs import FakeModel, FakeTensor, lowered, run_func
from tests.ir.strategies import Case, cases
from tlc.frontend.diagnostics import Diagnostic
from tlc.ir import interp
from tlc.ir.builder import Builder
from tlc.ir.core import Block, Func, Module, Value
from tlc.ir.parser import parse_module
from tlc.ir.passes import PASSES, optimise
from tlc.ir.passes.groups import MOST_OPERANDS, MOST_OPS
from tlc.ir.printer import print_module
from tlc.ir.types import tensor
from tlc.ir.verify import verify

Array = np.ndarray[Any, Any]


# ---- meaning, on random modules ------------------------------------------------------------------


@pytest.mark.fuzz
@given(cases(whole=True, most=14))
def test_every_pass_keeps_whole_numbers_exactly(case: Case) -> None:
    """Small integers are exact in every order and precision: no pass may change a bit."""
    wanted = interp.run(case.func, case.args)
    before = launches_before(case.func)

    def after(name: str, module: Module) -> None:
        for a, b in zip(wanted, interp.run(module.funcs[0], case.args), strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape), name
            np.testing.assert_array_equal(a, b, err_msg=name)

    optimise(case.module, after=after)
    check_kernels(case.func)
    computing = [op for k in kernels(case.func) for op in k.regions[0].ops]
    assert len(kernels(case.func)) <= before + len(computing)


@pytest.mark.fuzz
@given(cases(whole=False, most=14))
def test_fusion_only_leaves_out_roundings(case: Case) -> None:
    """Before fusion all passes are bit-exact; fusion stays within a proven bound on the error.

    The bound covers both evaluations, with and without the roundings to float16 in between.
    """
    sizes = interp.bind_symbols(case.func, case.args)
    bounds = bounded(case.func, case.args, sizes)
    assume(all(np.isfinite(e).all() and (abs(x) + e < 60000).all() for x, e in bounds))
    wanted = interp.run(case.func, case.args)

    def after(name: str, module: Module) -> None:
        found = interp.run(module.funcs[0], case.args)
        for (x, e), a, b in zip(bounds, wanted, found, strict=True):
            assert (abs(x - b) <= e).all(), f"{name}: {b} is not {x} +- {e}"
            assert name == "fuse" or (a == b).all(), name

    for (x, e), a in zip(bounds, wanted, strict=True):
        assert (abs(x - a) <= e).all(), f"the interpreter: {a} is not {x} +- {e}"
    optimise(case.module, after=after)
    check_kernels(case.func)


@pytest.mark.fuzz
@given(cases(most=14))
def test_the_passes_change_nothing_when_they_run_again(case: Case) -> None:
    optimise(case.module, passes=PASSES[:-1])
    text = print_module(case.module)
    optimise(case.module, passes=PASSES[:-1])
    assert print_module(case.module) == text


# ---- what a pass makes of a module, as text ------------------------------------------------------

CASES = sorted((Path(__file__).parent / "passes").glob("*.ir"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_pass_makes_of_a_module_what_its_file_says(
    path: Path, request: pytest.FixtureRequest
) -> None:
    """`// pass: NAME ...`, the module, `// ---`, and the module that the passes make of it."""
    text = path.read_text(encoding="utf-8")
    given, _, wanted = text.partition("// ---\n")
    header = re.match(r"// pass: (.*)\n", given)
    assert header is not None, "the first line names the passes"
    names = header[1].split()
    module = parse_module(given)
    verify(module)
    steps = [step for name in names for step in PASSES if step.name == name]
    assert [step.name for step in steps] == names
    optimise(module, passes=steps)
    found = print_module(module, places=False)
    if request.config.getoption("--update-golden"):
        path.write_text(f"{given}// ---\n{found}", encoding="utf-8", newline="\n")
    else:
        assert found == wanted
    for func in module.funcs:
        check_kernels(func)


# ---- how many kernels a program becomes ----------------------------------------------------------

SIGNATURE = (
    "fn f(x: float16[N, K], w: float16[K, M], v: float16[M, K], b: float16[M], r: float16[N, M],"
    " c: float16[N, K], g: float16[K], h: float16[K], q: float16[B, N, K], p: float16[B, K, M])"
    " -> Tensor { return %s }"
)


def optimised(text: str, name: str = "f") -> Func:
    """An entry of a program after all passes."""
    module = lowered(text).module
    optimise(module)
    func = module.func(name)
    check_kernels(func)
    return func


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
        ("concat(x * 2.0, c, 0)", ["elementwise", "concat"]),
        ("relu(embedding(w, tensor<int>([0, 0])))", ["gather"]),
        # read by two kernels: computed and stored once
        ("exp(x) @ w + sum(exp(x), 1, true)", ["elementwise", "row", "matmul"]),
        # strides cannot say it: written out in between
        ("reshape(transpose(x), [N, K]) + x", ["elementwise", "elementwise"]),
        ("reshape(transpose(x), [N * K]) * 2.0", ["elementwise", "elementwise"]),
        # a row's sum goes to columns: the reduction has to be complete first
        ("x @ transpose(x) + sum(x @ transpose(x), 1) * 0.25", ["matmul", "row", "elementwise"]),
    ],
)
def test_what_cannot_be_one_kernel_is_several(body: str, wanted: list[str]) -> None:
    assert families(optimised(SIGNATURE % body)) == wanted


def stored_by(func: Func) -> list[str]:
    """What is in the body beside kernels."""
    return [op.name for op in func.body.ops if op.name not in ("fused", "yield")]


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


# ---- single passes -------------------------------------------------------------------------------


def main(text: str, *names: str) -> Func:
    """`main` of a program after some passes."""
    module = lowered(text).module
    optimise(module, passes=[step for step in PASSES if step.name in names])
    return module.func("main")


def test_equal_operations_are_computed_once() -> None:
    func = main("let x = tensor([1.0, 2.0])\nprint(exp(x), exp(x), x * exp(x))", "cse")
    assert sum(op.name == "exp" for op in func.body.ops) == 1


def test_numbers_that_are_equal_and_differ_stay_apart() -> None:
    """0.0 == -0.0, and as constants they are two things; 1 and 1.0 are one."""
    text = "let x = tensor([1.0, 2.0])\nprint(x / 0.0, x / -0.0, x * 0.0, 1 - x, 1.0 - x)"
    func = main(text, "canonical", "cse", "dce")
    values = [op.attrs["value"] for op in func.body.ops if op.name == "constant"]
    assert [repr(v) for v in values if not isinstance(v, tuple)] == ["0.0", "-0.0", "1.0"]
    assert sum(op.name == "sub" for op in func.body.ops) == 1
    _, screen = run_func(func)
    assert [a.tolist() for a in screen.printed[:2]] == [[np.inf] * 2, [-np.inf] * 2]


def test_checks_and_output_are_kept_and_dead_work_is_not() -> None:
    text = (
        "fn f(x: float16[N, 4]) -> float16[N] {\n  let unused = exp(x @ transpose(x))\n"
        '  print(x)\n  save(x, "a.safetensors")\n  let y = reshape(x, [8])\n  return x[:, 0]\n}'
    )
    module = lowered(text).module
    optimise(module, passes=[step for step in PASSES if step.name in ("canonical", "dce")])
    names = [op.name for op in module.func("f").body.ops]
    assert names == ["print", "save", "check", "slice", "reshape", "yield"]


def test_the_same_check_is_made_once() -> None:
    text = "fn f(x: float16[N]) -> Tensor { return x[2] + x[2] * x[1] }"
    module = lowered(text).module
    optimise(module, passes=[step for step in PASSES if step.name == "cse"])
    checks = [op for op in module.func("f").body.ops if op.name == "check"]
    assert len(checks) == 2


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("x * 1.0", []),
        ("1.0 * x", []),
        ("x / 1.0", []),
        ("-(-x)", []),
        ("transpose(transpose(x))", []),
        ("reshape(reshape(x, [N * K]), [N, K])", []),
        ("x as float16", []),
        ("(x as float32) as float16", []),
        ("x ** 2", ["mul"]),
        ("x ** 2.0", ["mul"]),
        ("x * (2.0 * 3.0 + sqrt(16.0))", ["mul"]),
        ("x * (ones([K]) * 3.0 + 1.0)", ["mul"]),
        ("x + 0.0", ["add"]),  # -0.0 + 0.0 is 0.0
        ("x * 0.0", ["mul"]),  # NaN * 0.0 is NaN
        ("0.0 - x", ["sub"]),  # 0.0 - 0.0 is 0.0, and -0.0 is -0.0
    ],
)
def test_arithmetic_that_does_nothing_goes(body: str, left: list[str]) -> None:
    text = f"fn f(x: float16[N, K]) -> Tensor {{ return {body} }}"
    module = lowered(text).module
    optimise(module, passes=[step for step in PASSES if step.name in ("canonical", "dce")])
    names = [op.name for op in module.func("f").body.ops]
    assert [n for n in names if n not in ("constant", "broadcast", "yield")] == left


@pytest.mark.parametrize("x", [0.0, -0.0, np.inf, -np.inf, np.nan, 65504.0, 6e-8, 1.0])
@pytest.mark.parametrize("body", ["x * 1.0", "x + 0.0", "x - 0.0", "-(-x)", "x / 1.0", "x ** 2"])
def test_special_numbers_pass_through_simplified_arithmetic(body: str, x: float) -> None:
    module = lowered(f"fn f(x: float16[1]) -> float16[1] {{ return {body} }}").module
    arg = np.array([x], np.float16)
    (wanted,) = interp.run(module.func("f"), [arg])
    optimise(module)
    (found,) = interp.run(module.func("f"), [arg])
    assert found.tobytes() == wanted.tobytes() or (np.isnan(found) and np.isnan(wanted)).all()


# ---- weights -------------------------------------------------------------------------------------

RANDOM = np.random.default_rng(1)


def weights(encoding: str = "f16") -> dict[str, FakeModel]:
    """A model of a table [4, 32], a matrix [32, 64] and a vector [32]."""

    def entry(*shape: int) -> FakeTensor:
        return FakeTensor(shape, encoding, RANDOM.integers(-3, 4, shape).astype(np.float16))

    return {"m.gguf": FakeModel({"table": entry(4, 32), "w": entry(32, 64), "v": entry(32)})}


def entry(body: str, encoding: str = "f16") -> tuple[Func, list[Diagnostic], list[FakeModel]]:
    """A function of x [N, 32] that reads the model, after all passes, and the warnings."""
    models, warnings = weights(encoding), list[Diagnostic]()
    text = (
        f'model = load_model("m.gguf")\nfn f(x: float16[N, 32]) -> Tensor {{\n  return {body}\n}}'
    )
    found = lowered(text, models)
    before = found.module.func("f")
    x = RANDOM.integers(-3, 4, (3, 32)).astype(np.float16)
    wanted, _ = run_func(before, [x], list(models.values()))
    optimise(found.module, warnings.append)
    func = found.module.func("f")
    check_kernels(func)
    for a, b in zip(wanted, run_func(func, [x], list(models.values()))[0], strict=True):
        np.testing.assert_allclose(a, b, 2e-3, 2e-3)  # a few roundings to float16, more or less
    return func, warnings, list(models.values())


def once(func: Func) -> list[str]:
    """The families of the kernels that run once."""
    return [
        inner.attrs["family"]
        for op in func.body.ops
        if op.name == "once"
        for inner in op.regions[0].ops
        if inner.name == "fused"
    ]


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("x @ (model.w * 2.0)", ["elementwise"]),
        ("x @ (model.w @ transpose(model.w))", ["matmul"]),
        ("x + model.v @ transpose(model.table) @ model.table", ["matmul", "matmul"]),
        ("x * silu(model.v)", ["elementwise"]),
        ("x + positional_encoding(1, 32)", ["elementwise"]),
        # nothing to do once: views, conversions, weights as they are
        ("x @ model.w", []),
        ("linear(x, model.table)", []),
        ("rms_norm(x, model.v)", []),
        ("layer_norm(x, model.v, model.v)", []),
        ("x + transpose(model.table)[:, 0]", []),
        ("(x as float32) * (model.v as float32)", []),
        # these depend on the sizes of a call
        ("x + positional_encoding(N, 32)", []),
        ("x * exp(broadcast_to(model.v, [N, 32]))", []),
        ("x + (ones([N, 32]) * model.v) @ transpose(model.table) @ model.table", []),
    ],
)
def test_work_on_weights_alone_is_done_once(body: str, wanted: list[str]) -> None:
    func, _, _ = entry(body)
    assert once(func) == wanted


def test_what_is_done_once_is_stored_as_its_type_says() -> None:
    func, _, _ = entry("x * silu(model.v)")
    (op,) = (op for op in func.body.ops if op.name == "once")
    assert [v.type for v in op.results] == [tensor("f16", 32)]


def test_the_program_itself_has_nothing_to_keep() -> None:
    text = 'model = load_model("m.gguf")\nprint(exp(model.v) * 2.0)'
    module = lowered(text, weights()).module
    optimise(module)
    assert stored_by(module.func("main")) == ["weight", "print"]


def encodings(func: Func) -> list[str]:
    """How the weights that are left are stored."""
    return [op.attrs["stored"] for op in func.walk() if op.name == "weight"]


@pytest.mark.parametrize("encoding", ["q4_0", "q8_0"])
@pytest.mark.parametrize(
    ("body", "family"),
    [
        ("linear(x, model.table)", "matmul"),
        ("x @ model.w", "matmul"),
        ("relu(x @ model.w)", "matmul"),
        ("x @ transpose(model.table)", "matmul"),
        ("reshape(x, [1, N, 32]) @ model.w", "matmul"),
        ("embedding(model.table, tensor<int>([0, 3]))", "gather"),
        ("model.table[tensor<int>([1, 1]), :] * 2.0", "gather"),
    ],
)
def test_packed_weights_stay_packed(body: str, family: str, encoding: str) -> None:
    func, warnings, _ = entry(body, encoding)
    assert not warnings
    assert families(func) == [family]
    assert encodings(func) == [encoding]
    (op,) = kernels(func)
    assert encoding in op.attrs["encodings"]


@pytest.mark.parametrize(
    "body",
    [
        "x + model.v",
        "x @ (model.w + 1.0)",
        "x + model.table[1, :]",
        "model.w[:, 0:32] @ transpose(x)",
        "concat(x, model.table, 0)",
        "model.v",
        "reshape(model.table, [8, 16])",
        "x @ reshape(model.w, [32, 64])[:, 1:33]",
    ],
)
def test_packed_weights_are_expanded_for_what_cannot_unpack_them(body: str) -> None:
    func, warnings, _ = entry(body, "q4_0")
    assert encodings(func) == ["f16"]
    (warning,) = warnings
    assert warning.code == "W0002"
    assert warning.severity == "warning"
    assert re.search(r"tensor `\w+` \(q4_0\) is expanded to \d+ bytes", warning.message)
    assert warning.span is not None


def test_a_weight_may_be_packed_here_and_expanded_there() -> None:
    func, warnings, _ = entry("x @ model.w + (x * model.w[:, 0]) @ model.w", "q8_0")
    assert sorted(encodings(func)) == ["f16", "q8_0"]
    assert len(warnings) == 1


def test_rows_that_are_no_whole_blocks_are_expanded() -> None:
    model = FakeModel({"w": FakeTensor((32, 8), "q4_0", np.ones((32, 8), np.float16))})
    text = 'model = load_model("m")\nfn f(x: float16[N, 32]) -> Tensor { return x @ model.w }'
    found, warnings = lowered(text, {"m": model}), list[Diagnostic]()
    optimise(found.module, warnings.append)
    assert encodings(found.module.func("f")) == ["f16"]
    assert [w.code for w in warnings] == ["W0002"]


# ---- limits and costs ----------------------------------------------------------------------------


def chain(length: int, step: Callable[[Builder, Value, Value], Value]) -> Module:
    x, y = Value(tensor("f16", "N", 4)), Value(tensor("f16", "N", 4))
    body = Block([x, y])
    builder = Builder(body)
    value = x
    for _ in range(length):
        value = step(builder, value, y)
    builder.append("yield", value)
    return Module([Func("f", body, ["x", "y"])])


def test_kernels_are_bounded() -> None:
    """Metal binds 31 buffers; a text of any length would take a compiler any time."""
    count = 3 * MOST_OPERANDS
    params = ", ".join(f"p{at}: float16[N]" for at in range(count))
    total = " + ".join(f"p{at}" for at in range(count))
    func = optimised(f"fn f({params}) -> Tensor {{ return {total} }}")
    assert all(len(op.operands) <= MOST_OPERANDS for op in kernels(func))
    assert len(kernels(func)) <= 5
    args = [np.full(3, at % 7, np.float16) for at in range(count)]
    ((found,), _) = run_func(func, args)
    assert found.tolist() == [sum(at % 7 for at in range(count))] * 3

    module = chain(3 * MOST_OPS, lambda b, v, y: b.emit("neg", b.emit("relu", v)))
    optimise(module)
    assert all(len(op.regions[0].ops) <= MOST_OPS + 2 for op in kernels(module.func("f")))
    assert len(kernels(module.func("f"))) == 6


def test_many_tensors_are_joined_group_by_group() -> None:
    args = ", ".join(f"x[{at}:{at + 1}]" for at in range(100))
    func = optimised(f"fn f(x: float16[100]) -> Tensor {{ return concat({args}, 0) }}")
    ((found,), _) = run_func(func, [np.arange(100, dtype=np.float16)])
    assert found.tolist() == list(range(100))


def mixed(b: Builder, value: Value, y: Value) -> Value:
    """A sum, a view there and back, a row's sum: something for every pass."""
    added = b.emit("add", b.emit("mul", value, y), b.scalar(1.0, value))
    turned = b.emit("transpose", b.emit("transpose", added))
    return b.binary("sub", turned, b.emit("sum", turned, dim=1, keepdim=True))


def halves(b: Builder, value: Value, y: Value) -> Value:
    """Every value is read twice by the next: 2^n paths lead through n of them."""
    return b.emit("mul", value, value)


@pytest.mark.parametrize("step", [mixed, halves])
def test_the_passes_take_time_in_proportion(
    step: Callable[[Builder, Value, Value], Value], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times the program takes at most five times the steps, counted as calls of functions."""

    def calls(length: int) -> int:
        import sys

        module, count = chain(length, step), 0

        def tick(frame: Any, event: str, arg: Any) -> None:
            nonlocal count
            count += event == "call"

        sys.setprofile(tick)
        try:
            optimise(module, checked=False)
        finally:
            sys.setprofile(None)
        return count

    small, large = calls(100), calls(400)
    assert large < 5 * small


def test_a_diamond_below_a_broadcast_is_walked_once() -> None:
    """2^60 paths lead from the column to the sum behind it."""
    x, column = Value(tensor("f16", "N", 4)), Value(tensor("f16", "N", 1))
    body = Block([x, column])
    b = Builder(body)
    value = column
    for _ in range(60):
        value = b.emit("mul", value, value)
    b.append("yield", b.emit("add", x, b.broadcast(value, x.tensor.shape)))
    module = Module([Func("f", body, ["x", "c"])])
    optimise(module)
    assert families(module.func("f")) == ["elementwise", "elementwise"]


def test_a_long_chain_is_optimised() -> None:
    module = chain(1000, lambda b, v, y: b.emit("add", b.emit("mul", v, y), b.scalar(0.5, v)))
    optimise(module)
    assert set(families(module.func("f"))) == {"elementwise"}
    x = np.full((2, 4), 3.0, np.float16)
    ((found,), _) = run_func(module.func("f"), [x, np.zeros_like(x)])
    assert (found == 0.5).all()


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
    assert seen == ["canonical", "cse", "dce", "expand", "hoist", "fuse"]
