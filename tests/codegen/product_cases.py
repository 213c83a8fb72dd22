"""Sample kernels of matrix products, with their exact results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tests.codegen.running import (
    EPS32,
    INF,
    NAN,
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
from tlc.ir.dims import Dim, DimLike
from tlc.ir.formats import PACKED
from tlc.ir.types import TensorType, tensor


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
        (1, 704, 640),  # as many columns at once as are worth it would be no multiple of 8
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


def _by_integers(x: Array, w: Array, part: int) -> Array:
    """How far a product by integers may be from x @ w.T, as templates/products.cpu.metal.j2 says.

    Sums of it cancel: what is multiplied is up to 4 times the weight (the bytes of q8_0, 0 to 255,
    less 128), which rounds 2 * 4 times as much as x @ w.T in each of its additions.
    """
    n, k = w.shape
    size = np.abs(wide(w))
    largest = np.abs(wide(x)).reshape(-1, k // part, part).max(-1)
    sums = largest @ size.reshape(n, k // part, part).sum(-1).T
    most: Array = np.abs(wide(x)) @ size.reshape(n, k // part, part).max(-1).repeat(part, 1).T
    return np.abs(wide(x)) @ size.T * 2.0**-11 + sums * 2.0**-14 + k * EPS32 * 8 * most


def packed_products() -> Iterator[Case]:
    """Block-quantised weights in both layouts, few rows and many."""
    for encoding, record in PACKED.items():
        k, n = (96, 70) if record.block == 32 else (512, 37)
        right = tensor("f16", n, k)
        nt = fused("matmul", [tensor("f16", "M", k), right], _nt, ["f16", encoding])
        nn = fused("matmul", [tensor("f16", "M", n), right], _nn, ["f16", encoding])
        blocks, w = packed(80, n, k, encoding)
        for m in (1, 3, 4, 9, 40):
            sizes = {"M": m}
            x = normal(81, m, k)
            case = _product(
                f"{encoding} nt {sizes}", x, w, types=[], op=nt, sizes=sizes, stored=blocks
            )
            case.rough = _by_integers(x, w, record.part)
            yield case
            yield _product(
                f"{encoding} nn {sizes}", normal(82, m, n), w,
                types=[], op=nn, sizes=sizes, stored=blocks, transposed=False,
            )  # fmt: skip

        # columns 8 to 47 of the weights: rows no longer start with a block
        def inner(b: Builder, x: Value, w: Value, n: int = n, k: int = k) -> Value:
            return b.emit("contract", x, view(b, w, (40, n), (1, k), 8))

        for m in (2, 6):
            x = normal(83, m, 40)
            op = fused("matmul", [tensor("f16", m, 40), right], inner, ["f16", encoding])
            yield _product(
                f"{encoding} inner columns, M = {m}", x, w[:, 8:48], types=[], op=op, stored=blocks
            )
        x = normal(84, 1, 4864)  # longer than what is held of a left row at a time
        blocks, w = packed(85, 19, 4864, encoding)
        types = [tensor("f16", 1, 4864), tensor("f16", 19, 4864)]
        what = f"{encoding} long rows"
        case = _product(what, x, w, types=types, stored=blocks, encoding=encoding)
        case.rough = _by_integers(x, w, record.part)
        yield case


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


def products_of_the_same_rows() -> Iterator[Case]:
    """Several products in one launch, each with a result and an epilogue of its own."""

    def three(b: Builder, x: Value, *weights: Value) -> list[Value]:
        made = [_nt(b, x, w) for w in weights[:2]] + [_nn(b, x, weights[2])]
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
        return [_nt(b, x, w) for w in weights]

    for m in (1, 30):
        x = normal(89, m, 256)
        types = [tensor("f16", m, 256), tensor("f16", 40, 256), tensor("f16", 24, 256)]
        op = fused("matmul", types, two, ["f16", "q4_k", "q6_k"])
        numbers = [wide(q_numbers).T, wide(k_numbers).T]
        exact = [wide(x) @ w for w in numbers]
        slack = [
            256 * EPS32 * (np.abs(wide(x)) @ np.abs(w)) + _by_integers(x, w.T, part)
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
        op = fused("matmul", [left, right, right], gated(_nt))
        yield case("nt", op, [x, *weights], [w.T for w in weights], m)
        turned = [np.ascontiguousarray(w.T) for w in weights]
        right = tensor("f16", 66, n)
        op = fused("matmul", [left, right, right], gated(_nn))
        yield case("nn", op, [x, *turned], turned, m)
    (one, first), (other, second) = packed(98, 40, 256, "q4_0"), packed(99, 40, 256, "q4_0")
    for m in (1, 40):
        x = normal(98, m, 256)
        types = [tensor("f16", m, 256), *[tensor("f16", 40, 256)] * 2]
        op = fused("matmul", types, gated(_nt), ["f16", "q4_0", "q4_0"])
        made = case("q4_0", op, [x, one, other], [first.T, second.T], m)
        each = [_by_integers(x, w, 32) for w in (first, second)]
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
        read = _nt if turned else _nn

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
                slack = [s + _by_integers(left, w, 32) for s, w in zip(slack, weights, strict=True)]
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
    for m in (1, 6, 40):
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


def numbers_that_are_not_finite() -> Iterator[Case]:
    """Infinities and NaN in one operand, in a late tile: they reach their own sums alone."""
    for m, n, k in ((40, 70, 300), (33, 40, 600)):
        x, w = normal(110, m, k), normal(111, n, k)
        left, right = x.copy(), w.copy()
        left[m - 3, k - 20], left[2, 1] = INF, NAN
        right[n - 3, k - 20], right[n - 2, 4], right[n - 5, k - 1] = -INF, NAN, INF
        for what, a, b in (("rows", left, w), ("columns", x, right), ("both", left, right)):
            types = [tensor("f16", m, k), tensor("f16", n, k)]
            yield _finite_slack(_product(f"{what} nt, {m, n, k}", a, b, types=types))
            types[1] = tensor("f16", k, n)
            turned = np.ascontiguousarray(b.T)
            case = _product(f"{what} nn, {m, n, k}", a, turned, types=types, transposed=False)
            yield _finite_slack(case)


def _finite_slack(case: Case) -> Case:
    case.slack = np.nan_to_num(case.slack, nan=0.0, posinf=0.0)
    return case
