"""SafeTensors files: what is read, what is refused, and what the values become as float16.

Files come from the `safetensors` package or from headers written by hand; the package's reader
says which headers are valid, `struct` says how a float rounds.
"""

import json
import os
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import safetensors
from safetensors.numpy import save_file

from tlc.runtime.decode import floats
from tlc.runtime.errors import RunError
from tlc.runtime.model_file import ModelFile, TensorEntry, nearest, open_model, tensor


def write(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def one(dtype, shape, nbytes):
    return {"x": {"dtype": dtype, "shape": shape, "data_offsets": [0, nbytes]}}


def decoded(path, name, dtype="f16"):
    model = open_model(path)
    return floats(model.tensors[name], model.view(name), dtype)


# Reading


def test_a_file_of_the_package_is_read_as_it_was_written(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "layer.0.weight": rng.standard_normal((4, 3)).astype(np.float16),
        "layer.0.bias": rng.standard_normal(4).astype(np.float32),
        "wide": rng.standard_normal((2, 1, 5)),
        "ids": np.arange(7, dtype=np.int64).reshape(1, 7),
        "bytes": np.arange(5, dtype=np.uint8),
        "mask": np.array([True, False]),
        "scalar": np.array(2.5, np.float32),
        "nothing": np.zeros((0, 3), np.float32),
    }
    save_file(arrays, tmp_path / "m.safetensors", {"format": "pt", "author": "Ada"})
    model = open_model(tmp_path / "m.safetensors")
    assert model.format == "SafeTensors"
    assert model.metadata == {"format": "pt", "author": "Ada"}
    assert model.tensors.keys() == arrays.keys()
    kinds = {"float16": "f16", "float32": "f32", "float64": "f64", "int64": "i64", "uint8": "u8"}
    for name, array in arrays.items():
        entry = model.tensors[name]
        assert entry.shape == array.shape
        assert entry.encoding == kinds.get(array.dtype.name, "bool")
        assert bytes(model.view(name)) == array.tobytes()


def test_views_are_read_only_and_outlive_the_model(tmp_path):
    save_file({"x": np.arange(4, dtype=np.float16)}, tmp_path / "m.safetensors")
    model = open_model(tmp_path / "m.safetensors")
    view = model.view("x")
    assert view.readonly
    model.close()
    assert bytes(view) == np.arange(4, dtype=np.float16).tobytes()


def test_the_format_is_told_from_the_content(tmp_path):
    save_file({"x": np.zeros(1, np.float16)}, tmp_path / "weights.bin")
    assert open_model(tmp_path / "weights.bin").format == "SafeTensors"


def test_opening_needs_no_numpy(tmp_path):
    save_file({"x": np.zeros(1, np.float16)}, tmp_path / "m.safetensors")
    program = (
        "import sys; from tlc.runtime.model_file import open_model;"
        "open_model(sys.argv[1]).view('x'); print('numpy' in sys.modules)"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-c", program, str(tmp_path / "m.safetensors")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_quantization_is_the_type_of_most_bytes_of_the_matrices(tmp_path):
    arrays = {
        "norm": np.zeros(4000, np.float32),
        "a": np.zeros((10, 10), np.float32),
        "b": np.zeros((20, 11), np.float16),
    }
    save_file(arrays, tmp_path / "m.safetensors")
    assert open_model(tmp_path / "m.safetensors").quantization == "F16"
    save_file({"norm": arrays["norm"]}, tmp_path / "n.safetensors")
    assert open_model(tmp_path / "n.safetensors").quantization == "F32"
    save_file({}, tmp_path / "empty.safetensors")
    assert open_model(tmp_path / "empty.safetensors").quantization == ""


def test_the_fingerprint_follows_the_table_and_the_size_not_the_weights(tmp_path):
    def fingerprint(arrays):
        save_file(arrays, tmp_path / "m.safetensors")
        return open_model(tmp_path / "m.safetensors").fingerprint

    plain = fingerprint({"x": np.zeros(4, np.float16)})
    assert len(plain) == 64
    assert fingerprint({"x": np.ones(4, np.float16)}) == plain
    assert fingerprint({"y": np.zeros(4, np.float16)}) != plain
    assert fingerprint({"x": np.zeros(4, np.int16)}) != plain


def test_a_wrong_name_brings_the_nearest_ones(tmp_path):
    names = ["layer.0.weight", "layer.0.bias", "layer.1.weight", "head"]
    save_file({name: np.zeros(1, np.float16) for name in names}, tmp_path / "m.safetensors")
    model = open_model(tmp_path / "m.safetensors")
    assert tensor(model, "head").name == "head"
    with pytest.raises(RunError) as caught:
        model.view("layer.0.wieght")
    assert caught.value.code == "E0602"
    assert caught.value.hint.startswith("did you mean 'layer.0.weight' or 'layer.1.weight'")
    with pytest.raises(RunError, match=r"E0602") as caught:
        tensor(model, "zzz")
    assert caught.value.hint == ""


def test_nearest_gives_at_most_three():
    assert nearest("ab", ["abc", "abd", "abe", "abf", "xyz"]) == ["abf", "abe", "abd"]


# Values


@pytest.mark.parametrize(("dtype", "code", "seed"), [("F32", "f", 1), ("F64", "d", 2)])
def test_floats_are_rounded_once_to_the_nearest_even(tmp_path, dtype, code, seed):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(3000) * 10.0 ** rng.integers(-9, 5, 3000)
    halves = rng.integers(0, 0x7BFF, 3000, dtype=np.uint16)
    below, above = halves.view(np.float16), (halves + np.uint16(1)).view(np.float16)
    ties = (below.astype(np.float64) + above.astype(np.float64)) / 2
    # A hair off a tie: rounding to float32 first would make it a tie again.
    values = np.concatenate([values[abs(values) < 65504], ties, ties * (1 + 2**-40), -ties])
    stored = [struct.unpack("<" + code, struct.pack("<" + code, value))[0] for value in values]
    data = struct.pack(f"<{len(stored)}{code}", *stored)
    write(tmp_path / "m.safetensors", one(dtype, [len(stored)], len(data)), data)
    expected = struct.pack(f"<{len(stored)}e", *stored)
    assert decoded(tmp_path / "m.safetensors", "x").tobytes() == expected


def test_every_bfloat16_is_the_upper_half_of_a_float32(tmp_path):
    patterns = np.arange(65536, dtype=np.uint16)
    wide = np.stack([np.zeros_like(patterns), patterns], axis=1).tobytes()
    expected = np.frombuffer(wide, "<f4")
    data = patterns.tobytes()
    write(tmp_path / "m.safetensors", one("BF16", [65536], len(data)), data)
    found = decoded(tmp_path / "m.safetensors", "x", "f32")
    np.testing.assert_array_equal(found, expected)

    fits = np.abs(expected) < 65520  # NaN does not
    data = patterns[fits].tobytes()
    write(tmp_path / "m.safetensors", one("BF16", [fits.sum().item()], len(data)), data)
    halves = [struct.pack("<e", value) for value in expected[fits].tolist()]
    assert decoded(tmp_path / "m.safetensors", "x").tobytes() == b"".join(halves)


@pytest.mark.parametrize(
    ("dtype", "mantissa", "bias", "nans", "infinities"),
    [
        ("F8_E4M3", 3, 7, {0x7F, 0xFF}, {}),
        ("F8_E5M2", 2, 15, {*range(0x7D, 0x80), *range(0xFD, 0x100)}, {0x7C: 1, 0xFC: -1}),
        ("F8_E4M3FNUZ", 3, 8, {0x80}, {}),
        ("F8_E5M2FNUZ", 2, 16, {0x80}, {}),
    ],
)
def test_every_float8_is_a_float32_of_another_bias(
    tmp_path, dtype, mantissa, bias, nans, infinities
):
    codes = np.arange(256, dtype=np.uint8)
    write(tmp_path / "m.safetensors", one(dtype, [256], 256), codes.tobytes())
    # The bits in the places that a float32 has for them, of which it takes 127 off the exponent.
    wide = ((codes & 0x7F).astype(np.uint32) << (23 - mantissa)).view(np.float32)
    expected = wide * np.float32(2.0 ** (127 - bias)) * np.where(codes < 128, 1, -1)
    for code in nans:
        expected[code] = np.nan
    for code, sign in infinities.items():
        expected[code] = sign * np.inf
    for kind in ("f16", "f32"):
        found = decoded(tmp_path / "m.safetensors", "x", kind)
        np.testing.assert_array_equal(found.astype(np.float64), expected)


def test_float16_is_taken_bit_for_bit(tmp_path):
    patterns = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    save_file({"x": patterns.view(np.float16)}, tmp_path / "m.safetensors")
    found = decoded(tmp_path / "m.safetensors", "x")
    assert found.shape == (256, 256)
    np.testing.assert_array_equal(found.view(np.uint16), patterns)


def test_infinities_and_nans_stay_what_they_are(tmp_path):
    values = np.array([np.inf, -np.inf, np.nan, 1.0], np.float32)
    save_file({"x": values}, tmp_path / "m.safetensors")
    np.testing.assert_array_equal(decoded(tmp_path / "m.safetensors", "x"), values)


def test_the_largest_value_that_still_rounds_to_float16_is_kept(tmp_path):
    save_file({"x": np.array([65519.996, -65519.996], np.float32)}, tmp_path / "m.safetensors")
    assert decoded(tmp_path / "m.safetensors", "x").tolist() == [65504.0, -65504.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_value_beyond_float16_is_named_and_counted(tmp_path, dtype):
    values = np.zeros((3, 70000), dtype)
    values[0, 5] = np.inf  # stored as infinite: no loss
    values[1, 12345] = -65520
    values[2, 7] = 1e6
    save_file({"fc.weight": values}, tmp_path / "m.safetensors")
    with pytest.raises(RunError) as caught:
        decoded(tmp_path / "m.safetensors", "fc.weight")
    assert caught.value.code == "E0604"
    assert "'fc.weight': the value -65520 at [1, 12345], and 1 more" in caught.value.message
    np.testing.assert_array_equal(decoded(tmp_path / "m.safetensors", "fc.weight", "f32"), values)


def test_a_float64_beyond_float32_is_an_error_too(tmp_path):
    save_file({"x": np.array([1e39])}, tmp_path / "m.safetensors")
    with pytest.raises(RunError, match=r"E0604.*1e\+39 at \[0\], cannot be held in float32"):
        decoded(tmp_path / "m.safetensors", "x", "f32")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (65536,), (65537,), (3, 50000)])
def test_every_shape_keeps_its_values(tmp_path, shape, dtype):
    values = (np.arange(np.prod(shape, dtype=int)) % 2048).astype(dtype).reshape(shape)
    save_file({"x": values}, tmp_path / "m.safetensors")
    found = decoded(tmp_path / "m.safetensors", "x")
    assert found.dtype == np.float16
    assert found.shape == shape
    np.testing.assert_array_equal(found, values)


def test_decoding_holds_little_beside_its_result():
    values = np.zeros(4_000_000)
    entry = TensorEntry("x", values.shape, "f64", 0, values.nbytes)
    tracemalloc.start()
    floats(entry, values.data.cast("B"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * values.size + 2_000_000


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.bool_])
def test_integers_fail_only_when_they_are_touched(tmp_path, dtype):
    arrays = {"ids": np.ones(3, dtype), "x": np.ones(3, np.float16)}
    save_file(arrays, tmp_path / "m.safetensors")
    with pytest.raises(RunError, match="integer tensor 'ids'") as caught:
        decoded(tmp_path / "m.safetensors", "ids")
    assert caught.value.code == "E0603"
    assert decoded(tmp_path / "m.safetensors", "x").tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("dtype", "nbytes"), [("F8_E8M0", 8), ("C64", 64), ("F4", 4), ("F6_E2M3", 6)]
)
def test_other_types_are_listed_and_fail_only_when_they_are_touched(tmp_path, dtype, nbytes):
    write(tmp_path / "m.safetensors", one(dtype, [8], nbytes), bytes(nbytes))
    assert open_model(tmp_path / "m.safetensors").tensors["x"].encoding == dtype.lower()
    with pytest.raises(RunError, match=f"E0603.*'x' is stored as {dtype}"):
        decoded(tmp_path / "m.safetensors", "x")


