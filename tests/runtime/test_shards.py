"""Models in several files: sharded SafeTensors, folders of Hugging Face, split GGUF.

Shards are written by the `safetensors` package, split files by the `gguf` package.
"""

import json
import os
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

import tlc
from tlc.runtime.decode import floats
from tlc.runtime.errors import RunError
from tlc.runtime.model_file import ModelFile, open_model

A = np.arange(6, dtype=np.float16).reshape(2, 3)
B = np.linspace(-1, 1, 4, dtype=np.float32)
C = np.ones((3, 3), np.float16)


def sharded(folder: Path, weight_map: dict[str, object] | None = None) -> Path:
    """An index and its two shards."""
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    save_file({"a": A, "b": B}, folder / first, {"format": "pt"})
    save_file({"c": C}, folder / second, {"format": "pt"})
    index = folder / "model.safetensors.index.json"
    places = {"a": first, "b": first, "c": second} if weight_map is None else weight_map
    index.write_text(json.dumps({"metadata": {"total_size": 46}, "weight_map": places}))
    return index


def split(folder: Path, count: int = 3, name: str = "m") -> list[Path]:
    """A GGUF model in `count` files, whose metadata is in the first."""
    writer = gguf.GGUFWriter(
        folder / f"{name}.gguf", "llama", split_max_tensors=1, use_temp_file=False
    )
    writer.add_block_count(2)
    for at in range(count):
        writer.add_tensor(f"t{at}", np.full((2, 32), at, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return [folder / f"{name}-{at + 1:05}-of-{count:05}.gguf" for at in range(count)]


def values(model: ModelFile, name: str) -> np.ndarray:
    return floats(model.tensors[name], model.view(name), "f32")


def reason(path: Path) -> str:
    with pytest.raises(RunError) as caught:
        open_model(os.fspath(path))
    assert caught.value.code == "E0601"
    return caught.value.message


# Sharded SafeTensors


def test_an_index_and_its_shards_are_one_model(tmp_path: Path) -> None:
    model = open_model(os.fspath(sharded(tmp_path)))
    assert model.format == "SafeTensors"
    assert model.metadata == {"format": "pt"}
    assert model.quantization == "F16"
    for name, wanted in {"a": A, "b": B, "c": C}.items():
        np.testing.assert_array_equal(values(model, name), wanted.astype(np.float32))


def test_a_tensor_that_the_index_leaves_out_is_still_there(tmp_path: Path) -> None:
    places = {
        "a": "model-00001-of-00002.safetensors",
        "c": "model-00002-of-00002.safetensors",
    }
    assert sorted(open_model(os.fspath(sharded(tmp_path, places))).tensors) == ["a", "b", "c"]


def test_the_index_says_which_of_two_is_meant(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    save_file({"c": C, "a": A + 1}, tmp_path / "model-00002-of-00002.safetensors")
    np.testing.assert_array_equal(values(open_model(os.fspath(index)), "a"), A)
    places = {
        "b": "model-00001-of-00002.safetensors",
        "c": "model-00002-of-00002.safetensors",
    }
    index.write_text(json.dumps({"weight_map": places}))
    assert "tensor 'a' lies both in model-00001-of-00002" in reason(index)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../secret.safetensors", "shards lie beside their index"),
        ("/etc/passwd.safetensors", "shards lie beside their index"),
        ("..\\x.safetensors", "shards lie beside their index"),
        ("x\0.safetensors", "shards lie beside their index"),
        ("model.safetensors.index.json", "which is no SafeTensors file"),
        ("", "which is no SafeTensors file"),
        (7, "which is no SafeTensors file"),
        (["a"], "which is no SafeTensors file"),
        ("gone.safetensors", "there is no such file"),
        ("model-00002-of-00002.safetensors", "it places tensor 'a' in model-00002-of-00002"),
    ],
)
def test_an_index_that_points_wrong(tmp_path: Path, name: object, message: str) -> None:
    assert message in reason(sharded(tmp_path, {"a": name}))


def test_an_index_that_is_a_shard_of_itself_ends(tmp_path: Path) -> None:
    index = sharded(tmp_path, {"a": "self.safetensors"})
    (tmp_path / "self.safetensors").symlink_to(index)
    assert "self.safetensors: a damaged SafeTensors file" in reason(index)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": []}'])
def test_an_index_without_a_map(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.index.json").write_text(text)
    assert "m.index.json" in reason(tmp_path / "m.index.json")


def test_the_fingerprint_follows_every_file(tmp_path: Path) -> None:
    index = os.fspath(sharded(tmp_path))
    before = open_model(index).fingerprint
    assert open_model(index).fingerprint == before
    save_file({"c": C[:2]}, tmp_path / "model-00002-of-00002.safetensors")
    assert open_model(index).fingerprint != before


# Folders


def test_a_folder_is_a_model_with_its_config_as_metadata(tmp_path: Path) -> None:
    sharded(tmp_path)
    config = {
        "hidden_size": 384,
        "eps": 1e-12,
        "tied": True,
        "architectures": ["BertModel"],
        "rope_scaling": {"factor": 8.0, "type": None},
        "layers": [{"kind": "full"}, {"kind": "local"}],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = open_model(os.fspath(tmp_path))
    assert model.metadata == {
        "format": "pt",
        "hidden_size": 384,
        "eps": 1e-12,
        "tied": True,
        "architectures": ["BertModel"],
        "rope_scaling.factor": 8.0,
        "layers.0.kind": "full",
        "layers.1.kind": "local",
    }
    before = model.fingerprint
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": 385}))
    assert open_model(os.fspath(tmp_path)).fingerprint != before


def test_a_program_computes_with_a_folder(tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / "config.json").write_text('{"scale": 2.0, "rope": {"base": 3}}')
    text = (
        f'let m = load_model("{tmp_path}")\n'
        'fn f(x: float16[N, 2]) { x @ m.a @ m.c * m.metadata["scale"] + m.metadata["rope.base"] }\n'
    )
    found = tlc.compile("m.tl", text=text, device="reference").f(np.ones((1, 2), np.float16))
    np.testing.assert_array_equal(found, np.ones((1, 2)) @ A @ C * 2 + 3)


def test_a_folder_with_one_file_of_any_name(tmp_path: Path) -> None:
    save_file({"a": A}, tmp_path / "weights.safetensors")
    (tmp_path / "model.safetensors").mkdir()
    assert list(open_model(os.fspath(tmp_path)).tensors) == ["a"]


def test_a_folder_of_a_split_model(tmp_path: Path) -> None:
    split(tmp_path)
    assert sorted(open_model(os.fspath(tmp_path)).tensors) == ["t0", "t1", "t2"]


def test_folders_that_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(RunError, match=r"hint: save pytorch_model.bin as SafeTensors"):
        open_model(os.fspath(tmp_path))
    for name in ("a", "b"):
        save_file({"a": A}, tmp_path / f"{name}.safetensors")
    assert "holds 2 models" in reason(tmp_path)
    save_file({"a": A}, tmp_path / "model.safetensors")
    assert open_model(os.fspath(tmp_path)).path == os.fspath(tmp_path)
    deep = {"a": {}}
    for _ in range(120):
        deep = {"a": deep}
    (tmp_path / "config.json").write_text(json.dumps(deep))
    assert "nested too deep" in reason(tmp_path)
    (tmp_path / "config.json").write_text("[" * 100_000)
    assert "config.json: its JSON is" in reason(tmp_path)


# Split GGUF


@pytest.mark.parametrize("opened", [0, 1, 2])
def test_any_part_of_a_split_file_opens_the_whole(tmp_path: Path, opened: int) -> None:
    model = open_model(os.fspath(split(tmp_path)[opened]))
    assert model.metadata["llama.block_count"] == 2
    assert list(model.tensors) == ["t0", "t1", "t2"]
    for at in range(3):
        assert (values(model, f"t{at}") == at).all()
    assert len(model.parts) == 3


def test_a_split_file_whose_parts_are_wrong(tmp_path: Path) -> None:
    paths = split(tmp_path)
    shutil.copy(paths[0], tmp_path / "renamed.gguf")
    assert "its name does not say which" in reason(tmp_path / "renamed.gguf")
    good = paths[1].read_bytes()
    paths[1].unlink()
    assert "m-00002-of-00003.gguf: there is no such file" in reason(paths[0])
    shutil.copy(paths[2], paths[1])
    assert "it does not say that it is part 2 of 3" in reason(paths[0])
    save_file({"a": A}, paths[1])
    assert "this part of a split model is no GGUF file" in reason(paths[0])
    paths[1].write_bytes(good.replace(b"t1", b"t2"))
    assert "tensor 't2' lies both in" in reason(paths[0])
