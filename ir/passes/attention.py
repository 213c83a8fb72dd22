"""Attention brought to one form: the product of queries and keys, what is done to the scores, their
softmax and the product with the values, all on one set of axes, as operations of one kernel.

However it was written, what comes out is

    scores  = contract(queries [*lead, D], keys [*lead', D, M])        float32 or float16
    scores  = any elementwise work on [*lead, M], masks computed in place
    weights = exp(scores - reduce_max(scores)) / reduce_sum(...)
    result  = contract(weights, values [*lead', M, Dv])

where `lead` is batch axes, then axes of rows, and `lead'` is `lead` with 1 for its last. Heads that
share keys and values read them with a stride of 0: nothing is repeated in memory. The operations
mean what they meant; only roundings to float16 in between are left out, as in every kernel.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tlc.ir.builder import Builder
from tlc.ir.core import Block, Func, Op, Value, uses
from tlc.ir.dims import Dim, product
from tlc.ir.passes.attention_match import MOST_STEPS, Parts, is_quiet, match
from tlc.ir.passes.canonical import is_counted, splat, widens
from tlc.ir.passes.factors import Factored, common, split, strides
from tlc.ir.passes.views import ONE, ZERO, trace
from tlc.ir.types import FLOATS, TensorType

QUERIES, SCORES = "queries", "scores"  # levels of the group, beside `full` and `kept`
COSTLY = re.compile(r"precise::|tlc_erf")  # in an expression: what is not computed again per head


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """The operations of one attention, but for what follows it: each with its level, and the shape
    of each level. `root` is the product with the values; `written` is the operation that it was,
    and `result` stands for what that made."""

    root: Op
    written: Op
    result: Op
    level: dict[Op, str]
    shapes: dict[str, tuple[Dim, ...]]


def find(func: Func) -> dict[Op, Attention]:
    """Rewrite every attention of a function; which one each of the new operations belongs to."""
    found: dict[Op, Attention] = {}
    _block(func.body, uses(func.body), found)
    return found


def _block(block: Block, readers: dict[Value, list[Op]], found: dict[Op, Attention]) -> None:
    ops, block.ops = block.ops, []
    here = set(ops)
    replaced: dict[Value, Value] = {}
    for op in ops:
        for region in op.regions:
            _block(region, readers, found)
        op.operands = [replaced.get(v, v) for v in op.operands]
        block.ops.append(op)
        parts = match(op, readers) if op.name == "contract" else None
        if parts is None or parts.first not in here:
            continue
        rewrite = _Rewrite(block, parts, readers)
        made = rewrite.attention()
        if made is None:
            continue
        result, attention = made
        replaced[op.result] = result
        found.update(dict.fromkeys((*attention.level, attention.root), attention))
    _replace(block, replaced)


def _replace(block: Block, replaced: dict[Value, Value]) -> None:
    for op in block.ops:
        for inner in op.walk():
            inner.operands = [replaced.get(v, v) for v in inner.operands]


class _CannotSay(Exception):
    """A value has no expression on the axes of the kernel; it is read from memory as it is."""


class _Rewrite:
    """Builds the new operations of one attention at the end of a block."""

    def __init__(self, block: Block, parts: Parts, readers: dict[Value, list[Op]]) -> None:
        self.block, self.parts, self.readers = block, parts, readers
        self.builder = Builder(block, parts.first.span)
        self.level: dict[Op, str] = {}
        self.batch: list[Dim] = []
        self.rows: list[Dim] = []
        self.query_shape: tuple[Dim, ...] = ()
        self.queried: dict[Op, bool] = {}  # whether an operation is done here
        self.known: dict[Value, Value] = {}
        self.steps = 0

    @property
    def lead(self) -> tuple[Dim, ...]:
        return (*self.batch, *self.rows)

    def attention(self) -> tuple[Value, Attention] | None:
        """The value for the result of the last product; None when axes do not fit together."""
        first, last, m = self.parts.first, self.parts.last, self.parts.columns
        if not self._axes():
            return None
        start = len(self.block.ops)
        keys = self._matrix(first.operands[1])
        values = self._matrix(last.operands[1])
        if keys is None or values is None:
            del self.block.ops[start:]
            return None
        b = self.builder
        queries = self._queries(first.operands[0])
        scores = self._at(SCORES, "contract", queries, keys)
        dtype = first.result.tensor.dtype
        if scores.tensor.dtype != dtype:
            scores = self._at(SCORES, "cast", scores, dtype=dtype)
        self.known[first.result] = scores
        scores = self._scores(self.parts.scores)
        if scores.tensor.dtype != "f32":
            scores = self._at(SCORES, "cast", scores, dtype="f32")
        shape, axis = (*self.lead, m), len(self.lead)
        top = self._at("kept", "reduce_max", scores, axis=axis)
        less = self._at(SCORES, "sub", scores, b.broadcast(top, shape))
        exp = self._at(SCORES, "exp", less)
        total = self._at("kept", "reduce_sum", exp, axis=axis)
        weights = self._at(SCORES, "div", exp, b.broadcast(total, shape))
        b.span = last.span
        mixed = b.emit("contract", weights, values)
        root = self.block.ops[-1]
        shapes = {
            "full": mixed.tensor.shape,
            "kept": (*self.lead, ONE),
            SCORES: shape,
            QUERIES: self.query_shape,
        }
        mixed = b.cast(mixed, last.result.tensor.dtype)
        attention = Attention(root, last, self.block.ops[-1], self.level, shapes)
        return b.reshape(mixed, last.result.tensor.shape), attention

    def _at(self, level: str, name: str, *operands: Value, **attrs: Any) -> Value:
        """A new operation of the kernel."""
        value = self.builder.emit(name, *operands, **attrs)
        assert value.owner is not None
        self.level[value.owner] = level
        return value

    # ---- axes -----------------------------------------------------------------------------------

    def _axes(self) -> bool:
        """Cut batch and rows finely enough for all operands; whether that is possible."""
        first, last = self.parts.first, self.parts.last
        *batch, rows, _ = first.result.tensor.shape
        cuts: list[list[Dim]] = [[*batch, rows]]
        for value in (first.operands[0], first.operands[1], last.operands[1]):
            base, views = trace(_narrow(value))
            seen = Factored.dense(base.tensor.shape).through(views)
            if seen is None:
                continue  # it will be written out
            axes = seen.axes if value is first.operands[0] else seen.axes[:-2]
            own = [size for axis in axes[: len(batch) + 1] for size, _ in axis]
            cuts.append(own if value is first.operands[0] else [*own, rows])
        for op in self.parts.path:
            shape = op.result.tensor.shape
            if shape and shape[-1] == self.parts.columns:
                cuts.append(list(shape[:-1]))
        lead: list[Dim] | None = []
        for at, cut in enumerate(cuts):
            lead = common(lead, cut) if at and lead is not None else common(cut, cut)
        if lead is None:
            return False
        count = next((n for n in range(len(lead) + 1) if product(lead[:n]) == product(batch)), None)
        if count is None:
            return False
        self.batch, self.rows = lead[:count], lead[count:] or [ONE]
        return True

    def _matrix(self, value: Value) -> Value | None:
        """Keys or values [batch, X, Y] as [*lead without its last, X, Y], by strides."""
        value = _narrow(value)
        x, y = value.tensor.shape[-2:]
        repeated = self.rows[:-1]
        base, views = trace(value)
        if base.owner is not None and base.owner.attrs.get("stored", "f16") not in FLOATS:
            return None  # packed weights are read by matrix products
        for source, chain in ((base, views), (value, [])):
            seen = Factored.dense(source.tensor.shape).through(chain)
            if seen is None:
                continue
            lead = [factor for axis in seen.axes[:-2] for factor in axis]
            parts = (
                strides(Factored((tuple(lead),), ZERO), self.batch),
                strides(Factored((seen.axes[-2],), ZERO), [x]),
                strides(Factored((seen.axes[-1],), ZERO), [y]),
            )
            if None in parts:
                continue
            across, down, along = (part or () for part in parts)
            steps = (*across, *(ZERO for _ in repeated), *down, *along)
            shape = (*self.batch, *repeated, x, y)
            return self._access(source, shape, steps, seen.offset)
        return None

    def _access(
        self, base: Value, shape: Sequence[Dim], steps: Sequence[Dim], offset: Dim
    ) -> Value:
        return self.builder.emit(
            "access", base, shape=tuple(shape), strides=tuple(steps), offset=offset
        )

    # ---- queries --------------------------------------------------------------------------------

    def _queries(self, value: Value) -> Value:
        """Queries [*lead, D]: what makes them element by element, for them alone, is done here."""
        depth = value.tensor.shape[-1]
        for inner in _cuts(value):
            self.query_shape = (*self.lead, *inner)
            self.queried = {self.parts.first: True}
            queries = self._tried(QUERIES, value, self.query_shape, self._own)
            if queries is not None:
                break
        else:
            self.query_shape = (*self.lead, depth)
            queries = self.builder.reshape(value, self.query_shape)
        return self.builder.reshape(queries, (*self.lead, depth))

    def _own(self, op: Op) -> bool:
        """Whether nobody reads what an operation makes but those that are done here already, or
        it is cheaper to do than to store."""
        if (op.name == "cast" and widens(op)) or is_counted(op):
            self.queried[op] = True
        if op not in self.queried:
            waiting, mine = list(self.readers.get(op.result, ())), True
            while waiting:
                reader = waiting.pop()
                if reader.defn.view:
                    waiting += self.readers.get(reader.result, ())
                else:
                    mine = mine and self.queried.get(reader, False)
            self.queried[op] = mine
        return self.queried[op]

    # ---- scores ---------------------------------------------------------------------------------

    def _scores(self, value: Value) -> Value:
        """What is computed from the first product, on the axes of the kernel."""
        if value in self.known:
            return self.known[value]
        owner, shape = value.owner, (*self.lead, self.parts.columns)
        if owner in self.parts.path and owner is not None:
            operands = [self._scores(v) for v in owner.operands]
            if owner.name == "reshape":
                made = operands[0]
            else:
                self.builder.span = owner.span
                made = self._at(SCORES, owner.name, *operands, **owner.attrs)
        else:
            stored = self._tried(SCORES, value, shape, _is_cheap)
            made = self.builder.reshape(value, shape) if stored is None else stored
        self.known[value] = made
        return made

    # ---- any value on the axes of a level -------------------------------------------------------

    def _tried(
        self, level: str, value: Value, shape: tuple[Dim, ...], here: Callable[[Op], bool]
    ) -> Value | None:
        """What `_shown` makes of a value; None, and nothing built, when it cannot say it."""
        start, before = len(self.block.ops), dict(self.level)
        self.steps = 0
        try:
            return self._shown(level, value, [], shape, here)
        except _CannotSay:
            del self.block.ops[start:]
            self.level = before
            return None

    def _shown(
        self,
        level: str,
        value: Value,
        views: list[Op],
        shape: tuple[Dim, ...],
        here: Callable[[Op], bool],
    ) -> Value:
        """What further views show of a value, on a shape of as many elements.

        Operations that `here` accepts are done again on this shape: a view of a sum is the sum of
        the views. Raises _CannotSay.
        """
        base, chain = trace(value)
        views = [*chain, *views]
        number = splat(base)
        if number is not None:
            return self.builder.broadcast(
                self.builder.constant(number, TensorType(base.tensor.dtype, ())), shape
            )
        owner = base.owner
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise _CannotSay
        if owner is not None and owner.name == "iota":
            return self._counter(level, owner, views, shape)
        if owner is not None and owner.defn.elementwise and here(owner):
            operands = [self._shown(level, v, views, shape, here) for v in owner.operands]
            self.builder.span = owner.span
            return self._at(level, owner.name, *operands, **owner.attrs)
        seen = Factored.dense(base.tensor.shape).through(views)
        steps = strides(seen, shape)
        if steps is None or seen is None:
            raise _CannotSay
        return self._access(base, shape, steps, seen.offset)

    def _counter(self, level: str, iota: Op, views: list[Op], shape: tuple[Dim, ...]) -> Value:
        """A counter behind views, as a counter along one axis of a shape."""
        type, axis = iota.result.tensor, iota.attrs["axis"]
        seen = Factored.dense(type.shape).through(views)
        axes = None if seen is None else split(seen.flat, shape)
        if seen is None or axes is None or seen.offset != ZERO:
            raise _CannotSay
        size, step = type.shape[axis], product(type.shape[axis + 1 :])
        along = [
            at
            for at, factors in enumerate(axes)
            if any(s == step and s != ZERO for _, s in factors)
        ]
        for at, (wanted, factors) in enumerate(zip(shape, axes, strict=True)):
            for have, stride in factors:
                counts = at in along and have == size and stride == step and wanted == size
                beside = stride == ZERO or stride.exact_div(step * size) is not None
                below = step.exact_div(have * stride) is not None and stride != step
                if not (counts or beside or below):
                    raise _CannotSay
        if len(along) > 1:
            raise _CannotSay
        if not along:
            return self.builder.broadcast(
                self.builder.constant(0, TensorType(type.dtype, ())), shape
            )
        return self._at(level, "iota", type=type.with_shape(shape), axis=along[0])


def _cuts(value: Value) -> list[tuple[Dim, ...]]:
    """Ways to cut the last axis: not at all, and as what the value is made of has it."""
    depth = value.tensor.shape[-1]
    cuts: list[tuple[Dim, ...]] = [(depth,)]
    at = value
    while at.owner is not None and (at.owner.defn.view or at.owner.defn.elementwise):
        shape, inner = at.tensor.shape, 1
        while inner < len(shape) and product(shape[-inner:]) != depth:
            inner += 1
        if product(shape[-inner:]) == depth and shape[-inner:] not in cuts:
            cuts.append(shape[-inner:])
        if not at.owner.operands:
            break
        at = at.owner.operands[0]
    return cuts


def _is_cheap(op: Op) -> bool:
    return COSTLY.search(op.defn.msl or "") is None


def _narrow(value: Value) -> Value:
    """What a conversion to a wider type reads: kernels widen what they read anyway."""
    while value.owner is not None and value.owner.name == "cast" and is_quiet(value.owner):
        inner = value.owner.operands[0]
        if inner.tensor.dtype != "f16":
            break
        value = inner
    return value
