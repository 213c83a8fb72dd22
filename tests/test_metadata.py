"""Programs see every entry of a GGUF file's metadata, and the same in what they save of it."""

from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tlc.cli import run
from tlc.runtime.model_file import open_model

NUMBERS = {
    "uint8": 255, "int8": -128, "uint16": 65535, "int16": -32768, "uint32": 2**32 - 1,
    "int32": -(2**31), "uint64": 2**64 - 1, "int64": -(2**63), "float32": 0.5, "float64": 0.1,
    "bool": True,
}  # fmt: skip
ARRAYS = {
    "ints": [1, -2, 3], "floats": [0.5, -0.25], "bools": [True, False],
    "strings": ["a", "", "日本"], "nested": [[1, 2], [3]], "deep": [["a"], ["b", "c"]],
}  # fmt: skip
PROGRAM = """\
model = load_model("FILE")
let data = model.metadata
print(data["general.architecture"], data["general.name"])
print(data["of.uint8"], data["of.int8"], data["of.uint16"], data["of.int16"])
print(data["of.uint32"], data["of.int32"], data["of.uint64"], data["of.int64"])
print(data["of.float32"], data["of.float64"], data["of.bool"])
print(data["of.ints"], data["of.floats"], data["of.bools"])
print(data["of.strings"], data["of.nested"], data["of.deep"])
print(len(data["of.strings"]), data["of.ints"][-1] + data["of.nested"][1][0], data["of.deep"][1][1])
"""
SHOWN = """\
llama naïve ⊗
255 -128 65535 -32768
4294967295 -2147483648 18446744073709551615 -9223372036854775808
0.5 0.1 true
[1, -2, 3] [0.5, -0.25] [true, false]
[a, , 日本] [[1, 2], [3]] [[a], [b, c]]
3 6 c
"""


def write(path: str) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("naïve ⊗")
    for name, number in NUMBERS.items():
        getattr(writer, f"add_{name}")(f"of.{name}", number)
    for name, values in ARRAYS.items():
        writer.add_array(f"of.{name}", values)
    writer.add_tensor("w", np.ones((2, 3), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_every_entry_is_a_value_of_the_program_and_survives_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write("m.gguf")
    text = PROGRAM.replace("FILE", "m.gguf") + 'save_model(model, "saved.safetensors")\n'
    Path("first.tl").write_text(text, encoding="utf-8")
    Path("again.tl").write_text(PROGRAM.replace("FILE", "saved.safetensors"), encoding="utf-8")
    for name in ("first.tl", "again.tl"):
        assert run(["run", name, "--device", "reference"]) == 0
        assert capfd.readouterr().out == SHOWN


def test_the_config_of_a_folder_survives_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bert").mkdir()
    save_file({"w": np.arange(6, dtype=np.float16)}, "bert/model.safetensors", {"author": "Ada"})
    Path("bert/config.json").write_text('{"layers": 6, "eps": 1e-12, "sizes": {"in": [3, 4]}}')
    shown = """
        print(model.metadata["author"], model.metadata["layers"] + 1, model.metadata["eps"])
        print(model.metadata["sizes.in"][1], model.w)
    """
    save = 'save_model(model, "saved.safetensors")'
    Path("first.tl").write_text(f'model = load_model("bert")\n{shown}\n{save}')
    Path("again.tl").write_text(f'model = load_model("saved.safetensors")\n{shown}')
    for name in ("first.tl", "again.tl"):
        assert run(["run", name, "--device", "reference"]) == 0
        assert capfd.readouterr().out == "Ada 7 1e-12\n4 [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]\n"


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_saved_tensor_is_loaded_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save = (
        'let half = ones([2, 3]) / 3\nsave(half, "half.safetensors")\n'
        'save((half as float32) / 7.0, "wide.safetensors")\n'
    )
    Path("p.tl").write_text(save)
    assert run(["run", "p.tl", "--device", device]) == 0
    half = np.full((2, 3), 1 / 3, np.float16)
    assert open_model("half.safetensors").metadata == {"format": "pt"}
    np.testing.assert_array_equal(load_file("half.safetensors")["half"], half, strict=True)
    found = load_file("wide.safetensors")["tensor"]
    np.testing.assert_array_equal(found, half.astype(np.float32) / np.float32(7), strict=True)
