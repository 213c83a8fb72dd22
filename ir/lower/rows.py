"""Arrays of strings, structs and tuples whose length only run time knows: a tensor for each part
that an element has, of which every element is a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tlc.frontend.source import Span
from tlc.ir.core import Block, Op, Value
from tlc.ir.dims import Dim
from tlc.ir.lower import assignment, composite, indexing, reading, texts
from tlc.ir.lower.context import Context
from tlc.ir.lower.literals import literal
from tlc.ir.lower.places import from_front, within
from tlc.ir.lower.values import Lowered, Rows, Struct, Text, describe, is_number
from tlc.ir.opdef import OPS
from tlc.ir.types import TensorType

TEXT = ""  # stands in a layout for a string, of which a tensor holds the number
_NUMBER = TensorType("i32", ())


def layout(items: Sequence[Lowered]) -> Lowered:
    """What all these elements are made of: a type of tensors or `TEXT`, or a struct, tuple or array
    of such. None where they are not made of one thing, or sizes are known to the run alone."""
    if not items:
        return None
    first = items[0]
    if composite.is_composite(first):
        return _parted(first, items)
    if all(isinstance(item, str | Text) for item in items):
        return TEXT
    if all(map(reading.is_truth, items)):
        return TensorType("bool", ())
    return number_type(items)


def _parted(first: Lowered, items: Sequence[Lowered]) -> Lowered:
    names = [name for name, _ in composite.parts(first)]
    for item in items:
        kind = item.decl if isinstance(item, Struct) else type(item)
        if kind is not (first.decl if isinstance(first, Struct) else type(first)):
            return None
        if isinstance(item, Rows) or [name for name, _ in composite.parts(item)] != names:
            return None
        if isinstance(item, Struct) and item.owner is not None:
            return None  # its `drop` would have to run once for each element
    columns = zip(*([part for _, part in composite.parts(item)] for item in items), strict=True)
    parts = [layout(column) for column in columns]
    return None if None in parts or not parts else composite.made(first, parts)


def number_type(items: Sequence[Lowered]) -> TensorType | None:
    """What the rows are of a tensor that holds the elements of an array: numbers, or tensors of one
    type, whose sizes are known before the run; None where they are neither."""
    dtypes = set()
    for item in items:
        match item:
            case Value(tensor=TensorType(dtype=dtype, shape=())):
                dtypes.add(dtype)
            case Value(tensor=type):
                late = any(s[0] == "$" for d in type.shape for s in d.symbols())
                alike = all(isinstance(v, Value) and v.type == type for v in items)
                return type if alike and not late else None
            case Dim():
                dtypes.add("i32")
            case _ if is_number(item):
                dtypes.add("i32" if isinstance(item, int) else "f32")
            case _:
                return None
    for dtype in ("f32", "f16", "i32"):
        if dtype in dtypes:
            return TensorType(dtype, ())
    return None


def fits(found: Lowered, wanted: Lowered) -> bool:
    """Whether elements of one layout go into an array of another: numbers of any dtype do."""
    if composite.is_composite(found) and composite.is_composite(wanted):
        if isinstance(found, Struct) and isinstance(wanted, Struct) and found.decl != wanted.decl:
            return False
        mine, others = composite.leaves("", found), composite.leaves("", wanted)
        return mine.keys() == others.keys() and all(fits(mine[p], others[p]) for p in mine)
    if isinstance(found, TensorType) and isinstance(wanted, TensorType):
        return found.shape == wanted.shape and (found.dtype == "bool") == (wanted.dtype == "bool")
    return isinstance(found, str) and isinstance(wanted, str)


def made(cx: Context, items: Sequence[Lowered], row: Lowered, span: Span) -> Value | Rows:
    """The elements of an array as the rows of tensors."""
    if isinstance(row, TensorType):
        return _column(cx, items, row, span)
    leaves = [composite.leaves("", item) for item in items]
    return Rows(
        row,
        {
            path: _column(cx, [leaf[path] for leaf in leaves], _stored(part), span)
            for path, part in composite.leaves("", row).items()
        },
    )


def _stored(part: Lowered) -> TensorType:
    return part if isinstance(part, TensorType) else _NUMBER


def _column(cx: Context, items: Iterable[Lowered], row: TensorType, span: Span) -> Value:
    """A tensor of one row for each of these parts of elements."""
    held = [_number(cx, item, span) for item in items]
    if held or not row.shape:
        return literal(cx, held, row.dtype, span)
    cx.builder.span = span
    zero = cx.builder.constant(0.0, row.with_shape(()))
    return cx.builder.broadcast(zero, (Dim.of(0), *row.shape))


def _number(cx: Context, item: Lowered, span: Span) -> Lowered:
    return texts.as_text(cx, item, span).dim if isinstance(item, str | Text) else item


def length(rows: Rows) -> Dim:
    """How many elements there are."""
    return next(iter(rows.columns.values())).tensor.shape[0]


def item(cx: Context, rows: Rows, at: int | Dim, span: Span) -> Lowered:
    """The element at an index, which may count from the end; run time checks that it is there."""
    found: dict[str, Lowered] = {}
    start = from_front(cx, at, length(rows))
    missing = f"index {at} is out of range for {length(rows)} elements"
    within(cx, start, Dim.of(1), length(rows), span, missing)
    for path, column in rows.columns.items():
        found[path] = indexing.row(cx, column, start, span)
        if composite.leaves("", rows.like)[path] == TEXT:
            number = reading.on_host(cx, found[path], span)
            assert isinstance(number, Dim)
            found[path] = Text(number)
    return composite.rebuilt("", rows.like, found)


def part(cx: Context, rows: Rows, low: Dim, high: Dim, span: Span) -> Rows:
    """The elements from one place to before another."""
    return Rows(
        rows.like,
        {path: indexing.between(cx, v, 0, low, high, span) for path, v in rows.columns.items()},
    )


def pushed(cx: Context, rows: Rows, value: Lowered, span: Span) -> Rows:
    """The array with one element more."""
    one = made(cx, [_element(cx, rows, value, span)], rows.like, span)
    assert isinstance(one, Rows)
    return Rows(
        rows.like,
        {
            path: cx.emit("concat", column, one.columns[path], axis=0, span=span)
            for path, column in rows.columns.items()
        },
    )


def with_item(
    cx: Context, rows: Rows, at: Lowered, place: Span, value: Lowered, span: Span
) -> Rows:
    """The array with one element replaced; `place` is where `at` stands."""
    leaves = composite.leaves("", _element(cx, rows, value, span))
    columns: dict[str, Value] = {}
    for path, column in rows.columns.items():
        new = _number(cx, leaves[path], span)
        found = assignment.with_element(cx, column, at, place, new, span)
        assert isinstance(found, Value)
        columns[path] = found
    return Rows(rows.like, columns)


def sample(rows: Rows) -> Lowered:
    """Something of the types that an element has, which no operation makes."""

    def leaf(part: Lowered) -> Lowered:
        return Value(part) if isinstance(part, TensorType) else Text(Dim.of(0))

    return composite.mapped(rows.like, leaf)


def _element(cx: Context, rows: Rows, value: Lowered, span: Span) -> Lowered:
    """A value that is an element of this array. Reports what is none."""
    found = layout([value])
    if found is None or not fits(found, rows.like):
        element = "string" if rows.like == TEXT else describe(rows.like)
        text = f"an element of this array is {element}, and this is {describe(value)}"
        hint = "" if describe(value) != element else "their parts differ in type or size"
        cx.fail("E0302", text, span, hint=hint)
    return value


def shown(cx: Context, rows: Rows, span: Span, digits: int | None) -> Text:
    """The array as `print` writes it: a loop that run time goes round."""
    new, note = cx.program.new_symbol, texts.joined
    first, empty = (texts.as_text(cx, text, span).dim for text in ("[", ""))
    comma = texts.as_text(cx, ", ", span).dim
    so_far, so_far_end, between, between_end, at, at_end = (new() for _ in range(6))
    cx.program.natural.add(at)
    outer, cx.builder.block = cx.builder.block, Block()
    written: list[texts.Part] = [("text", Dim.of(so_far)), ("text", Dim.of(between))]
    operands: list[Value] = []
    texts.part(cx, item(cx, rows, Dim.of(at), span), span, written, operands, digits)
    longer = note(cx, texts.merged(written), operands, span)
    region, cx.builder.block = cx.builder.block, outer
    region.ops.append(Op(OPS["yield"], [], {}))
    assert isinstance(longer, Text)
    cx.builder.append(
        "loop",
        regions=[region],
        condition=Dim.of(at).compare("<", length(rows)),
        ints=(
            (so_far, first, longer.dim, so_far_end),
            (between, empty, comma, between_end),
            (at, Dim.of(0), Dim.of(at) + 1, at_end),
        ),
        results=(),
    )
    whole = note(cx, (("text", Dim.of(so_far_end)), "]"), [], span)
    assert isinstance(whole, Text)
    return whole
