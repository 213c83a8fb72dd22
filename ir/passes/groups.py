"""Which operations share a kernel: the body is walked once from its end, and an operation joins the
group of its readers when they are one group and the group's kernel can compute it on the way.

A group has at most one *root*, the operation that gives a kernel family its shape. All values of a
group lie on one of two *levels* that the family relates: `full`, and `kept`, which is what is left
of `full` after a reduction. Within a level, element k of one value belongs to element k of another
in row-major order, whatever their shapes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from tlc.ir.core import Block, Op, Value, uses
from tlc.ir.dims import Dim, product
from tlc.ir.passes.attention import Attention
from tlc.ir.passes.canonical import counting_axis, splat
from tlc.ir.passes.factors import refined
from tlc.ir.passes.views import ONE, ZERO, Access, access_of, reshaped, trace

FULL, KEPT = "full", "kept"
# kernels that read their operands from memory, and those that compute nothing behind their root
FROM_MEMORY = (
    *("matmul", "convolution", "window"),
    *("gather", "concat", "sort", "scan", "scatter"),
)
LAST = ("concat", "sort", "scan", "scatter")
# of one kernel: Metal gives it 31 buffers, and its text should stay one that a compiler likes
MOST_OPERANDS = 24
MOST_OPS = 256


@dataclass(eq=False, slots=True)
class Group:
    """Operations of one kernel; `sink` is the last, whose result is stored."""

    sink: Op
    family: str = "elementwise"
    root: Op | None = None
    level: dict[Op, str] = field(default_factory=dict)
    shapes: dict[str, tuple[Dim, ...]] = field(default_factory=dict)
    barred: set[Op] = field(default_factory=set)  # reductions it must not count on
    reads: set[Value] = field(default_factory=set)  # what it needs from memory so far


def is_compute(op: Op) -> bool:
    """Whether an operation makes numbers that a kernel has to compute."""
    return op.defn.elementwise or op.defn.kernel is not None


def form_groups(block: Block, attentions: Mapping[Op, Attention]) -> dict[Op, Group]:
    """The group of every computing operation of a block; those of an attention stay together.

    A group may count on a reduction behind one of its operations that then, because others read
    it too, does not come to stand in the group; such reductions are barred and the walk repeated.
    """
    readers = _readers(block)
    barred: set[Op] = set()
    while True:
        group_of = _walk(block, readers, barred, attentions)
        absent = {g.root for g in group_of.values() if g.root is not None and g.root not in g.level}
        if not absent:
            return group_of
        barred |= absent


def _walk(
    block: Block,
    readers: dict[Value, list[Op]],
    barred: set[Op],
    attentions: Mapping[Op, Attention],
) -> dict[Op, Group]:
    group_of: dict[Op, Group] = {}
    for op in reversed(block.ops):
        if not is_compute(op):
            continue
        attention = attentions.get(op)
        if attention is not None and op is not attention.root:
            inner = group_of[op] = group_of[attention.root]
            inner.level[op] = attention.level[op]
            inner.reads |= _operands(op)
            continue
        into = {group_of.get(reader) for reader in readers.get(op.result, ())}
        group = into.pop() if len(into) == 1 else None
        if group is None or not _has_room(group, op) or not _joins(group, op, readers[op.result]):
            group = _started(op, barred)
        group.reads.discard(op.result)
        group.reads |= _operands(op)
        group_of[op] = group
        if attention is not None:
            group.family, group.shapes = "attention", attention.shapes
    for group in dict.fromkeys(group_of.values()):
        if FULL not in group.shapes:
            group.shapes[FULL] = _finest(group)
        _refine(group)
    return group_of


def _finest(group: Group) -> tuple[Dim, ...]:
    """The shape with the most axes: what a coarser shape says with strides, a finer one can say.

    Where nothing is read from memory, a counter's own shape: it counts along one axis there.
    """
    shapes = [op.result.tensor.shape for op in group.level]
    if not group.reads:
        shapes = [op.result.tensor.shape for op in group.level if op.name == "iota"] or shapes
    return max(shapes, key=lambda shape: sum(size != ONE for size in shape))


def _refine(group: Group) -> None:
    """Cut the axes of a group where its operands are views that take it.

    A reduced axis and the axes that counters count along stay whole.
    """
    if group.family not in ("elementwise", "row", "column"):
        return
    full = group.shapes[FULL]
    finer = refined(full, _read_on_full(group))
    counters = [(op.result.tensor, op.attrs["axis"]) for op in group.level if op.name == "iota"]
    lost = any(
        counting_axis(type, axis, full) is not None and counting_axis(type, axis, finer) is None
        for type, axis in counters
    )
    if finer == full or lost:
        return
    if KEPT in group.shapes:
        at = next((k for k, d in enumerate(full) if d != group.shapes[KEPT][k]), None)
        if at is None:
            return
        behind = product(full[at + 1 :])
        places = [k for k in range(len(finer)) if product(finer[k + 1 :]) == behind]
        if not places or finer[places[-1]] != full[at]:
            return
        group.shapes[KEPT] = (*finer[: places[-1]], ONE, *finer[places[-1] + 1 :])
    group.shapes[FULL] = finer


def _read_on_full(group: Group) -> list[Value]:
    """What a group reads from memory element by element."""
    found = []
    for op, level in group.level.items():
        if op.defn.kernel == "reduce" or (op.defn.elementwise and level == FULL):
            found += [v for v in op.operands if splat(v) is None]
    return [v for v in found if trace(v)[0].owner not in group.level]


def _readers(block: Block) -> dict[Value, list[Op]]:
    """For every value that is not a view, the operations that read it, views looked through."""
    found: dict[Value, list[Op]] = {}
    for value, ops in uses(block).items():
        base, _ = trace(value)
        found.setdefault(base, []).extend(op for op in ops if not op.defn.view)
    return found


def _operands(op: Op) -> set[Value]:
    """What an operation reads from memory; numbers that are known stand in the kernel's text."""
    return {trace(v)[0] for v in op.operands if splat(v) is None}


