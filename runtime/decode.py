"""Turns the stored bytes of a tensor into a NumPy array of float16 or float32."""

from __future__ import annotations

from tlc.runtime.errors import RunError
from tlc.runtime.float8 import FLOAT8, numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from tlc.runtime.model_file import TensorEntry

# Encodings of one number each -> the NumPy type of their bytes; bf16 is the upper half of an f32.
PLAIN_FLOATS = {"f16": "<f2", "f32": "<f4", "f64": "<f8", "bf16": "<u2"}

# Encodings in blocks that share scales: those that `gguf.quants` can dequantise.
# fmt: off
BLOCK_FLOATS = frozenset((
    "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq1_s",
    "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "iq4_nl", "iq4_xs", "tq1_0",
    "tq2_0", "mxfp4", "nvfp4",
))
# fmt: on

INTEGERS = frozenset(("bool", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"))

_MOST_AXES = 32  # of a NumPy array

# bytes of a float -> NumPy type of its bits, the sign, infinity
_BITS = {2: ("<u2", 1 << 15, 0x7C00), 4: ("<u4", 1 << 31, 0x7F800000)}

_CHUNK = 1 << 16  # elements decoded at a time: their float32 copies stay in the L2 cache


def check_floats(entry: TensorEntry) -> None:
    """Raise RunError E0603 unless `floats` can decode the tensor."""
    if len(entry.shape) > _MOST_AXES:
        raise RunError("E0603", f"tensor {entry.name!r} has {len(entry.shape)} axes")
    if entry.encoding in PLAIN_FLOATS or entry.encoding in FLOAT8 or entry.encoding in BLOCK_FLOATS:
        return
    if entry.recipe is not None:
        return
    stored = entry.encoding.upper()
    rest = "the rest of the file still loads"
    if entry.encoding in INTEGERS:
        raise RunError(
            "E0603", f"integer tensor {entry.name!r} ({stored}) is not supported; {rest}"
        )
    raise RunError(
        "E0603",
        f"tensor {entry.name!r} is stored as {stored}, which is not supported; {rest}",
        "store it as F16: a GGUF file with `llama-quantize --allow-requantize` of llama.cpp",
    )


def floats(
    entry: TensorEntry, view: bytes | memoryview, dtype: str = "f16"
) -> NDArray[np.float16 | np.float32]:
    """The values of a tensor: an array of its shape, of `dtype` "f16" or "f32".

    A value is decoded exactly (in float32 for the block types of ggml, as `gguf.quants` does) and
    then rounded once, to the nearest, ties to even. Infinities and NaNs stay what they are. Only
    a bounded piece is decoded at a time. Raises RunError E0603 for a tensor that holds no floats
    and E0604 for a finite value that `dtype` cannot hold.
    """
    import numpy as np

    check_floats(entry)
    target = np.dtype({"f16": np.float16, "f32": np.float32}[dtype])
    encoding = entry.encoding
    if entry.recipe is not None:
        encoding, view = _computed(entry)
    block, width, decode = _decoder(encoding)
    count = len(view) // width * block
    out: NDArray[Any] = np.empty(count, target)
    first, value, lost = 0, 0.0, 0
    step = _CHUNK // block
    for at in range(0, count, step * block):
        bytes_at = at // block * width
        with np.errstate(all="ignore"):
            values = decode(memoryview(view)[bytes_at : bytes_at + step * width])
            piece = out[at : at + step * block]
            piece[:] = values
        if values.itemsize > target.itemsize and _any_infinite(np, piece):
            beyond = np.isinf(piece) & np.isfinite(values)
            if not lost and beyond.any():
                first = at + int(beyond.argmax())
                value = float(values[first - at])
            lost += int(beyond.sum())
    if lost:
        raise _overflow(entry, np.unravel_index(first, entry.shape), value, lost, dtype)
    return out.reshape(entry.shape)


def _any_infinite(np: Any, piece: NDArray[Any]) -> bool:
    """Whether an infinity or NaN is among the numbers: their bits, which are compared faster."""
    bits, sign, infinity = _BITS[piece.itemsize]
    return bool((piece.view(bits) & np.dtype(bits).type(sign - 1)).max(initial=0) >= infinity)


def _computed(entry: TensorEntry) -> tuple[str, memoryview]:
    """The numbers of a compressed tensor, as if they were stored: their encoding and bytes."""
    assert entry.recipe is not None
    try:
        found = entry.recipe()
    except ValueError as problem:
        raise RunError("E0601", f"tensor {entry.name!r} is damaged: {problem}") from None
    encoding = {stored: name for name, stored in PLAIN_FLOATS.items()}[found.dtype.str]
    return encoding, memoryview(found.reshape(-1).view("u1").data)


def _decoder(encoding: str) -> tuple[int, int, Callable[[memoryview], NDArray[Any]]]:
    """Elements per block, bytes per block, and what turns the bytes of blocks into floats."""
    import numpy as np

    if encoding == "bf16":
        return 1, 2, lambda data: _widen(np.frombuffer(data, "<u2"))
    if encoding in FLOAT8:
        table = np.array(numbers(encoding), np.float16)
        return 1, 1, lambda data: table[np.frombuffer(data, np.uint8)]
    if encoding in PLAIN_FLOATS:
        stored = np.dtype(PLAIN_FLOATS[encoding])
        return 1, stored.itemsize, lambda data: np.frombuffer(data, stored)

    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

    kind = GGMLQuantizationType.__members__.get(encoding.upper())
    if kind is None:
        raise RunError("E0603", f"{encoding.upper()} needs a newer version of the package gguf")
    # As one row, since the library splits an array into groups of rows.
    return *GGML_QUANT_SIZES[kind], lambda data: quants.dequantize(
        np.frombuffer(data, np.uint8).reshape(1, -1), kind
    ).ravel()


def _widen(halves: NDArray[np.uint16]) -> NDArray[np.float32]:
    import numpy as np

    return (halves.astype(np.uint32) << 16).view(np.float32)


def _overflow(
    entry: TensorEntry, index: tuple[Any, ...], value: float, lost: int, dtype: str
) -> RunError:
    others = f", and {lost - 1} more" if lost > 1 else ""
    where = ", ".join(str(int(at)) for at in index)
    name, largest = {"f16": ("float16", "65504"), "f32": ("float32", "3.4e38")}[dtype]
    return RunError(
        "E0604",
        f"tensor {entry.name!r}: the value {value:g} at [{where}]{others}, cannot be held in"
        f" {name}, whose largest value is {largest}",
        "load_model_f32 keeps these weights as float32" if dtype == "f16" else "",
    )
