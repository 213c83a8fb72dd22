"""`tlc convert`: other readers find in the new file what was in the old one, or it is refused.

Files are written and read by the packages `safetensors` and `gguf`.
"""

import json
import os
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFValueType as Type
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tests.coreml.writer import MilModel, Name
from tlc.cli import run
from tlc.runtime.model_file import open_model

RNG = np.random.default_rng(5)
W = RNG.standard_normal((4, 64)).astype(np.float32)
Q = gguf.quants.quantize(W, Kind.Q4_0)
NORM = RNG.standard_normal(5).astype(np.float32)
IDS = np.arange(6, dtype=np.int64).reshape(2, 3)
VALUES = {
    "llama.block_count": (2, Type.UINT32, None),
    "general.file_type": (2, Type.UINT32, None),
    "general.quantization_version": (2, Type.UINT32, None),
    "llama.rope.freq_base": (1e4 / 3, Type.FLOAT32, None),
    "a.wide": (2**63 + 1, Type.UINT64, None),
    "a.negative": (-3, Type.INT16, None),
    "a.exact": (0.1, Type.FLOAT64, None),
    "a.truth": (True, Type.BOOL, None),
    "a.text": ('"quoted"\nü', Type.STRING, None),
    "a.texts": (["", "ü", "[1]"], Type.ARRAY, Type.STRING),
    "a.bytes": ([1, 255], Type.ARRAY, Type.UINT8),
    "a.scores": ([0.5, float("-inf"), 1 / 3], Type.ARRAY, Type.FLOAT32),
    "a.truths": ([True, False], Type.ARRAY, Type.BOOL),
    "a.nested": ([[1, 2], [3]], Type.ARRAY, None),
}


def write_gguf(path: str, kind: Kind = Kind.Q4_0) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    for key, (value, type, items) in VALUES.items():
        writer.add_key_value(key, value, type, items)
    writer.add_custom_alignment(64)
    writer.add_tensor("w", Q, raw_dtype=Kind.Q4_0)
    writer.add_tensor("norm", NORM)
    writer.add_tensor("ids", IDS)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_safetensors(path: str) -> None:
    save_file({"w": W, "ids": IDS}, path, {"format": "pt", "note": "ü"})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_gguf("in.gguf")
    write_safetensors("in.safetensors")
    return tmp_path


def convert(*arguments: str) -> None:
    assert run(["convert", *arguments]) == 0


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["convert", *arguments]) == 1
    assert not [name for name in os.listdir() if name.endswith(".tmp")]
    return capsys.readouterr().err


def fields(path: str) -> dict[str, object]:
    """The metadata of a GGUF file, without what counts its own parts."""
    reader = gguf.GGUFReader(path)
    found = {key: (f.types, f.contents()) for key, f in reader.fields.items()}
    return {key: value for key, value in found.items() if not key.startswith("GGUF.")}


def tensors(path: str) -> dict[str, tuple[str, list[int], bytes]]:
    reader = gguf.GGUFReader(path)
    return {
        t.name: (t.tensor_type.name, t.shape.tolist(), t.data.tobytes()) for t in reader.tensors
    }


def test_gguf_to_safetensors() -> None:
    convert("in.gguf", "out.safetensors")
    found = load_file("out.safetensors")
    wanted = gguf.quants.dequantize(Q, Kind.Q4_0).astype(np.float16)
    np.testing.assert_array_equal(found["w"], wanted, strict=True)
    np.testing.assert_array_equal(found["norm"], NORM, strict=True)
    np.testing.assert_array_equal(found["ids"], IDS, strict=True)
    with safe_open("out.safetensors", "np") as file:
        notes = file.metadata()
    assert notes["format"] == "pt"
    assert notes["general.architecture"] == "llama"
    assert notes["llama.block_count"] == "2"
    assert notes["a.text"] == '"quoted"\nü'
    assert json.loads(notes["a.texts"]) == ["", "ü", "[1]"]


