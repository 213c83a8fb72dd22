"""Structs, arrays and tuples to their parts and back, for what loops and branches hand on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tlc.ir.lower.values import Lowered, Pieces, Rows, Struct, Vector

Leaves = dict[str, Lowered]


def is_composite(value: Lowered) -> bool:
    return isinstance(value, Struct | Rows | list | tuple)


def leaves(name: str, value: Lowered) -> Leaves:
    """The parts of a value that have no parts of their own, by path: `p.x`, `p.rows[0]`."""
    found: Leaves = {}
    if not is_composite(value):
        return {name: value}
    for path, part in parts(value):
        found.update(leaves(name + path, part))
    return found


def flat(values: Mapping[str, Lowered]) -> Leaves:
    """The leaves of several names."""
    return {
        path: leaf for name, value in values.items() for path, leaf in leaves(name, value).items()
    }


def rebuilt(name: str, like: Lowered, found: Mapping[str, Lowered]) -> Lowered:
    """A value built as another one is, from leaves by path."""
    if not is_composite(like):
        return found[name]
    built = {path: rebuilt(name + path, part, found) for path, part in parts(like)}
    return made(like, list(built.values()))


def mapped(value: Lowered, change: Callable[[Lowered], Lowered]) -> Lowered:
    """The value with every leaf replaced."""
    if not is_composite(value):
        return change(value)
    return made(value, [mapped(part, change) for _, part in parts(value)])


def parts(value: Lowered) -> list[tuple[str, Lowered]]:
    """The parts of a composite, each with its path from there."""
    if isinstance(value, Struct):
        return [(f".{name}", part) for name, part in value.fields.items()]
    if isinstance(value, Rows):
        return [(f"[*]{path}", column) for path, column in value.columns.items()]
    return [(f"[{at}]", part) for at, part in enumerate(value)]


def made(like: Lowered, parts: list[Lowered]) -> Lowered:
    """A composite of the same kind as another, of these parts."""
    if isinstance(like, Struct):
        return Struct(like.decl, dict(zip(like.fields, parts, strict=True)), like.owner)
    if isinstance(like, Rows):
        return Rows(like.like, dict(zip(like.columns, parts, strict=True)))
    if isinstance(like, Pieces):
        return Pieces(parts)
    if isinstance(like, Vector):
        return Vector(parts, like.item)
    return parts if isinstance(like, list) else tuple(parts)
