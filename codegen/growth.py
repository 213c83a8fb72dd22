"""A fused operation to the launches that do it: how it appends depends on where memory is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlc.codegen.arena import appends_to
from tlc.ir.core import Block, Op, Value
from tlc.ir.opdef import OPS
from tlc.ir.passes.append import apart


def placed(op: Op, names: Mapping[Value, Any]) -> list[Op]:
    """Concatenations as they are done: where each begins the memory of its result already, as
    appending to it; where only some do, one by one, and before what reads them."""
    parts = range(len(op.results))
    olds = [appends_to(op, part) for part in parts]
    there = [
        old is not None and names[old] == names[new]
        for old, new in zip(olds, op.results, strict=True)
    ]
    if op.attrs["family"] == "attention":
        if all(there[1:]):
            return [op]
        concats, rest = apart(op)
        return [*placed(concats, names), rest]
    if not any(there):
        return [op]
    if all(there):
        return [_appending(op)]
    alone = [_alone(op, part) for part in parts]
    return [_appending(each) if there[part] else each for part, each in enumerate(alone)]


def _alone(op: Op, part: int) -> Op:
    """One of the results of a fused operation."""
    (block,) = op.regions
    region = Block(block.args, [*block.ops[:-1], Op(OPS["yield"], [block.yielded[part]], {})])
    attrs = {**op.attrs, "results": (op.results[part].type,)}
    made = Op(op.defn, op.operands, attrs, regions=[region], span=op.span)
    made.results = [op.results[part]]
    return made


def _appending(op: Op) -> Op:
    """A concatenation whose first operand is in its place already."""
    attrs = {**op.attrs, "family": "append"}
    made = Op(op.defn, op.operands, attrs, regions=op.regions, span=op.span)
    made.results = op.results
    return made
