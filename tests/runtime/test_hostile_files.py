"""Files changed at random: whatever their bytes are, a reader answers or raises RunError.

Nothing else may be raised, no warning given, and no memory taken that the file's size does not
justify. `TLC_FUZZ=N` tries N files of each kind.
"""

import json
import os
import random
import struct
import tracemalloc

import gguf
import numpy as np
import pytest
import safetensors
from gguf import GGMLQuantizationType as Kind
from safetensors.numpy import save_file

from tlc.codegen.metallib import member_digests, pack
from tlc.runtime.artifact import read_artifact
from tlc.runtime.decode import floats
from tlc.runtime.errors import RunError
from tlc.runtime.format import FORMAT_VERSION
from tlc.runtime.model_file import open_model
from tlc.runtime.save import save_model_file

TRIES = int(os.environ.get("TLC_FUZZ", "400"))
MOST_MEMORY = 20_000_000

EXTREMES = [
    0,
    1,
    2,
    255,
    2**15,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**63 - 1,
    2**63,
    2**64 - 1,
]


# Good files


def safetensors_file(path):
    arrays = {
        "a.weight": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
        "a.bias": np.zeros(4, np.float16),
        "ids": np.arange(3, dtype=np.int64),
        "wide": np.ones((2, 0, 2)),
    }
    save_file(arrays, path, {"format": "pt"})


