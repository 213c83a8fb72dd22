"""The memory of an entry: slots that values share which are not alive at the same time.

The size of a slot is a list of formulas, one for each value that ever lies in it; it is as large as
the largest of them for the sizes of a call.
"""

from __future__ import annotations

from typing import Any

from tlc.codegen.notation import formula
from tlc.ir.core import Block, Op, Value
from tlc.ir.dims import Dim, product


def is_late(nbytes: Dim) -> bool:
    """Whether only the run computes a size."""
    return any(symbol[0] == "$" for symbol in nbytes.symbols())


class Arena:
    """The slots of one entry while its steps are listed."""

    def __init__(self) -> None:
        self.sizes: list[list[Dim]] = []
        self.free: list[int] = []
        self.homes: list[str] = []  # of what the loops around carry: never free inside them
        self.taken: dict[str, None] = {}  # slots, in order, in the function that is listed

    def take(self, value: Value) -> str:
        """A slot that is free now: one of the same size first, then the best static fit.

        What has a size that only the run computes shares slots that grow as they need.
        """
        nbytes = value.tensor.nbytes
        at = self._fit(nbytes)
        if at is None:
            at = len(self.sizes)
            self.sizes.append([nbytes])
        else:
            self.free.remove(at)
            self.hold(f"s{at}", nbytes)
        self.taken[f"s{at}"] = None
        return f"s{at}"

    def hold(self, slot: str, nbytes: Dim) -> None:
        """Let a slot be large enough for so many bytes too."""
        sizes = self.sizes[int(slot[1:])]
        if nbytes not in sizes:
            sizes.append(nbytes)

    def _fit(self, nbytes: Dim) -> int | None:
        for at in self.free:
            if nbytes in self.sizes[at]:
                return at
        if is_late(nbytes):
            return next((at for at in self.free if any(map(is_late, self.sizes[at]))), None)
        if not nbytes.is_static:
            return None
        fixed = [at for at in self.free if all(d.is_static for d in self.sizes[at])]
        wanted = int(nbytes)
        return min(fixed, key=lambda at: abs(max(map(int, self.sizes[at])) - wanted), default=None)

    def release(self, name: str) -> None:
        """Nothing reads what lies in this slot any more."""
        at = int(name[1:])
        if name not in self.homes and at not in self.free:
            self.free.append(at)

    def formulas(self) -> list[list[Any]]:
        """The sizes as the manifest lists them, those that are known when a call begins."""
        return [[formula(d) for d in sizes if not is_late(d)] or [0] for sizes in self.sizes]


def last_uses(block: Block) -> dict[int, list[Value]]:
    """For each position in a block, the values made in it that nothing behind it reads."""
    alias: dict[Value, Value] = {}
    last: dict[Value, int] = {}
    made: set[Value] = set()
    for at, outer in enumerate(block.ops):
        for op in outer.walk():
            for value in op.operands:
                last[alias.get(value, value)] = at
        if outer.name == "reshape":
            alias[outer.result] = alias.get(outer.operands[0], outer.operands[0])
        else:
            made.update(outer.results)
            for value in outer.results:
                last.setdefault(value, at)
    found: dict[int, list[Value]] = {}
    for value, at in last.items():
        if value in made:
            found.setdefault(at, []).append(value)
    return found


def shown_by(value: Value) -> Value:
    """The value of whose memory a reshape shows all."""
    while value.owner is not None and value.owner.name == "reshape":
        (value,) = value.owner.operands
    return value


def written_in_place(region: Block, at: int) -> bool:
    """Whether what a pass yields can be written over what it was given: by a kernel behind which
    nothing reads the old value, and which reads of it just the element it is about to write."""
    value, old = region.yielded[at], region.args[at]
    writer = next((i for i, op in enumerate(region.ops) if value in op.results), None)
    if writer is None or region.ops[writer].name != "fused" or old in region.yielded:
        return False
    if region.yielded.count(value) > 1 or not _in_step(region.ops[writer], old):
        return False
    aliases = {op.result for op in region.ops if op.name == "reshape" and op.operands[0] is old}
    behind = [inner for op in region.ops[writer + 1 :] for inner in op.walk()]
    read_later = {v for op in behind for v in op.operands}
    return old not in read_later and not aliases & (read_later | set(region.ops[writer].operands))


def _in_step(op: Op, operand: Value) -> bool:
    """Whether a kernel reads an operand only element by element, as it writes its result."""
    if len(op.results) > 1:  # what writes one result may read it for another
        return operand not in op.operands
    (region,) = op.regions
    inside = [a for a, v in zip(region.args, op.operands, strict=True) if v is operand]
    readers = [inner for inner in region.ops if set(inside) & set(inner.operands)]
    multiplied: set[Value] = set()  # a product reads whole rows for each element
    for inner in reversed(region.ops):
        if inner.name == "contract" or multiplied & set(inner.results):
            multiplied.update(inner.operands)
    return not multiplied & set(inside) and all(
        inner.defn.elementwise and inner.result.tensor.shape == op.result.tensor.shape
        for inner in readers
    )


def in_place(region: Block, at: int) -> list[Value]:
    """What is to be written to the memory of a carried tensor, so that a pass need not copy what it
    yields there: the value itself, and those that it grows from."""
    value = region.yielded[at]
    if region.yielded.count(value) > 1:
        return []
    grown = _appended(value, region.args[at], (region,))
    return grown or ([value] if written_in_place(region, at) else [])


def _appended(value: Value, old: Value, blocks: tuple[Block, ...]) -> list[Value] | None:
    """The values from an old one to the last, when each is the one before it and more behind it:
    what is there stays where it is, so that reading it stays right. None when that is not so."""
    if value is old:
        return []
    writer = value.owner
    if writer is None or not any(writer in block.ops for block in blocks):
        return None
    at = writer.results.index(value)
    if writer.name == "if":
        found = [value]
        for region in writer.regions:
            grown = _appended(region.yielded[at], old, (*blocks, region))
            if grown is None or (grown and region.yielded.count(region.yielded[at]) > 1):
                return None
            found += grown
        return found
    base = appends_to(writer, at)
    if writer.name == "loop" and _grows(writer, at):
        base = writer.operands[at]
    before = None if base is None else _appended(base, old, blocks)
    return None if before is None else [*before, value]


def _grows(loop: Op, at: int) -> bool:
    """Whether the passes of a loop do nothing to a carried tensor but append to it."""
    (region,) = loop.regions
    once = loop.operands.count(loop.operands[at]) == 1
    return once and _appended(region.yielded[at], region.args[at], (region,)) is not None


def appends_to(op: Op, part: int = 0) -> Value | None:
    """The operand whose elements begin a result of concatenations, as they lie in memory."""
    if op.name != "fused":
        return None
    (region,) = op.regions
    concat = region.yielded[part].owner
    if concat is None or concat.name != "concat":
        return None
    outer = product(concat.result.tensor.shape[: concat.attrs["axis"]])
    first = concat.operands[0]
    if outer != Dim.of(1) or first not in region.args or concat.operands.count(first) > 1:
        return None
    return op.operands[region.args.index(first)]
