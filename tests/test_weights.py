"""Weights of an artifact: in the model file it names, which must be the one it was built from, or
embedded, so that the artifact runs alone."""

import json
import os
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from safetensors.numpy import save_file

import tlc
from tlc.cli import run
from tlc.runtime.artifact import read_artifact

PROGRAM = """
let m = load_model("{}")
fn f(x: float16[N, 64]) -> float16[N, 32] {{ linear(x, m.w, m.b) }}
"""
RNG = np.random.default_rng(3)
W = RNG.standard_normal((32, 64)).astype(np.float32)
B = RNG.standard_normal(32).astype(np.float32)
X = RNG.standard_normal((5, 64)).astype(np.float16)


def safetensors(path: Path, dtype: type = np.float32) -> None:
    unused = np.arange(1000, dtype=np.int64)
    save_file({"w": W.astype(dtype), "b": B.astype(dtype), "unused": unused}, path)


def packed(path: Path, kind: Kind = Kind.Q8_0) -> None:
    writer = gguf.GGUFWriter(path, "test")
    writer.add_tensor("w", gguf.quants.quantize(W, kind), raw_dtype=kind)
    writer.add_tensor("b", B)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def build(model: str, *options: str) -> None:
    Path("m.tl").write_text(PROGRAM.format(model))
    assert run(["build", "m.tl", *options]) == 0


def refusal(device: str = "cpu") -> str:
    with pytest.raises(tlc.RunError) as caught:
        tlc.load("m.metallib", device=device).f(X)
    assert caught.value.code == "E0605"
    return caught.value.message


# Embedded


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("hashed", [[], ["--hash-weights"]])
@pytest.mark.parametrize("model", ["m.safetensors", "m.gguf", "f16.safetensors"])
def test_the_artifact_runs_alone(folder: Path, model: str, hashed: list[str], device: str) -> None:
    safetensors(folder / "m.safetensors")
    safetensors(folder / "f16.safetensors", np.float16)
    packed(folder / "m.gguf")
    build(model)
    wanted = tlc.load("m.metallib", device=device).f(X)
    build(model, "--embed-weights", *hashed)
    for name in ("m.safetensors", "f16.safetensors", "m.gguf"):
        os.remove(name)
    np.testing.assert_array_equal(tlc.load("m.metallib", device=device).f(X), wanted)


def test_embedded_tensors_are_those_in_use_on_page_boundaries_and_packed(folder: Path) -> None:
    packed(folder / "m.gguf", Kind.Q4_0)
    build("m.gguf", "--embed-weights")
    artifact = read_artifact("m.metallib")
    data = bytes(artifact.member("weights/tensors.bin"))
    table = {w["tensor"]: w["stored"] for w in artifact.manifest["weights"]}
    places = dict(zip(table, artifact.manifest["embedded"], strict=True))
    assert table == {"w": "q4_0", "b": "f16"}
    found = {name: data[at : at + size] for name, (at, size) in places.items()}
    assert found["w"] == gguf.quants.quantize(W, Kind.Q4_0).tobytes()
    assert found["b"] == B.astype(np.float16).tobytes()
    assert Path("m.metallib").read_bytes().index(data) % 16384 == 0


