"""Weights that stay as their file has them: what `linear`, `@` and row gathers see is gguf's own
dequantisation, rounded to float16, bit for bit, for random blocks and extreme ones, everywhere."""

from pathlib import Path

import gguf
import numpy as np
import pytest

import tlc
from tlc import driver
from tlc.ir.formats import PACKED

# type -> where the float16 scales of a block are, and by what numbers these are multiplied at most
TYPES = {
    "Q4_0": ((0,), 8), "Q4_1": ((0, 2), 15), "Q5_0": ((0,), 16), "Q5_1": ((0, 2), 31),
    "Q8_0": ((0,), 128), "Q2_K": ((80, 82), 45), "Q3_K": ((108,), 128), "Q4_K": ((0, 2), 945),
    "Q5_K": ((0, 2), 1953), "Q6_K": ((208,), 4096), "IQ4_NL": ((0,), 127),
}  # fmt: skip
PROGRAM = """
let w = load_model("{path}").get_tensor("w")
fn rows(ids: int[N]) {{ w[ids, :] }}
fn times(x: float16[N, {columns}]) {{ linear(x, w) }}
fn across(x: float16[N, {rows}]) {{ x @ w }}
fn biased(x: float16[N, {columns}], b: float16[{rows}]) {{ relu(x @ w.T + b) }}
"""


