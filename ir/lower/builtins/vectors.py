"""Arrays of the build: `IntVec()` and its like, `append`, `get`, `set`, `vec`, `to_vec`, `zip`.

An array is a value. In the place of a statement, `v.push(x)` and `v.set(i, x)` give `v` a new one.
"""

from __future__ import annotations

from tlc.frontend import ast
from tlc.ir.builder import numel
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import arrays, assignment, indexing, models, reading, rows
from tlc.ir.lower.arguments import Argument, shape_of
from tlc.ir.lower.builtins.table import SPECIAL, Builtin, arguments, need_tensor, special
from tlc.ir.lower.context import Context
from tlc.ir.lower.control.walks import Walk, walk
from tlc.ir.lower.literals import literal
from tlc.ir.lower.signature import Symbols
from tlc.ir.lower.types import convert
from tlc.ir.lower.values import Lowered, Metadata, Range, Rows, Vector, Zipped, describe, whole

MOST_ELEMENTS = 4096  # of a tensor taken apart by `to_vec`
_ELEMENTS = {"IntVec": "int", "FloatVec": "float", "StringVec": "string", "BoolVec": "bool"}


def _items(args: list[Argument]) -> list[Lowered]:
    """The elements: the arguments, or those of the one array that is given."""
    if len(args) == 1 and isinstance(args[0].value, list):
        return list(args[0].value)
    return [arg.value for arg in args]


def _constructor(name: str) -> Builtin:
    def run(cx: Context, node: ast.Call, first: list[Argument]) -> list[Lowered]:
        args = arguments(cx, node, first)
        type = ast.TypeExpr(node.callee.span, _ELEMENTS[name])
        what = f"an element of `{name}`"
        return Vector(
            (convert(cx, type, item, node.span, what, Symbols()) for item in _items(args)), type
        )

    return run


for _name in _ELEMENTS:
    for _spelling in ("", "::new", "::from"):
        SPECIAL[_name + _spelling] = _constructor(_name)


def _vec(cx: Context, node: ast.Call, first: list[Argument]) -> list[Lowered]:
    return _items(arguments(cx, node, first))


SPECIAL["vec"] = SPECIAL["Vec::new"] = _vec


def _need_list(cx: Context, arg: Argument) -> list[Lowered]:
    if not isinstance(arg.value, list):
        text = f"an array known at build is needed, and this is {describe(arg.value)}"
        cx.fail("E0302", text, arg.span)
    return arg.value


@special("append push", "v: any, x: any")
def _append(cx: Context, node: ast.Call, v: Argument, x: Argument) -> Lowered:
    """One element more; of a tensor too, one more row, which an array is in a loop of run time."""
    if isinstance(v.value, Value) and v.value.tensor.rank:
        row = v.value.tensor.with_shape(v.value.tensor.shape[1:])
        if row.shape and not (isinstance(x.value, Value) and x.value.tensor.shape == row.shape):
            text = f"a row of {v.value.type} is {row}, and this is {describe(x.value)}"
            cx.fail("E0302", text, x.span)
        more = literal(cx, [x.value], row.dtype, x.span)
        return cx.emit("concat", v.value, more, axis=0, span=node.span, places=[v.span, x.span])
    if isinstance(v.value, Rows):
        return rows.pushed(cx, v.value, x.value, x.span)
    items = _need_list(cx, v)
    return arrays.alike(items, [*items, arrays.element(cx, items, x.value, x.span)])


