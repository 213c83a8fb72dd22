"""What users read when a file, an artifact or the machine is not as it must be: golden texts."""

import contextlib
import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tlc import driver
from tlc.cli import run
from tlc.codegen.metallib import pack

Golden = Callable[[str, str], None]
PROGRAM = 'let m = load_model("{}")\nprint(m.get_tensor("w"))\n'
ONE = b'{"w":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}'
OVERLAP = (
    b'{"w":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},'
    b'"v":{"dtype":"F16","shape":[2],"data_offsets":[2,6]}}'
)
ENDLESS = b'{"w":{"dtype":"F16","shape":[9223372036854775808],"data_offsets":[0,4]}}'


def safetensors(header: bytes, data: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def gguf(tensors: int, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, 0) + rest


MODEL_FILES = {
    "empty.safetensors": b"",
    "truncated.safetensors": safetensors(ONE, b"\0\0"),
    "header_beyond_file.safetensors": safetensors(ONE, b"\0" * 4, length=1 << 40),
    "overlapping.safetensors": safetensors(OVERLAP, b"\0" * 6),
    "endless.safetensors": safetensors(ENDLESS, b"\0" * 4),
    "not_json.safetensors": safetensors(b"{" * 9, b""),
    "wrong_magic.gguf": b"GGML" + b"\0" * 64,
    "truncated.gguf": gguf(1),
    "many_tensors.gguf": gguf(1 << 63),
    "version.gguf": b"GGUF" + struct.pack("<IQQ", 9, 0, 0),
    "pickle.pt": b"PK\x03\x04" + b"\0" * 64,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stderr(*arguments: str) -> str:
    """What a command that has to fail writes, and its exit code."""
    with (
        contextlib.redirect_stderr(io.StringIO()) as text,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        code = run([*arguments, "--color", "never"])
    return f"{text.getvalue()}exit {code}\n"


@pytest.mark.parametrize("name", [*MODEL_FILES, "missing.safetensors", "folder.gguf"])
def test_a_model_file_that_cannot_be_read(folder: Path, golden: Golden, name: str) -> None:
    if name in MODEL_FILES:
        (folder / name).write_bytes(MODEL_FILES[name])
    elif name == "folder.gguf":
        (folder / name).mkdir()
    (folder / "model.tl").write_text(PROGRAM.format(name))
    golden(f"diagnostics/file_{name.replace('.', '_')}.txt", stderr("check", "model.tl"))


@pytest.fixture(scope="module")
def built() -> driver.Built:
    return driver.build("model.tl", text="print(relu(tensor([1.0])))\n")


def renamed(built: driver.Built, name: str) -> bytes:
    """The artifact with a member that a careless program would unpack elsewhere."""
    return pack({**built.members, name: b"x"})


def bomb(built: driver.Built) -> bytes:
    """An archive whose small member grows to 4 GiB, as its directory says."""
    data = io.BytesIO(pack(built.members))
    with zipfile.ZipFile(data, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("huge.bin", bytes(1 << 20))
    raw = bytearray(data.getvalue())
    at = raw.rindex(b"PK\x01\x02")
    struct.pack_into("<I", raw, at + 24, 0xFFFFFFF0)
    struct.pack_into("<Q", raw, 16, len(raw))
    return bytes(raw)


def with_manifest(built: driver.Built, **changes: object) -> bytes:
    manifest = {**json.loads(built.members["tlc.json"]), **changes}
    return pack({**built.members, "tlc.json": json.dumps(manifest).encode()})


ARTIFACTS: dict[str, Callable[[driver.Built], bytes]] = {
    "not_a_library": lambda built: b"hello, world" * 20,
    "truncated": lambda built: pack({"tlc.json": b"{}"})[:-10],
    "apple_library": lambda built: pack({})[:-22],
    "changed_kernels": lambda built: pack({**built.members, "cpu.metal": b"kernel void f() {}"}),
    "path_trick": lambda built: renamed(built, "../outside"),
    "absolute_path": lambda built: renamed(built, "/etc/passwd"),
    "zip_bomb": bomb,
    "newer_format": lambda built: with_manifest(built, format=99, tlc="9.0.0"),
    "no_entries": lambda built: with_manifest(built, entries=[]),
    "huge_slot": lambda built: with_manifest(
        built,
        entries={
            name: {**entry, "slots": [[1 << 60]]}
            for name, entry in json.loads(built.members["tlc.json"])["entries"].items()
        },
    ),
}


@pytest.mark.parametrize("name", ARTIFACTS)
def test_an_artifact_that_is_refused(
    folder: Path, golden: Golden, built: driver.Built, name: str
) -> None:
    data = bytearray(ARTIFACTS[name](built))
    if name == "apple_library":
        struct.pack_into("<Q", data, 16, len(data))
    (folder / "model.metallib").write_bytes(data)
    text = stderr("run", "model.metallib", "--device", "cpu")
    golden(f"diagnostics/artifact_{name}.txt", text)


def test_weights_that_changed_since_the_build(folder: Path, golden: Golden) -> None:
    save_file({"w": np.ones(3, np.float16)}, "w.safetensors")
    (folder / "model.tl").write_text(PROGRAM.format("w.safetensors"))
    assert run(["build", "model.tl"]) == 0
    save_file({"w": np.ones(4, np.float16)}, "w.safetensors")
    golden("diagnostics/weights_changed.txt", stderr("run", "model.metallib", "--device", "cpu"))
    os.remove("w.safetensors")
    golden("diagnostics/weights_missing.txt", stderr("run", "model.metallib", "--device", "cpu"))


def test_a_weight_beyond_float16(folder: Path, golden: Golden) -> None:
    save_file({"w": np.array([1.0, 70000.0, -1e9], np.float32)}, "w.safetensors")
    (folder / "model.tl").write_text(PROGRAM.format("w.safetensors"))
    golden("diagnostics/weight_beyond_float16.txt", stderr("run", "model.tl", "--device", "cpu"))


def test_the_device_that_is_not_there(folder: Path, golden: Golden) -> None:
    (folder / "model.tl").write_text("print(ones([1]))\n")
    if os.uname().sysname != "Darwin":
        golden("diagnostics/no_metal.txt", stderr("run", "model.tl", "--device", "metal"))


def test_a_source_that_cannot_be_read(folder: Path, golden: Golden) -> None:
    (folder / "latin.tl").write_bytes(b"print('caf\xe9')\n")
    golden("diagnostics/source_latin.txt", stderr("check", "latin.tl"))
    golden("diagnostics/source_missing.txt", stderr("check", "missing.tl"))
    golden("diagnostics/output_folder_missing.txt", _unwritable(folder))


def _unwritable(folder: Path) -> str:
    (folder / "model.tl").write_text("print(ones([1]))\n")
    return stderr("build", "model.tl", "-o", "no/such/folder/model.metallib")
