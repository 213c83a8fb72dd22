"""Contractions: matrix products, accumulated in float32 and rounded once."""

from __future__ import annotations

from tlc.ir.builder import Builder, broadcast_shape
from tlc.ir.core import Value
from tlc.ir.dims import Dim, product
from tlc.ir.opdef import Sample, Side, TypeRuleError, compose, defop
from tlc.ir.types import FLOATS, TensorType, Type, show_shape, tensor


def _contract(a: Type, b: Type) -> tuple[Type, ...]:
    a, b = _floating(a, 0), _floating(b, 1)
    if a.rank > 1 < b.rank:
        _inner(a, b)
    if a.rank != b.rank or a.rank < 2 or a.shape[:-2] != b.shape[:-2]:
        raise TypeRuleError(
            f"{a} and {b} are not matrices, or batches of equal size", "E0301", (0, 1)
        )
    dtype = "f32" if "f32" in (a.dtype, b.dtype) else "f16"
    return (TensorType(dtype, (*a.shape[:-1], b.shape[-1])),)


def _floating(t: Type, at: int) -> TensorType:
    if not isinstance(t, TensorType) or t.dtype not in FLOATS:
        raise TypeRuleError(f"a floating-point tensor is needed, and this is {t}", "E0302", (at,))
    return t


def _inner(a: TensorType, b: TensorType, axis: int = -2) -> None:
    """Refuse rows of `a` that are not as long as columns of `b`, which lie along `axis`."""
    left, right = a.shape[-1], b.shape[-2]
    if left == right:
        return
    hint = ""
    if left == b.shape[-1]:
        hint = "transpose the right operand: `x @ w.T`, or `linear(x, w)` for weights [out, in]"
    elif b.shape[-1] == a.shape[-2]:
        hint = "the operands fit the other way round: exchange them"
    elif a.shape[-2] == right:
        hint = "transpose the left operand: `x.T @ w`"
    raise TypeRuleError(
        f"`@` of {show_shape(a.shape)} and {show_shape(b.shape)}:"
        f" the inner dimensions {left} and {right} differ",
        operands=(0, 1),
        hint=hint,
        differ=(Side(0, -1, left), Side(1, axis, right)),
    )


defop(
    "contract",
    "The product of two matrices, or of two batches of as many matrices.",
    params="a, b",
    type=_contract,
    eval=lambda np, a, b: np.matmul(a, b),
    kernel="matmul",
    sample=(
        Sample((tensor("f16", 3, 5), tensor("f16", 5, 4)), {}),
        Sample((tensor("f16", 2, 3, 5), tensor("f16", 2, 5, 4)), {}),
    ),
)


def _matmul(b: Builder, left: Value, right: Value) -> Value:
    a, c = left, right
    for at, v in enumerate((a, c)):
        _floating(v.type, at)
        if v.tensor.rank == 0:
            raise TypeRuleError(
                f"`@` needs vectors or matrices, and this is {v.type}", "E0302", (at,)
            )
    row, column = a.tensor.rank == 1, c.tensor.rank == 1
    if row:
        a = b.reshape(a, (1, *a.tensor.shape))
    if column:
        c = b.reshape(c, (*c.tensor.shape, 1))
    _inner(a.tensor, c.tensor, -1 if column else -2)
    lead = a.tensor.shape[:-2]
    *_, m, k = a.tensor.shape
    n = c.tensor.shape[-1]
    if c.tensor.rank == 2:
        out = b.emit("contract", b.reshape(a, (product(lead) * m, k)), c)
    else:
        lead = broadcast_shape([lead, c.tensor.shape[:-2]], 2)
        batch = product(lead)
        a = b.reshape(b.broadcast(a, (*lead, m, k)), (batch, m, k))
        c = b.reshape(b.broadcast(c, (*lead, k, n)), (batch, k, n))
        out = b.emit("contract", a, c)
    shape: list[Dim] = [*lead, *([] if row else [m]), *([] if column else [n])]
    return b.reshape(out, shape)


compose(
    "matmul",
    "`a @ b`: vectors are rows or columns, leading dimensions batch and broadcast.",
    _matmul,
    params="a, b",
    sample=(
        Sample((tensor("f16", 5), tensor("f16", 5, 4)), {}),
        Sample((tensor("f16", 2, 3, 5), tensor("f16", 5, 4)), {}),
        Sample((tensor("f16", 2, 1, 3, 5), tensor("f16", 7, 5, 4)), {}),
    ),
)


def _linear(b: Builder, x: Value, weight: Value, bias: Value | None = None) -> Value:
    if weight.tensor.rank != 2:
        raise TypeRuleError(
            f"the weights of `linear` are [out, in], and this is {weight.type}", "E0301", (1,)
        )
    out_features, in_features = weight.tensor.shape
    if x.tensor.shape[-1:] != (in_features,):
        got = x.tensor.shape[-1] if x.tensor.rank else "none"
        hint = "the weights are [in, out]: use `x @ w + b`" if got == out_features else ""
        raise TypeRuleError(
            f"`linear` of {show_shape(x.tensor.shape)} with weights"
            f" {show_shape(weight.tensor.shape)} [out, in]:"
            f" {got} input features and {in_features} differ",
            operands=(0, 1),
            hint=hint,
            differ=(Side(0, -1, x.tensor.shape[-1]), Side(1, 1, in_features))
            if x.tensor.rank
            else None,
        )
    if bias is not None and bias.tensor.shape != (out_features,):
        raise TypeRuleError(
            f"the bias of `linear` is [out], here [{out_features}], and this is {bias.type}",
            operands=(2,),
        )
    product = _matmul(b, x, b.emit("permute", weight, axes=(1, 0)))
    return product if bias is None else b.binary("add", product, bias)


compose(
    "linear",
    "x times the transpose of w, plus b: w is [out, in], as PyTorch stores it.",
    _linear,
    params="x, w, b = none",
    sample=(Sample((tensor("f16", 2, 5), tensor("f16", 4, 5), tensor("f16", 4)), {}),),
)
