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

    def take(self, value: Value) -> str:
        """A slot that is free now: one of the same size first, then the best static fit.

        What has a size that only the run computes shares slots that grow as they need.
        """
        nbytes = value.tensor.nbytes
        at = self._fit(nbytes)
        if at is None:
            self.sizes.append([nbytes])
            return f"s{len(self.sizes) - 1}"
        self.free.remove(at)
        if nbytes not in self.sizes[at]:
            self.sizes[at].append(nbytes)
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


def appended_in_place(region: Block, at: int) -> bool:
    """Whether what a pass yields is what it was given and more behind it: a concatenation that
    leaves the old elements where they are, so that reading them stays right."""
    value = region.yielded[at]
    writer = value.owner
    if writer not in region.ops or region.yielded.count(value) > 1:
        return False
    return appends_to(writer) is region.args[at]


def appends_to(op: Op) -> Value | None:
    """The operand whose elements begin the result of a concatenation, as they lie in memory."""
    if op.name != "fused" or op.attrs["family"] != "concat":
        return None
    (region,) = op.regions
    concat = next(inner for inner in region.ops if inner.name == "concat")
    outer = product(concat.result.tensor.shape[: concat.attrs["axis"]])
    first = concat.operands[0]
    if outer != Dim.of(1) or first not in region.args or concat.operands.count(first) > 1:
        return None
    return op.operands[region.args.index(first)]
