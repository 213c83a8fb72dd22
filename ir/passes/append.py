"""What is appended to a cache is made by the attention that reads the cache: one launch for both.

A decoder makes a row of keys and one of values for a token, appends them, and attends over all of
them. Each head of keys is read by threads of its own: they make what is new of it themselves. Where
the memory of the result does not begin with what there was, that has to be copied, and they are two
launches again (`apart`); the plan of memory knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tlc.ir.core import Block, Op, Value
from tlc.ir.dims import product
from tlc.ir.opdef import OPS
from tlc.ir.passes.groups import MOST_OPERANDS
from tlc.ir.passes.views import ONE, ZERO, Access, identity
from tlc.ir.types import row_major

MOST_ROWS = 32  # that share a head of keys: a threadgroup can take them all


def append(block: Block) -> None:
    """Move concatenations into the attention that reads what they make first."""
    for op in list(block.ops):
        if op.name == "fused" and op.attrs["family"] == "attention":
            for source in dict.fromkeys(v.owner for v in op.operands):
                if source is not None and source in block.ops and _fits(block, op, source):
                    op = _moved_in(block, op, source)


def _fits(block: Block, op: Op, source: Op) -> bool:
    """Whether all that an operation makes is keys or values of an attention, with a row more."""
    if source.name != "fused" or source.attrs["family"] != "concat":
        return False
    between = block.ops[block.ops.index(source) + 1 : block.ops.index(op)]
    early = {v for other in between for inner in other.walk() for v in inner.operands}
    operands = {*source.operands, *op.operands} - {*source.results}
    count = len(operands) + len(op.results) + len(source.results)
    if early & {*source.results} or count > MOST_OPERANDS:
        return False
    return all(
        value in op.operands and _grows_by_a_row(made.owner) and _by_heads(op, value, made.owner)
        for value, made in zip(source.results, source.regions[0].yielded, strict=True)
    )


def _grows_by_a_row(concat: Op | None) -> bool:
    """Whether a concatenation is what there was and one row behind it."""
    if concat is None or concat.name != "concat" or len(concat.operands) != 2:
        return False
    first, second = concat.operands
    axis, shape = concat.attrs["axis"], concat.result.tensor.shape
    whole = first.owner is None and first is not second
    return whole and product(shape[:axis]) == ONE == second.tensor.shape[axis]


def _by_heads(op: Op, cache: Value, concat: Op | None) -> bool:
    """Whether a row of a cache is one head behind the other, as attention goes through its heads,
    and what makes a row has axes that begin with each head."""
    assert concat is not None
    (region,) = op.regions
    argument = region.args[op.operands.index(cache)]
    first, last = (inner for inner in region.ops if inner.name == "contract")
    *lead, _ = first.result.tensor.shape
    seen = [_seen(first.operands[1]), _seen(last.operands[1])]
    steps = [(*access.strides[:-2], ZERO) for _, access in seen]
    heads = [at for at, size in enumerate(lead) if size != ONE and {s[at] for s in steps} != {ZERO}]
    rows = product(size for at, size in enumerate(lead) if at not in heads)
    if not rows.is_static or int(rows) > MOST_ROWS:
        return False
    row, made = product(concat.operands[1].tensor.shape), appended(concat).tensor.shape
    sides = [number for number, (source, _) in enumerate(seen) if source is argument]
    readers = sum(inner.operands.count(argument) for inner in region.ops)
    for number in sides:
        access = seen[number][1]
        key, along = (-1, -2) if number == 0 else (-2, -1)
        size = access.shape[along]
        wanted = [step * size for step in row_major([lead[at] for at in heads])]
        if (access.offset, access.strides[key], access.strides[along]) != (ZERO, row, ONE):
            return False
        if [steps[number][at] for at in heads] != wanted:
            return False
        if product([*(lead[at] for at in heads), size]) != row:
            return False
        if size not in [product(made[at:]) for at in range(len(made) + 1)]:
            return False
    return readers == len(sides) > 0


def _seen(value: Value) -> tuple[Value, Access]:
    """What a product of a kernel reads from memory, and how."""
    if value.owner is None or value.owner.name != "access":
        return value, identity(value.tensor.shape)
    a = value.owner.attrs
    return value.owner.operands[0], Access(a["shape"], a["strides"], a["offset"])


def appended(concat: Op) -> Value:
    """What is computed of the row that a concatenation appends."""
    made = concat.operands[1]
    reshape = made.owner
    return reshape.operands[0] if reshape is not None and reshape.name == "reshape" else made


# ---- one kernel from two, and two from one -------------------------------------------------------


def _moved_in(block: Block, op: Op, source: Op) -> Op:
    """An attention in place of this one that yields, behind its results, those of an operation."""
    (region,), (other,) = op.regions, source.regions
    bound = _bound(source)
    arguments = {operand: argument for argument, (operand, _) in bound.items()}
    arguments |= zip(source.results, other.yielded, strict=True)
    here: dict[Value, Value] = {}
    for argument, (operand, encoding) in _bound(op).items():
        here[argument] = arguments.setdefault(operand, argument)
        if here[argument] is argument:
            bound[argument] = operand, encoding
    for inner in region.ops:
        inner.operands = [here.get(v, v) for v in inner.operands]
    ops = [*other.ops[:-1], *_by_accesses(region.ops[:-1], other.yielded)]
    whole = _kernel(op, "attention", ops, [*region.yielded, *other.yielded], bound)
    whole.results = [*op.results, *source.results]
    for value in whole.results:
        value.owner = whole
    block.ops[block.ops.index(op)] = whole
    block.ops.remove(source)
    return whole


def _by_accesses(ops: Sequence[Op], grown: Sequence[Value]) -> list[Op]:
    """Operations that read what has grown as it lies in memory, whatever they read of it."""
    found = []
    for op in ops:
        for value in grown if op.name != "access" else ():
            if value in op.operands:
                way = identity(value.tensor.shape)
                attrs = {"shape": way.shape, "strides": way.strides, "offset": way.offset}
                access = Op(OPS["access"], [value], attrs, span=op.span)
                access.results = [Value(value.type, access)]
                op.operands = [access.result if v is value else v for v in op.operands]
                found.append(access)
        found.append(op)
    return found


def apart(op: Op) -> list[Op]:
    """The concatenations of an attention, and the attention that reads what they make, as launches
    of their own. They have the same operands and results, whose owner stays as it is."""
    (region,), bound = op.regions, _bound(op)
    attended, *grown = region.yielded
    concats = _kernel(op, "concat", region.ops[:-1], grown, bound)
    concats.results = op.results[1:]
    here = {argument: argument for argument in region.args}
    for made, value in zip(grown, op.results[1:], strict=True):
        here[made] = Value(made.type)
        bound[here[made]] = value, made.tensor.dtype
    ops = []
    for inner in region.ops[:-1]:
        copy = Op(inner.defn, [here[v] for v in inner.operands], inner.attrs, span=inner.span)
        copy.results = [here.get(v) or Value(v.type, copy) for v in inner.results]
        here |= zip(inner.results, copy.results, strict=True)
        ops += [] if inner.result in grown else [copy]
    rest = _kernel(op, "attention", ops, [here[attended]], bound)
    rest.results = op.results[:1]
    return [concats, rest]


def _bound(op: Op) -> dict[Value, tuple[Value, str]]:
    """What each argument of a kernel stands for, and how memory holds that."""
    pairs = zip(op.operands, op.attrs["encodings"], strict=True)
    return dict(zip(op.regions[0].args, pairs, strict=True))


def _kernel(
    like: Op,
    family: str,
    ops: Sequence[Op],
    yielded: Sequence[Value],
    bound: Mapping[Value, tuple[Value, str]],
) -> Op:
    """A kernel that yields some values, of those operations that it takes."""
    needed = set(yielded)
    inside: list[Op] = []
    for inner in reversed(ops):
        if inner.result in needed:
            needed.update(inner.operands)
            inside.insert(0, inner)
    args = [argument for argument in bound if argument in needed]
    region = Block(args, [*inside, Op(OPS["yield"], list(yielded), {})])
    attrs = {
        "family": family,
        "encodings": tuple(bound[argument][1] for argument in args),
        "results": tuple(value.type for value in yielded),
    }
    operands = [bound[argument][0] for argument in args]
    return Op(OPS["fused"], operands, attrs, regions=[region], span=like.span)
