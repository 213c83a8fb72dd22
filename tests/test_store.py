"""`--store f32` keeps what float16 cannot hold, and rounds at the border of an entry alone."""

from pathlib import Path

import gguf
import numpy as np
import pytest

import tlc
from tests.test_programs import PROGRAMS
from tlc import driver
from tlc.cli import run

DEVICES = pytest.mark.parametrize("device", ["cpu", "reference"])

# a residual stream that passes 65,504 in its third layer, as Gemma 3 does on its first token
RESIDUAL = """\
fn block(h: float16[N, D], w: float16[D, D]) -> float16[N, D] {
    return h + linear(h, w) * 64.0
}
fn stack(x: float16[N, D], w: float16[D, D], gain: float16[D]) -> float16[N, D] {
    let h = block(block(block(block(x, w), w), w), w)
    return rms_norm(h, gain)
}
"""


def rms_norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * gain


@DEVICES
def test_a_residual_stream_beyond_float16_gives_the_right_numbers(device: str) -> None:
    rng = np.random.default_rng(3)
    x, w = (rng.uniform(-1, 1, shape).astype(np.float16) for shape in ((5, 16), (16, 16)))
    gain = np.linspace(0.5, 2, 16).astype(np.float16)
    h, exact = x.astype(np.float64), w.astype(np.float64)
    for _ in range(4):
        h = h + h @ exact.T * 64
    assert np.abs(h).max() > 65504
    wanted = rms_norm(h, gain)

    narrow = tlc.compile("r.tl", text=RESIDUAL, device=device).stack(x, w, gain)
    assert not np.isfinite(narrow).all()
    found = tlc.compile("r.tl", text=RESIDUAL, device=device, store="f32").stack(x, w, gain)
    assert found.dtype == np.float16
    # one rounding to float16 at the end, 2^-11 of the result; what float32 adds up before is
    # below 4 layers * 16 terms * 2^-23 of the largest sum, less than another 2^-11 here
    np.testing.assert_allclose(found, wanted, rtol=2**-10, atol=2**-10)


@DEVICES
def test_the_border_stays_float16(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "fn square(x: float16[N]) -> float16[N] { return x * x }\n"
        "let y = tensor([3.0, 400.0])\n"
        "print(y * y)\n"  # printed as float16: 160,000 is none
        "print((y * y) as float32)\n"
        "print(y * y / 1000.0)\n"
        "print(square(y) / 1000.0)\n"  # a declared type inside the entry rounds nothing
        "print(((y * y) as float16) / 1000.0)\n"  # nor does a conversion
    )
    model = tlc.compile("b.tl", text=text, device=device, store="f32")
    model.main()
    assert capsys.readouterr().out.splitlines() == [
        "[9.0, inf]",
        "[9.0, 160000.0]",
        *["[0.009, 160.0]"] * 3,
    ]
    assert model.square(np.array([3, 400], np.float16)).tolist() == [9.0, np.inf]


@DEVICES
def test_loops_and_branches_carry_float32(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "let h = tensor([1.0, 2.0])\n"
        "for i in range(40) { h = h * 2.0 }\n"
        "if argmax(h) == 1 { h = h * 4.0 } else { h = zeros([2]) }\n"
        "print(h as float32, h / 1e4 / 1e4 / 1e4)\n"
    )
    tlc.compile("l.tl", text=text, device=device, store="f32").main()
    # 2^42 and 2^43 in shortest digits; 1e4 is the float16 10000
    assert capsys.readouterr().out == "[4398046500000.0, 8796093000000.0] [4.4, 8.8]\n"


@DEVICES
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_packed_weights_stay_packed(tmp_path: Path, device: str, kind: str) -> None:
    rng = np.random.default_rng(5)
    numbers = rng.normal(0, 1, (32, 64)).astype(np.float32)
    data = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType[kind])
    writer = gguf.GGUFWriter(tmp_path / "w.gguf", "test")
    writer.add_tensor("w", data, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    text = (
        f'let m = load_model("{tmp_path / "w.gguf"}")\n'
        "fn f(x: float16[N, 64]) { linear(x * 300.0, m.w) / 300.0 }\n"
        "fn rows(ids: int[N]) { m.w[ids, :] * 1.0 }\n"
    )
    built = driver.build("p.tl", text=text, store="f32")
    assert not built.warnings  # a weight that is expanded is one
    w = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind]).astype(np.float16)
    x = rng.uniform(-90, 90, (4, 64)).astype(np.float16)
    model = tlc.compile("p.tl", text=text, device=device, store="f32")
    exact = x.astype(np.float64) @ w.astype(np.float64).T
    assert np.abs(exact * 300).max() > 65504
    for rows in (4, 1):  # a product of matrices, and one of a matrix and a vector
        # one rounding of 2^-11, and the sum's own error far below it
        np.testing.assert_allclose(model.f(x[:rows]), exact[:rows], rtol=2**-10, atol=1)
    np.testing.assert_array_equal(model.rows(np.arange(32, dtype=np.int32)), w)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_every_program_builds(path: Path) -> None:
    driver.build(str(path), store="f32", verify=True)


def test_the_artifact_says_how_it_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.tl").write_text("let x = tensor([400.0])\nprint(x * x / 1000.0)\n")
    assert run(["build", "p.tl", "--store", "f32", "-o", "wide.metallib"]) == 0
    assert run(["build", "p.tl"]) == 0
    capsys.readouterr()
    for name, told in (("wide.metallib", True), ("p.metallib", False)):
        assert run(["inspect", name]) == 0
        assert ("stored as float32 (--store f32)" in capsys.readouterr().out) is told
    assert run(["run", "wide.metallib"]) == 0
    assert run(["run", "wide.metallib", "--store", "f32"]) == 0
    assert run(["run", "p.tl", "--store", "f32"]) == 0
    assert capsys.readouterr().out == "[160.0]\n" * 3
    assert run(["run", "p.metallib", "--store", "f32"]) == 1
    assert "was not built with `--store f32`" in capsys.readouterr().err
    assert run(["check", "p.tl", "--store", "f32"]) == 0
