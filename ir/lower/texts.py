"""Values to the parts of a line: what is known becomes text, the rest is written by the run."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tlc.frontend.source import Span
from tlc.ir.core import Block, Op, Value
from tlc.ir.dims import Dim
from tlc.ir.lower import rows, tensors
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Flag, Lowered, Range, Rows, Struct, Text, describe, is_number, show
from tlc.ir.opdef import OPS

# text, a number, the place of a tensor, what a number stands for (a `flag` or a `text`), or parts
# in a form
Part = str | Dim | None | tuple[str, Dim] | tuple[str, str, tuple["Part", ...]]

_FORM = re.compile(r"(?:([<>^])?([1-9]\d{0,2}))?(?:\.(\d{1,2})f?)?")


def in_form(
    cx: Context, form: str, value: Lowered, span: Span, parts: list[Part], operands: list[Value]
) -> None:
    """A value as a hole `{:form}` asks: its width, where in it the text is, and the digits behind
    the point of each number. Numbers stand at the right of a width, all else at its left."""
    found = _FORM.fullmatch(form)
    if found is None:
        hint = "a hole is `{}`, `{:8}`, `{:<8}`, `{:^8}`, `{:>8}`, `{:.2}` or `{:>8.2}`"
        cx.fail("E0203", f"`{{:{form}}}` is not the form of a value", span, hint=hint)
    side, width, digits = found.groups()
    own: list[Part] = []
    part(cx, value, span, own, operands, None if digits is None else int(digits))
    if width is not None and side is None:
        tensor = isinstance(value, Value) and not value.tensor.shape
        side = ">" if tensor or is_number(value) or isinstance(value, Dim) else "<"
    if all(isinstance(piece, str) for piece in own):
        text = "".join(map(str, own))
        parts.append(f"{text:{side}{width}}" if width else text)
    else:
        spec = (f"{side}{width}" if width else "") + ("" if digits is None else f".{int(digits)}")
        parts += [("form", spec, merged(own))] if spec else own


def part(
    cx: Context,
    value: Lowered,
    span: Span,
    parts: list[Part],
    operands: list[Value],
    digits: int | None = None,
) -> None:
    """A value as parts; numbers that are known have so many digits behind the point."""
    if digits is not None and not _numeric(value):
        wrong = f"{describe(value)} has no digits behind a point"
        cx.fail("E0302", wrong, span, hint="a precision is for numbers and tensors of them")
    text = show(value, digits)
    if text is not None:
        parts.append(text)
        return
    match value:
        case Value():
            parts.append(None)
            operands.append(value)
        case Range():
            parts.append(None)
            operands.append(tensors.counting(cx, value, "i32", span))
        case Dim():
            parts.append(value)
        case Flag(dim=dim):
            parts.append(("flag", dim))
        case Rows():
            parts.append(("text", rows.shown(cx, value, span, digits).dim))
        case Text(dim=dim):
            parts.append(("text", dim))
        case Struct(decl=decl, fields=fields):
            for at, (name, item) in enumerate(fields.items()):
                parts.append(f"{', ' if at else f'{decl.name} {{ '}{name}: ")
                part(cx, item, span, parts, operands, digits)
            parts.append(" }")
        case list() | tuple():
            opening, closing = "[]" if isinstance(value, list) else "()"
            parts.append(opening)
            for at, item in enumerate(value):
                parts += [", "] if at else []
                part(cx, item, span, parts, operands, digits)
            parts.append(closing)
        case None:
            hint = "the value of a function is its last expression, or `return e`"
            cx.fail("E0302", "there is nothing to print: this has no value", span, hint=hint)
        case _:
            cx.fail("E0302", f"{describe(value)} cannot be printed", span)


def _numeric(value: Lowered) -> bool:
    """Whether a value is a number, or has numbers in it that a precision is for."""
    match value:
        case str() | bool() | Text() | Flag():
            return False
        case Value():
            return value.tensor.dtype != "bool"
        case list() | tuple():
            return all(map(_numeric, value))
        case Rows(like=like):
            return not isinstance(like, str)
    return True


def merged(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Neighbouring texts as one."""
    out: list[Part] = []
    for piece in parts:
        last = out[-1] if out else None
        if isinstance(piece, str) and isinstance(last, str):
            out[-1] = last + piece
        elif piece != "":
            out.append(piece)
    return tuple(out)


def text(cx: Context, values: list[Lowered], span: Span) -> str | Text:
    """Values written behind one another as a string, which may have to wait for the run."""
    parts: list[Part] = []
    operands: list[Value] = []
    for value in values:
        part(cx, value, span, parts, operands)
    return joined(cx, merged(parts), operands, span)


def joined(cx: Context, parts: tuple[Part, ...], operands: list[Value], span: Span) -> str | Text:
    """Parts of a line as a string."""
    if all(isinstance(piece, str) for piece in parts):
        return "".join(map(str, parts))
    return _kept(cx, parts, operands, span)


def as_text(cx: Context, value: str | Text, span: Span) -> Text:
    """A string as one that the run knows."""
    return value if isinstance(value, Text) else _kept(cx, (value,), [], span)


def _kept(cx: Context, parts: tuple[Part, ...], operands: list[Value], span: Span) -> Text:
    symbol = cx.program.new_symbol()
    cx.builder.span = span
    cx.builder.append("text_of", *operands, parts=parts, symbol=symbol)
    return Text(Dim.of(symbol))


def repeated(cx: Context, word: str | Text, times: Dim, span: Span) -> Text:
    """A string so many times behind itself: a loop that run time goes round."""
    new, empty = cx.program.new_symbol, _kept(cx, ("",), [], span).dim
    so_far, at, behind, end = new(), new(), new(), new()
    piece: Part = word if isinstance(word, str) else ("text", word.dim)
    outer, cx.builder.block = cx.builder.block, Block()
    longer = _kept(cx, (("text", Dim.of(so_far)), piece), [], span).dim
    region, cx.builder.block = cx.builder.block, outer
    region.ops.append(Op(OPS["yield"], [], {}))
    cx.builder.append(
        "loop",
        regions=[region],
        condition=Dim.of(at).compare("<", times),
        ints=((so_far, empty, longer, behind), (at, Dim.of(0), Dim.of(at) + 1, end)),
        results=(),
    )
    return Text(Dim.of(behind))
