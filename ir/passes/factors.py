"""Chains of views with axes that are products: what strides of one axis cannot say, factors can.

A tensor [N, 2, 4, 64] whose groups are repeated, seen as [N, 8, 64], has an axis of 8 made of a
factor of 2 with a stride and a factor of 4 without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tlc.ir.core import Op, Value
from tlc.ir.dims import Dim
from tlc.ir.passes.views import ONE, ZERO, Access, access_of, reshaped, trace
from tlc.ir.types import row_major

Factor = tuple[Dim, Dim]  # a size and a stride
Axis = tuple[Factor, ...]  # the outermost first; none for an axis of size 1


@dataclass(frozen=True, slots=True)
class Factored:
    """Where the elements of a view lie in its base, axis by axis, from `offset` on."""

    axes: tuple[Axis, ...]
    offset: Dim

    @staticmethod
    def dense(shape: Sequence[Dim]) -> Factored:
        """A tensor as it is stored."""
        factors = zip(shape, row_major(shape), strict=True)
        return Factored(tuple((f,) if f[0] != ONE else () for f in factors), ZERO)

    def through(self, views: Iterable[Op]) -> Factored | None:
        """The same behind further views; None where factors cannot say it."""
        seen: Factored | None = self
        for view in views:
            seen = None if seen is None else seen._behind(view)
        return seen

    def _behind(self, view: Op) -> Factored | None:
        match view.name:
            case "broadcast":
                shape = view.attrs["shape"]
                old = ((),) * (len(shape) - len(self.axes)) + self.axes
                pairs = zip(old, shape, strict=True)
                axes = tuple(a if a or size == ONE else ((size, ZERO),) for a, size in pairs)
                return Factored(axes, self.offset)
            case "permute":
                return Factored(tuple(self.axes[a] for a in view.attrs["axes"]), self.offset)
            case "reshape":
                axes_or_none = split(self.flat, view.attrs["shape"])
                if axes_or_none is not None:
                    return Factored(axes_or_none, self.offset)
                dense = Factored.dense(view.attrs["shape"])
                return replace(dense, offset=self.offset) if self.is_dense else None
            case "slice":
                at, length = view.attrs["axis"], view.attrs["length"]
                if len(self.axes[at]) > 1:
                    return None
                stride = self.axes[at][0][1] if self.axes[at] else ZERO
                cut: Axis = ((length, stride),) if length != ONE else ()
                start = self.offset + stride * view.attrs["start"]
                return Factored((*self.axes[:at], cut, *self.axes[at + 1 :]), start)
        return None

    @property
    def is_dense(self) -> bool:
        """Whether the elements lie one behind the other."""
        size = ONE
        for have, stride in reversed(self.flat):
            if stride != size:
                return False
            size = size * have
        return True

    @property
    def flat(self) -> list[Factor]:
        """The factors of all axes in row-major order."""
        return [factor for axis in self.axes for factor in axis]


def split(factors: Sequence[Factor], sizes: Sequence[Dim]) -> tuple[Axis, ...] | None:
    """Factors dealt out to axes of the given sizes, cut where needed; None when they do not fit."""
    rest = [factor for factor in factors if factor[0] != ONE][::-1]
    axes: list[Axis] = []
    for size in sizes:
        axis: list[Factor] = []
        wanted = size
        while wanted != ONE:
            if not rest:
                return None
            have, stride = rest.pop()
            more, less = wanted.exact_div(have), have.exact_div(wanted)
            if more is not None:
                axis.append((have, stride))
                wanted = more
            elif less is not None:
                axis.append((wanted, stride * less))
                rest.append((less, stride))
                wanted = ONE
            else:
                return None
        axes.append(tuple(axis))
    return None if rest else tuple(axes)


def common(one: Sequence[Dim], other: Sequence[Dim]) -> list[Dim] | None:
    """The coarsest sizes that both lists are made of; None when there are none.

    Both lists have the same product: [8, N] and [2, 4*N] give [2, 4, N].
    """
    left, right = ([size for size in sizes if size != ONE][::-1] for sizes in (one, other))
    sizes: list[Dim] = []
    while left and right:
        a, b = left.pop(), right.pop()
        if a == b:
            sizes.append(a)
        elif (rest := a.exact_div(b)) is not None:
            sizes.append(b)
            left.append(rest)
        elif (rest := b.exact_div(a)) is not None:
            sizes.append(a)
            right.append(rest)
        else:
            return None
    return None if left or right else sizes


def strides(factored: Factored | None, sizes: Sequence[Dim]) -> tuple[Dim, ...] | None:
    """One stride for each size, when that is all that is needed."""
    axes = None if factored is None else split(factored.flat, sizes)
    if axes is None:
        return None
    found: list[Dim] = []
    for axis in axes:
        for (_, outer), (size, inner) in pairwise(axis):
            if outer != size * inner:
                return None
        found.append(axis[-1][1] if axis else ZERO)
    return tuple(found)


def arranged(base: Value, chain: Sequence[Op], shape: Sequence[Dim]) -> Access | None:
    """How to read what a chain of views shows of a dense tensor, in another shape; None where one
    stride for each axis cannot say it."""
    plain = access_of(base, chain)
    found = None if plain is None else reshaped(plain, shape)
    if found is not None:
        return found
    factored = Factored.dense(base.tensor.shape).through(chain)
    steps = strides(factored, shape)
    if factored is None or steps is None:
        return None
    return Access(tuple(shape), steps, factored.offset)


def refined(shape: Sequence[Dim], values: Iterable[Value]) -> tuple[Dim, ...]:
    """A shape whose axes are cut so that strides can say how the values are read in it.

    Only the values matter that show as many elements; of others, nothing is known.
    """
    for value in values:
        base, chain = trace(value)
        factored = Factored.dense(base.tensor.shape).through(chain)
        if factored is None or arranged(base, chain, shape) is not None:
            continue
        shape = common(shape, [size for size, _ in factored.flat]) or shape
    return tuple(shape)


def permuted(
    shape: Sequence[Dim], seen_as: Sequence[Dim], views: Iterable[Op]
) -> tuple[int, ...] | None:
    """The order in which views show the axes of a dense tensor; None when they show other things.

    `seen_as` is another shape of the same elements, the one that the first view reads.
    """
    steps = {step: at for at, step in enumerate(row_major(shape)) if shape[at] != ONE}
    axes = split(Factored.dense(shape).flat, seen_as)
    seen = None if axes is None else Factored(axes, ZERO).through(views)
    if seen is None:
        return None
    order = [steps[stride] for size, stride in seen.flat if stride in steps]
    single = [at for at, size in enumerate(shape) if size == ONE]
    whole = len(order) == len(seen.flat) and sorted(single + order) == list(range(len(shape)))
    return (*single, *order) if whole else None
