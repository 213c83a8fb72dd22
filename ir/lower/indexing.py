"""Members and indices: `x.shape`, `model.blk[0].weight`, `x[i, :, 1:3]`, `table[ids, :]`."""

from __future__ import annotations

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.frontend.suggest import did_you_mean
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import arrays, expressions, models, reading, rows, structs, tensors
from tlc.ir.lower.compare import asked
from tlc.ir.lower.context import Context
from tlc.ir.lower.places import from_front, within
from tlc.ir.lower.values import (
    Lowered,
    Metadata,
    Model,
    ModelPath,
    Pieces,
    Range,
    Rows,
    Struct,
    Text,
    Tokenizer,
    describe,
    is_number,
    tell,
    whole,
)
from tlc.ir.types import TensorType

LONGEST_CUT = 64  # of a string of which run time chooses both ends of a part
_TENSOR_MEMBERS = ("shape", "T", "rank", "ndim", "len")


def shape(value: Value) -> list[Lowered]:
    """A tensor's shape as the program sees it: numbers, and sizes that run time tells."""
    return [int(d) if d.is_static else d for d in value.tensor.shape]


def is_scalar(value: Lowered) -> bool:
    """Whether this is a number of the host, which a tensor without axes could be as well."""
    return is_number(value) or isinstance(value, Dim)


def attribute(cx: Context, node: ast.Attribute) -> Lowered:
    """`value.name` without a call."""
    value = expressions.expression(cx, node.value)
    name = node.name
    if isinstance(value, list | Pieces | Range) and name in _TENSOR_MEMBERS and name != "len":
        value = tensors.need_tensor(cx, value, node.value.span)
    match value:
        case Value():
            match name:
                case "shape":
                    return shape(value)
                case "T":
                    return cx.emit("transpose", value, span=node.span)
                case "rank" | "ndim":
                    return value.tensor.rank
                case "len" if value.tensor.rank:
                    return shape(value)[0]
            known: tuple[str, ...] = _TENSOR_MEMBERS
        case _ if is_scalar(value) and name == "shape":
            return []
        case _ if is_scalar(value) and name in ("rank", "ndim"):
            return 0
        case list() | tuple() | str() if name == "len":
            return len(value)
        case Rows() if name == "len":
            return whole(rows.length(value))
        case Text() if name == "len":
            return asked(cx, value, "len", "", node.span)
        case str() | Text():
            known = ("len",)
        case tuple() if name.isdigit() and int(name) < len(value):
            return value[int(name)]
        case Struct():
            return structs.field(cx, value, node)
        case Model() if name == "metadata":
            return Metadata(value)
        case Model():
            return models.inside(cx, ModelPath(value, (name,)), node.name_span)
        case ModelPath():
            return models.inside(cx, value.member(name), node.name_span)
        case Metadata(model=model):
            match name:
                case "format":
                    return model.header.format
                case "quantization":
                    return model.header.quantization
            return models.metadata(cx, model, name, node.span)
        case Tokenizer(vocabulary=vocabulary):
            known = ("bos", "eos", "eot", "vocab_size")
            if name in known:
                return getattr(vocabulary, name)
        case _:
            known = ()
    cx.fail(
        "E0204",
        f"{describe(value)} has no member `{name}`",
        node.name_span,
        hint=did_you_mean(name, known),
    )


# ---- indices -------------------------------------------------------------------------------------


def index(cx: Context, node: ast.Index) -> Lowered:
    """`value[items]`."""
    value = expressions.expression(cx, node.value)
    match value:
        case Value():
            return _tensor_index(cx, value, node)
        case Metadata(model=model):
            key = expressions.expression(cx, node.items[0])
            if isinstance(key, str) and len(node.items) == 1:
                return models.metadata(cx, model, key, node.span)
            cx.fail("E0302", "metadata is indexed by a string", node.items[0].span)
        case ModelPath():
            at = reading.count(cx, expressions.expression(cx, node.items[0]), node.items[0].span)
            if at is None or len(node.items) != 1:
                text = "a part of a model is indexed by a whole number"
                cx.fail("E0303", text, node.items[0].span)
            return models.indexed(cx, value, at, node.span)
        case Range():
            return _tensor_index(cx, tensors.need_tensor(cx, value, node.value.span), node)
        case Rows() if len(node.items) == 1:
            return _rows_index(cx, value, node.items[0])
        case list() | tuple() | str() if len(node.items) == 1:
            return _list_index(cx, value, node.items[0])
    cx.fail("E0302", f"{describe(value)} cannot be indexed like this", node.span)


