"""Assignment to names and to parts of values: `p.x = e`, `v[i] = e`, `x[i, :] = row`.

Values are pure, so a part is replaced by giving the name at the root a new value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import (
    arrays,
    calls,
    composite,
    expressions,
    indexing,
    reading,
    rows,
    structs,
    tensors,
)
from tlc.ir.lower.context import Context, Scope
from tlc.ir.lower.places import from_front, within
from tlc.ir.lower.signature import Symbols
from tlc.ir.lower.values import Lowered, Range, Rows, Struct, describe, whole
from tlc.ir.opdef import TypeRuleError
from tlc.ir.types import FLOATS, TensorType, show_shape

# methods of arrays that change the name they are called on, where they stand as a statement
UPDATES = ("push", "append", "set")


def assigned(node: ast.Node, changing: Collection[str] = ()) -> Iterator[str]:
    """The names that a statement gives a value, not counting those of blocks inside it.

    `changing` are the names of methods that may give their `self` another value.
    """
    match node:
        case ast.Let(names=names):
            yield from ast.targets(names)
        case ast.Assign(target=target):
            yield from _roots(target)
        case ast.ExprStmt(value=ast.Call() as call):
            yield from updated(call)
        case ast.Call():
            yield from root(changed_by(node, changing) or node)
        case ast.ExprStmt(value=ast.Match(arms=arms)):
            for arm in arms:
                yield from assigned(ast.ExprStmt(arm.span, arm.body), changing)
        case ast.ExprStmt(value=ast.IfExpr(then=then, orelse=orelse)):
            for side in (then, orelse):
                yield from assigned(ast.ExprStmt(side.span, side), changing)
        case ast.TensorDecl(name=name):
            yield name


def _roots(target: ast.Expr) -> Iterator[str]:
    """The names that an assignment to this changes."""
    if isinstance(target, ast.Tuple):
        for item in target.items:
            yield from _roots(item)
    else:
        yield from root(target)


def give(cx: Context, scope: Scope, name: str, value: Lowered) -> None:
    """A name in a scope gets a value."""
    scope.names[name] = value
    structs.bound(cx, scope, name)


def root(target: ast.Expr) -> Iterator[str]:
    """The name that `a.b[0].c` begins with, if it begins with one."""
    while isinstance(target, ast.Attribute | ast.Index):
        target = target.value
    if isinstance(target, ast.Name):
        yield target.id


def updated(call: ast.Call) -> Iterator[str]:
    """The names that a call in the place of a statement may change: `v.push(x)`, `append(v, x)`."""
    place = _place(call)
    if place is not None:
        yield from root(place)


def _place(call: ast.Call) -> ast.Expr | None:
    match call.callee:
        case ast.Attribute(value=place, name=name) if name in UPDATES:
            return place
        case ast.Name(id=name) if name in UPDATES and call.args and call.args[0].name is None:
            return call.args[0].value
    return None


def update(cx: Context, call: ast.Call) -> Lowered:
    """A call in the place of a statement; an array that it extends, or a struct whose method gave
    `self` another value, is the name's new value."""
    value = called(cx, call, alone=True)
    place = _place(call)
    name = call.callee.id if isinstance(call.callee, ast.Name) else ""
    if (
        place is not None
        and isinstance(value, list | Rows | Value)
        and name not in cx.program.functions
    ):
        before = expressions.expression(cx, place)
        if isinstance(before, list | Rows | Value):
            store(cx, place, value, call.span)
            return None
    return value


def called(cx: Context, call: ast.Call, alone: bool = False) -> Lowered:
    """The value of a call. A method that gives its `self` another value changes what it is called
    on; but where it hands out such a struct itself, only when it stands alone."""
    receiver = changed_by(call, cx.program.changing)
    if receiver is None:
        return calls.call(cx, call)
    behind: dict[str, Lowered] = {}
    value = calls.call(cx, call, behind)
    before, after = behind.get(calls.RECEIVER), behind.get("self")
    if isinstance(before, Struct) and after is not before and (alone or not _holds(value, before)):
        store(cx, receiver, after, call.span)
    return value


