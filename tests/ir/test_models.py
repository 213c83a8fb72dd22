"""Models in programs: loading, walking names, metadata, weights, and what cannot be used."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ir.programs import (
    FakeModel,
    FakeTensor,
    Files,
    errors,
    ir,
    known,
    lowered,
    marked,
    only_error,
    output,
    run_func,
)
from tlc.frontend.diagnostics import CompileError
from tlc.frontend.parser import parse
from tlc.frontend.source import Source
from tlc.ir.lower import lower

F16 = np.float16


def numbers(*shape: int) -> FakeTensor:
    return FakeTensor(shape, "f16", np.arange(np.prod(shape)).reshape(shape).astype(F16))


LLAMA = FakeModel(
    {
        "token_embd.weight": numbers(4, 3),
        "blk.0.attn_q.weight": numbers(3, 3),
        "blk.1.attn_q.weight": FakeTensor((3, 3), "bf16", np.ones((3, 3), F16)),
        "output.weight": FakeTensor((2, 3), "f32", np.ones((2, 3), F16)),
        "scale": FakeTensor((), "f16", np.array(2.0, F16)),
        "steps": FakeTensor((1,), "i64"),
        "mask": FakeTensor((1,), "bool"),
        "tiny": FakeTensor((2,), "f8_e8m0"),
        "odd": FakeTensor((2,), "type_99"),
    },
    {
        "general.name": "tiny",
        "llama.rope.freq_base": 10000.0,
        "llama.block_count": 2,
        "tokenizer.add_bos": True,
        "tokenizer.scores": (0.5, 1.5),
    },
    format="GGUF",
    quantization="F16",
)
FILES = {"m.gguf": LLAMA, "q.gguf": FakeModel({"w": FakeTensor((2, 32), "q4_0")}, format="GGUF")}
LOAD = 'model = load_model("m.gguf")\n'


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ('model.get_tensor("blk.0.attn_q.weight")', np.arange(9).reshape(3, 3)),
        ('get_tensor(model, "blk.0.attn_q.weight")', np.arange(9).reshape(3, 3)),
        ("model.blk[0].attn_q.weight", np.arange(9).reshape(3, 3)),
        ("model.blk[0.0].attn_q.weight", np.arange(9).reshape(3, 3)),
        ('model.get_tensor("blk." + "1.attn_q.weight")', np.ones((3, 3))),
        ("model.token_embd.weight[1, :]", [3, 4, 5]),
        ("model.scale * ones([2])", [2, 2]),
        ("ones([1, 3]) @ model.output.weight.T", [[3, 3]]),
    ],
)
def test_tensors_are_found_by_name(expression: str, wanted: object) -> None:
    module = lowered(f"{LOAD}print({expression})", FILES).module
    _, screen = run_func(module.func("main"), (), [LLAMA])
    np.testing.assert_array_equal(screen.printed[0], wanted)


def test_a_loop_walks_the_blocks() -> None:
    text = LOAD + "let x = ones([1, 3])\nfor i in range(2) { x = x @ model.blk[i].attn_q.weight }"
    assert [op.attrs["tensor"] for op in lowered(text, FILES).module.func("main").walk()
            if op.name == "weight"] == ["blk.0.attn_q.weight", "blk.1.attn_q.weight"]  # fmt: skip


def test_a_model_is_given_to_functions() -> None:
    text = (
        LOAD + "fn layer(m: Model, i: int, x: Tensor) -> Tensor { x @ m.blk[i].attn_q.weight }\n"
        "print(layer(model, 1, ones([1, 3])))"
    )
    assert output(text, FILES) == ["[[3.0, 3.0, 3.0]]"]


def test_a_weight_says_how_the_file_and_memory_hold_it() -> None:
    text = LOAD + (
        'let q = load_model("q.gguf")\nlet wide = load_model_f32("m.gguf")\n'
        "print(model.blk[1].attn_q.weight, q.w, wide.output.weight)"
    )
    shown = ir(text, FILES)
    for line in (
        '{model=0, tensor="blk.1.attn_q.weight", encoding="bf16", stored="bf16"} : f16[3, 3]',
        '{model=1, tensor="w", encoding="q4_0", stored="q4_0"} : f16[2, 32]',
        '{model=0, tensor="output.weight", encoding="f32", stored="f32"} : f32[2, 3]',
    ):
        assert line in shown


def test_a_file_is_opened_once_per_precision_and_listed_once() -> None:
    text = (
        'a = load_model("m.gguf")\nb = load_model("m.gguf")\nc = load_model_f16("m.gguf")\n'
        'd = load_model_f32("m.gguf")\nprint(a.scale, b.scale, c.scale, d.scale)\n'
        "fn f(x: float16[N]) -> Tensor { x * a.scale }"
    )
    files = Files(FILES)
    tree, _ = parse(Source("test.tl", text))
    module = lower(tree, files).module
    assert len(files.opened) == 2
    assert [(ref.path, ref.fingerprint) for ref in module.models] == [("m.gguf", "12e34f")]
    dtypes = [op.result.tensor.dtype for op in module.func("main").walk() if op.name == "weight"]
    assert dtypes == ["f16", "f16", "f16", "f32"]


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("model.metadata.format", "GGUF"),
        ("model.metadata.quantization", "F16"),
        ('model.metadata["general.name"]', "tiny"),
        ('model.metadata["llama.rope.freq_base"] * 2', "20000.0"),
        ('model.metadata["llama.block_count"] - 1', "1"),
        ('model.metadata["tokenizer.add_bos"]', "true"),
        ('model.metadata["tokenizer.scores"][1]', "1.5"),
        ('model.metadata["tokenizer.scores"]', "[0.5, 1.5]"),
        ('model.metadata.get("llama.block_count", 9) - 1', "1"),
        ('model.metadata.get("llama.rope.scaling", 9) - 1', "8"),
        ('model.has_tensor("token_embd.weight")', "true"),
        ('model.has_tensor("token_embd")', "false"),
        ("model.token_embd.weight.shape", "[4, 3]"),
    ],
)
def test_metadata_is_known_at_build(expression: str, shown: str) -> None:
    module = lowered(f"{LOAD}print({expression})", FILES).module
    (op,) = (op for op in module.func("main").body.ops if op.name == "print")
    assert op.attrs["parts"] == (f"{shown}\n",)


def test_a_size_from_metadata_shapes_the_program() -> None:
    text = LOAD + (
        'for i in range(model.metadata["llama.block_count"]) {\n  print(i)\n}\n'
        'print(zeros([model.metadata["llama.block_count"]]))'
    )
    assert output(text, FILES) == ["0", "1", "[0.0, 0.0]"]


@pytest.mark.parametrize(
    ("expression", "code", "place", "message", "hint"),
    [
        (
            "model.blk[0].attn_k.weight",
            "E0602",
            "attn_k",
            "m.gguf has no tensor `blk.0.attn_k`",
            "blk.0.attn_q.weight",
        ),
        ("model.blk[7].attn_q.weight", "E0602", "model.blk[7]", "m.gguf has no tensor `blk.7`", ""),
        (
            'model.get_tensor("output.wait")',
            "E0602",
            '"output.wait"',
            "m.gguf has no tensor `output.wait`",
            "did you mean `output.weight`?",
        ),
        (
            'model.get_tensor("§")',
            "E0602",
            '"§"',
            "m.gguf has no tensor `§`",
            "it has 9 tensors, such as blk.0.attn_q.weight",
        ),
        (
            "model.steps",
            "E0603",
            "steps",
            "tensor `steps` of m.gguf is stored as i64",
            "others can",
        ),
        ("model.mask", "E0603", "mask", "tensor `mask` of m.gguf is stored as bool", ""),
        ("model.tiny", "E0603", "tiny", "tensor `tiny` of m.gguf is stored as f8_e8m0", ""),
        (
            "model.odd",
            "E0603",
            "odd",
            "tensor `odd` of m.gguf is stored as type_99",
            "llama-quantize",
        ),
        (
            'model.metadata["llama.rope.freq_bass"]',
            "E0204",
            'model.metadata["llama.rope.freq_bass"]',
            "m.gguf has no metadata `llama.rope.freq_bass`",
            "did you mean `llama.rope.freq_base`",
        ),
        ("model.metadata.thing", "E0204", "model.metadata.thing", "m.gguf has no metadata", ""),
        ("model.metadata[0]", "E0302", "0", "metadata is indexed by a string", ""),
        (
            'model.metadata.get("llama.rope.freq_bass")',
            "E0204",
            '"llama.rope.freq_bass"',
            "m.gguf has no metadata `llama.rope.freq_bass`",
            "did you mean `llama.rope.freq_base`",
        ),
        ("get([1], 0, 2)", "E0302", "2", "only metadata may lack what `get` asks for", ""),
        ("model.has_tensor(1)", "E0304", "1", "a tensor's name is a string known at build", ""),
        ("model.blk[0.5]", "E0303", "0.5", "a part of a model is indexed by a whole number", ""),
        ("model + 1", "E0302", "model + 1", "no `+` of Model and int", ""),
        ("model.blk[0] + 1", "E0302", "model.blk[0] + 1", "no `+` of part of a model and int", ""),
        (
            "relu(model.blk)",
            "E0302",
            "model.blk",
            "`x` of `relu` is a tensor, and this is part",
            "",
        ),
        ('get_tensor(1, "a")', "E0302", "1", "a model is needed, and this is int", ""),
        ("model.get_tensor(1)", "E0304", "1", "a tensor's name is a string known at build", ""),
        (
            "model.predict(zeros([1]))",
            "E0302",
            "model",
            "`predict` runs CoreML models, and m.gguf is GGUF",
            "with the tensors that it holds",
        ),
        ("print(model)", "E0302", "model", "Model cannot be printed", ""),
    ],
)
def test_what_a_model_does_not_have_is_said(
    expression: str, code: str, place: str, message: str, hint: str
) -> None:
    found = only_error(f"{LOAD}let found = {expression}", FILES)
    assert (found.code, marked(found)) == (code, place)
    assert found.message.startswith(message)
    assert hint in found.hint


def test_an_integer_weight_is_no_error_until_it_is_touched() -> None:
    assert not errors(LOAD + "print(model.scale)", FILES)


def test_a_file_that_cannot_be_opened_is_reported_where_it_is_named() -> None:
    text = 'model = load_model("missing.gguf")\nprint(model.w)\nfn f(x: float16[N]) { x * model.w }'
    found = only_error(text, FILES)
    assert (found.code, marked(found), found.hint) == ("E0601", '"missing.gguf"', "look for it")


# ---- warnings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "load", "stored", "warned"),
    [
        ("f16", "load_model", "f16", False),
        ("bf16", "load_model", "bf16", False),
        ("bf16", "load_model_f32", "f32", False),
        ("f64", "load_model_f32", "f32", False),
        ("q8_0", "load_model", "q8_0", False),
        ("q4_0", "load_model_f32", "f32", True),
        ("q4_k", "load_model", "q4_k", False),
        ("iq4_xs", "load_model", "f16", True),
        ("mxfp4", "load_model", "f16", True),
    ],
)
def test_what_does_not_stay_packed_is_a_warning(
    encoding: str, load: str, stored: str, warned: bool
) -> None:
    model = {"m": FakeModel({"w": FakeTensor((2, 256), encoding)})}
    found = lowered(f'm = {load}("m")\nprint(m.w, m.w)', model)
    (first, *_) = (op for op in found.module.func("main").walk() if op.name == "weight")
    assert first.attrs["stored"] == stored
    assert len(found.warnings) == 2 * warned, "one for each place"
    for warning in found.warnings:
        assert warning.code == "W0002"
        size = 2 * 256 * (4 if stored == "f32" else 2)
        assert f"stored as {encoding} and takes {size} bytes" in warning.message


# ---- saving --------------------------------------------------------------------------------------


def test_a_model_is_saved() -> None:
    shown = ir(LOAD + 'save_model(model, "out.safetensors")', FILES)
    assert 'save_model() {model=0, path="out.safetensors", dequantize=false}' in shown


def test_a_quantised_model_is_saved_only_when_asked_to_dequantise() -> None:
    text = 'let q = load_model("q.gguf")\nsave_model(q, "out.safetensors"%s)'
    found = only_error(text % "", FILES)
    assert found.code == "E0606"
    assert found.hint == '`save_model(q, "out.safetensors", dequantize: true)` writes float16'
    assert only_error(text % ", dequantize: false", FILES).code == "E0606"
    assert "dequantize=true" in ir(text % ", dequantize: true", FILES)
    refused = only_error(text % ", dequantize: 1", FILES)
    assert (refused.code, marked(refused)) == ("E0302", "dequantize: 1")


def test_the_guide_of_model_loading_compiles_as_one_program() -> None:
    """Blocks 1 to 3 and the linear layer, as users write them."""
    text = (
        'model = load_model("path/to/model.safetensors")\n'
        'model = load_model("path/to/llama-7b-q4.gguf")\n'
        'weights = model.get_tensor("layer.0.weight")\n'
        'bias = model.get_tensor("layer.0.bias")\n'
        "fn forward(input: float16[N, D_in],\n"
        "                 weights: float16[D_in, D_out],\n"
        "                 bias: float16[D_out]) -> float16[N, D_out] {\n"
        "    // output = input @ weights + bias\n"
        "    let output = input @ weights\n"
        "    return output + bias\n"
        "}\n"
        "let X = tensor<float16>([[1.0, 2.0, 3.0]], device: gpu)\n"
        "let output = forward(X, weights, bias)\n"
        'print("Output shape:", output.shape)\n'
        'save_model(model, "output.safetensors")\n'
    )
    layer = FakeModel({"layer.0.weight": numbers(3, 2), "layer.0.bias": numbers(2)})
    found = lowered(text, {"path/to/model.safetensors": layer, "path/to/llama-7b-q4.gguf": layer})
    assert [func.name for func in found.module.funcs] == ["main", "forward"]
    assert [ref.path for ref in found.module.models] == [
        "path/to/model.safetensors",
        "path/to/llama-7b-q4.gguf",
    ]
    _, screen = run_func(found.module.func("main"), (), [layer, layer])
    assert screen.lines == ["Output shape: [1, 2]"]


def test_nothing_is_read_but_the_header() -> None:
    """The fake tensor of this model has no numbers at all."""
    assert known("m.w.shape", 'm = load_model("q.gguf")', FILES) == "[2, 32]"


def test_a_tensor_of_too_many_axes_is_refused_when_it_is_touched() -> None:
    model = FakeModel({"x": FakeTensor((1,) * 33, "f16"), "y": FakeTensor((1,) * 32, "f16")})
    lowered('model = load_model("m")\nprint(model.y)', {"m": model})
    with pytest.raises(CompileError, match=r"E0603.*`x` of m has 33 axes"):
        lowered('model = load_model("m")\nprint(model.x)', {"m": model})


def test_a_wrong_name_among_very_many_still_gets_a_hint() -> None:
    names = [f"layer.{at}.weight" for at in range(5000)]
    model = FakeModel({name: FakeTensor((1,), "f16") for name in names})
    text = 'model = load_model("m")\nprint(model.get_tensor("layer.4999.wieght"))'
    with pytest.raises(CompileError, match=r"did you mean `layer.4999.weight`"):
        lowered(text, {"m": model})