def gguf_file(path):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_rope_freq_base(1e6)
    writer.add_token_list(["a", "bc", ""])
    writer.add_token_scores([0.5, 1.0, 2.0])
    writer.add_array("test.nested", [[1, 2], [3]])
    writer.add_custom_alignment(64)
    rng = np.random.default_rng(0)
    for kind in (Kind.Q4_0, Kind.Q8_0, Kind.Q6_K):
        packed = rng.integers(0, 60, (2, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
        writer.add_tensor(f"{kind.name}.weight", packed, raw_dtype=kind)
    writer.add_tensor("norm", np.ones(5, np.float32))
    writer.add_tensor("ids", np.arange(3, dtype=np.int32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def artifact_file(path):
    members = {"kernels.metal": b"kernel void f() {}\n" * 9, "weights/w": bytes(50)}
    fields = {"format": FORMAT_VERSION, "tlc": "0.1.0", "members": member_digests(members)}
    path.write_bytes(pack({"tlc.json": json.dumps(fields).encode(), **members}))


# Changes


def place(content, rng):
    """Mostly in the first kilobyte, where the headers of model files are."""
    return rng.randrange(min(len(content), rng.choice([100, 1000, 1000, len(content)])))


def flip(content, rng):
    content[place(content, rng)] ^= 1 << rng.randrange(8)


def overwrite(content, rng):
    """Put an extreme number of some width where a length, a count or an offset may be."""
    code, width = rng.choice([("H", 2), ("I", 4), ("Q", 8), ("Q", 8)])
    at = place(content, rng)
    content[at : at + width] = struct.pack("<" + code, rng.choice(EXTREMES) % 256**width)


def renumber(content, rng):
    """Change a decimal digit of a JSON text, if there is one."""
    digits = [at for at, byte in enumerate(content[:2000]) if chr(byte).isdigit()]
    if digits:
        at = rng.choice(digits)
        content[at : at + 1] = str(rng.choice([-1, *EXTREMES, 1.5, "1e999", "NaN"])).encode()


def cut(content, rng):
    del content[place(content, rng) :]


def remove(content, rng):
    at = place(content, rng)
    del content[at : at + rng.choice([1, 4, 8, 30])]


def repeat(content, rng):
    at, to = place(content, rng), place(content, rng)
    content[to:to] = content[at : at + rng.choice([1, 4, 8, 30, 200])]


CHANGES = [flip, flip, overwrite, overwrite, renumber, cut, remove, repeat]


def changed(good, rng):
    content = bytearray(good)
    for change in rng.choices(CHANGES, k=rng.choice([1, 1, 1, 2, 4])):
        if content:
            change(content, rng)
    return bytes(content)


# What a program does with a file


def use_model(path):
    model = open_model(path)
    assert len(dict(model.metadata)) == len(model.metadata)
    assert len(model.fingerprint) == 64
    assert model.quantization.isascii()
    for name, entry in model.tensors.items():
        view = model.view(name)
        assert len(view) == entry.nbytes
        try:
            assert floats(entry, view, "f32").shape == entry.shape
        except RunError as error:
            assert_code(error, "E0603", "E0604")
    save_model_file(model, f"{path}.safetensors", dequantize=True)


def use_safetensors(path):
    use_model(path)
    safetensors.deserialize(path.read_bytes())  # what we take, the reference takes


def use_artifact(path):
    artifact = read_artifact(path)
    for name in artifact.names:
        artifact.member(name)
        artifact.text(name)


def use_picture(path):
    model = open_model(path)
    ((name, entry),) = model.tensors.items()
    assert floats(entry, model.view(name)).shape == entry.shape


def assert_code(error, *codes):
    assert error.code in codes, error


def picture_file(path):
    images = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    held = images.Exif()
    held[0x0112] = 6
    images.fromarray(pixels).save(path, path.suffix[1:], exif=held)


KINDS = {
    **dict.fromkeys(("png", "jpeg", "tiff", "webp"), (picture_file, use_picture, ("E0601",))),
    "safetensors": (safetensors_file, use_safetensors, ("E0601", "E0603", "E0604", "E0606")),
    "gguf": (gguf_file, use_model, ("E0601", "E0603", "E0604", "E0606")),
    "metallib": (artifact_file, use_artifact, ("E0501", "E0502")),
}


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_changed_at_random_is_read_or_refused(tmp_path, kind, monkeypatch):
    make, use, codes = KINDS[kind]
    if make is picture_file:  # a small file may be a large picture, up to a limit
        monkeypatch.setattr(pytest.importorskip("PIL.Image"), "MAX_IMAGE_PIXELS", 100_000)
    path = tmp_path / f"m.{kind}"
    make(path)
    good = path.read_bytes()
    use(path)
    outcomes = {"read": 0, "refused": 0}
    tracemalloc.start()
    for seed in range(TRIES):
        path.unlink()  # a mapping of the last file may be left
        path.write_bytes(changed(good, random.Random(f"{kind} {seed}")))
        try:
            use(path)
            outcomes["read"] += 1
        except RunError as error:
            assert_code(error, *codes)
            outcomes["refused"] += 1
        peak = tracemalloc.get_traced_memory()[1]
        assert peak < MOST_MEMORY, seed
    tracemalloc.stop()
    assert min(outcomes.values()) > TRIES // 50, outcomes  # the changes are neither mild nor wild


# Sizes that lie


def test_a_small_file_that_promises_much_takes_no_memory(tmp_path):
    promises = [
        # SafeTensors: a header of 2^63 bytes, a tensor of 2^59 elements
        struct.pack("<Q", 2**63) + b"{}",
        b"\x4a\0\0\0\0\0\0\0"
        b'{"x":{"dtype":"F32","shape":[576460752303423488],"data_offsets":[0,0]}}   ',
        # GGUF: 2^40 keys, a key of 2^40 bytes, an array of 2^40 strings, of arrays, of numbers
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**40) + bytes(64),
        *(
            b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, item, 2**40)
            for item in (8, 9, 12)
        ),
        # GGUF: a tensor of 2^59 elements
        b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<IQIQ", 1, 2**59, 0, 0),
    ]
    tracemalloc.start()
    for content in promises:
        path = tmp_path / "m.safetensors"
        path.write_bytes(content)
        with pytest.raises(RunError, match="E0601"):
            open_model(path)
    assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    tracemalloc.stop()
