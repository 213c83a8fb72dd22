"""GGUF files: what is read, what is refused, and that quantised tensors decode as ggml says.

Files come from `gguf.GGUFWriter` or from bytes put together by hand; `gguf.GGUFReader` and
`gguf.quants` say what they hold.
"""

import struct
import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from tlc.runtime.decode import BLOCK_FLOATS, floats
from tlc.runtime.errors import RunError
from tlc.runtime.gguf_file import TENSOR_TYPES
from tlc.runtime.model_file import TensorEntry, open_model

DATA = Path(__file__).parents[1] / "data"

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def pair(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


def array(kind, count, items):
    return struct.pack("<IQ", kind, count) + items


def info(name, dims, kind, offset):
    """A row of the table of tensors; `dims` in GGUF order, the fastest first."""
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def build(*, pairs=(), infos=(), data=b"", version=3, counts=None, alignment=32):
    tensors, keys = counts or (len(infos), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + b"".join([*pairs, *infos])
    return head + bytes(-len(head) % alignment) + data


def opened(tmp_path, content):
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    return open_model(path)


def refused(tmp_path, content, reason):
    with pytest.raises(RunError, match=reason) as caught:
        opened(tmp_path, content)
    assert caught.value.code == "E0601"


# Reading


def test_a_file_of_the_package_is_read_as_its_own_reader_reads_it(tmp_path):
    path = tmp_path / "m.gguf"
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("a", rng.standard_normal((3, 64)).astype(np.float32))
    writer.add_tensor("b", rng.standard_normal(5).astype(np.float16))
    writer.add_tensor("c", np.arange(6, dtype=np.int32).reshape(1, 2, 3))
    writer.add_tensor("d", np.array(1.5, np.float64).reshape(1))
    for kind in (Kind.Q4_0, Kind.Q8_0, Kind.Q5_1, Kind.BF16):
        packed = gguf.quants.quantize(rng.standard_normal((4, 96)).astype(np.float32), kind)
        writer.add_tensor(f"{kind.name}.weight", packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    model = open_model(path)
    expected = gguf.GGUFReader(path).tensors
    assert model.format == "GGUF"
    assert list(model.tensors) == [item.name for item in expected]
    for item in expected:
        entry = model.tensors[item.name]
        assert entry.shape == tuple(int(dim) for dim in item.shape[::-1])
        assert entry.encoding == item.tensor_type.name.lower()
        assert entry.offset == item.data_offset
        assert bytes(model.view(item.name)) == item.data.tobytes()
        assert model.view(item.name).readonly
        if entry.encoding != "i32":
            values = (
                gguf.quants.dequantize(item.data, item.tensor_type)
                if (item.tensor_type != Kind.F64)
                else item.data
            )
            found = floats(entry, model.view(item.name))
            np.testing.assert_array_equal(found, values.astype(np.float16))


def test_metadata_of_every_type(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    numbers = {
        "uint8": 255, "int8": -128, "uint16": 65535, "int16": -32768, "uint32": 2**32 - 1,
        "int32": -(2**31), "uint64": 2**64 - 1, "int64": -(2**63), "float32": 0.5, "float64": 0.1,
        "bool": True,
    }  # fmt: skip
    for name, value in numbers.items():
        getattr(writer, f"add_{name}")(f"test.{name}", value)
    writer.add_string("test.string", "naïve ⊗")
    writer.add_rope_freq_base(1e6)
    arrays = {
        "ints": [1, -2, 3], "floats": [0.5, -0.25], "bools": [True, False, True],
        "strings": ["a", "", "日本"], "nested": [[1, 2], [3]], "deep": [["a"], ["b", "c"]],
    }  # fmt: skip
    for name, value in arrays.items():
        writer.add_array(f"test.{name}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()

    metadata = open_model(tmp_path / "m.gguf").metadata
    assert metadata["general.architecture"] == "llama"
    assert metadata["llama.rope.freq_base"] == 1e6
    for name, value in numbers.items():
        assert metadata[f"test.{name}"] == value
        assert type(metadata[f"test.{name}"]) is type(value)
    assert metadata["test.string"] == "naïve ⊗"
    for name in ("ints", "floats", "bools"):
        assert list(metadata[f"test.{name}"]) == arrays[name]
    assert metadata["test.strings"] == arrays["strings"]
    assert [list(part) for part in metadata["test.nested"]] == arrays["nested"]
    assert metadata["test.deep"] == arrays["deep"]
    assert "test.missing" not in metadata
    assert len(metadata) == len(list(metadata)) == 3 + len(numbers) + len(arrays)


def test_a_large_vocabulary_is_opened_without_decoding_it(tmp_path):
    count = 262_144
    tokens = b"".join(text(f"token {number}") for number in range(count))
    pairs = [
        pair("tokenizer.ggml.tokens", ARRAY, array(STRING, count, tokens)),
        pair("tokenizer.ggml.scores", ARRAY, array(F32, count, bytes(4 * count))),
    ]
    path = tmp_path / "m.gguf"
    path.write_bytes(build(pairs=pairs))
    tracemalloc.start()
    model = open_model(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000
    assert len(model.metadata["tokenizer.ggml.scores"]) == count
    words = model.metadata["tokenizer.ggml.tokens"]
    assert (len(words), words[0], words[-1]) == (count, "token 0", "token 262143")
    assert model.metadata["tokenizer.ggml.tokens"] is words


def test_text_that_is_not_utf_8_still_prints(tmp_path):
    model = opened(tmp_path, build(pairs=[pair("a", STRING, text(b"x\xff"))]))
    assert model.metadata["a"] == "x\ufffd"


@pytest.mark.parametrize("version", [2, 3])
def test_versions_2_and_3_are_the_same(tmp_path, version):
    content = build(version=version, infos=[info("x", [4], Kind.F16, 0)], data=bytes(8))
    assert opened(tmp_path, content).tensors["x"].shape == (4,)


def test_the_alignment_may_be_set(tmp_path):
    pairs = [pair("general.alignment", U32, struct.pack("<I", 256))]
    infos = [info("x", [4], Kind.F16, 0), info("y", [4], Kind.F16, 256)]
    data = np.arange(132, dtype=np.float16).tobytes()
    model = opened(tmp_path, build(pairs=pairs, infos=infos, data=data, alignment=256))
    found = floats(model.tensors["y"], model.view("y"))
    assert found.tolist() == [128, 129, 130, 131]


def test_shapes_are_in_numpy_order_and_may_be_scalar_or_empty(tmp_path):
    infos = [
        info("a", [2, 3, 4], Kind.F16, 0),
        info("b", [], Kind.F32, 64),
        info("c", [0, 7], Kind.F32, 64),
        info("d", [1] * 8, Kind.F16, 96),
    ]
    model = opened(tmp_path, build(infos=infos, data=bytes(98)))
    shapes = [entry.shape for entry in model.tensors.values()]
    assert shapes == [(4, 3, 2), (), (7, 0), (1,) * 8]


def test_quantization_is_the_type_of_most_bytes_of_the_matrices(tmp_path):
    infos = [
        info("norm", [5000], Kind.F32, 0),
        info("embedding", [32, 2], Kind.Q8_0, 20000),
        info("weight", [32, 8], Kind.Q4_0, 20096),
    ]
    assert opened(tmp_path, build(infos=infos, data=bytes(20240))).quantization == "Q4_0"


def test_the_fingerprint_follows_the_table_not_the_weights(tmp_path):
    infos = [info("x", [4], Kind.F16, 0)]
    plain = opened(tmp_path, build(infos=infos, data=bytes(8))).fingerprint
    assert opened(tmp_path, build(infos=infos, data=b"otherone")).fingerprint == plain
    assert opened(tmp_path, build(infos=infos, data=bytes(9))).fingerprint != plain
    infos = [info("y", [4], Kind.F16, 0)]
    assert opened(tmp_path, build(infos=infos, data=bytes(8))).fingerprint != plain


# Types


def test_the_table_of_types_is_that_of_ggml():
    expected = {kind.value: (kind.name.lower(), *gguf.GGML_QUANT_SIZES[kind]) for kind in Kind}
    assert expected == TENSOR_TYPES


def test_all_block_types_that_ggml_for_python_can_decode_are_known():
    known = {kind.name.lower() for kind in gguf.quants._type_traits}
    assert known - {"bf16"} == BLOCK_FLOATS


@pytest.mark.parametrize("name", sorted(BLOCK_FLOATS))
def test_block_types_are_dequantised_and_then_rounded(name):
    kind = Kind[name.upper()]
    block, width = gguf.GGML_QUANT_SIZES[kind]
    rows, blocks = 3, 65536 // block + 1  # more than is decoded at a time
    rng = np.random.default_rng(kind.value)
    packed = rng.integers(0, 256, (rows, blocks * width), dtype=np.uint8)
    with np.errstate(all="ignore"):
        wide = gguf.quants.dequantize(packed, kind)
    assert np.isnan(wide).any() or name in ("mxfp4", "nvfp4", "iq1_m")  # scales of all kinds
    entry = TensorEntry("x", (rows, blocks * block), name, 0, packed.nbytes)
    np.testing.assert_array_equal(floats(entry, packed.data.cast("B"), "f32"), wide)

    fits = np.abs(wide).reshape(-1, block).max(axis=1) < 65504  # no NaN either
    packed = packed.reshape(-1, width)[fits]
    entry = TensorEntry("x", (fits.sum().item(), block), name, 0, packed.nbytes)
    found = floats(entry, packed.data.cast("B"))
    expected = wide.reshape(-1, block)[fits].astype(np.float16)
    np.testing.assert_array_equal(found.view(np.uint16), expected.view(np.uint16))
    assert len(found) > 100


def test_a_quantised_value_beyond_float16_is_named():
    small = np.float16(1).tobytes() + bytes([1] * 32)
    large = np.float16(60000).tobytes() + bytes([0, 0, 0, 0, 0, 2]) + bytes(26)
    entry = TensorEntry("blk.0.ffn", (2, 32), "q8_0", 0, 68)
    with pytest.raises(RunError, match=r"'blk.0.ffn': the value 120000 at \[1, 5\], ca") as caught:
        floats(entry, small + large)
    assert caught.value.code == "E0604"


def test_unknown_types_are_listed_and_fail_only_when_they_are_touched(tmp_path):
    infos = [info("x", [32], 99, 0), info("y", [2], Kind.F16, 64), info("z", [64], 4, 96)]
    model = opened(tmp_path, build(infos=infos, data=bytes(200)))
    assert model.tensors["x"].encoding == "type_99"
    assert floats(model.tensors["y"], model.view("y")).tolist() == [0, 0]
    with pytest.raises(RunError, match="'x' is stored as TYPE_99") as caught:
        floats(model.tensors["x"], model.view("x"))
    assert caught.value.code == "E0603"
    assert "llama-quantize" in caught.value.hint


@pytest.mark.parametrize("kind", [Kind.Q8_1, Kind.Q8_K, Kind.Q1_0, Kind.I8, Kind.I64])
def test_integers_and_inner_types_fail_only_when_they_are_touched(kind):
    entry = TensorEntry("x", (256,), kind.name.lower(), 0, 0)
    with pytest.raises(RunError, match=kind.name) as caught:
        floats(entry, b"")
    assert caught.value.code == "E0603"


# Refusing

HUGE = 2**63
PAD = bytes(64)

HEADERS = {
    "nothing": (b"GGUF", "the version needs 4 bytes, 0 are left"),
    "no counts": (b"GGUF" + struct.pack("<I", 3), "the number of tensors needs 8 bytes"),
    "version 1": (build(version=1), "version 1; versions 2 and 3 are supported"),
    "version 4": (build(version=4), "version 4"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "many tensors": (build(counts=(HUGE, 0)), f"{HUGE} tensors and 0 keys do not fit"),
    "many keys": (build(counts=(0, HUGE)), f"0 tensors and {HUGE} keys do not fit"),
}

METADATA = {
    "a huge key": (struct.pack("<Q", HUGE) + PAD, f"key 0 has {HUGE} bytes"),
    "a key past the end": (struct.pack("<Q", 5000) + PAD, "key 0 needs 5000 bytes"),
    "a key of no text": (pair(b"\xff", U8, PAD), "key 0 is not UTF-8"),
    "an unknown type": (pair("a", 13, PAD), "'a' has the unknown type 13"),
    "a huge type": (pair("a", 2**32 - 1, PAD), "has the unknown type 4294967295"),
    "huge text": (pair("a", STRING, struct.pack("<Q", HUGE) + PAD), f"needs {HUGE} bytes"),
    "longest text": (pair("a", STRING, struct.pack("<Q", 2**64 - 1) + PAD), f"{2**64 - 1} bytes"),
    "a huge array": (pair("a", ARRAY, array(U8, HUGE, PAD)), f"needs {HUGE} bytes"),
    "a size that wraps": (pair("a", ARRAY, array(F64, 2**61, PAD)), f"needs {2**64} bytes"),
    "many strings": (pair("a", ARRAY, array(STRING, HUGE, PAD)), "runs past the end"),
    "a huge string last": (
        pair("a", ARRAY, array(STRING, 1, struct.pack("<Q", HUGE) + PAD)),
        "'a' ends at byte",
    ),
    "a huge string first": (
        pair("a", ARRAY, array(STRING, 2, struct.pack("<Q", HUGE) + PAD)),
        "runs past the end",
    ),
    "many arrays": (pair("a", ARRAY, array(ARRAY, HUGE, array(U8, 0, b""))), "needs 4 bytes, 3"),
    "an array of what": (pair("a", ARRAY, array(77, 1, PAD)), "unknown type 77"),
    "deep arrays": (pair("a", ARRAY, array(ARRAY, 1, b"") * 5 + array(U8, 0, PAD)), "too deep"),
    "deeper arrays": (pair("a", ARRAY, array(ARRAY, 1, b"") * 50_000), "too deep"),
    "alignment 0": (pair("general.alignment", U32, struct.pack("<I", 0) + PAD), "power of two"),
    "alignment 24": (pair("general.alignment", U32, struct.pack("<I", 24) + PAD), "power of two"),
    "wide alignment": (pair("general.alignment", U64, struct.pack("<Q", 32)), "power of two"),
    "alignment in text": (pair("general.alignment", STRING, text("32")), "power of two"),
}

TABLES = {
    "a huge name": ([struct.pack("<Q", 2**40) + PAD], f"name of tensor 0 has {2**40} bytes"),
    "a name of no text": ([info(b"\xc0", [2], Kind.F16, 0)], "the name of tensor 0 is not UTF-8"),
    "9 dimensions": ([info("x", [1] * 9, Kind.F16, 0)], "has 9 dimensions"),
    "many dimensions": ([text("x") + struct.pack("<I", 2**32 - 1) + PAD], "4294967295 dimensions"),
    "a product of 2^64": ([info("x", [2**32, 2**32], Kind.F16, 0)], "too many elements"),
    "a product that wraps to 2": ([info("x", [2**63 + 1, 2], Kind.F16, 0)], "impossible shape"),
    "a zero after a wrap": ([info("x", [2**50, 2**50, 0], Kind.F16, 0)], "too many elements"),
    "bytes that wrap": ([info("x", [2**60], Kind.F64, 0)], "ends at byte"),
    "a part of a block": ([info("x", [40], Kind.Q4_0, 0)], "not a multiple of 32 elements"),
    "a scalar in a block": ([info("x", [], Kind.Q4_0, 0)], "not a multiple of 32 elements"),
    "half a superblock": ([info("x", [128], Kind.Q4_K, 0)], "not a multiple of 256 elements"),
    "misaligned": ([info("x", [2], Kind.F16, 2)], "not aligned to 32 bytes"),
    "past the end": ([info("x", [65], Kind.F16, 0)], "ends at byte"),
    "a huge offset": ([info("x", [2], Kind.F16, 2**63)], "ends at byte"),
    "an offset that wraps": ([info("x", [2], Kind.F16, 2**64 - 32)], "ends at byte"),
    "of an unknown type": ([info("x", [2], 99, 2**64 - 32)], "ends at byte"),
    "overlap": (
        [info("x", [17], Kind.F16, 0), info("y", [2], Kind.F16, 32)],
        "'y' overlaps .* 'x'",
    ),
    "same place": ([info("x", [2], Kind.F16, 0), info("y", [2], Kind.F16, 0)], "'y' overlaps"),
    "same name": ([info("x", [2], Kind.F16, 0), info("x", [2], Kind.F16, 32)], "'x' appears twice"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_broken_header_is_refused(tmp_path, case):
    refused(tmp_path, *HEADERS[case])


@pytest.mark.parametrize("case", METADATA)
def test_broken_metadata_is_refused(tmp_path, case):
    raw, reason = METADATA[case]
    refused(tmp_path, build(pairs=[raw]), reason)


def test_a_repeated_key_is_refused(tmp_path):
    refused(tmp_path, build(pairs=[pair("a", U8, b"\1")] * 2), "the key 'a' appears twice")


@pytest.mark.parametrize("case", TABLES)
def test_a_broken_table_of_tensors_is_refused(tmp_path, case):
    infos, reason = TABLES[case]
    refused(tmp_path, build(infos=infos, data=bytes(128)), reason)


def test_every_truncation_is_refused(tmp_path):
    pairs = [pair("a", ARRAY, array(STRING, 2, text("x") + text("y"))), pair("b", BOOL, b"\1")]
    infos = [info("x", [2, 2], Kind.F32, 0)]
    content = build(pairs=pairs, infos=infos, data=bytes(16))
    opened(tmp_path, content)
    for size in range(4, len(content)):
        refused(tmp_path, content[:size], "a damaged GGUF file")


def test_a_file_of_the_package_cut_anywhere_is_refused(tmp_path):
    """The tiny LLaMA at every 64th of its length, most of them inside its tensors."""
    content = (DATA / "tiny_llama_q4_0.gguf").read_bytes()
    for part in range(64):
        cut = content[: len(content) * part // 64]
        refused(tmp_path, cut, "a damaged GGUF file" if part else "the file is empty")
