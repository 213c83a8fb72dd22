"""The table of builtins that are more than one operation of the registry, and what fills it.

Each takes the context, the call and an already evaluated receiver, if it was called as a method.
"""

from __future__ import annotations

from collections.abc import Callable

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.lower import expressions, tensors
from tlc.ir.lower.arguments import Argument, call_form, place
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Lowered, describe, is_number, tell, whole
from tlc.ir.opdef import TypeRuleError, parse_params
from tlc.ir.ops.shape import normal_axis

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
