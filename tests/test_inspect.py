"""`tlc inspect` of models: one file, shards, folders, GGUF; as text and as JSON."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from safetensors.numpy import save_file

from tests.coreml.writer import MilModel, Name
from tlc.cli import run


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["inspect", *arguments]) == 0
    return capsys.readouterr().out


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_of_shards(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bert").mkdir()
    save_file({"w": np.ones((2, 3), np.float32)}, "bert/a.safetensors", {"format": "pt"})
    save_file({"ids": np.arange(2)}, "bert/b.safetensors")
    index = json.dumps({"weight_map": {"w": "a.safetensors", "ids": "b.safetensors"}})
    Path("bert/model.safetensors.index.json").write_text(index)
    Path("bert/config.json").write_text('{"layers": [1, 2, 3, 4, 5], "tied": true}')
    sizes = {p.name: p.stat().st_size for p in Path("bert").iterdir()}
    total = sum(sizes.values())
    assert shown(capsys, "bert") == (
        f"bert: SafeTensors F32, 2 tensors, 6 parameters, {total} bytes\n"
        "12 bytes on a device when all tensors are used: as float16\n"
        "\n"
        "files\n"
        f"  a.safetensors  {sizes['a.safetensors']} bytes\n"
        f"  b.safetensors  {sizes['b.safetensors']} bytes\n"
        "  model.safetensors.index.json  62 bytes\n"
        "  config.json  41 bytes\n"
        "\n"
        "metadata\n"
        '  format  "pt"\n'
        "  layers  [1, 2, 3, 4, ...] (5 items)\n"
        "  tied    true\n"
        "\n"
        "types\n"
        "  F32          1 tensor              24 bytes\n"
        "  I64          1 tensor              16 bytes, not computed with\n"
        "\n"
        "tensors\n"
        "  w    [2, 3]             F32                 24 bytes\n"
        "  ids  [2]                I64                 16 bytes\n"
    )


def test_a_gguf_file_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = gguf.GGUFWriter("m.gguf", "llama")
    writer.add_token_list(["a", "b"])
    writer.add_token_scores([0.5, float("-inf")])
    blocks = gguf.quants.quantize(np.ones((2, 32), np.float32), Kind.Q4_0)
    writer.add_tensor("w", blocks, raw_dtype=Kind.Q4_0)
    writer.add_tensor("norm", np.ones(3, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = json.loads(shown(capsys, "m.gguf", "--json"))
    assert (found["format"], found["quantization"]) == ("GGUF", "Q4_0")
    assert (found["parameters"], found["device_bytes"]) == (67, 36 + 6)
    assert found["metadata"] == {
        "general.architecture": "llama",
        "tokenizer.ggml.tokens": ["a", "b"],
        "tokenizer.ggml.scores": [0.5, "-inf"],
    }
    first, second = found["tensors"]
    assert (first["shape"], first["encoding"], first["bytes"]) == ([2, 32], "q4_0", 36)
    assert (second["name"], second["file"], second["device_bytes"]) == ("norm", "m.gguf", 6)


def test_a_core_ml_package_shows_what_goes_in_and_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = MilModel(
        {"photo": ("f32", (1, 3, 12, 16)), "rows": ("f16", (None, 2))},
        ranges={"rows": [(1, 64), (2, 2)]},
        images={"photo": (16, 12, 30)},
    )
    model.op("relu", {"y": ("f16", (None, 2))}, output=True, x=Name("rows"))
    model.write(folder / "m.mlpackage")
    text = shown(capsys, "m.mlpackage")
    assert (
        "inputs\n"
        "  photo  f32[1, 3, 12, 16], a picture (BGR)\n"
        "  rows   f16[1..64, 2]\n"
        "\n"
        "outputs\n"
        "  y  f16[1, 2]\n"
    ) in text
    found = json.loads(shown(capsys, "m.mlpackage", "--json"))
    assert found["inputs"][0]["image"] == {"width": 16, "height": 12, "color": "BGR"}
    assert found["inputs"][1]["ranges"] == [[1, 64], [2, 2]]
    assert [feature["name"] for feature in found["outputs"]] == ["y"]


def test_names_cannot_steer_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"\x1b[2J": np.ones(1, np.float16)}, "m.safetensors", {"\x07": "\x1b[31m"})
    assert "\x1b" not in shown(capsys, "m.safetensors")


def test_a_model_that_cannot_be_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, code in (("gone.safetensors", "E0601"), (".", "E0601"), ("x.metallib", "E0501")):
        assert run(["inspect", name]) == 1
        assert code in capsys.readouterr().err