def blocks(kind: str, rows: int, columns: int, largest: float) -> np.ndarray:
    """Random blocks, also with all bits clear and all set; scales of both signs, zero, subnormal,
    and so large that numbers reach `largest` and somewhat more."""
    rng = np.random.default_rng(11)
    block, nbytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    halves, factor = TYPES[kind]
    data = rng.integers(0, 256, (rows, columns // block, nbytes), dtype=np.uint8)
    data[4, 0], data[5, 0] = 0, 255
    for at in halves:
        scales = rng.uniform(-1, 1, (rows, columns // block)).astype(np.float16)
        scales[0, 0], scales[2, 0], scales[3, 0] = 0, 1, -1
        scales = (scales * (largest / factor)).astype(np.float16)
        scales[1, 0] = 6e-8  # the smallest float16
        data[:, :, at : at + 2] = scales[..., None].view(np.uint8)
    return data.reshape(rows, -1)


def build(folder: Path, kind: str, data: np.ndarray, columns: int) -> tuple[Path, np.ndarray]:
    """A program on a GGUF file with these blocks, and the numbers that they stand for."""
    type = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(folder / "w.gguf", "test")
    writer.add_tensor("w", data, raw_dtype=type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    text = PROGRAM.format(path=folder / "w.gguf", rows=len(data), columns=columns)
    path = folder / "packed.metallib"
    driver.write(driver.build("packed.tl", text=text), str(path))
    with np.errstate(over="ignore"):
        return path, gguf.quants.dequantize(data, type).astype(np.float16)


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("rows", "length"), [(32, 2), (33, 3), (64, 9)])
def test_every_reader_sees_gguf_s_numbers(
    tmp_path: Path, kind: str, device: str, rows: int, length: int
) -> None:
    # scales for which no number is beyond float16: infinity times zero would be NaN in a product
    columns = length * gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][0]
    path, numbers = build(tmp_path, kind, blocks(kind, rows, columns, 30000.0), columns)
    assert np.isfinite(numbers).all()
    model = tlc.load(path, device=device)
    np.testing.assert_array_equal(model.rows(np.arange(rows, dtype=np.int32)), numbers)
    for name, size, wanted in (("times", columns, numbers.T), ("across", rows, numbers)):
        one = np.eye(size, dtype=np.float16)  # each product picks one weight and adds zeros to it
        np.testing.assert_array_equal(getattr(model, name)(one), wanted)
        for at in (0, size // 2, size - 1):  # the kernel for a single row
            np.testing.assert_array_equal(
                getattr(model, name)(one[at : at + 1]), wanted[at : at + 1]
            )
    bias = np.full(rows, -1.0, np.float16)
    wide = np.maximum(numbers.T.astype(np.float32) - 1, 0).astype(np.float16)
    np.testing.assert_array_equal(model.biased(np.eye(columns, dtype=np.float16), bias), wide)


@pytest.mark.parametrize("kind", TYPES)
def test_a_kernel_hands_on_what_overflows_and_a_conversion_reports_it(
    tmp_path: Path, kind: str
) -> None:
    path, numbers = build(tmp_path, kind, blocks(kind, 8, 512, 250000.0), 512)
    assert np.isinf(numbers).any()
    ids = np.arange(8, dtype=np.int32)
    np.testing.assert_array_equal(tlc.load(path, device="cpu").rows(ids), numbers)
    with pytest.raises(tlc.RunError) as problem:
        tlc.load(path, device="reference").rows(ids)
    assert problem.value.code == "E0604"


@pytest.mark.parametrize("kind", TYPES)
def test_nothing_is_expanded_at_load(tmp_path: Path, kind: str) -> None:
    path, _ = build(tmp_path, kind, blocks(kind, 32, 512, 1.0), 512)
    from tlc.runtime.artifact import read_artifact

    weights = read_artifact(str(path)).manifest["weights"]
    assert [(w["encoding"], w["stored"]) for w in weights] == [(kind.lower(), kind.lower())]


# ---- bfloat16 ------------------------------------------------------------------------------------

FLOATS = [(572, 64), (33, 3), (7, 200), (17, 1)]


def bfloats(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Bits of bfloat16 that stay finite as float16, and these: all there are where there is room,
    with 6e-8 and less, of which float16 keeps some bits or none."""
    sizes = np.resize(np.arange(0x4780), rows * columns).reshape(rows, columns)
    if rows * columns < 0x4780:
        sizes = np.random.default_rng(3).integers(0x3200, 0x4780, (rows, columns))
    signs = np.resize([0, 0, 0x8000], sizes.size)[np.arange(sizes.size) * 7 % sizes.size]
    bits = (sizes | signs.reshape(sizes.shape)).astype(np.uint16)
    return bits, (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float16)


@pytest.mark.parametrize("device", ["cpu", "reference", "emulator"])
@pytest.mark.parametrize(("rows", "columns"), FLOATS)
def test_bfloat16_is_read_as_it_is(tmp_path: Path, device: str, rows: int, columns: int) -> None:
    if device == "emulator" and rows * columns > 2000:
        pytest.skip("too many products for it")
    bits, numbers = bfloats(rows, columns)
    path, _ = build(tmp_path, "BF16", bits.view(np.uint8), columns)
    model = tlc.load(path, device=device)
    np.testing.assert_array_equal(model.rows(np.arange(rows, dtype=np.int32)), numbers)
    for name, size, wanted in (("times", columns, numbers.T), ("across", rows, numbers)):
        one = np.eye(size, dtype=np.float16)
        np.testing.assert_array_equal(getattr(model, name)(one), wanted)
        for at in (0, size - 1):
            np.testing.assert_array_equal(
                getattr(model, name)(one[at : at + 1]), wanted[at : at + 1]
            )
    bias = np.zeros(rows, np.float16)
    found = model.biased(np.eye(columns, dtype=np.float16), bias)
    np.testing.assert_array_equal(found, np.maximum(numbers.T, 0))
    from tlc.runtime.artifact import read_artifact

    weights = read_artifact(str(path)).manifest["weights"]
    assert [w["stored"] for w in weights] == ["bf16"]


def test_what_cannot_read_bfloat16_reads_a_float16_copy(tmp_path: Path) -> None:
    bits, numbers = bfloats(7, 200)
    build(tmp_path, "BF16", bits.view(np.uint8), 200)
    text = f'm = load_model("{tmp_path}/w.gguf")\nfn f(x: float16[7, 200]) {{ max(m.w * x, 1) }}'
    model = tlc.compile(tmp_path / "p.tl", text=text, device="cpu")
    found = model.f(np.ones((7, 200), np.float16))
    np.testing.assert_array_equal(found, numbers.max(1))


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("beyond", [0x4780, 0xC780, 0x7F7F])
def test_a_bfloat16_beyond_float16_is_named(tmp_path: Path, device: str, beyond: int) -> None:
    bits, _ = bfloats(7, 200)
    bits[3, 150] = beyond
    path, _ = build(tmp_path, "BF16", bits.view(np.uint8), 200)
    with pytest.raises(tlc.RunError) as problem:
        tlc.load(path, device=device).times(np.zeros((1, 200), np.float16))
    assert problem.value.code == "E0604"
    assert "'w'" in str(problem.value)
    assert "at [3, 150]" in str(problem.value)


def test_infinities_and_nan_of_bfloat16_stay_what_they_are(tmp_path: Path) -> None:
    bits, numbers = bfloats(7, 200)
    bits[0, :3], numbers[0, :3] = (0x7F80, 0xFF80, 0x7FC0), (np.inf, -np.inf, np.nan)
    path, _ = build(tmp_path, "BF16", bits.view(np.uint8), 200)
    found = tlc.load(path, device="cpu").rows(np.arange(7, dtype=np.int32))
    np.testing.assert_array_equal(found, numbers)


def test_blocks_have_the_sizes_of_ggml() -> None:
    sizes = {name: (record.block, record.nbytes) for name, record in PACKED.items()}
    ggml = {kind.name.lower(): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    assert sizes == {name: ggml[name] for name in sizes}
    assert {name.lower() for name in TYPES} == sizes.keys()