def test_twenty_kilobytes_beside_four_gigabytes(folder: Path) -> None:
    """A file with a hole in it: 32 layers as in LLaMA 3 8B, all Q4_0; a loop over them."""
    hidden, ffn, layers, vocab = 4096, 14336, 32, 128256
    shapes = {"token_embd": (vocab, hidden)}
    for at in range(layers):
        shapes |= {f"blk.{at}.ffn_{n}": (ffn, hidden) for n in ("gate", "up")}
        shapes |= {f"blk.{at}.attn_{n}": (hidden, hidden) for n in ("q", "output")}
        shapes[f"blk.{at}.ffn_down"] = (hidden, ffn)

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    head, end = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), 0), 0
    for name, (rows, columns) in shapes.items():
        head += text(f"{name}.weight") + struct.pack("<IQQIQ", 2, columns, rows, Kind.Q4_0, end)
        end += rows * columns // 32 * 18
    head += bytes(-len(head) % 32)
    with open("m.gguf", "wb") as file:
        file.write(head)
        file.truncate(len(head) + end)
    assert os.path.getsize("m.gguf") > 4e9
    Path("p.tl").write_text(
        'let m = load_model("m.gguf")\n'
        "fn forward(ids: int[N]) {\n"
        "  let x = m.token_embd.weight[ids, :]\n"
        f"  for i in range({layers}) {{\n"
        "    let h = linear(x, m.blk[i].attn_q.weight)\n"
        "    let gate = silu(linear(h, m.blk[i].ffn_gate.weight))\n"
        "    let up = linear(h, m.blk[i].ffn_up.weight)\n"
        "    x = x + linear(gate * up, m.blk[i].ffn_down.weight)\n"
        "  }\n"
        "  linear(x, m.token_embd.weight)\n"
        "}\n"
    )
    assert run(["build", "p.tl", "--source-only"]) == 0
    assert os.path.getsize("p.metallib") < 20 << 10


def test_a_large_tensor_starts_on_a_page(folder: Path) -> None:
    save_file({"b": B, "w": np.ones((32, 640), np.float16)}, "m.safetensors")
    Path("m.tl").write_text(
        'let m = load_model("m.safetensors")\n'
        "fn f(x: float16[N, 640]) -> float16[N, 32] { m.b + linear(x, m.w) }\n"
    )
    assert run(["build", "m.tl", "--embed-weights"]) == 0
    manifest = read_artifact("m.metallib").manifest
    names = [w["tensor"] for w in manifest["weights"]]
    assert dict(zip(names, manifest["embedded"], strict=True)) == {
        "b": [0, 64],
        "w": [16384, 40960],
    }


def test_an_artifact_of_zip64_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zipfile.ZIP64_LIMIT", 1000)  # as if more did not fit 32 bits
    safetensors(folder / "m.safetensors")
    build("m.safetensors", "--embed-weights")
    assert b"PK\6\6" in Path("m.metallib").read_bytes()
    wanted = X.astype(np.float32) @ W.astype(np.float16).T.astype(np.float32) + B
    found = tlc.load("m.metallib", device="cpu").f(X)
    # one rounding to float16 of values below 64, and of a bias below 4
    np.testing.assert_allclose(found.astype(np.float32), wanted, rtol=2**-11, atol=2**-9)


def test_embedding_is_deterministic(folder: Path) -> None:
    safetensors(folder / "m.safetensors")
    build("m.safetensors", "--embed-weights")
    first = Path("m.metallib").read_bytes()
    build("m.safetensors", "--embed-weights")
    assert Path("m.metallib").read_bytes() == first


