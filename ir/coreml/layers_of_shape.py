"""Layers of neural networks: elementwise, reductions, constants and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlc.ir.core import Value
from tlc.ir.coreml.mil import unsupported
from tlc.ir.coreml.network import LAYERS, Build, Net, layer
from tlc.ir.dims import Dim, product

# ---- elementwise ---------------------------------------------------------------------------------


def _folded(kind: str) -> Build:
    """Any number of operands; with one, the other is the number `alpha`."""

    def build(net: Net, first: Value, *others: Value) -> Value:
        if not others:
            return net.m.number(kind, first, net.params.get("alpha", 0.0))
        total = first
        for other in others:
            total = net.m.binary(kind, total, other)
        return total

    return build


LAYERS.update({"add": _folded("add"), "multiply": _folded("mul"), "max": _folded("maximum"),
               "min": _folded("minimum"), "maxBroadcastable": _folded("maximum"),
               "minBroadcastable": _folded("minimum"), "addBroadcastable": _folded("add"),
               "multiplyBroadcastable": _folded("mul")})  # fmt: skip


@layer("average")
def _average(net: Net, *operands: Value) -> Value:
    total = _folded("add")(net, *(net.m.b.f32(v) for v in operands))
    return net.m.b.cast(net.m.number("mul", total, 1 / len(operands)), operands[0].tensor.dtype)


def _renamed(kind: str, *names: str) -> Build:
    """A MIL operation of the same operands."""

    def build(net: Net, *operands: Value) -> Value:
        return net.run(kind, **dict(zip(names, operands, strict=True)))

    return build


for _kind in ("ceil", "floor", "sign", "round", "exp2", "sin", "cos", "tan", "tanh", "erf"):
    LAYERS[_kind] = _renamed(_kind, "x")
for _kind, _name in (("mod", "mod"), ("pow", "pow"), ("divide", "real_div"),
                     ("floorDiv", "floor_div"), ("subtract", "sub")):  # fmt: skip
    LAYERS[f"{_kind}Broadcastable"] = _renamed(_name, "x", "y")
LAYERS["copy"] = lambda net, x: x


@layer("unary")
def _unary(net: Net, x: Value) -> Value:
    """A function of scale * x + shift."""
    p, m = net.params, net.m
    wide = m.number("add", m.number("mul", m.b.f32(x), p.get("scale", 1.0)), p.get("shift", 0.0))
    alpha, epsilon = p.get("alpha", 0.0), p.get("epsilon", 0.0) or 1e-6
    match p.get("type", 0):
        case 1 | 2 as kind:
            found = net.run(
                "rsqrt" if kind == 1 else "inverse", x=wide, epsilon=np.float32(epsilon)
            )
        case 3:
            found = m.number("pow", wide, alpha)
        case 7:
            found = m.number("maximum", wide, alpha)
        case kind:
            found = m.b.emit({0: "sqrt", 4: "exp", 5: "log", 6: "abs"}[kind], wide)
    return m.b.cast(found, x.tensor.dtype)


@layer("clip")
def _clip(net: Net, x: Value) -> Value:
    low, high = net.params.get("low", 0.0), net.params.get("high", 0.0)
    return net.m.b.emit("clamp", x, low=low, high=high)


def _aligned(net: Net, numbers: Value, x: Value) -> Value:
    """[C], [1, H, W] or [C, H, W] so that it broadcasts to [.., C, H, W]."""
    if numbers.tensor.rank == 1 and x.tensor.rank >= 3:
        return net.m.b.reshape(numbers, (numbers.tensor.numel, 1, 1))
    return numbers


@layer("scale")
def _scale(net: Net, x: Value) -> Value:
    found = net.m.binary("mul", net.m.b.f32(x), net.m.b.f32(_aligned(net, net.need("scale"), x)))
    bias = net.weights("bias") if net.params.get("biased") else None
    if bias is not None:
        found = net.m.binary("add", found, net.m.b.f32(_aligned(net, bias, x)))
    return net.m.b.cast(found, x.tensor.dtype)


@layer("bias")
def _bias(net: Net, x: Value) -> Value:
    return net.m.binary("add", x, _aligned(net, net.need("bias"), x))


@layer("loadConstant")
def _load_constant(net: Net) -> Value:
    data = net.need("data")
    shape = data.tensor.shape
    return net.m.b.reshape(data, (1, 1, *shape)) if len(shape) == 3 and not net.exact else data


@layer("loadConstantND")
def _load_constant_nd(net: Net) -> Value:
    return net.need("data")


@layer("fillStatic")
def _fill(net: Net) -> Value:
    number = net.m.b.cast(net.m.tensor(np.float32(net.params.get("value", 0.0))), net.dtype)
    return net.m.b.broadcast(number, net.params.get("shape", []))


# ---- reductions ----------------------------------------------------------------------------------

_REDUCE = ("reduce_sum", "reduce_mean", "reduce_prod", "reduce_log_sum", "reduce_sum_square",
           "reduce_l1_norm", "reduce_l2_norm", "reduce_max", "reduce_min",
           "reduce_argmax")  # fmt: skip


@layer("reduce")
def _reduce(net: Net, x: Value) -> Value:
    axes = ((-3, -2, -1), (-2, -1), (-3,), (-2,), (-1,))[net.params.get("axis", 0)]
    kind = _REDUCE[net.params.get("mode", 0)]
    if kind == "reduce_argmax":
        return net.run(kind, x=x, axis=np.array(axes[-1]), keep_dims=np.array(True))
    return net.run(kind, x=x, axes=np.array(axes), keep_dims=np.array(True))


for _kind, _name in (("L1", "l1_norm"), ("L2", "l2_norm"), ("Max", "max"), ("Min", "min"),
                     ("Sum", "sum"), ("Prod", "prod"), ("Mean", "mean"), ("LogSum", "log_sum"),
                     ("SumSquare", "sum_square"), ("LogSumExp", "log_sum_exp")):  # fmt: skip

    @layer(f"reduce{_kind}")
    def _reduce_nd(net: Net, x: Value, _name: str = _name) -> Value:
        axes = None if net.params.get("all") else np.array(net.params.get("axes", []))
        keep = np.array(net.params.get("keep", False))
        return net.run(f"reduce_{_name}", x=x, axes=axes, keep_dims=keep)


# ---- shapes --------------------------------------------------------------------------------------


def _last_first(net: Net, x: Value, shape: Sequence[Dim]) -> Value:
    """A reshape in the order height, width, channels."""
    rank = x.tensor.rank
    lead = range(rank - 3)
    moved = net.m.b.emit("permute", x, axes=(*lead, rank - 2, rank - 1, rank - 3))
    channels, height, width = shape[-3:]
    found = net.m.b.reshape(moved, (*shape[:-3], height, width, channels))
    rank = found.tensor.rank
    return net.m.b.emit("permute", found, axes=(*range(rank - 3), rank - 1, rank - 3, rank - 2))


@layer("reshape")
def _reshape(net: Net, x: Value) -> Value:
    """[channels, height, width], or [sequence, ...] before it."""
    wanted = [Dim.of(d) for d in net.params.get("shape", [])]
    lead = x.tensor.shape[:-3] if len(wanted) == 3 else (wanted[0], Dim.of(1))
    shape = (*lead, *wanted[-3:])
    if net.params.get("mode", 0):
        return _last_first(net, x, shape)
    return net.m.b.reshape(x, shape)


@layer("flatten")
def _flatten(net: Net, x: Value) -> Value:
    """All of an image as channels."""
    shape = (*x.tensor.shape[:-3], product(x.tensor.shape[-3:]), Dim.of(1), Dim.of(1))
    return _last_first(net, x, shape) if net.params.get("mode", 0) else net.m.b.reshape(x, shape)


@layer("permute")
def _permute(net: Net, x: Value) -> Value:
    """The order of [sequence, channels, height, width]; the batch stays where it is."""
    places = (0, 2, 3, 4) if x.tensor.rank == 5 else tuple(range(x.tensor.rank))
    order = list(range(x.tensor.rank))
    for place, axis in zip(places, net.params.get("axes", []), strict=True):
        order[place] = places[axis]
    return net.run("transpose", x=x, perm=np.array(order))


@layer("concat")
def _concat(net: Net, *operands: Value) -> Value:
    axis = 0 if net.params.get("sequence") else -3
    return net.run("concat", values=list(operands), axis=np.array(axis))


@layer("split")
def _split(net: Net, x: Value) -> Any:
    return net.run("split", x=x, axis=np.array(-3), num_splits=np.array(net.outputs))


@layer("slice")
def _slice(net: Net, x: Value) -> Value:
    p = net.params
    axis = x.tensor.rank - 3 + p.get("axis", 0)
    begin, end, stride, low, high = (np.array([v] * x.tensor.rank) for v in (0, 0, 1, True, True))
    begin[axis], end[axis], stride[axis] = (
        p.get("start", 0),
        p.get("end", 0),
        p.get("stride", 1) or 1,
    )
    low[axis], high[axis] = False, end[axis] == 0
    return net.run("slice_by_index", x=x, begin=begin, end=end, stride=stride, begin_mask=low,
                   end_mask=high)  # fmt: skip


@layer("sliceStatic")
def _slice_static(net: Net, x: Value) -> Value:
    p = net.params
    none = [0] * x.tensor.rank
    masks = {f"{key}_mask": np.array(p.get(f"{key}_mask") or none, bool)
             for key in ("begin", "end", "squeeze")}  # fmt: skip
    return net.run("slice_by_index", x=x, begin=np.array(p["begin"]), end=np.array(p["end"]),
                   stride=np.array(p["stride"]), **masks)  # fmt: skip


@layer("splitND")
def _split_nd(net: Net, x: Value) -> Any:
    sizes, count = net.params.get("sizes"), net.params.get("count", 0)
    given = {"split_sizes": np.array(sizes)} if sizes else {"num_splits": np.array(count)}
    return net.run("split", x=x, axis=np.array(net.params.get("axis", 0)), **given)


@layer("concatND", "stack")
def _join(net: Net, *operands: Value) -> Value:
    axis = np.array(net.params.get("axis", 0))
    if net.kind == "stack":
        return net.run("stack", values=list(operands), axis=axis)
    return net.run("concat", values=list(operands), axis=axis,
                   interleave=np.array(net.params.get("interleave", False)))  # fmt: skip


@layer("transpose")
def _transpose(net: Net, x: Value) -> Value:
    return net.run("transpose", x=x, perm=np.array(net.params.get("axes", [])))


@layer("squeeze")
def _squeeze(net: Net, x: Value) -> Value:
    axes = None if net.params.get("all") else np.array(net.params.get("axes", []), int)
    return net.run("squeeze", x=x, axes=axes)


@layer("expandDims")
def _expand(net: Net, x: Value) -> Value:
    return net.run("expand_dims", x=x, axes=np.array(net.params.get("axes", []), int))


@layer("flattenTo2D")
def _flatten2d(net: Net, x: Value) -> Value:
    return net.run("flatten2d", x=x, axis=np.array(net.params.get("axis", 0)))


@layer("reshapeStatic", "rankPreservingReshape")
def _reshape_static(net: Net, x: Value) -> Value:
    return net.run("reshape", x=x, shape=np.array(net.params.get("shape", []), int))


@layer("broadcastToStatic")
def _broadcast(net: Net, x: Value) -> Value:
    return net.m.b.broadcast(x, net.params.get("shape", []))


@layer("constantPad")
def _constant_pad(net: Net, x: Value) -> Value:
    p = net.params
    if p.get("given"):
        raise unsupported("padding to an output size")
    return net.run("pad", x=x, pad=np.array(p.get("amounts", []), int), mode=np.array("constant"),
                   constant_val=np.float32(p.get("value", 0.0)))  # fmt: skip


@layer("tile")
def _tile(net: Net, x: Value) -> Value:
    return net.run("tile", x=x, reps=np.array(net.params.get("reps", []), int))
