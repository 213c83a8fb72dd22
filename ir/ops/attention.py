"""Attention as a composition: masks, rotary positions, and the product of queries, keys, values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.opdef import Sample, TypeRuleError, compose
from tlc.ir.ops.elementwise import in_f32
from tlc.ir.types import FLOATS, TensorType, show_shape, tensor

LAYOUTS = ("interleaved", "half")

# ---- masks ---------------------------------------------------------------------------------------


def _causal_mask(b: Builder, n: Dim, m: Dim | None = None, window: Dim | None = None) -> Value:
    """Sizes are added on both sides, so that none of them is negative."""
    m = n if m is None else m
    type = TensorType("f32", (n, m))
    row, column = (b.emit("iota", type=type, axis=axis) for axis in (0, 1))
    last = b.emit("add", row, b.scalar(m, row))
    kept = b.emit("le", b.emit("add", column, b.scalar(n, column)), last)
    if window is None:
        return kept
    near = b.emit("gt", b.emit("add", column, b.scalar(n + window, column)), last)
    return b.emit("and", kept, near)


compose(
    "causal_mask",
    "A mask [n, m], m = n when left out: row i keeps the columns up to i + (m - n), so that the"
    " last row keeps all; with a window only the last so many of them.",
    _causal_mask,
    params="n: dim, m: dim = none, window: dim = none",
    sample=(
        Sample((), {"n": Dim.of(3), "m": Dim.of(5)}),
        Sample((), {"n": Dim.of(4)}),
        Sample((), {"n": Dim.of(3), "m": Dim.of(5), "window": Dim.of(2)}),
    ),
)


def as_mask(b: Builder, mask: Value, at: int = 0) -> Value:
    """Truth values as they are, numbers as whether they are not 0. `at` is the operand's number."""
    match mask.tensor.dtype:
        case "bool":
            return mask
        case dtype if dtype in FLOATS:
            return b.emit("ne", mask, b.scalar(0.0, mask))
    raise TypeRuleError(f"a mask is needed, and this is {mask.type}", "E0302", (at,))


def _masked(b: Builder, scores: Value, mask: Value) -> Value:
    """-inf where the mask does not hold."""
    if scores.tensor.dtype not in FLOATS:
        raise TypeRuleError(
            f"a floating-point tensor is needed, and this is {scores.type}", "E0302", (0,)
        )
    scores, kept = b.together(scores, as_mask(b, mask, 1))
    return b.emit("where", kept, scores, b.scalar(-math.inf, scores))


compose(
    "apply_attention_mask",
    "The scores where the mask holds (or is not 0), -inf elsewhere.",
    _masked,
    params="scores, mask",
    sample=(Sample((tensor("f16", 2, 3, 4), tensor("f16", 3, 4)), {}, 0.5, 2.0),),
)


def _padding_mask(b: Builder, lengths: Value, n: Dim) -> Value:
    if lengths.tensor.dtype != "i32":
        raise TypeRuleError(
            f"lengths are whole numbers, and this is {lengths.type}",
            "E0302",
            (0,),
            "write the lengths as `tensor<int>([1, 2, 3])`",
        )
    shape = (*lengths.tensor.shape, n)
    ends = b.broadcast(b.reshape(lengths, (*lengths.tensor.shape, 1)), shape)
    return b.emit("lt", b.emit("iota", type=ends.tensor, axis=len(shape) - 1), ends)


compose(
    "padding_mask",
    "A mask with a row of n for each length: it keeps the columns before the length.",
    _padding_mask,
    params="lengths: tensor_i32, n: dim",
    sample=(Sample((tensor("i32", 3),), {"n": Dim.of(4)}, 0, 4),),
)


def _combine_masks(b: Builder, first: Value, second: Value) -> Value:
    return b.binary("and", as_mask(b, first), as_mask(b, second, 1))


compose(
    "combine_masks",
    "A mask that keeps what both masks keep.",
    _combine_masks,
    params="a, b",
    sample=(Sample((tensor("bool", 3, 4), tensor("bool", 4)), {}),),
)

# ---- rotary positions ----------------------------------------------------------------------------


def _rates(b: Builder, shape: Sequence[Dim], base: float) -> Value:
    """base^(-i / half) along the last axis of a shape, in float32."""
    pair = b.emit("iota", type=TensorType("f32", tuple(shape)), axis=len(shape) - 1)
    power = b.emit("mul", pair, b.scalar(-math.log(base), pair))
    return b.emit("exp", b.emit("div", power, b.scalar(shape[-1], pair)))


def _half_of(size: Dim, at: int, what: str) -> Dim:
    if size.is_static and int(size) % 2:
        raise TypeRuleError(f"{what} is turned in pairs, and its size is {size}", "E0301", (at,))
    return size // 2


