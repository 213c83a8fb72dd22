"""Rows that a product makes itself, instead of reading what another launch has stored.

Each part of the product computes them anew, as far as it reads them. What others read of them too
is stored: by some threads of the launch, beside the product.
"""

from __future__ import annotations

from collections.abc import Iterable

from tlc.ir.builder import Builder
from tlc.ir.core import Block, Op, Value, uses
from tlc.ir.dims import Dim
from tlc.ir.opdef import OPS
from tlc.ir.passes.attention import COSTLY
from tlc.ir.passes.combine import MOST_RESULTS, copied, has_room, inlined, joined
from tlc.ir.passes.views import ONE
from tlc.ir.types import FLOATS

MOST_REMADE = 2048  # numbers of a row that two kernels make, of what stays in a first cache


def rows_of(op: Op) -> tuple[object, ...] | None:
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


def makes_rows(op: Op, inner: Op) -> bool:
    """Whether an operation makes the left operand of all products of a kernel, by arithmetic on the
    elements and on what is the same along a row. Each tile of a product computes its rows anew."""
    if inner.name != "fused" or inner.attrs["family"] not in ("row", "elementwise"):
        return False
    rows, (region,) = rows_of(op), op.regions
    if rows is None or rows[0] is not inner.result or rows[1] or len(inner.results) > 1:
        return False
    argument = region.args[op.operands.index(inner.result)]
    readers = [o for o in region.ops if argument in o.operands]
    if any(o.name != "contract" or o.operands[1] is argument for o in readers):
        return False
    inside = inner.regions[0].ops[:-1]
    shape = inner.result.tensor.shape
    return has_room(inner, op) and all(_is_light(o, shape) for o in inside)


def remade(block: Block) -> None:
    """Short rows that only a product and a kernel of such rows read are made by both."""
    readers = uses(block)
    for inner in list(block.ops):
        found = readers.get(inner.results[0], []) if len(inner.results) == 1 else []
        if len(found) != 2 or any(op not in block.ops for op in found):
            continue
        by_family = {op.attrs.get("family"): op for op in found}
        product, row = by_family.get("matmul"), by_family.get("row")
        if product is None or row is None or not makes_rows(product, inner):
            continue
        if _walks_alike(row, inner):
            inlined(row, copied(inner))
            inlined(product, inner)
            block.ops.remove(inner)


def stored_beside(block: Block) -> None:
    """A short row that others read behind a product, which makes more of it, is made by both: by
    the product for itself, and to be stored beside what the product gives. A decoder adds what it
    has normalised to the row that runs through its layers."""
    readers = _readers(block)
    for inner in list(block.ops):
        found = readers.get(inner.results[0], []) if len(inner.results) == 1 else []
        if len(found) > 1 and _goes_on_with(found[0], inner):
            inlined(found[0], _as_stored(copied(inner)))
            block.ops.remove(inner)
            block.ops.insert(block.ops.index(found[0]) + 1, inner)
            joined(block, [found[0], inner])
            readers = _readers(block)


def _as_stored(op: Op) -> Op:
    """The same operation, whose readers see numbers as memory would hold them."""
    (region,) = op.regions
    (made,) = region.yielded
    if made.tensor.dtype == "f16":
        Builder(Block(ops=(ops := region.ops[:-1])), op.span).emit("stored", made)
        region.ops = [*ops, Op(OPS["yield"], [ops[-1].result], {})]
    return op


def _readers(block: Block) -> dict[Value, list[Op]]:
    """For every value, the operations of a block that read it, in order, inside of them or not."""
    found: dict[Value, dict[Op, None]] = {}
    for outer in block.ops:
        for value in (v for op in outer.walk() for v in op.operands):
            found.setdefault(value, {})[outer] = None
    return {value: list(ops) for value, ops in found.items()}


def _goes_on_with(op: Op, inner: Op) -> bool:
    """Whether a product computes its one left row from what an operation makes, element by element,
    and reads nothing of that for other ends."""
    if op.attrs.get("family") != "matmul" or inner.attrs.get("family") != "row":
        return False
    made, (region,) = inner.result.tensor, op.regions
    *lead, length = made.shape
    if lead != [ONE] or not length.is_static or int(length) > MOST_REMADE:
        return False
    left = {o.operands[0] for o in region.ops if o.name == "contract"}
    argument = region.args[op.operands.index(inner.result)]
    reading = [o for o in region.ops if argument in o.operands]
    plain = all(o.name not in ("access", "contract") for o in reading)
    room = len(op.results) < MOST_RESULTS and has_room(inner, op)
    light = all(_is_light(o, made.shape) for o in inner.regions[0].ops[:-1])
    return plain and room and light and {*reading} <= _behind(left)


def _behind(values: Iterable[Value]) -> set[Op]:
    """The operations of a kernel that some values take."""
    found: set[Op] = set()
    waiting = [value.owner for value in values]
    while waiting:
        op = waiting.pop()
        if op is not None and op not in found:
            found.add(op)
            waiting += [operand.owner for operand in op.operands]
    return found


def _walks_alike(op: Op, inner: Op) -> bool:
    """Whether two kernels have the same short rows, and one reads the other's as they lie."""
    if inner.attrs["family"] != "row" or len(op.results) > 1 or not has_room(inner, op):
        return False
    (region,), made = op.regions, inner.result.tensor
    argument = region.args[op.operands.index(inner.result)]
    plain = all(o.name != "access" for o in region.ops if argument in o.operands)
    length = made.shape[-1]
    short = length.is_static and int(length) <= MOST_REMADE
    return plain and short and op.result.tensor.shape == made.shape


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