@pytest.mark.parametrize("dtype", ["f16", "f32"])
def test_dtype_is_that_of_every_float(dtype: str) -> None:
    convert("in.gguf", "out.safetensors", "--dtype", dtype)
    found = load_file("out.safetensors")
    numpy = {"f16": np.float16, "f32": np.float32}[dtype]
    wanted = gguf.quants.dequantize(Q, Kind.Q4_0).astype(numpy)
    np.testing.assert_array_equal(found["w"], wanted, strict=True)
    np.testing.assert_array_equal(found["norm"], NORM.astype(numpy), strict=True)
    assert found["ids"].dtype == np.int64


def test_there_and_back_gives_every_value_and_type() -> None:
    convert("in.gguf", "between.safetensors", "--dtype", "f32")
    convert("between.safetensors", "out.gguf")
    before, after = fields("in.gguf"), fields("out.gguf")
    for key in ("general.file_type", "general.quantization_version", "general.alignment"):
        del before[key]  # they are about how the old file was stored
    assert after == before
    assert tensors("out.gguf")["w"] == (
        "F32",
        [64, 4],
        gguf.quants.dequantize(Q, Kind.Q4_0).tobytes(),
    )


def plain(value: object) -> object:
    """Lists in place of views of a file."""
    return [plain(item) for item in value] if isinstance(value, memoryview | list) else value


def test_programs_find_the_same_values_in_a_converted_file() -> None:
    convert("in.gguf", "one.safetensors")
    convert("one.safetensors", "two.safetensors", "--dtype", "f32")
    before = open_model("in.gguf").metadata
    for name in ("one.safetensors", "two.safetensors"):
        found = open_model(name).metadata
        for key in VALUES.keys() - {"general.file_type", "general.quantization_version"}:
            assert found[key] == plain(before[key])
        assert found["format"] == "pt"


def test_gguf_to_gguf_keeps_blocks_and_metadata() -> None:
    convert("in.gguf", "out.gguf")
    before = fields("in.gguf")
    del before["general.alignment"]
    assert fields("out.gguf") == before
    assert tensors("out.gguf") == tensors("in.gguf")


def test_a_folder_becomes_one_file() -> None:
    os.mkdir("bert")
    os.rename("in.safetensors", "bert/a.safetensors")
    config = {
        "model_type": "bert",
        "eps": 1e-12,
        "size": 384,
        "low": -1,
        "names": ["a"],
        "on": True,
    }
    Path("bert/config.json").write_text(json.dumps(config))
    convert("bert", "out.gguf")
    found = fields("out.gguf")
    assert found["general.architecture"] == found["model_type"] == ([Type.STRING], "bert")
    assert found["eps"] == ([Type.FLOAT64], 1e-12)
    assert found["size"] == ([Type.UINT32], 384)
    assert found["low"] == ([Type.INT64], -1)
    assert found["names"] == ([Type.ARRAY, Type.STRING], ["a"])
    assert found["on"] == ([Type.BOOL], True)
    assert found["note"] == ([Type.STRING], "ü")
    assert tensors("out.gguf")["w"] == ("F32", [64, 4], W.tobytes())
    convert("bert", "out.safetensors")
    assert load_file("out.safetensors").keys() == {"w", "ids"}
    assert open_model("out.safetensors").metadata == {"format": "pt", "note": "ü", **config}


def test_bfloat16_goes_along_bit_for_bit() -> None:
    header = {"x": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}
    text = json.dumps(header).encode()
    Path("b.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"abcdef")
    convert("b.safetensors", "b.gguf")
    convert("b.gguf", "c.safetensors")
    model = open_model("c.safetensors")
    assert model.tensors["x"].encoding == "bf16"
    assert bytes(model.view("x")) == b"abcdef"


def test_a_model_may_be_converted_over_itself() -> None:
    convert("in.safetensors", "in.safetensors", "--dtype", "f16")
    np.testing.assert_array_equal(load_file("in.safetensors")["w"], W.astype(np.float16))


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.ones(2, np.uint8), "is stored as U8, which GGUF cannot hold"),
        (np.ones(2, np.bool_), "is stored as BOOL, which GGUF cannot hold"),
        (np.ones((1,) * 5, np.float32), "has 5 axes, not 1 to 4, which GGUF cannot hold"),
        (np.ones((), np.float32), "has 0 axes, not 1 to 4, which GGUF cannot hold"),
    ],
)
def test_what_gguf_cannot_hold(
    capsys: pytest.CaptureFixture[str], array: np.ndarray, reason: str
) -> None:
    save_file({"x": array}, "x.safetensors")
    assert f"E0606]: x.gguf: tensor 'x' {reason}" in refusal(capsys, "x.safetensors", "x.gguf")
    assert not Path("x.gguf").exists()


