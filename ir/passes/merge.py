"""Kernels become one launch: products of the same rows, and what computes the rows of a product.

The projections of queries, keys and values multiply the same rows with different weights; a gate
and what it opens are two products, and one is all that the other's kernel reads beside. Both read
normalised rows, which their kernels make themselves (`made_rows.py`), as does a kernel of rows that
reads them too: an encoder adds what it has normalised to what it makes of it. Concatenations
compute what goes into them. Keys and values that one launch has made are normalised, and appended
to a cache, by one, or by the attention that reads it (`append.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tlc.ir.core import Block, Func, Op, Value, symbols_of, uses
from tlc.ir.dims import Dim
from tlc.ir.opdef import OPS
from tlc.ir.passes.append import append
from tlc.ir.passes.cleanup import defines
from tlc.ir.passes.combine import MOST_RESULTS, has_room, inlined, joined
from tlc.ir.passes.groups import MOST_OPERANDS
from tlc.ir.passes.made_rows import makes_rows, remade, rows_of, stored_beside
from tlc.ir.passes.views import Access, identity, reshaped
from tlc.ir.passes.weights import WEIGHTS
from tlc.ir.types import row_major
from tlc.ir.verify import OPEN


def merge(func: Func) -> None:
    """Merge the kernels of a fused function."""
    _block(func.body)


def _block(block: Block) -> None:
    for op in block.ops:
        for region in op.regions if op.name in OPEN else ():
            _block(region)
    _absorbed(block, _is_twin)
    _siblings(block, _multiplied)
    _absorbed(block, makes_rows)
    remade(block)
    stored_beside(block)
    _pieces_made(block)
    _siblings(block, _alike)
    append(block)


def _absorbed(block: Block, fits: Callable[[Op, Op], bool]) -> None:
    """What only one kernel reads moves into it, where `fits(kernel, inner)`."""
    readers = uses(block)
    for op in list(block.ops):
        for operand in list(op.operands) if op.name == "fused" else ():
            inner = operand.owner
            if inner in block.ops and readers[operand] == [op] and fits(op, inner):
                inlined(op, inner)
                block.ops.remove(inner)
                break


# ---- two sums for one result ---------------------------------------------------------------------


def _is_twin(op: Op, inner: Op) -> bool:
    """Whether two products have the same rows and sizes, and read weights in the same way: the
    second, which only the first reads, element by element, can then be computed there."""
    rows = rows_of(op)
    if rows is None or rows != rows_of(inner):
        return False
    products = [o for k in (op, inner) for o in k.regions[0].ops if o.name == "contract"]
    if len(products) != 2 or products[0].result.type != products[1].result.type:
        return False
    if inner.result.type != products[1].result.type or _right(op) != _right(inner):
        return False
    argument = op.regions[0].args[op.operands.index(inner.result)]
    shape = op.result.tensor.shape
    readers = [o for o in op.regions[0].ops if argument in o.operands]
    return shape == inner.result.tensor.shape and all(o.defn.elementwise for o in readers)


def _right(op: Op) -> tuple[str, Access]:
    """How a product reads its right operand: the encoding, and where elements are."""
    (region,) = op.regions
    right = next(o for o in region.ops if o.name == "contract").operands[1]
    way = identity(right.tensor.shape)
    if right.owner is not None and right.owner.name == "access":
        attrs = right.owner.attrs
        way = Access(attrs["shape"], attrs["strides"], attrs["offset"])
        right = right.owner.operands[0]
    return op.attrs["encodings"][region.args.index(right)], way


# ---- kernels side by side ------------------------------------------------------------------------


def _siblings(block: Block, keys: Callable[[Op], Sequence[object]]) -> None:
    """Kernels that have a key in common are done where the first of them is."""
    families: dict[object, list[Op]] = {}
    for op in block.ops:
        for key in keys(op):
            families.setdefault(key, []).append(op)
    for family in families.values():
        family = [op for op in family if op in block.ops]
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
                joined(block, together)


def _multiplied(op: Op) -> Sequence[object]:
    """The rows that a product multiplies: with several matrices in one launch."""
    rows = rows_of(op)
    return () if rows is None else (rows,)


def _alike(op: Op) -> Sequence[object]:
    """What kernels have in common that are equal work for the threads of one launch: results of
    concatenations, the length of rows with the launches that made them."""
    if op.name != "fused" or len(op.results) > 1:
        return ()
    (region,) = op.regions
    match op.attrs["family"]:
        case "concat":
            return [op.result.type]
        case "row":
            reduced = (o for o in region.ops if o.defn.kernel == "reduce")
            lengths = {o.operands[0].tensor.shape[-1] for o in reduced}
            owners = dict.fromkeys(v.owner for v in op.operands)
            made = [o for o in owners if o is not None and o.name == "fused"]
            return [(source, *lengths) for source in made]
    return ()


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
    # numbers of run time that are made, or looked at by a check, on the way
    late = {symbol for inner in between for symbol in defines(inner)}
    late |= {s for inner in between if inner.name == "check" for s in _symbols(inner)}
    if any(s[0] == "$" for inner in moved for s in late & _symbols(inner)):
        return False
    block.ops = [inner for inner in block.ops if inner not in moved]
    at = block.ops.index(to) + 1
    block.ops[at:at] = moved
    return True


def _symbols(op: Op) -> set[str]:
    """The symbols that an operation, and those in it, compute with."""
    parts = (p for o in op.walk() for p in (*o.attrs.values(), *(v.type for v in o.results)))
    return {symbol for part in parts for symbol in symbols_of(part)}


# ---- what is concatenated ------------------------------------------------------------------------


def _pieces_made(block: Block) -> None:
    """What only a concatenation reads is computed element by element where it goes."""
    readers = uses(block)
    for op in list(block.ops):
        for operand in list(op.operands) if op.name == "fused" else ():
            inner = operand.owner
            if inner in block.ops and readers[operand] == [op] and _makes_piece(inner, op):
                _reshaped(op, inner)
                inlined(op, inner)
                block.ops.remove(inner)


def _makes_piece(inner: Op, op: Op) -> bool:
    families = inner.attrs.get("family"), op.attrs["family"]
    if families != ("elementwise", "concat") or not has_room(inner, op):
        return False
    piece = _piece(op, inner.result)
    (concat,) = (o for o in op.regions[0].ops if o.name == "concat")
    if piece is None or concat.operands.count(piece) > 1:
        return False
    place = Access(piece.tensor.shape, row_major(concat.result.tensor.shape), Dim.of(0))
    return reshaped(place, inner.result.tensor.shape) is not None


def _piece(op: Op, value: Value) -> Value | None:
    """What a concatenation takes of an operand, when that is all of it in order, once."""
    (region,) = op.regions
    argument = region.args[op.operands.index(value)]
    (reader, *others) = (o for o in region.ops if argument in o.operands)
    if others:
        return None
    if reader.name == "concat":
        return argument
    way = Access(reader.attrs["shape"], reader.attrs["strides"], reader.attrs["offset"])
    whole = way == identity(way.shape) and reader.result.tensor.numel == value.tensor.numel
    return reader.result if whole else None


def _reshaped(op: Op, inner: Op) -> None:
    """Let a concatenation read an operand by a reshape, which is not an access of memory."""
    piece = _piece(op, inner.result)
    if piece is not None and piece.owner is not None:
        access = piece.owner
        access.defn, access.attrs = OPS["reshape"], {"shape": piece.tensor.shape}
