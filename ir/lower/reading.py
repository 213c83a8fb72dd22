"""What the device has found, as the host knows it: whole numbers and truth values, read back."""

from __future__ import annotations

import operator

from tlc.frontend.source import Span
from tlc.ir.core import Block, Op, Value
from tlc.ir.dims import Dim
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Flag, Lowered, tell, truth, whole
from tlc.ir.opdef import OPS

_FINDS = ("reduce_argmax", "reduce_argmin", "order")
LONG = 160  # characters of a formula, which is then nested less deep than an artifact may have it


_SUMS = {"add": operator.add, "sub": operator.sub, "mul": operator.mul}


def integral(cx: Context, value: Lowered, span: Span) -> Lowered:
    """A number with a fraction that was made of whole numbers of the run, such as `n * 2.0`, as the
    whole number that it is; anything else as it is."""
    number = _traced(cx, value, span)
    return value if number is None else whole(number)


def _traced(cx: Context, value: Lowered, span: Span) -> Dim | None:
    if not isinstance(value, Value) or value.tensor.shape or value.owner is None:
        return None
    op = value.owner
    match op.name:
        case "constant" if value.tensor.dtype == "f32":
            number = whole(op.attrs["value"])
            return None if number is None else Dim.of(number)
        case "cast" if op.operands[0].tensor.dtype == "i32":
            found = on_host(cx, op.operands[0], span)
            return found if isinstance(found, Dim) else None
        case "add" | "sub" | "mul" if value.tensor.dtype == "f32":
            one = _traced(cx, op.operands[0], span)
            other = None if one is None else _traced(cx, op.operands[1], span)
            return None if one is None or other is None else _SUMS[op.name](one, other)
    return None


def range_end(cx: Context, value: Lowered, span: Span) -> int | Dim:
    """An end of a range: a whole number, which only run time may know."""
    value = integral(cx, value, span)
    if isinstance(value, Value) and value.tensor.dtype == "i32" and value.tensor.numel == Dim.of(1):
        return Dim.of(read(cx, value, span))
    end = whole(value)
    if end is None:
        cx.fail("E0303", f"a range ends at a whole number, and this is {tell(value)}", span)
    return end


def read(cx: Context, value: Value, span: Span) -> str:
    """The symbol of a tensor's one element, the same one wherever that was read in front."""
    known = _known(cx, value)
    if known is not None:
        return known
    symbol = cx.program.new_symbol()
    if _is_place(value):
        cx.program.natural.add(symbol)
    cx.builder.span = span
    made = cx.builder.append("read", value, symbol=symbol)
    assert isinstance(made, Op)
    cx.reads.setdefault(value, []).append((cx.builder.block, made))
    return symbol


def _known(cx: Context, value: Value) -> str | None:
    """The symbol of an element that this region, or one around it, has read."""
    block: Block | None = cx.builder.block
    while block is not None and value in cx.reads:
        for place, op in cx.reads[value]:
            if place is block and any(op is made for made in reversed(block.ops)):
                return str(op.attrs["symbol"])
        block = cx.around.get(block)
    return None


def _is_place(value: Value) -> bool:
    """Whether these are places that an operation found, or truth values, and never negative."""
    while value.owner is not None and (value.owner.defn.view or value.owner.name == "gather"):
        value = value.owner.operands[0]
    if value.tensor.dtype == "bool":
        return True
    return value.owner is not None and value.owner.name in _FINDS


def shortened(cx: Context, number: Dim, span: Span) -> Dim:
    """A long formula as a symbol, so that what is computed with it, pass by pass, stays short."""
    if len(str(number)) <= LONG:
        return number
    symbol = cx.program.new_symbol()
    branches = [Block(), Block()]
    for branch in branches:
        branch.ops.append(Op(OPS["yield"], [], {}))
    cx.builder.span = span
    ints = ((symbol, number, number),)
    cx.builder.append("if", regions=branches, condition=Dim.of(1), ints=ints, results=())
    return Dim.of(symbol)


def is_whole(value: Lowered) -> bool:
    """Whether this is one whole number, of the host or the device."""
    if isinstance(value, Value):
        return value.tensor.dtype == "i32" and not value.tensor.shape
    return whole(value) is not None


def is_truth(value: Lowered) -> bool:
    """Whether this is one truth value, of the host or the device."""
    if isinstance(value, Value):
        return value.tensor.dtype == "bool" and not value.tensor.shape
    return truth(value) is not None


def on_host(cx: Context, value: Value, span: Span) -> Dim | Flag:
    """The one element of a tensor of whole numbers or truth values, as the host knows it."""
    if value.tensor.dtype not in ("i32", "bool") or value.tensor.numel != Dim.of(1):
        text = f"one whole number or truth value is needed, and this is {value.type}"
        cx.fail("E0302", text, span)
    number = Dim.of(read(cx, value, span))
    return Flag(number) if value.tensor.dtype == "bool" else number


def count(cx: Context, value: Lowered, span: Span) -> int | Dim | None:
    """A whole number as the host knows it, also one that the device has found; None for others."""
    value = integral(cx, value, span)
    if isinstance(value, Value) and is_whole(value):
        value = on_host(cx, value, span)
    return whole(value) if not isinstance(value, Flag) else None
