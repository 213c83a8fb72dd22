"""Layers of neural networks that compare, choose, order and count.

A network has floats alone: truth values are 1 and 0, and positions are float32, exact to 2^24.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tlc.ir.core import Value
from tlc.ir.coreml.network import LAYERS, Build, Net, layer

# ---- truth values --------------------------------------------------------------------------------


def _mask(net: Net, x: Value) -> Value:
    return x if x.tensor.dtype == "bool" else net.m.number("ne", x, 0.0)


def _compared(op: str) -> Build:
    """Of two operands, or of one and the number `alpha`."""

    def build(net: Net, x: Value, y: Value | None = None) -> Value:
        if y is None:
            found = net.m.number(op, x, net.params.get("alpha", 0.0))
        else:
            found = net.m.binary(op, x, y)
        return net.m.b.cast(found, net.dtype)

    return build


for _kind, _op in {"equal": "eq", "notEqual": "ne", "lessThan": "lt", "lessEqual": "le",
                   "greaterThan": "gt", "greaterEqual": "ge"}.items():  # fmt: skip
    LAYERS[_kind] = _compared(_op)


@layer("logicalAnd", "logicalOr", "logicalXor", "logicalNot")
def _logical(net: Net, *operands: Value) -> Value:
    name = net.kind.removeprefix("logical").lower()
    masks = dict(zip("xy", (_mask(net, v) for v in operands), strict=False))
    return net.m.b.cast(net.run(f"logical_{name}", **masks), net.dtype)


@layer("whereBroadcastable")
def _where(net: Net, cond: Value, a: Value, b: Value) -> Value:
    return net.run("select", cond=_mask(net, cond), a=a, b=b)


# ---- positions -----------------------------------------------------------------------------------


@layer("argMax", "argMin")
def _extreme(net: Net, x: Value) -> Value:
    kind = "reduce_argmax" if net.kind == "argMax" else "reduce_argmin"
    keep = np.array(not net.params.get("drop", False))
    found = net.run(kind, x=x, axis=np.array(net.params.get("axis", 0)), keep_dims=keep)
    return net.m.b.f32(found)


@layer("topK")
def _top(net: Net, x: Value) -> tuple[Value, Value]:
    p = net.params
    values, at = net.m.run("topk", {
        "x": [x], "k": [np.array(p.get("count", 1))], "axis": [np.array(p.get("axis", 0))],
        "ascending": [np.array(p.get("bottom", False))],
    })  # fmt: skip
    return values, net.m.b.f32(at)


@layer("argSort")
def _argsort(net: Net, x: Value) -> Value:
    ascending = np.array(not net.params.get("descending", False))
    axis = np.array(net.params.get("axis", 0))
    return net.m.b.f32(net.run("argsort", x=x, axis=axis, ascending=ascending))


def whole(net: Net, x: Value) -> Value:
    """Positions as whole numbers."""
    return x if x.tensor.dtype == "i32" else net.m.b.cast(x, "i32")


@layer("gather", "gatherAlongAxis")
def _gather(net: Net, x: Value, indices: Value) -> Value:
    kind = "gather" if net.kind == "gather" else "gather_along_axis"
    axis = np.array(net.params.get("axis", 0))
    return net.run(kind, x=x, indices=whole(net, indices), axis=axis)


@layer("oneHot")
def _one_hot(net: Net, x: Value) -> Value:
    p = net.params
    on, off = (np.float32(p.get(key, 0.0)) for key in ("on", "off"))
    given: dict[str, Any] = {"axis": np.array(p.get("axis", 0)), "on_value": on, "off_value": off}
    size = np.array(p.get("size", 0))
    found = net.run("one_hot", indices=whole(net, x), one_hot_vector_size=size, **given)
    return net.m.b.cast(found, net.dtype)


# ---- along an axis -------------------------------------------------------------------------------


@layer("cumSum")
def _cumsum(net: Net, x: Value) -> Value:
    p = net.params
    return net.run("cumsum", x=x, axis=np.array(p.get("axis", 0)),
                   exclusive=np.array(p.get("exclusive", False)),
                   reverse=np.array(p.get("reverse", False)))  # fmt: skip


@layer("reverse")
def _reverse(net: Net, x: Value) -> Value:
    axes = [at for at, turned in enumerate(net.params.get("turned", [])) if turned]
    return net.run("reverse", x=x, axes=np.array(axes, int))
