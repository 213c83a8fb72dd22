"""Block-quantised formats: how the numbers of a packed weight lie in memory, one record each.

The layouts are those of ggml's `block_*` structs (ggml-common.h), which GGUF files hold. An element
is

    half(scale * number - least)

in float32, rounded once more to float16: the order of operations of `gguf.quants`, whose bits are
the oracle. Scale times number is exact in float32 in every format, so a fused multiply-add changes
nothing.

Kernel text is written once for a scalar and for 8 lanes, with `block` a pointer to the block's
first byte, `p` the part of the block that a scale belongs to, `k` the first of 8 neighbouring
elements (a multiple of 8), and three functions for what the 8 elements have at successive places:
`bytes(at)`, `signed_bytes(at)`, and `bits(at)`, the 8 bits of the byte at a place.

Dot products on a CPU take units of 256 elements: a block, or 8 blocks of 32. Their integers are
multiplied as unsigned bytes, 64 at a time, and scales are read 8 at a time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    block, nbytes  elements and bytes of a block.
    part           elements that share a scale, a multiple of 16.
    scale, least   MSL expressions of a part's float scale, and of what is subtracted, if anything.
    number         MSL expression of the integers of 8 elements.
    values         what the integers stand for, where they index a table.
    words, bias    the integers of 64 elements from `k` on, of `block` and the next, plus `bias`, as
                   bytes (words.metal.j2).
    nibbles, order where numbers are nibbles: 64 bytes that hold them for 128 elements from `k` on,
                   of `block` and the next; and which 16 elements are whose nibbles (ORDERS).
    scales, leasts the scales, and what is subtracted, of 8 parts from `p` on, f8; of the next 8
                   blocks where each has one part.
    """

    name: str
    block: int
    nbytes: int
    part: int
    scale: str
    number: str
    words: str
    scales: str
    least: str = ""
    leasts: str = ""
    bias: int = 0
    values: tuple[int, ...] = ()
    nibbles: str = ""
    order: str = "in_turn"

    def number_of(self, **readers: str) -> str:
        """The expression of the integers; `readers` are what the calls of the functions begin with,
        up to the address: `bytes="ldi8(block + "`.
        """
        return re.sub(r"\b(bytes|signed_bytes|bits)\(", lambda m: readers[m[1]], self.number)


def _half(at: int) -> str:
    return f"tlc_half(block + {at}u)"


def _halves(at: int, nbytes: int) -> str:
    """The halves at a place of 8 blocks."""
    return f"halves8(block + {at}u, {nbytes}u)"


# Where each 16 of 128 elements stand in two vectors of 64 bytes: as in memory; the low nibbles of 4
# blocks, then the high ones; the low nibbles of two runs of 32 bytes, then the high ones.
ORDERS = {
    "in_turn": (0, 1, 2, 3, 4, 5, 6, 7),
    "by_blocks": (0, 4, 1, 5, 2, 6, 3, 7),
    "by_runs": (0, 1, 4, 5, 2, 3, 6, 7),
}


# Two nibbles to a byte: in blocks of 32, the low ones are elements 0 to 15, the high ones the rest;
# in blocks of 256, each 32 bytes hold the low nibbles of 32 elements and the high ones of the next.
def _nibbles_32(at: int, nbytes: int) -> tuple[str, str]:
    return (
        f"((bytes({at}u + k % 16u) >> int(k / 16u * 4u)) & 15)",
        f"((twice16(block + {at}u, block + {at + nbytes}u) >> quarters16(0, 4)) & 0x0f0f0f0f)",
    )


def _nibbles_256(at: int) -> tuple[str, str]:
    return (
        f"((bytes({at}u + k / 64u * 32u + k % 32u) >> int(k / 32u % 2u * 4u)) & 15)",
        f"((twice32(block + {at}u + k / 64u * 32u) >> halves16(0, 4)) & 0x0f0f0f0f)",
    )


# Four pairs of bits to a byte: each 32 bytes hold 128 elements, 32 to a pair.
def _pairs_256(at: int) -> tuple[str, str]:
    step = "int(k / 64u % 2u * 4u)"
    return (
        f"((bytes({at}u + k / 128u * 32u + k % 32u) >> int(k / 32u % 4u * 2u)) & 3)",
        f"((twice32(block + {at}u + k / 128u * 32u) >> halves16({step}, {step} + 2)) & 0x03030303)",
    )


# One bit to a byte for each 32 elements, in 32 bytes.
def _bits_256(at: int) -> tuple[str, str]:
    return (
        f"((bytes({at}u + k % 32u) >> int(k / 32u)) & 1)",
        f"((twice32(block + {at}u) >> halves16(int(k / 32u), int(k / 32u) + 1)) & 0x01010101)",
    )


