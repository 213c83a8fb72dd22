"""Builtins that choose a token by its logits: `sample`, `top_k`, `top_p`, `min_p`, penalties."""

from __future__ import annotations

from collections.abc import Callable

from tlc.frontend import ast
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import indexing
from tlc.ir.lower.arguments import Argument
from tlc.ir.lower.builtins.random import next_draw
from tlc.ir.lower.builtins.table import need_tensor, special
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import describe, is_number, tell, whole
from tlc.ir.opdef import TypeRuleError
from tlc.ir.ops import sampling
from tlc.ir.ops.order import one_row
from tlc.ir.ops.reduce import along
from tlc.ir.types import FLOATS, TensorType


def _logits(cx: Context, arg: Argument) -> Value:
    found = need_tensor(cx, arg)
    if found.tensor.dtype not in FLOATS or not found.tensor.rank:
        text = f"logits are numbers along an axis, and this is {found.type}"
        cx.fail("E0302", text, arg.span)
    return found


def _number(cx: Context, arg: Argument, what: str, low: float, high: float) -> Value:
    """A number in float32, which only run time may know. Reports one that is out of bounds."""
    value = arg.value
    number = TensorType("f32", ())
    cx.builder.span = arg.span
    if is_number(value):
        if not low <= value <= high:
            bounds = f"at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
            cx.fail("E0303", f"{what} is {bounds}, and this is {tell(value)}", arg.span)
        return cx.builder.constant(float(value), number)
    if isinstance(value, Dim):
        return cx.builder.constant(value, number)
    if isinstance(value, Value) and value.tensor.dtype in FLOATS and not value.tensor.shape:
        return cx.builder.f32(value)
    cx.fail("E0302", f"{what} is a number, and this is {describe(value)}", arg.span)


def _drawn(cx: Context, node: ast.Call, logits: Value, temperature: Argument | None) -> Value:
    cold = temperature is not None and is_number(temperature.value) and temperature.value == 0
    if cold:
        cx.builder.span = node.span
        return along(cx.builder, "reduce_argmax", logits, -1, False)
    given = Argument(1.0, node.span) if temperature is None else temperature
    warmth = _number(cx, given, "a temperature", 0.0, float("inf"))
    cx.builder.span = node.span
    return sampling.sampled(cx.builder, logits, warmth, cx.program.seed, next_draw(cx))


@special("temperature_sample", "logits: any, temperature: any = 1")
def _temperature_sample(
    cx: Context, node: ast.Call, logits: Argument, temperature: Argument | None
) -> Value:
    """An index drawn from softmax(logits / temperature), for each row; the largest at 0."""
    return _drawn(cx, node, _logits(cx, logits), temperature)


def _count(cx: Context, logits: Value, k: Argument) -> Dim | None:
    """How many logits of a row are wanted; None for all of them."""
    count, size = whole(k.value), whole(logits.tensor.shape[-1])
    if count is None:
        cx.fail("E0303", f"`k` is a whole number, and this is {tell(k.value)}", k.span)
    if isinstance(count, int) and (count <= 0 or (isinstance(size, int) and count >= size)):
        return None
    return Dim.of(count)


def _top_k(cx: Context, node: ast.Call, logits: Value, k: Argument) -> Value:
    count = _count(cx, logits, k)
    if count is None:
        return logits
    try:
        return sampling.top_k(cx.builder, logits, count)
    except TypeRuleError as problem:
        cx.refuse(problem, node.span, [logits], [k.span])


def _top_p(cx: Context, node: ast.Call, logits: Value, p: Argument) -> Value:
    if is_number(p.value) and p.value == 1:
        return logits
    return sampling.top_p(cx.builder, logits, _number(cx, p, "a probability", 0.0, 1.0))


def _min_p(cx: Context, node: ast.Call, logits: Value, p: Argument) -> Value:
    if is_number(p.value) and p.value == 0:
        return logits
    return sampling.min_p(cx.builder, logits, _number(cx, p, "a probability", 0.0, 1.0))


Filter = Callable[[Context, ast.Call, Value, Argument], Value]


def _filter(name: str, params: str, choose: Filter) -> None:
    @special(name, params)
    def run(cx: Context, node: ast.Call, logits: Argument, limit: Argument) -> Value:
        """The logits that come into question, -inf for the others."""
        found = _logits(cx, logits)
        cx.builder.span = node.span
        return choose(cx, node, found, limit)


_filter("top_k", "logits: any, k: any", _top_k)
_filter("top_p", "logits: any, p: any", _top_p)
_filter("min_p", "logits: any, p: any", _min_p)


@special(
    "sample", "logits: any, temperature: any = 1, top_k: any = 0, top_p: any = 1, min_p: any = 0"
)
def _sample(
    cx: Context,
    node: ast.Call,
    logits: Argument,
    temperature: Argument | None,
    k: Argument | None,
    p: Argument | None,
    least: Argument | None,
) -> Value:
    """An index drawn from the logits that come into question: `top_k`, then `top_p`, `min_p`.

    The k largest of a single row are taken out of it, so that all that follows is about k numbers.
    """
    found = _logits(cx, logits)
    places = None
    if k is not None and one_row(found) and (count := _count(cx, found, k)) is not None:
        cx.builder.span, k = node.span, None
        try:
            found, places = sampling.among(cx.builder, found, count)
        except TypeRuleError as problem:
            cx.refuse(problem, node.span, [found], [node.span])
    for limit, choose in ((k, _top_k), (p, _top_p), (least, _min_p)):
        if limit is not None:
            cx.builder.span = node.span
            found = choose(cx, node, found, limit)
    drawn = _drawn(cx, node, found, temperature)
    return drawn if places is None else cx.builder.emit("gather", places, drawn)


@special("repetition_penalty", "logits: any, ids: any, penalty: any")
def _repetition_penalty(
    cx: Context, node: ast.Call, logits: Argument, ids: Argument, penalty: Argument
) -> Value:
    """The logits, smaller for tokens that are among `ids`."""
    found, numbers = _logits(cx, logits), indexing.index_tensor(cx, ids.value, ids.span)
    if numbers is None or numbers.tensor.dtype != "i32" or numbers.tensor.rank != 1:
        text = f"token ids are a list of whole numbers, and this is {describe(ids.value)}"
        cx.fail("E0302", text, ids.span)
    strength = _number(cx, penalty, "a penalty", 1e-6, float("inf"))
    cx.builder.span = node.span
    try:
        return sampling.penalised(cx.builder, found, numbers, strength)
    except TypeRuleError as problem:
        cx.refuse(problem, node.span, [found], [logits.span])
