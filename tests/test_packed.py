"""Packed weights: what `linear`, `@` and row gathers see is gguf's own dequantisation, rounded to
float16, bit for bit, for random blocks and extreme ones, on every device."""

from pathlib import Path

import gguf
import numpy as np
import pytest

import tlc
from tlc import driver

TYPES = {"Q8_0": 34, "Q4_0": 18}
PROGRAM = """
let w = load_model("{path}").get_tensor("w")
fn rows(ids: int[N]) {{ w[ids, :] }}
fn times(x: float16[N, {columns}]) {{ linear(x, w) }}
fn across(x: float16[N, {rows}]) {{ x @ w }}
fn biased(x: float16[N, {columns}], b: float16[{rows}]) {{ relu(x @ w.T + b) }}
"""


def blocks(kind: str, rows: int, columns: int, largest: float) -> np.ndarray:
    """Random blocks; scales of both signs, zero, subnormal and up to `largest`."""
    rng = np.random.default_rng(11)
    data = rng.integers(0, 256, (rows, columns // 32, TYPES[kind]), dtype=np.uint8)
    scales = rng.uniform(-largest, largest, (rows, columns // 32)).astype(np.float16)
    scales[0, 0] = 0
    scales[1, 0] = 6e-8  # the smallest float16
    scales[2, 0] = largest
    scales[3, 0] = -largest
    data[:, :, :2] = scales[..., None].view(np.uint8)
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
@pytest.mark.parametrize(("rows", "columns"), [(32, 64), (33, 96), (64, 288)])
def test_every_reader_sees_gguf_s_numbers(
    tmp_path: Path, kind: str, device: str, rows: int, columns: int
) -> None:
    # scales for which no number is beyond float16: infinity times zero would be NaN in a product
    path, numbers = build(tmp_path, kind, blocks(kind, rows, columns, 500.0), columns)
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
    path, numbers = build(tmp_path, kind, blocks(kind, 8, 64, 60000.0), 64)
    assert np.isinf(numbers).any()
    ids = np.arange(8, dtype=np.int32)
    np.testing.assert_array_equal(tlc.load(path, device="cpu").rows(ids), numbers)
    with pytest.raises(tlc.RunError) as problem:
        tlc.load(path, device="reference").rows(ids)
    assert problem.value.code == "E0604"


@pytest.mark.parametrize("kind", TYPES)
def test_nothing_is_expanded_at_load(tmp_path: Path, kind: str) -> None:
    path, _ = build(tmp_path, kind, blocks(kind, 32, 64, 1.0), 64)
    from tlc.runtime.artifact import read_artifact

    weights = read_artifact(str(path)).manifest["weights"]
    assert [(w["encoding"], w["stored"]) for w in weights] == [(kind.lower(), kind.lower())]