# Refusing

U8 = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}
AFTER = {"dtype": "U8", "shape": [1], "data_offsets": [2, 3]}

HEADERS = {
    "empty": ({}, b""),
    "one tensor": ({"x": U8}, b"ab"),
    "two tensors": ({"x": U8, "y": AFTER}, b"abc"),
    "in another order": ({"y": AFTER, "x": U8}, b"abc"),
    "trailing spaces": (b"{}   ", b""),
    "leading space": (b" {}", b""),
    "an extra field": ({"x": {**U8, "note": [1, {"a": None}]}}, b"ab"),
    "null metadata": ({"x": U8, "__metadata__": None}, b"ab"),
    "metadata": ({"x": U8, "__metadata__": {"a": "b"}}, b"ab"),
    "an empty name": ({"": U8}, b"ab"),
    "a scalar": ({"x": {**U8, "shape": [], "data_offsets": [0, 1]}}, b"a"),
    "no elements": ({"x": {**U8, "shape": [0, 9], "data_offsets": [0, 0]}}, b""),
    "half bytes": ({"x": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}, b"ab"),
    # and these are wrong
    "a gap": ({"x": U8, "y": {**AFTER, "data_offsets": [3, 4]}}, b"abcd"),
    "a gap at the start": ({"x": {**U8, "data_offsets": [1, 3]}}, b"abc"),
    "an overlap": ({"x": U8, "y": {**AFTER, "data_offsets": [1, 2]}}, b"ab"),
    "the same bytes twice": ({"x": U8, "y": U8}, b"ab"),
    "data left over": ({"x": U8}, b"abc"),
    "data missing": ({"x": U8}, b"a"),
    "data and no tensor": ({}, b"a"),
    "too few bytes for the shape": ({"x": {**U8, "shape": [3]}}, b"ab"),
    "half a byte": ({"x": {"dtype": "F4", "shape": [3], "data_offsets": [0, 1]}}, b"a"),
    "reversed offsets": ({"x": {**U8, "data_offsets": [2, 0]}}, b"ab"),
    "negative offsets": ({"x": {**U8, "data_offsets": [-2, 0]}}, b"ab"),
    "negative dim": ({"x": {**U8, "shape": [-2]}}, b"ab"),
    "two negative dims": ({"x": {**U8, "shape": [-2, -1]}}, b"ab"),
    "a dim of 2.0": ({"x": {**U8, "shape": [2.0]}}, b"ab"),
    "a dim of true": ({"x": {**U8, "shape": [2, True]}}, b"ab"),
    "offsets of false": ({"x": {**U8, "shape": [0], "data_offsets": [False, False]}}, b""),
    "a product over 64 bits": ({"x": {**U8, "shape": [2**32, 2**32]}}, b"ab"),
    "a product that wraps to 2": ({"x": {**U8, "shape": [2**63 + 1, 2]}}, b"ab"),
    "a dim over 64 bits": ({"x": {**U8, "shape": [2**64 + 2]}}, b"ab"),
    "offsets of 2^63": ({"x": {**U8, "data_offsets": [2**63, 2**63 + 2]}}, b"ab"),
    "an unknown dtype": ({"x": {**U8, "dtype": "U7"}}, b"ab"),
    "a lower-case dtype": ({"x": {**U8, "dtype": "u8"}}, b"ab"),
    "no dtype": ({"x": {"shape": [2], "data_offsets": [0, 2]}}, b"ab"),
    "no shape": ({"x": {"dtype": "U8", "data_offsets": [0, 2]}}, b"ab"),
    "three offsets": ({"x": {**U8, "data_offsets": [0, 2, 2]}}, b"ab"),
    "a shape in a string": ({"x": {**U8, "shape": "2"}}, b"ab"),
    "a tensor of null": ({"x": None}, b""),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, b""),
    "metadata in a list": ({"__metadata__": ["a"]}, b""),
    "a list": (b"[]", b""),
    "a number": (b"1", b""),
    "no JSON": (b"{", b""),
    "two values": (b"{} {}", b""),
    "a NUL after it": (b"{}\0", b""),
    "a byte order mark": (b"\xef\xbb\xbf{}", b""),
    "no UTF-8": (b'{"\xff":1}', b""),
    "NaN": (b'{"x":{"dtype":"U8","shape":[],"data_offsets":[0,1],"z":NaN}}', b"a"),
    "a single quote": (b"{'x':1}", b""),
    "half a surrogate pair": (
        b'{"\\ud800":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}',
        b"a",
    ),
    "a repeated field": (
        b'{"x":{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1]}}',
        b"a",
    ),
    "deep nesting": (b"[" * 100_000, b""),
    "deep nesting in a field": (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b""),
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers_are_taken_and_refused_as_by_the_reference(tmp_path, case):
    path = write(tmp_path / "m.safetensors", *HEADERS[case])
    try:
        expected = {
            name: tuple(spec["shape"]) for name, spec in safetensors.deserialize(path.read_bytes())
        }
    except safetensors.SafetensorError:
        with pytest.raises(RunError, match="a damaged SafeTensors file") as caught:
            open_model(path)
        assert caught.value.code == "E0601"
    else:
        model = open_model(path)
        assert {name: entry.shape for name, entry in model.tensors.items()} == expected