def _has_room(group: Group, op: Op) -> bool:
    reads = group.reads - {op.result} | _operands(op)
    return len(group.level) < MOST_OPS and len(reads) <= MOST_OPERANDS


def geometry(reduce: Op) -> tuple[Dim, Dim, Dim]:
    """A reduction as (outer, reduced, inner) sizes of its operand."""
    shape, axis = reduce.operands[0].tensor.shape, reduce.attrs["axis"]
    return product(shape[:axis]), shape[axis], product(shape[axis + 1 :])


def _started(op: Op, barred: set[Op]) -> Group:
    group = Group(op, barred=barred)
    match op.defn.kernel:
        case "reduce":
            _set_reduction(group, op)
            group.level[op] = KEPT
        case None | "elementwise":
            group.level[op] = FULL
        case family:
            group.family, group.root = family, op
            group.level[op] = FULL
            group.shapes[FULL] = op.result.tensor.shape
    return group


def _set_reduction(group: Group, op: Op) -> None:
    """Give a group a reduction's shape; rows have their own axis last, and others before it."""
    shape, axis = op.operands[0].tensor.shape, op.attrs["axis"]
    group.root = op
    if geometry(op)[2] == ONE:
        lead = shape[:axis] or (ONE,)
        group.family, group.shapes = "row", {FULL: (*lead, shape[axis]), KEPT: (*lead, ONE)}
    else:
        group.family, group.shapes = "column", {FULL: shape, KEPT: op.result.tensor.shape}


# ---- joining -------------------------------------------------------------------------------------


def _joins(group: Group, op: Op, readers: list[Op]) -> bool:
    """Add an operation to the group of its readers, if the group's kernel can hold it."""
    links = [
        (reader, trace(operand)[1])
        for reader in set(readers)
        for operand in reader.operands
        if trace(operand)[0] is op.result
    ]
    if any(r.defn.kernel in FROM_MEMORY for r, _ in links):
        return False
    if op.defn.kernel == "reduce":
        return _reduction_joins(group, op, links)
    level = _level(group, op, links)
    if level is None:
        return False
    if op.defn.kernel not in (None, "elementwise"):
        if group.root is not None or op.defn.kernel in LAST:
            return False
        group.family, group.root = str(op.defn.kernel), op
        group.shapes = {FULL: op.result.tensor.shape}
    group.level[op] = level
    return True


