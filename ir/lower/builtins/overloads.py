"""Builtins with two meanings of one name, told apart by their arguments, such as max and clamp."""

from __future__ import annotations

from tlc.frontend import ast
from tlc.ir.builder import numel
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import operators, reading, tensors
from tlc.ir.lower.arguments import Argument, call_form, place, shape_of
from tlc.ir.lower.builtins.registry import builtin
from tlc.ir.lower.builtins.table import SPECIAL, Builtin, arguments, need_tensor
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Lowered, is_number
from tlc.ir.opdef import BUILTINS
from tlc.ir.types import show_shape


def _of_counts(name: str, a: Dim, b: Dim) -> int | Dim:
    """The larger or smaller of two whole numbers of the host."""
    wins = b.compare("<", a) if name == "max" else a.compare("<", b)
    found = b + (a - b) * wins
    return int(found) if found.is_static else found


def _counted(cx: Context, arg: Argument) -> int | Dim | None:
    """A whole number as the host knows it; None for one with a fraction, if that is 0."""
    exact = not isinstance(arg.value, float) and reading.is_whole(arg.value)
    return reading.count(cx, arg.value, arg.span) if exact else None


def _extreme(name: str) -> Builtin:
    def run(cx: Context, node: ast.Call, first: list[Argument]) -> Lowered:
        """Of two tensors (or numbers) element by element; of one tensor, a reduction.

        In `max(x, 0)` the number is an axis, in `max(x, 0.0)` it is compared with, as is one that
        only the run knows, and any where x has no axes.
        """
        args = arguments(cx, node, first)
        if len(args) == 2 and not any(arg.name for arg in args):
            a, b = (arg.value for arg in args)
            if is_number(a) and is_number(b):
                won = max(a, b) if name == "max" else min(a, b)
                return float(won) if isinstance(a, float) or isinstance(b, float) else won
            ends = [_counted(cx, arg) for arg in args]
            if None not in ends:
                found = _of_counts(name, *(Dim.of(end or 0) for end in ends))
                return found if isinstance(found, int) else reading.shortened(cx, found, node.span)
            a, b = operators.beside(cx, a, b), operators.beside(cx, b, a)
            axis = is_number(b) and not isinstance(b, float)
            if not axis or not isinstance(a, Value | list) or _is_scalar(a):
                one = tensors.as_tensor(cx, a, b, args[0].span)
                other = tensors.as_tensor(cx, b, a, args[1].span)
                if one is not None and other is not None:
                    places = tuple(arg.span for arg in args)
                    return operators.elementwise(cx, f"{name}imum", [one, other], node.span, places)
        return builtin(cx, BUILTINS[name], name, args, node.span)

    return run


SPECIAL["max"], SPECIAL["min"] = _extreme("max"), _extreme("min")


def _is_scalar(value: Lowered) -> bool:
    return isinstance(value, Value) and not value.tensor.shape


def _clamp(cx: Context, node: ast.Call, first: list[Argument]) -> Lowered:
    """Between numbers, or between what only the run knows and tensors, as NumPy's clip."""
    args = arguments(cx, node, first)
    form = BUILTINS["clamp"]
    placed = place(
        cx, form.params, args, "`clamp`", node.span, hint=call_form("clamp", form.params)
    )
    ends = [_counted(cx, placed[part]) for part in ("x", "low", "high")]
    if None not in ends:
        x, low, high = (Dim.of(end or 0) for end in ends)
        within = Dim.of(_of_counts("min", Dim.of(_of_counts("max", x, low)), high))
        return int(within) if within.is_static else reading.shortened(cx, within, node.span)
    if all(is_number(placed[end].value) for end in ("low", "high")):
        return builtin(cx, form, "clamp", args, node.span)
    found = placed["x"]
    for name, end in (("maximum", placed["low"]), ("minimum", placed["high"])):
        a = operators.beside(cx, found.value, end.value)
        b = operators.beside(cx, end.value, found.value)
        one = tensors.as_tensor(cx, a, b, found.span)
        other = tensors.as_tensor(cx, b, a, end.span)
        if one is None or other is None:
            return builtin(cx, form, "clamp", args, node.span)
        places = (found.span, end.span)
        value = operators.elementwise(cx, name, [one, other], node.span, places)
        found = Argument(value, found.span)
    return found.value


SPECIAL["clamp"] = SPECIAL["clip"] = _clamp


def _abs(cx: Context, node: ast.Call, first: list[Argument]) -> Lowered:
    """Of a whole number that run time finds, one too."""
    args = arguments(cx, node, first)
    if len(args) == 1 and not is_number(args[0].value):
        number = _counted(cx, args[0])
        if isinstance(number, Dim):
            found = number * (1 - 2 * number.compare("<", 0))
            return reading.shortened(cx, found, node.span)
    return builtin(cx, BUILTINS["abs"], "abs", args, node.span)


SPECIAL["abs"] = _abs


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
