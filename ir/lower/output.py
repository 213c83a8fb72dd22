"""`print`: what is known already becomes text, what is not is printed when the program runs."""

from __future__ import annotations

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.lower.builtins import SPECIAL, arguments
from tlc.ir.lower.calls import Argument
from tlc.ir.lower.context import Context
from tlc.ir.lower.texts import Part, joined, merged, part
from tlc.ir.lower.values import Lowered


def _print(cx: Context, node: ast.Call, first: list[Argument]) -> None:
    """Writes a line, or a text that ends as `end:` says."""
    args, end = [], "\n"
    for arg in arguments(cx, node, first):
        if arg.name is None:
            args.append(arg)
        elif arg.name != "end":
            text = f"`print` has no argument `{arg.name}`"
            cx.fail("E0203", text, arg.span, hint="it has `end:`, what is written last")
        elif not isinstance(arg.value, str):
            cx.fail("E0304", "what `print` ends with is a string known at build", arg.span)
        else:
            end = arg.value
    parts, operands = formatted(cx, args, node.span)
    cx.effect("print", *operands, parts=merged([*parts, end]), span=node.span)


def formatted(
    cx: Context, args: list[Argument], span: Span
) -> tuple[tuple[Part, ...], list[Value]]:
    """Arguments joined by spaces, or put into the `{}` holes of a first string that has them."""
    parts: list[Part] = []
    operands: list[Value] = []
    head = args[0].value if args else ""
    if isinstance(head, str) and "{}" in head:
        texts = head.split("{}")
        holes = args[1:]
        if len(holes) != len(texts) - 1:
            text = f"{_many(len(texts) - 1, 'hole')} `{{}}` for {_many(len(holes), 'value')}"
            cx.fail("E0203", text, args[0].span)
        for text, hole in zip(texts, [*holes, None], strict=True):
            parts.append(text)
            if hole is not None:
                part(cx, hole.value, hole.span, parts, operands)
    else:
        for at, arg in enumerate(args):
            parts += [" "] if at else []
            part(cx, arg.value, arg.span, parts, operands)
    return merged(parts), operands


def _many(count: int, what: str) -> str:
    return f"one {what}" if count == 1 else f"{count or 'no'} {what}s"


SPECIAL["print"] = SPECIAL["println"] = _print


def _format(cx: Context, node: ast.Call, first: list[Argument]) -> Lowered:
    """The line that `print` would write, as a string: `format("{} of {}", a, b)`."""
    parts, operands = formatted(cx, arguments(cx, node, first), node.span)
    return joined(cx, parts, operands, node.span)


SPECIAL["format"] = _format
