"""Sample kernels of attention, with their exact results."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tests.codegen.running import EPS32, Array, Case, normal, size, wide
from tests.ir.kernels import kernels, optimised

Keep = Callable[[Array, Array, int], Array]

# how a mask is written, and which columns j of a row i it keeps; gap is M - N
MASKS: dict[str, tuple[str, Keep | None]] = {
    "none": ("", None),
    "causal": (", causal_mask(N, M)", lambda i, j, gap: j <= i + gap),
    "offset": (
        ", unsqueeze(arange([N]) as float32, 1) + 2.0 >= (arange([M]) as float32)",
        lambda i, j, gap: j <= i + 2,
    ),
    "window": (
        ", combine_masks(causal_mask(N, M), (arange([M]) as float32) + N + 5.0"
        " > unsqueeze(arange([N]) as float32, 1) + M)",
        lambda i, j, gap: (j <= i + gap) & (j > i + gap - 5),
    ),
}
SPELLED = {"f16": "float16", "f32": "float32"}


def exact_attention(
    q: Array, k: Array, v: Array, scale: float, mask: Array | None = None, bias: Array | None = None
) -> tuple[Array, Array]:
    """softmax(q k^T * scale + bias where mask) v for [seq, heads, hd], and how far float32 is off.

    A score is off by a unit for each of its terms and its bias; weights by that and by exp, which
    is off by 4 + |x| units where |x| exp(x) < 1; their sums by a unit per key. Without keys all is
    0.
    """
    if not len(k):
        return np.zeros((*q.shape[:2], v.shape[-1])), np.zeros(1)
    heads = [wide(x).transpose(1, 0, 2) for x in (q, k, v)]
    q, k, v = (heads[0], *(x.repeat(len(heads[0]) // len(x), 0) for x in heads[1:]))
    with np.errstate(all="ignore"):
        scores = q @ k.transpose(0, 2, 1) * scale
        scores = scores if bias is None else scores + bias
        scores = scores if mask is None else np.where(mask, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        terms = np.nan_to_num((np.abs(q) @ np.abs(k).transpose(0, 2, 1)) * abs(scale), posinf=0)
        off = 2 * (q.shape[-1] + 8) * terms.max() + k.shape[1] + 40
        if bias is not None:
            off += 2 * np.abs(bias[np.isfinite(bias)]).max()
        return (weights @ v).transpose(1, 0, 2), off * EPS32 * np.abs(v).max()


def masked(dtype: str, heads: int, groups: int, depth: int, width: int, mask: str) -> list[Case]:
    """The builtin with one mask, for many numbers of queries and keys, from one kernel."""
    text, keep = MASKS[mask]
    spelled = SPELLED[dtype]
    func = optimised(
        f"fn f(q: {spelled}[N, {heads}, {depth}], k: {spelled}[M, {groups}, {depth}],"
        f" v: {spelled}[M, {groups}, {width}]) {{ attention(q, k, v{text}) }}"
    )
    (op,) = kernels(func)
    cases = []
    some = (1, 1), (1, 2), (2, 3), (3, 2), (7, 31), (31, 7), (33, 33), (1, 130), (70, 300)
    for n, m, what in (*((*s, "") for s in some), (2, 0, ""), (5, 9, ", far below 0")):
        q, k = normal(90, n, heads, depth, dtype=dtype), normal(91, m, groups, depth, dtype=dtype)
        v = normal(92, m, groups, width, dtype=dtype)
        if what:  # all scores are hundreds apart and from 0
            q, k = np.abs(q) * q.dtype.type(-256), np.abs(k)
        kept = keep and keep(np.arange(n)[:, None], np.arange(m)[None], m - n)
        exact, slack = exact_attention(q, k, v, 1 / np.sqrt(depth), kept)
        stored = dict(zip(func.params, (q, k, v), strict=True))
        sizes = {"N": n, "M": m}
        shape = [size(d, sizes) for d in op.result.tensor.shape]
        name = f"attention {mask} {dtype} {heads}/{groups} heads, {n} queries, {m} keys{what}"
        inputs = [stored[value] for value in op.operands]
        cases.append(Case(name, op, inputs, exact.reshape(shape), slack, sizes))
    return cases


def attentions() -> Iterator[Case]:
    """Masks, shared heads, heads of all sizes, both dtypes."""
    shapes = (("f16", 4, 2, 64, 64), ("f32", 8, 1, 20, 33), ("f16", 2, 2, 128, 16))
    for mask, shape in zip(MASKS, (*shapes, ("f32", 3, 3, 5, 256)), strict=True):
        yield from masked(*shape, mask)
    yield from masked("f16", 14, 2, 256, 80, "causal")
    yield from masked("f32", 5, 1, 16, 16, "window")


def special_scores() -> Iterator[Case]:
    """NaN and infinity in queries, keys and biases: in their rows, and in no others; rows of scores
    that are far below 0 and from each other; no keys at all; three blocks of keys without what
    makes all of a row NaN, in which the largest score comes late, or is far above the others."""
    func = optimised(
        "fn f(q: float32[N, 1, 40], k: float32[M, 1, 40], v: float32[M, 1, 40], b: float32[N, M])"
        " { let scores = q[:, 0, :] @ k[:, 0, :].T + b\n"
        " softmax(apply_attention_mask(scores, causal_mask(N, M))) @ v[:, 0, :] }"
    )
    (op,) = kernels(func)
    for n, m in ((5, 5), (40, 40), (150, 300), (9, 4), (3, 0), (6, 33), (37, 70)):
        for number in (0.0,) if (n, m) in ((3, 0), (37, 70)) else (np.nan, np.inf, -np.inf):
            arrays = [normal(93, s, 1, 40, dtype="f32") for s in (n, m, m)]
            bias = normal(94, n, m, dtype="f32")
            if m:
                arrays[0][n // 3, 0, 2] = arrays[1][m // 2, 0, 1] = number
                bias[n - 1, m // 3] = number
                bias[n // 2, :] = -np.inf
                bias[n - 2, :] = 128.0 * (np.arange(m) % 3) - 512.0
            if m > n and number == 0:
                bias[8:16, 40:] += 300.0
                bias[20, np.arange(m) != 5] -= 300.0
            keep = np.arange(m)[None] <= np.arange(n)[:, None] + m - n
            exact, slack = exact_attention(*arrays, 1.0, keep, wide(bias))
            stored = dict(zip(func.params, (*arrays, bias), strict=True))
            inputs = [stored[value] for value in op.operands]
            name = f"{number} among {n} queries and {m} keys"
            yield Case(name, op, inputs, exact[:, 0], slack, {"N": n, "M": m})


def appending() -> Iterator[Case]:
    """A new row of keys and one of values, computed and appended where the others are: for few rows
    that share a head, by copies of it, and for many."""
    shapes = (
        ("f16", 4, 2, 20, 33),
        ("f32", 6, 3, 64, 16),
        ("f16", 3, 3, 8, 8),
        ("f16", 6, 2, 70, 41),
    )
    for dtype, heads, groups, depth, width in (*shapes, ("f16", 16, 2, 36, 40)):
        t = SPELLED[dtype]
        func = optimised(
            f"fn f(q: {t}[1, {heads}, {depth}], old_k: {t}[M, {groups}, {depth}],"
            f" old_v: {t}[M, {groups}, {width}], k: {t}[1, {groups}, {depth}],"
            f" v: {t}[1, {groups}, {width}], b: {t}[{depth}, {groups}]) {{\n"
            "let keys = concat(old_k, k * 0.5 + b.T, 0)\nlet values = concat(old_v, v, 0)\n"
            "(attention(q, keys, values), keys, values) }"
        )
        op = next(op for op in kernels(func) if op.attrs["family"] == "attention")
        for m in (0, 1, 7, 40, 130):
            q, old_k = normal(95, 1, heads, depth, dtype=dtype), normal(96, m, groups, depth)
            old_v, v = normal(97, m, groups, width), normal(98, 1, groups, width)
            # quarters, so that what is computed of them is exact
            k, b = (np.round(4 * normal(99, *s)) / 4 for s in ((1, groups, depth), (depth, groups)))
            keys = np.concatenate([wide(old_k), wide(k) / 2 + wide(b).T[None]])
            values = np.concatenate([wide(old_v), wide(v)])
            exact, slack = exact_attention(q, keys, values, 1 / np.sqrt(depth))
            arrays = [x.astype(q.dtype) for x in (q, old_k, old_v, k, v, b)]
            stored = dict(zip(func.params, arrays, strict=True))
            there = [op.operands.index(value) for value in func.params[1:3]]
            grown = dict(zip(func.results[1:], (keys, values), strict=True))
            numbers = [op.results.index(value) for value in func.results[1:]]
            yield Case(
                f"{dtype} {heads}/{groups} heads of {depth} and {width}, 1 more than {m} keys",
                op,
                [stored[value] for value in op.operands],
                [exact.reshape([size(d, {"M": m}) for d in op.results[0].tensor.shape])]
                + [grown[value] for value in op.results[1:]],
                [slack, 0.0, 0.0],
                {"M": m},
                there=dict(zip(numbers, there, strict=True)),
            )