def _holds(value: Lowered, struct: Struct) -> bool:
    """Whether a struct of the same kind is a value, or a part of it."""
    if isinstance(value, Struct) and value.decl is struct.decl:
        return True
    return composite.is_composite(value) and any(
        _holds(part, struct) for _, part in composite.parts(value)
    )


def changed_by(call: ast.Call, changing: Collection[str]) -> ast.Expr | None:
    """What a method that may give `self` another value is called on, if a name is its root."""
    match call.callee:
        case ast.Attribute(value=receiver, name=name) if name in changing:
            return receiver if any(root(receiver)) else None
    return None


def store(cx: Context, target: ast.Expr, value: Lowered, span: Span) -> None:
    """Replace the part of a value that a target names. `span` is the place of the new part."""
    match target:
        case ast.Name(id=name):
            cx.lookup(name, target.span)
            give(cx, cx.scope.find(name) or cx.scope, name, value)
        case ast.Attribute(value=inner, name=name):
            before = expressions.expression(cx, inner)
            if not isinstance(before, Struct):
                text = f"{describe(before)} has no fields that can be assigned to"
                cx.fail("E0302", text, target.span)
            structs.field(cx, before, target)
            symbols = Symbols(types=dict.fromkeys(before.decl.generics))
            fitting = structs.checked(cx, before.decl, name, value, span, symbols)
            store(cx, inner, before.with_field(name, fitting), span)
        case ast.Index(value=inner):
            before = expressions.expression(cx, inner)
            store(cx, inner, _with_item(cx, before, target, value, span), span)
        case _:
            cx.fail("E0302", "this cannot be assigned to", target.span)


def _with_item(
    cx: Context, before: Lowered, target: ast.Index, value: Lowered, span: Span
) -> Lowered:
    """An array or tensor with one item or part replaced."""
    if isinstance(before, Value):
        return _written(cx, before, target, value, span)
    if not isinstance(before, list | Rows) or len(target.items) != 1:
        cx.fail("E0302", f"{describe(before)} has no items that can be assigned to", target.span)
    (item,) = target.items
    return with_element(cx, before, expressions.expression(cx, item), item.span, value, span)


def with_element(
    cx: Context,
    before: list[Lowered] | Rows | Value,
    at: Lowered,
    place: Span,
    value: Lowered,
    span: Span,
) -> Lowered:
    """An array with an element replaced, or a tensor with a row; `place` is where `at` stands."""
    if isinstance(before, Value):
        part = _one(cx, before, 0, at, place)
        return _replaced(cx, before, [part], value, place, span)
    if isinstance(before, Rows):
        return rows.with_item(cx, before, at, place, value, span)
    return arrays.with_item(cx, before, arrays.place(cx, at, len(before), place), value, span)


# ---- tensors -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """Along one axis, `length` elements from `start` on; `one` when an index drops the axis."""

    axis: int
    start: Dim
    length: Dim
    one: bool


def _written(cx: Context, before: Value, target: ast.Index, value: Lowered, span: Span) -> Value:
    """The tensor with a part replaced."""
    return _replaced(cx, before, _parts(cx, before, target), value, target.span, span)


def _replaced(
    cx: Context, before: Value, parts: list[_Part], value: Lowered, place: Span, span: Span
) -> Value:
    """The tensor with parts replaced: chosen by a mask at an index, joined around a slice."""
    shape = list(before.tensor.shape)
    for part in parts:
        shape[part.axis] = part.length
    kept = [d for at, d in enumerate(shape) if not any(p.axis == at and p.one for p in parts)]
    new = _fitting(cx, before, value, kept, span)
    new = cx.builder.reshape(new, shape)
    floats = before.tensor.dtype in FLOATS
    late = [p for p in parts if p.one and (floats or not p.start.is_static)]
    return _around(cx, before, [p for p in parts if p not in late], late, new, place)


