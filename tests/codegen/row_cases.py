"""Sample kernels that reduce, gather and join, with their exact results."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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


def _exact_softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    exact: Array = e / e.sum(-1, keepdims=True)
    return exact


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
        exact = _exact_softmax(wide(x))
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
    # so far apart that the powers overflow unless the largest of all is taken off; differences of
    # whole numbers are exact
    for m, n in ((9, 7), (5, 130), (3, 300)):
        x, sizes = np.round(normal(20, m, n) * 1000), {"M": m, "N": n}
        yield Case(f"far softmax of {sizes}", softmax, [x], _exact_softmax(wide(x)), EPS32, sizes)


def row_details() -> Iterator[Case]:
    """Masks, numbers per row, three axes, values kept from pass to pass, long rows."""
    x, mask, heat = normal(23, 2, 3, 100), normal(24, 2, 100), normal(25, 2, 3, 1)

    def masked(b: Builder, x: Value, mask: Value, heat: Value) -> Value:
        s = x.tensor.shape
        scaled = b.emit("mul", x, b.emit("broadcast", heat, shape=s))
        total = b.emit("add", scaled, view(b, mask, s, (100, 0, 1)))
        return _softmax(b, total)

    types = [tensor("f16", 2, 3, 100), tensor("f16", 2, 100), tensor("f16", 2, 3, 1)]
    op = fused("row", types, masked)
    for what, far in (("", 1), (" far apart", 1000)):  # products of whole numbers are exact, too
        x, mask, heat = (np.round(array * far) if far > 1 else array for array in (x, mask, heat))
        exact = _exact_softmax(wide(x) * wide(heat) + wide(mask)[:, None])
        yield Case(f"softmax of a masked batch{what}", op, [x, mask, heat], exact, 120 * EPS32)

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
    yield Case("rows too long to keep", op, [x], _exact_softmax(wide(x)), EPS32)

    x = normal(29, 4, 6)
    op = fused("row", [tensor("f16", 6, 4)], lambda b, x: _sum(b, view(b, x, (4, 6), (1, 4))))
    exact = wide(x).sum(-1, keepdims=True)
    yield Case("rows that lie across", op, [np.ascontiguousarray(x.T)], exact, 1e-6)

    x, ones = normal(30, 7, 1), np.ones((7, 1))
    op = fused("row", [tensor("f16", 7, 1)], _softmax)
    yield Case("rows of one element", op, [x], ones)
    blocks, w = packed(31, 4, 96, "q8_0")
    op = fused("row", [tensor("f16", 4, 96)], _softmax, ["q8_0"])
    yield Case("packed rows", op, [blocks], _exact_softmax(wide(w)), 64 * EPS32)


def _extreme(name: str) -> Callable[[Builder, Value], Value]:
    return lambda b, x: b.emit(f"reduce_{name}", x, axis=x.tensor.rank - 1)


def row_extremes() -> Iterator[Case]:
    """max, min, argmax, argmin: ties, zeros of both signs, NaN, infinities, nothing at all."""
    inputs = {}
    for n in (1, 5, 40, 100):
        ties = np.round(normal(32, 6, n) * 2)
        with_nan = normal(33, 6, n)
        with_nan[1, n // 2] = NAN
        with_nan[2, n - 1] = with_nan[2, n // 3] = NAN
        low, high = np.full((2, n), -INF), np.full((2, n), INF)
        zeros = np.array([[0.0, -0.0] * n, [-0.0, 0.0] * n])[:, :n]
        inputs[n] = np.concatenate([ties, with_nan, low, high, zeros]).astype(np.float16)
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
    for encoding in PACKED:
        blocks, w = packed(52, 7, 512, encoding)
        op = fused(
            "gather",
            [tensor("f16", "V", 512), tensor("i32", "N")],
            lambda b, table, ids: b.emit("gather", table, ids),
            [encoding, "i32"],
        )
        some = ids.ravel()
        yield Case(f"rows of {encoding}", op, [blocks, some], wide(w)[some], 0.0, {"V": 7, "N": 6})
    for width in (7, 40):
        types = [tensor("f16", "V", width), tensor("i32", "N")]
        op = fused("gather", types, lambda b, table, ids: b.emit("gather", table, ids))
        # of no rows none can be read: nothing is written, and there is 0xffff, a NaN, as before
        some, none = np.array([0], np.int32), np.full((1, width), NAN)
        yield Case(
            f"rows of {width} of none",
            op,
            [normal(56, 0, width), some],
            none,
            0.0,
            {"V": 0, "N": 1},
            1,
        )
        for rows in (1, 7, 500):
            table, some = normal(56, rows, width), np.arange(-rows, rows, dtype=np.int32)
            for wrong in (None, rows, -rows - 1, 2**31 - 1, -(2**31)):
                given = some if wrong is None else np.append(some, np.int32(wrong))
                exact = np.concatenate([wide(table)[some], wide(table)[: len(given) - len(some)]])
                name = f"rows of {width}, {wrong} among {len(given)} for {rows}"
                sizes = {"V": rows, "N": len(given)}
                yield Case(name, op, [table, given], exact, 0.0, sizes, int(wrong is not None))
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
    types = [tensor("f16", 4, "N"), tensor("f16", 4, "M")]
    op = fused("concat", types, lambda b, x, y: b.emit("concat", x, y, axis=1))
    for n, m in ((0, 7), (7, 0), (1, 2), (33, 40), (300, 70)):
        x, y = normal(66, 4, n), normal(67, 4, m)
        exact = np.concatenate([wide(x), wide(y)], 1)
        yield Case(f"{n} and {m} columns", op, [x, y], exact, 0.0, {"N": n, "M": m})
    ids = [np.arange(5, dtype=np.int32), np.arange(3, dtype=np.int32)]
    op = fused(
        "concat",
        [tensor("i32", 5), tensor("i32", 3)],
        lambda b, x, y: b.emit("concat", x, y, axis=0),
    )
    yield Case("whole numbers", op, ids, np.concatenate(ids))
    # pieces that are computed, one of them on axes that are cut finer
    for axis in (0, 2):
        for last in (6, 16):

            def pieces(b: Builder, x: Value, y: Value, axis: int = axis) -> Value:
                rows, middle, last = y.tensor.shape
                pairs = (rows, middle, last // 2, Dim.of(2))
                steps = (middle * last, last, Dim.of(2), Dim.of(0))
                first = b.emit("neg", view(b, y, pairs, steps, 1))
                turned = b.emit("add", first, view(b, y, pairs, (*steps[:3], 1)))
                made = b.emit("reshape", turned, shape=y.tensor.shape)
                return b.emit("concat", b.emit("add", x, x), made, axis=axis)

            x, y = normal(68, 3, 4, last), normal(69, 3, 4, last)
            op = fused("concat", [tensor("f16", "N", 4, last)] * 2, pieces)
            made = wide(y) - wide(y)[:, :, 1::2].repeat(2, -1)
            exact = np.concatenate([2 * wide(x), made], axis)
            yield Case(f"computed pieces, axis {axis}", op, [x, y], exact, 0.0, {"N": 3})


def side_by_side() -> Iterator[Case]:
    """Rows, and concatenations, of which one launch does two."""

    def normalised(b: Builder, x: Value, y: Value, gain: Value, bias: Value) -> list[Value]:
        return [_softmax(b, x), _layer_norm(b, y, gain, bias)]

    types = [tensor("f16", "M", "N"), tensor("f16", "P", "N"), tensor("f16", "N")]
    op = fused("row", [*types, types[-1]], normalised)
    for m, p, n in ((1, 1, 7), (3, 5, 64), (9, 2, 300)):
        x, y, gain, bias = normal(70, m, n), normal(71, p, n), normal(72, n), normal(73, n)
        centred = wide(y) - wide(y).mean(-1, keepdims=True)
        scale = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        exact = [_exact_softmax(wide(x)), centred * scale * wide(gain) + wide(bias)]
        # as for each of them alone
        most = 1 + np.abs(wide(y)).max()
        slack = [
            (8 + n) * EPS32 * exact[0],
            (16 + n) * EPS32 * scale * most * (np.abs(wide(gain)) + 1),
        ]
        sizes = {"M": m, "N": n, "P": p}
        yield Case(f"softmax and layer_norm, {sizes}", op, [x, y, gain, bias], exact, slack, sizes)

    def joined(b: Builder, k: Value, x: Value, v: Value, y: Value) -> list[Value]:
        pieces = (k, b.emit("add", x, x)), (v, y)
        return [b.emit("concat", *pair, axis=0) for pair in pieces]

    old, new = tensor("f16", "P", 6), tensor("f16", "N", 6)
    op = fused("concat", [old, new, old, new], joined)
    for p, n in ((0, 1), (5, 1), (40, 33)):
        k, x, v, y = normal(74, p, 6), normal(75, n, 6), normal(76, p, 6), normal(77, n, 6)
        exact = [np.concatenate([wide(k), 2 * wide(x)]), np.concatenate([wide(v), wide(y)])]
        sizes = {"P": p, "N": n}
        yield Case(f"two concatenations, {sizes}", op, [k, x, v, y], exact, [0.0, 0.0], sizes)
