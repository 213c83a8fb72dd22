"""Weights before anything runs: packed or expanded, and work on them done once."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.ir.kernels import check_kernels, families, kernels, stored_by
from tests.ir.programs import FakeModel, FakeTensor, lowered, run_func
from tlc.frontend.diagnostics import Diagnostic
from tlc.ir.core import Func
from tlc.ir.passes import optimise
from tlc.ir.types import tensor

Array = np.ndarray[Any, Any]


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
        "x + model.table[1:2, :]",
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


def test_a_mask_of_positions_alone_stays_where_attention_reads_it() -> None:
    """Stored once, it would hide from the kernel which keys it rules out."""
    text = """fn f(q: float16[64, 2, 32]) -> float16[64, 2, 32] {
        attention(q, q, q, causal_mask(64))
    }"""
    module = lowered(text).module
    optimise(module, lambda warning: None)
    func = module.func("f")
    assert once(func) == []
    assert families(func) == ["attention"]