def _positive(base: float) -> None:
    if not base > 0:
        raise TypeRuleError(
            f"the base of rotary positions is positive, and this is {base}", "E0303"
        )


def _table(function: str) -> Callable[..., Value]:
    def expand(b: Builder, n: Dim, dim: Dim, base: float = 10000.0) -> Value:
        _positive(base)
        rates = _rates(b, (n, _half_of(dim, 0, "the dimension")), base)
        position = b.emit("iota", type=rates.tensor, axis=0)
        return b.cast(b.emit(function, b.emit("mul", position, rates)), "f16")

    return expand


for _function in ("cos", "sin"):
    compose(
        f"precompute_rope_{_function}",
        f"[n, dim / 2]: the {_function}e of position * base^(-2 i / dim).".replace(
            "cose", "cosine"
        ),
        _table(_function),
        params="n: dim, dim: dim, base: float = 10000",
        sample=(Sample((), {"n": Dim.of(3), "dim": Dim.of(4)}),),
    )


def _positions(b: Builder, pos: Value, shape: tuple[Dim, ...]) -> Value:
    """Positions along the second axis of [2, seq, half], in float32: as given, or counted from one
    given position."""
    given, seq = pos.tensor, shape[1]
    if given.dtype != "i32":
        raise TypeRuleError(f"positions are whole numbers, and this is {pos.type}", "E0302", (1,))
    if given.numel == Dim.of(1):
        counted = b.emit("iota", type=TensorType("f32", shape), axis=1)
        return b.emit("add", counted, b.f32(b.broadcast(b.reshape(pos, ()), shape)))
    if given.shape != (seq,):
        raise TypeRuleError(
            f"a first position or [seq] of them is needed, here [{seq}], and this is {pos.type}",
            "E0301",
            (1, 0),
        )
    return b.f32(b.broadcast(b.reshape(pos, (1, seq, 1)), shape))


def _cos_sin(b: Builder, pos: Value, seq: Dim, half: Dim, base: float) -> Value:
    """[2, seq, half]: the cosines, then the sines, of position * base^(-i / half); one kernel."""
    shape = (Dim.of(2), seq, half)
    angle = b.emit("mul", _positions(b, pos, shape), _rates(b, shape, base))
    which = b.emit("iota", type=angle.tensor, axis=0)
    is_cos = b.emit("lt", which, b.scalar(0.5, which))
    return b.emit("where", is_cos, b.emit("cos", angle), b.emit("sin", angle))


def _part(b: Builder, x: Value, axis: int, at: int) -> Value:
    """One place along an axis, which stays with size 1."""
    return b.emit("slice", x, axis=axis, start=Dim.of(at), length=Dim.of(1))


def _rope(
    b: Builder, x: Value, pos: Value, base: float = 10000.0, layout: str = "interleaved"
) -> Value:
    if x.tensor.rank != 3:
        text = f"`rope` turns [seq, heads, hd], and this is {show_shape(x.tensor.shape)}"
        raise TypeRuleError(text, "E0301", (0,))
    if layout not in LAYOUTS:
        raise TypeRuleError(f"a layout is {' or '.join(LAYOUTS)}, and this is {layout}", "E0303")
    _positive(base)
    seq, heads, size = x.tensor.shape
    half = _half_of(size, 0, "a head")
    table = _cos_sin(b, pos, seq, half, base)
    # pairs along an axis of their own: (seq, heads, half, 2), or (seq, heads, 2, half)
    axis = 3 if layout == "interleaved" else 2
    shape = [seq, heads, half]
    shape.insert(axis, Dim.of(2))
    flat = [seq, Dim.of(1), half]
    flat.insert(axis, Dim.of(1))
    cos, sin = (b.broadcast(b.reshape(_part(b, table, 0, at), flat), shape) for at in (0, 1))
    pairs = b.reshape(x, shape)
    first, second = (b.broadcast(_part(b, pairs, axis, at), shape) for at in (0, 1))
    which = b.emit("iota", type=pairs.tensor, axis=axis)
    is_first = b.emit("lt", which, b.scalar(0.5, which))
    other = b.emit("where", is_first, b.emit("neg", second), first)
    turned = b.emit("add", b.emit("mul", pairs, cos), b.emit("mul", other, sin))
    return b.reshape(turned, x.tensor.shape)


