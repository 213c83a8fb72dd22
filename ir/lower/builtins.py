"""Builtins that are more than one operation of the registry: their table, and how they are called.

Each takes the context, the call and an already evaluated receiver, if it was called as a method.
`making.py`, `shaping.py`, `files.py`, `images.py`, `output.py` and others fill the table.
"""

from __future__ import annotations

from collections.abc import Callable

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.builder import numel
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import expressions, operators, reading, tensors
from tlc.ir.lower.calls import Argument, builtin, call_form, place, shape_of
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Lowered, describe, is_number, tell, whole
from tlc.ir.opdef import BUILTINS, TypeRuleError, parse_params
from tlc.ir.ops.shape import normal_axis
from tlc.ir.types import show_shape

Builtin = Callable[[Context, ast.Call, list[Argument]], Lowered]
SPECIAL: dict[str, Builtin] = {}
DEVICES = ("gpu", "cpu", "ane", "auto")


def special(names: str, params: str = "") -> Callable[[Callable[..., Lowered]], Builtin]:
    """Register a builtin; the function gets its arguments by parameter name, None when left out."""
    signature = parse_params(params)

    def register(function: Callable[..., Lowered]) -> Builtin:
        def run(cx: Context, node: ast.Call, first: list[Argument]) -> Lowered:
            name = node.callee.span.text.rsplit(".", 1)[-1]
            form = call_form(name, signature)
            placed = place(
                cx, signature, arguments(cx, node, first), f"`{name}`", node.span, hint=form
            )
            return function(cx, node, *(placed.get(p.name) for p in signature))

        for name in names.split():
            SPECIAL[name] = run
        return run

    return register


def arguments(cx: Context, node: ast.Call, first: list[Argument]) -> list[Argument]:
    """The evaluated arguments; the names of devices are only names after `device:`."""
    found = list(first)
    for arg in node.args:
        value = arg.value
        if arg.name == "device" and isinstance(value, ast.Name) and not cx.scope.find(value.id):
            found.append(Argument(value.id, arg.span, arg.name))
        else:
            found.append(Argument(expressions.expression(cx, value), arg.span, arg.name))
    return found


def hint_device(cx: Context, device: Argument | None) -> None:
    """Note which hardware `device:` asks for."""
    if device is None:
        return
    if device.value not in DEVICES:
        hint = "a shape is a list: `[2, 3]`" if is_number(device.value) else ""
        shown = device.value if isinstance(device.value, str) else describe(device.value)
        text = f"a device is one of {', '.join(DEVICES)}, and this is {shown}"
        cx.fail("E0203", text, device.span, hint=hint)
    if device.value != "auto" and not cx.skipping:
        cx.program.hints.setdefault(device.value, device.span)


def need_tensor(cx: Context, arg: Argument) -> Value:
    """A tensor, or an array as one."""
    return tensors.need_tensor(cx, arg.value, arg.span)


def need_axis(cx: Context, arg: Argument | None, rank: int, span: Span) -> int:
    """An axis counted from the front; the first one when none is named. `span` is the call's."""
    axis, place = (0, span) if arg is None else (whole(arg.value), arg.span)
    if arg is not None and not isinstance(axis, int):
        cx.fail("E0303", f"an axis is a whole number, and this is {tell(arg.value)}", place)
    try:
        return normal_axis(int(axis or 0), rank)
    except TypeRuleError as problem:
        cx.fail(problem.code, problem.message, place)


# ---- two meanings of one name ----------------------------------------------------------------


def _of_counts(name: str, a: Dim, b: Dim) -> int | Dim:
    """The larger or smaller of two whole numbers of the host."""
    wins = b.compare("<", a) if name == "max" else a.compare("<", b)
    found = b + (a - b) * wins
    return int(found) if found.is_static else found


def _extreme(name: str) -> Builtin:
    def run(cx: Context, node: ast.Call, first: list[Argument]) -> Lowered:
        """Of two tensors (or numbers) element by element; of one tensor, a reduction.

        In `max(x, 0)` the number is an axis, in `max(x, 0.0)` it is compared with.
        """
        args = arguments(cx, node, first)
        if len(args) == 2 and not any(arg.name for arg in args):
            a, b = (arg.value for arg in args)
            if is_number(a) and is_number(b):
                return max(a, b) if name == "max" else min(a, b)
            ends = [reading.count(cx, arg.value, arg.span) for arg in args]
            if None not in ends:
                found = _of_counts(name, *(Dim.of(end or 0) for end in ends))
                return found if isinstance(found, int) else reading.shortened(cx, found, node.span)
            a, b = operators.beside(cx, a, b), operators.beside(cx, b, a)
            if isinstance(b, Value | list | float) or not isinstance(a, Value | list):
                one = tensors.as_tensor(cx, a, b, args[0].span)
                other = tensors.as_tensor(cx, b, a, args[1].span)
                if one is not None and other is not None:
                    places = tuple(arg.span for arg in args)
                    return operators.elementwise(cx, f"{name}imum", [one, other], node.span, places)
        return builtin(cx, BUILTINS[name], name, args, node.span)

    return run


SPECIAL["max"], SPECIAL["min"] = _extreme("max"), _extreme("min")


def _layer_norm(cx: Context, node: ast.Call, first: list[Argument]) -> Lowered:
    """`layer_norm(x, [a, b], eps)` normalises the last dimensions, which have these sizes, without
    scale and shift."""
    args = arguments(cx, node, first)
    norm = BUILTINS["layer_norm"]
    if len(args) not in (2, 3) or not isinstance(args[1].value, list):
        return builtin(cx, norm, "layer_norm", args, node.span)
    x, sizes = need_tensor(cx, args[0]), shape_of(cx, args[1].value, args[1].span)
    outer, last = x.tensor.shape[: -len(sizes)], x.tensor.shape[-len(sizes) :]
    text = f"the last dimensions of {x.type} are not {show_shape(sizes)}"
    b = cx.builder
    b.span = node.span
    pairs = list(zip(last, sizes, strict=False))
    surely = any(size != wanted and (size - wanted).is_static for size, wanted in pairs)
    if not 0 < len(sizes) == len(last) or surely:
        cx.fail("E0301", text, args[1].span)
    for size, wanted in pairs:
        b.check(size, wanted, text)
    flat = numel(last)
    given = [b.reshape(x, (*outer, flat))]
    given += [b.broadcast(b.constant(v, x.tensor.with_shape(())), (flat,)) for v in (1.0, 0.0)]
    parts = [Argument(value, args[0].span) for value in given]
    return b.reshape(
        builtin(cx, norm, "layer_norm", [*parts, *args[2:]], node.span), x.tensor.shape
    )


SPECIAL["layer_norm"] = _layer_norm
