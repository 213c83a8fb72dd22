"""Turns the name of an 8-bit float encoding into the numbers that its 256 bytes stand for."""

from __future__ import annotations

import struct

# encoding -> bits of the exponent, its bias, whether the largest exponent is for infinities and NaN
# as in IEEE 754. Without (FN: finite), only the last byte is NaN; FNUZ has NaN in place of -0.
# Source: OCP 8-bit Floating Point Specification; Noune et al., arXiv:2206.02915, for FNUZ.
_LAYOUTS = {
    "f8_e4m3": (4, 7, False),
    "f8_e5m2": (5, 15, True),
    "f8_e4m3fnuz": (4, 8, False),
    "f8_e5m2fnuz": (5, 16, False),
}

FLOAT8 = frozenset(_LAYOUTS)


def numbers(encoding: str) -> list[float]:
    """The value of each byte; every one is a float16 too."""
    exponent_bits, bias, ieee = _LAYOUTS[encoding]
    mantissa_bits = 7 - exponent_bits
    top = (1 << exponent_bits) - 1
    nothing_signed = encoding.endswith("fnuz")
    found = []
    for byte in range(256):
        magnitude = byte & 0x7F
        exponent, mantissa = magnitude >> mantissa_bits, magnitude & ((1 << mantissa_bits) - 1)
        value = float(mantissa + (bool(exponent) << mantissa_bits))
        value *= 2.0 ** (max(exponent, 1) - bias - mantissa_bits)
        if ieee and exponent == top:
            value = float("nan") if mantissa else float("inf")
        elif (byte == 0x80) if nothing_signed else (not ieee and magnitude == 0x7F):
            value = float("nan")
        found.append(-value if byte & 0x80 else value)
    return found


def halves(encoding: str) -> tuple[int, ...]:
    """The bits of each byte's float16."""
    return struct.unpack("<256H", struct.pack("<256e", *numbers(encoding)))
