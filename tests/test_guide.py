"""The user's guide to loading models: its blocks run as written, one by one and together."""

import contextlib
import io
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tlc
from tests.guide import (
    BLOCKS,
    FORWARD,
    GET_TENSORS,
    LINEAR,
    LOAD_AGAIN,
    LOAD_GGUF,
    LOAD_SAFETENSORS,
    SAVE,
)
from tlc import driver
from tlc.cli import run

OUTPUT = (
    "Output shape: [4, 2]\nOutput: [[2.21, 2.82], [4.91, 6.418], [7.61, 10.02], [10.31, 13.62]]\n"
)


@pytest.fixture(params=["cpu", "reference"])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the guide speaks of, in the folder that the program runs in."""
    (tmp_path / "path" / "to").mkdir(parents=True)
    numbers = {
        "layer.0.weight": np.arange(12, dtype=np.float32).reshape(3, 4) / 8,
        "layer.0.bias": np.array([0.5, -0.5, 1.0], np.float64),
    }
    save_file(numbers, tmp_path / "path" / "to" / "model.safetensors")
    save_file(numbers, tmp_path / "model.safetensors")
    writer = gguf.GGUFWriter(tmp_path / "path" / "to" / "llama-7b-q4.gguf", "llama")
    packed = gguf.quants.quantize(np.ones((4, 32), np.float32), gguf.GGMLQuantizationType.Q4_0)
    writer.add_tensor("layer.0.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.add_tensor("layer.0.bias", np.zeros(4, np.float16))
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
    ):
        write()
    writer.close()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(text: str, device: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        tlc.compile("guide.tl", text=text, device=device).main()
    return stdout.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        LOAD_SAFETENSORS,
        LOAD_GGUF,
        LOAD_SAFETENSORS + GET_TENSORS,
        LOAD_GGUF + GET_TENSORS,
        FORWARD,
        LOAD_AGAIN,
    ],
)
def test_a_block_that_prints_nothing_runs(folder: Path, device: str, text: str) -> None:
    assert printed(text, device) == ""


def test_the_linear_example_prints_its_result(device: str) -> None:
    assert printed(FORWARD + LINEAR, device) == OUTPUT


def test_the_linear_example_is_one_launch() -> None:
    built = driver.build("linear.tl", text=FORWARD + LINEAR)
    steps = [step[0] for step in built.manifest["entries"]["main"]["steps"]]
    assert steps.count("launch") == 1
    assert built.manifest["entries"]["main"]["operations"] == 2


def test_the_saved_model_is_the_loaded_one_in_float16(folder: Path, device: str) -> None:
    assert printed(LOAD_AGAIN + SAVE, device) == ""
    before, after = load_file("model.safetensors"), load_file("output.safetensors")
    assert before.keys() == after.keys()
    for name, array in after.items():
        assert array.dtype == np.float16
        np.testing.assert_array_equal(array, before[name].astype(np.float16))


def test_all_blocks_in_one_file(folder: Path, device: str) -> None:
    assert printed("\n".join(BLOCKS), device) == OUTPUT
    assert (folder / "output.safetensors").exists()


def test_the_file_builds_to_an_artifact_that_prints_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "guide.tl").write_text("\n".join(BLOCKS), encoding="utf-8")
    assert run(["build", "guide.tl", "-o", "guide.metallib"]) == 0
    assert run(["run", "guide.metallib", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == OUTPUT


# ---- the guide to quantised models --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0"])
def test_rows_of_an_embedding_table(folder: Path, device: str, kind: str) -> None:
    """`embedding_table[token_id, :]` and `embeddings[input_ids, :]` of every stored type."""
    rng = np.random.default_rng(7)
    table = rng.standard_normal((16, 64)).astype(np.float32)
    type = gguf.GGMLQuantizationType[kind]
    stored = gguf.quants.quantize(table, type)
    numbers = gguf.quants.dequantize(stored, type).astype(np.float16)
    writer = gguf.GGUFWriter(folder / "emb.gguf", "llama")
    writer.add_tensor("token_embd.weight", stored, raw_dtype=type)
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
    ):
        write()
    writer.close()
    program = """
        let model = load_model("emb.gguf")
        fn rows() {
            let embedding_table = model.get_tensor("token_embd.weight")
            let token_id = 3
            let input_ids = tensor<int>([1, 2, 3, 4], device: gpu)
            (embedding_table[token_id, :], embedding_table[input_ids, :])
        }
    """
    one, many = tlc.compile("rows.tl", text=program, device=device).rows()
    np.testing.assert_array_equal(one, numbers[3])
    np.testing.assert_array_equal(many, numbers[[1, 2, 3, 4]])
