"""Kernels that read the same operand become one launch with several results: the projections of
attention, for example, which multiply the same rows with different weights."""

from __future__ import annotations

from collections.abc import Sequence

from tlc.ir.core import Block, Func, Op, Value
from tlc.ir.dims import Dim
from tlc.ir.opdef import OPS
from tlc.ir.passes.groups import MOST_OPERANDS
from tlc.ir.passes.weights import WEIGHTS

OPEN = ("loop", "if")
MOST_RESULTS = 4  # of one launch: its text should stay one that a compiler likes


def merge(func: Func) -> None:
    """Merge the kernels of a fused function."""
    _block(func.body)


def _block(block: Block) -> None:
    for op in block.ops:
        for region in op.regions if op.name in OPEN else ():
            _block(region)
    _siblings(block)


# ---- products of the same rows -------------------------------------------------------------------


def _siblings(block: Block) -> None:
    """Products of the same rows with several matrices are done where the first of them is."""
    families: dict[tuple[object, ...], list[Op]] = {}
    for op in block.ops:
        key = _rows_of(op)
        if key is not None:
            families.setdefault(key, []).append(op)
    for family in families.values():
        while len(family) > 1:
            first, *others = family
            together = [first]
            for other in others:
                made = {v for op in together for v in op.results}
                if made & set(other.operands) or not _fits([*together, other]):
                    continue
                if _moved_up(block, other, together[-1]):
                    together.append(other)
            family = [op for op in others if op not in together]
            if len(together) > 1:
                _joined(block, together)


def _rows_of(op: Op) -> tuple[object, ...] | None:
    """What two products have in common that multiply the same rows; None for other kernels."""
    if op.name != "fused" or op.attrs["family"] != "matmul":
        return None
    (region,) = op.regions
    contract = next(inner for inner in region.ops if inner.name == "contract")
    if contract.result.tensor.rank != 2 or contract.result.tensor.shape[1] == Dim.of(1):
        return None
    left = contract.operands[0]
    way: tuple[object, ...] = ()
    if left.owner is not None and left.owner.name == "access":
        a = left.owner.attrs
        left, way = left.owner.operands[0], (a["shape"], a["strides"], a["offset"])
    if left not in region.args:
        return None
    return op.operands[region.args.index(left)], way


def _fits(kernels: Sequence[Op]) -> bool:
    operands = {v for op in kernels for v in op.operands}
    results = sum(len(op.results) for op in kernels)
    return len(operands) + results <= MOST_OPERANDS and results <= MOST_RESULTS


def _moved_up(block: Block, op: Op, to: Op) -> bool:
    """Move an operation right behind an earlier one, with the weights that it reads, if what it
    reads is there then."""
    start, end = block.ops.index(to), block.ops.index(op)
    between = block.ops[start + 1 : end]
    made = {v for inner in between for v in inner.results}
    weights = [inner for inner in between if inner.name in WEIGHTS]
    free = {v for inner in weights for v in inner.results}
    if any(v in made and v not in free for v in op.operands):
        return False
    moved = [*(inner for inner in weights if inner.result in op.operands), op]
    block.ops = [inner for inner in block.ops if inner not in moved]
    at = block.ops.index(to) + 1
    block.ops[at:at] = moved
    return True


def _joined(block: Block, kernels: Sequence[Op]) -> None:
    """One operation for several that stand one behind the other but for weights."""
    operands: list[Value] = []
    encodings: list[str] = []
    region = Block()
    yielded: list[Value] = []
    for op in kernels:
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
