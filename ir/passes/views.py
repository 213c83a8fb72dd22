"""Chains of views as one access: which element of a stored tensor each element of the view is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tlc.ir.core import Op, Value
from tlc.ir.dims import Dim
from tlc.ir.types import row_major

ZERO, ONE = Dim.of(0), Dim.of(1)


@dataclass(frozen=True, slots=True)
class Access:
    """Element (i, j, ...) of `shape` is element offset + i*strides[0] + j*strides[1] + ... ."""

    shape: tuple[Dim, ...]
    strides: tuple[Dim, ...]
    offset: Dim

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie one behind the other, from `offset` on."""
        return all(
            s == d or size == ONE
            for s, d, size in zip(self.strides, row_major(self.shape), self.shape, strict=True)
        )


def identity(shape: Sequence[Dim]) -> Access:
    """The access of a tensor as it is stored."""
    return Access(tuple(shape), row_major(shape), ZERO)


def through(op: Op, access: Access) -> Access | None:
    """The access of a view's result, from that of its operand; None when it is not one."""
    match op.name:
        case "broadcast":
            shape = op.attrs["shape"]
            new = len(shape) - len(access.shape)
            strides = [ZERO] * new + [
                ZERO if old == ONE and size != ONE else stride
                for old, stride, size in zip(access.shape, access.strides, shape[new:], strict=True)
            ]
            return Access(shape, tuple(strides), access.offset)
        case "permute":
            axes = op.attrs["axes"]
            return Access(
                tuple(access.shape[a] for a in axes),
                tuple(access.strides[a] for a in axes),
                access.offset,
            )
        case "slice":
            axis = op.attrs["axis"]
            start = access.offset + access.strides[axis] * op.attrs["start"]
            return Access(op.result.tensor.shape, access.strides, start)
        case "reshape":
            return reshaped(access, op.attrs["shape"])
        case "access" if access.contiguous:
            shape, strides, start = (op.attrs[k] for k in ("shape", "strides", "offset"))
            return Access(shape, strides, access.offset + start)
    return None


def reshaped(access: Access, shape: Sequence[Dim]) -> Access | None:
    """The same elements in another shape, when strides can still say where they are.

    Axes are matched in groups of equal size from the front; a group's old axes must lie densely
    within one another.
    """
    shape = tuple(shape)
    if access.shape == shape:
        return access
    if access.contiguous:
        return Access(shape, row_major(shape), access.offset)
    old = [(d, s) for d, s in zip(access.shape, access.strides, strict=True) if d != ONE]
    strides: list[Dim] = []
    at = i = 0
    while i < len(shape):
        if shape[i] == ONE:
            strides.append(ZERO)
            i += 1
            continue
        if at == len(old):
            return None
        first, start = at, i
        have, want = old[at][0], shape[i]
        at, i = at + 1, i + 1
        while have != want:
            if want.exact_div(have) is not None and at < len(old):
                have, at = have * old[at][0], at + 1
            elif have.exact_div(want) is not None and i < len(shape):
                want, i = want * shape[i], i + 1
            else:
                return None
        group = old[first:at]
        if any(outer[1] != inner[0] * inner[1] for outer, inner in pairwise(group)):
            return None
        last = group[-1][1]
        strides += [s * last for s in row_major(shape[start:i])]
    return Access(shape, tuple(strides), access.offset) if at == len(old) else None


def trace(value: Value) -> tuple[Value, list[Op]]:
    """The value that is not a view behind a chain of views, and the chain, outermost last."""
    chain: list[Op] = []
    while value.owner is not None and value.owner.defn.view:
        chain.append(value.owner)
        value = value.owner.operands[0]
    return value, chain[::-1]


def access_of(base: Value, chain: Sequence[Op]) -> Access | None:
    """How a chain of views reads its base."""
    access: Access | None = identity(base.tensor.shape)
    for op in chain:
        if access is None:
            return None
        access = through(op, access)
    return access
