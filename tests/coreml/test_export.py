"""Functions written as Core ML packages, read again by our own reader, and run: the same numbers.

That Core ML itself accepts a package can be seen on a Mac only. Without coremltools the tests that
write packages are skipped.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

import tlc
from tlc.cli import run
from tlc.runtime.model_file import open_model

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(9)
F16 = np.float16

with_coremltools = pytest.mark.skipif(
    find_spec("coremltools") is None, reason="coremltools is not installed"
)


def floats(*shape: int) -> Array:
    return RNG.uniform(-1, 1, shape).astype(F16)


WEIGHTS = {
    "w": floats(8, 16), "b": floats(8), "g": floats(16), "s": floats(16), "v": floats(16, 4),
    "kernel": floats(6, 3, 3, 3), "bias": floats(6), "each": floats(6, 1, 2, 2),
    "mean": floats(6), "spread": np.abs(floats(6)) + F16(0.5), "table": floats(10, 16),
}  # fmt: skip
ROWS, IMAGE, HEADS = "x: float16[N, 16]", "x: float16[2, 3, 8, 9]", "x: float16[T, 4, 8]"
INPUTS = {ROWS: floats(5, 16), IMAGE: floats(2, 3, 8, 9), HEADS: floats(5, 4, 8)}

# parameters, body, and operations of MIL that the package has to have
BODIES = [
    (ROWS, "relu(linear(x, m.w, m.b))", {"linear", "relu"}),
    (ROWS, "softmax(x @ m.v + 1.0)", {"matmul", "add", "softmax"}),
    (ROWS, "layer_norm(x, m.g, m.s)", {"layer_norm"}),
    (ROWS, "rms_norm(x, m.g)", {"reduce_mean", "rsqrt"}),
    (ROWS, "gelu(x) + gelu_erf(x) * silu(x)", {"gelu", "silu"}),
    (ROWS, "clamp(x, -0.5, 0.25) ** 2.0", {"clip", "pow"}),
    (ROWS, "where(x > 0.0 && x < 0.5, x, -x)", {"select", "logical_and"}),
    (ROWS, "sum(x, 1) + mean(x, 1) * max(x, 1) - min(x, dim: 1)", {"reduce_mean", "reduce_max"}),
    (ROWS, "cumsum(x, 1)", {"cumsum"}),
    (ROWS, "concat(x.T, x.T, 0).T[1:, 3:7]", {"concat", "slice_by_index"}),
    (ROWS, "x[1:, :] * 2.0", {"slice_by_index"}),
    (ROWS, "reshape(x, [N * 2, 8]) + 0.5", {"reshape"}),
    (ROWS, "reshape(x, [N, 4, 4]) @ ones([4, 4])", {"reshape", "matmul"}),
    (ROWS, "x * zeros([N, 1]) + arange([16])", {"mul"}),
    (ROWS, 'einsum("ni,ij->jn", x, m.v)', {"matmul"}),
    (ROWS, "log_softmax(x) + log(exp(x)) / sqrt(abs(x) + 1.0)", {"log", "sqrt"}),
    (ROWS, "x as float32 * 3.0", {"cast"}),
    ("ids: int[N]", "embedding(m.table, ids)", {"gather"}),
    (IMAGE, "conv2d(x, m.kernel, m.bias, stride: [2, 1], padding: [1, 2])", {"conv"}),
    (IMAGE, "conv2d(conv2d(x, m.kernel), m.each, groups: 6, dilation: 2)", {"conv"}),
    (IMAGE, "max_pool2d(x, 3, 2, 1) + avg_pool2d(x, 3, 2, 1)", {"max_pool", "avg_pool"}),
    (IMAGE, "batch_norm(conv2d(x, m.kernel), m.mean, m.spread, m.bias, m.bias)", {"conv"}),
    (HEADS, "attention(rope(x), x, x, causal_mask(T))", {"matmul", "softmax"}),
]


def exported(folder: Path, text: str, *options: str) -> Path:
    program = folder / "p.tl"
    program.write_text(text)
    target = folder / "p.mlpackage"
    assert run(["build", str(program), "--target", "coreml", "-o", str(target), *options]) == 0
    return target


def both(folder: Path, params: str, body: str, model: str) -> tuple[Any, Any, set[str]]:
    """What a function gives, what its package gives, and the operations of the package."""
    text = f'm = load_model("{model}")\nfn forward({params}) {{ {body} }}\n'
    path = exported(folder, text)
    name = params.split(":")[0]
    again = f'm = load_model("p.mlpackage")\nfn forward({params}) {{ m.predict({name}) }}'
    x = INPUTS.get(params, np.array([3, 0, 9, 3, 1], np.int32))
    found = [tlc.compile(folder / "q.tl", text=t, device="reference").forward(x)
             for t in (text, again)]  # fmt: skip
    kinds = {op.kind for op in open_model(str(path)).program.operations}  # type: ignore[attr-defined]
    return found[0], found[1], kinds


@with_coremltools
@pytest.mark.parametrize(("params", "body", "kinds"), BODIES, ids=[b for _, b, _ in BODIES])
def test_a_package_computes_what_the_function_does(
    tmp_path: Path, params: str, body: str, kinds: set[str]
) -> None:
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    wanted, found, have = both(tmp_path, params, body, "w.safetensors")
    assert kinds <= have
    assert found.dtype == wanted.dtype
    # values below 16; up to three operations round to 11 bits in one and stay wide in the other
    np.testing.assert_allclose(found, wanted, rtol=2**-9, atol=2**-7)


@with_coremltools
def test_a_loop_over_layers_is_written_out(tmp_path: Path) -> None:
    layers = {f"blk.{at}.w": floats(16, 16) / F16(4) for at in range(3)}
    save_file(layers, tmp_path / "w.safetensors")
    body = "for i in range(3) { x = x + relu(linear(x, m.blk[i].w)) }\n x"
    wanted, found, kinds = both(tmp_path, ROWS, body, "w.safetensors")
    assert {"linear", "relu", "add"} <= kinds
    x = INPUTS[ROWS].astype(np.float64)
    for weight in layers.values():
        x = x + np.maximum(x @ weight.T.astype(np.float64), 0)
    # numbers below 16, each rounded to 11 bits three times, and slopes of at most 4 behind them
    np.testing.assert_allclose(found, x, rtol=2**-8, atol=2**-6)
    np.testing.assert_allclose(found, wanted, rtol=2**-9, atol=2**-7)


@with_coremltools
@pytest.mark.parametrize("encoding", ["Q8_0", "Q4_0"])
def test_block_quantised_weights_stay_packed(tmp_path: Path, encoding: str) -> None:
    kind = gguf.GGMLQuantizationType[encoding]
    weight = gguf.quants.quantize(RNG.uniform(-1, 1, (8, 64)).astype(np.float32), kind)
    writer = gguf.GGUFWriter(tmp_path / "w.gguf", "llama")
    writer.add_tensor("w", weight, raw_dtype=kind)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file,
                 writer.write_tensors_to_file, writer.close):  # fmt: skip
        step()
    params = "x: float16[N, 64]"
    INPUTS[params] = floats(3, 64)
    wanted, found, kinds = both(tmp_path, params, "linear(x, m.w)", "w.gguf")
    assert "linear" in kinds
    model = open_model(str(tmp_path / "p.mlpackage"))
    (entry,) = model.tensors.values()
    assert entry.encoding == f"blockwise_{'i8' if encoding == 'Q8_0' else 'i4'}"
    # bytes of numbers and of one float16 for each 32 of them
    assert entry.nbytes == 8 * 64 // (1 if encoding == "Q8_0" else 2) + 8 * 2 * 2
    np.testing.assert_allclose(found, wanted, rtol=2**-9, atol=2**-7)


@with_coremltools
def test_an_older_package_is_replaced_and_the_entry_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "fn a(x: float16[2]) { x + 1.0 }\nfn b(x: float16[2]) { x * 2.0 }\n"
    (tmp_path / "p.mlpackage").mkdir()
    (tmp_path / "p.mlpackage" / "old").write_text("old")
    path = exported(tmp_path, text, "--entry", "b")
    assert sorted(p.name for p in path.iterdir()) == ["Data", "Manifest.json"]
    assert not list(tmp_path.glob(".*"))
    again = 'm = load_model("p.mlpackage")\nfn f(x: float16[2]) { m.predict(x) }'
    found = tlc.compile(tmp_path / "q.tl", text=again, device="reference").f(floats(2) * 0 + F16(3))
    assert found.tolist() == [6, 6]


REFUSED: list[tuple[str, str, str]] = [
    ("fn a(x: float16[2]) { x }\nfn b(x: float16[2]) { x }", "E0611", "which function"),
    ("print(1)", "E0611", "which function"),
    ("fn a(x: float16[2*N]) { x }", "E0611", "is neither a number nor a name"),
    ("fn a(x: float16[2]) { x > 0.0 }", "E0611", "truth values"),
    ("fn a(x: float16[2]) { print(x)\nx }", "E0611", "`print` cannot be exported"),
    ("fn a(x: float16[4]) { x + rand([4]) }", "E0611", "cannot be exported"),
]


@with_coremltools
@pytest.mark.parametrize(("text", "code", "message"), REFUSED)
def test_what_core_ml_cannot_take_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, code: str, message: str
) -> None:
    (tmp_path / "p.tl").write_text(text)
    target = tmp_path / "p.mlpackage"
    assert run(["build", str(tmp_path / "p.tl"), "--target", "coreml", "-o", str(target)]) == 1
    said = capsys.readouterr().err
    assert code in said
    assert message in said
    assert not target.exists()


def test_without_coremltools_it_is_said_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    (tmp_path / "p.tl").write_text("fn f(x: float16[2]) { x + 1.0 }")
    assert run(["build", str(tmp_path / "p.tl"), "--target", "coreml"]) == 1
    said = capsys.readouterr().err
    assert "error[E0612]" in said
    assert "pip install 'tlc[coreml]'" in said
