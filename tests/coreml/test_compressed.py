"""Compressed weights: every form that Core ML stores, against what NumPy makes of the parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tlc
from tests.coreml.writer import MilModel, Name, Type, entry, immediate, part, text, value_type
from tlc.frontend.diagnostics import CompileError
from tlc.runtime.decode import floats
from tlc.runtime.errors import RunError
from tlc.runtime.model_file import open_model

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(5)


def packed(numbers: Array, width: int) -> bytes:
    """Numbers of a few bits, the lowest bit first, one behind the other."""
    bits = numbers.astype(np.int64).ravel()[:, None] >> np.arange(width) & 1
    return np.packbits(bits.astype(np.uint8).ravel(), bitorder="little").tobytes()


@dataclass
class Case:
    """A weight [4, 6]: its parts by name, stored numbers or `(bytes, type)`, and the oracle.

    Parts of an `old` operation are attributes, as up to iOS 17; later they are inputs.
    """

    name: str
    kind: str
    parts: dict[str, Any]
    wanted: Array
    old: bool = False


def cases() -> list[Case]:
    q8, u8 = RNG.integers(-128, 128, (4, 6), np.int8), RNG.integers(0, 256, (4, 6), np.uint8)
    s4, s6 = (RNG.uniform(0.01, 0.1, n).astype(np.float16) for n in (4, 6))
    zero = RNG.integers(-8, 8, 4, np.int8)
    wide = np.float32
    affine = ((q8 - zero[:, None].astype(wide)) * s4[:, None].astype(wide)).astype(np.float16)
    columns = ((u8 - wide(128)) * s6.astype(wide)).astype(np.float16)
    u4 = RNG.integers(0, 16, (4, 6))
    lut = RNG.uniform(-1, 1, 16).astype(np.float16)
    i4 = RNG.integers(-8, 8, (4, 6))
    blocks = RNG.uniform(0.01, 0.1, (4, 2)).astype(np.float16)
    spread = blocks.repeat(3, 1).astype(wide)
    offset = RNG.integers(-8, 8, (4, 2))
    groups = RNG.uniform(-1, 1, (2, 1, 4, 1)).astype(np.float16)
    u2 = RNG.integers(0, 4, (4, 6))
    rows = np.arange(4)[:, None] // 2
    vectors = RNG.uniform(-1, 1, (1, 1, 4, 2)).astype(np.float16)
    pairs = RNG.integers(0, 4, (2, 6))
    chosen = vectors[0, 0][pairs].transpose(0, 2, 1).reshape(4, 6)
    mask = RNG.integers(0, 2, (4, 6)).astype(bool)
    held = RNG.uniform(-1, 1, int(mask.sum())).astype(np.float16)
    sparse = np.zeros((4, 6), np.float16)
    sparse[mask] = held
    shape = np.array([4, 6], np.uint32)
    old, new = "constexpr_lut_to_dense", "constexpr_blockwise_shift_scale"
    return [
        Case("affine rows", "constexpr_affine_dequantize",
             {"quantized_data": q8, "zero_point": zero, "scale": s4, "axis": 0}, affine, True),
        Case("affine columns", "constexpr_affine_dequantize",
             {"quantized_data": u8, "zero_point": np.uint8(128), "scale": s6, "axis": 1}, columns,
             True),
        Case("affine one", "constexpr_affine_dequantize",
             {"quantized_data": q8, "zero_point": np.int8(0), "scale": np.float16(0.5), "axis": 0},
             (q8 * 0.5).astype(np.float16), True),
        Case("palette", old, {"indices": np.frombuffer(packed(u4, 4), np.uint8), "lut": lut,
                              "shape": shape}, lut[u4], True),
        Case("palette of 3 bits", old,
             {"indices": np.frombuffer(packed(u4 % 8, 3), np.uint8), "lut": lut[:8],
              "shape": shape}, lut[u4 % 8], True),
        Case("sparse", "constexpr_sparse_to_dense",
             {"nonzero_data": held, "mask": np.frombuffer(packed(mask, 1), np.uint8),
              "shape": shape}, sparse, True),
        Case("cast", "constexpr_cast", {"source_val": sparse}, sparse.astype(np.float32), True),
        Case("blocks of 4 bits", new, {"data": (packed(i4 & 15, 4), ("i4", (4, 6))),
                                       "scale": blocks}, (i4 * spread).astype(np.float16)),
        Case("blocks with offsets", new,
             {"data": (packed(u4, 4), ("u4", (4, 6))), "scale": blocks,
              "offset": (packed(offset + 8, 4), ("u4", (4, 2)))},
             ((u4 - (offset + 8).repeat(3, 1)) * spread).astype(np.float16)),
        Case("blocks of 8 bits", new, {"data": q8, "scale": s4[:, None]},
             (q8 * s4[:, None].astype(wide)).astype(np.float16)),
        Case("palettes of groups", old,
             {"indices": (packed(u2 * 0 + u2, 4), ("u4", (4, 6))), "lut": np.concatenate(
                 [groups, np.zeros((2, 1, 12, 1), np.float16)], 2)}, groups[rows, 0, u2, 0]),
        Case("palette of vectors", old,
             {"indices": (packed(pairs, 4), ("u4", (2, 6))), "lut": np.concatenate(
                 [vectors, np.zeros((1, 1, 12, 2), np.float16)], 2), "vector_axis": 0}, chosen),
        Case("sparse bits", "constexpr_sparse_to_dense",
             {"nonzero_data": held, "mask": (packed(mask, 1), ("u1", (4, 6)))}, sparse),
    ]  # fmt: skip


CASES = cases()


def written(case: Case, folder: Path) -> Path:
    """A package that adds the weight to its input."""
    dtype = "f32" if case.wanted.dtype == np.float32 else "f16"
    model = MilModel({"x": (dtype, (4, 6))})
    attributes = []
    arguments: dict[str, Any] = {}
    for key, held in case.parts.items():
        small = not isinstance(held, tuple) and np.ndim(held) == 0
        if case.old:
            value = immediate(held) if small else model.blob(held)
            attributes.append(entry(5, key, value))
        elif small:
            arguments[key] = held
        else:
            data, type = held if isinstance(held, tuple) else (held, None)
            arguments[key] = Name(model.stored(key, data, type))
    out: Type = (dtype, (4, 6))
    outs = [part(3, text(1, "w"), part(2, value_type(out)))]
    model.raw(case.kind, arguments, outs, attributes)
    model.op("add", {"y": out}, output=True, x=Name("x"), y=Name("w"))
    return model.write(folder / "m.mlpackage")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_numbers_are_those_of_the_parts(case: Case, tmp_path: Path) -> None:
    model = open_model(str(written(case, tmp_path)))
    dtype = "f32" if case.wanted.dtype == np.float32 else "f16"
    found = floats(model.tensors["w"], model.view("w"), dtype)
    np.testing.assert_array_equal(found, case.wanted)  # bit for bit


def among_zeros(folder: Path, kind: str, mask: Array, **parts: Any) -> Array:
    """A weight that is 0 where the mask is, and else what a compressed one gives (iOS 18)."""
    model = MilModel({"x": ("f16", mask.shape)})
    arguments = {
        key: Name(model.stored(key, *(held if isinstance(held, tuple) else (held,))))
        for key, held in parts.items()
    }
    bits: Type = ("u1", mask.shape)
    place = "indices_mask" if "lut" in parts else "data_mask"
    arguments[place] = Name(model.stored("bits", packed(mask, 1), bits))
    few: Type = ("f16", (int(mask.sum()),))
    outs = [part(3, text(1, name), part(2, value_type(type)))
            for name, type in (("again", bits), ("few", few))]  # fmt: skip
    model.raw(kind, arguments, outs, [])
    out = part(3, text(1, "w"), part(2, value_type(("f16", mask.shape))))
    sparse = {"nonzero_data": Name("few"), "mask": Name("again")}
    model.raw("constexpr_sparse_to_dense", sparse, [out], [])
    model.op("add", {"y": ("f16", mask.shape)}, output=True, x=Name("x"), y=Name("w"))
    return _numbers(model.write(folder / "m.mlpackage"))


def test_a_palette_of_what_is_not_zero(tmp_path: Path) -> None:
    mask = RNG.integers(0, 2, (4, 6)).astype(bool)
    lut = RNG.uniform(-1, 1, (2, 1, 16, 1)).astype(np.float16)  # one for two rows
    indices = RNG.integers(0, 16, (4, 6))
    held = packed(indices[mask], 4), ("u4", (int(mask.sum()),))
    found = among_zeros(
        tmp_path, "constexpr_lut_to_sparse", mask, indices_nonzero_data=held, lut=lut
    )
    wanted = np.where(mask, lut[np.arange(4)[:, None] // 2, 0, indices, 0], 0)
    np.testing.assert_array_equal(found, wanted)


def test_blocks_of_what_is_not_zero(tmp_path: Path) -> None:
    mask = RNG.integers(0, 2, (4, 6)).astype(bool)
    data = RNG.integers(-128, 128, (4, 6), np.int8)
    scale = RNG.uniform(0.01, 0.1, (4, 2)).astype(np.float16)
    offset = RNG.integers(-8, 8, (4, 2), np.int8)
    found = among_zeros(
        tmp_path,
        "constexpr_sparse_blockwise_shift_scale",
        mask,
        nonzero_data=data[mask],
        scale=scale,
        offset=offset,
    )
    wide = (data - offset.repeat(3, 1).astype(np.float32)) * scale.repeat(3, 1).astype(np.float32)
    np.testing.assert_array_equal(found, np.where(mask, wide, 0).astype(np.float16))


def test_a_compression_of_tomorrow_is_named(tmp_path: Path) -> None:
    model = MilModel({"x": ("f16", (4, 6))})
    out = [part(3, text(1, "few"), part(2, value_type(("f16", (9,)))))]
    model.raw("constexpr_of_tomorrow", {}, out, [])
    weight = [part(3, text(1, "w"), part(2, value_type(("f16", (4, 6)))))]
    model.stored("mask", packed(np.ones((4, 6)), 1), ("u1", (4, 6)))
    parts = {"nonzero_data": Name("few"), "mask": Name("mask")}
    model.raw("constexpr_sparse_to_dense", parts, weight, [])
    model.op("add", {"y": ("f16", (4, 6))}, output=True, x=Name("x"), y=Name("w"))
    model.write(tmp_path / "m.mlpackage")
    source = 'm = load_model("m.mlpackage")\nfn f(x: float16[4, 6]) { m.predict(x) }'
    with pytest.raises(CompileError, match=r"E0610(.|\n)*`constexpr_of_tomorrow`"):
        tlc.compile(tmp_path / "p.tl", text=source, device="reference")


@pytest.mark.parametrize("case", [CASES[0], CASES[7]], ids=lambda case: case.name)
@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_program_computes_with_them(case: Case, device: str, tmp_path: Path) -> None:
    written(case, tmp_path)
    source = 'm = load_model("m.mlpackage")\nfn f(x: float16[4, 6]) { m.predict(x) }'
    model = tlc.compile(tmp_path / "p.tl", text=source, device=device)
    np.testing.assert_array_equal(model.f(np.zeros((4, 6), np.float16)), case.wanted)


def _numbers(path: Path) -> Array:
    model = open_model(str(path))
    return floats(model.tensors["w"], model.view("w"))


def _without(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda parts: {k: v for k, v in parts.items() if k != key}


@pytest.mark.parametrize(
    ("at", "change", "message"),
    [
        (0, _without("scale"), "has no `scale`"),
        (0, lambda p: {**p, "scale": p["scale"][:3]}, "is damaged"),
        (3, lambda p: {**p, "lut": p["lut"][:5]}, "a palette of 5 numbers"),
        (3, lambda p: {**p, "indices": p["indices"][:5]}, "fewer numbers than its shape"),
        (5, lambda p: {**p, "nonzero_data": p["nonzero_data"][:1]}, "mask does not fit"),
        (7, lambda p: {**p, "scale": RNG.uniform(0, 1, (4, 4)).astype(np.float16)},
         "do not divide"),
        (11, _without("vector_axis"), "needs an axis"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_an_error(
    tmp_path: Path, at: int, change: Callable[[Any], Any], message: str
) -> None:
    case = CASES[at]
    damaged = Case(case.name, case.kind, change(case.parts), case.wanted, case.old)
    path = written(damaged, tmp_path)
    with pytest.raises(RunError, match=f"E0601.*{message}"):
        _numbers(path)


def test_inspecting_shows_the_compressed_tensors(tmp_path: Path) -> None:
    from tlc.inspect_model import inspect_model

    shown = inspect_model(str(written(CASES[0], tmp_path)))
    assert "CoreML AFFINE_I8, 1 tensor, 24 parameters" in shown
    assert "48 bytes on a device" in shown
