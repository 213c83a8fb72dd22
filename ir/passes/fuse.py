"""Fusion: each group of operations becomes one `fused` operation, which is one kernel launch.

Views disappear: inside a kernel they are `access` operations on its operands; outside, only a
`reshape` of something stored is left, which costs nothing.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from typing import Any

from tlc.frontend.diagnostics import InternalError
from tlc.ir.builder import Builder
from tlc.ir.core import Block, Func, Op, Value, uses
from tlc.ir.dims import Dim
from tlc.ir.opdef import OPS
from tlc.ir.passes import attention
from tlc.ir.passes.attention import QUERIES, SCORES, Attention
from tlc.ir.passes.canonical import counting_axis, is_counted, splat, widens
from tlc.ir.passes.cleanup import dce
from tlc.ir.passes.factors import arranged, permuted, refined
from tlc.ir.passes.groups import FULL, KEPT, Group, form_groups, is_compute
from tlc.ir.passes.views import Access, identity, trace
from tlc.ir.types import TensorType
from tlc.ir.verify import OPEN


def fuse(func: Func) -> dict[Op, Op]:
    """Replace the computing operations of a function by `fused` ones; for each of them, the
    operation whose result it stores."""
    stores: dict[Op, Op] = {}
    attentions = attention.find(func)
    dce(func)  # what attention was written as
    _fuse_block(func.body, None, stores, attentions)
    dce(func)  # constants that went into kernels
    written = {a.result: a.written for a in attentions.values()}
    return {kernel: written.get(op, op) for kernel, op in stores.items()}


def _fuse_block(
    block: Block,
    around: _Rewriter | None,
    stores: dict[Op, Op],
    attentions: Mapping[Op, Attention],
) -> None:
    _clone_conversions(block, around, attentions)
    out = _Rewriter(block, around, stores, attentions)
    for op in block.ops:
        out.op(op)
    block.ops = out.ops


def _clone_conversions(
    block: Block, around: _Rewriter | None, attentions: Mapping[Op, Attention]
) -> None:
    """Give every reader its own copy of a counter, of what little is computed from counters, or of
    a conversion to a wider type: that is cheaper than to store it. From outside of a region, only
    what is stored there is converted."""
    ops: list[Op] = []
    own = set(block.ops)
    for op in block.ops:
        for at, operand in enumerate(op.operands):
            source = operand.owner
            if source is None or not _is_cheap(source) or not is_compute(op) or op in attentions:
                continue
            if source in own or (around is not None and all(map(around.holds, source.operands))):
                op.operands[at] = _copy(source, ops)
        ops.append(op)
    read = {v for outer in ops for op in outer.walk() for v in op.operands}
    block.ops = [o for o in ops if not _is_cheap(o) or o.result in read]


def _copy(source: Op, ops: list[Op]) -> Value:
    """A copy of an operation at the end of a list, behind those of the counters that it reads."""
    operands = [
        _copy(v.owner, ops) if v.owner is not None and is_counted(v.owner) else v
        for v in source.operands
    ]
    copy = Op(source.defn, operands, dict(source.attrs), span=source.span)
    copy.results = [Value(source.result.type, copy)]
    ops.append(copy)
    return copy.result


def _is_cheap(op: Op) -> bool:
    return is_counted(op) or (op.name == "cast" and widens(op))


class _Rewriter:
    """Builds the new list of operations of a block."""

    def __init__(
        self,
        block: Block,
        around: _Rewriter | None,
        stores: dict[Op, Op],
        attentions: Mapping[Op, Attention],
    ) -> None:
        self.stores, self.attentions = stores, attentions
        self.group_of = form_groups(block, attentions)
        self.readers = uses(block)
        self.ops: list[Op] = []
        # a region reads what is stored around it; what it stores itself is its own
        outer: MutableMapping[Value, Value] = {} if around is None else around.stored
        self.stored: ChainMap[Value, Value] = ChainMap({v: v for v in block.args}, outer)

    def op(self, op: Op) -> None:
        if op in self.group_of:
            group = self.group_of[op]
            if group.sink is op and group.family == "attention":
                self._arranged(group)
            elif group.sink is op:
                self.stored[op.result] = self._kernel(group)
        elif not op.defn.view and not isinstance(_number(op), Dim):
            op.operands = [self.in_memory(v) for v in op.operands]
            for region in op.regions:
                around = self if op.name in OPEN else None
                _fuse_block(region, around, self.stores, self.attentions)
            self.ops.append(op)
            self.stored.update((v, v) for v in op.results)

    # ---- operands -------------------------------------------------------------------------------

    def trace(self, value: Value) -> tuple[Value, list[Op]]:
        """The stored value behind a chain of views, and the chain, outermost last."""
        chain: list[Op] = []
        while value not in self.stored and value.owner is not None and value.owner.defn.view:
            chain.append(value.owner)
            value = value.owner.operands[0]
        return value, chain[::-1]

    def holds(self, value: Value) -> bool:
        """Whether what a chain of views shows is stored."""
        return self.trace(value)[0] in self.stored

    def in_memory(self, value: Value) -> Value:
        """A value as a dense tensor, for what reads it from outside of kernels."""
        shown = value
        while (
            shown not in self.stored and shown.owner is not None and shown.owner.name == "reshape"
        ):
            shown = shown.owner.operands[0]
        return Builder(Block(ops=self.ops)).reshape(self.copied(shown), value.tensor.shape)

    def copied(self, value: Value) -> Value:
        """A kernel that writes out what a view shows or a constant is; each is written once."""
        if value not in self.stored:
            assert value.owner is not None
            copy = Group(value.owner, shapes={FULL: refined(value.tensor.shape, [value])})
            self.stored[value] = self._kernel(copy)
        return self.stored[value]

    def reach(self, value: Value, shape: tuple[Dim, ...]) -> tuple[Value, Access]:
        """What is stored behind a value, and how to read it as a tensor of another shape.

        Where strides cannot say it, what they can say so far is written out first.
        """
        base, chain = self.trace(value)
        self.copied(base)  # where it is not stored yet: a number that only run time tells
        seen = arranged(base, chain, shape)
        if seen is not None:
            return self.stored[base], seen
        for at in range(len(chain), 0, -1):
            shown = chain[at - 1].result
            if arranged(base, chain[:at], refined(shown.tensor.shape, [shown])) is not None:
                self.copied(shown)
                return self.reach(value, shape)
        raise InternalError(f"no strides show {value.type}")

    # ---- kernels --------------------------------------------------------------------------------

    def _arranged(self, group: Group) -> None:
        """A kernel that stores its rows in the order in which their only reader shows them."""
        full = group.shapes[FULL]
        shown, order, views = group.sink.result, tuple(range(len(full))), list[Op]()
        while True:
            readers = self.readers.get(shown, [])
            if len(readers) != 1 or readers[0].name not in ("reshape", "permute"):
                break
            views += readers
            shown = views[-1].result
            if views[-1].name == "permute":
                order = permuted(full, group.sink.result.tensor.shape, views) or ()
                break
        if not order or order == tuple(sorted(order)) or order[-1] != len(full) - 1:
            shown, order = group.sink.result, ()
        made = self._kernel(group, order)
        shape = shown.tensor.shape
        self.stored[shown] = Builder(Block(ops=self.ops), group.sink.span).reshape(made, shape)

    def _kernel(self, group: Group, order: tuple[int, ...] = ()) -> Value:
        """One `fused` operation for a group; the value with the sink's own shape, or, when its
        axes are stored in another order, with that."""
        kernel = _Kernel(self, group)
        result = kernel.build()
        if order:
            result = kernel.builder.emit("permute", result, axes=order)
        family, results = group.family, (result.type,)
        region = kernel.block
        region.ops.append(Op(OPS["yield"], [result], {}))
        fused = Op(
            OPS["fused"],
            kernel.operands,
            {
                "family": family,
                "encodings": tuple(map(encoding, kernel.operands)),
                "results": results,
            },
            regions=[region],
            span=_span(group),
        )
        fused.results = [Value(result.type, fused)]
        self.ops.append(fused)
        self.stores[fused] = group.sink
        shape = result.tensor.shape if order else group.sink.result.tensor.shape
        return Builder(Block(ops=self.ops), fused.span).reshape(fused.result, shape)


def _number(op: Op) -> float | Dim | None:
    """The number that a constant repeats; a size that only run time tells is stored nowhere."""
    return splat(op.result) if op.name == "constant" else None


def _span(group: Group) -> Any:
    return group.root.span if group.root is not None else group.sink.span


def encoding(value: Value) -> str:
    """How memory holds a stored value: its dtype, or a packed format."""
    owner = value.owner
    if owner is not None and owner.name in ("weight", "weight_of"):
        return str(owner.attrs["stored"])
    return value.tensor.dtype


class _Kernel:
    """The region of one group."""

    def __init__(self, outer: _Rewriter, group: Group) -> None:
        self.outer, self.group = outer, group
        self.block = Block()
        self.builder = Builder(self.block)
        self.operands: list[Value] = []
        self.made: dict[Any, Value] = {}

    def build(self) -> Value:
        sink = self.group.sink
        if sink not in self.group.level:  # a copy
            return self.read(sink.result, FULL)
        return self.computed(sink)

    def computed(self, op: Op) -> Value:
        """An operation of the group, inside the region; iterative along long chains."""
        stack = [op]
        while stack:
            top = stack[-1]
            waiting = [
                base.owner
                for base in (trace(v)[0] for v in top.operands)
                if base.owner in self.group.level and ("op", base.owner) not in self.made
            ]
            if waiting and ("op", top) not in self.made:
                stack += [w for w in waiting if w is not None]
                continue
            stack.pop()
            if ("op", top) not in self.made:
                self.made["op", top] = self._compute(top)
        return self.made["op", op]

    def _compute(self, op: Op) -> Value:
        level = self.group.level[op]
        attrs = dict(op.attrs)
        attended = self.group.family == "attention"
        match op.defn.kernel:
            case "reduce":
                operands = [self.read(op.operands[0], SCORES if attended else FULL)]
                if not attended:
                    attrs["axis"] = self._reduced_axis(op.attrs["axis"])
            case "matmul" if attended:
                operands = self._product(op)
            case "matmul" | "convolution" | "window" | "concat" | "sort" | "scan" | "scatter":
                operands = [self.access(v, v.tensor.shape) for v in op.operands]
            case "gather":
                table, ids = op.operands
                dense = self.outer.in_memory(table)
                operands = [self.argument(dense), self.access(ids, ids.tensor.shape)]
            case _:
                operands = [self.read(v, level) for v in op.operands]
                if op.name == "iota":
                    return self._counter(op, level)
        self.builder.span = op.span
        return self.once(op.name, operands, attrs)

    def _reduced_axis(self, axis: int) -> int:
        """The axis of the group's shape that becomes 1: a row's last, a column's by its place."""
        full, kept = self.group.shapes[FULL], self.group.shapes[KEPT]
        if self.group.family == "row":
            return len(full) - 1
        return next((at for at in range(len(full)) if full[at] != kept[at]), axis)

    def _product(self, op: Op) -> list[Value]:
        """The operands of a product of attention: the left one is made here, the right one read."""
        left, right = op.operands
        made = self.read(left, SCORES if op is self.group.root else QUERIES)
        if made.tensor.shape != left.tensor.shape:
            made = self.once("reshape", [made], {"shape": left.tensor.shape})
        return [made, self.access(right, right.tensor.shape)]

    def _counter(self, op: Op, level: str) -> Value:
        """`iota` on the group's shape, where an axis of it counts the same; else written out."""
        type, shape = op.result.tensor, self.group.shapes[level]
        axis = counting_axis(type, op.attrs["axis"], shape)
        if axis is not None:
            return self.once("iota", [], {"type": type.with_shape(shape), "axis": axis})
        if op.result not in self.outer.stored:
            alone = Group(op, level={op: FULL}, shapes={FULL: type.shape})
            self.outer.stored[op.result] = self.outer._kernel(alone)
        return self.access(op.result, shape)

    def once(self, name: str, operands: list[Value], attrs: dict[str, Any]) -> Value:
        """An operation, or the equal one that the region already has."""
        key = (name, tuple(map(id, operands)), repr(sorted(attrs.items(), key=lambda a: a[0])))
        if key not in self.made:
            self.made[key] = self.builder.emit(name, *operands, **attrs)
        return self.made[key]

    def read(self, value: Value, level: str) -> Value:
        """A value on a level: computed here, a repeated number, or an operand's elements."""
        shape = self.group.shapes[level]
        base, _ = trace(value)
        owner = base.owner
        if owner is not None and owner in self.group.level:
            inside = self.computed(owner)
            if self.group.level[owner] == level:
                return inside
            assert self.group.level[owner] == KEPT
            return self.once("broadcast", [inside], {"shape": shape})
        number = splat(value)
        if number is not None:
            type = TensorType(value.tensor.dtype, shape)
            return self.once("constant", [], {"value": number, "type": type})
        return self.access(value, shape)

    def access(self, value: Value, shape: tuple[Dim, ...]) -> Value:
        """An operand's elements, arranged in a shape."""
        stored, seen = self.outer.reach(value, shape)
        while stored.owner is not None and stored.owner.name == "reshape":
            stored = stored.owner.operands[0]  # the same memory is the same operand
        argument = self.argument(stored)
        if seen == identity(argument.tensor.shape):
            return argument
        attrs = {"shape": seen.shape, "strides": seen.strides, "offset": seen.offset}
        return self.once("access", [argument], attrs)

    def argument(self, stored: Value) -> Value:
        """The region's argument for an operand."""
        if stored not in self.operands:
            self.operands.append(stored)
            self.block.args.append(Value(stored.type))
        return self.block.args[self.operands.index(stored)]
