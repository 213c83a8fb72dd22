"""Attention as programs write it: a softmax between two products, found from its last operation."""

from __future__ import annotations

from dataclasses import dataclass

from tlc.ir.core import Op, Value
from tlc.ir.dims import Dim, product
from tlc.ir.passes.factors import Factored, strides
from tlc.ir.passes.views import ONE, ZERO
from tlc.ir.types import FLOATS

LARGEST_HEAD = 256  # elements of a head that kernels keep at hand
MOST_STEPS = 64  # operations on the scores, or of a mask, that one kernel computes


@dataclass(frozen=True, slots=True)
class Parts:
    """An attention as it was written: both products, the scores before the softmax, and the
    operations that lead from the first product to them."""

    first: Op
    last: Op
    scores: Value
    path: frozenset[Op]

    @property
    def columns(self) -> Dim:
        return self.first.result.tensor.shape[-1]


def match(last: Op, readers: dict[Value, list[Op]]) -> Parts | None:
    """The attention that ends with a product, when nothing of its inside is read from outside."""
    columns = last.operands[0].tensor.shape[-1]
    softmax = _softmax(last.operands[0], columns)
    if softmax is None:
        return None
    scores, inside = softmax
    path = _path(scores)
    if path is None:
        return None
    first, between = path
    if columns != first.result.tensor.shape[-1] or not _heads_fit(first, last):
        return None
    inside |= {first, *between}
    for op in inside:
        if any(
            reader not in inside and reader is not last for reader in readers.get(op.result, ())
        ):
            return None
    return Parts(first, last, scores, frozenset(between))


def _heads_fit(first: Op, last: Op) -> bool:
    sizes = (first.operands[0].tensor.shape[-1], last.result.tensor.shape[-1])
    return all(size.is_static and 1 <= int(size) <= LARGEST_HEAD for size in sizes)


def is_quiet(op: Op) -> bool:
    """Whether an operation leaves the elements and their order as they are, but for rounding."""
    if op.name == "cast":
        return op.operands[0].tensor.dtype in FLOATS and op.result.tensor.dtype in FLOATS
    return op.name == "reshape"


def _behind(value: Value, inside: set[Op], quiet: str = "") -> Op | None:
    """The operation behind reshapes and conversions (and views of the name `quiet`), which are
    added to `inside`, as it is itself."""
    while value.owner is not None:
        inside.add(value.owner)
        if not is_quiet(value.owner) and value.owner.name != quiet:
            return value.owner
        value = value.owner.operands[0]
    return None


def _softmax(weights: Value, columns: Dim) -> tuple[Value, set[Op]] | None:
    """The scores whose softmax a value is, and the operations in between."""
    inside: set[Op] = set()
    div = _behind(weights, inside)
    if div is None or div.name != "div":
        return None
    exp = _behind(div.operands[0], inside)
    total = _row_value(div.operands[1], "reduce_sum", columns, inside)
    if exp is None or exp.name != "exp" or total is None:
        return None
    if _behind(total.operands[0], inside) is not exp:
        return None
    sub = _behind(exp.operands[0], inside)
    if sub is None or sub.name != "sub":
        return None
    top = _row_value(sub.operands[1], "reduce_max", columns, inside)
    if top is None:
        return None
    scores = sub.operands[0]
    source = _source(scores)
    if _source(top.operands[0]) is not source or source is None:
        return None
    for value in (scores, top.operands[0]):
        while value is not source:
            assert value.owner is not None
            inside.add(value.owner)
            value = value.owner.operands[0]
    return source, inside


def _source(value: Value) -> Value:
    """What is behind reshapes and conversions of numbers."""
    while value.owner is not None and is_quiet(value.owner):
        value = value.owner.operands[0]
    return value


def _row_value(value: Value, name: str, columns: Dim, inside: set[Op]) -> Op | None:
    """The reduction along rows of so many columns whose result a value repeats along them."""
    views: list[Op] = []
    at = value
    while at.owner is not None and (is_quiet(at.owner) or at.owner.name == "broadcast"):
        views.append(at.owner)
        at = at.owner.operands[0]
    reduce = at.owner
    if reduce is None or reduce.name != name:
        return None
    shape, axis = reduce.operands[0].tensor.shape, reduce.attrs["axis"]
    if shape[axis] != columns or product(shape[axis + 1 :]) != ONE:
        return None
    rows = product(shape[:axis])
    seen = Factored.dense(at.tensor.shape).through(v for v in views[::-1] if v.name != "cast")
    steps = strides(seen, [rows, columns])
    if steps is None or steps[1] != ZERO or steps[0] not in (ONE, ZERO):
        return None
    if steps[0] == ZERO and rows != ONE:
        return None
    inside |= {reduce, *views}
    return reduce


def _path(scores: Value) -> tuple[Op, set[Op]] | None:
    """The one product that scores are computed from, element by element, and the way from it."""
    reached: dict[Op, bool] = {}
    products: set[Op] = set()

    def visit(value: Value) -> bool:
        owner = value.owner
        if owner is None or len(reached) > MOST_STEPS:
            return False
        if owner.name == "contract":
            products.add(owner)
            return True
        if owner.name != "reshape" and not owner.defn.elementwise:
            return False
        if owner not in reached:
            reached[owner] = False
            leads = [visit(v) for v in owner.operands]
            reached[owner] = any(leads)
        return reached[owner]

    if not visit(scores) or len(products) != 1 or len(reached) > MOST_STEPS:
        return None
    (first,) = products
    if first.result.tensor.numel != scores.tensor.numel:
        return None
    return first, {op for op, leads in reached.items() if leads}
