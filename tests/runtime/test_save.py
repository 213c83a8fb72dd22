"""Saving: what other readers find in the file, and that a failure leaves the old file as it was.

The `safetensors` package reads and writes the expected files.
"""

import json
import os
import signal
import stat
import struct
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import safetensors.numpy
from gguf import GGMLQuantizationType as Kind
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tlc.runtime import save
from tlc.runtime.errors import RunError
from tlc.runtime.model_file import open_model
from tlc.runtime.save import save_model_file, save_tensors

ROOT = Path(__file__).resolve().parents[2]

HALVES = np.arange(6, dtype=np.float16).reshape(2, 3)
TENSORS = {"x": ("f16", (2, 3), HALVES.tobytes()), "y": ("f32", (), np.float32(0.1).tobytes())}


def read(path):
    with safe_open(path, "np") as file:
        return file.metadata()


def python(program, *arguments):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# Tensors


def test_tensors_are_read_back_by_the_package(tmp_path):
    path = tmp_path / "out.safetensors"
    save_tensors(path, TENSORS, {"note": "ü"})
    found = load_file(path)
    assert found.keys() == TENSORS.keys()
    np.testing.assert_array_equal(found["x"], HALVES, strict=True)
    assert found["y"] == np.float32(0.1)
    assert found["y"].shape == ()
    assert read(path) == {"format": "pt", "note": "ü"}


def test_any_buffer_can_be_saved(tmp_path):
    view = memoryview(HALVES.tobytes())
    save_tensors(
        tmp_path / "out.safetensors", {"x": ("f16", (3, 2), view), "e": ("f32", (0,), b"")}
    )
    found = load_file(tmp_path / "out.safetensors")
    np.testing.assert_array_equal(found["x"], HALVES.reshape(3, 2))
    assert found["e"].shape == (0,)


def test_the_file_gets_the_mode_of_the_umask_and_nothing_is_left_beside_it(tmp_path):
    old = os.umask(0o027)
    try:
        save_tensors(tmp_path / "a.safetensors", TENSORS)
        save_model_file(open_model(tmp_path / "a.safetensors"), tmp_path / "b.safetensors")
    finally:
        os.umask(old)
    assert sorted(os.listdir(tmp_path)) == ["a.safetensors", "b.safetensors"]
    for name in os.listdir(tmp_path):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


def test_a_link_keeps_pointing_to_the_saved_file(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "link.safetensors").symlink_to("models/real.safetensors")
    save_tensors(tmp_path / "link.safetensors", TENSORS)
    assert (tmp_path / "link.safetensors").is_symlink()
    assert load_file(tmp_path / "models" / "real.safetensors").keys() == TENSORS.keys()


# Models


def test_all_floats_of_a_model_become_float16_and_integers_stay(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "wide": rng.standard_normal((300, 300)),
        "single": rng.standard_normal((4, 5)).astype(np.float32),
        "half": rng.standard_normal(7).astype(np.float16),
        "ids": np.arange(3, dtype=np.int64),
        "mask": np.array([True, False, True]),
        "scalar": np.array(0.1, np.float32),
        "nothing": np.zeros((0, 4), np.float32),
    }
    save_file(arrays, tmp_path / "in.safetensors", {"author": "Ada"})
    save_model_file(open_model(tmp_path / "in.safetensors"), tmp_path / "out.safetensors")
    expected = {
        name: array.astype(np.float16) if array.dtype.kind == "f" else array
        for name, array in arrays.items()
    }
    found = load_file(tmp_path / "out.safetensors")
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    assert read(tmp_path / "out.safetensors") == {"author": "Ada", "format": "pt"}


def test_the_bytes_are_those_that_the_package_would_write(tmp_path):
    arrays = {"b": HALVES, "ä\n": HALVES + 1, "c": np.ones(3, np.int8), "a": np.ones(1, np.uint64)}
    save_file(arrays, tmp_path / "in.safetensors", {"format": "pt"})
    save_model_file(open_model(tmp_path / "in.safetensors"), tmp_path / "out.safetensors")
    expected = safetensors.numpy.save(arrays, {"format": "pt"})
    assert (tmp_path / "out.safetensors").read_bytes() == expected


