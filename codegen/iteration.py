"""Iteration spaces: the axes that a kernel loops over, merged where memory allows, and indices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tlc.ir.dims import Dim, DimLike, product

ZERO, ONE = Dim.of(0), Dim.of(1)
Dims = tuple[Dim, ...]


class Sizes:
    """Spells dimensions in one kernel: a number as a literal, any other as a field of its Dims.

    `fields` are the dimensions that the host computes before a launch, in the order of the struct.
    """

    def __init__(self) -> None:
        self._fields: dict[Dim, str] = {}

    def __call__(self, dim: DimLike) -> str:
        size = Dim.of(dim)
        if size.is_static:
            return f"{int(size)}u"
        return "dims." + self._fields.setdefault(size, f"d{len(self._fields)}")

    @property
    def fields(self) -> Dims:
        return tuple(self._fields)


def row_major(shape: Sequence[Dim]) -> Dims:
    """The strides, in elements, of a contiguous tensor whose last axis is the fastest."""
    return tuple(product(shape[axis + 1 :]) for axis in range(len(shape)))


def is_multiple(dim: Dim, factor: int) -> bool:
    """Whether a dimension is a multiple of a number whatever its symbols stand for."""
    return dim % factor == ZERO


@dataclass(frozen=True, slots=True)
class Space:
    """Axes in loop order, each with its size, and the strides of every operand along them."""

    shape: Dims
    strides: tuple[Dims, ...]

    @property
    def count(self) -> Dim:
        return product(self.shape)


def collapse(shape: Sequence[Dim], strides: Sequence[Sequence[Dim]]) -> Space:
    """The same elements with as few axes as possible, at least one.

    Axes of size 1 go; two neighbours become one where every operand reaches the outer axis by
    `size of the inner axis` steps along the inner one.
    """
    kept: list[tuple[Dim, list[Dim]]] = []
    for axis, size in enumerate(shape):
        steps = [operand[axis] for operand in strides]
        if size == ONE:
            continue
        if kept and all(a == b * size for a, b in zip(kept[-1][1], steps, strict=True)):
            kept[-1] = (kept[-1][0] * size, steps)
        else:
            kept.append((size, steps))
    if not kept:
        kept.append((ONE, [ZERO] * len(strides)))
    columns = [tuple(steps[k] for _, steps in kept) for k in range(len(strides))]
    return Space(tuple(size for size, _ in kept), tuple(columns))


def split(
    sizes: Sizes, flat: str, shape: Sequence[Dim], prefix: str
) -> tuple[list[str], list[str]]:
    """Statements that take a row-major index apart, and the names of the index along each axis."""
    if len(shape) <= 1:
        return [], [flat] * len(shape)
    names = [f"{prefix}{axis}" for axis in range(len(shape))]
    statements = []
    for axis in range(len(shape)):
        rest = "".join(f" / {sizes(inner)}" for inner in reversed(shape[axis + 1 :]))
        wrap = f" % {sizes(shape[axis])}" if axis else ""
        statements.append(f"const uint {names[axis]} = {flat}{rest}{wrap};")
    return statements, names


def offset(sizes: Sizes, start: Dim, strides: Iterable[Dim], indices: Iterable[str]) -> str:
    """`start + i*stride + ...` as text; indices are single names or literals."""
    terms = [] if start == ZERO else [sizes(start)]
    for stride, index in zip(strides, indices, strict=True):
        if stride == ZERO or index == "0u":
            continue
        terms.append(index if stride == ONE else f"{index} * {sizes(stride)}")
    return " + ".join(terms) or "0u"
