"""MIL's layers of matrix products: linear, matmul, einsum, attention."""

from __future__ import annotations

import math

from tlc.ir.core import Value
from tlc.ir.coreml.mil import Lowered, Maker, mil
from tlc.ir.dims import product


@mil("linear", "x, weight, bias: any = none")
def _linear(m: Maker, x: Value, weight: Value, bias: Lowered) -> Value:
    """x times the transpose of the weights [out, in]."""
    flat = x
    if x.tensor.rank > 2:
        flat = m.b.reshape(x, (product(x.tensor.shape[:-1]), x.tensor.shape[-1]))
    operands = [flat, weight] if bias is None else [flat, weight, m.tensor(bias)]
    found = m.b.emit("linear", *operands)
    return m.b.reshape(found, (*x.tensor.shape[:-1], weight.tensor.shape[0]))


def _turned(m: Maker, x: Value, turn: bool) -> Value:
    return m.b.emit("transpose", x) if turn and x.tensor.rank > 1 else x


@mil("matmul", "x, y, transpose_x: bool = false, transpose_y: bool = false")
def _matmul(m: Maker, x: Value, y: Value, transpose_x: bool, transpose_y: bool) -> Value:
    return m.b.emit("matmul", _turned(m, x, transpose_x), _turned(m, y, transpose_y))


@mil("einsum", "values: tensors, equation: str")
def _einsum(m: Maker, values: list[Value], equation: str) -> Value:
    return m.b.emit("einsum", *values, spec=equation)


@mil("scaled_dot_product_attention", "query, key, value, attn_mask: any = none")
def _attention(m: Maker, query: Value, key: Value, value: Value, attn_mask: Lowered) -> Value:
    """softmax(q kᵀ / sqrt(d) + mask) v over the last two axes; a mask of truths drops scores."""
    dtype = query.tensor.dtype
    depth = query.tensor.shape[-1]
    scores = m.b.emit("matmul", query, m.b.emit("transpose", key))
    scores = m.b.f32(scores)
    scores = m.b.emit("div", scores, m.b.emit("sqrt", m.b.scalar(depth, scores)))
    if attn_mask is not None:
        mask = m.tensor(attn_mask)
        if mask.tensor.dtype == "bool":
            mask = m.b.broadcast(mask, scores.tensor.shape)
            scores = m.b.emit("where", mask, scores, m.b.scalar(-math.inf, scores))
        else:
            scores = m.b.binary("add", scores, m.b.f32(mask))
    weights = m.b.cast(m.b.emit("softmax", scores, dim=-1), dtype)
    return m.b.emit("matmul", weights, value)