def test_other_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"n" * 64: W}, "x.safetensors")
    assert "a name of more than 63 bytes" in refusal(capsys, "x.safetensors", "x.gguf")
    save_file({"x": W * 1e9}, "x.safetensors")
    assert "E0604]: tensor 'x'" in refusal(capsys, "x.safetensors", "x.gguf", "--dtype", "f16")
    assert "end in .safetensors or .gguf" in refusal(capsys, "x.safetensors", "x.bin")
    assert "E0601" in refusal(capsys, "gone.gguf", "x.gguf")
    assert "E0606]: no/x.gguf: there is no such folder" in refusal(
        capsys, "x.safetensors", "no/x.gguf"
    )
    header = {"x": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}
    text = json.dumps(header).encode()
    Path("x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"\x38")
    assert "--dtype f16 converts every float" in refusal(capsys, "x.safetensors", "x.gguf")
    convert("x.safetensors", "x.gguf", "--dtype", "f16")
    assert tensors("x.gguf")["x"][2] == np.float16(1).tobytes()


@pytest.mark.parametrize(
    ("types", "value", "reason"),
    [
        ('{"k": "u32"}', "x", "is not of the type u32"),
        ('{"k": "u32"}', "-1", "is not of the type u32"),
        ('{"k": "u32"}', '"x"', "is not of the type u32"),
        ('{"k": "[str]"}', "[1]", "is not of the type [str]"),
        ('{"k": "[u8]"}', "[256]", "is not of the type [u8]"),
        ('{"k": "[u8]"}', "3", "is not of the type [u8]"),
        ('{"k": "[u8]"}', "[" * 9999, "is not of the type [u8]"),
    ],
)
def test_types_that_lie(
    capsys: pytest.CaptureFixture[str], types: str, value: str, reason: str
) -> None:
    save_file({"w": W}, "x.safetensors", {"gguf.types": types, "k": value})
    text = refusal(capsys, "x.safetensors", "x.gguf")
    assert "E0606]: the metadata 'k' of x.safetensors" in text
    assert reason in text


@pytest.mark.parametrize("types", ["", "[", "[]", '{"k": "x"}', '{"k": "u32]"}', '{"k": 1}'])
def test_types_without_sense_are_as_if_absent(types: str) -> None:
    save_file({"w": W}, "x.safetensors", {"gguf.types": types, "k": "7"})
    convert("x.safetensors", "x.gguf")
    assert fields("x.gguf")["k"] == ([Type.STRING], "7")


def test_core_ml_weights_become_safetensors(folder: Path) -> None:
    model = MilModel({"x": ("f16", (1, 3))}, metadata={"licence": "ours"})
    codes = np.arange(6, dtype=np.uint8).reshape(2, 3)
    model.stored("plain", np.ones((2, 3), np.float16))
    model.stored("codes", codes)
    model.op(
        "constexpr_affine_dequantize",
        {"packed": ("f16", (2, 3))},
        quantized_data=Name("codes"),
        scale=np.float16(0.5),
        zero_point=np.uint8(2),
        axis=0,
    )
    model.op("add", {"w": ("f16", (2, 3))}, x=Name("packed"), y=Name("plain"))
    model.op("linear", {"y": ("f16", (1, 2))}, output=True, x=Name("x"), weight=Name("w"))
    model.write(folder / "m.mlpackage")
    convert("m.mlpackage", "out.safetensors")
    found = load_file("out.safetensors")
    np.testing.assert_array_equal(found["plain"], np.ones((2, 3), np.float16), strict=True)
    wanted = (codes.astype(np.float16) - 2) * np.float16(0.5)
    np.testing.assert_array_equal(found["packed"], wanted, strict=True)
    with safe_open("out.safetensors", "np") as file:
        assert file.metadata()["licence"] == "ours"