def test_a_repeated_tensor_is_refused(tmp_path):
    # The reference takes the last one, so two readers could see two different models.
    fields = json.dumps(one("U8", [], 1)["x"]).encode()
    write(tmp_path / "m.safetensors", b'{"x":' + fields + b',"x":' + fields + b"}", b"a")
    with pytest.raises(RunError, match=r"E0601.*the key 'x' twice"):
        open_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\0" * 7, "it has 7 bytes"),
        (struct.pack("<Q", 3) + b"{}", "should have 3 bytes, the file has 2"),
        (struct.pack("<Q", 2**63) + b"{}", f"should have {2**63} bytes"),
        (struct.pack("<Q", 2**64 - 1) + b"{}", f"should have {2**64 - 1} bytes"),
        (struct.pack("<Q", 0), "JSON is broken"),
    ],
)
def test_a_false_header_length_is_refused(tmp_path, content, reason):
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(RunError, match=f"E0601.*{reason}"):
        open_model(tmp_path / "m.safetensors")


def test_a_header_over_100_megabytes_is_refused_without_reading_it(tmp_path):
    with open(tmp_path / "m.safetensors", "wb") as file:
        file.write(struct.pack("<Q", 100_000_001) + b"{")
        file.truncate(100_000_009)
    with pytest.raises(RunError, match="more than 100000000"):
        open_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.gguf", None, "there is no such file"),
        ("a.gguf", b"", "the file is empty"),
        ("a.bin", b"hello", "neither a SafeTensors nor a GGUF file"),
        ("a.pt", b"PK\x03\x04" + bytes(30), "a ZIP archive, perhaps saved by torch.save"),
        ("a.mlpackage.zip", b"PK\x03\x04" + bytes(30), r"a ZIP archive,(.|\n)*unpack it"),
        ("a.onnx", b"\x08\x08\x12\x07pytorch", r"an ONNX model(.|\n)*as SafeTensors"),
        ("a.npy", b"\x93NUMPY" + bytes(99), r"an array of NumPy(.|\n)*--input NAME=FILE.npy"),
        ("a.pt", b"\x80\x02}q\x00.", "a Python pickle"),
        ("a.metallib", b"MTLB" + bytes(100), "a Metal library"),
        ("a.safetensors.index.json", b"{}", "needs a `weight_map`"),
        ("nul\0.gguf", None, "it cannot be read"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=reason) as caught:
        open_model(os.path.join(tmp_path, name))
    assert caught.value.code == "E0601"


def test_a_folder_and_a_pipe_are_no_model_files(tmp_path):
    with pytest.raises(RunError, match=r"E0601.*this folder holds no SafeTensors"):
        open_model(tmp_path)
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(RunError, match=r"E0601.*not a regular file"):  # and does not wait for it
        open_model(tmp_path / "pipe.gguf")


def test_a_file_without_read_permission_says_so(tmp_path, monkeypatch):
    def refuse(path, flags):
        raise PermissionError(13, "Permission denied", path)

    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(RunError, match=r"E0601.*no permission to read it"):
        open_model(tmp_path / "m.gguf")


def test_a_tensor_of_more_axes_than_an_array_can_have_fails_when_touched(tmp_path):
    write(tmp_path / "m.safetensors", one("F16", [1] * 100, 2), b"ab")
    model: ModelFile = open_model(tmp_path / "m.safetensors")
    with pytest.raises(RunError, match=r"E0603.*100 axes"):
        floats(model.tensors["x"], model.view("x"))
