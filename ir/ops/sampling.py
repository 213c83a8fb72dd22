"""Choosing a token: logits to an index, and which logits come into question, all on the device."""

from __future__ import annotations

import math

from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.opdef import TypeRuleError
from tlc.ir.ops.order import top
from tlc.ir.ops.random import between
from tlc.ir.ops.reduce import along

# what `top_p` keeps at least: the most likely token, whose predecessors have a probability of 0
_LEAST = 1e-30


def sampled(b: Builder, logits: Value, temperature: Value, seed: Dim, draw: Dim) -> Value:
    """An index of the last axis drawn from softmax(logits / temperature); the largest at 0.

    The largest of logits + temperature * g, with g = -log(-log(u)) of uniform u, has just these
    probabilities (Gumbel 1954; Maddison et al. 2014), and needs no sums and no second pass.
    """
    x = b.f32(logits)
    u = between(b, x.tensor.shape, seed, draw)
    noise = _negative(b, b.emit("log", _negative(b, b.emit("log", u))))
    chosen = b.binary("add", x, b.binary("mul", noise, temperature))
    return along(b, "reduce_argmax", chosen, -1, False)


def top_k(b: Builder, logits: Value, k: Dim) -> Value:
    """The logits that are at least the k-th largest of their row, -inf for the others."""
    last = logits.tensor.rank - 1
    values, _ = top(b, logits, k, logits.tensor.rank - 1)
    least = b.emit("slice", values, axis=last, start=k - 1, length=Dim.of(1))
    return _kept(b, logits, b.binary("ge", logits, least))


def among(b: Builder, logits: Value, k: Dim) -> tuple[Value, Value]:
    """The k largest logits of the one row there is, the largest first, and where they are."""
    values, places = top(b, logits, k, logits.tensor.rank - 1)
    return values, b.reshape(places, (k,))


def top_p(b: Builder, logits: Value, p: Value) -> Value:
    """The fewest logits of a row whose probabilities come to p, the most likely first, and those as
    likely as the last of them; -inf for the others."""
    chances = b.emit("softmax", b.f32(logits), dim=-1)
    ordered = b.emit("sort", chances, dim=-1, descending=True)
    before = b.emit("sub", b.emit("cumsum", ordered, dim=-1), ordered)
    wanted = b.emit("maximum", p, b.scalar(_LEAST, p))
    inside = b.binary("lt", before, wanted)
    likely = b.emit("where", inside, ordered, b.scalar(2.0, ordered))
    least = along(b, "reduce_min", likely, -1, True)
    return _kept(b, logits, b.binary("ge", chances, least))


def min_p(b: Builder, logits: Value, p: Value) -> Value:
    """The logits of a row whose probability is at least p times the largest; -inf for others."""
    x = b.f32(logits)
    least = b.binary("add", along(b, "reduce_max", x, -1, True), b.emit("log", p))
    return _kept(b, logits, b.binary("ge", x, least))


def penalised(b: Builder, logits: Value, ids: Value, penalty: Value) -> Value:
    """Logits of tokens that are among `ids` divided by the penalty, or multiplied when below 0
    (Keskar et al. 2019)."""
    if logits.tensor.rank != 1:
        raise TypeRuleError(f"the logits of one token are needed, not {logits.type}", "E0301", (0,))
    x = b.f32(logits)
    ones = b.broadcast(b.constant(1.0, x.tensor.with_shape(())), ids.tensor.shape)
    seen = b.emit("gt", b.emit("scatter", b.scalar(0.0, x), ids, ones), b.scalar(0.5, x))
    above = b.emit("gt", x, b.scalar(0.0, x))
    less = b.emit("where", above, b.binary("div", x, penalty), b.binary("mul", x, penalty))
    return b.cast(b.emit("where", seen, less, x), logits.tensor.dtype)


def _negative(b: Builder, x: Value) -> Value:
    return b.emit("mul", x, b.scalar(-1.0, x))


def _kept(b: Builder, logits: Value, keep: Value) -> Value:
    return b.emit("where", keep, logits, b.scalar(-math.inf, logits))