def _level(group: Group, op: Op, links: list[tuple[Op, list[Op]]]) -> str | None:
    """The level on which all readers of an elementwise operation want it, if they agree."""
    levels: set[str | None] = set()
    for reader, chain in links:
        want = FULL if reader.defn.kernel == "reduce" else group.level[reader]
        if _is_identity(op.result, chain):
            levels.add(want)
        elif want == FULL and _row_rooted(group, op) and _is_spread(group, op.result, chain):
            levels.add(KEPT)
        else:
            return None
    return levels.pop() if len(levels) == 1 else None


def _is_identity(value: Value, chain: list[Op]) -> bool:
    """Whether a chain of views keeps the row-major order of all elements."""
    return all(view.name == "reshape" for view in chain)


def _is_spread(group: Group, value: Value, chain: list[Op]) -> bool:
    """Whether a chain repeats one number per row along the group's rows."""
    access = access_of(value, chain)
    if access is None or group.family != "row":
        return False
    *lead, _ = group.shapes[FULL]
    seen = reshaped(access, group.shapes[FULL])
    if seen is None or value.tensor.numel != product(lead):
        return False
    per_row = Access(tuple(lead), seen.strides[:-1], ZERO)
    return seen.strides[-1] == ZERO and per_row.contiguous


def _row_rooted(group: Group, op: Op) -> bool:
    """Whether the group is of rows, or becomes so because a reduction stands behind `op`."""
    if group.root is not None:
        return group.family == "row"
    reduce = _reduction_behind(op)
    if reduce is None or reduce in group.barred or not _fits_rows(group, reduce):
        return False
    _set_reduction(group, reduce)
    return True


def _reduction_behind(op: Op, most: int = 32) -> Op | None:
    """A last-axis reduction that an elementwise operation is computed from, element for element.

    The operations behind `op` are walked, the nearest first, and no more than `most` of them.
    """
    waiting, seen = deque([op]), {op}
    while waiting and len(seen) <= most:
        for operand in waiting.popleft().operands:
            base, chain = trace(operand)
            owner = base.owner
            if owner is None or owner in seen or not _is_identity(base, chain):
                continue
            seen.add(owner)
            if owner.defn.kernel == "reduce" and geometry(owner)[2] == ONE:
                return owner
            if owner.defn.elementwise:
                waiting.append(owner)
    return None


def _fits_rows(group: Group, reduce: Op) -> bool:
    """Whether a group of elementwise operations runs over the rows that a reduction reduces."""
    outer, size, _ = geometry(reduce)
    return group.sink.result.tensor.numel == outer * size


def _reduction_joins(group: Group, op: Op, links: list[tuple[Op, list[Op]]]) -> bool:
    outer, size, inner = geometry(op)
    identity = all(
        _is_identity(op.result, chain) and reader.defn.kernel != "reduce" for reader, chain in links
    )
    if group.root is None:
        if identity:  # the group so far is what follows the reduction
            _set_reduction(group, op)
            group.level = dict.fromkeys([*group.level, op], KEPT)
            return True
        if inner != ONE or not _fits_rows(group, op):
            return False
        _set_reduction(group, op)
    if group.family != "row" or inner != ONE:
        return False
    *lead, length = group.shapes[FULL]
    if (product(lead), length) != (outer, size):
        return False
    for reader, chain in links:
        want = FULL if reader.defn.kernel == "reduce" else group.level[reader]
        fits = (
            _is_identity(op.result, chain) if want == KEPT else _is_spread(group, op.result, chain)
        )
        if not fits:
            if group.root is op:
                group.root, group.family, group.shapes = None, "elementwise", {}
            return False
    group.level[op] = KEPT
    return True