def _rows_index(cx: Context, value: Rows, item: ast.Expr) -> Lowered:
    if isinstance(item, ast.Slice):
        return rows.part(cx, value, *ends(cx, rows.length(value), item), item.span)
    at = reading.count(cx, expressions.expression(cx, item), item.span)
    if at is None:
        cx.fail("E0303", "such an array is indexed by one whole number", item.span)
    return rows.item(cx, value, at, item.span)


def _list_index(
    cx: Context, value: list[Lowered] | tuple[Lowered, ...] | str, item: ast.Expr
) -> Lowered:
    if isinstance(item, ast.Slice):
        low, high = (None if e is None else _end(cx, e, e.span) for e in (item.low, item.high))
        if isinstance(low, Dim) or isinstance(high, Dim):
            return _late_part(cx, value, low or 0, len(value) if high is None else high, item)
        part = value[low:high]
        return arrays.alike(value, part) if isinstance(part, list) else part
    at = arrays.place(cx, expressions.expression(cx, item), len(value), item.span)
    return arrays.item(cx, value, at, item.span)


def _late_part(
    cx: Context,
    value: list[Lowered] | tuple[Lowered, ...] | str,
    low: int | Dim,
    high: int | Dim,
    item: ast.Slice,
) -> Lowered:
    """A part whose ends only run time knows: of an array of numbers a tensor; of a string, one of
    its parts, chosen by branches."""
    row = rows.layout(value) if isinstance(value, list) else None
    if row is not None:
        table, size = rows.made(cx, value, row, item.span), Dim.of(len(value))
        low, high = (Dim.of(from_front(cx, end, size)) for end in (low, high))
        if isinstance(table, Rows):
            return rows.part(cx, table, low, high, item.span)
        return between(cx, table, 0, low, high, item.span)
    both = isinstance(low, Dim) and isinstance(high, Dim)
    if not isinstance(value, str) or (both and len(value) > LONGEST_CUT):
        cx.fail("E0304", "the ends of this slice must be known at build", item.span)
    places, count = range(len(value) + 1), len(value) + 1
    start, stop = (
        arrays.place(cx, whole(from_front(cx, end, Dim.of(len(value)))), count, item.span)
        for end in (low, high)
    )
    tails = [value[at:] for at in places]
    if not isinstance(stop, Dim):
        return arrays.item(cx, [value[at:stop] for at in places], start, item.span)
    heads = [[tail[: max(at - cut, 0)] for cut, tail in enumerate(tails)] for at in places]
    if not isinstance(start, Dim):
        return arrays.item(cx, [row[start] for row in heads], stop, item.span)
    return arrays.item(cx, [arrays.item(cx, r, start, item.span) for r in heads], stop, item.span)


def _tensor_index(cx: Context, value: Value, node: ast.Index) -> Value:
    """Each item takes one axis; integers drop it, slices keep it, an index tensor gathers rows."""
    rank = value.tensor.rank
    if len(node.items) > rank:
        axes = f"{rank} {'axis' if rank == 1 else 'axes'}"
        cx.fail("E0303", f"{len(node.items)} indices, and {value.type} has {axes}", node.span)
    out, axis = value, 0
    for item in node.items:
        if isinstance(item, ast.Slice):
            out = _sliced(cx, out, axis, item)
            axis += 1
            continue
        found = reading.integral(cx, expressions.expression(cx, item), item.span)
        if isinstance(found, Range):
            out = between(cx, out, axis, Dim.of(found.low), Dim.of(found.high), item.span)
            axis += 1
            continue
        if isinstance(found, list):
            from tlc.ir.lower.literals import literal

            found = literal(cx, found, "i32", item.span)
        if isinstance(found, Value):
            out = _gathered(cx, out, axis, found, item, node)
            axis += found.tensor.rank
            continue
        at = whole(found)
        if at is None:
            cx.fail("E0303", f"an index is a whole number, and this is {tell(found)}", item.span)
        size = out.tensor.shape[axis]
        start = from_front(cx, at, size)
        what = f"index {at} is out of range for axis {axis} of {value.type}"
        if axis == 0 and models.is_packed(out):  # a gather unpacks the one row, a view cannot
            within(cx, start, Dim.of(1), size, item.span, what)
            cx.builder.span = item.span
            row = cx.builder.constant(start, TensorType("i32", ()))
            out = cx.emit("gather", out, row, span=node.span)
            continue
        found = cut(cx, out, axis, start, Dim.of(1), item.span, what)
        kept = out.tensor.shape[:axis] + out.tensor.shape[axis + 1 :]
        out = cx.emit("reshape", found, shape=kept, span=node.span)
    return out


def cut(
    cx: Context, value: Value, axis: int, start: Dim, length: Dim, span: Span, what: str = ""
) -> Value:
    """`length` elements along an axis; where only run time can tell if they are there, it does.

    `what` is the message for when they are not.
    """
    text = what or f"{start}:{start + length} is out of range for axis {axis} of {value.type}"
    within(cx, start, length, value.tensor.shape[axis], span, text)
    return cx.emit("slice", value, axis=axis, start=start, length=length, span=span)