compose(
    "rope",
    "Rotary positions of [seq, heads, hd] (Su et al. 2021): pair i of a head is turned by"
    " position * base^(-2 i / hd). `pos` is the first position, or a position for each row of x."
    " Pairs are neighbours, or elements i and i + hd / 2 with `layout: half`.",
    in_f32(_rope),
    params="x, pos: tensor_i32, base: float = 10000, layout: str = interleaved",
    sample=(
        Sample((tensor("f16", 3, 2, 4), tensor("i32")), {}, 0, 5),
        Sample((tensor("f16", 3, 2, 4), tensor("i32", 3)), {"layout": "half"}, 0, 5),
    ),
)

# ---- attention -----------------------------------------------------------------------------------


def _attention(
    b: Builder, q: Value, k: Value, v: Value, mask: Value | None = None, scale: float | None = None
) -> Value:
    for at, x in enumerate((q, k, v)):
        if x.tensor.dtype not in FLOATS:
            raise TypeRuleError(
                f"a floating-point tensor is needed, and this is {x.type}", "E0302", (at,)
            )
        if x.tensor.rank != 3:
            raise TypeRuleError(
                f"`attention` works on [seq, heads, hd], and this is {show_shape(x.tensor.shape)}",
                "E0301",
                (at,),
            )
    rows, heads, size = q.tensor.shape
    columns, shared, key_size = k.tensor.shape
    if key_size != size:
        raise TypeRuleError(
            f"queries of size {size} and keys of size {key_size} have no product", "E0301", (0, 1)
        )
    if v.tensor.shape[:2] != (columns, shared):
        raise TypeRuleError(
            f"keys are {show_shape(k.tensor.shape)} and values {show_shape(v.tensor.shape)}:"
            " the first two dimensions differ",
            "E0301",
            (1, 2),
        )
    group = Dim.of(1) if shared == Dim.of(0) else heads // shared
    uneven = f"{heads} heads of queries do not share {shared} heads of keys evenly"
    if heads.is_static and shared.is_static and group * shared != heads:
        raise TypeRuleError(uneven, "E0301", (0, 1))
    b.check(group * shared, heads, uneven)
    if scale is None and size.is_static:
        scale = 1 / math.sqrt(max(1, int(size)))
    # the heads that share keys stand below one another as rows of one product; products with
    # float32 on the left are float32
    queries = b.emit("permute", b.reshape(q, (rows, shared, group, size)), axes=(1, 2, 0, 3))
    queries = b.f32(b.reshape(queries, (shared, group * rows, size)))
    scores = b.emit("contract", queries, b.emit("permute", k, axes=(1, 2, 0)))
    if scale is None:
        root = b.emit("rsqrt", b.constant(size, TensorType("f32", ())))
        scores = b.binary("mul", scores, root)
    else:
        scores = b.emit("mul", scores, b.scalar(scale, scores))
    scores = b.reshape(scores, (shared, group, rows, columns))
    if mask is not None:
        scores = _masked(b, scores, _of_heads(b, mask, shared, group))
    if scores.tensor.shape != (shared, group, rows, columns):
        raise TypeRuleError(
            f"the mask has shape {show_shape(_shape(mask))}, and the scores are"
            f" {show_shape((heads, rows, columns))}",
            "E0301",
            (3, 0),
        )
    weights = b.emit("softmax", scores, dim=-1)
    mixed = b.emit(
        "contract",
        b.reshape(weights, (shared, group * rows, columns)),
        b.emit("permute", v, axes=(1, 0, 2)),
    )
    width = v.tensor.shape[2]
    mixed = b.cast(mixed, q.tensor.dtype)
    mixed = b.emit("permute", b.reshape(mixed, (shared, group, rows, width)), axes=(2, 0, 1, 3))
    return b.reshape(mixed, (rows, heads, width))


def _shape(mask: Value | None) -> tuple[Dim, ...]:
    return () if mask is None else mask.tensor.shape


def _of_heads(b: Builder, mask: Value, shared: Dim, group: Dim) -> Value:
    """A mask of [heads, rows, columns] as [shared, group, rows, columns]; others as they are."""
    if mask.tensor.rank != 3:
        return mask
    heads, *rest = mask.tensor.shape
    if heads == Dim.of(1):
        return mask
    if heads != shared * group:
        raise TypeRuleError(
            f"the mask is for {heads} heads, and there are {shared * group}", "E0301", (3, 0)
        )
    return b.reshape(mask, (shared, group, *rest))


compose(
    "attention",
    "softmax(q k^T * scale) v for each head of [seq, heads, hd]; scale is 1 / sqrt(hd) when left"
    " out. Fewer heads of k and v are shared by neighbouring heads of q. A mask [rows, columns], or"
    " one for each head, drops scores before the softmax.",
    _attention,
    params="q, k, v, mask = none, scale: float = none",
    sample=(Sample((tensor("f16", 3, 4, 2), tensor("f16", 5, 2, 2), tensor("f16", 5, 2, 3)), {}),),
)
