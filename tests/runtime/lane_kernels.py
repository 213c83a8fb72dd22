"""Kernels that show one function of the 8-lane vocabulary each, compiled for every reader."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc.runtime.devices import Kernel, Launch, toolchain
from tlc.runtime.devices.cpu import CpuBuffer, CpuDevice, CpuLibrary

Array = NDArray[np.generic]
F32 = NDArray[np.float32]

TEMPLATES = Path(__file__).parents[2] / "templates"
VOCABULARY = "\n".join(
    [
        "#include <metal_stdlib>",
        "using namespace metal;",
        *(
            (TEMPLATES / f"{name}.metal.j2").read_text(encoding="utf-8")
            for name in ("lanes", "lanes16", "words", "lanes_math")
        ),
    ]
)
TABLE = f"constant uchar some_bytes[16] = {{{', '.join(str(255 - k * k) for k in range(16))}}};\n"
# clang then compiles what is otherwise only for Metal, with real address spaces
PORTABLE = "#define TLC_PORTABLE\n" + VOCABULARY

UNARY = (
    *("exp", "log", "sin", "cos", "tan", "tanh", "sigmoid", "erf"),
    *("abs", "sqrt", "rsqrt", "floor", "ceil", "trunc", "round", "round_half"),
)
BINARY = ("pow", "fmod", "max", "min")
# functions that 16 lanes have too
UNARY16 = (
    *("exp", "log", "sin", "cos", "tan", "tanh", "sigmoid"),
    *("abs", "sqrt", "rsqrt", "floor", "ceil", "round"),
)
BINARY16 = ("max", "min")

# Kernels of (a, b, y), all of the same type; i is the first of the 8 elements of this threadgroup.
BODIES = {
    **{f"{f}_lanes": f"st8(y + i, {f}8(ld8(a + i)));" for f in UNARY},
    **{f"{f}_one": f"y[group] = tlc_{f}(a[group]);" for f in UNARY},
    **{f"{f}_lanes": f"st8(y + i, {f}8(ld8(a + i), ld8(b + i)));" for f in BINARY},
    **{f"{f}_one": f"y[group] = tlc_{f}(a[group], b[group]);" for f in BINARY},
    **{f"{f}_wide": f"st16(y + 2u * i, {f}16(ld16(a + 2u * i)));" for f in UNARY16},
    **{
        f"{f}_wide": f"st16(y + 2u * i, {f}16(ld16(a + 2u * i), ld16(b + 2u * i)));"
        for f in BINARY16
    },
    "half_to_float": "st8(y + i, ld8((device const half*)a + i));",
    "char_to_float": "st8(y + i, ld8((device const char*)a + i));",
    "uchar_to_float": "st8(y + i, ld8((device const uchar*)a + i));",
    "int_to_int": "sti8((device int*)y + i, ldi8((device const int*)a + i));",
    "char_to_int": "sti8((device int*)y + i, ldi8((device const char*)a + i));",
    "uchar_to_int": "sti8((device int*)y + i, ldi8((device const uchar*)a + i));",
    "float_to_half": "st8((device half*)y + i, ld8(a + i));",
    "thread_memory": (
        "float t[8]; half h[8]; st8(t, ld8(a + i)); st8(h, ld8(b + i));st8(y + i, ld8(t) + ld8(h));"
    ),
    "to_int_and_back": "st8(y + i, to_f8(to_i8(ld8(a + i))));",
    "gather": "st8(y + i, gather8(a + group, 3)); scatter8(y + 1000u + group, ld8(a + i), 5);",
    "gather_half": "st8(y + i, gather8((device const half*)a + group, 3));",
    "pick": "st8(y + i, pick8(a, ldi8((device const int*)b + i)));",
    "arithmetic": (
        "const f8 x = ld8(a + i), z = ld8(b + i);"
        "st8((device half*)y + i, fma8(x, z, x - z) / (2.0f * x + 0.5f) - (-z) * 3.0f + (1.0f - x)"
        " + fma8(0.25f, x, z / 3.0f) + 1.0f / z - to_f8(iota8() * 3 + splati8(2) - 1));"
    ),
    "integers": (
        "const i8 x = ldi8((device const int*)a + i), z = ldi8((device const int*)b + i);"
        "sti8((device int*)y + i, ((x & z) | (x << 3)) + (z >> 2) - x * 5 + (-z)"
        " + select8(x, z, (x < z) & !(x == 7)));"
    ),
    "compare": (
        "const f8 x = ld8(a + i), z = ld8(b + i);"
        "i8 r = select8(splati8(0), splati8(1), x < z);"
        "r = r | select8(splati8(0), splati8(2), x <= z);"
        "r = r | select8(splati8(0), splati8(4), x > z);"
        "r = r | select8(splati8(0), splati8(8), x >= z);"
        "r = r | select8(splati8(0), splati8(16), x == z);"
        "r = r | select8(splati8(0), splati8(32), x != z);"
        "r = r | select8(splati8(0), splati8(64), (x > 0.0f) | (z > 0.0f));"
        "r = r | select8(splati8(0), splati8(128), (x > 0.0f) & !(z > 0.0f));"
        "if (any8(x > 0.0f)) r = r | 256; if (all8(x > 0.0f)) r = r | 512;"
        "sti8((device int*)y + i, r);"
    ),
    "fast": (
        "st8(y + 2u * i, fastmax8(ld8(a + i), ld8(b + i)));"
        "st8(y + 2u * i + 8u, fastmin8(ld8(a + i), ld8(b + i)));"
    ),
    "horizontal": (
        "const f8 x = ld8(a + i); y[group * 4u] = hsum8(x); y[group * 4u + 1u] = hmax8(x);"
        "y[group * 4u + 2u] = hmin8(x); y[group * 4u + 3u] = lane8(x, group % 8u);"
    ),
    "every_second": (
        "const f8 x = ld8(a + i), z = ld8(b + i);"
        "st8(y + 2u * i, even8(x, z)); st8(y + 2u * i + 8u, odd8(x, z));"
    ),
    "transpose": (
        "f8 r[8]; for (uint k = 0u; k < 8u; k++) r[k] = ld8(a + 8u * i + 8u * k); transpose8(r);"
        "for (uint k = 0u; k < 8u; k++) st8(y + 8u * i + 8u * k, r[k]); prefetch(a);"
    ),
    "sixteen": (
        "const v16 x = ld16(a + 2u * i); half h[16]; float t[16];"
        "st8(h, ld8(b + 2u * i)); st8(h + 8, ld8(b + 2u * i + 8u));"
        "st16(t, x + ld16(h)); st8(y + 6u * i, ld8(t)); st8(y + 6u * i + 8u, ld8(t + 8));"
        "st16(t, fma16(x, ld16(h), splat16(0.5f)));"
        "st8(y + 6u * i + 16u, ld8(t)); st8(y + 6u * i + 24u, ld8(t + 8));"
        "const v16 z = join16(high8(x), splat8(hsum16(x)));"
        "st8(y + 6u * i + 32u, low8(z)); st8(y + 6u * i + 40u, high8(z));"
    ),
    "arithmetic_of_16": (
        "const v16 x = ld16(a + 2u * i), z = ld16(b + 2u * i);"
        "st16((device half*)y + 2u * i, (x - z) / (x * splat16(2.0f) + (-z)));"
    ),
    "bytes": (
        "device const uchar* u = (device const uchar*)a + 64u * group; w16 r[9];"
        "r[0] = pair32(u + 2, u + 23) ^ int(0x80808080u);"
        "r[1] = twice32(u + 3); r[2] = twice16(u + 2, u + 30); r[3] = bits64(u + 1, u + 9);"
        "r[4] = lookup64(some_bytes, ld64(u) & 0x0f0f0f0f);"
        "r[5] = (ld64(u) >> quarters16(0, 4)) & 0x0f0f0f0f;"
        "r[6] = ((ld64(u) >> halves16(1, 3)) & 0x01010101) | ((ld64(u) & 0x03030303) << 1);"
        "r[7] = (ld64(u) << halves16(7, 2)) + splatw16(3);"
        "for (uint k = 0u; k < 8u; k++) {"
        "  device int* to = (device int*)y + 18u * i + 16u * k;"
        "  sti8(to, tlc_low(r[k])); sti8(to + 8, tlc_high(r[k]));"
        "}"
        "st8(y + 18u * i + 128u, bytes8(word(u + 5), word(u + 9)));"
    ),
    "byte_products": (
        "thread char s[64]; for (uint k = 0u; k < 64u; k++)"
        "  s[k] = ((device const char*)b)[64u * group + k];"
        "const w16 r = dot64(splatw16(5), ld64((device const uchar*)a + 64u * group), ld64(s));"
        "device int* to = (device int*)y + 2u * i; sti8(to, tlc_low(r)); sti8(to + 8, tlc_high(r));"
    ),
    "spread": (
        "float t[8]; st8(t, ld8(a + i));"
        "const v16 p = spread2(t + 1), q = spread4(t + 2), r = spread2(t + 3, 2u);"
        "st8(y + 6u * i, low8(p)); st8(y + 6u * i + 8u, high8(p));"
        "st8(y + 6u * i + 16u, low8(q)); st8(y + 6u * i + 24u, high8(q));"
        "st8(y + 6u * i + 32u, low8(r)); st8(y + 6u * i + 40u, high8(r));"
    ),
    "apart": (
        "device const uchar* u = (device const uchar*)a + 272u * group;"
        "device float* to = y + 72u * group;"
        "const w16 p = four16(u + 2, 18), q = four16(u + 4, 20);"
        "sti8((device int*)to, tlc_low(p)); sti8((device int*)to + 8, tlc_high(p));"
        "sti8((device int*)to + 16, tlc_low(q)); sti8((device int*)to + 24, tlc_high(q));"
        "st8(to + 32, halves8(u, 18)); st8(to + 40, halves8(u + 2, 20));"
        "st8(to + 48, halves8(u, 22)); st8(to + 56, halves8(u + 2, 24));"
        "st8(to + 64, halves8(u, 34));"
    ),
    "store_bytes": (
        "char t[16]; stc16(t, to_w16(ld16(a + 2u * i)));"
        "for (uint k = 0u; k < 16u; k++) ((device char*)y)[2u * i + k] = t[k];"
    ),
}
# The tails are also told n, in y[0], and must touch nothing beyond.
TAILS = {
    "load_float": "st8(y + 8, ld8n(a, n));",
    "load_half": "st8(y + 8, ld8n((device const half*)a, n));",
    "load_char": "st8(y + 8, ld8n((device const char*)a, n));",
    "load_int": "sti8((device int*)y + 8, ldi8n((device const int*)a, n));",
    "store_float": "st8n(y + 8, ld8(b), n);",
    "store_half": "st8n((device half*)(y + 8), ld8(b), n);",
    "store_int": "sti8n((device int*)y + 8, ldi8((device const int*)b), n);",
}


def kernel_text(name: str, body: str) -> str:
    return (
        f"kernel void {name}(device const float* a [[buffer(0)]],"
        " device const float* b [[buffer(1)]], device float* y [[buffer(2)]],"
        " uint group [[threadgroup_position_in_grid]], uint groups [[threadgroups_per_grid]]) {"
        f" const uint i = group * 8u; {body} }}\n"
    )


def bytes_of(values: Array) -> memoryview:
    """The memory of an array."""
    return memoryview(np.ascontiguousarray(values).reshape(-1).view(np.uint8))  # type: ignore[arg-type]


class Half:
    """One half of the vocabulary, compiled, with all the kernels above."""

    def __init__(self, vocabulary: str) -> None:
        tails = {name: f"const uint n = uint(y[0]); {body}" for name, body in TAILS.items()}
        text = vocabulary + TABLE + "".join(kernel_text(*each) for each in (BODIES | tails).items())
        self.device = CpuDevice(threads=1)
        self.library: CpuLibrary = self.device.library(
            text, [Kernel(name, 1) for name in BODIES | TAILS]
        )

    def launch(self, name: str, a: CpuBuffer, b: CpuBuffer, y: CpuBuffer, groups: int) -> None:
        launch = Launch(Kernel(name, 1), [a, b, y], groups)
        self.device.run(self.device.batch(self.library, [launch]))

    def run(self, name: str, groups: int, out: Array, a: Array, b: Array | None = None) -> None:
        """Run `groups` threadgroups over the bytes of a and b, and copy y's start to `out`."""
        second = a if b is None else b
        y = self.device.buffer(out.nbytes + 64)
        first = self.device.constant(bytes_of(a))
        self.launch(name, first, self.device.constant(bytes_of(second)), y, groups)
        out.reshape(-1).view(np.uint8)[:] = np.frombuffer(y.view, np.uint8)[: out.nbytes]

    def floats(self, name: str, a: Array, b: Array | None = None) -> F32:
        """The result of a kernel that gives one float per element of a."""
        out = np.empty(a.size, np.float32)
        together = {"one": 1, "wide": 16}.get(name.rpartition("_")[2], 8)
        self.run(name, a.size // together, out, a, b)
        return out


READERS = ("cpu", "metal", "avx2", "plain")


@functools.cache
def compiled(reader: str) -> Half:
    """The kernels as one reader of the vocabulary gets them.

    cpu     this processor
    metal   the half meant for Metal
    avx2    an x86-64 processor without AVX-512 and its integer dot products
    plain   the same without AVX2: all is done by portable code, as on other architectures
    """
    match reader:
        case "cpu":
            return Half(VOCABULARY)
        case "metal":
            return Half(PORTABLE)
        case "avx2":
            return for_processor("-march=x86-64-v3")
        case _:
            return for_processor("-march=x86-64-v3", "-mno-avx2")


def for_processor(*flags: str) -> Half:
    if platform.machine() != "x86_64":
        pytest.skip("needs an x86-64 processor")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toolchain, "target", lambda: (list(flags), " ".join(flags)))
        return Half(VOCABULARY)


RANDOM = np.random.default_rng(7)
SPECIAL = np.array(
    [
        *(0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.0, -3.0, 7.0, 100.0, -100.0),
        *(np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1.2e-38, 3e38, -3e38, 88.8, -88.8, -103.5),
        *(8388607.5, 8388608.0, 16777217.0, 65504.0, 65519.0, 65520.0, 6e-8, 2.9e-8, 0.1, 1e5),
        -1e30,
    ],
    np.float32,
)
ANY_BITS = RANDOM.integers(0, 1 << 32, 20_000, dtype=np.uint32).view(np.float32)
NEAR_ZERO = RANDOM.uniform(-1.5, 1.5, 20_000).astype(np.float32)
NEAR = RANDOM.uniform(-12, 12, 20_000).astype(np.float32)
WIDE = RANDOM.uniform(-110, 95, 20_000).astype(np.float32)
ANGLES = RANDOM.uniform(-1e5, 1e5, 20_000).astype(np.float32)


def whole_groups(values: F32) -> F32:
    return np.resize(values, (values.size + 7) // 8 * 8)


EVERYWHERE = whole_groups(np.concatenate([SPECIAL, ANY_BITS, NEAR_ZERO, NEAR, WIDE]))