def row(cx: Context, value: Value, at: int | Dim, span: Span) -> Value:
    """What stands at an index of the first axis, counted from the front."""
    if not value.tensor.rank:
        cx.fail("E0303", "a tensor of rank 0 has no rows", span)
    start = from_front(cx, at, value.tensor.shape[0])
    text = f"index {at} is out of range for axis 0 of {value.type}"
    part = cut(cx, value, 0, start, Dim.of(1), span, text)
    return cx.emit("reshape", part, shape=value.tensor.shape[1:], span=span)


def _sliced(cx: Context, value: Value, axis: int, item: ast.Slice) -> Value:
    return between(cx, value, axis, *ends(cx, value.tensor.shape[axis], item), item.span)


def ends(cx: Context, size: Dim, item: ast.Slice) -> tuple[Dim, Dim]:
    """Where a slice of an axis of that size begins and ends; negative ends count from its end."""
    found_ends = []
    for node, missing in ((item.low, Dim.of(0)), (item.high, size)):
        found = missing if node is None else _end(cx, node, item.span)
        found_ends.append(from_front(cx, found, size))
    return found_ends[0], found_ends[1]


def _end(cx: Context, node: ast.Expr, span: Span) -> int | Dim:
    """An end of a slice as it is written; one of the device is read."""
    given = reading.integral(cx, expressions.expression(cx, node), span)
    if isinstance(given, Value) and not given.tensor.rank:
        given = reading.on_host(cx, given, span)
    found = whole(given)
    if found is None:
        text = f"the ends of a slice are whole numbers, and this is {tell(given)}"
        cx.fail("E0303", text, node.span)
    return found


def between(cx: Context, value: Value, axis: int, low: Dim, high: Dim, span: Span) -> Value:
    """The elements of an axis from one place to before another."""
    size = value.tensor.shape[axis]
    if low == Dim.of(0) and high == size:
        return value
    if (high - low).is_static and int(high - low) < 0:
        cx.fail("E0303", f"the slice {low}:{high} ends before it starts", span)
    text = f"the slice {low}:{high} is out of range for axis {axis} of {value.type}"
    return cut(cx, value, axis, low, high - low, span, text)


def _gathered(
    cx: Context, value: Value, axis: int, ids: Value, item: ast.Expr, node: ast.Index
) -> Value:
    """Rows along an axis; the axis is brought to the front and the rows' axes back to its place."""
    if ids.tensor.dtype in ("f16", "f32"):
        ids = _integral(cx, ids, item.span)
    if ids.tensor.dtype == "bool":
        cx.unsupported("an index that is a mask", item.span, "`where(mask, a, b)` chooses elements")
    places = (node.value.span, item.span)
    if axis == 0:
        return cx.emit("gather", value, ids, span=node.span, places=places)
    rank = value.tensor.rank
    front = (axis, *(a for a in range(rank) if a != axis))
    moved = cx.emit("permute", value, axes=front, span=node.span)
    rows = cx.emit("gather", moved, ids, span=node.span, places=places)
    count = ids.tensor.rank
    order = (*range(count, count + axis), *range(count), *range(count + axis, rows.tensor.rank))
    return cx.emit("permute", rows, axes=order, span=node.span)


def index_tensor(cx: Context, value: Lowered, span: Span) -> Value | None:
    """A whole number, a list of them, or a tensor of them, as a tensor; None for anything else."""
    if isinstance(value, list):
        from tlc.ir.lower.literals import literal

        return literal(cx, value, "i32", span)
    if isinstance(value, Range):
        return tensors.counting(cx, value, "i32", span)
    if isinstance(value, Value):
        constant = value.owner is not None and value.owner.name == "constant"
        if constant and value.tensor.dtype in ("f16", "f32"):
            return _integral(cx, value, span)
        return value
    at = whole(value)
    cx.builder.span = span
    return None if at is None else cx.builder.constant(at, TensorType("i32", ()))


def _integral(cx: Context, ids: Value, span: Span) -> Value:
    """An index tensor written with integral floats, such as `[0.0, 2.0]`; others are refused."""
    owner = ids.owner
    numbers = owner.attrs["value"] if owner is not None and owner.name == "constant" else None
    listed = numbers if isinstance(numbers, tuple) else (numbers,)
    if all(whole(n) is not None for n in listed):
        return cx.emit("constant", value=numbers, type=ids.tensor.with_dtype("i32"), span=span)
    cx.fail(
        "E0302",
        f"an index tensor holds whole numbers, and this is {ids.type}",
        span,
        hint="write it as `tensor<int>([...])`, or convert with `as int`",
    )