def _small(
    name: str,
    nbytes: int,
    at: int,
    *,
    bits: int | None = None,
    bias: int = 0,
    added: bool = False,
    values: tuple[int, ...] = (),
) -> Format:
    """A format in blocks of 32: nibbles at a place, perhaps fifth bits at another; a scale at the
    start, perhaps followed by what is added."""
    number, words = _nibbles_32(at, nbytes)
    nibbles = order = ""
    if bits is None:
        nibbles, order = f"four16(block + {at}u, {nbytes}u)", "by_blocks"
    else:
        number = f"({number} + (bits({bits}u + k / 8u) << 4))"
        words = f"({words} | (bits64(block + {bits}u, block + {bits + nbytes}u) << 4))"
    if values:
        words, bias = f"lookup64(tlc_{name}_bytes, {words})", 128
    elif bias:
        number += f" - {bias}"
    least, leasts = (f"-{_half(2)}", f"-{_halves(2, nbytes)}") if added else ("", "")
    return Format(
        *(name, 32, nbytes, 32, _half(0), number, words, _halves(0, nbytes), least, leasts),
        bias=bias,
        values=values,
        nibbles=nibbles,
        order=order or "in_turn",
    )


def _k_quant_6_bit(
    name: str, nbytes: int, number: str, words: str, nibbles: str = "", order: str = "in_turn"
) -> Format:
    """A format in blocks of 256 with 8 scales and 8 minima of 6 bits, 12 bytes from 4 on."""
    return Format(
        *(name, 256, nbytes, 32, f"{_half(0)} * tlc_scale_of_8(block + 4u, p)", number, words),
        scales=f"{_half(0)} * tlc_scales_of_8(block + 4u)",
        least=f"{_half(2)} * tlc_least_of_8(block + 4u, p)",
        leasts=f"{_half(2)} * tlc_leasts_of_8(block + 4u)",
        nibbles=nibbles,
        order=order,
    )


def _records() -> tuple[Format, ...]:
    pairs_2, pairs_2w = _pairs_256(16)
    pairs_3, pairs_3w = _pairs_256(32)
    third, third_w = _bits_256(0)
    fifth, fifth_w = _bits_256(16)
    nibbles_4, nibbles_4w = _nibbles_256(16)
    nibbles_5, nibbles_5w = _nibbles_256(48)
    pairs_6, _ = _pairs_256(128)
    low_6 = "((bytes(k / 128u * 64u + k % 64u) >> int(k / 64u % 2u * 4u)) & 15)"
    low_6w = "((ld64(block + k / 128u * 64u) >> splatw16(int(k / 64u % 2u * 4u))) & 0x0f0f0f0f)"
    pairs_6w = "twice32(block + 128u + k / 128u * 32u)"
    pairs_6w = f"(k / 64u % 2u == 0u ? {pairs_6w} << halves16(4, 2) : {pairs_6w} >> halves16(0, 2))"
    return (
        Format(
            *("q8_0", 32, 34, 32, _half(0), "signed_bytes(2u + k)"),
            "(pair32(block + 2u, block + 36u) ^ int(0x80808080u))",
            _halves(0, 34),
            bias=128,
        ),
        _small("q4_0", 18, 2, bias=8),
        _small("q4_1", 20, 4, added=True),
        _small("q5_0", 22, 6, bits=2, bias=16),
        _small("q5_1", 24, 8, bits=4, added=True),
        _small(
            *("iq4_nl", 18, 2),
            values=(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113),
        ),
        Format(
            *("q2_k", 256, 84, 16, f"{_half(80)} * float(block[p] & 15)", pairs_2, pairs_2w),
            scales=f"{_half(80)} * to_f8(ldi8(block + p) & 15)",
            least=f"{_half(82)} * float(block[p] >> 4)",
            leasts=f"{_half(82)} * to_f8(ldi8(block + p) >> 4)",
        ),
        Format(
            *("q3_k", 256, 110, 16, f"{_half(108)} * tlc_scale_of_16(block + 96u, p)"),
            f"{pairs_3} + ({third} << 2) - 4",
            f"({pairs_3w} | ({third_w} << 2))",
            f"{_half(108)} * tlc_scales_of_16(block + 96u, p)",
            bias=4,
        ),
        _k_quant_6_bit(
            *("q4_k", 144, nibbles_4, nibbles_4w, "ld64(block + 16u + k / 2u)", "by_runs")
        ),
        _k_quant_6_bit(
            "q5_k", 176, f"{nibbles_5} + ({fifth} << 4)", f"({nibbles_5w} | ({fifth_w} << 4))"
        ),
        Format(
            *("q6_k", 256, 210, 16),
            f"{_half(208)} * float(((device const char*)block)[192u + p])",
            f"{low_6} + ({pairs_6} << 4) - 32",
            f"({low_6w} | ({pairs_6w} & 0x30303030))",
            f"{_half(208)} * ld8((device const char*)block + 192u + p)",
            bias=32,
        ),
    )


# block-quantised encodings that kernels read as they are, into float16
PACKED = {record.name: record for record in _records()}

BFLOAT = "bf16"  # the upper half of a float32; kernels read each number into float16

# encodings in which a float16 tensor may lie in memory, beside its own
READ_AS_F16 = frozenset((*PACKED, BFLOAT))
