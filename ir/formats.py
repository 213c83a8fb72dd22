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
    """

    name: str
    block: int
    nbytes: int
    part: int
    scale: str
    number: str
    least: str = ""
    values: tuple[int, ...] = ()

    def number_of(self, **readers: str) -> str:
        """The expression of the integers; `readers` are what the calls of the functions begin with,
        up to the address: `bytes="ldi8(block + "`.
        """
        return re.sub(r"\b(bytes|signed_bytes|bits)\(", lambda m: readers[m[1]], self.number)


def _half(at: int) -> str:
    return f"tlc_half(block + {at}u)"


# Two nibbles to a byte: in blocks of 32, the low ones are elements 0 to 15, the high ones the rest;
# in blocks of 256, each 32 bytes hold the low nibbles of 32 elements and the high ones of the next.
_NIBBLES_32 = "((bytes({at}u + k % 16u) >> int(k / 16u * 4u)) & 15)"
_NIBBLES_256 = "((bytes({at}u + k / 64u * 32u + k % 32u) >> int(k / 32u % 2u * 4u)) & 15)"
# Four pairs of bits to a byte: each 32 bytes hold 128 elements, 32 to a pair.
_PAIRS_256 = "((bytes({at}u + k / 128u * 32u + k % 32u) >> int(k / 32u % 4u * 2u)) & 3)"

_RECORDS = (
    Format("q8_0", 32, 34, 32, _half(0), "signed_bytes(2u + k)"),
    Format("q4_0", 32, 18, 32, _half(0), _NIBBLES_32.format(at=2) + " - 8"),
    Format("q4_1", 32, 20, 32, _half(0), _NIBBLES_32.format(at=4), f"-{_half(2)}"),
    Format(
        *("q5_0", 32, 22, 32, _half(0)),
        _NIBBLES_32.format(at=6) + " + (bits(2u + k / 8u) << 4) - 16",
    ),
    Format(
        *("q5_1", 32, 24, 32, _half(0)),
        _NIBBLES_32.format(at=8) + " + (bits(4u + k / 8u) << 4)",
        f"-{_half(2)}",
    ),
    Format(
        *("q2_k", 256, 84, 16, f"{_half(80)} * float(block[p] & 15)"),
        _PAIRS_256.format(at=16),
        f"{_half(82)} * float(block[p] >> 4)",
    ),
    Format(
        *("q3_k", 256, 110, 16, f"{_half(108)} * tlc_scale_of_16(block + 96u, p)"),
        _PAIRS_256.format(at=32) + " + (((bytes(k % 32u) >> int(k / 32u)) & 1) << 2) - 4",
    ),
    Format(
        *("q4_k", 256, 144, 32, f"{_half(0)} * tlc_scale_of_8(block + 4u, p)"),
        _NIBBLES_256.format(at=16),
        f"{_half(2)} * tlc_least_of_8(block + 4u, p)",
    ),
    Format(
        *("q5_k", 256, 176, 32, f"{_half(0)} * tlc_scale_of_8(block + 4u, p)"),
        _NIBBLES_256.format(at=48) + " + (((bytes(16u + k % 32u) >> int(k / 32u)) & 1) << 4)",
        f"{_half(2)} * tlc_least_of_8(block + 4u, p)",
    ),
    Format(
        *("q6_k", 256, 210, 16, f"{_half(208)} * float(((device const char*)block)[192u + p])"),
        "((bytes(k / 128u * 64u + k % 64u) >> int(k / 64u % 2u * 4u)) & 15)"
        " + (((bytes(128u + k / 128u * 32u + k % 32u) >> int(k / 32u % 4u * 2u)) & 3) << 4) - 32",
    ),
    Format(
        *("iq4_nl", 32, 18, 32, _half(0), _NIBBLES_32.format(at=2)),
        values=(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113),
    ),
)

# encodings that kernels read as they are, into float16
PACKED = {record.name: record for record in _RECORDS}
