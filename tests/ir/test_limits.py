"""Kernels are bounded, and the passes take time in proportion to the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.ir.kernels import families, kernels, optimised
from tests.ir.programs import run_func
from tlc.ir.builder import Builder
from tlc.ir.core import Block, Func, Module, Value
from tlc.ir.passes import optimise
from tlc.ir.passes.groups import MOST_OPERANDS, MOST_OPS
from tlc.ir.types import tensor

Array = np.ndarray[Any, Any]


# ---- limits and costs ----------------------------------------------------------------------------


def chain(length: int, step: Callable[[Builder, Value, Value], Value]) -> Module:
    x, y = Value(tensor("f16", "N", 4)), Value(tensor("f16", "N", 4))
    body = Block([x, y])
    builder = Builder(body)
    value = x
    for _ in range(length):
        value = step(builder, value, y)
    builder.append("yield", value)
    return Module([Func("f", body, ["x", "y"])])


def test_kernels_are_bounded() -> None:
    """Metal binds 31 buffers; a text of any length would take a compiler any time."""
    count = 3 * MOST_OPERANDS
    params = ", ".join(f"p{at}: float16[N]" for at in range(count))
    total = " + ".join(f"p{at}" for at in range(count))
    func = optimised(f"fn f({params}) -> Tensor {{ return {total} }}")
    assert all(len(op.operands) <= MOST_OPERANDS for op in kernels(func))
    assert len(kernels(func)) <= 5
    args = [np.full(3, at % 7, np.float16) for at in range(count)]
    ((found,), _) = run_func(func, args)
    assert found.tolist() == [sum(at % 7 for at in range(count))] * 3

    module = chain(3 * MOST_OPS, lambda b, v, y: b.emit("neg", b.emit("relu", v)))
    optimise(module)
    assert all(len(op.regions[0].ops) <= MOST_OPS + 2 for op in kernels(module.func("f")))
    assert len(kernels(module.func("f"))) == 6


def test_many_tensors_are_joined_group_by_group() -> None:
    args = ", ".join(f"x[{at}:{at + 1}]" for at in range(100))
    func = optimised(f"fn f(x: float16[100]) -> Tensor {{ return concat({args}, 0) }}")
    ((found,), _) = run_func(func, [np.arange(100, dtype=np.float16)])
    assert found.tolist() == list(range(100))


def mixed(b: Builder, value: Value, y: Value) -> Value:
    """A sum, a view there and back, a row's sum: something for every pass."""
    added = b.emit("add", b.emit("mul", value, y), b.scalar(1.0, value))
    turned = b.emit("transpose", b.emit("transpose", added))
    return b.binary("sub", turned, b.emit("sum", turned, dim=1, keepdim=True))


def halves(b: Builder, value: Value, y: Value) -> Value:
    """Every value is read twice by the next: 2^n paths lead through n of them."""
    return b.emit("mul", value, value)


@pytest.mark.parametrize("step", [mixed, halves])
def test_the_passes_take_time_in_proportion(
    step: Callable[[Builder, Value, Value], Value], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times the program takes at most five times the steps, counted as calls of functions."""

    def calls(length: int) -> int:
        import sys

        module, count = chain(length, step), 0

        def tick(frame: Any, event: str, arg: Any) -> None:
            nonlocal count
            count += event == "call"

        sys.setprofile(tick)
        try:
            optimise(module, checked=False)
        finally:
            sys.setprofile(None)
        return count

    small, large = calls(100), calls(400)
    assert large < 5 * small


def test_a_diamond_below_a_broadcast_is_walked_once() -> None:
    """2^60 paths lead from the column to the sum behind it."""
    x, column = Value(tensor("f16", "N", 4)), Value(tensor("f16", "N", 1))
    body = Block([x, column])
    b = Builder(body)
    value = column
    for _ in range(60):
        value = b.emit("mul", value, value)
    b.append("yield", b.emit("add", x, b.broadcast(value, x.tensor.shape)))
    module = Module([Func("f", body, ["x", "c"])])
    optimise(module)
    assert families(module.func("f")) == ["elementwise", "elementwise"]


def test_a_long_chain_is_optimised() -> None:
    module = chain(1000, lambda b, v, y: b.emit("add", b.emit("mul", v, y), b.scalar(0.5, v)))
    optimise(module)
    assert set(families(module.func("f"))) == {"elementwise"}
    x = np.full((2, 4), 3.0, np.float16)
    ((found,), _) = run_func(module.func("f"), [x, np.zeros_like(x)])
    assert (found == 0.5).all()
