"""`print`: what is known already becomes text, what is not is printed when the program runs."""

from __future__ import annotations

import re

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.lower.arguments import Argument
from tlc.ir.lower.builtins.table import SPECIAL, arguments
from tlc.ir.lower.context import Context
from tlc.ir.lower.texts import Part, in_form, joined, merged, part
from tlc.ir.lower.values import Lowered

_HOLE = re.compile(r"\{(?::([^{}]*))?\}")


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
    """Arguments joined by spaces, or put into the holes of a first string that has them: `{}`, or
    `{:form}` for what `texts.in_form` makes."""
    parts: list[Part] = []
    operands: list[Value] = []
    head = args[0].value if args else ""
    if isinstance(head, str) and _HOLE.search(head):
        text, *holes = _HOLE.split(head)  # a text, then by turns a form and a text
        forms, texts = holes[::2], holes[1::2]
        if len(forms) != len(args) - 1:
            wrong = f"{_many(len(forms), 'hole')} `{{}}` for {_many(len(args) - 1, 'value')}"
            cx.fail("E0203", wrong, args[0].span)
        parts.append(text)
        for form, text, arg in zip(forms, texts, args[1:], strict=True):
            in_form(cx, form or "", arg.value, arg.span, parts, operands)
            parts.append(text)
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
