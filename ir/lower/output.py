"""`print`: what is known already becomes text, what is not is printed when the program runs."""

from __future__ import annotations

from collections.abc import Sequence

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import expressions
from tlc.ir.lower.builtins import SPECIAL, arguments
from tlc.ir.lower.calls import Argument
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Flag, Lowered, Range, Struct, Text, describe, show

# text, a number, the place of a tensor, or what a number stands for: a `flag` or a `text`
Part = str | Dim | None | tuple[str, Dim]


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
    cx.effect("print", *operands, parts=_merged([*parts, end]), span=node.span)


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
    return _merged(parts), operands


def _many(count: int, what: str) -> str:
    return f"one {what}" if count == 1 else f"{count or 'no'} {what}s"


SPECIAL["print"] = SPECIAL["println"] = _print


def part(cx: Context, value: Lowered, span: Span, parts: list[Part], operands: list[Value]) -> None:
    text = show(value)
    if text is not None:
        parts.append(text)
        return
    match value:
        case Value():
            parts.append(None)
            operands.append(value)
        case Range():
            parts.append(None)
            operands.append(expressions.counting(cx, value, "i32", span))
        case Dim():
            parts.append(value)
        case Flag(dim=dim):
            parts.append(("flag", dim))
        case Text(dim=dim):
            parts.append(("text", dim))
        case Struct(decl=decl, fields=fields):
            for at, (name, item) in enumerate(fields.items()):
                parts.append(f"{', ' if at else f'{decl.name} {{ '}{name}: ")
                part(cx, item, span, parts, operands)
            parts.append(" }")
        case list() | tuple():
            opening, closing = "[]" if isinstance(value, list) else "()"
            parts.append(opening)
            for at, item in enumerate(value):
                parts += [", "] if at else []
                part(cx, item, span, parts, operands)
            parts.append(closing)
        case None:
            hint = "the value of a function is its last expression, or `return e`"
            cx.fail("E0302", "there is nothing to print: this has no value", span, hint=hint)
        case _:
            cx.fail("E0302", f"{describe(value)} cannot be printed", span)


def _merged(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Neighbouring texts as one."""
    out: list[Part] = []
    for piece in parts:
        last = out[-1] if out else None
        if isinstance(piece, str) and isinstance(last, str):
            out[-1] = last + piece
        elif piece != "":
            out.append(piece)
    return tuple(out)
