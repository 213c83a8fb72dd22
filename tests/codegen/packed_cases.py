"""Sample kernels of products with block-quantised weights, with their exact results."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.codegen.product_cases import nn_of, nt_of, product_of
from tests.codegen.running import EPS32, Array, Case, fused, normal, packed, view, wide
from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.formats import PACKED
from tlc.ir.types import tensor


def by_integers(x: Array, w: Array, part: int) -> Array:
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
        nt = fused("matmul", [tensor("f16", "M", k), right], nt_of, ["f16", encoding])
        nn = fused("matmul", [tensor("f16", "M", n), right], nn_of, ["f16", encoding])
        blocks, w = packed(80, n, k, encoding)
        for m in (1, 3, 4, 9, 40):
            sizes = {"M": m}
            x = normal(81, m, k)
            case = product_of(
                f"{encoding} nt {sizes}", x, w, types=[], op=nt, sizes=sizes, stored=blocks
            )
            case.rough = by_integers(x, w, record.part)
            yield case
            yield product_of(
                f"{encoding} nn {sizes}", normal(82, m, n), w,
                types=[], op=nn, sizes=sizes, stored=blocks, transposed=False,
            )  # fmt: skip

        # columns 8 to 47 of the weights: rows no longer start with a block
        def inner(b: Builder, x: Value, w: Value, n: int = n, k: int = k) -> Value:
            return b.emit("contract", x, view(b, w, (40, n), (1, k), 8))

        for m in (2, 6):
            x = normal(83, m, 40)
            op = fused("matmul", [tensor("f16", m, 40), right], inner, ["f16", encoding])
            yield product_of(
                f"{encoding} inner columns, M = {m}", x, w[:, 8:48], types=[], op=op, stored=blocks
            )
        x = normal(84, 1, 4864)  # longer than what is held of a left row at a time
        blocks, w = packed(85, 19, 4864, encoding)
        types = [tensor("f16", 1, 4864), tensor("f16", 19, 4864)]
        what = f"{encoding} long rows"
        case = product_of(what, x, w, types=types, stored=blocks, encoding=encoding)
        case.rough = by_integers(x, w, record.part)
        yield case
        # what is left of two weights shows how each was rounded; sums of zeros are not
        x = np.zeros((1, 4864), np.float16)
        x[0, 5], x[0, 6] = 1, -1
        what = f"{encoding} differences of weights"
        case = product_of(what, x, w, types=[], stored=blocks, op=case.op)
        case.slack = 4 * EPS32 * (np.abs(wide(x)) @ np.abs(wide(w)).T)
        case.rough = by_integers(x, w, record.part)
        yield case
