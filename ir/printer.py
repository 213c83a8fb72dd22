"""A module as text: one operation to a line, regions indented; `ir/parser.py` reads it back.

func @forward(%0 x: f16[N, 3], %1 w: f16[3, 2]) {
  %2 = contract(%0, %1) : f16[N, 2]  // linear.tl:4
  yield(%2)
}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from tlc.ir.core import Block, Func, Module, Op, Value
from tlc.ir.dims import Dim
from tlc.ir.types import ScalarType, TensorType, show_shape

# attributes that repeat the result types, which the line shows anyway
IMPLIED = {"type", "results"}
_PLAIN = re.compile(r"[\w.]+")  # names of functions that need no quotes


def print_module(module: Module, *, places: bool = True) -> str:
    """The text of a module; `places` adds the source line of each operation as a comment."""
    out = [
        f"model {at} {json.dumps(model.path)} {json.dumps(model.fingerprint)}"
        for at, model in enumerate(module.models)
    ]
    for func in module.funcs:
        out += ["", *_Printer(places).func(func)] if out else _Printer(places).func(func)
    return "\n".join(out) + "\n"


def print_op(op: Op) -> str:
    """The text of one operation by itself, without its place: equal work has equal text."""
    printer = _Printer(places=False)
    for value in op.operands:
        printer.value(value)
    types = ", ".join(str(v.type) for v in op.operands)
    return "\n".join([types, *printer.op(op, "")])


class _Printer:
    """Numbers the values of one function in order of appearance."""

    def __init__(self, places: bool) -> None:
        self.places = places
        self.numbers: dict[Value, int] = {}

    def value(self, value: Value) -> str:
        return f"%{self.numbers.setdefault(value, len(self.numbers))}"

    def func(self, func: Func) -> list[str]:
        named = zip(func.params, func.param_names, strict=True)
        params = ", ".join(f"{self.value(v)} {name}: {v.type}" for v, name in named)
        name = func.name if _PLAIN.fullmatch(func.name) else json.dumps(func.name)
        return [f"func @{name}({params}) {{", *self.block(func.body, "  "), "}"]

    def block(self, block: Block, indent: str) -> Iterable[str]:
        for op in block.ops:
            yield from self.op(op, indent)

    def op(self, op: Op, indent: str) -> Iterable[str]:
        text = indent
        if op.results:
            text += ", ".join(map(self.value, op.results)) + " = "
        text += f"{op.name}({', '.join(map(self.value, op.operands))})"
        kinds = {p.name: p.kind for p in op.defn.params}
        shown = {k: v for k, v in op.attrs.items() if k not in IMPLIED}
        if shown:
            parts = (f"{k}={show_attr(v, kinds.get(k, ''))}" for k, v in shown.items())
            text += f" {{{', '.join(parts)}}}"
        if op.results:
            text += " : " + ", ".join(str(v.type) for v in op.results)
        place = f"  // {_line(op)}" if self.places and op.span is not None else ""
        if not op.regions:
            yield text + place
            return
        for at, region in enumerate(op.regions):
            args = ", ".join(f"{self.value(v)}: {v.type}" for v in region.args)
            yield f"{text} ^({args}) {{{place}" if at == 0 else f"{indent}}} ^({args}) {{"
            yield from self.block(region, indent + "  ")
        yield indent + "}"


def _line(op: Op) -> str:
    assert op.span is not None
    return op.span.place


def show_attr(value: Any, kind: str = "") -> str:
    """An attribute as text; a Dim is bare where its kind says so, else in angle brackets."""
    match value:
        case bool() | None:
            return str(value).lower()
        case Dim():
            return str(value) if kind == "dim" else f"<{value}>"
        case tuple():
            if kind == "shape":
                return show_shape(value)
            inner = ", ".join(map(show_attr, value))
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        case str():
            return json.dumps(value)
        case bytes():
            return f'hex"{value.hex()}"'
        case int() | float() | TensorType() | ScalarType():
            return str(value)
    raise TypeError(f"no text form for attribute {value!r}")