def _parts(cx: Context, before: Value, target: ast.Index) -> list[_Part]:
    """What the items of an index take, axes that stay whole left out."""
    shape = before.tensor.shape
    if len(target.items) > len(shape):
        cx.fail("E0303", f"{len(target.items)} indices for {before.type}", target.span)
    found = []
    for axis, item in enumerate(target.items):
        if isinstance(item, ast.Slice):
            low, high = indexing.ends(cx, shape[axis], item)
        else:
            index = expressions.expression(cx, item)
            if not isinstance(index, Range):
                found.append(_one(cx, before, axis, index, item.span))
                continue
            low, high = Dim.of(index.low), Dim.of(index.high)
        if low == Dim.of(0) and high == shape[axis]:
            continue
        text = f"the slice {low}:{high} is out of range for axis {axis} of {before.type}"
        within(cx, low, high - low, shape[axis], item.span, text)
        found.append(_Part(axis, low, high - low, one=False))
    return found


def _one(cx: Context, before: Value, axis: int, index: Lowered, span: Span) -> _Part:
    """The one element that an index takes of an axis."""
    index = reading.integral(cx, index, span)
    if isinstance(index, Value) and index.tensor.rank == 0:
        index = reading.on_host(cx, index, span)
    at = whole(index)
    if at is None:
        hint = "rows are written one by one, by a whole number"
        cx.fail("E0303", f"this is {describe(index)}, and no place", span, hint=hint)
    size = before.tensor.shape[axis]
    start = from_front(cx, at, size)
    text = f"index {at} is out of range for axis {axis} of {before.type}"
    within(cx, start, Dim.of(1), size, span, text)
    return _Part(axis, start, Dim.of(1), one=True)


def _fitting(cx: Context, before: Value, value: Lowered, shape: list[Dim], span: Span) -> Value:
    """What is written, with the dtype of the tensor and the shape of its place."""
    new = tensors.as_tensor(cx, value, before, span)
    dtype = before.tensor.dtype
    if new is None or (new.tensor.dtype != dtype and not {new.tensor.dtype, dtype} <= set(FLOATS)):
        shown = describe(value) if new is None else new.type
        cx.fail("E0302", f"a part of {before.type} cannot be {shown}", span)
    text = f"a part of shape {show_shape(shape)} cannot be {new.type}"

    def placed(part: Value) -> Value:
        try:
            return cx.builder.broadcast(cx.builder.cast(part, dtype), shape)
        except TypeRuleError as problem:
            raise TypeRuleError(text, "E0301", differ=problem.differ) from None

    return cx.fitting(placed, [new], span)


def _around(
    cx: Context, before: Value, cuts: list[_Part], late: list[_Part], new: Value, span: Span
) -> Value:
    """Puts the new part between what lies before and behind it, axis by axis."""
    cx.builder.span = span
    if not cuts:
        return _masked(cx, before, late, new) if late else new
    part, *others = cuts
    size, end = before.tensor.shape[part.axis], part.start + part.length

    def piece(start: Dim, length: Dim) -> Value:
        if length == size:
            return before
        return cx.emit("slice", before, axis=part.axis, start=start, length=length, span=span)

    middle = _around(cx, piece(part.start, part.length), others, late, new, span)
    pieces = [
        *([piece(Dim.of(0), part.start)] if part.start != Dim.of(0) else []),
        middle,
        *([piece(end, size - end)] if end != size else []),
    ]
    return cx.emit("concat", *pieces, axis=part.axis, span=span) if pieces[1:] else middle


def _masked(cx: Context, before: Value, late: list[_Part], new: Value) -> Value:
    """The new value at the elements that all indices name."""
    b, shape = cx.builder, before.tensor.shape
    mask: Value | None = None
    for part in late:
        counter = b.emit("iota", type=TensorType("i32", shape), axis=part.axis)
        here = b.emit("eq", counter, b.scalar(part.start, counter))
        mask = here if mask is None else b.emit("and", mask, here)
    assert mask is not None
    return b.emit("where", mask, b.broadcast(new, shape), before)
