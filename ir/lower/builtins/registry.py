"""Builtins that are one operation of the registry: arguments as its record says, and its call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from tlc.frontend.source import Span
from tlc.ir.builder import broadcast_shape
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import indexing, operators, reading, tensors
from tlc.ir.lower.arguments import Argument, call_form, place, shape_of
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Lowered, is_number, tell, whole
from tlc.ir.opdef import TENSORS, OpDef, Param
from tlc.ir.types import FLOATS, TensorType

_REDUCTIONS = ("sum", "mean", "max", "min", "argmax", "argmin")


def builtin(cx: Context, op: OpDef, name: str, args: list[Argument], span: Span) -> Lowered:
    """A builtin of the registry: arguments are checked and handed on as its record says.

    An elementwise function of plain numbers is a plain number, computed at once.
    """
    form = call_form(name, op.params)
    placed = place(cx, op.params, args, f"`{name}`", span, hint=form)
    given = [placed[p.name] for p in op.params if p.kind in TENSORS and p.name in placed]
    if op.elementwise and all(is_number(arg.value) for arg in given):
        from tlc.ir.interp import on_numbers

        return on_numbers(op, [arg.value for arg in given])
    like = model_of_numbers(given)
    operands: list[Value] = []
    attrs: dict[str, object] = {}
    for param in op.params:
        arg = placed.get(param.name)
        if param.kind in TENSORS:
            if arg is not None:
                value = (
                    indexing.index_tensor(cx, arg.value, arg.span)
                    if param.kind == "tensor_i32"
                    else tensors.as_tensor(cx, arg.value, like, arg.span)
                )
                if value is not None and op.elementwise and op.name != "where":
                    value = operators.measured(cx, value)
                if value is not None and name in _REDUCTIONS and _has_grown(value.tensor):
                    value = cx.builder.f32(value)
                operands.append(_wrong(cx, name, param, arg) if value is None else value)
        else:
            attrs[param.name] = param.left_out() if arg is None else _known(cx, name, param, arg)
    places = [arg.span for arg in given]
    if op.elementwise and len(operands) > 1:
        return _elementwise(cx, op, operands, span, places)
    return cx.emit(op, *operands, span=span, places=places, **attrs)


def _has_grown(type: TensorType) -> bool:
    """Whether this is an array of whole numbers that got longer at run time: no index tensor."""
    late = any(symbol[0] == "$" for size in type.shape for symbol in size.symbols())
    return type.dtype == "i32" and type.rank == 1 and late


def model_of_numbers(args: Sequence[Argument]) -> Value | None:
    """The operand whose dtype numbers among the arguments get: a floating-point one, if any, and a
    mask only where all are masks."""
    values = [arg.value for arg in args if isinstance(arg.value, Value)]
    floats = [v for v in values if v.tensor.dtype in FLOATS]
    numbers = [v for v in values if v.tensor.dtype != "bool"]
    return next(iter(floats or numbers or values), None)


def _elementwise(
    cx: Context, op: OpDef, operands: list[Value], span: Span, places: list[Span]
) -> Value:
    if op.name != "where" or operands[0].tensor.dtype != "bool":
        return operators.elementwise(cx, op.name, operands, span, tuple(places))

    def together(*values: Value) -> list[Value]:
        shape = broadcast_shape([v.tensor.shape for v in values])
        a, b = cx.builder.together(*values[1:])
        return [cx.builder.broadcast(v, shape) for v in (values[0], a, b)]

    parts = cx.fitting(together, operands, span, places)
    return operators.narrowed(cx, cx.emit(op, *parts, span=span, places=places), operands[1:])


def _known(cx: Context, name: str, param: Param, arg: Argument) -> object:
    """An argument that is known at build, as its kind wants it."""
    value = arg.value
    match param.kind:
        case "axis" | "int":
            number = whole(value)
            if isinstance(number, int):
                return number
        case "dim":
            number = reading.count(cx, value, arg.span)
            if number is not None:
                return Dim.of(number)
        case "float":
            if is_number(value):
                return float(value)
        case "bool":
            if isinstance(value, bool):
                return value
        case "str":
            if isinstance(value, str):
                return value
        case "axes":
            numbers = [whole(v) for v in value] if isinstance(value, list) else [None]
            if all(isinstance(n, int) for n in numbers):
                return tuple(numbers)
        case "pair":
            both = value if isinstance(value, list) else [value, value]
            numbers = [whole(v) for v in both]
            if len(numbers) == 2 and all(isinstance(n, int) for n in numbers):
                return tuple(numbers)
        case "shape":
            return shape_of(cx, value, arg.span)
    _wrong(cx, name, param, arg)


def _wrong(cx: Context, name: str, param: Param, arg: Argument) -> NoReturn:
    wanted = {"tensor": "a tensor", "tensor_i32": "an index tensor", "axis": "an axis",
              "int": "a whole number", "dim": "a size", "float": "a number",
              "bool": "true or false", "str": "a string", "axes": "a list of axes",
              "pair": "a whole number or two"}.get(param.kind, param.kind)  # fmt: skip
    code, late = "E0302", ""
    if isinstance(arg.value, Value | Dim) and param.kind not in TENSORS:
        code, late = "E0304", ", known at build"
    elif isinstance(arg.value, float):
        code = "E0303"  # a fraction where a whole number is wanted
    cx.fail(
        code,
        f"`{param.name}` of `{name}` is {wanted}{late}, and this is {tell(arg.value)}",
        arg.span,
    )
