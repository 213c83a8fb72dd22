"""Duplicate and dead work goes: common subexpressions are computed once, unused ones never."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlc.ir.core import Block, Func, Op, Value, symbols_of


def cse(func: Func) -> None:
    """Keep the first of equal pure operations."""
    _cse(func.body, {}, {})


def _cse(block: Block, known: dict[Any, Op], replaced: dict[Value, Value]) -> None:
    kept = []
    for op in block.ops:
        op.operands = [replaced.get(v, v) for v in op.operands]
        for region in op.regions:
            _cse(region, dict(known), replaced)
        once_is_enough = op.defn.effect == "pure" or op.name == "check"
        if once_is_enough and not op.regions and op.name != "yield":
            key = (op.name, tuple(map(id, op.operands)), tuple(map(_exact, op.attrs.items())))
            first = known.setdefault(key, op)
            if first is not op:
                replaced.update(zip(op.results, first.results, strict=True))
                continue
        kept.append(op)
    block.ops = kept


def _exact(value: Any) -> Any:
    """A key that keeps apart what `==` does not: 0.0 and -0.0, 1 and 1.0 and true."""
    if isinstance(value, tuple):
        return tuple(map(_exact, value))
    return (type(value), repr(value)) if isinstance(value, int | float) else value


def dce(func: Func) -> None:
    """Remove pure operations whose results nothing reads, and control flow that leads to none."""
    _dce(func.body, set(), set())


def _dce(block: Block, live: set[Value], symbols: set[str]) -> None:
    """`live` and `symbols` are what is read behind the block; they grow by what it reads."""
    kept: list[Op] = []
    for op in reversed(block.ops):
        unused = (
            op.name != "yield" and not live & set(op.results) and not symbols & set(defines(op))
        )
        if unused and _removable(op):
            continue
        live.update(op.operands)
        symbols |= symbols_of(tuple(op.attrs.values()))
        symbols |= {op.attrs["name"]} if op.name == "call" else set()
        for value in op.results:
            symbols |= symbols_of(value.type)
        for region in op.regions:
            _dce(region, live, symbols)
        kept.append(op)
    block.ops = kept[::-1]


def _removable(op: Op) -> bool:
    """Whether an operation does nothing but make its results."""
    if op.name == "function":
        return True
    if op.name in ("loop", "if", "read"):
        return all(_removable(inner) for region in op.regions for inner in region.ops)
    return op.defn.effect == "pure"


def defines(op: Op) -> Sequence[str]:
    """The symbols of run-time numbers that stand behind an operation."""
    match op.name:
        case "loop":
            return [i[3] for i in op.attrs["ints"]]
        case "if":
            return [i[0] for i in op.attrs["ints"]]
        case "function":
            return (op.attrs["name"],)
        case "call":
            return list(op.attrs["symbols"])
        case _ if "symbol" in op.attrs:
            return (op.attrs["symbol"],)
    return ()