def test_a_value_that_float16_cannot_hold_is_not_embedded(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({"w": W, "b": np.full(32, 1e6, np.float32)}, "m.safetensors")
    Path("m.tl").write_text(PROGRAM.format("m.safetensors"))
    assert run(["build", "m.tl", "--embed-weights"]) == 1
    assert "E0604]: tensor 'b': the value 1e+06 at [0]" in capsys.readouterr().err
    assert not Path("m.metallib").exists()


def test_save_model_needs_the_model_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    safetensors(folder / "m.safetensors")
    Path("m.tl").write_text(
        PROGRAM.format("m.safetensors") + 'print(m.b)\nsave_model(m, "out.safetensors")\n'
    )
    assert run(["build", "m.tl", "--embed-weights", "--color", "never"]) == 1
    assert "E0606]: `save_model` writes every tensor" in capsys.readouterr().err


def test_embedded_places_that_lie_are_refused(folder: Path) -> None:
    from tlc.codegen.metallib import pack

    safetensors(folder / "m.safetensors")
    build("m.safetensors", "--embed-weights")
    artifact = read_artifact("m.metallib")
    members = {name: bytes(artifact.member(name)) for name in artifact.names}
    manifest = json.loads(members["tlc.json"])
    for wrong in ([[0, 64], [0, 64]], [[1 << 40, 64], [0, 4096]], [[0, 64]]):
        manifest["embedded"] = wrong
        Path("m.metallib").write_bytes(pack({**members, "tlc.json": json.dumps(manifest).encode()}))
        with pytest.raises(tlc.RunError, match="E0501"):
            tlc.load("m.metallib", device="cpu").f(X)


# By reference


def test_what_changed_is_said(folder: Path) -> None:
    safetensors(folder / "m.safetensors")
    build("m.safetensors")
    unused = np.zeros(10, np.int64)
    before = os.path.getsize("m.safetensors")
    for tensors, text in (
        ({"b": B, "x": W}, "it has no tensor 'w' any more"),
        ({"b": B, "w": W[:5]}, "tensor 'w' has shape [5, 64], and had [32, 64]"),
        ({"b": B.astype(np.float16), "w": W}, "tensor 'b' is stored as f16, and was as f32"),
        ({"b": B, "w": W, "unused": unused}, f" bytes, and had {before}"),
    ):
        save_file(tensors, "m.safetensors")
        assert text in refusal()
    save_file({"b": B, "w": W, "usedno": np.arange(1000)}, "m.safetensors")
    assert "the metadata or the table of tensors of m.safetensors differs" in refusal()


def test_a_changed_shard_is_named(folder: Path) -> None:
    save_file({"w": W}, "a.safetensors")
    save_file({"b": B}, "b.safetensors")
    index = {"weight_map": {"w": "a.safetensors", "b": "b.safetensors"}}
    Path("m.safetensors.index.json").write_text(json.dumps(index))
    build("m.safetensors.index.json")
    save_file({"b": B, "more": B}, "b.safetensors")
    assert "b.safetensors has " in refusal()
    os.rename("b.safetensors", "c.safetensors")
    index["weight_map"]["b"] = "c.safetensors"
    Path("m.safetensors.index.json").write_text(json.dumps(index))
    assert "b.safetensors is gone" in refusal()


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_changed_numbers_are_noticed_when_weights_were_hashed(folder: Path, device: str) -> None:
    safetensors(folder / "m.safetensors")
    build("m.safetensors", "--hash-weights")
    tlc.load("m.metallib", device=device).f(X)
    data = bytearray(Path("m.safetensors").read_bytes())
    at = data.index(B.tobytes())
    data[at] ^= 1
    Path("m.safetensors").write_bytes(data)
    assert "the numbers of tensor 'b' are not those" in refusal(device)
    build("m.safetensors")
    tlc.load("m.metallib", device=device).f(X)


def test_a_tensor_at_an_odd_address_is_read(folder: Path) -> None:
    header = {
        "b": {"dtype": "F16", "shape": [32], "data_offsets": [0, 64]},
        "w": {"dtype": "F16", "shape": [32, 64], "data_offsets": [64, 64 + 4096]},
    }
    text = json.dumps(header).encode()
    text += b" " * (1 - len(text) % 2)  # the data starts at an odd byte
    data = B.astype(np.float16).tobytes() + W.astype(np.float16).tobytes()
    Path("m.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    build("m.safetensors")
    found = tlc.load("m.metallib", device="cpu").f(X)
    save_file({"w": W.astype(np.float16), "b": B.astype(np.float16)}, "m.safetensors")
    build("m.safetensors")
    np.testing.assert_array_equal(found, tlc.load("m.metallib", device="cpu").f(X))


def test_damaged_embedded_weights_are_noticed_by_inspect_and_by_hashes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    safetensors(folder / "m.safetensors")
    for options in (["--embed-weights"], ["--embed-weights", "--hash-weights"]):
        build("m.safetensors", *options)
        data = bytearray(Path("m.metallib").read_bytes())
        at = data.index(B.astype(np.float16).tobytes())
        data[at] ^= 1
        Path("m.metallib").write_bytes(data)
        assert run(["inspect", "m.metallib"]) == 1
        assert "'weights/tensors.bin' is damaged" in capsys.readouterr().err
    assert "the numbers of tensor 'b' are not those" in refusal()
