"""Kernels become one launch: products of the same rows, and what computes the rows of a product.

The projections of queries, keys and values multiply the same rows with different weights; a gate
and what it opens are two products, and one is all that the other's kernel reads beside. Both read
normalised rows, which their kernels make themselves, as does a kernel of rows that reads them too:
an encoder adds what it has normalised to what it makes of it. Concatenations compute what goes into
them. Keys and values that one launch has made are normalised, and appended to a cache, by one, or
by the attention that reads it (`append.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tlc.ir.core import Block, Func, Op, Value, symbols_of, uses
from tlc.ir.dims import Dim
from tlc.ir.opdef import OPS
from tlc.ir.passes.append import append
from tlc.ir.passes.attention import COSTLY
from tlc.ir.passes.cleanup import defines
from tlc.ir.passes.groups import MOST_OPERANDS
from tlc.ir.passes.views import Access, identity, reshaped
from tlc.ir.passes.weights import WEIGHTS
from tlc.ir.types import FLOATS, row_major
from tlc.ir.verify import OPEN

MOST_REMADE = 2048  # numbers of a row that two kernels make, of what stays in a first cache
MOST_RESULTS = 4  # of one launch: its text should stay one that a compiler likes


def merge(func: Func) -> None:
    """Merge the kernels of a fused function."""
    _block(func.body)


def _block(block: Block) -> None:
    for op in block.ops:
        for region in op.regions if op.name in OPEN else ():
            _block(region)
    _absorbed(block, _is_twin)
    _siblings(block, _multiplied)
    _absorbed(block, _makes_rows)
    _remade(block)
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
                _inlined(op, inner)
                block.ops.remove(inner)
                break


# ---- two sums for one result ---------------------------------------------------------------------


def _is_twin(op: Op, inner: Op) -> bool:
    """Whether two products have the same rows and sizes, and read weights in the same way: the
    second, which only the first reads, element by element, can then be computed there."""
    rows = _rows_of(op)
    if rows is None or rows != _rows_of(inner):
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


def _inlined(op: Op, inner: Op) -> None:
    """Put what an operation computes into the kernel of its reader."""
    (region,), (other,) = op.regions, inner.regions
    here: dict[Value, Value] = {}
    encodings = list(op.attrs["encodings"])
    for value, argument, encoding in zip(
        inner.operands, other.args, inner.attrs["encodings"], strict=True
    ):
        if value not in op.operands:
            op.operands.append(value)
            encodings.append(encoding)
            region.args.append(argument)
        here[argument] = region.args[op.operands.index(value)]
    for each in other.ops:
        each.operands = [here.get(v, v) for v in each.operands]
    at = op.operands.index(inner.result)
    (made,) = other.yielded
    argument = region.args[at]
    for each in region.ops:
        each.operands = [made if v is argument else v for v in each.operands]
    region.ops = other.ops[:-1] + region.ops
    del op.operands[at], region.args[at], encodings[at]
    op.attrs["encodings"] = tuple(encodings)


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
                _joined(block, together)


def _multiplied(op: Op) -> Sequence[object]:
    """The rows that a product multiplies: with several matrices in one launch."""
    rows = _rows_of(op)
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


# ---- rows that a product makes itself ------------------------------------------------------------


def _makes_rows(op: Op, inner: Op) -> bool:
    """Whether an operation makes the left operand of all products of a kernel, by arithmetic on the
    elements and on what is the same along a row. Each tile of a product computes its rows anew."""
    if inner.name != "fused" or inner.attrs["family"] not in ("row", "elementwise"):
        return False
    rows, (region,) = _rows_of(op), op.regions
    if rows is None or rows[0] is not inner.result or rows[1] or len(inner.results) > 1:
        return False
    argument = region.args[op.operands.index(inner.result)]
    readers = [o for o in region.ops if argument in o.operands]
    if any(o.name != "contract" or o.operands[1] is argument for o in readers):
        return False
    inside = inner.regions[0].ops[:-1]
    shape = inner.result.tensor.shape
    return _has_room(inner, op) and all(_is_light(o, shape) for o in inside)


def _remade(block: Block) -> None:
    """Short rows that only a product and a kernel of such rows read are made by both."""
    readers = uses(block)
    for inner in list(block.ops):
        found = readers.get(inner.results[0], []) if len(inner.results) == 1 else []
        if len(found) != 2 or any(op not in block.ops for op in found):
            continue
        by_family = {op.attrs.get("family"): op for op in found}
        product, row = by_family.get("matmul"), by_family.get("row")
        if product is None or row is None or not _makes_rows(product, inner):
            continue
        if _walks_alike(row, inner):
            _inlined(row, _copy(inner))
            _inlined(product, inner)
            block.ops.remove(inner)


def _walks_alike(op: Op, inner: Op) -> bool:
    """Whether two kernels have the same short rows, and one reads the other's as they lie."""
    if inner.attrs["family"] != "row" or len(op.results) > 1 or not _has_room(inner, op):
        return False
    (region,), made = op.regions, inner.result.tensor
    argument = region.args[op.operands.index(inner.result)]
    plain = all(o.name != "access" for o in region.ops if argument in o.operands)
    length = made.shape[-1]
    short = length.is_static and int(length) <= MOST_REMADE
    return plain and short and op.result.tensor.shape == made.shape


def _copy(op: Op) -> Op:
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


def _has_room(inner: Op, op: Op) -> bool:
    return len({*inner.operands, *op.operands}) + len(op.results) <= MOST_OPERANDS


def _is_light(op: Op, shape: tuple[Dim, ...]) -> bool:
    """Whether an operation of a kernel can be done for every tile of a product by it."""
    numbers = [v for v in (*op.operands, *op.results) if v.tensor.dtype in FLOATS]
    if len(numbers) < len(op.operands) + 1 or any(v.tensor.rank != 2 for v in op.results):
        return False
    if op.defn.kernel == "reduce":
        return op.attrs["axis"] == 1 and "arg" not in op.name
    if op.name == "iota" or op.result.tensor.shape != shape:
        return op.name != "iota"
    return COSTLY.search(op.defn.msl or "") is None


# ---- what is concatenated ------------------------------------------------------------------------


def _pieces_made(block: Block) -> None:
    """What only a concatenation reads is computed element by element where it goes."""
    readers = uses(block)
    for op in list(block.ops):
        for operand in list(op.operands) if op.name == "fused" else ():
            inner = operand.owner
            if inner in block.ops and readers[operand] == [op] and _makes_piece(inner, op):
                _reshaped(op, inner)
                _inlined(op, inner)
                block.ops.remove(inner)


def _makes_piece(inner: Op, op: Op) -> bool:
    families = inner.attrs.get("family"), op.attrs["family"]
    if families != ("elementwise", "concat") or not _has_room(inner, op):
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
