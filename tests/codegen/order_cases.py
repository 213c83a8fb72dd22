"""Sample kernels that sort, add up along rows and replace rows, with their exact results."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from tests.codegen.running import EPS32, INF, NAN, Array, Case, fused, normal, view, wide
from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.types import tensor

SHAPES = ((1, 1), (2, 7), (3, 31), (7, 33), (31, 2), (5, 300))


def _places(x: Array, descending: bool) -> Array:
    """The indices of each row in order, by Python's sort: stable, NaN above all."""
    found = []
    for row in wide(x).tolist():
        keys = [(INF, 1) if v != v else (v, 0) for v in row]
        order = sorted(range(len(row)), key=keys.__getitem__, reverse=descending)
        found.append(order)
    return np.array(found, np.int32).reshape(x.shape)


def sorts(descending: bool = False) -> Iterator[Case]:
    """Rows with equals, infinities, zeros of both signs and NaN; sizes known at build or run."""
    for flat in (False, True):

        def order(b: Builder, x: Value, flat: bool = flat) -> Value:
            return b.emit("order", x, first=x.tensor.shape[-1], descending=descending, flat=flat)

        symbolic = fused("sort", [tensor("f16", "M", "N")], order)
        for m, n in SHAPES:
            for dtype in ("f16", "f32"):
                x = np.round(normal(1, m, n, dtype=dtype) * 4)
                x[0, :] = np.resize(np.array([NAN, -0.0, 0.0, INF, NAN, -INF], x.dtype), n)
                exact = _places(x, descending)
                if flat:
                    exact = exact + np.arange(m, dtype=np.int32)[:, None] * n
                static = fused("sort", [tensor(dtype, m, n)], order)
                yield Case(f"{dtype} [{m}, {n}] in order", static, [x], exact)
                if dtype == "f16":
                    sizes = {"M": m, "N": n}
                    yield Case(f"{sizes} in order", symbolic, [x], exact, 0.0, sizes)


def sorts_from_above() -> Iterator[Case]:
    """The same from the largest; equals keep their order."""
    yield from sorts(True)


def firsts() -> Iterator[Case]:
    """The first few of each row: of one, of all but one, sizes known at build or run."""

    def first(b: Builder, x: Value, k: Dim) -> Value:
        return b.emit("order", x, descending=True, flat=False, first=k)

    for m, n in SHAPES:
        for k in sorted({1, n // 2 + 1, max(n - 1, 1)}):
            x = np.round(normal(1, m, n) * 4)
            x[0, :] = np.resize(np.array([NAN, -0.0, 0.0, INF, NAN, -INF], x.dtype), n)
            exact = _places(x, True)[:, :k]
            static = fused("sort", [tensor("f16", m, n)], partial(first, k=Dim.of(k)))
            yield Case(f"[{m}, {n}], the first {k}", static, [x], exact)
            symbolic = fused("sort", [tensor("f16", "M", "N")], partial(first, k=Dim.of("K")))
            sizes = {"M": m, "N": n, "K": k}
            yield Case(f"{sizes}, the first", symbolic, [x], exact, 0.0, sizes)


def scans() -> Iterator[Case]:
    """Running sums along rows, also of a transposed operand."""

    def scan(b: Builder, x: Value) -> Value:
        return b.emit("running_sum", x)

    symbolic = fused("scan", [tensor("f16", "M", "N")], scan)
    for m, n in SHAPES:
        x, w = normal(2, m, n), normal(3, m, n, dtype="f32")
        for array, dtype in ((x, "f16"), (w, "f32")):
            exact = np.cumsum(wide(array), axis=1)
            # each of n additions is off by half a unit of the running sum at most
            slack = n * EPS32 * np.cumsum(np.abs(wide(array)), axis=1)
            op = fused("scan", [tensor(dtype, m, n)], scan)
            yield Case(f"sums of {dtype} [{m}, {n}]", op, [array], exact, slack)
        sizes = {"M": m, "N": n}
        exact = np.cumsum(wide(x), axis=1)
        slack = n * EPS32 * np.cumsum(np.abs(wide(x)), axis=1)
        yield Case(f"sums of {sizes}", symbolic, [x], exact, slack, sizes)
        down = fused(
            "scan",
            [tensor("f16", m, n)],
            lambda b, x, m=m, n=n: scan(b, view(b, x, (n, m), (1, n))),
        )
        exact = np.cumsum(wide(x).T, axis=1)
        slack = m * EPS32 * np.cumsum(np.abs(wide(x)).T, axis=1)
        yield Case(f"sums down [{m}, {n}]", down, [x], exact, slack)


def scatters() -> Iterator[Case]:
    """Rows replaced: of equal indices the last wins, negative ones count from the end."""

    def scatter(b: Builder, table: Value, ids: Value, rows: Value) -> Value:
        return b.emit("scatter", table, ids, rows)

    symbolic = fused(
        "scatter", [tensor("f16", "M", "N"), tensor("i32", "K"), tensor("f16", "K", "N")], scatter
    )
    for m, n in SHAPES:
        for count in (1, 3, 40):
            table, rows = normal(4, m, n), normal(5, count, n)
            ids = np.random.default_rng(count).integers(-m, m, count).astype(np.int32)
            exact = table.copy()
            for at, row in zip(ids, rows, strict=True):
                exact[at] = row
            given = [table, ids, rows]
            types = [tensor("f16", m, n), tensor("i32", count), tensor("f16", count, n)]
            name = f"{count} rows of [{m}, {n}]"
            yield Case(name, fused("scatter", types, scatter), given, wide(exact))
            sizes = {"M": m, "N": n, "K": count}
            yield Case(f"rows of {sizes}", symbolic, given, wide(exact), 0.0, sizes)
    table, rows = normal(6, 3, 4), normal(7, 1, 4)
    for id in (0, -3, 3, -4):
        ids = np.array([id], np.int32)
        sizes = {"M": 3, "N": 4, "K": 1}
        exact = np.concatenate([wide(rows), wide(table)[1:]]) if id in (0, -3) else wide(table)
        status = int(id in (3, -4))
        yield Case(f"row {id} of 3", symbolic, [table, ids, rows], exact, 0.0, sizes, status)
    for at in (0, 33, 150, 299):  # one that is wrong among many
        ids, rows = np.full(300, -1, np.int32), normal(7, 300, 4)
        ids[at] = 3
        exact = np.concatenate([wide(table)[:2], wide(rows)[[298 if at == 299 else 299]]])
        sizes = {"M": 3, "N": 4, "K": 300}
        name = f"a wrong index, number {at} of 300"
        yield Case(name, symbolic, [table, ids, rows], exact, 0.0, sizes, status=1)
    x = normal(8, 2, 3, 4, dtype="f32")
    op = fused(
        "scatter", [tensor("f32", 2, 3, 4), tensor("i32", 1), tensor("f32", 1, 3, 4)], scatter
    )
    exact = np.stack([x[0], x[0]])
    yield Case("a plane", op, [x, np.array([1], np.int32), x[:1]], wide(exact))
