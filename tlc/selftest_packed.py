"""Weights of every packed type, made up and written to a GGUF file, for `tlc selftest`."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

import numpy as np

from tlc.ir.formats import BFLOAT, PACKED, READ_AS_F16
from tlc.runtime.decode import floats
from tlc.runtime.gguf_save import ALIGNMENT, TYPES, head
from tlc.runtime.model_file import TensorEntry
from tlc.selftest_cases import EPS, Array, Exact

ROWS = 71  # more than the largest M of SIZES
FAMILIES = ("product", "rows")
ENCODINGS = sorted(READ_AS_F16)
Numbers = Callable[[tuple[int, ...], int], Array]  # of a shape, uniform 64-bit numbers of a seed


def columns(encoding: str) -> int:
    """So many that a row has more than one block."""
    return 512 if encoding in PACKED and PACKED[encoding].block == 256 else 96


def stored(encoding: str, numbers: Numbers) -> Array:
    """The bytes of a weight: any integers, with scales of both signs from 2^-11 to 2^-10."""
    count = ROWS * columns(encoding)
    seed = ENCODINGS.index(encoding)
    if encoding == BFLOAT:
        values = (numbers((count,), seed) >> np.uint64(40)).astype(np.float32) / 2.0**23 - 1
        return np.asarray((values.view(np.uint32) >> 16).astype("<u2").view(np.uint8))
    record = PACKED[encoding]
    blocks = count // record.block
    made = (numbers((blocks, record.nbytes), seed) >> np.uint64(56)).astype(np.uint8)
    for at in map(int, re.findall(r"tlc_half\(block \+ (\d+)u\)", record.scale + record.least)):
        made[:, at + 1] = made[:, at + 1] & 0x83 | 0x10  # the sign, and an exponent of -11
    return made.reshape(-1)


def write(path: str, numbers: Numbers) -> None:
    """A GGUF file with a weight of each encoding, called as that."""
    at, table, data = 0, b"", b""
    for encoding in ENCODINGS:
        name, shape = encoding.encode(), (columns(encoding), ROWS)
        table += struct.pack("<Q", len(name)) + name + struct.pack("<I2Q", 2, *shape)
        table += struct.pack("<IQ", TYPES[encoding], at)
        piece = stored(encoding, numbers).tobytes()
        data += piece + bytes(-len(piece) % ALIGNMENT)
        at = len(data)
    begin = head({}, len(ENCODINGS)) + table
    with open(path, "wb") as file:
        file.write(begin + bytes(-len(begin) % ALIGNMENT) + data)


def program(path: str) -> str:
    """Products with each weight, of few rows and of many, and rows of it."""
    text = f'let weights = load_model("{path}")\n'
    for encoding in ENCODINGS:
        weight = f'weights.get_tensor("{encoding}")'
        text += (
            f"fn product_{encoding}(x: float16[M, {columns(encoding)}]) {{ linear(x, {weight}) }}\n"
        )
        text += f"fn rows_{encoding}(i: int[M]) {{ gather({weight}, i) }}\n"
    return text


def arguments(family: str, encoding: str, m: int, n: int) -> tuple[tuple[int, ...], ...]:
    """The shapes of the arguments."""
    return ((m, columns(encoding)),) if family == "product" else ((m,),)


def exact(family: str, encoding: str, numbers: Numbers, by_integers: bool) -> Exact:
    """What a function gives; `by_integers` is how a CPU multiplies few rows (docs/language.md)."""
    data = stored(encoding, numbers).tobytes()
    entry = TensorEntry(encoding, (ROWS, columns(encoding)), encoding, 0, len(data))
    weight = np.asarray(floats(entry, data), np.float64)

    def rows(u: float, ids: Array) -> tuple[Array, float]:
        return weight[ids], 0.0

    def product(u: float, x: Array) -> tuple[Array, Array]:
        size = np.abs(x) @ np.abs(weight.T)
        off = x.shape[-1] * EPS * size
        if by_integers and encoding in PACKED:
            off += _of_integers(np.abs(x), np.abs(weight), PACKED[encoding].part)
        return x @ weight.T, off

    return rows if family == "rows" else product


def _of_integers(x: Array, weight: Array, part: int) -> Array:
    """How far a product by integers may be off, as templates/products.cpu.metal.j2 derives it."""
    parts = weight.reshape(ROWS, -1, part)
    largest = x.reshape(len(x), -1, part).max(-1)
    most = x @ parts.max(-1).repeat(part, 1).T
    rounded = x @ weight.T * 2.0**-11 + largest @ parts.sum(-1).T * 2.0**-14
    return np.asarray(rounded + x.shape[-1] * 8 * EPS * most)
