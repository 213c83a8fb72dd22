"""Builtins that are more than one operation of the registry: construction, shapes, models, output.

Each takes the context, the call and an already evaluated receiver, if it was called as a method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import expressions, indexing
from tlc.ir.lower.calls import Argument, builtin, place, shape_of
from tlc.ir.lower.context import Context
from tlc.ir.lower.literals import literal
from tlc.ir.lower.types import dtype_of
from tlc.ir.lower.values import Lowered, Model, Range, describe, is_number, show, whole
from tlc.ir.opdef import BUILTINS, parse_params
from tlc.ir.ops.shape import normal_axis
from tlc.ir.opdef import TypeRuleError
from tlc.ir.types import TensorType, show_shape

Builtin = Callable[[Context, ast.Call, list[Argument]], Lowered]
SPECIAL: dict[str, Builtin] = {}
DEVICES = ("gpu", "cpu", "ane", "auto")


def special(names: str, params: str = "") -> Callable[[Callable[..., Lowered]], Builtin]:
    """Register a builtin; the function gets its arguments by parameter name, None when left out."""
    signature = parse_params(params)

    def register(function: Callable[..., Lowered]) -> Builtin:
        def run(cx: Context, node: ast.Call, first: list[Argument]) -> Lowered:
            name = node.callee.span.text.rsplit(".", 1)[-1]
            args = first + [_argument(cx, a) for a in node.args]
            placed = place(cx, signature, args, f"`{name}`", node.span)
            return function(cx, node, *(placed.get(p.name) for p in signature))

        for name in names.split():
            SPECIAL[name] = run
        return run

    return register


def _argument(cx: Context, arg: ast.Arg) -> Argument:
    """An argument; the names of devices are only names after `device:`."""
    if arg.name == "device" and isinstance(arg.value, ast.Name) and arg.value.id in DEVICES:
        if arg.value.id != "auto":
            cx.program.hints.setdefault(arg.value.id, arg.value.span)
        return Argument(arg.value.id, arg.span, arg.name)
    return Argument(expressions.expression(cx, arg.value), arg.span, arg.name)


def _device(cx: Context, device: Argument | None) -> None:
    if device is not None and device.value not in DEVICES:
        cx.fail("E0203", f"a device is one of {', '.join(DEVICES)}", device.span)


def _need_tensor(cx: Context, arg: Argument) -> Value:
    if not isinstance(arg.value, Value):
        cx.fail("E0302", f"a tensor is needed, and this is {describe(arg.value)}", arg.span)
    return arg.value


def _need_axis(cx: Context, arg: Argument | None, rank: int, default: int = 0) -> int:
    if arg is None:
        return default
    axis = whole(arg.value)
    if not isinstance(axis, int):
        cx.fail("E0303", f"an axis is a whole number, and this is {describe(arg.value)}", arg.span)
    try:
        return normal_axis(axis, rank)
    except TypeRuleError as problem:
        cx.fail(problem.code, problem.message, arg.span)


# ---- making tensors ---------------------------------------------------------------------------------


@special("tensor", "value: any, device: any = auto")
def _tensor(cx: Context, node: ast.Call, value: Argument, device: Argument | None) -> Value:
    _device(cx, device)
    dtype = dtype_of(cx, node.type_args[0]) if node.type_args else "f16"
    if isinstance(value.value, Value):
        return cx.emit("cast", value.value, dtype=dtype, span=node.span)
    return literal(cx, value.value, dtype, value.span)


def _filled(number: float | None, dtype: str) -> Callable[..., Value]:
    def make(
        cx: Context, node: ast.Call, shape: Argument, *rest: Argument | None
    ) -> Value:
        value, device = (number, rest[-1]) if number is not None else (rest[0], rest[-1])
        _device(cx, device)
        if isinstance(value, Argument):
            if not is_number(value.value):
                cx.fail("E0302", f"a number is needed, and this is {describe(value.value)}", value.span)
            value = value.value
        cx.builder.span = node.span
        dims = shape_of(cx, shape.value, shape.span)
        return cx.builder.broadcast(cx.builder.constant(float(value or 0), TensorType(dtype, ())), dims)

    return make


for _prefix, _dtype in (("", "f16"), ("f16::", "f16"), ("f32::", "f32")):
    for _name, _number in (("zeros", 0.0), ("ones", 1.0)):
        special(_prefix + _name, "shape: any, device: any = auto")(_filled(_number, _dtype))
    special(_prefix + "full", "shape: any, value: any, device: any = auto")(_filled(None, _dtype))


@special("arange range", "n: any")
def _arange(cx: Context, node: ast.Call, n: Argument) -> Lowered:
    """A range to walk; of a shape, a tensor that counts through its elements."""
    if isinstance(n.value, list):
        shape = shape_of(cx, n.value, n.span)
        flat = TensorType("f16", (Dim.of(1),)).with_shape([_numel(shape)])
        counted = cx.emit("iota", type=flat, axis=0, span=node.span)
        return cx.emit("reshape", counted, shape=shape, span=node.span)
    return _range(cx, node, Argument(0, node.span), n)


@special("range_i", "low: any, high: any")
def _range(cx: Context, node: ast.Call, low: Argument, high: Argument) -> Range:
    ends = []
    for arg in (low, high):
        end = whole(arg.value)
        if isinstance(end, Dim) or isinstance(arg.value, Value):
            cx.unsupported("a range whose ends only run time knows", arg.span)
        if end is None:
            cx.fail("E0303", f"a range ends at a whole number, and this is {describe(arg.value)}", arg.span)
        ends.append(end)
    return Range(*ends)


def _numel(shape: Sequence[Dim]) -> Dim:
    total = Dim.of(1)
    for dim in shape:
        total = total * dim
    return total


@special("positional_encoding", "n: any, d: any")
def _positional_encoding(cx: Context, node: ast.Call, n: Argument, d: Argument) -> Value:
    """Even columns sin, odd columns cos, of pos / 10000^(i/d) with i the column (LANGUAGE §6)."""
    rows, columns = shape_of(cx, [n.value, d.value], node.span)
    b, type = cx.builder, TensorType("f32", (rows, columns))
    b.span = node.span
    position = b.emit("iota", type=type, axis=0)
    column = b.emit("iota", type=type, axis=1)
    # 10000^(-i/d) = exp(-i * ln(10000) / d)
    rate = b.emit("exp", b.emit("div", b.emit("mul", column, b.scalar(-9.210340371976184, column)), b.scalar(columns, column)))
    angle = b.emit("mul", position, rate)
    odd = b.emit("gt", b.emit("mod", column, b.scalar(2.0, column)), b.scalar(0.5, column))
    return b.cast(b.emit("where", odd, b.emit("cos", angle), b.emit("sin", angle)), "f16")


# ---- shapes -----------------------------------------------------------------------------------------


@special("shape", "x: any")
def _shape(cx: Context, node: ast.Call, x: Argument) -> Lowered:
    return indexing.shape(_need_tensor(cx, x))


@special("rank", "x: any")
def _rank(cx: Context, node: ast.Call, x: Argument) -> int:
    return _need_tensor(cx, x).tensor.rank


@special("len", "x: any")
def _len(cx: Context, node: ast.Call, x: Argument) -> Lowered:
    if isinstance(x.value, list | tuple | str):
        return len(x.value)
    value = _need_tensor(cx, x)
    if not value.tensor.rank:
        cx.fail("E0303", "a tensor of rank 0 has no length", x.span)
    return indexing.shape(value)[0]


@special("reshape", "x: any, shape: any")
def _reshape(cx: Context, node: ast.Call, x: Argument, shape: Argument) -> Value:
    """One size may be -1: it is what the other sizes leave."""
    value = _need_tensor(cx, x)
    sizes = list(shape.value) if isinstance(shape.value, list | tuple) else [shape.value]
    free = [at for at, size in enumerate(sizes) if whole(size) == -1]
    if len(free) > 1:
        cx.fail("E0303", "only one size of a reshape can be -1", shape.span)
    known = [1 if at in free else size for at, size in enumerate(sizes)]
    dims = list(shape_of(cx, known, shape.span))
    total, rest = value.tensor.numel, _numel(dims)
    if free:
        if rest == Dim.of(0) or (total.is_static and rest.is_static and int(total) % int(rest)):
            cx.fail(
                "E0301",
                f"{total} elements do not divide into rows of {rest}",
                node.span,
                others=[],
            )
        dims[free[0]] = total // rest
    cx.builder.span = node.span
    if _numel(dims) != total:
        if _numel(dims).is_static and total.is_static:
            return cx.emit("reshape", value, shape=tuple(dims), span=node.span, places=(x.span,))
        cx.builder.check(total, _numel(dims), f"reshape of {value.type} to {show_shape(dims)}")
    return cx.builder.reshape(value, dims)


def _tensors(cx: Context, args: Sequence[Argument]) -> tuple[list[Value], list[Span]]:
    """`concat(a, b, dim)` and `concat([a, b], dim)`: the tensors of either form."""
    found: list[Value] = []
    places: list[Span] = []
    for arg in args:
        for item in arg.value if isinstance(arg.value, list | tuple) else [arg.value]:
            found.append(_need_tensor(cx, Argument(item, arg.span)))
            places.append(arg.span)
    return found, places


def _joined(cx: Context, node: ast.Call, first: list[Argument]) -> tuple[list[Value], list[Span], Argument | None]:
    args = first + [_argument(cx, a) for a in node.args]
    dims = [a for a in args if a.name in ("dim", "axis") or (a.name is None and whole(a.value) is not None)]
    for arg in args:
        if arg.name not in (None, "dim", "axis"):
            cx.fail("E0203", f"no parameter `{arg.name}` here", arg.span)
    values, places = _tensors(cx, [a for a in args if a not in dims])
    if not values or len(dims) > 1:
        cx.fail("E0203", "tensors and at most one axis are needed", node.span)
    return values, places, dims[0] if dims else None


def _concat(cx: Context, node: ast.Call, first: list[Argument]) -> Value:
    values, places, dim = _joined(cx, node, first)
    axis = _need_axis(cx, dim, values[0].tensor.rank)
    return cx.emit("concat", *values, axis=axis, span=node.span, places=places)


def _stack(cx: Context, node: ast.Call, first: list[Argument]) -> Value:
    values, places, dim = _joined(cx, node, first)
    axis = _need_axis(cx, dim, values[0].tensor.rank + 1)
    lifted = [cx.emit("unsqueeze", v, dim=axis, span=node.span) for v in values]
    return cx.emit("concat", *lifted, axis=axis, span=node.span, places=places)


SPECIAL["concat"] = SPECIAL["cat"] = _concat
SPECIAL["stack"] = _stack


def _pieces(cx: Context, node: ast.Call, value: Value, axis: int, size: int) -> tuple[Value, ...]:
    total = value.tensor.shape[axis]
    if not total.is_static:
        cx.unsupported("a split of a size that only run time knows", node.span)
    return tuple(
        cx.emit(
            "slice",
            value,
            axis=axis,
            start=Dim.of(at),
            length=Dim.of(min(size, int(total) - at)),
            span=node.span,
        )
        for at in range(0, int(total), size)
    )


@special("split", "x: any, size: any, dim: any = 0")
def _split(cx: Context, node: ast.Call, x: Argument, size: Argument, dim: Argument | None) -> Lowered:
    """Pieces of a given size along an axis; the last one may be shorter."""
    value = _need_tensor(cx, x)
    length = whole(size.value)
    if not isinstance(length, int) or length < 1:
        cx.fail("E0303", "the size of a piece is a whole number of at least 1", size.span)
    return _pieces(cx, node, value, _need_axis(cx, dim, value.tensor.rank), length)


@special("chunk", "x: any, n: any, dim: any = 0")
def _chunk(cx: Context, node: ast.Call, x: Argument, n: Argument, dim: Argument | None) -> Lowered:
    """A given number of pieces along an axis, as equal as they can be."""
    value = _need_tensor(cx, x)
    axis = _need_axis(cx, dim, value.tensor.rank)
    count, total = whole(n.value), value.tensor.shape[axis]
    if not isinstance(count, int) or count < 1:
        cx.fail("E0303", "the number of pieces is a whole number of at least 1", n.span)
    if not total.is_static:
        cx.unsupported("a split of a size that only run time knows", node.span)
    return _pieces(cx, node, value, axis, max(1, -(-int(total) // count)))


@special("slice", "x: any, row: any, low: any, high: any")
def _slice(cx: Context, node: ast.Call, x: Argument, row: Argument, low: Argument, high: Argument) -> Value:
    """Columns low to high of one row of a matrix."""
    value = _need_tensor(cx, x)
    if value.tensor.rank != 2:
        cx.fail("E0301", f"`slice` reads a row of a matrix, and this is {value.type}", x.span)
    at, start, end = shape_of(cx, [row.value, low.value, high.value], node.span)
    line = cx.emit("slice", value, axis=0, start=at, length=Dim.of(1), span=node.span)
    part = cx.emit("slice", line, axis=1, start=start, length=end - start, span=node.span)
    return cx.emit("reshape", part, shape=(end - start,), span=node.span)


@special("slice_last", "x: any, dim: any = 0")
def _slice_last(cx: Context, node: ast.Call, x: Argument, dim: Argument | None) -> Value:
    """The last element along an axis, which is dropped."""
    value = _need_tensor(cx, x)
    axis = _need_axis(cx, dim, value.tensor.rank)
    shape = value.tensor.shape
    cut = cx.emit("slice", value, axis=axis, start=shape[axis] - 1, length=Dim.of(1), span=node.span)
    return cx.emit("reshape", cut, shape=shape[:axis] + shape[axis + 1 :], span=node.span)


@special("repeat", "x: any, n: any, dim: any = 0")
def _repeat(cx: Context, node: ast.Call, x: Argument, n: Argument, dim: Argument | None) -> Value:
    """The whole tensor n times in a row along an axis."""
    value = _need_tensor(cx, x)
    axis = _need_axis(cx, dim, value.tensor.rank)
    (times,) = shape_of(cx, [n.value], n.span)
    shape = value.tensor.shape
    lifted = cx.emit("unsqueeze", value, dim=axis, span=node.span)
    wide = (*shape[:axis], times, *shape[axis:])
    spread = cx.emit("broadcast", lifted, shape=wide, span=node.span)
    joined = (*shape[:axis], times * shape[axis], *shape[axis + 1 :])
    return cx.emit("reshape", spread, shape=joined, span=node.span)


# ---- two meanings of one name -----------------------------------------------------------------------


def _extreme(name: str) -> Builtin:
    def run(cx: Context, node: ast.Call, first: list[Argument]) -> Lowered:
        """Of two tensors (or numbers) element by element; of one tensor, a reduction."""
        args = first + [_argument(cx, a) for a in node.args]
        two = len(args) == 2 and not any(a.name for a in args)
        a, b = (arg.value for arg in args) if two else (None, None)
        if two and is_number(a) and is_number(b):
            return max(a, b) if name == "max" else min(a, b)
        if two and (isinstance(b, Value) or not isinstance(a, Value) or whole(b) is None):
            values = [expressions.as_tensor(cx, v, w, node.span) for v, w in ((a, b), (b, a))]
            if all(v is not None for v in values):
                return expressions.elementwise(
                    cx, f"{name}imum", values, node.span, tuple(arg.span for arg in args)
                )
        return builtin(cx, BUILTINS[name], name, args, node.span)

    return run


SPECIAL["max"], SPECIAL["min"] = _extreme("max"), _extreme("min")


def _layer_norm(cx: Context, node: ast.Call, first: list[Argument]) -> Lowered:
    """`layer_norm(x, [d], eps)` normalises the last dimension without scale and shift."""
    args = first + [_argument(cx, a) for a in node.args]
    if len(args) in (2, 3) and isinstance(args[1].value, list):
        x = _need_tensor(cx, args[0])
        shape = shape_of(cx, args[1].value, args[1].span)
        if shape != x.tensor.shape[-1:]:
            cx.unsupported("layer_norm over other dimensions than the last", args[1].span)
        cx.builder.span = node.span
        one, zero = (
            cx.builder.broadcast(cx.builder.constant(v, x.tensor.with_shape(())), shape)
            for v in (1.0, 0.0)
        )
        args = [args[0], Argument(one, node.span), Argument(zero, node.span), *args[2:]]
    return builtin(cx, BUILTINS["layer_norm"], "layer_norm", args, node.span)


SPECIAL["layer_norm"] = _layer_norm


# ---- models -----------------------------------------------------------------------------------------


def _load(dtype: str) -> Callable[..., Model]:
    def load(cx: Context, node: ast.Call, path: Argument) -> Model:
        if not isinstance(path.value, str):
            cx.fail("E0304", "the path of a model must be known at build", path.span)
        return cx.model(path.value, dtype, path.span)

    return load


for _name, _dtype in (("load_model", "f16"), ("load_model_f16", "f16"), ("load_model_f32", "f32")):
    special(_name, "path: any")(_load(_dtype))


def _need_model(cx: Context, arg: Argument) -> Model:
    if not isinstance(arg.value, Model):
        cx.fail("E0302", f"a model is needed, and this is {describe(arg.value)}", arg.span)
    return arg.value


@special("get_tensor", "model: any, name: any")
def _get_tensor(cx: Context, node: ast.Call, model: Argument, name: Argument) -> Value:
    if not isinstance(name.value, str):
        cx.fail("E0304", "a tensor's name is a string known at build", name.span)
    return indexing.tensor(cx, _need_model(cx, model), name.value, name.span)


@special("save_model", "model: any, path: any, dequantize: bool = false")
def _save_model(
    cx: Context, node: ast.Call, model: Argument, path: Argument, dequantize: Argument | None
) -> None:
    source, expand = _need_model(cx, model), dequantize is not None and dequantize.value is True
    if not isinstance(path.value, str):
        cx.fail("E0304", "the path to save to must be known at build", path.span)
    packed = [e for e in source.header.tensors.values() if e.encoding[0] in "qi" and "_" in e.encoding]
    if packed and not expand:
        cx.fail(
            "E0606",
            f"{source.path} holds block-quantised tensors, and SafeTensors has no type for them",
            node.span,
            hint=f'`save_model({model.span.text}, "{path.value}", dequantize: true)` writes float16',
        )
    cx.effect("save_model", model=source.index, path=path.value, dequantize=expand, span=node.span)


@special("save", "x: any, path: any")
def _save(cx: Context, node: ast.Call, x: Argument, path: Argument) -> None:
    if not isinstance(path.value, str):
        cx.fail("E0304", "the path to save to must be known at build", path.span)
    name = x.span.text if x.span.text.isidentifier() else "tensor"
    cx.effect("save", _need_tensor(cx, x), path=path.value, name=name, span=node.span)


# ---- output -----------------------------------------------------------------------------------------


def _print(cx: Context, node: ast.Call, first: list[Argument]) -> None:
    """Arguments joined by spaces, or put into the `{}` holes of a first string that has them."""
    args = first + [_argument(cx, a) for a in node.args]
    for arg in args:
        if arg.name is not None:
            cx.fail("E0203", "`print` has no named arguments", arg.span)
    parts: list[str | Dim | None] = []
    operands: list[Value] = []
    head = args[0].value if args else ""
    if isinstance(head, str) and "{}" in head:
        texts = head.split("{}")
        holes = args[1:]
        if len(holes) != len(texts) - 1:
            cx.fail("E0203", f"{len(texts) - 1} holes `{{}}` and {len(holes)} values", node.span)
        for text, arg in zip(texts, [*holes, None], strict=True):
            parts.append(text)
            if arg is not None:
                _part(cx, arg.value, arg.span, parts, operands)
    else:
        for at, arg in enumerate(args):
            parts += [" "] if at else []
            _part(cx, arg.value, arg.span, parts, operands)
    cx.effect("print", *operands, parts=_merged(parts), span=node.span)


def _part(
    cx: Context, value: Lowered, span: Span, parts: list[str | Dim | None], operands: list[Value]
) -> None:
    text = show(value)
    if text is not None:
        parts.append(text)
        return
    match value:
        case Value():
            parts.append(None)
            operands.append(value)
        case Dim():
            parts.append(value)
        case list() | tuple():
            opening, closing = "[]" if isinstance(value, list) else "()"
            parts.append(opening)
            for at, item in enumerate(value):
                parts += [", "] if at else []
                _part(cx, item, span, parts, operands)
            parts.append(closing)
        case _:
            cx.fail("E0302", f"{describe(value)} cannot be printed", span)


def _merged(parts: list[str | Dim | None]) -> tuple[str | Dim | None, ...]:
    out: list[str | Dim | None] = []
    for part in parts:
        if isinstance(part, str) and out and isinstance(out[-1], str):
            out[-1] += part
        elif part != "":
            out.append(part)
    return tuple(out)


SPECIAL["print"] = SPECIAL["println"] = _print
