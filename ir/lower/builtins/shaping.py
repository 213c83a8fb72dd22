"""Builtins about shapes: asking for them, rearranging, joining and cutting tensors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.builder import numel
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import indexing, reading, rows
from tlc.ir.lower.arguments import Argument, shape_of
from tlc.ir.lower.builtins.registry import model_of_numbers
from tlc.ir.lower.builtins.table import SPECIAL, arguments, need_axis, need_tensor, special
from tlc.ir.lower.compare import asked
from tlc.ir.lower.context import Context
from tlc.ir.lower.tensors import as_tensor
from tlc.ir.lower.values import Lowered, Pieces, Range, Rows, Text, is_number, whole
from tlc.ir.types import FLOATS, show_shape

MOST_JOINED = 16  # operands of one `concat`; a kernel has 31 buffers


@special("shape", "x: any")
def _shape(cx: Context, node: ast.Call, x: Argument) -> Lowered:
    return [] if indexing.is_scalar(x.value) else indexing.shape(need_tensor(cx, x))


@special("rank", "x: any")
def _rank(cx: Context, node: ast.Call, x: Argument) -> int:
    return 0 if indexing.is_scalar(x.value) else need_tensor(cx, x).tensor.rank


@special("len", "x: any")
def _len(cx: Context, node: ast.Call, x: Argument) -> Lowered:
    if isinstance(x.value, list | tuple | str):
        return len(x.value)
    if isinstance(x.value, Range):
        return whole(Dim.of(x.value.high) - Dim.of(x.value.low))
    if isinstance(x.value, Rows):
        return whole(rows.length(x.value))
    if isinstance(x.value, Text):
        return asked(cx, x.value, "len", "", node.span)
    value = need_tensor(cx, x)
    if not value.tensor.rank:
        cx.fail("E0303", "a tensor of rank 0 has no length", x.span)
    return indexing.shape(value)[0]


@special("reshape", "x: any, shape: any")
def _reshape(cx: Context, node: ast.Call, x: Argument, shape: Argument) -> Value:
    """One size may be -1: it is what the other sizes leave."""
    value = need_tensor(cx, x)
    sizes = list(shape.value) if isinstance(shape.value, list | tuple) else [shape.value]
    free = [at for at, size in enumerate(sizes) if whole(size) == -1]
    if len(free) > 1:
        cx.fail("E0303", "only one size of a reshape can be -1", shape.span)
    known = [1 if at in free else size for at, size in enumerate(sizes)]
    dims = list(shape_of(cx, known, shape.span))
    total, rest = value.tensor.numel, numel(dims)
    if free:
        if rest == Dim.of(0) or (total.is_static and rest.is_static and int(total) % int(rest)):
            cx.fail("E0301", f"{total} elements do not divide into rows of {rest}", node.span)
        dims[free[0]] = total // rest
    cx.builder.span = node.span
    if numel(dims) != total:
        if numel(dims).is_static and total.is_static:
            return cx.emit("reshape", value, shape=tuple(dims), span=node.span, places=(x.span,))
        cx.builder.check(total, numel(dims), f"reshape of {value.type} to {show_shape(dims)}")
    return cx.builder.reshape(value, dims)


# ---- joining -------------------------------------------------------------------------------------


def _to_join(
    cx: Context, node: ast.Call, first: list[Argument]
) -> tuple[list[Value], list[Span], Argument | None, bool]:
    """`concat(a, b, dim)` and `concat([a, b], dim)`: the tensors of either form, and the axis.

    An array beside tensors is one tensor, unless what it holds has as many axes as they have. The
    last says whether it is one tensor alone: then its rows are joined, as NumPy does, so that an
    array which is a tensor in a loop of run time means what it did.
    """
    args = arguments(cx, node, first)
    dims = [a for a in args if a.name in ("dim", "axis") or (a.name is None and _is_axis(a))]
    alone = len(args) - len(dims) == 1
    ranks = {a.value.tensor.rank for a in args if isinstance(a.value, Value)}
    items: list[Argument] = []
    several = False
    for arg in args:
        if arg in dims:
            continue
        if arg.name is not None:
            cx.fail("E0203", f"no parameter `{arg.name}` here", arg.span)
        several = isinstance(arg.value, list | tuple) and any(
            (alone and isinstance(item, list | Range))
            or (isinstance(item, Value) and (alone or item.tensor.rank in ranks or not ranks))
            for item in arg.value
        )
        items += [Argument(item, arg.span) for item in arg.value] if several else [arg]
    if not items or len(dims) > 1:
        cx.fail("E0203", "tensors and at most one axis are needed", node.span)
    table = alone and len(items) == 1 and isinstance(items[0].value, Value) and not several
    return _alike(cx, items), [item.span for item in items], dims[0] if dims else None, table


def _alike(cx: Context, items: Sequence[Argument]) -> list[Value]:
    """Tensors of one dtype: arrays take that of the tensors beside them, float16 widens."""
    like = model_of_numbers(items)
    values = []
    for item in items:
        listed = isinstance(item.value, list) and like is not None
        found = as_tensor(cx, item.value, like, item.span) if listed else None
        values.append(found or need_tensor(cx, item))
    if {v.tensor.dtype for v in values} == set(FLOATS):
        values = [cx.builder.f32(v) for v in values]
    return values


def _is_axis(arg: Argument) -> bool:
    return is_number(arg.value) or isinstance(arg.value, Dim)


def _concat(cx: Context, node: ast.Call, first: list[Argument]) -> Value:
    values, places, dim, table = _to_join(cx, node, first)
    if table and values[0].tensor.rank > 1:
        axis = need_axis(cx, dim, values[0].tensor.rank - 1, node.span)
        moved = _rows_at(cx, values[0], axis, node.span)
        shape = moved.tensor.shape
        joined = (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
        return cx.builder.reshape(moved, joined)
    axis = need_axis(cx, dim, values[0].tensor.rank, node.span)
    return _joined(cx, values, places, axis, node.span)


def _stack(cx: Context, node: ast.Call, first: list[Argument]) -> Value:
    values, places, dim, table = _to_join(cx, node, first)
    if table and values[0].tensor.rank:
        axis = need_axis(cx, dim, values[0].tensor.rank, node.span)
        return _rows_at(cx, values[0], axis, node.span)
    axis = need_axis(cx, dim, values[0].tensor.rank + 1, node.span)
    for value, place in zip(values, places, strict=True):
        if value.type != values[0].type:
            text = f"a stack is made of equal shapes: {values[0].type} and {value.type} differ"
            cx.fail("E0301", text, place)
    lifted = [cx.emit("unsqueeze", v, dim=axis, span=node.span) for v in values]
    return _joined(cx, lifted, places, axis, node.span)


def _rows_at(cx: Context, value: Value, axis: int, span: Span) -> Value:
    """A tensor whose first axis has become another one."""
    axes = [*range(1, value.tensor.rank)]
    axes.insert(axis, 0)
    return value if axis == 0 else cx.emit("permute", value, axes=tuple(axes), span=span)


def _joined(
    cx: Context, values: Sequence[Value], places: Sequence[Span], axis: int, span: Span
) -> Value:
    """The tensors one behind the other; many of them are joined group by group."""
    while len(values) > MOST_JOINED:
        starts = range(0, len(values), MOST_JOINED)
        values = [
            cx.emit(
                "concat",
                *values[at : at + MOST_JOINED],
                axis=axis,
                span=span,
                places=places[at : at + MOST_JOINED],
            )
            for at in starts
        ]
        places = [places[at] for at in starts]
    return cx.emit("concat", *values, axis=axis, span=span, places=places)


SPECIAL["concat"] = SPECIAL["cat"] = _concat
SPECIAL["stack"] = _stack


@special("repeat tile", "x: any, n: any, dim: any = 0")
def _repeat(cx: Context, node: ast.Call, x: Argument, n: Argument, dim: Argument | None) -> Value:
    """The whole tensor n times in a row along an axis, or so often along each one as a list says,
    with new axes in front where the list is longer."""
    value = need_tensor(cx, x)
    if isinstance(n.value, list):
        if dim is not None:
            cx.fail("E0203", "a list of times is for all axes, and one is named", dim.span)
        times = shape_of(cx, n.value, n.span)
        new = len(times) - value.tensor.rank
        if new < 0:
            text = f"{value.type} has more axes than there are times to repeat it"
            cx.fail("E0303", text, n.span)
        cx.builder.span = node.span
        value = cx.builder.reshape(value, (*(Dim.of(1) for _ in range(new)), *value.tensor.shape))
        for axis, count in enumerate(times):
            value = _times(cx, value, count, axis, node.span)
        return value
    axis = need_axis(cx, dim, value.tensor.rank, node.span)
    (count,) = shape_of(cx, [n.value], n.span)
    return _times(cx, value, count, axis, node.span)


def _times(cx: Context, value: Value, count: Dim, axis: int, span: Span) -> Value:
    """A tensor so often in a row along an axis."""
    if count == Dim.of(1):
        return value
    shape = value.tensor.shape
    lifted = cx.emit("unsqueeze", value, dim=axis, span=span)
    spread = cx.emit("broadcast", lifted, shape=(*shape[:axis], count, *shape[axis:]), span=span)
    joined = (*shape[:axis], count * shape[axis], *shape[axis + 1 :])
    return cx.emit("reshape", spread, shape=joined, span=span)


# ---- cutting -------------------------------------------------------------------------------------


def _pieces(cx: Context, node: ast.Call, value: Value, axis: int, size: Dim) -> Pieces:
    """Pieces of one size, the last one maybe shorter; how many there are is known at build."""
    total = value.tensor.shape[axis]
    count = total.exact_div(size)
    if count is not None and count.is_static:
        lengths = [size] * int(count)
    elif total.is_static and size.is_static:
        each = int(size)
        lengths = [Dim.of(min(each, int(total) - at)) for at in range(0, int(total), each)]
    else:
        text = f"how many pieces of {size} there are in {total} must be known at build"
        cx.fail("E0304", text, node.span)
    return _cut_up(cx, node, value, axis, lengths)


def _cut_up(cx: Context, node: ast.Call, value: Value, axis: int, lengths: Sequence[Dim]) -> Pieces:
    """Pieces of these lengths, which are all of an axis."""
    starts = accumulate(lengths, initial=Dim.of(0))
    return Pieces(
        indexing.cut(cx, value, axis, start, length, node.span)
        for start, length in zip(starts, lengths, strict=False)
    )


@special("split", "x: any, size: any, dim: any = 0")
def _split(
    cx: Context, node: ast.Call, x: Argument, size: Argument, dim: Argument | None
) -> Lowered:
    """Pieces of a given size along an axis, of which the last one may be shorter, or of the sizes
    in a list."""
    value = need_tensor(cx, x)
    if isinstance(size.value, list):
        axis = need_axis(cx, dim, value.tensor.rank, node.span)
        lengths = shape_of(cx, size.value, size.span)
        total = sum(lengths, Dim.of(0))
        text = f"pieces of {show_shape(lengths)} are {total}, and the axis has "
        text += str(value.tensor.shape[axis])
        if total != value.tensor.shape[axis] and (total - value.tensor.shape[axis]).is_static:
            cx.fail("E0301", text, size.span)
        cx.builder.span = node.span
        cx.builder.check(total, value.tensor.shape[axis], text)
        return _cut_up(cx, node, value, axis, lengths)
    length = reading.count(cx, size.value, size.span)
    _need_known(cx, length, size.span)
    if length is None or (isinstance(length, int) and length < 1):
        cx.fail("E0303", "the size of a piece is a whole number of at least 1", size.span)
    axis = need_axis(cx, dim, value.tensor.rank, node.span)
    return _pieces(cx, node, value, axis, Dim.of(length))


def _need_known(cx: Context, number: int | Dim | None, span: Span) -> None:
    """Refuse what only the run knows for how many pieces there are, or how long they are."""
    if isinstance(number, Dim) and any(s[0] == "$" for s in number.symbols()):
        text = "how many pieces there are has to be known at build"
        cx.fail("E0304", text, span, hint="a loop cuts them one by one: `x[i * n:(i + 1) * n]`")


@special("chunk", "x: any, n: any, dim: any = 0")
def _chunk(cx: Context, node: ast.Call, x: Argument, n: Argument, dim: Argument | None) -> Lowered:
    """A given number of pieces along an axis, as equal as they can be; of a size that only the run
    knows, which it has to divide, all equal."""
    value = need_tensor(cx, x)
    axis = need_axis(cx, dim, value.tensor.rank, node.span)
    count, total = reading.count(cx, n.value, n.span), value.tensor.shape[axis]
    _need_known(cx, count, n.span)
    if not isinstance(count, int) or count < 1:
        cx.fail("E0303", "the number of pieces is a whole number of at least 1", n.span)
    size = total.exact_div(count)
    if size is None or size == Dim.of(0):
        if not total.is_static:
            size = total // count
            cx.builder.span = node.span
            cx.builder.check(size * count, total, f"{total} do not divide into {count} pieces")
            return _cut_up(cx, node, value, axis, [size] * count)
        size = Dim.of(max(1, -(-int(total) // count)))
    return _pieces(cx, node, value, axis, size)


@special("slice", "x: any, row: any, low: any, high: any")
def _slice(
    cx: Context, node: ast.Call, x: Argument, row: Argument, low: Argument, high: Argument
) -> Value:
    """Columns low to high of one row of a matrix."""
    value = need_tensor(cx, x)
    if value.tensor.rank != 2:
        cx.fail("E0301", f"`slice` reads a row of a matrix, and this is {value.type}", x.span)
    at, start, end = shape_of(cx, [row.value, low.value, high.value], node.span)
    line = indexing.cut(cx, value, 0, at, Dim.of(1), row.span)
    part = indexing.cut(cx, line, 1, start, end - start, low.span.to(high.span))
    return cx.emit("reshape", part, shape=(end - start,), span=node.span)


@special("slice_last", "x: any, dim: any = 0")
def _slice_last(cx: Context, node: ast.Call, x: Argument, dim: Argument | None) -> Value:
    """The last element along an axis, which is dropped."""
    value = need_tensor(cx, x)
    axis = need_axis(cx, dim, value.tensor.rank, node.span)
    shape = value.tensor.shape
    last = indexing.cut(cx, value, axis, shape[axis] - 1, Dim.of(1), node.span)
    return cx.emit("reshape", last, shape=shape[:axis] + shape[axis + 1 :], span=node.span)
