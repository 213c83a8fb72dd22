"""Sample kernels that compute element by element, with their exact results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tests.codegen.running import (
    EPS32,
    INF,
    NAN,
    SIZES,
    Array,
    Case,
    fused,
    normal,
    packed,
    view,
    wide,
)
from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.formats import PACKED
from tlc.ir.types import tensor


def _bias_silu(b: Builder, x: Value, bias: Value) -> Value:
    total = b.emit("add", x, view(b, bias, x.tensor.shape, (0, 1)))
    return b.emit("mul", total, b.emit("sigmoid", total))


def elementwise() -> Iterator[Case]:
    """A chain with a broadcast bias, for sizes known at build and at run."""
    symbolic = fused("elementwise", [tensor("f16", "M", "N"), tensor("f16", "N")], _bias_silu)
    for m, n in zip(SIZES, reversed(SIZES), strict=True):
        x, bias = normal(1, m, n), normal(2, n)
        total = wide(x) + wide(bias)
        exact, slack = total / (1 + np.exp(-total)), 8 * EPS32 * (np.abs(total) + 1)
        static = fused("elementwise", [tensor("f16", m, n), tensor("f16", n)], _bias_silu)
        yield Case(f"silu(x + bias) of [{m}, {n}]", static, [x, bias], exact, slack)
        sizes = {"M": m, "N": n}
        yield Case(f"silu(x + bias) of {sizes}", symbolic, [x, bias], exact, slack, sizes)


def _times_view(strides: Sequence[int], offset: int) -> Callable[..., Value]:
    def build(b: Builder, x: Value, other: Value) -> Value:
        return b.emit("mul", view(b, x, other.tensor.shape, strides, offset), other)

    return build


def layouts() -> Iterator[Case]:
    """Operands read in every order that strides and offsets can say."""
    for m, n in ((3, 7), (33, 40), (64, 130)):
        x, y, z = normal(3, n, m), normal(4, m + 2, n + 3), normal(5, m)
        parts = {
            "a transposed operand": (x, (1, m), 0, wide(x).T),
            "a slice of rows and columns": (y, (n + 3, 1), 2 * (n + 3) + 3, wide(y)[2:, 3:]),
            "one column for all": (z, (1, 0), 0, np.tile(wide(z)[:, None], (1, n))),
            "one element for all": (z, (0, 0), m - 1, np.full((m, n), wide(z)[-1])),
        }
        for what, (array, strides, offset, seen) in parts.items():
            other = normal(6, m, n)
            build = _times_view(strides, offset)
            op = fused("elementwise", [tensor("f16", *array.shape), tensor("f16", m, n)], build)
            exact = seen * wide(other)
            yield Case(f"{what}, [{m}, {n}]", op, [array, other], exact, EPS32 * np.abs(exact))
    x = normal(7, 5, 4, 6, 8)
    op = fused(
        "elementwise",
        [tensor("f16", 5, 4, 6, 8)],
        lambda b, x: view(b, x, (6, 5, 8, 4), (8, 192, 1, 48)),
    )
    yield Case("four axes permuted", op, [x], wide(x).transpose(2, 0, 3, 1))
    a, c = Dim.of("A"), Dim.of("C")
    op = fused(
        "elementwise",
        [tensor("f16", "A", 4, "C", 8)],
        lambda b, x: view(b, x, (c, a, 8, 4), (8, c * 32, 1, c * 8)),
    )
    sizes = {"A": 5, "C": 6}
    yield Case(f"the same with {sizes}", op, [x], wide(x).transpose(2, 0, 3, 1), 0.0, sizes)


def dtypes() -> Iterator[Case]:
    """Integers, masks, numbers of the program, indices, sizes; results of every dtype."""
    m, n = 5, 13
    x, w = normal(8, m, n), normal(9, m, n, dtype="f32")
    ids = np.arange(m * n, dtype=np.int32).reshape(m, n) - 20
    mask = ids % 3 == 0
    shape = (m, n)
    like = {d: tensor(d, *shape) for d in ("f16", "f32", "i32", "bool")}

    def case(
        name: str,
        operands: Sequence[Array],
        build: Callable[..., Value],
        exact: Array,
        slack: object = 0.0,
    ) -> Case:
        kinds = {"float16": "f16", "float32": "f32", "int32": "i32", "bool": "bool"}
        types = [like[kinds[a.dtype.name]] for a in operands]
        return Case(name, fused("elementwise", types, build), operands, exact, slack)

    yield case("float32 to float16", [w], lambda b, w: b.cast(w, "f16"), wide(w))
    yield case("float16 to float32", [x], lambda b, x: b.cast(x, "f32"), wide(x))
    yield case("whole numbers to float32", [ids], lambda b, i: b.cast(i, "f32"), wide(ids))
    yield case("fractions to whole numbers", [w], lambda b, w: b.cast(w, "i32"), w.astype(np.int32))
    yield case("a mask to float16", [mask], lambda b, k: b.cast(k, "f16"), wide(mask))
    yield case("a mask to whole numbers", [mask], lambda b, k: b.cast(k, "i32"), mask + 0)
    yield case("whole numbers to a mask", [ids], lambda b, i: b.cast(i, "bool"), ids != 0)
    yield case("floats to a mask", [x], lambda b, x: b.cast(x, "bool"), x != 0)
    yield case("floats compared", [x, w], lambda b, x, w: b.emit("lt", b.f32(x), w), x < w)
    yield case(
        "whole numbers compared",
        [ids],
        lambda b, i: b.emit("ge", i, b.constant(7, like["i32"])),
        ids >= 7,
    )
    yield case(
        "masks combined",
        [mask, ids],
        lambda b, k, i: b.emit(
            "or",
            b.emit("and", k, b.emit("gt", i, b.constant(3, like["i32"]))),
            b.emit("eq", i, b.constant(8, like["i32"])),
        ),
        (mask & (ids > 3)) | (ids == 8),
    )
    yield case(
        "a choice by mask",
        [mask, x],
        lambda b, k, x: b.emit("where", k, x, b.constant(-1e30, like["f16"])),
        np.where(mask, wide(x), -INF),
    )
    yield case(
        "a choice by mask in float32",
        [mask, w],
        lambda b, k, w: b.emit("where", k, w, b.constant(-1e30, like["f32"])),
        np.where(mask, wide(w), float(np.float32(-1e30))),
    )
    for number in (0.1, -2.5, 1e-6, 65504.0, -0.0, INF, -INF, NAN, 3.0e38, 123456.789):
        exact = np.full(shape, float(np.float32(number)))
        yield case(
            f"the number {number}",
            [x],
            lambda b, x, number=number: b.constant(number, like["f32"]),
            exact,
        )
    yield case(
        "a float16 number is rounded before it is used",
        [w],
        lambda b, w: b.emit("mul", b.f32(b.constant(0.1, like["f16"])), w),
        float(np.float16(0.1)) * wide(w),
        EPS32,
    )
    for axis in (0, 1):
        index = np.indices(shape)[axis]
        yield case(
            f"the index along axis {axis}",
            [x],
            lambda b, x, a=axis: b.emit("add", x, b.emit("iota", type=like["f16"], axis=a)),
            wide(x) + index,
            EPS32 * 16,
        )
        yield case(
            f"the index along axis {axis} as a whole number",
            [x],
            lambda b, x, a=axis: b.emit("iota", type=like["i32"], axis=a),
            index,
        )
    sized = fused(
        "elementwise",
        [tensor("f16", "N")],
        lambda b, x: b.emit("div", x, b.constant(Dim.of("N") * 2, x.tensor)),
    )
    y = normal(10, 70)
    yield Case("a size as a number", sized, [y], wide(y) / 140, EPS32, {"N": 70})


def odd_shapes() -> Iterator[Case]:
    """Rank 0, nothing at all, axes of size 1, and more than one share of work."""
    for shape in ((), (1,), (0,), (0, 5), (5, 0), (1, 1, 9), (70001,), (4, 1, 3, 1, 2)):
        x = normal(11, *shape)
        op = fused("elementwise", [tensor("f16", *shape)], lambda b, x: b.emit("neg", x))
        yield Case(f"-x of {list(shape)}", op, [x], -wide(x))
    op = fused("elementwise", [tensor("f16", "N")], lambda b, x: b.emit("neg", x))
    for n in (0, 1, 4095, 4096, 20001):
        x = normal(12, n)
        yield Case(f"-x of [N], N = {n}", op, [x], -wide(x), 0.0, {"N": n})


def special_numbers() -> Iterator[Case]:
    """NaN and infinities arrive where numpy puts them, for every pair of numbers."""
    numbers = np.array([NAN, INF, -INF, 0.0, -0.0, 1.0, 65504.0, 2.0, -3.0], np.float16)
    x, y = np.repeat(numbers, 9), np.tile(numbers, 9)
    type_ = tensor("f16", 81)
    with np.errstate(all="ignore"):
        results = {
            "add": x.astype(np.float64) + y,
            "mul": x.astype(np.float64) * y,
            "div": wide(x) / wide(y),
            "maximum": np.maximum(wide(x), wide(y)),
            "minimum": np.minimum(wide(x), wide(y)),
        }
    for name, exact in results.items():
        op = fused("elementwise", [type_, type_], lambda b, x, y, name=name: b.emit(name, x, y))
        yield Case(f"{name} of special numbers", op, [x, y], exact)
    relu = fused("elementwise", [type_], lambda b, x: b.emit("relu", x))
    yield Case("relu of special numbers", relu, [x], np.maximum(wide(x), 0))


def packed_operands() -> Iterator[Case]:
    """Block-quantised operands of elementwise kernels, in order and out of order."""
    for encoding in PACKED:
        blocks, w = packed(13, 6, 256, encoding)
        ways = {
            "in order": ((6, 256), (256, 1), 0, wide(w)),
            "transposed": ((256, 6), (1, 256), 0, wide(w).T),
            "from row 2": ((4, 256), (256, 1), 512, wide(w)[2:]),
            "columns 5 to 24": ((6, 20), (256, 1), 5, wide(w)[:, 5:25]),
            "one column for all": ((6, 9), (256, 0), 3, np.tile(wide(w)[:, 3:4], (1, 9))),
        }
        for what, (shape, strides, offset, exact) in ways.items():
            op = fused(
                "elementwise",
                [tensor("f16", 6, 256)],
                lambda b, w, s=shape, t=strides, o=offset: view(b, w, s, t, o),
                [encoding],
            )
            yield Case(f"{encoding} {what}", op, [blocks], exact)
