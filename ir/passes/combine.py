"""One fused operation made of several: one inside of the other, or side by side."""

from __future__ import annotations

from collections.abc import Sequence

from tlc.ir.core import Block, Op, Value
from tlc.ir.opdef import OPS
from tlc.ir.passes.groups import MOST_OPERANDS

MOST_RESULTS = 4  # of one launch: its text should stay one that a compiler likes


def inlined(op: Op, inner: Op) -> None:
    """Put what an operation computes into the kernel of its reader."""
    (region,), (other,) = op.regions, inner.regions
    encodings = list(op.attrs["encodings"])
    _read_too(inner, op.operands, encodings, region)
    at = op.operands.index(inner.result)
    (made,) = other.yielded
    argument = region.args[at]
    for each in region.ops:
        each.operands = [made if v is argument else v for v in each.operands]
    region.ops = other.ops[:-1] + region.ops
    del op.operands[at], region.args[at], encodings[at]
    op.attrs["encodings"] = tuple(encodings)


def copied(op: Op) -> Op:
    """The same operation with a region and a result of its own, whose reader has the old one."""
    (region,) = op.regions
    here = {value: Value(value.type) for value in region.args}
    copied = Block(list(here.values()))
    for inner in region.ops:
        operands = [here[v] for v in inner.operands]
        made = Op(inner.defn, operands, dict(inner.attrs), span=inner.span)
        made.results = [Value(v.type, made) for v in inner.results]
        here |= zip(inner.results, made.results, strict=True)
        copied.ops.append(made)
    return Op(op.defn, list(op.operands), op.attrs, op.results, [copied], op.span)


def joined(block: Block, kernels: Sequence[Op]) -> None:
    """One operation for several that stand one behind the other but for weights."""
    operands: list[Value] = []
    encodings: list[str] = []
    region = Block()
    yielded: list[Value] = []
    for op in kernels:
        (inner,) = op.regions
        _read_too(op, operands, encodings, region)
        region.ops += inner.ops[:-1]
        yielded += inner.ops[-1].operands
    region.ops.append(Op(OPS["yield"], yielded, {}))
    results = [v for op in kernels for v in op.results]
    attrs = {
        "family": kernels[0].attrs["family"],
        "encodings": tuple(encodings),
        "results": tuple(v.type for v in results),
    }
    whole = Op(OPS["fused"], operands, attrs, results, [region], kernels[0].span)
    for value in results:
        value.owner = whole
    last = kernels[-1]
    block.ops = [whole if op is last else op for op in block.ops if op is last or op not in kernels]


def _read_too(op: Op, operands: list[Value], encodings: list[str], region: Block) -> None:
    """Add what an operation reads to what the kernel of a region does, whose arguments it gets."""
    (inner,) = op.regions
    here: dict[Value, Value] = {}
    for value, argument, encoding in zip(
        op.operands, inner.args, op.attrs["encodings"], strict=True
    ):
        if value not in operands:
            operands.append(value)
            encodings.append(encoding)
            region.args.append(argument)
        here[argument] = region.args[operands.index(value)]
    for each in inner.ops:
        each.operands = [here.get(v, v) for v in each.operands]


def has_room(inner: Op, op: Op) -> bool:
    return len({*inner.operands, *op.operands}) + len(op.results) <= MOST_OPERANDS
