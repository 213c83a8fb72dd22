"""The lint: what Apple's compiler refuses is found, with its line; near relatives pass."""

from __future__ import annotations

import pytest

from tests.codegen.cases import EVERYTHING
from tests.codegen.emulation import compiled
from tlc.runtime.errors import RunError
from tlc.runtime.msl.lint import lint, require

HEAD = "#include <metal_stdlib>\nusing namespace metal;\n"


def kernel(body: str, before: str = "") -> str:
    return (
        f"{HEAD}{before}kernel void k(device float* o [[buffer(0)]],"
        " device const float* a [[buffer(1)]],"
        " constant float& s [[buffer(2)]], threadgroup float* sh [[threadgroup(0)]],"
        f" uint i [[thread_position_in_grid]]) {{ {body} }}\n"
    )


WRONG = [
    (kernel("device float* p = sh; p[0] = 1.0f;"), "M01"),
    (kernel("s = 1.0f;"), "M01"),
    (kernel("a[0] = 1.0f;"), "M01"),
    (kernel("device float* p = (device float*)sh; p[0] = 0.0f;"), "M01"),
    (kernel("float x = a[i]; float* p = &x; o[i] = *p;"), "M07"),
    (kernel("float x = a[i]; f(&x);", "void f(float* p) { *p = 1.0f; }\n"), "M07"),
    (kernel("double d = 1.0; o[i] = d;"), "M04"),
    (kernel("o[i] = f(a[i]);", "float f(float x) { return x > 1.0f ? f(x - 1.0f) : x; }\n"), "M10"),
    (kernel("goto L; L: o[i] = 0.0f;"), "M04"),
    (kernel("o[i] = g;", "float g = 1.0f;\n"), "M01"),
    (kernel("half4 h = half4(1.0h); float4 f = h; o[i] = f.x;"), "M01"),
    (kernel("float4 f = float4(1.0f, 2.0f, 3.0f); o[i] = f.x;"), "M01"),
    (kernel("half h = 1.0h; o[i] = max(h, a[i]);"), "M01"),
    (kernel("o[i] = float(min(i, 3));"), "M01"),
    (kernel("bfloat b = bfloat(a[i]); o[i] = float(b);"), "M06"),
    (kernel("o[i] = std::max(a[i], 1.0f);"), "M04"),
    ("#include <vector>\n" + kernel("o[i] = 0.0f;"), "M03"),
    (kernel("o[i] = 1f;"), "M05"),
    (kernel("o[i] = 0.0f;", "struct A { float x; }; struct B : A { float y; };\n"), "M11"),
    (HEAD + "kernel int k(device float* o [[buffer(0)]]) { return 1; }", "M08"),
    (HEAD + "kernel void k(device float* o) { o[0] = 0.0f; }", "M08"),
    (HEAD + "kernel void k(device float* o [[buffer(31)]]) { o[0] = 1.0f; }", "M09"),
    (
        HEAD + "kernel void k(device float* o [[buffer(0)]], device float* p [[buffer(0)]])"
        " { o[0] = p[0]; }",
        "M09",
    ),
]
RIGHT = [
    kernel("threadgroup float t[8]; t[i & 7] = a[i]; o[i] = t[0] * s + 1.0;"),
    kernel("o[i] = g[i & 1];", "constant float g[2] = {1.0f, 2.0f};\n"),
    kernel("half4 h = half4(1.0h); float4 f = float4(h); o[i] = f.x;"),
    kernel("half h = 1.0h; o[i] = max(float(h), a[i]);"),
]


@pytest.mark.parametrize(("text", "code"), WRONG)
def test_what_metal_refuses_is_found(text: str, code: str) -> None:
    assert code in {message.code for message in lint(text)}


@pytest.mark.parametrize("text", RIGHT)
def test_what_metal_takes_passes(text: str) -> None:
    assert lint(text) == []


def test_every_apple_kernel_passes_with_the_rules_of_our_own() -> None:
    for cases in EVERYTHING:
        assert lint(compiled(list(cases()))[1], own=True) == [], cases.__name__


def test_a_message_says_its_line() -> None:
    with pytest.raises(RunError, match=r"k\.metal:3: M01"):
        require(kernel("a[0] = 1.0f;"), "k.metal")
