"""Attention for a GPU: a threadgroup takes a row, its simdgroups share the keys."""

from __future__ import annotations

from tlc.codegen.assembly import Draft, Kernel, groups_for
from tlc.codegen.elements import used
from tlc.codegen.expression import SCALARS, Access, Scope
from tlc.codegen.families.attention_region import Attention
from tlc.codegen.iteration import ZERO, offset, split
from tlc.codegen.memory import plus, rounded_scalar, scalar_load

SIMDGROUPS = 8


def kernel(draft: Draft, attention: Attention, rows: int | None) -> Kernel:
    region, sizes = draft.region, draft.sizes
    count = attention.head_count * attention.row_count
    head_lines, row_lines, names = attention.names(sizes)
    place = ["const uint head = work;", "const uint row = 0u;"]
    if attention.rows:
        one, many = "const uint row = work", f" % {sizes(attention.row_count)};"
        place = [f"const uint head = work / {sizes(attention.row_count)};", one + many]

    def at(access: Access, *more: str) -> str:
        return scalar_load(access, offset(sizes, access.offset, access.strides, [*names, *more]))

    cut_lines, cut = split(sizes, "at", attention.cut, "a")
    scope = Scope(region, SCALARS, sizes)
    query = scope.compute([attention.queries], lambda a: at(a, *cut))
    query.append(f"x[c] = {scope.names[attention.queries]};")
    query = used(cut_lines, query) + query
    keys, values = attention.key, attention.value
    scope = Scope(region, SCALARS, sizes)
    scope.names[attention.first] = "dot"
    score = scope.compute([attention.scores], lambda a: at(a, "n"))
    score.append(f"const float score = {scope.names[attention.scores]};")
    scope = Scope(region, SCALARS, sizes)
    scope.names[attention.mixed] = "sum"
    after = scope.compute([attention.result], lambda a: at(a, "n"))
    value = rounded_scalar(region.out.dtype, scope.names[attention.result])
    after.append(f"out[{offset(sizes, ZERO, attention.out, [*names, 'n'])}] = {value};")
    bounds = attention.bounds.statements(sizes, names)
    key_place = plus(
        offset(sizes, keys.access.offset, keys.lead, names),
        offset(sizes, ZERO, [keys.key, keys.along], ["n", "at"]),
    )
    value_place = plus(
        offset(sizes, values.access.offset, values.lead, names),
        offset(sizes, ZERO, [values.key, values.along], ["n", "at"]),
    )
    lines = [*query, *score, *after, *bounds, key_place, value_place]
    row = used(row_lines, lines)
    indices = used(head_lines, lines) + row
    none = "" if attention.keys.is_static else f" && {sizes(attention.keys)} != 0u"
    quotient = "added / all"
    if none or attention.keys == ZERO:
        quotient = "(all == 0.0f ? 0.0f : added / all)"
    return draft.kernel(
        "attention",
        groups=groups_for(count, 1),
        threads=32 * SIMDGROUPS,
        threadgroup_bytes=4 * (3 * 32 + SIMDGROUPS * attention.width),
        simdgroups=SIMDGROUPS,
        count=count,
        place=used(place, [*indices, *lines]) + indices,
        keys=attention.keys,
        depth=attention.depth,
        width=attention.width,
        bounds=bounds,
        query=query,
        key=scalar_load(keys.access, key_place),
        score=score,
        value=scalar_load(values.access, value_place),
        after=after,
        unless_none=none,
        quotient=quotient,
    )