def test_types_that_are_only_listed_are_copied_as_they_are(tmp_path):
    header = json.dumps({"x": {"dtype": "F8_E4M3", "shape": [3], "data_offsets": [0, 3]}}).encode()
    content = struct.pack("<Q", len(header)) + header + b"abc"
    (tmp_path / "in.safetensors").write_bytes(content)
    save_model_file(open_model(tmp_path / "in.safetensors"), tmp_path / "out.safetensors")
    ((name, spec),) = safetensors.deserialize((tmp_path / "out.safetensors").read_bytes())
    assert (name, spec["dtype"], spec["data"]) == ("x", "F8_E4M3", b"abc")


def gguf_file(path, kind=None):
    """A GGUF model with a norm in F32, positions in I32 and, if given, a quantised matrix."""
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("norm", rng.standard_normal(4).astype(np.float32))
    writer.add_tensor("positions", np.arange(3, dtype=np.int32))
    if kind is not None:
        matrix = rng.standard_normal((8, 64)).astype(np.float32)
        writer.add_tensor("weight", gguf.quants.quantize(matrix, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return open_model(path)


def test_an_unquantised_gguf_model_is_saved_as_any_other(tmp_path):
    model = gguf_file(tmp_path / "in.gguf", Kind.BF16)
    save_model_file(model, tmp_path / "out.safetensors")
    found = load_file(tmp_path / "out.safetensors")
    assert {name: str(array.dtype) for name, array in found.items()} == {
        "norm": "float16",
        "weight": "float16",
        "positions": "int32",
    }
    assert found["weight"].shape == (8, 64)


def test_a_quantised_gguf_model_is_read_only_unless_it_may_be_dequantised(tmp_path):
    model = gguf_file(tmp_path / "in.gguf", Kind.Q4_0)
    path = tmp_path / "out.safetensors"
    with pytest.raises(RunError, match=r"in.gguf is quantised \(Q4_0\)") as caught:
        save_model_file(model, path)
    assert caught.value.code == "E0606"
    assert "save_model(model, path, dequantize: true)" in caught.value.hint
    assert os.listdir(tmp_path) == ["in.gguf"]

    save_model_file(model, path, dequantize=True)
    packed = next(
        item for item in gguf.GGUFReader(tmp_path / "in.gguf").tensors if item.name == "weight"
    )
    expected = gguf.quants.dequantize(packed.data, Kind.Q4_0).astype(np.float16)
    np.testing.assert_array_equal(load_file(path)["weight"], expected, strict=True)


def test_a_model_may_be_saved_over_its_own_file(tmp_path):
    path = tmp_path / "m.safetensors"
    values = np.linspace(0, 1, 300_000, dtype=np.float32)
    save_file({"a": values, "b": values}, path)
    model = open_model(path)
    before = bytes(model.view("b"))
    save_model_file(model, path)
    assert bytes(model.view("b")) == before
    np.testing.assert_array_equal(load_file(path)["b"], values.astype(np.float16))


# Failing


def old_file(tmp_path):
    path = tmp_path / "out.safetensors"
    path.write_bytes(b"old")
    return path


def unharmed(path):
    """Whether the old file is as it was, with nothing beside it but the input."""
    return path.read_bytes() == b"old" and set(os.listdir(path.parent)) <= {
        path.name,
        "in.safetensors",
    }


@pytest.mark.parametrize("name", ["out.bin", "out.gguf", "out", ".", "out.safetensors/"])
def test_only_safetensors_files_are_written(tmp_path, name):
    with pytest.raises(RunError, match="SafeTensors") as caught:
        save_tensors(f"{tmp_path}/{name}", TENSORS)
    assert caught.value.code == "E0606"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no/out.safetensors", "there is no such folder"),
        ("file/out.safetensors", "there is no such folder"),
        ("folder.safetensors", "this is a folder"),
        ("a" * 300 + ".safetensors", "too long"),
        ("nul\0.safetensors", "it cannot be written"),
        ("/proc/out.safetensors", "no such folder|no permission"),
    ],
)
def test_a_bad_place_is_an_error(tmp_path, path, reason):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(RunError, match=reason) as caught:
        save_tensors(os.path.join(tmp_path, path), TENSORS)
    assert caught.value.code == "E0606"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.safetensors"]


