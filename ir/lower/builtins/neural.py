"""Builtins of neural networks whose arguments or results are more than tensors: rope, topk."""

from __future__ import annotations

from tlc.frontend import ast
from tlc.frontend.suggest import did_you_mean
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import expressions, indexing
from tlc.ir.lower.arguments import Argument, place
from tlc.ir.lower.builtins.registry import builtin
from tlc.ir.lower.builtins.table import SPECIAL, need_axis, need_tensor, special
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Lowered, describe, whole
from tlc.ir.opdef import BUILTINS, TypeRuleError, parse_params
from tlc.ir.ops.attention import LAYOUTS
from tlc.ir.ops.order import top


def _rope(cx: Context, node: ast.Call, first: list[Argument]) -> Lowered:
    """`rope(x, pos, base, layout: half)`: positions stay whole numbers, a layout is a bare word."""
    args = list(first)
    for number, arg in enumerate(node.args, len(first)):
        word = arg.value.id if isinstance(arg.value, ast.Name) else None
        if word is not None and (arg.name == "layout" or (number == 3 and word in LAYOUTS)):
            if word not in LAYOUTS and cx.scope.find(word) is None:
                text = f"a layout is {' or '.join(LAYOUTS)}, and this is `{word}`"
                cx.fail("E0303", text, arg.span, hint=did_you_mean(word, LAYOUTS))
            if word in LAYOUTS:
                args.append(Argument(word, arg.span, arg.name))
                continue
        args.append(Argument(expressions.expression(cx, arg.value), arg.span, arg.name))
    placed = place(cx, _ROPE, args, "`rope`", node.span)
    position = placed.get("pos") or Argument(0, node.span)
    placed["pos"] = Argument(_positions(cx, position), position.span)
    named = [Argument(arg.value, arg.span, name) for name, arg in placed.items()]
    return builtin(cx, BUILTINS["rope"], "rope", named, node.span)


_ROPE = parse_params("x, pos = 0, base = 10000, layout = interleaved")


def _positions(cx: Context, arg: Argument) -> Value:
    """A whole number, a list of them or an index tensor, as a tensor of whole numbers."""
    found = indexing.index_tensor(cx, arg.value, arg.span)
    if found is None or found.tensor.dtype != "i32":
        cx.fail(
            "E0302", f"a position is a whole number, and this is {describe(arg.value)}", arg.span
        )
    return found


SPECIAL["rope"] = _rope


@special("topk", "x: any, k: any, dim: any = -1")
def _topk(
    cx: Context, node: ast.Call, x: Argument, k: Argument, dim: Argument | None
) -> tuple[Value, Value]:
    """The k largest along an axis, the largest first, and their indices."""
    value, count = need_tensor(cx, x), whole(k.value)
    if count is None or (isinstance(count, int) and count < 0):
        cx.fail(
            "E0303", f"`k` of `topk` is a whole number, and this is {describe(k.value)}", k.span
        )
    axis = need_axis(cx, dim or Argument(-1, node.span), value.tensor.rank, node.span)
    cx.builder.span = node.span
    try:
        return top(cx.builder, value, Dim.of(count), axis)
    except TypeRuleError as problem:
        cx.refuse(problem, node.span, [value], [x.span])
