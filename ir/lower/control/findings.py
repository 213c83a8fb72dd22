"""What attempts to lower a loop find out, and sizes and numbers in what a pass holds, replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tlc.ir.core import Block
from tlc.ir.dims import Dim
from tlc.ir.lower.values import Lowered, whole
from tlc.ir.types import TensorType

COUNTER = "for "  # no name of a program holds a space


@dataclass(slots=True)
class Counter:
    """The numbers that a `for` runs through, and what its names are for each."""

    low: Dim
    high: Dim
    names: Callable[[Dim], Mapping[str, Lowered]]


@dataclass(slots=True)
class Findings:
    """What attempts to lower a loop have found out about what it hands on.

    `promoted` are numbers that are tensors behind a pass, or nothing yet, and so have to be ones
    before the loop (of a type; None for the opposite). `loose` are the axes of tensors whose size
    a pass changes. Sizes and numbers that begin equal are taken to stay equal within each of the
    `groups`, which split where they do not. `vectors` are arrays whose length changes, by path, and
    the layout of their elements, which are then rows of tensors (ir/lower/rows.py).
    """

    promoted: dict[str, TensorType | None] = field(default_factory=dict)
    loose: dict[tuple[str, int], None] = field(default_factory=dict)  # a set, in order
    groups: dict[str, int] = field(default_factory=dict)
    vectors: dict[str, Lowered] = field(default_factory=dict)


def settle(block: Block, symbol: str, value: Dim) -> None:
    """A number that no pass changes is what it was before."""
    for op in (inner for outer in block.ops for inner in outer.walk()):
        op.attrs = {k: substituted(v, {symbol: value}) for k, v in op.attrs.items()}
        for made in (*op.results, *(a for region in op.regions for a in region.args)):
            made.type = substituted(made.type, {symbol: value})


def substituted(part: Any, values: Mapping[str, Dim]) -> Any:
    """A type or a part of an attribute with symbols replaced."""
    match part:
        case Dim():
            return part.substitute(values)
        case TensorType():
            return part.with_shape(d.substitute(values) for d in part.shape)
        case tuple():
            return tuple(substituted(p, values) for p in part)
    return part


def has_fraction(before: Lowered, after: Lowered) -> bool:
    """Whether a number is one with a fraction, if not now: `0.0` to which whole ones are added."""
    return isinstance(after, float) or (isinstance(before, float) and whole(after) is not None)


def size_path(name: str, axis: int) -> str:
    """How the size of a carried tensor along an axis is called among the numbers."""
    return f"{name} axis {axis}"