def test_a_folder_without_write_permission_is_an_error(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(save, "open", refuse, raising=False)
    with pytest.raises(RunError, match=r"E0606.*no permission to write here"):
        save_tensors(tmp_path / "out.safetensors", TENSORS)


LIMITED = """
import resource, signal, sys
from tlc.runtime.errors import RunError
from tlc.runtime.model_file import open_model
from tlc.runtime.save import save_model_file, save_tensors

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    if sys.argv[1] == "tensors":
        save_tensors(sys.argv[3], {"x": ("f16", (100_000,), bytes(200_000))})
    else:
        save_model_file(open_model(sys.argv[2]), sys.argv[3])
except RunError as error:
    print(error.code, error.message)
"""


@pytest.mark.parametrize("what", ["tensors", "model"])
def test_a_full_disk_leaves_the_old_file(tmp_path, what):
    save_file({"x": np.zeros(100_000, np.float32)}, tmp_path / "in.safetensors")
    path = old_file(tmp_path)
    done = python(LIMITED, what, tmp_path / "in.safetensors", path)
    assert done.stdout.startswith("E0606"), done.stderr
    assert "too large" in done.stdout
    assert unharmed(path)


def test_a_value_beyond_float16_leaves_the_old_file(tmp_path):
    arrays = {"a": np.zeros(100_000, np.float32), "b": np.array([1e6], np.float32)}
    save_file(arrays, tmp_path / "in.safetensors")
    path = old_file(tmp_path)
    with pytest.raises(RunError, match=r"E0604.*tensor 'b'"):
        save_model_file(open_model(tmp_path / "in.safetensors"), path)
    assert unharmed(path)


def test_an_interrupt_leaves_the_old_file(tmp_path, monkeypatch):
    def interrupt(entry, view, stored):
        raise KeyboardInterrupt

    save_file({"a": np.zeros(4, np.float32)}, tmp_path / "in.safetensors")
    path = old_file(tmp_path)
    monkeypatch.setattr(save, "stored_as", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_model_file(open_model(tmp_path / "in.safetensors"), path)
    assert unharmed(path)


KILLED = """
import os, signal, sys
from tlc.runtime import save
from tlc.runtime.model_file import open_model

stored_as = save.stored_as

def die_at_b(entry, view, stored):
    if entry.name == "b":
        os.kill(os.getpid(), signal.SIGKILL)
    return stored_as(entry, view, stored)

save.stored_as = die_at_b
save.save_model_file(open_model(sys.argv[1]), sys.argv[2])
"""


def test_a_crash_in_the_middle_leaves_the_old_file(tmp_path):
    arrays = {name: np.zeros(100_000, np.float32) for name in "ab"}
    save_file(arrays, tmp_path / "in.safetensors")
    path = old_file(tmp_path)
    done = python(KILLED, tmp_path / "in.safetensors", path)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    (half,) = set(os.listdir(tmp_path)) - {"in.safetensors", "out.safetensors"}
    assert (tmp_path / half).stat().st_size > 100_000  # it was in the middle
    assert half.endswith(".tmp")


def test_the_metadata_goes_along(tmp_path):
    save_file({"x": np.ones(2, np.float32)}, tmp_path / "a.safetensors", {"author": "Ada"})
    save_model_file(open_model(tmp_path / "a.safetensors"), tmp_path / "b.safetensors")
    assert read(tmp_path / "b.safetensors") == {"format": "pt", "author": "Ada"}
    writer = gguf.GGUFWriter(tmp_path / "in.gguf", "llama")
    writer.add_block_count(2)
    writer.add_tensor("x", np.ones(2, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_model_file(open_model(tmp_path / "in.gguf"), tmp_path / "out.safetensors")
    notes = read(tmp_path / "out.safetensors")
    assert notes["general.architecture"] == "llama"
    assert notes["llama.block_count"] == "2"


def test_a_name_that_safetensors_reserves_is_refused(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "in.gguf", "llama")
    writer.add_tensor("__metadata__", np.zeros(2, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(RunError, match=r"E0606.*'__metadata__'"):
        save_model_file(open_model(tmp_path / "in.gguf"), tmp_path / "out.safetensors")


def test_one_tensor_at_a_time_is_in_memory(tmp_path):
    arrays = {f"t{number}": np.zeros(500_000, np.float32) for number in range(8)}
    save_file(arrays, tmp_path / "in.safetensors")
    program = (
        "import sys, tracemalloc; import numpy; from tlc.runtime.model_file import open_model;"
        "from tlc.runtime.save import save_model_file; tracemalloc.start();"
        "save_model_file(open_model(sys.argv[1]), sys.argv[2]);"
        "print(tracemalloc.get_traced_memory()[1])"
    )
    done = python(program, tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    assert int(done.stdout) < 2 * 1_000_000 + 1_500_000