@special("get", "v: any, i: any, otherwise: any = none")
def _get(
    cx: Context, node: ast.Call, v: Argument, i: Argument, otherwise: Argument | None
) -> Lowered:
    """`get(v, i)` is `v[i]`; of a tensor, a row. Of metadata, `otherwise` where it lacks a key."""
    if isinstance(v.value, Metadata) and isinstance(i.value, str):
        if otherwise is not None and i.value not in v.value.model.header.metadata:
            return otherwise.value
        return models.metadata(cx, v.value.model, i.value, i.span)
    if otherwise is not None:
        text = f"only metadata may lack what `get` asks for, and this is {describe(v.value)}"
        cx.fail("E0302", text, otherwise.span)
    at = i.value
    if isinstance(v.value, Value):
        if isinstance(at, Value) and not at.tensor.rank:
            at = reading.on_host(cx, at, i.span)
        number = whole(at)
        if number is None:
            text = f"an index is a whole number, and this is {describe(at)}"
            cx.fail("E0303", text, i.span)
        return indexing.row(cx, v.value, number, i.span)
    if isinstance(v.value, Rows):
        number = reading.count(cx, at, i.span)
        if number is None:
            cx.fail("E0303", f"an index is a whole number, and this is {describe(at)}", i.span)
        return rows.item(cx, v.value, number, i.span)
    items = _need_list(cx, v)
    return arrays.item(cx, items, arrays.place(cx, at, len(items), i.span), i.span)


@special("set", "v: any, i: any, x: any")
def _set(cx: Context, node: ast.Call, v: Argument, i: Argument, x: Argument) -> Lowered:
    """`v[i] = x` as a value."""
    items = v.value if isinstance(v.value, Value | Rows) else _need_list(cx, v)
    return assignment.with_element(cx, items, i.value, i.span, x.value, x.span)


@special("from_vec", "v: any, shape: any = none")
def _from_vec(cx: Context, node: ast.Call, v: Argument, shape: Argument | None) -> Value:
    """An array as a float16 tensor, laid out in a shape when there is one."""
    dims = None if shape is None else shape_of(cx, shape.value, shape.span)
    if isinstance(v.value, Value):  # an array that grew at run time
        cx.builder.span = node.span
        made = cx.builder.cast(v.value, "f16")
        return made if dims is None else cx.emit("reshape", made, shape=dims, span=node.span)
    return literal(cx, _need_list(cx, v), "f16", v.span, dims)


@special("to_vec", "x: any")
def _to_vec(cx: Context, node: ast.Call, x: Argument) -> list[Lowered]:
    """The elements of a tensor in row-major order, each a tensor of rank 0."""
    if isinstance(x.value, list):
        return x.value
    value = need_tensor(cx, x)
    count = numel(value.tensor.shape)
    if not count.is_static or int(count) > MOST_ELEMENTS:
        cx.unsupported(f"`to_vec` of {value.type}", x.span)
    flat = cx.emit("reshape", value, shape=(count,), span=node.span)
    found: list[Lowered] = []
    for at in range(int(count)):
        item = indexing.cut(cx, flat, 0, Dim.of(at), Dim.of(1), node.span)
        found.append(cx.emit("reshape", item, shape=(), span=node.span))
    return found


# ---- walked together -----------------------------------------------------------------------------


@special("enumerate", "items: any, start: any = none")
def _enumerate(cx: Context, node: ast.Call, items: Argument, start: Argument | None) -> Zipped:
    """The items, each behind its number: `for (i, x) in enumerate(xs)`."""
    first = 0 if start is None else whole(start.value)
    if first is None:
        assert start is not None
        cx.fail("E0303", f"a number is whole, and this is {describe(start.value)}", start.span)
    found = walk(cx, items.value, items.span)
    count = found.high - found.low if isinstance(found, Walk) else Dim.of(len(found))
    return Zipped((Range(first, whole(count + first) or 0), items.value))


def _zip(cx: Context, node: ast.Call, first: list[Argument]) -> Zipped:
    """Tuples of what stands at one place in each of the arguments."""
    args = arguments(cx, node, first)
    for arg in args:
        walk(cx, arg.value, arg.span)
    if not args:
        cx.fail("E0203", "`zip` needs something to walk", node.span)
    return Zipped(tuple(arg.value for arg in args))


SPECIAL["zip"] = _zip
