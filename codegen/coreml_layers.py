"""Reductions, orders, products and layers of the IR as operations of MIL."""

from __future__ import annotations

from tlc.codegen.coreml_mil import Mil, Var, writes
from tlc.ir.core import Op, Value

# ---- reductions and order ------------------------------------------------------------------------

for _name in ("sum", "max", "min", "argmax", "argmin"):

    @writes(f"reduce_{_name}")
    def _reduce(m: Mil, op: Op, x: Value, _kind: str = _name) -> Var:
        axis = op.attrs["axis"]
        over = {"axis": axis} if _kind.startswith("arg") else {"axes": [axis]}
        return getattr(m.mb, f"reduce_{_kind}")(x=m[x], keep_dims=True, **over)


for _name in ("sum", "mean", "max", "min"):

    @writes(_name)
    def _reduce_whole(m: Mil, op: Op, x: Value, _kind: str = _name) -> Var:
        dim, keep = op.attrs.get("dim"), bool(op.attrs.get("keepdim"))
        axes = list(range(x.tensor.rank)) if dim is None else [dim]
        return getattr(m.mb, f"reduce_{_kind}")(x=m[x], axes=axes, keep_dims=keep) if axes else m[x]


@writes("cumsum")
def _cumsum(m: Mil, op: Op, x: Value) -> Var:
    return m.mb.cumsum(x=m[x], axis=op.attrs.get("dim", -1) % x.tensor.rank)


@writes("argsort")
def _argsort(m: Mil, op: Op, x: Value) -> Var:
    ascending = not op.attrs.get("descending")
    return m.mb.argsort(x=m[x], axis=op.attrs.get("dim", -1), ascending=ascending)


@writes("softmax")
def _softmax(m: Mil, op: Op, x: Value) -> Var:
    return m.mb.softmax(x=m[x], axis=op.attrs.get("dim", -1))


# ---- layers --------------------------------------------------------------------------------------


def _known(m: Mil, *values: Value) -> bool:
    return all(m.is_known(v) for v in values)


@writes("layer_norm")
def _layer_norm(m: Mil, op: Op, x: Value, gamma: Value, beta: Value) -> Var:
    if not _known(m, gamma, beta):
        return None
    eps = m.number(op.attrs.get("eps", 1e-5), x)
    return m.mb.layer_norm(x=m[x], axes=[-1], gamma=m[gamma], beta=m[beta], epsilon=eps)


@writes("batch_norm")
def _batch_norm(m: Mil, op: Op, x: Value, *weights: Value) -> Var:
    if not _known(m, *weights) or not 3 <= x.tensor.rank <= 5:
        return None
    names = ("mean", "variance", "gamma", "beta")
    given = {name: m[w] for name, w in zip(names, weights, strict=True)}
    return m.mb.batch_norm(x=m[x], epsilon=m.number(op.attrs.get("eps", 1e-5), x), **given)


def _one_type(*values: Value) -> bool:
    return len({v.tensor.dtype for v in values}) == 1


@writes("linear")
def _linear(m: Mil, op: Op, x: Value, weight: Value, bias: Value | None = None) -> Var:
    operands = [v for v in (x, weight, bias) if v is not None]
    if not _one_type(*operands) or not _known(m, *operands[1:]):
        return None
    given = {} if bias is None else {"bias": m[bias]}
    if x.tensor.rank == 1:
        made = m.mb.linear(x=m.mb.expand_dims(x=m[x], axes=[0]), weight=m[weight], **given)
        return m.mb.squeeze(x=made, axes=[0])
    return m.mb.linear(x=m[x], weight=m[weight], **given)


@writes("matmul")
def _matmul(m: Mil, op: Op, a: Value, b: Value) -> Var:
    if a.tensor.rank < 2 or b.tensor.rank < 2 or not _one_type(a, b):
        return None
    return m.mb.matmul(x=m[a], y=m[b])


@writes("contract")
def _contract(m: Mil, op: Op, a: Value, b: Value) -> Var:
    x, y = m[a], m[b]
    if not _one_type(a, b):
        x, y = (m.mb.cast(x=v, dtype="fp32") for v in (x, y))
    return m.mb.matmul(x=x, y=y)


@writes("conv2d")
def _conv2d(m: Mil, op: Op, x: Value, weight: Value, bias: Value | None = None) -> Var:
    operands = [v for v in (x, weight, bias) if v is not None]
    if not _known(m, *operands[1:]) or not _one_type(*operands):
        return None
    down, across = op.attrs.get("padding", (0, 0))
    given = {} if bias is None else {"bias": m[bias]}
    return m.mb.conv(
        x=m[x],
        weight=m[weight],
        strides=list(op.attrs.get("stride", (1, 1))),
        pad_type="custom",
        pad=[down, down, across, across],
        dilations=list(op.attrs.get("dilation", (1, 1))),
        groups=op.attrs.get("groups", 1),
        **given,
    )


for _name, _mil in (("max_pool2d", "max_pool"), ("avg_pool2d", "avg_pool")):

    @writes(_name)
    def _pool(m: Mil, op: Op, x: Value, _kind: str = _mil) -> Var:
        if x.tensor.rank != 4:
            return None
        kernel = op.attrs["kernel"]
        down, across = op.attrs.get("padding", (0, 0))
        return getattr(m.mb, _kind)(
            x=m[x],
            kernel_sizes=list(kernel),
            strides=list(op.attrs.get("stride") or kernel),
            pad_type="custom",
            pad=[down, down, across, across],
        )
