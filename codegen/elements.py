"""Loops over the elements of a tensor: what the families without a reduction have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tlc.codegen import wide
from tlc.codegen.assembly import Draft, groups_for
from tlc.codegen.expression import LANES, SCALARS, Access, Region, Scope, kind
from tlc.codegen.iteration import ONE, ZERO, Dims, Space, is_multiple, offset, row_major, split
from tlc.codegen.memory import (
    Lanes,
    Rows,
    buffer_type,
    lane_store,
    plus,
    rounded_scalar,
    scalar_load,
    widened,
)
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.formats import PACKED

VECTOR = 4  # elements that a GPU thread loads and stores at once where memory is aligned


@dataclass(frozen=True, slots=True)
class Target:
    """The elements to compute, and where they go.

    space     its strides are those of the accesses and, last, of the result, from `start` on.
    setup     statements from the names of the indices along the axes.
    bases     variables that they define, added to the place of an access; multiples of `unit`.
    """

    title: str
    value: Value
    space: Space
    accesses: Sequence[Access]
    start: Dim = ZERO
    setup: Callable[[Sequence[str]], list[str]] = lambda indices: []
    bases: Mapping[Value, str] = field(default_factory=dict)
    unit: Dim = ZERO

    @property
    def along(self) -> dict[Value, Dim]:
        """The stride of every access along the last axis."""
        pairs = zip(self.accesses, self.space.strides[:-1], strict=True)
        return {access.value: strides[-1] for access, strides in pairs}


def uniform(
    region: Region, value: Value, along: Mapping[Value, Dim], known: Iterable[Value] = ()
) -> list[Value]:
    """What `value` takes that does not change along an axis, as far as it can be computed so.

    `along` is the stride of every access along the axis; `known` values do not change.
    """
    steady = set(known)
    wanted: dict[Value, None] = {}
    for v in region.needed([value], steady):
        operands = [] if v in along else region.ops[region.position[v]].operands
        if along[v] == ZERO if v in along else steady.issuperset(operands):
            steady.add(v)
        else:
            wanted.update(dict.fromkeys(o for o in operands if o in steady))
    return [value] if value in steady else list(wanted)


def used(definitions: Sequence[str], lines: Sequence[str]) -> list[str]:
    """The definitions of variables that the lines name."""
    words = set(re.findall(r"\w+", " ".join(lines)))
    return [line for line in definitions if line.split(" = ")[0].split()[-1] in words]


# ---- cpu ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LaneLoop:
    """What the cpu template prints for a target: statements once per row, and per group of lanes.

    `inner` is None when there is one row only. `wide` is for 16 real lanes at element `j`, `body`
    for 8, `tail` for the `n` last ones; each is empty where it would never run.
    """

    title: str
    count: str
    inner: str | None
    row: list[str]
    wide: list[str]
    body: list[str]
    tail: list[str]


def lane_loop(draft: Draft, target: Target) -> LaneLoop:
    """A loop that takes the lanes along the last axis."""
    region, sizes, space = draft.region, draft.sizes, target.space
    if space.strides[-1][-1] != ONE and space.shape[-1] != ONE:  # lanes would not be neighbours
        space = Space((*space.shape, ONE), tuple((*steps, ZERO) for steps in space.strides))
        target = replace(target, space=space)
    *outer, inner = space.shape
    indices, names = split(sizes, "row", outer, "i")
    rows, scope = Rows(region, sizes), Scope(region, LANES, sizes)
    row = target.setup(names)
    for access, strides in zip(target.accesses, space.strides, strict=False):
        start = offset(sizes, access.offset, strides[:-1], names)
        places = [access.offset, *strides[:-1], target.unit] + ([inner] if outer else [])
        aligned = all(is_multiple(d, 8) for d in places)
        place = plus(target.bases.get(access.value, ""), start)
        row += rows.start(access, place, strides[-1], aligned)
    place = offset(sizes, target.start, space.strides[-1][:-1], names)
    if place != "0u":
        row.append(f"device {buffer_type(region.out.dtype)}* out_row = out + {place};")
    row += scope.compute(uniform(region, target.value, target.along), rows.first)

    def group(lanes: Lanes) -> list[str]:
        block = scope.inside()
        statements = block.compute([target.value], rows.load(lanes))
        to = "out + j" if place == "0u" else "out_row + j"
        value = block.names[target.value]
        return [*statements, lane_store(kind(target.value), to, value, lanes.count)]

    def wide_group() -> list[str]:
        block = wide.scope(scope)
        statements = block.compute([target.value], wide.load(rows, "j"))
        to = "out + j" if place == "0u" else "out_row + j"
        return [*statements, f"st16({to}, {block.names[target.value]});"]

    widens = wide.pays(region, [target.value], scope.names, target.along)
    return LaneLoop(
        title=target.title,
        count=sizes(space.count),
        inner=sizes(inner) if outer else None,
        row=used(indices, row) + row,
        wide=wide_group() if widens and not (inner.is_static and int(inner) < 16) else [],
        body=[] if inner.is_static and int(inner) < 8 else group(Lanes("j")),
        tail=[] if is_multiple(inner, 8) else group(Lanes("j", "n")),
    )


# ---- apple --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ElementLoop:
    """What the apple template prints for a target: a thread takes one element, `at`, or a vector.

    With a `vector` type, `at` counts vectors of 4 elements from `first` on, and `body` computes
    component `k` of them.
    """

    title: str
    count: str
    vector: str | None
    row: list[str]
    body: list[str]
    place: str
    value: str


def _vectors(target: Target) -> bool:
    """Whether 4 neighbours are aligned wherever they are loaded or stored at once."""
    *accesses, result = zip(
        [*(a.offset for a in target.accesses), target.start], target.space.strides, strict=True
    )
    whole = is_multiple(target.space.shape[-1], VECTOR) and is_multiple(target.unit, VECTOR)
    if not whole or result[1][-1] != ONE:
        return False
    for start, strides in (*accesses, result):
        aligned = all(is_multiple(d, VECTOR) for d in (start, *strides[:-1]))
        if strides[-1] != ZERO and not (strides[-1] == ONE and aligned):
            return False
    return True


def element_loop(draft: Draft, target: Target, single: bool = False) -> ElementLoop:
    """A loop that gives neighbouring elements to neighbouring threads; one at a time if `single`,
    even where several lie together."""
    region, sizes, space = draft.region, draft.sizes, target.space
    vectors = not single and _vectors(target)
    flat = "first" if vectors else "at"
    indices, names = split(sizes, flat, space.shape, "i")
    row = target.setup(names)
    scope = Scope(region, SCALARS, sizes)

    def place_of(start: Dim, strides: Dims, base: str = "") -> str:
        if strides == row_major(space.shape):
            return plus(base, offset(sizes, start, [ONE], [flat]))
        return plus(base, offset(sizes, start, strides, names))

    places = {
        access.value: place_of(access.offset, strides, target.bases.get(access.value, ""))
        for access, strides in zip(target.accesses, space.strides, strict=False)
    }
    vector_loads: dict[Value, str] = {}
    along = target.along

    def load(access: Access) -> str:
        place = places[access.value]
        if access.value in vector_loads:
            return widened(access.encoding, vector_loads[access.value] + "[k]")
        step = "k" if vectors and along[access.value] == ONE else ""
        return scalar_load(access, plus(place, step))

    if vectors:
        for access in target.accesses:
            plain = access.encoding != "index" and access.encoding not in PACKED
            if along[access.value] == ONE and plain:
                vector, name = f"{buffer_type(access.encoding)}4", f"{region.label(access.value)}_4"
                where = f"*(device const {vector}*)(in{access.arg} + {places[access.value]})"
                row.append(f"const {vector} {name} = {where};")
                vector_loads[access.value] = name
        row += scope.compute(uniform(region, target.value, along), load)
    body = scope.compute([target.value], load)
    place = place_of(target.start, space.strides[-1])
    return ElementLoop(
        title=target.title,
        count=sizes(space.count // VECTOR if vectors else space.count),
        vector=f"{buffer_type(region.out.dtype)}4" if vectors else None,
        row=used(indices, [*row, *body, place]) + row,
        body=body,
        place=place,
        value=rounded_scalar(region.out.dtype, scope.names[target.value]),
    )


def element_groups(draft: Draft, count: Dim) -> Dim:
    """How many threadgroups to launch for so many elements."""
    profile = draft.profile
    return groups_for(count, profile.work if profile.name == "cpu" else profile.threads * VECTOR)
