"""A function to bounds of the float16 values that its kernels store: interval arithmetic on the IR.

Nothing is run. Arguments are unknown; weights and constants count with the numbers that they are.
Float32 arithmetic counts as exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tlc.ir.core import Block, Func, Op, Value
from tlc.ir.dims import Dim
from tlc.ir.passes.fuse import fuse
from tlc.ir.ranges.bounds import Array, Bound, bound_of
from tlc.ir.ranges.intervals import Interval, of_array

Read = Callable[[int, str, str], Array]  # model, tensor, dtype -> the numbers of a weight

MOST_PASSES = 4096  # of loops, all together, that are followed; behind them nothing is known


def bounds(func: Func, arguments: Sequence[Bound], read: Read) -> dict[Value, Bound]:
    """The bounds of all values of a function that is not fused, for arguments within bounds."""
    walk = _Walk(read)
    walk.block(func.body, arguments)
    return walk.all


def stored(func: Func, read: Read) -> list[tuple[Op, Bound]]:
    """The kernels of a function that store float16, with bounds of what they store, for any
    arguments. Fuses the function, which has been through all passes before that."""
    known = bounds(func, [_argument(v) for v in func.params], read)
    return [
        (kernel, known[op.result])
        for kernel, op in fuse(func).items()
        if kernel.result.tensor.dtype == "f16" and op.result in known
    ]


def _argument(value: Value) -> Bound:
    return Bound(Interval(0.0, 1.0)) if value.tensor.dtype == "bool" else Bound()


class _Walk:
    """One walk over a function. `all` bounds each value in all passes of the loops around it."""

    def __init__(self, read: Read) -> None:
        self.read = read
        self.sizes: dict[str, int] = {}
        self.now: dict[Value, Bound] = {}
        self.all: dict[Value, Bound] = {}
        self.weights: dict[tuple[int, str, str], Bound] = {}
        self.passes = 0

    def block(self, block: Block, args: Sequence[Bound]) -> list[Bound]:
        self.now.update(zip(block.args, args, strict=True))
        for op in block.ops[:-1]:
            for value, bound in zip(op.results, self.op(op), strict=True):
                self.now[value] = bound
                before = self.all.get(value)
                self.all[value] = bound if before is None else before.around(bound)
        return [self.now[v] for v in block.yielded]

    def op(self, op: Op) -> list[Bound]:
        match op.name:
            case "loop":
                return self.loop(op)
            case "if":
                return self.choice(op)
            case "function":  # whatever its calls hand to it
                for symbol in op.attrs["ints"]:
                    self.sizes.pop(symbol, None)
                self.block(op.regions[0], [_argument(v) for v in op.regions[0].args])
                return []
            case "call":
                for symbol in op.attrs["symbols"]:
                    self.sizes.pop(symbol, None)
                return [_argument(v) for v in op.results]
            case "once":
                return self.block(op.regions[0], [])
            case "weight":
                return [self.weight(op, op.attrs["tensor"])]
            case "weight_of":
                return [self.one_of(op)]
            case _ if "symbol" in op.attrs:
                self.sizes.pop(op.attrs["symbol"], None)
        return [bound_of(op, self.now)] if op.results else []

    # ---- control flow ---------------------------------------------------------------------------

    def number(self, dim: Dim) -> int | None:
        """A host number, where it is known."""
        try:
            found = dim.substitute(self.sizes)
        except ZeroDivisionError:
            return None
        return int(found) if found.is_static else None

    def set(self, values: Sequence[tuple[str, Dim]]) -> None:
        """Give symbols their values, all at once."""
        for symbol, number in [(symbol, self.number(dim)) for symbol, dim in values]:
            self.sizes.pop(symbol, None)
            if number is not None:
                self.sizes[symbol] = number

    def loop(self, op: Op) -> list[Bound]:
        """Pass by pass while the build knows whether there is another; else until nothing grows."""
        ints, carried = op.attrs["ints"], [self.now[v] for v in op.operands]
        self.set([(inside, first) for inside, first, _, _ in ints])
        while (more := self.number(op.attrs["condition"])) != 0:
            if more is None or self.passes >= MOST_PASSES:
                carried = self.any_passes(op, carried)
                break
            self.passes += 1
            carried = self.block(op.regions[0], carried)
            self.set([(inside, step) for inside, _, step, _ in ints])
        self.set([(after, Dim.of(inside)) for inside, _, _, after in ints])
        return carried

    def any_passes(self, op: Op, carried: list[Bound]) -> list[Bound]:
        """Bounds that hold before and behind every pass: what still grows has no end."""
        for inside, *_ in op.attrs["ints"]:
            self.sizes.pop(inside, None)
        carried = [b._replace(numbers=None) for b in carried]
        growing = False
        while True:
            found = self.block(op.regions[0], carried)
            joined = [a.around(b) for a, b in zip(carried, found, strict=True)]
            if growing:
                joined = [_widened(a, b) for a, b in zip(carried, joined, strict=True)]
            if joined == carried:
                break
            carried, growing = joined, True
        for inside, *_ in op.attrs["ints"]:
            self.sizes.pop(inside, None)
        return carried

    def choice(self, op: Op) -> list[Bound]:
        taken = self.number(op.attrs["condition"])
        before, found = dict(self.sizes), []
        for way, region in enumerate(op.regions):
            if taken is None or way == (0 if taken else 1):
                self.sizes = dict(before)
                found.append(self.block(region, []))
        if taken is None:
            self.sizes = before
        for after, *steps in op.attrs["ints"]:
            if taken is None:
                self.sizes.pop(after, None)
            else:
                self.set([(after, steps[0 if taken else 1])])
        first, *others = found
        return [a.around(b) for a, b in zip(first, others[0], strict=True)] if others else first

    # ---- weights --------------------------------------------------------------------------------

    def weight(self, op: Op, tensor: str) -> Bound:
        model, dtype = op.attrs["model"], op.result.tensor.dtype
        key = (model, tensor, dtype)
        if key not in self.weights:
            held, minus, plus = of_array(self.read(*key))
            self.weights[key] = Bound(held, minus, plus, lambda: self.read(*key))
        return self.weights[key]

    def one_of(self, op: Op) -> Bound:
        names, at = op.attrs["tensors"], self.number(op.attrs["index"])
        if at is not None and 0 <= at < len(names):
            return self.weight(op, names[at])
        first, *others = (self.weight(op, name) for name in names)
        for other in others:
            first = first.around(other)
        return first


def _widened(before: Bound, after: Bound) -> Bound:
    """Without an end where a bound has grown."""
    low, high = after.held
    return Bound(
        Interval(
            low if low >= before.held.low else -math.inf,
            high if high <= before.held.high else math.inf,
        ),
        after.minus,
        after.plus,
    )
