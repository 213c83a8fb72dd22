"""Golden texts: one kernel of every family for each profile, to be read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.codegen.running import fused, view
from tlc.codegen.kernels import generate
from tlc.codegen.profiles import APPLE, CPU, Profile
from tlc.ir.builder import Builder
from tlc.ir.core import Op, Value
from tlc.ir.dims import Dim
from tlc.ir.ops.window import Window
from tlc.ir.types import tensor

WINDOW = Window((3, 3), (2, 2), padding=(1, 1))


def _linear(b: Builder, x: Value, w: Value, bias: Value) -> Value:
    n, k = w.tensor.shape
    product = b.emit("contract", x, view(b, w, (k, n), (1, k)))
    return b.emit("relu", b.emit("add", product, view(b, bias, product.tensor.shape, (0, 1))))


def _softmax(b: Builder, x: Value) -> Value:
    powers = b.emit("exp", b.binary("sub", x, b.emit("reduce_max", x, axis=1)))
    return b.binary("div", powers, b.emit("reduce_sum", powers, axis=1))


def _bias_tanh(b: Builder, x: Value, bias: Value) -> Value:
    return b.emit("tanh", b.emit("add", x, view(b, bias, x.tensor.shape, (0, 1))))


SAMPLES: dict[str, tuple[str, Op]] = {
    "elementwise": (
        "a.tl:1 tanh(x + bias)",
        fused("elementwise", [tensor("f16", "N", 64), tensor("f16", 64)], _bias_tanh),
    ),
    "row": ("a.tl:2 softmax", fused("row", [tensor("f32", "N", 130)], _softmax)),
    "column": (
        "a.tl:3 sum",
        fused("column", [tensor("f16", 33, "N")], lambda b, x: b.emit("reduce_sum", x, axis=0)),
    ),
    "matmul": (
        "a.tl:4 linear + relu",
        fused(
            "matmul",
            [tensor("f16", "N", 512), tensor("f16", 130, 512), tensor("f16", 130)],
            _linear,
            ["f16", "q4_0", "f16"],
        ),
    ),
    "columns": (
        "a.tl:5 matmul",
        fused(
            "matmul",
            [tensor("f16", 2, 1, "T"), tensor("f16", 2, "T", 64)],
            lambda b, x, y: b.emit("contract", x, y),
        ),
    ),
    "convolution": (
        "a.tl:11 conv2d",
        fused(
            "convolution",
            [tensor("f16", "N", 8, 14, 14), tensor("f16", 6, 36)],
            lambda b, x, w: b.emit("convolve", x, w, **WINDOW.attrs, groups=2),
        ),
    ),
    "window": (
        "a.tl:12 max_pool2d",
        fused(
            "window",
            [tensor("f16", "N", 8, 15, "W")],
            lambda b, x: b.emit("pool", x, **WINDOW.attrs, largest=True),
        ),
    ),
    "gather": (
        "a.tl:6 gather",
        fused(
            "gather",
            [tensor("f16", 1000, 64), tensor("i32", "N")],
            lambda b, table, ids: b.emit("gather", table, ids),
        ),
    ),
    "concat": (
        "a.tl:7 concat",
        fused(
            "concat",
            [tensor("f16", 4, "N"), tensor("f16", 4, 3)],
            lambda b, x, y: b.emit("concat", x, y, axis=1),
        ),
    ),
    "sort": (
        "a.tl:8 argsort",
        fused(
            "sort",
            [tensor("f16", "N", 100)],
            lambda b, x: b.emit("order", x, first=Dim.of(100), descending=True, flat=False),
        ),
    ),
    "scan": (
        "a.tl:9 cumsum",
        fused("scan", [tensor("f16", "N", 100)], lambda b, x: b.emit("running_sum", x)),
    ),
    "scatter": (
        "a.tl:10 scatter",
        fused(
            "scatter",
            [tensor("f16", "N", 64), tensor("i32", 3), tensor("f16", 3, 64)],
            lambda b, table, ids, rows: b.emit("scatter", table, ids, rows),
        ),
    ),
}


@pytest.mark.parametrize("profile", [APPLE, CPU], ids=lambda profile: profile.name)
@pytest.mark.parametrize("family", SAMPLES)
def test_text(family: str, profile: Profile, golden: Callable[[str, str], None]) -> None:
    comment, op = SAMPLES[family]
    kernels = [variant.kernel for variant in generate(op, profile, family, comment)]
    golden(f"kernels/{family}.{profile.name}.metal", "\n".join(k.text for k in kernels))
