"""Programs see every entry of a GGUF file's metadata, and the same in what they save of it."""

from pathlib import Path

import gguf
import numpy as np
import pytest

from tlc.cli import run

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
