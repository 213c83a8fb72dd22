"""Builtins about strings: `str`, `to_int`, and the texts that a run reads, `input` and `env`."""

from __future__ import annotations

import math
import re

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import reading, tensors, texts
from tlc.ir.lower.arguments import Argument
from tlc.ir.lower.builtins.table import SPECIAL, special
from tlc.ir.lower.compare import asked
from tlc.ir.lower.context import Context, where
from tlc.ir.lower.values import Lowered, Text, describe, is_number, whole

_WHOLE = re.compile(r"\s*[-+]?[0-9]+\s*")


def _text(cx: Context, source: str, name: str, span: Span) -> Text:
    symbol = cx.program.new_symbol()
    cx.builder.span = span
    cx.builder.append("text", source=source, name=name, symbol=symbol)
    return Text(Dim.of(symbol))


@special("env", "name: any")
def _env(cx: Context, node: ast.Call, name: Argument) -> Text:
    """A variable of the environment that the program runs in; empty when it is not set."""
    if not isinstance(name.value, str):
        text = "the name of a variable is a string known at build, and this is "
        cx.fail("E0304", text + describe(name.value), name.span)
    return _text(cx, "env", name.value, node.span)


@special("input", "prompt: any = none")
def _input(cx: Context, node: ast.Call, prompt: Argument | None) -> Text:
    """A line of the standard input, behind a line that asks for it; empty at its end."""
    if prompt is not None:
        SPECIAL["print"](cx, ast.Call(node.span, node.callee, ()), [prompt])
    return _text(cx, "input", "", node.span)


@special("arg", "name: any, otherwise: any")
def _arg(cx: Context, node: ast.Call, name: Argument, otherwise: Argument) -> Lowered:
    """An argument of the run (`tlc run --arg NAME=VALUE`), or what it is when it was not given: a
    string, a whole number or a number, and the argument is the same."""
    if not isinstance(name.value, str) or not name.value.isidentifier():
        text = "an argument has a name known at build, of letters, digits and `_`"
        cx.fail("E0304", text, name.span)
    default = otherwise.value
    if not isinstance(default, str) and not is_number(default):
        text = "what an argument is when left out is a string or a number known at build"
        cx.fail("E0304", text, otherwise.span)
    found = _text(cx, "arg", f"{name.value}={default}", node.span)
    match default:
        case int():
            return asked(cx, found, "int", "", node.span)
        case float():
            return _number(cx, found, node.span)
    return found


def _number(cx: Context, text: Text, span: Span) -> Value:
    """The number that a text says, on the device."""
    return cx.emit("text_float", text=text.dim, place=where(span), span=span)


@special("to_float float", "x: any")
def _to_float(cx: Context, node: ast.Call, x: Argument) -> Lowered:
    """A number in float32: what a string says, or a number as it is."""
    if isinstance(x.value, Text):
        return _number(cx, x.value, node.span)
    if isinstance(x.value, str):
        try:
            return float(x.value)
        except ValueError:
            cx.fail("E0305", f'"{x.value}" is not a number', x.span)
    if is_number(x.value):
        return float(x.value)
    return cx.builder.f32(tensors.need_tensor(cx, x.value, x.span))


@special("str", "x: any")
def _str(cx: Context, node: ast.Call, x: Argument) -> Lowered:
    """What `print` writes of a value, as a string."""
    return x.value if isinstance(x.value, Text) else texts.text(cx, [x.value], x.span)


@special("to_int int", "x: any")
def _to_int(cx: Context, node: ast.Call, x: Argument) -> Lowered:
    """A whole number: that a string says, a number without its fraction, one element."""
    value = x.value
    if isinstance(value, Text):
        return asked(cx, value, "int", "", node.span)
    if isinstance(value, str):
        if not _WHOLE.fullmatch(value) or not -(2**63) <= int(value) < 2**63:
            cx.fail("E0305", f'"{value}" is not a whole number', x.span)
        return int(value)
    if isinstance(value, Value) and value.tensor.numel == Dim.of(1):
        number = cx.emit("cast", value, dtype="i32", span=node.span)
        return reading.on_host(cx, number, node.span)
    if isinstance(value, bool):
        return int(value)
    if is_number(value) and math.isfinite(value):
        return int(value)
    number_ = whole(value)
    if number_ is None:
        cx.fail("E0302", f"{describe(value)} is no whole number", x.span)
    return number_
