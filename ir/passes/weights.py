"""What happens to weights before anything runs: packed or expanded, and work on them done once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from tlc.frontend.diagnostics import Diagnostic
from tlc.ir.core import Block, Func, Op, Value, replace_operands
from tlc.ir.dims import SEED, Dim
from tlc.ir.formats import BFLOAT, PACKED, READ_AS_F16
from tlc.ir.opdef import OPS
from tlc.ir.passes.cleanup import dce
from tlc.ir.passes.views import Access, access_of, trace
from tlc.ir.types import row_major

WEIGHTS = ("weight", "weight_of")
Warn = Callable[[Diagnostic], None]


# ---- packed or expanded --------------------------------------------------------------------------


def expand_unreadable(func: Func, warn: Warn) -> None:
    """Where a weight that is not float16 is read by what cannot convert it, read a float16 copy."""
    _expand(func.body, {}, warn)


def _expand(block: Block, expanded: dict[Op, Value], warn: Warn) -> None:
    ops, block.ops = block.ops, []
    for op in ops:
        for region in op.regions:
            _expand(region, dict(expanded), warn)
        for at, operand in enumerate(op.operands if not op.defn.view else ()):
            base, chain = trace(operand)
            weight = base.owner
            if weight is None or weight.name not in WEIGHTS:
                continue
            stored = weight.attrs["stored"]
            if stored in READ_AS_F16 and not readable_packed(op, at, chain, stored):
                if weight not in expanded:
                    expanded[weight] = _expanded(block, weight)
                    if stored in PACKED:
                        warn(_note(weight, op))
                op.operands[at] = _rebuilt(block, expanded[weight], chain)
        block.ops.append(op)


def readable_packed(reader: Op, at: int, chain: list[Op], encoding: str) -> bool:
    """Whether an operation's kernel unpacks this operand itself: a matrix product its right one,
    a row gather its table."""
    if encoding == BFLOAT:  # each number for itself, wherever it lies
        return (reader.name, at) in (("contract", 1), ("gather", 0))
    base = trace(reader.operands[at])[0]
    shape = base.tensor.shape
    block = PACKED[encoding].block
    if len(shape) != 2 or not shape[1].is_static or int(shape[1]) % block:
        return False
    match reader.name, at:
        case "gather", 0:
            return not chain
        case "contract", 1:
            access = access_of(base, chain)
            return access in (_rows(shape), _columns(shape))
    return False


def _rows(shape: tuple[Dim, ...]) -> Access:
    return Access(shape, row_major(shape), Dim.of(0))


def _columns(shape: tuple[Dim, ...]) -> Access:
    return Access(shape[::-1], row_major(shape)[::-1], Dim.of(0))


def _expanded(block: Block, weight: Op) -> Value:
    made = Op(
        weight.defn, [], {**weight.attrs, "stored": weight.result.tensor.dtype}, span=weight.span
    )
    made.results = [Value(weight.result.type, made)]
    block.ops.append(made)
    return made.result


def _rebuilt(block: Block, value: Value, chain: list[Op]) -> Value:
    for view in chain:
        made = Op(view.defn, [value], dict(view.attrs), span=view.span)
        made.results = [Value(view.result.type, made)]
        block.ops.append(made)
        value = made.result
    return value


def _note(weight: Op, reader: Op) -> Diagnostic:
    name = weight.attrs.get("tensor") or weight.attrs["tensors"][0]
    size = weight.result.tensor.nbytes
    return Diagnostic(
        "W0002",
        f"tensor `{name}` ({weight.attrs['encoding']}) is expanded to {size} bytes for this use",
        reader.span,
        hint="`@`, `linear` and row gathers read it packed",
        severity="warning",
    )


# ---- once ----------------------------------------------------------------------------------------


_OF_POSITIONS = {
    *("iota", "constant", "cast", "add", "sub", "mul"),
    *("eq", "ne", "lt", "le", "gt", "ge"),
}


def hoist(func: Func) -> None:
    """Move work that needs only weights and constants into one `once` operation.

    `main` runs once by itself and stays as it is. Views, constants, counters and conversions of
    these are no work: the kernels of the body do them on the way. What depends on the sizes of a
    call is not the same for all calls, and what a benchmark times is done each time.
    """
    if func.name == "main":
        return
    fixed: set[Value] = set()  # computed from weights and constants alone
    moved: list[Op] = []
    start = next((at for at, op in enumerate(func.body.ops) if op.name == "timed"), None)
    untimed = func.body.ops[:start]
    func.body.ops = [op for op in func.body.ops if op.name != "timed"]
    for op in untimed:
        if op.defn.effect != "pure" or op.regions or op.name == "yield":
            continue
        if all(v in fixed for v in op.operands) and not _depends_on_sizes(op):
            fixed.update(op.results)
            moved.append(op)
    work: dict[Op, None] = {}
    masks = _masks(func.body, moved)
    for op in moved:
        if op in masks:
            continue
        source = op.operands[0].owner if op.operands else None
        if source in work if op.name == "cast" else _is_work(op):
            work[op] = None
    needed = _needed(func.body, work)
    handed_on = [op.result for op in work if op.result in needed]
    if not handed_on:
        return
    copies = _closure(work, moved)
    results = [copies[v.owner].result for v in handed_on if v.owner is not None]
    end = Op(OPS["yield"], results, {})
    region = Block(ops=[*copies.values(), end])
    types = tuple(v.type for v in results)
    span = next(iter(work)).span
    once = Op(OPS["once"], [], {"results": types}, regions=[region], span=span)
    once.results = [Value(t, once) for t in types]
    outer = dict(zip(handed_on, once.results, strict=True))
    func.body.ops = [once, *(op for op in func.body.ops if op not in work)]
    replace_operands(func.body, outer)
    dce(func)  # counters and constants that only the moved work read


def _is_work(op: Op) -> bool:
    return not op.defn.view and op.name not in ("constant", "iota", *WEIGHTS)


def _masks(block: Block, moved: Sequence[Op]) -> set[Op]:
    """Comparisons of positions and constants, and the arithmetic that serves nothing else."""
    readers: dict[Value, list[Op]] = {}
    for outer in block.ops:
        for op in outer.walk():
            for value in op.operands:
                readers.setdefault(value, []).append(op)
    positions: set[Value] = set()
    for op in moved:
        simple = op.defn.view or op.name in _OF_POSITIONS
        if simple and all(v in positions for v in op.operands):
            positions.update(op.results)
    found: set[Op] = set()
    for op in reversed(moved):
        if op.operands and op.result in positions:
            serving = all(reader in found for reader in readers.get(op.result, []))
            if op.result.tensor.dtype == "bool" or serving:
                found.add(op)
    return found


def _depends_on_sizes(op: Op) -> bool:
    dims = [d for value in op.results for d in value.tensor.shape]
    dims += [attr for attr in op.attrs.values() if isinstance(attr, Dim)]
    return any(d.symbols() - SEED.symbols() for d in dims)


def _needed(block: Block, work: Collection[Op]) -> set[Value]:
    """The values that the rest of the body reads; a view that only the work reads is no reader."""
    needed: set[Value] = set()
    for op in reversed(block.ops):
        acts = op.defn.effect != "pure" or op.regions or not op.results
        if op not in work and (acts or any(v in needed for v in op.results)):
            needed.update(v for inner in op.walk() for v in inner.operands)
    return needed


def _closure(work: Iterable[Op], fixed: Iterable[Op]) -> dict[Op, Op]:
    """Copies of the work and of the constants, weights and views under it, in order."""
    wanted: set[Op] = set()
    stack = list(work)
    while stack:
        op = stack.pop()
        if op not in wanted:
            wanted.add(op)
            stack += [v.owner for v in op.operands if v.owner is not None]
    copies: dict[Op, Op] = {}
    values: dict[Value, Value] = {}
    for op in fixed:
        if op in wanted:
            copy = Op(op.defn, [values[v] for v in op.operands], dict(op.attrs), span=op.span)
            copy.results = [Value(v.type, copy) for v in op.results]
            values.update(zip(op.results, copy.results, strict=True))
            copies[op] = copy
    return copies
