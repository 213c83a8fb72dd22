"""Arrays whose length changes at run time: what their elements are, and what cannot be one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import composite, rows
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Lowered, Rows, Struct, describe, is_number
from tlc.ir.types import TensorType


def unlike(path: str, one: Lowered, other: Lowered) -> Iterator[tuple[str, Lowered, Lowered]]:
    """The outermost parts of two values that are not made of the same parts, with their path."""
    if composite.leaves("", one).keys() == composite.leaves("", other).keys():
        return
    if composite.is_composite(one) and composite.is_composite(other):
        mine, others = composite.parts(one), composite.parts(other)
        if [name for name, _ in mine] == [name for name, _ in others]:
            for (name, a), (_, b) in zip(mine, others, strict=True):
                yield from unlike(path + name, a, b)
            return
    yield path, one, other


def grown(one: Lowered, other: Lowered) -> Lowered:
    """The layout of the elements of what is an array on both ways, longer on one, or is already
    kept as rows there; None for all else."""
    if isinstance(one, list) and isinstance(other, list):
        return None if len(one) == len(other) else rows.layout([*one, *other])
    for array, found in ((one, other), (other, one)):
        if not isinstance(array, list):
            continue
        row: Lowered = None
        if isinstance(found, Rows):
            row = found.like
        elif isinstance(found, Value) and found.tensor.rank:
            row = found.tensor.with_shape(found.tensor.shape[1:])
        if row is not None:
            return row if not array or rows.fits(rows.layout(array), row) else None
    return None


def columns(path: str, row: Lowered) -> list[str]:
    """The paths of the tensors that hold the elements of an array, of that layout."""
    plain = isinstance(row, TensorType)
    return [path] if plain else [f"{path}[*]{part}" for part in composite.leaves("", row)]


def all_grown(
    mine: Mapping[str, Lowered], other: Mapping[str, Lowered]
) -> dict[str, Lowered] | None:
    """The layouts of the arrays in these values that have other lengths there, by path; None where
    values differ in more than that."""
    pairs = [pair for name in mine for pair in unlike(name, mine[name], other[name])]
    found = {path: grown(one, another) for path, one, another in pairs}
    return None if any(row is None for row in found.values()) else found


def as_rows(cx: Context, value: Lowered, row: Lowered, span: Span) -> Value | Rows:
    """An array as the rows of tensors."""
    return value if isinstance(value, Value | Rows) else rows.made(cx, value, row, span)


def all_begun(
    cx: Context, values: Mapping[str, Lowered], found: Mapping[str, Lowered], span: Span
) -> dict[str, Lowered]:
    """Values with the arrays in them, those at the paths in `found`, as rows of that layout."""

    def begun(path: str, value: Lowered) -> Lowered:
        if path in found:
            return as_rows(cx, value, found[path], span)
        if not composite.is_composite(value):
            return value
        parts = [begun(path + name, part) for name, part in composite.parts(value)]
        return composite.made(value, parts)

    return {name: begun(name, value) for name, value in values.items()}


def cannot_grow(items: Sequence[Lowered]) -> tuple[str, str]:
    """What the elements of an array are that cannot change its length at run time, and a hint."""
    if any(isinstance(item, Struct) and item.owner is not None for item in items):
        return "structs that have a `drop`", "let a variable hold each of them"
    if len(set(map(_kind, items))) > 1:
        return "several types", "the elements of an array that grows are all of one type"
    match items[0]:
        case Struct():
            return "structs of several sizes", "arrays in them have one length, tensors one shape"
        case list() | tuple():
            return "arrays of several lengths", "keep one array, and where each part begins"
        case Value():
            hint = "`concat` what is alike to one tensor that grows"
            return "tensors of several shapes", hint
    return "such things", "numbers, strings, structs and tensors of one shape may be in it"


def _kind(item: Lowered) -> str:
    number = isinstance(item, Value | Dim) or is_number(item)
    return "number" if number else describe(item)
