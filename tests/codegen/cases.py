"""Sample kernels of every family with their exact results, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tests.codegen.running import (
    EPS32,
    Array,
    Case,
    fused,
    normal,
    packed,
    view,
    wide,
)
from tlc.ir.builder import Builder
from tlc.ir.core import Op, Value
from tlc.ir.dims import Dim
from tlc.ir.types import TensorType, tensor

SIZES = (1, 2, 3, 7, 31, 33, 64, 127, 130)
NAN, INF = float("nan"), float("inf")


# ---- elementwise --------------------------------------------------------------------------------


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
            b.emit("and", k, b.emit("gt", i, b.constant(4, like["i32"]))),
            b.emit("eq", i, b.constant(7, like["i32"])),
        ),
        (mask & (ids > 4)) | (ids == 7),
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
    """NaN and infinities arrive where numpy puts them."""
    x = np.array([NAN, INF, -INF, 0.0, -0.0, 1.0, 65504.0, NAN, 2.0], np.float16)
    y = np.array([1.0, NAN, INF, -0.0, 0.0, NAN, 65504.0, NAN, -3.0], np.float16)
    type_ = tensor("f16", 9)
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
    for encoding in ("q8_0", "q4_0"):
        blocks, w = packed(normal(13, 6, 64), encoding)
        ways = {
            "in order": ((6, 64), (64, 1), 0, wide(w)),
            "transposed": ((64, 6), (1, 64), 0, wide(w).T),
            "from row 2": ((4, 64), (64, 1), 128, wide(w)[2:]),
            "columns 5 to 24": ((6, 20), (64, 1), 5, wide(w)[:, 5:25]),
            "one column for all": ((6, 9), (64, 0), 3, np.tile(wide(w)[:, 3:4], (1, 9))),
        }
        for what, (shape, strides, offset, exact) in ways.items():
            op = fused(
                "elementwise",
                [tensor("f16", 6, 64)],
                lambda b, w, s=shape, t=strides, o=offset: view(b, w, s, t, o),
                [encoding],
            )
            yield Case(f"{encoding} {what}", op, [blocks], exact)


# ---- rows ---------------------------------------------------------------------------------------


def _sum(b: Builder, x: Value) -> Value:
    return b.emit("reduce_sum", x, axis=x.tensor.rank - 1)


def _max(b: Builder, x: Value) -> Value:
    return b.emit("reduce_max", x, axis=x.tensor.rank - 1)


def _mean(b: Builder, x: Value) -> Value:
    total = _sum(b, x)
    return b.emit("div", total, b.constant(x.tensor.shape[-1], total.tensor))


def _softmax(b: Builder, x: Value) -> Value:
    x = b.f32(x)
    powers = b.emit("exp", b.binary("sub", x, _max(b, x)))
    return b.cast(b.binary("div", powers, _sum(b, powers)), "f16")


def _layer_norm(b: Builder, x: Value, gain: Value, bias: Value) -> Value:
    x = b.f32(x)
    centred = b.binary("sub", x, _mean(b, x))
    spread = _mean(b, b.emit("mul", centred, centred))
    spread = b.emit("add", spread, b.constant(1e-5, spread.tensor))
    normal_ = b.binary("mul", centred, b.emit("rsqrt", spread))
    along = [b.f32(view(b, v, x.tensor.shape, (0, 1))) for v in (gain, bias)]
    return b.cast(b.emit("add", b.emit("mul", normal_, along[0]), along[1]), "f16")


def rows() -> Iterator[Case]:
    """Normalisations and reductions of rows, for sizes known at build and at run."""
    softmax = fused("row", [tensor("f16", "M", "N")], _softmax)
    norm = fused(
        "row", [tensor("f16", "M", "N"), tensor("f16", "N"), tensor("f16", "N")], _layer_norm
    )
    sums = fused("row", [tensor("f16", "M", "N")], lambda b, x: b.cast(_sum(b, b.f32(x)), "f32"))
    for m, n in zip(SIZES, reversed(SIZES), strict=True):
        x, gain, bias = normal(20, m, n), normal(21, n), normal(22, n)
        where, sizes = f"[{m}, {n}]", {"M": m, "N": n}
        e = np.exp(wide(x) - wide(x).max(-1, keepdims=True))
        exact = e / e.sum(-1, keepdims=True)
        static = fused("row", [tensor("f16", m, n)], _softmax)
        slack = (8 + n) * EPS32 * exact
        yield Case(f"softmax of {where}", static, [x], exact, slack)
        yield Case(f"softmax of {sizes}", softmax, [x], exact, slack, sizes)

        centred = wide(x) - wide(x).mean(-1, keepdims=True)
        scale = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        exact = centred * scale * wide(gain) + wide(bias)
        slack = (16 + n) * EPS32 * scale * (1 + np.abs(wide(x)).max()) * (np.abs(wide(gain)) + 1)
        yield Case(f"layer_norm of {sizes}", norm, [x, gain, bias], exact, slack, sizes)

        exact = wide(x).sum(-1, keepdims=True)
        slack = n * EPS32 * np.abs(wide(x)).sum(-1, keepdims=True)
        yield Case(f"sum of {sizes}", sums, [x], exact, slack, sizes)


def row_details() -> Iterator[Case]:
    """Masks, numbers per row, three axes, values kept from pass to pass, long rows."""
    x, mask, bias = normal(23, 2, 3, 40), normal(24, 2, 40), normal(25, 2, 3, 1)

    def masked(b: Builder, x: Value, mask: Value, bias: Value) -> Value:
        s = x.tensor.shape
        moved = b.emit("add", x, b.emit("broadcast", bias, shape=s))
        total = b.emit("add", moved, view(b, mask, s, (40, 0, 1)))
        return _softmax(b, total)

    types = [tensor("f16", 2, 3, 40), tensor("f16", 2, 40), tensor("f16", 2, 3, 1)]
    e = wide(x) + wide(mask)[:, None] + wide(bias)
    e = np.exp(e - e.max(-1, keepdims=True))
    exact = e / e.sum(-1, keepdims=True)
    op = fused("row", types, masked)
    yield Case("softmax of a masked batch", op, [x, mask, bias], exact, 64 * EPS32)

    def centred_gelu(b: Builder, x: Value) -> Value:
        y = b.emit("tanh", x)
        return b.binary("sub", y, _mean(b, y))

    for n in (37, 64):
        x = normal(26, 5, n)
        t = np.tanh(wide(x))
        op = fused("row", [tensor("f16", 5, n)], centred_gelu)
        exact = t - t.mean(-1, keepdims=True)
        yield Case(f"tanh less its mean, rows of {n}", op, [x], exact, 64 * EPS32)

    def two_sums(b: Builder, x: Value) -> Value:
        return b.emit("sub", _sum(b, b.emit("mul", x, x)), b.emit("mul", _sum(b, x), _sum(b, x)))

    x = normal(27, 9, 50)
    exact = (wide(x) ** 2).sum(-1, keepdims=True) - wide(x).sum(-1, keepdims=True) ** 2
    op = fused("row", [tensor("f16", 9, 50)], two_sums)
    yield Case("reductions side by side", op, [x], exact, 200 * EPS32 * np.abs(exact).max())

    x = normal(28, 2, 20000)
    op = fused("row", [tensor("f16", 2, 20000)], _softmax)
    e = np.exp(wide(x) - wide(x).max(-1, keepdims=True))
    yield Case("rows too long to keep", op, [x], e / e.sum(-1, keepdims=True), EPS32)

    x = normal(29, 4, 6)
    op = fused("row", [tensor("f16", 6, 4)], lambda b, x: _sum(b, view(b, x, (4, 6), (1, 4))))
    exact = wide(x).sum(-1, keepdims=True)
    yield Case("rows that lie across", op, [np.ascontiguousarray(x.T)], exact, 1e-6)

    x, ones = normal(30, 7, 1), np.ones((7, 1))
    op = fused("row", [tensor("f16", 7, 1)], _softmax)
    yield Case("rows of one element", op, [x], ones)
    blocks, w = packed(normal(31, 4, 96), "q8_0")
    op = fused("row", [tensor("f16", 4, 96)], _softmax, ["q8_0"])
    e = np.exp(wide(w) - wide(w).max(-1, keepdims=True))
    yield Case("packed rows", op, [blocks], e / e.sum(-1, keepdims=True), 64 * EPS32)


def _extreme(name: str) -> Callable[[Builder, Value], Value]:
    return lambda b, x: b.emit(f"reduce_{name}", x, axis=x.tensor.rank - 1)


def row_extremes() -> Iterator[Case]:
    """max, min, argmax, argmin: ties, NaN, infinities, nothing at all."""
    inputs = {}
    for n in (1, 5, 40, 100):
        ties = np.round(normal(32, 6, n) * 2)
        with_nan = normal(33, 6, n)
        with_nan[1, n // 2] = NAN
        with_nan[2, n - 1] = with_nan[2, n // 3] = NAN
        low, high = np.full((2, n), -INF), np.full((2, n), INF)
        inputs[n] = np.concatenate([ties, with_nan, low, high]).astype(np.float16)
    inputs[0] = normal(34, 3, 0)
    for name in ("max", "min", "argmax", "argmin"):
        symbolic = fused("row", [tensor("f16", "M", "N")], _extreme(name))
        for n, x in inputs.items():
            if n == 0:
                empty = {"max": -INF, "min": INF, "argmax": 0, "argmin": 0}[name]
                exact = np.full((3, 1), empty)
            else:
                exact = getattr(np, name)(x, -1, keepdims=True)
            static = fused("row", [tensor("f16", *x.shape)], _extreme(name))
            yield Case(f"{name} of rows of {n}", static, [x], exact)
            sizes = {"M": len(x), "N": n}
            yield Case(f"{name} of {sizes}", symbolic, [x], exact, 0.0, sizes)


# ---- columns ------------------------------------------------------------------------------------


def columns() -> Iterator[Case]:
    """Reductions along other axes than the last, with what comes before and after."""

    def mean_square(b: Builder, x: Value, bias: Value) -> Value:
        total = b.emit("reduce_sum", b.emit("mul", b.f32(x), b.f32(x)), axis=1)
        mean = b.emit("div", total, b.constant(x.tensor.shape[1], total.tensor))
        moved = b.emit("add", mean, b.f32(view(b, bias, total.tensor.shape, (0, 0, 1))))
        return b.cast(moved, "f16")

    symbols = [tensor("f16", "A", "R", "N"), tensor("f16", "N")]
    symbolic = fused("column", symbols, mean_square)
    for r, n in zip(SIZES, reversed(SIZES), strict=True):
        a = 2
        x, bias = normal(40, a, r, n), normal(41, n)
        squares = (wide(x) ** 2).sum(1, keepdims=True)
        exact = squares / r + wide(bias)
        slack = (4 + r) * EPS32 * (squares / r + np.abs(wide(bias)))
        static = fused("column", [tensor("f16", a, r, n), tensor("f16", n)], mean_square)
        yield Case(f"mean square of [{a}, {r}, {n}]", static, [x, bias], exact, slack)
        sizes = {"A": a, "R": r, "N": n}
        yield Case(f"mean square of {sizes}", symbolic, [x, bias], exact, slack, sizes)
    x = np.round(normal(42, 9, 50) * 2)
    x[3, 7] = x[5, 7] = x[8, 49] = NAN
    for name in ("max", "min", "argmax", "argmin"):
        op = fused(
            "column", [tensor("f16", 9, 50)], lambda b, x, f=name: b.emit(f"reduce_{f}", x, axis=0)
        )
        yield Case(f"{name} of columns", op, [x], getattr(np, name)(x, 0, keepdims=True))
    x = normal(43, 0, 5)
    op = fused("column", [tensor("f16", "R", 5)], lambda b, x: b.emit("reduce_sum", x, axis=0))
    yield Case("the sum of no rows", op, [x], np.zeros((1, 5)), 0.0, {"R": 0})


# ---- gather and concat --------------------------------------------------------------------------


def gathers() -> Iterator[Case]:
    """Rows chosen by index: from the end, out of range, packed, of any rank."""
    ids = np.array([[0, 6, -1], [-7, 3, 3]], np.int32)
    for width in (1, 5, 40, 64):
        table, add = normal(50, 7, width), normal(51, 2, 3, width)
        types = [tensor("f16", 7, width), tensor("i32", 2, 3), tensor("f16", 2, 3, width)]

        def build(b: Builder, table: Value, ids: Value, add: Value) -> Value:
            return b.emit("add", b.emit("gather", table, ids), add)

        op = fused("gather", types, build)
        exact = wide(table)[ids] + wide(add)
        yield Case(f"rows of {width}", op, [table, ids, add], exact, EPS32 * 8)
    for encoding in ("q8_0", "q4_0"):
        blocks, w = packed(normal(52, 7, 64), encoding)
        op = fused(
            "gather",
            [tensor("f16", "V", 64), tensor("i32", "N")],
            lambda b, table, ids: b.emit("gather", table, ids),
            [encoding, "i32"],
        )
        some = ids.ravel()
        yield Case(f"rows of {encoding}", op, [blocks, some], wide(w)[some], 0.0, {"V": 7, "N": 6})
    table = normal(53, 7)
    op = fused(
        "gather",
        [tensor("f16", 7), tensor("i32", 2, 3)],
        lambda b, t, i: b.emit("gather", t, view(b, i, (3, 2), (1, 3))),
    )
    yield Case("single elements, indices transposed", op, [table, ids], wide(table)[ids.T])
    table = normal(54, 7, 3, 10)
    op = fused(
        "gather",
        [tensor("f16", 7, 3, 10), tensor("i32", 4)],
        lambda b, t, i: b.emit("gather", t, i),
    )
    some = np.array([6, -6, 0, 2], np.int32)
    yield Case("rows of a matrix", op, [table, some], wide(table)[some])
    for wrong in ([7, 1, 2], [-8, 1, 2], [2**31 - 1, 1, 2], [-(2**31), 1, 2]):
        some = np.array(wrong, np.int32)
        table = normal(55, 7, 20)
        op = fused(
            "gather",
            [tensor("f16", 7, 20), tensor("i32", 3)],
            lambda b, t, i: b.emit("gather", t, i),
        )
        exact = wide(table)[[0, 1, 2]]
        yield Case(f"an index out of range, {wrong[0]}", op, [table, some], exact, status=1)


def concats() -> Iterator[Case]:
    """Operands one behind the other, along every axis."""
    for axis in (0, 1, 2):
        for last in (1, 5, 40):
            shapes = [[3, 4, last] for _ in range(3)]
            for size, shape in zip((2, 1, 6), shapes, strict=True):
                shape[axis] = size
            arrays = [normal(60 + k, *shape) for k, shape in enumerate(shapes)]
            op = fused(
                "concat",
                [tensor("f16", *shape) for shape in shapes],
                lambda b, *x, axis=axis: b.emit("concat", *x, axis=axis),
            )
            exact = np.concatenate([wide(a) for a in arrays], axis)
            yield Case(f"axis {axis} of [.., {last}]", op, arrays, exact)
    x, y = normal(64, 4, 6), normal(65, 3, 4)
    op = fused(
        "concat",
        [tensor("f16", 4, 6), tensor("f16", "N", 4)],
        lambda b, x, y: b.emit("concat", view(b, x, (6, 4), (1, 6)), y, axis=0),
    )
    exact = np.concatenate([wide(x).T, wide(y)])
    yield Case("a transposed operand and a symbol", op, [x, y], exact, 0.0, {"N": 3})
    ids = [np.arange(5, dtype=np.int32), np.arange(3, dtype=np.int32)]
    op = fused(
        "concat",
        [tensor("i32", 5), tensor("i32", 3)],
        lambda b, x, y: b.emit("concat", x, y, axis=0),
    )
    yield Case("whole numbers", op, ids, np.concatenate(ids))


# ---- matrix products ----------------------------------------------------------------------------


def _product(
    name: str,
    x: Array,
    w: Array,
    *,
    types: Sequence[TensorType],
    sizes: dict[str, int] | None = None,
    stored: Array | None = None,
    encoding: str = "",
    transposed: bool = True,
    op: Op | None = None,
) -> Case:
    """x @ w (or x @ w.T), with float32 slack for the sum."""
    right = wide(w).swapaxes(-1, -2) if transposed else wide(w)
    with np.errstate(all="ignore"):
        exact = wide(x) @ right
        slack = x.shape[-1] * EPS32 * (np.abs(wide(x)) @ np.abs(right))
    op = op or fused("matmul", types, _nt if transposed else _nn, ["f16", encoding or "f16"])
    return Case(name, op, [x, w if stored is None else stored], exact, slack, sizes or {})


def _nt(b: Builder, x: Value, w: Value) -> Value:
    """The product with the transpose of w, as `linear` reads weights [out, in]."""
    *batch, n, k = w.tensor.shape
    steps = [n * k] if batch else []
    return b.emit("contract", x, view(b, w, (*batch, k, n), (*steps, 1, k)))


def _nn(b: Builder, x: Value, w: Value) -> Value:
    return b.emit("contract", x, w)


ROWS = (1, 2, 3, 4, 5, 7, 31, 33, 130)


def products() -> Iterator[Case]:
    """Both layouts of the right operand, all sizes ragged in turn, static and symbolic."""
    symbols = [tensor("f16", "M", "K"), tensor("f16", "N", "K")]
    any_nt = fused("matmul", symbols, _nt)
    any_nn = fused("matmul", [symbols[0], tensor("f16", "K", "N")], _nn)
    batch_nt = fused("matmul", [tensor("f16", "M", 64), tensor("f16", 130, 64)], _nt)
    batch_nn = fused("matmul", [tensor("f16", "M", 64), tensor("f16", 64, 130)], _nn)
    sizes_k = (130, 64, 127, 1, 33, 2, 7, 31, 3)
    sizes_n = (7, 130, 1, 64, 33, 127, 2, 3, 31)
    for m, n, k in zip(ROWS, sizes_n, sizes_k, strict=True):
        x, w = normal(70, m, k), normal(71, n, k)
        wt = np.ascontiguousarray(w.T)
        what, sizes = f"[{m}, {k}] @ [{k}, {n}]", {"M": m, "N": n, "K": k}
        left, right = tensor("f16", m, k), tensor("f16", n, k)
        yield _product(f"nt {what}", x, w, types=[left, right])
        yield _product(f"nn {what}", x, wt, types=[left, tensor("f16", k, n)], transposed=False)
        yield _product(f"nt {sizes}", x, w, types=[], op=any_nt, sizes=sizes)
        yield _product(f"nn {sizes}", x, wt, types=[], op=any_nn, sizes=sizes, transposed=False)
    for m in ROWS:
        x, w = normal(72, m, 64), normal(73, 130, 64)
        wt = np.ascontiguousarray(w.T)
        yield _product(f"nt M = {m}", x, w, types=[], op=batch_nt, sizes={"M": m})
        yield _product(
            f"nn M = {m}", x, wt, types=[], op=batch_nn, sizes={"M": m}, transposed=False
        )


def large_products() -> Iterator[Case]:
    """More than one tile and more than one block of K, with ragged ends."""
    for m, n, k in (
        (200, 300, 600),
        (97, 129, 257),
        (1, 1000, 5000),
        (3, 600, 530),
        (256, 256, 64),
    ):
        x, w = normal(74, m, k), normal(75, n, k)
        wt = np.ascontiguousarray(w.T)
        left = tensor("f16", m, k)
        yield _product(f"large nt {m, n, k}", x, w, types=[left, tensor("f16", n, k)])
        yield _product(
            f"large nn {m, n, k}", x, wt, types=[left, tensor("f16", k, n)], transposed=False
        )


def batched_products() -> Iterator[Case]:
    """Batches, also with operands that lie in another order or are shared by the batch."""
    for m, n, k in ((1, 40, 33), (2, 7, 64), (9, 33, 40), (40, 64, 20)):
        x, w = normal(76, 3, m, k), normal(77, 3, n, k)
        wt = np.ascontiguousarray(w.swapaxes(1, 2))
        left = tensor("f16", 3, m, k)
        what = f"batch of 3, {m, n, k}"
        yield _product(f"nt {what}", x, w, types=[left, tensor("f16", 3, n, k)])
        yield _product(f"nn {what}", x, wt, types=[left, tensor("f16", 3, k, n)], transposed=False)
        # heads: [m, 3, k] read as [3, m, k], one w for all of them
        y = np.ascontiguousarray(x.swapaxes(0, 1))

        def heads(b: Builder, y: Value, w: Value, m: int = m, n: int = n, k: int = k) -> Value:
            left = view(b, y, (3, m, k), (k, 3 * k, 1))
            return b.emit("contract", left, view(b, w, (3, k, n), (0, 1, k)))

        op = fused("matmul", [tensor("f16", m, 3, k), tensor("f16", n, k)], heads)
        case = _product(f"heads, {what}", x, np.stack([w[0]] * 3), types=[], op=op)
        case.inputs = [y, w[0]]
        yield case

        def across(b: Builder, x: Value, w: Value, m: int = m, n: int = n, k: int = k) -> Value:
            left = view(b, x, (m, k), (1, m))
            return b.emit("contract", left, view(b, w, (k, n), (2, 2 * k), 1))

        op = fused("matmul", [tensor("f16", k, m), tensor("f16", n, k, 2)], across)
        case = _product(f"no neighbours, {m, n, k}", x[0], w[0], types=[], op=op)
        spread = np.stack([np.full_like(w[0], NAN), w[0]], -1)
        case.inputs = [np.ascontiguousarray(x[0].T), spread]
        yield case


def packed_products() -> Iterator[Case]:
    """Block-quantised weights in both layouts, few rows and many."""
    for encoding in ("q8_0", "q4_0"):
        nt = fused(
            "matmul", [tensor("f16", "M", 96), tensor("f16", 70, 96)], _nt, ["f16", encoding]
        )
        nn = fused(
            "matmul", [tensor("f16", "M", 70), tensor("f16", 70, 96)], _nn, ["f16", encoding]
        )
        blocks, w = packed(normal(80, 70, 96), encoding)
        for m in (1, 3, 4, 9, 40):
            x, y = normal(81, m, 96), normal(82, m, 70)
            sizes = {"M": m}
            yield _product(
                f"{encoding} nt {sizes}", x, w, types=[], op=nt, sizes=sizes, stored=blocks
            )
            yield _product(
                f"{encoding} nn {sizes}", y, w, types=[], op=nn, sizes=sizes, stored=blocks,
                transposed=False,
            )  # fmt: skip
        # columns 8 to 47 of the weights: rows no longer start with a block
        for m in (2, 6):
            x = normal(83, m, 40)

            def inner(b: Builder, x: Value, w: Value) -> Value:
                return b.emit("contract", x, view(b, w, (40, 70), (1, 96), 8))

            op = fused(
                "matmul", [tensor("f16", m, 40), tensor("f16", 70, 96)], inner, ["f16", encoding]
            )
            yield _product(
                f"{encoding} inner columns, M = {m}", x, w[:, 8:48], types=[], op=op, stored=blocks
            )
        x = normal(84, 1, 2048)
        blocks, w = packed(normal(85, 40, 2048), encoding)
        types = [tensor("f16", 1, 2048), tensor("f16", 40, 2048)]
        yield _product(f"{encoding} long rows", x, w, types=types, stored=blocks, encoding=encoding)


def float_products() -> Iterator[Case]:
    """float32 operands on either side or both."""
    for m, n, k in ((1, 33, 70), (3, 40, 33), (20, 33, 40), (40, 65, 130)):
        for left, right in (("f32", "f32"), ("f16", "f32"), ("f32", "f16")):
            x, w = normal(86, m, k, dtype=left), normal(87, n, k, dtype=right)
            what = f"{left} {right} {m, n, k}"
            types = [tensor(left, m, k), tensor(right, n, k)]
            op = fused("matmul", types, _nt, [left, right])
            yield _product(f"nt {what}", x, w, types=[], op=op)
            op = fused("matmul", [types[0], tensor(right, k, n)], _nn, [left, right])
            wt = np.ascontiguousarray(w.T)
            yield _product(f"nn {what}", x, wt, types=[], op=op, transposed=False)


def epilogues() -> Iterator[Case]:
    """What follows a product: bias, activation, residual, scale, mask, another dtype."""

    def block(b: Builder, x: Value, w: Value, bias: Value, residual: Value, gain: Value) -> Value:
        product = b.f32(_nt(b, x, w))
        shape = product.tensor.shape
        y = b.emit("add", product, b.f32(view(b, bias, shape, (0, 1))))
        y = b.emit("mul", y, b.f32(view(b, gain, shape, (1, 0))))
        y = b.emit("relu", b.emit("add", y, b.f32(residual)))
        return b.emit("mul", y, b.constant(0.125, y.tensor))

    for m in (1, 4, 6, 50):
        x, w, bias = normal(90, m, 40), normal(91, 37, 40), normal(92, 37)
        residual, gain = normal(93, m, 37), normal(94, m)
        types = [tensor("f16", *a.shape) for a in (x, w, bias, residual, gain)]
        product = wide(x) @ wide(w).T
        size = np.abs(wide(x)) @ np.abs(wide(w)).T
        y = (product + wide(bias)) * wide(gain)[:, None] + wide(residual)
        slack = 64 * EPS32 * ((size + 4) * (np.abs(wide(gain)[:, None]) + 1) + 4)
        inputs = [x, w, bias, residual, gain]
        exact = np.maximum(y, 0) / 8
        yield Case(f"linear block, M = {m}", fused("matmul", types, block), inputs, exact, slack)

    # attention scores: a batch, scaled, with what lies ahead masked
    def scores(b: Builder, q: Value, k: Value) -> Value:
        s = _nt(b, q, k)
        type_ = TensorType("i32", s.tensor.shape)
        ahead = b.emit("gt", b.emit("iota", type=type_, axis=2), b.emit("iota", type=type_, axis=1))
        low = b.constant(-1e4, s.tensor)
        return b.emit("where", ahead, low, b.emit("mul", s, b.constant(0.25, s.tensor)))

    for t in (1, 3, 33):
        q, k = normal(95, 2, t, 16), normal(96, 2, t, 16)
        op = fused("matmul", [tensor("f16", 2, t, 16), tensor("f16", 2, t, 16)], scores)
        exact = np.where(
            np.triu(np.ones((t, t), bool), 1), -1e4, wide(q) @ wide(k).swapaxes(1, 2) / 4
        )
        yield Case(f"masked scores, {t} tokens", op, [q, k], exact, 64 * EPS32 * 16)


def one_column() -> Iterator[Case]:
    """A matrix times a column."""

    def build(b: Builder, w: Value, x: Value, bias: Value) -> Value:
        product = b.emit("contract", w, x)
        return b.emit("add", product, view(b, bias, product.tensor.shape, (1, 0)))

    for m, k in ((1, 40), (37, 64), (130, 33)):
        w, x, bias = normal(97, m, k), normal(98, k, 1), normal(99, m)
        op = fused("matmul", [tensor("f16", m, k), tensor("f16", k, 1), tensor("f16", m)], build)
        exact = wide(w) @ wide(x) + wide(bias)[:, None]
        slack = k * EPS32 * (np.abs(wide(w)) @ np.abs(wide(x)) + 4)
        yield Case(f"[{m}, {k}] times a column", op, [w, x, bias], exact, slack)


def exact_sums() -> Iterator[Case]:
    """Sums are float32 sums: nothing is lost, cancels early or overflows in float16."""
    for m in (1, 6):
        for k in (0, 4096):
            ones = np.ones((m, k), np.float16), np.ones((20, k), np.float16)
            types = [tensor("f16", m, k), tensor("f16", 20, k)]
            op = fused("matmul", types, _nt)
            yield Case(f"{k} ones, M = {m}", op, ones, np.full((m, 20), float(k)))
            types[1] = tensor("f16", k, 20)
            op = fused("matmul", types, _nn)
            inputs = [ones[0], np.ascontiguousarray(ones[1].T)]
            yield Case(f"{k} ones down, M = {m}", op, inputs, np.full((m, 20), float(k)))
        x = np.tile(np.array([256, 256, -256, -256], np.float16), (m, 40))
        w = np.full((20, 160), 256, np.float16)
        op = fused("matmul", [tensor("f16", m, 160), tensor("f16", 20, 160)], _nt)
        yield Case(f"65536 cancels, M = {m}", op, [x, w], np.zeros((m, 20)))
        x, w = normal(100, m, 48), normal(101, 20, 48)
        x[0, 5], w[3, 7], w[4, 9] = NAN, INF, -INF
        op = fused("matmul", [tensor("f16", m, 48), tensor("f16", 20, 48)], _nt)
        with np.errstate(all="ignore"):
            exact = wide(x) @ wide(w).T
            size = np.abs(np.nan_to_num(wide(x), posinf=0, neginf=0)) @ np.ones((48, 20)) * 8
        yield Case(f"NaN and infinities, M = {m}", op, [x, w], exact, 64 * EPS32 * size)
        none = fused("matmul", [tensor("f16", "M", "K"), tensor("f16", "N", "K")], _nt)
        for sizes in ({"M": 0, "N": 5, "K": 3}, {"M": m, "N": 0, "K": 3}, {"M": m, "N": 5, "K": 0}):
            a, b = (np.zeros((sizes[s], sizes["K"]), np.float16) for s in "MN")
            exact = np.zeros((sizes["M"], sizes["N"]))
            yield Case(f"nothing, {sizes}", none, [a, b], exact, 0.0, sizes)


EVERYTHING = (
    elementwise,
    layouts,
    dtypes,
    odd_shapes,
    special_numbers,
    packed_operands,
    rows,
    row_details,
    row_extremes,
    columns,
    gathers,
    concats,
    products,
    large_products,
    batched_products,
    packed_products,
    float_products,
    epilogues,
    one_column,
    exact_sums,
)
