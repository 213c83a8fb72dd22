"""Sample kernels that do more than one product: several of the same rows, or of rows they make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.codegen.packed_cases import by_integers
from tests.codegen.product_cases import nn_of, nt_of
from tests.codegen.running import EPS32, Array, Case, fused, normal, packed, view, wide
from tlc.ir.builder import Builder
from tlc.ir.core import Op, Value
from tlc.ir.dims import Dim, DimLike
from tlc.ir.types import TensorType, tensor


def products_of_the_same_rows() -> Iterator[Case]:
    """Several products in one launch, each with a result and an epilogue of its own."""

    def three(b: Builder, x: Value, *weights: Value) -> list[Value]:
        made = [nt_of(b, x, w) for w in weights[:2]] + [nn_of(b, x, weights[2])]
        return [made[0], b.emit("relu", b.f32(made[1])), made[2]]

    for rows in (1, 20, "M"):
        for m in (2, 40) if rows == "M" else (rows,):
            x, weights = normal(85, int(m), 70), [normal(86, 33, 70), normal(87, 9, 70)]
            weights.append(normal(88, 70, 65))
            types = [tensor("f16", rows, 70), *(tensor("f16", *w.shape) for w in weights)]
            op = fused("matmul", types, three)
            right = [wide(weights[0]).T, wide(weights[1]).T, wide(weights[2])]
            exact = [wide(x) @ w for w in right]
            exact[1] = np.maximum(exact[1], 0.0)
            slack = [70 * EPS32 * (np.abs(wide(x)) @ np.abs(w)) for w in right]
            yield Case(
                f"three products, {rows} = {m}", op, [x, *weights], exact, slack, {"M": int(m)}
            )

    # packed in two ways, as files have them
    (q, q_numbers), (k, k_numbers) = packed(89, 40, 256, "q4_k"), packed(89, 24, 256, "q6_k")

    def two(b: Builder, x: Value, *weights: Value) -> list[Value]:
        return [nt_of(b, x, w) for w in weights]

    for m in (1, 30):
        x = normal(89, m, 256)
        types = [tensor("f16", m, 256), tensor("f16", 40, 256), tensor("f16", 24, 256)]
        op = fused("matmul", types, two, ["f16", "q4_k", "q6_k"])
        numbers = [wide(q_numbers).T, wide(k_numbers).T]
        exact = [wide(x) @ w for w in numbers]
        slack = [
            256 * EPS32 * (np.abs(wide(x)) @ np.abs(w)) + by_integers(x, w.T, part)
            for w, part in zip(numbers, (32, 16), strict=True)
        ]
        yield Case(f"q4_k and q6_k, M = {m}", op, [x, q, k], exact, slack)


def two_sums() -> Iterator[Case]:
    """Two products of the same rows that are one result."""

    def gated(read: Callable[[Builder, Value, Value], Value]) -> Callable[..., Value]:
        def build(b: Builder, x: Value, gate: Value, up: Value) -> Value:
            opened = b.emit("sigmoid", b.f32(read(b, x, gate)))
            return b.emit("mul", opened, b.f32(read(b, x, up)))

        return build

    def case(name: str, op: Op, inputs: list[Array], numbers: list[Array], m: int) -> Case:
        """`slack`: sigmoid has a slope of at most 1/4, and of exp a relative error of 2^-22."""
        x = inputs[0]
        first, second = (wide(x) @ wide(w) for w in numbers)
        size = [x.shape[-1] * EPS32 * (np.abs(wide(x)) @ np.abs(wide(w))) for w in numbers]
        exact = second / (1 + np.exp(-first))
        slack = size[1] + (size[0] / 4 + 2.0**-22) * np.abs(second)
        return Case(f"gate {name}, M = {m}", op, inputs, exact, slack, {"M": m})

    for m, n, rows in ((1, 37, 1), (3, 40, "M"), (40, 40, "M"), (70, 33, 70), (300, 260, 300)):
        x = normal(95, m, 66)
        weights = [normal(96, n, 66), normal(97, n, 66)]
        left = tensor("f16", rows, 66)
        right = tensor("f16", n, 66)
        op = fused("matmul", [left, right, right], gated(nt_of))
        yield case("nt", op, [x, *weights], [w.T for w in weights], m)
        turned = [np.ascontiguousarray(w.T) for w in weights]
        right = tensor("f16", 66, n)
        op = fused("matmul", [left, right, right], gated(nn_of))
        yield case("nn", op, [x, *turned], turned, m)
    (one, first), (other, second) = packed(98, 40, 256, "q4_0"), packed(99, 40, 256, "q4_0")
    for m in (1, 40):
        x = normal(98, m, 256)
        types = [tensor("f16", m, 256), *[tensor("f16", 40, 256)] * 2]
        op = fused("matmul", types, gated(nt_of), ["f16", "q4_0", "q4_0"])
        made = case("q4_0", op, [x, one, other], [first.T, second.T], m)
        each = [by_integers(x, w, 32) for w in (first, second)]
        made.rough = each[1] + each[0] / 4 * (np.abs(wide(x) @ wide(second).T) + each[1])
        yield made


def rows_that_are_made() -> Iterator[Case]:
    """Products of normalised rows, which the kernel computes from what it reads."""

    def normal_rows(b: Builder, x: Value, gain: Value) -> Value:
        x = b.f32(x)
        rows = (x.tensor.shape[0], Dim.of(1))
        total = b.emit("reduce_sum", b.emit("mul", x, x), axis=1)
        mean = b.emit("div", total, b.constant(x.tensor.shape[1], TensorType("f32", rows)))
        root = b.emit("rsqrt", b.emit("add", mean, b.constant(1e-3, mean.tensor)))
        scaled = b.emit("mul", x, b.broadcast(root, x.tensor.shape))
        return b.emit("mul", scaled, b.f32(view(b, gain, x.tensor.shape, (0, 1))))

    def centred(b: Builder, x: Value, shift: Value) -> Value:
        x = b.f32(x)
        top = b.emit("reduce_max", x, axis=1)
        low = b.emit("reduce_min", x, axis=1)
        middle = b.emit("sub", x, b.broadcast(b.emit("add", top, low), x.tensor.shape))
        return b.emit("add", middle, b.f32(view(b, shift, x.tensor.shape, (0, 1))))

    def plain(b: Builder, x: Value, gain: Value) -> Value:
        return b.emit("mul", b.f32(x), b.f32(view(b, gain, x.tensor.shape, (0, 1))))

    def exactly(rows: Callable[..., Value], x: Array, gain: Array) -> Array:
        if rows is normal_rows:
            return x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-3) * gain
        if rows is centred:
            return x - (x.max(1, keepdims=True) + x.min(1, keepdims=True)) + gain
        return x * gain

    def case(
        what: str, rows: Callable[..., Value], m: int, k: int, symbol: DimLike, turned: bool,
        weights: list[Array], stored: list[Array], encoding: str = "f16",
    ) -> Case:  # fmt: skip
        read = nt_of if turned else nn_of

        def build(b: Builder, x: Value, gain: Value, *right: Value) -> list[Value]:
            made = b.cast(rows(b, x, gain), "f16")
            return [read(b, made, w) for w in right]

        x, gain = normal(100, m, k), normal(101, k)
        right = [tensor("f16", *(w.shape if turned else w.T.shape)) for w in weights]
        types = [tensor("f16", symbol, k), tensor("f16", k), *right]
        op = fused("matmul", types, build, ["f16", "f16", *[encoding] * len(right)])
        left = exactly(rows, wide(x), wide(gain))
        exact = [left @ wide(w).T for w in weights]
        # rows are rounded to float16 or not; the sum of squares is as exact as a product
        off = 2.0**-11 + 4 * k * EPS32
        size = 4 if rows is centred else 0  # what is added to 0 has been as large
        slack = [off * (np.abs(left) + size) @ np.abs(wide(w)).T for w in weights]
        if encoding != "f16":
            with np.errstate(all="ignore"):
                slack = [s + by_integers(left, w, 32) for s, w in zip(slack, weights, strict=True)]
        sizes = {"M": m}
        inputs = [x, gain, *stored]
        if len(exact) == 1:
            return Case(f"{what}, M = {m}", op, inputs, exact[0], slack[0], sizes)
        return Case(f"{what}, M = {m}", op, inputs, exact, slack, sizes)

    for m, k, symbol in ((1, 100, 1), (3, 96, "M"), (50, 96, "M"), (40, 67, 40)):
        w = [normal(102, 37, k)]
        turned = [np.ascontiguousarray(a.T) for a in w]
        yield case("normal rows nt", normal_rows, m, k, symbol, True, w, w)
        yield case("normal rows nn", normal_rows, m, k, symbol, False, w, turned)
    two = [normal(103, 37, 70), normal(104, 20, 70)]
    yield case("centred rows", centred, 3, 70, "M", True, two, two)
    yield case("centred rows", centred, 40, 70, 40, True, two, two)
    yield case("scaled rows", plain, 2, 70, 2, True, two, two)
    (one, numbers) = packed(108, 40, 256, "q4_0")
    for m in (1, 40):
        yield case("q4_0", normal_rows, m, 256, m, True, [numbers], [one], "q4_0")


def rows_beside() -> Iterator[Case]:
    """Products of a row that they make, which is stored beside: it is what was there and normalised
    rows, and is normalised again for the products."""

    def normalised(b: Builder, x: Value) -> Value:
        rows = (x.tensor.shape[0], Dim.of(1))
        total = b.emit("reduce_sum", b.emit("mul", x, x), axis=1)
        mean = b.emit("div", total, b.constant(x.tensor.shape[1], TensorType("f32", rows)))
        root = b.emit("rsqrt", b.emit("add", mean, b.constant(1e-3, mean.tensor)))
        return b.emit("mul", x, b.broadcast(root, x.tensor.shape))

    def added(b: Builder, x: Value, y: Value) -> Value:
        return b.emit("add", b.f32(x), normalised(b, b.f32(y)))

    def exactly(x: Array) -> Array:
        return x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-3)

    for k, turned in ((70, True), (96, True), (67, False)):

        def build(
            b: Builder, x: Value, y: Value, *right: Value, turned: bool = turned
        ) -> list[Value]:
            row = b.emit("stored", b.cast(added(b, x, y), "f16"))
            made = b.cast(normalised(b, b.f32(row)), "f16")
            sums = [(nt_of if turned else nn_of)(b, made, w) for w in right]
            return [*sums, b.cast(added(b, x, y), "f16")]

        x, y = normal(120, 1, k), normal(121, 1, k)
        weights = [normal(122, 37, k), normal(123, 20, k)]
        right = weights if turned else [np.ascontiguousarray(w.T) for w in weights]
        types = [tensor("f16", *a.shape) for a in (x, y, *right)]
        op = fused("matmul", types, build)
        rows = wide(x) + exactly(wide(y))
        left = exactly(rows)
        off = 2 * 2.0**-11 + 8 * k * EPS32  # two roundings to float16
        slack: list[Any] = [off * np.abs(left) @ np.abs(wide(w)).T for w in weights]
        exact = [*(left @ wide(w).T for w in weights), rows]
        way = "nt" if turned else "nn"
        yield Case(f"{way}, rows of {k}", op, [x, y, *right], exact, [*slack, 4 * k * EPS32])
