"""Loops that compute the same in every pass, to loops that read it: it is done before them."""

from __future__ import annotations

from tlc.ir.core import Block, Func, Op, Value, symbols_of
from tlc.ir.passes.attention import COSTLY


def invariant(func: Func) -> None:
    """Move work out of loops that needs nothing of theirs: sines of positions, products of weights.

    Only what a launch costs less than to compute it again: operations that take a function like
    exp, reductions and products, and what is computed from these; with them goes what they need.
    Sums and comparisons stay, since kernels do them on the way: a mask is not stored. What a
    benchmark times stays too.
    """
    if not any(op.name == "timed" for op in func.walk()):
        _block(func.body)


def _block(block: Block) -> None:
    ops: list[Op] = []
    for op in block.ops:
        for region in op.regions:
            _block(region)
        if op.name == "loop":
            ops += _moved(op.regions[0])
        ops.append(op)
    block.ops = ops


def _moved(region: Block) -> list[Op]:
    """Take the invariant work out of a loop's region."""
    inside = set(region.args) | {v for op in region.ops for v in op.results}
    fixed: set[Op] = set()
    costly: set[Op] = set()
    for op in region.ops:
        owners = {v.owner for v in op.operands if v in inside}
        if not _is_fixed(op) or not owners <= fixed:
            continue
        fixed.add(op)
        work = op.defn.elementwise or op.defn.kernel is not None
        if work and (_is_costly(op) or _behind(op, inside) & costly):
            costly.add(op)
    wanted: set[Op] = set()
    stack = list(costly)
    while stack:
        op = stack.pop()
        if op not in wanted:
            wanted.add(op)
            stack += [v.owner for v in op.operands if v in inside and v.owner is not None]
    moved = [op for op in region.ops if op in wanted]
    region.ops = [op for op in region.ops if op not in wanted]
    return moved


def _is_fixed(op: Op) -> bool:
    """Whether an operation is pure and knows no number that a run counts."""
    if op.defn.effect != "pure" or op.regions or op.name == "yield":
        return False
    types = tuple(v.type for v in (*op.operands, *op.results))
    symbols = symbols_of(types) | symbols_of(tuple(op.attrs.values()))
    return not any(symbol.startswith("$") for symbol in symbols)


def _is_costly(op: Op) -> bool:
    if op.defn.kernel not in (None, "elementwise"):
        return bool(op.operands)
    return COSTLY.search(op.defn.msl or "") is not None


def _behind(op: Op, inside: set[Value]) -> set[Op]:
    """What makes the operands of an operation inside of a region, views looked through."""
    found: set[Op] = set()
    stack = [v for v in op.operands if v in inside]
    while stack:
        owner = stack.pop().owner
        if owner is None:
            continue
        if owner.defn.view:
            stack += [v for v in owner.operands if v in inside]
        else:
            found.add(owner)
    return found
