"""`model.predict(x)` in programs: whole models, open shapes, precision, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tlc
from tests.coreml.writer import MilModel, Name, Type
from tlc.frontend.diagnostics import CompileError, Diagnostic
from tlc.runtime.errors import RunError

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(3)
W1, B1 = (RNG.uniform(-1, 1, s).astype(np.float16) for s in ((8, 6), (8,)))
W2, B2 = (RNG.uniform(-1, 1, s).astype(np.float16) for s in ((3, 8), (3,)))


def perceptron(batch: int | None, folder: Path) -> None:
    """softmax(relu(x W1ᵀ + b1) W2ᵀ + b2) in float16, as `m.mlpackage`."""
    model = MilModel({"x": ("f16", (batch, 6))}, metadata={"licence": "ours"})
    if batch is None:
        model.ranges = {"x": [(1, 16), (6, 6)]}
    for name, array in (("w1", W1), ("b1", B1), ("w2", W2), ("b2", B2)):
        model.stored(name, array)
    model.op("linear", {"h": ("f16", (batch, 8))}, x=Name("x"), weight=Name("w1"), bias=Name("b1"))
    model.op("relu", {"r": ("f16", (batch, 8))}, x=Name("h"))
    model.op("linear", {"o": ("f16", (batch, 3))}, x=Name("r"), weight=Name("w2"), bias=Name("b2"))
    model.op("softmax", {"y": ("f16", (batch, 3))}, output=True, x=Name("o"), axis=-1)
    model.write(folder / "m.mlpackage")


def expected(x: Array) -> Array:
    wide = [a.astype(np.float32) for a in (x, W1, B1, W2, B2)]
    x, w1, b1, w2, b2 = wide
    scores = np.maximum(x @ w1.T + b1, 0) @ w2.T + b2
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def compiled(folder: Path, text: str, device: str) -> tlc.Model:
    return tlc.compile(folder / "p.tl", text=text, device=device)


def problem(folder: Path, text: str) -> Diagnostic:
    with pytest.raises(CompileError) as caught:
        compiled(folder, text, "reference")
    return caught.value.diagnostics[0]


@pytest.fixture(params=["cpu", "reference"])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_model_is_a_function(tmp_path: Path, device: str) -> None:
    perceptron(4, tmp_path)
    x = RNG.uniform(-2, 2, (4, 6)).astype(np.float16)
    text = 'm = load_model("m.mlpackage")\nfn f(x: float16[4, 6]) { m.predict(x) }'
    found = compiled(tmp_path, text, device).f(x)
    assert found.dtype == np.float16
    # every one of three roundings to float16 (h, o and y, |h| < 16, |o| < 32) moves y by less than
    # 2^-11 of what it is computed from; probabilities have slope 1/4 at most
    np.testing.assert_allclose(found, expected(x), atol=0.02)


def test_an_open_dimension_is_a_symbol(tmp_path: Path, device: str) -> None:
    perceptron(None, tmp_path)
    text = 'm = load_model("m.mlpackage")\nfn f(x: float16[N, 6]) { m.predict(x) }'
    model = compiled(tmp_path, text, device)
    assert model.entries["f"] == "f(x: f16[N, 6]) -> f16[N, 3]"
    for n in (1, 5):
        x = RNG.uniform(-2, 2, (n, 6)).astype(np.float16)
        np.testing.assert_allclose(model.f(x), expected(x), atol=0.02)
    with pytest.raises(RunError, match=r"E0505.*`x` has from 1 to 16 elements along an axis"):
        model.f(np.zeros((17, 6), np.float16))


def test_a_symbol_can_stand_where_the_model_wants_a_number(tmp_path: Path, device: str) -> None:
    perceptron(4, tmp_path)
    text = 'm = load_model("m.mlpackage")\nfn f(x: float16[N, 6]) { m.predict(x) }'
    model = compiled(tmp_path, text, device)
    assert model.f(np.zeros((4, 6), np.float16)).shape == (4, 3)
    with pytest.raises(RunError, match=r"E0505.*a dimension of `x` is that of the model"):
        model.f(np.zeros((3, 6), np.float16))


def test_a_model_can_be_computed_in_float32(tmp_path: Path, device: str) -> None:
    perceptron(4, tmp_path)
    x = RNG.uniform(-2, 2, (4, 6)).astype(np.float32)
    text = 'm = load_model_f32("m.mlpackage")\nfn f(x: float32[4, 6]) { m.predict(x) }'
    found = compiled(tmp_path, text, device).f(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(x), atol=1e-6)  # float32 throughout


def test_an_artifact_finds_the_weights_again(tmp_path: Path, device: str) -> None:
    from tlc.cli import run

    perceptron(4, tmp_path)
    program = tmp_path / "p.tl"
    program.write_text('m = load_model("m.mlpackage")\nfn f(x: float16[4, 6]) { m.predict(x) }')
    assert run(["build", str(program), "-o", str(tmp_path / "p.metallib")]) == 0
    x = RNG.uniform(-2, 2, (4, 6)).astype(np.float16)
    found = tlc.load(tmp_path / "p.metallib", device=device).f(x)
    np.testing.assert_allclose(found, expected(x), atol=0.02)


def test_weights_and_metadata_can_be_read_by_name(tmp_path: Path) -> None:
    perceptron(4, tmp_path)
    text = (
        'm = load_model("m.mlpackage")\n'
        'fn f() { m.w1 + m.get_tensor("w1") }\n'
        "print(m.metadata.format, m.metadata.quantization, m.metadata.licence)"
    )
    model = compiled(tmp_path, text, "reference")
    np.testing.assert_array_equal(model.f(), W1 + W1)


def test_a_classifier_gives_its_probabilities(tmp_path: Path) -> None:
    model = MilModel({"x": ("f16", (1, 3))})
    model.op("softmax", {"p": ("f16", (1, 3))}, x=Name("x"), axis=-1)
    results: dict[str, Type] = {"label": ("str", ()), "table": ("table", ())}
    model.op("classify", results, output=True, probabilities=Name("p"))
    model.write(tmp_path / "m.mlpackage")
    source = (
        'm = load_model("m.mlpackage")\nfn f(x: float16[1, 3]) { argmax(m.predict(x)) as float16 }'
    )
    assert compiled(tmp_path, source, "reference").f(np.array([[1, 3, 2]], np.float16)) == 1


def test_a_state_is_named(tmp_path: Path) -> None:
    model = MilModel({"x": ("f16", (2,)), "cache": ("state", ())})
    model.op("add", {"y": ("f16", (2,))}, output=True, x=Name("x"), y=Name("x"))
    model.write(tmp_path / "m.mlpackage")
    found = problem(tmp_path, 'print(load_model("m.mlpackage").predict(zeros([2])))')
    assert found.code == "E0610"
    assert "keeps a state, `cache`" in found.message


def test_results_come_in_the_order_of_the_model(tmp_path: Path) -> None:
    model = MilModel({"a": ("f32", (2, 2)), "b": ("f32", (2, 2))})
    model.op("sub", {"less": ("f32", (2, 2))}, output=True, x=Name("a"), y=Name("b"))
    model.op("add", {"more": ("f32", (2, 2))}, output=True, x=Name("a"), y=Name("b"))
    model.write(tmp_path / "m.mlpackage")
    text = (
        'm = load_model("m.mlpackage")\nfn f(x: float32[2, 2], y: float32[2, 2]) {\n'
        "  let (less, more) = m.predict(b: y, a: x)\n  less * more\n}"
    )
    x, y = (RNG.uniform(-2, 2, (2, 2)).astype(np.float32) for _ in range(2))
    found = compiled(tmp_path, text, "reference").f(x, y)
    np.testing.assert_allclose(found, x * x - y * y, rtol=1e-4, atol=1e-5)


def test_a_shape_that_the_model_computes_is_known(tmp_path: Path, device: str) -> None:
    """reshape(x, [shape(x)[0], shape(x)[1] * 2, -1]), as converters write it."""
    model = MilModel({"x": ("f32", (None, None, 4))})
    model.op("shape", {"s": ("i32", (3,))}, x=Name("x"))
    model.op("gather", {"n": ("i32", ())}, x=Name("s"), indices=0, axis=0)
    ends = {"begin": np.array([1]), "end": np.array([2]), "squeeze_mask": np.array([True])}
    model.op("slice_by_index", {"t": ("i32", ())}, x=Name("s"), **ends)
    model.op("mul", {"twice": ("i32", ())}, x=Name("t"), y=2)
    model.op("stack", {"to": ("i32", (3,))}, values=(Name("n"), Name("twice"), -1), axis=0)
    model.op("reshape", {"r": ("f32", (None, None, None))}, x=Name("x"), shape=Name("to"))
    model.op("range_1d", {"i": ("i32", (None,))}, start=0, end=Name("twice"), step=1)
    model.op("cast", {"j": ("f32", (None,))}, x=Name("i"), dtype="fp32")
    model.op("expand_dims", {"k": ("f32", (None, 1))}, x=Name("j"), axes=np.array([1]))
    model.op("add", {"y": ("f32", (None, None, 2))}, output=True, x=Name("r"), y=Name("k"))
    model.write(tmp_path / "m.mlpackage")
    text = 'm = load_model("m.mlpackage")\nfn f(x: float32[N, T, 4]) { m.predict(x) }'
    x = RNG.uniform(-2, 2, (3, 5, 4)).astype(np.float32)
    found = compiled(tmp_path, text, device).f(x)
    np.testing.assert_array_equal(
        found, x.reshape(3, 10, 2) + np.arange(10, dtype=np.float32)[:, None]
    )


@pytest.mark.parametrize(
    ("call", "code", "message", "hint"),
    [
        ("m.predict(zeros([5, 6]))", "E0301", "`x` is [4, 6], and this is f16[5, 6]", ""),
        ("m.predict(zeros([6]))", "E0301", "`x` is [4, 6], and this is f16[6]", ""),
        ("m.predict(tensor<int>([[1]]))", "E0301", "and this is i32[1, 1]", ""),
        ("m.predict()", "E0203", "the model needs its input `x`", ""),
        ("m.predict(zeros([4, 6]), 1)", "E0203", "takes 1 inputs, and 2 are given", ""),
        ("m.predict(xs: zeros([4, 6]))", "E0203", "no input `xs`", "did you mean `x`"),
        ("predict(1)", "E0302", "a model is needed, and this is int", ""),
    ],
)
def test_what_does_not_fit_is_said(
    tmp_path: Path, call: str, code: str, message: str, hint: str
) -> None:
    perceptron(4, tmp_path)
    found = problem(tmp_path, f'm = load_model("m.mlpackage")\nprint({call})')
    assert found.code == code
    assert message in found.message
    assert hint in found.hint


def test_operations_that_are_not_there_are_named_as_core_ml_names_them(tmp_path: Path) -> None:
    model = MilModel({"x": ("f32", (2, 2))})
    model.op("lstm", {"h": ("f32", (2, 2))}, x=Name("x"))
    model.op("while_loop", {"y": ("f32", (2, 2))}, output=True, loop_vars=Name("h"))
    model.write(tmp_path / "m.mlpackage")
    found = problem(tmp_path, 'm = load_model("m.mlpackage")\nprint(m.predict(ones([2, 2])))')
    assert found.code == "E0610"
    assert (
        "the model uses operations `lstm`, `while_loop`, which tlc does not have" in found.message
    )


def test_a_program_that_contradicts_itself_is_refused_with_the_place(tmp_path: Path) -> None:
    model = MilModel({"x": ("f32", (2, 2))})
    model.op("relu", {"y": ("f32", (3, 2))}, output=True, x=Name("x"))
    model.write(tmp_path / "m.mlpackage")
    found = problem(tmp_path, 'm = load_model("m.mlpackage")\nprint(m.predict(ones([2, 2])))')
    assert found.code == "E0601"
    assert "`relu` (y): its result is [2, 2], and the model says [3, 2]" in found.message
