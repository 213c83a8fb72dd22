"""Sizes, places and kernels as the manifest writes them."""

from __future__ import annotations

from functools import reduce
from typing import Any

from tlc.ir.core import Op
from tlc.ir.dims import Derived, Dim
from tlc.ir.types import TensorType

# what operations are called in a kernel's description; those that say nothing are left out
_NAMES = {
    "contract": "matmul",
    "convolve": "conv2d",
    "convolve_each": "conv2d",
    "access": "",
    "stored": "",
    "cast": "",
    "constant": "",
    "yield": "",
    "broadcast": "",
}


MOST_TERMS = 16  # of a sum that is written from left to right


def formula(dim: Dim) -> Any:
    """A dimension as `runtime/format.py` writes it."""

    def atom(part: str | Derived) -> Any:
        if isinstance(part, str):
            return part
        return [part.op, formula(part.left), formula(part.right)]

    sums: list[Any] = []
    for monomial, factor in dim.terms:
        value: Any = None if monomial and factor == 1 else factor
        for part in monomial:
            value = atom(part) if value is None else ["*", value, atom(part)]
        sums.append(value)
    while len(sums) > MOST_TERMS:  # in pairs, which nest less deep
        pairs = [["+", a, b] for a, b in zip(sums[::2], sums[1::2], strict=False)]
        sums = pairs + sums[len(pairs) * 2 :]
    return reduce(lambda total, value: ["+", total, value], sums) if sums else 0


def shape(type: TensorType) -> list[Any]:
    """A tensor's shape as formulas."""
    return [formula(d) for d in type.shape]


def describe(op: Op) -> str:
    """What a kernel computes, in a few words: `matmul + add + relu`."""
    names = [name for inner in op.regions[0].ops if (name := word(inner.name))]
    if not names:
        return "fill" if not op.operands else "copy"
    shown = names if len(names) <= 6 else [*names[:5], f"{len(names) - 5} more"]
    return " + ".join(shown)


def word(name: str) -> str:
    """What people call an operation; empty for one that computes nothing."""
    return _NAMES.get(name, name.removeprefix("reduce_"))


def place(op: Op) -> str:
    """Where an operation was written: `linear.tl:12`."""
    if op.span is None:
        return "?"
    return op.span.place
