"""Sample kernels of matrix products, with their exact results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tests.codegen.running import (
    EPS32,
    INF,
    NAN,
    Array,
    Case,
    fused,
    normal,
    view,
    wide,
)
from tlc.ir.builder import Builder
from tlc.ir.core import Op, Value
from tlc.ir.types import TensorType, tensor


def product_of(
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
    op = op or fused("matmul", types, nt_of if transposed else nn_of, ["f16", encoding or "f16"])
    return Case(name, op, [x, w if stored is None else stored], exact, slack, sizes or {})


def nt_of(b: Builder, x: Value, w: Value) -> Value:
    """The product with the transpose of w, as `linear` reads weights [out, in]."""
    *batch, n, k = w.tensor.shape
    steps = [n * k] if batch else []
    return b.emit("contract", x, view(b, w, (*batch, k, n), (*steps, 1, k)))


def nn_of(b: Builder, x: Value, w: Value) -> Value:
    return b.emit("contract", x, w)


ROWS = (1, 2, 3, 4, 5, 7, 31, 33, 130)


def products() -> Iterator[Case]:
    """Both layouts of the right operand, all sizes ragged in turn, static and symbolic."""
    symbols = [tensor("f16", "M", "K"), tensor("f16", "N", "K")]
    any_nt = fused("matmul", symbols, nt_of)
    any_nn = fused("matmul", [symbols[0], tensor("f16", "K", "N")], nn_of)
    batch_nt = fused("matmul", [tensor("f16", "M", 64), tensor("f16", 130, 64)], nt_of)
    batch_nn = fused("matmul", [tensor("f16", "M", 64), tensor("f16", 64, 130)], nn_of)
    sizes_k = (130, 64, 127, 1, 33, 2, 7, 31, 3)
    sizes_n = (7, 130, 1, 64, 33, 127, 2, 3, 31)
    for m, n, k in zip(ROWS, sizes_n, sizes_k, strict=True):
        x, w = normal(70, m, k), normal(71, n, k)
        wt = np.ascontiguousarray(w.T)
        what, sizes = f"[{m}, {k}] @ [{k}, {n}]", {"M": m, "N": n, "K": k}
        left, right = tensor("f16", m, k), tensor("f16", n, k)
        yield product_of(f"nt {what}", x, w, types=[left, right])
        yield product_of(f"nn {what}", x, wt, types=[left, tensor("f16", k, n)], transposed=False)
        yield product_of(f"nt {sizes}", x, w, types=[], op=any_nt, sizes=sizes)
        yield product_of(f"nn {sizes}", x, wt, types=[], op=any_nn, sizes=sizes, transposed=False)
    for m in ROWS:
        x, w = normal(72, m, 64), normal(73, 130, 64)
        wt = np.ascontiguousarray(w.T)
        yield product_of(f"nt M = {m}", x, w, types=[], op=batch_nt, sizes={"M": m})
        yield product_of(
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
        yield product_of(f"large nt {m, n, k}", x, w, types=[left, tensor("f16", n, k)])
        yield product_of(
            f"large nn {m, n, k}", x, wt, types=[left, tensor("f16", k, n)], transposed=False
        )


def batched_products() -> Iterator[Case]:
    """Batches, also with operands that lie in another order or are shared by the batch."""
    for m, n, k in ((1, 40, 33), (2, 7, 64), (9, 33, 40), (40, 64, 20)):
        x, w = normal(76, 3, m, k), normal(77, 3, n, k)
        wt = np.ascontiguousarray(w.swapaxes(1, 2))
        left = tensor("f16", 3, m, k)
        what = f"batch of 3, {m, n, k}"
        yield product_of(f"nt {what}", x, w, types=[left, tensor("f16", 3, n, k)])
        yield product_of(
            f"nn {what}", x, wt, types=[left, tensor("f16", 3, k, n)], transposed=False
        )
        # heads: [m, 3, k] read as [3, m, k], one w for all of them
        y = np.ascontiguousarray(x.swapaxes(0, 1))

        def heads(b: Builder, y: Value, w: Value, m: int = m, n: int = n, k: int = k) -> Value:
            left = view(b, y, (3, m, k), (k, 3 * k, 1))
            return b.emit("contract", left, view(b, w, (3, k, n), (0, 1, k)))

        op = fused("matmul", [tensor("f16", m, 3, k), tensor("f16", n, k)], heads)
        case = product_of(f"heads, {what}", x, np.stack([w[0]] * 3), types=[], op=op)
        case.inputs = [y, w[0]]
        yield case

        def across(b: Builder, x: Value, w: Value, m: int = m, n: int = n, k: int = k) -> Value:
            left = view(b, x, (m, k), (1, m))
            return b.emit("contract", left, view(b, w, (k, n), (2, 2 * k), 1))

        op = fused("matmul", [tensor("f16", k, m), tensor("f16", n, k, 2)], across)
        case = product_of(f"no neighbours, {m, n, k}", x[0], w[0], types=[], op=op)
        spread = np.stack([np.full_like(w[0], NAN), w[0]], -1)
        case.inputs = [np.ascontiguousarray(x[0].T), spread]
        yield case


def float_products() -> Iterator[Case]:
    """float32 operands on either side or both."""
    for m, n, k in ((1, 33, 70), (3, 40, 33), (20, 33, 40), (40, 65, 130)):
        for left, right in (("f32", "f32"), ("f16", "f32"), ("f32", "f16")):
            x, w = normal(86, m, k, dtype=left), normal(87, n, k, dtype=right)
            what = f"{left} {right} {m, n, k}"
            types = [tensor(left, m, k), tensor(right, n, k)]
            op = fused("matmul", types, nt_of, [left, right])
            yield product_of(f"nt {what}", x, w, types=[], op=op)
            op = fused("matmul", [types[0], tensor(right, k, n)], nn_of, [left, right])
            wt = np.ascontiguousarray(w.T)
            yield product_of(f"nn {what}", x, wt, types=[], op=op, transposed=False)


def epilogues() -> Iterator[Case]:
    """What follows a product: bias, activation, residual, scale, mask, another dtype."""

    def block(b: Builder, x: Value, w: Value, bias: Value, residual: Value, gain: Value) -> Value:
        product = b.f32(nt_of(b, x, w))
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
        s = nt_of(b, q, k)
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
            op = fused("matmul", types, nt_of)
            yield Case(f"{k} ones, M = {m}", op, ones, np.full((m, 20), float(k)))
            types[1] = tensor("f16", k, 20)
            op = fused("matmul", types, nn_of)
            inputs = [ones[0], np.ascontiguousarray(ones[1].T)]
            yield Case(f"{k} ones down, M = {m}", op, inputs, np.full((m, 20), float(k)))
        x = np.tile(np.array([256, 256, -256, -256], np.float16), (m, 40))
        w = np.full((20, 160), 256, np.float16)
        op = fused("matmul", [tensor("f16", m, 160), tensor("f16", 20, 160)], nt_of)
        yield Case(f"65536 cancels, M = {m}", op, [x, w], np.zeros((m, 20)))
        x, w = normal(100, m, 48), normal(101, 20, 48)
        x[0, 5], w[3, 7], w[4, 9] = NAN, INF, -INF
        op = fused("matmul", [tensor("f16", m, 48), tensor("f16", 20, 48)], nt_of)
        with np.errstate(all="ignore"):
            exact = wide(x) @ wide(w).T
            size = np.abs(np.nan_to_num(wide(x), posinf=0, neginf=0)) @ np.ones((48, 20)) * 8
        yield Case(f"NaN and infinities, M = {m}", op, [x, w], exact, 64 * EPS32 * size)
        none = fused("matmul", [tensor("f16", "M", "K"), tensor("f16", "N", "K")], nt_of)
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
            yield _finite_slack(product_of(f"{what} nt, {m, n, k}", a, b, types=types))
            types[1] = tensor("f16", k, n)
            turned = np.ascontiguousarray(b.T)
            case = product_of(f"{what} nn, {m, n, k}", a, turned, types=types, transposed=False)
            yield _finite_slack(case)


def _finite_slack(case: Case) -> Case:
    case.slack = np.nan_to_num(case.slack, nan=0.0, posinf=0.0)
    return case
