"""Operations that make tensors or only read their operand in another order."""

from __future__ import annotations

from typing import Any

from tlc.ir.builder import Builder, numel
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.opdef import Sample, Side, TypeRuleError, compose, defop
from tlc.ir.types import DTYPES, TensorType, Type, show_shape, tensor


def _tensor(x: Type) -> TensorType:
    if not isinstance(x, TensorType):
        raise TypeRuleError(f"a tensor is needed, and this is {x}", "E0302", (0,))
    return x


def normal_axis(axis: int, rank: int, what: str = "axis") -> int:
    """An axis counted from the front; negative ones count from the end. Raises TypeRuleError."""
    if not -rank <= axis < rank:
        raise TypeRuleError(
            f"{what} {axis} is out of range for a tensor of rank {rank}", "E0303", (0,)
        )
    return axis % rank


# ---- sources -------------------------------------------------------------------------------------


def constant_array(np: Any, value: Any, type: TensorType) -> Any:
    """The numbers of a `constant` as a numpy array of the stored dtype and static shape."""
    from tlc.ir.interp import NUMPY_DTYPES

    dtype = np.dtype(NUMPY_DTYPES[type.dtype])
    shape = tuple(map(int, type.shape))
    if isinstance(value, bytes):
        return np.frombuffer(value, dtype).reshape(shape)
    if isinstance(value, tuple):
        return np.array(value, np.float64).astype(dtype).reshape(shape)
    return np.full(shape, value, np.float64).astype(dtype)


def _constant(value: Any, type: TensorType) -> tuple[Type, ...]:
    held = None
    if isinstance(value, tuple):
        held = len(value)
    elif isinstance(value, bytes):
        held = len(value) // DTYPES[type.dtype]
    if held is not None and type.numel != Dim.of(held):
        raise TypeRuleError(f"{held} numbers do not fill {type}")
    return (type,)


defop(
    "constant",
    "Numbers known at build: one repeated number (a dimension stands for its size), a list, or"
    " stored little-endian bytes in row-major order.",
    params="value: attr, type: attr",
    type=_constant,
    eval=lambda np, value, type: constant_array(np, value, type),
    sample=(Sample((), {"value": (1.0, 2.5), "type": tensor("f16", 2)}),),
)


def _iota(type: TensorType, axis: int) -> tuple[Type, ...]:
    normal_axis(axis, type.rank)
    return (type,)


defop(
    "iota",
    "The index along an axis, as a number.",
    params="type: attr, axis: int",
    type=_iota,
    eval=lambda np, type, axis: np.indices(tuple(map(int, type.shape)))[axis],
    kernel="elementwise",
    sample=(Sample((), {"type": tensor("f16", 3, 4), "axis": 1}),),
)

# ---- views ---------------------------------------------------------------------------------------


def _broadcast(x: Type, shape: tuple[Dim, ...]) -> tuple[Type, ...]:
    t = _tensor(x)
    text = f"a tensor of shape {show_shape(t.shape)} does not broadcast to {show_shape(shape)}"
    if t.rank > len(shape):
        raise TypeRuleError(text, operands=(0,))
    for axis in range(-t.rank, 0):
        has, wanted = t.shape[axis], shape[axis]
        if has not in (Dim.of(1), wanted):
            differ = (Side(0, axis, has), Side(-1, axis, wanted))
            raise TypeRuleError(text, operands=(0,), differ=differ)
    return (t.with_shape(shape),)


defop(
    "broadcast",
    "Repeated along new leading axes and along axes of size 1, as NumPy does.",
    params="x, shape: shape",
    names="broadcast_to",
    type=_broadcast,
    eval=lambda np, x, shape: np.broadcast_to(x, shape),
    view=True,
    sample=(Sample((tensor("f16", 3, 1),), {"shape": (Dim.of(2), Dim.of(3), Dim.of(4))}),),
)


def _reshape(x: Type, shape: tuple[Dim, ...]) -> tuple[Type, ...]:
    t = _tensor(x)
    old, new = t.numel, numel(shape)
    if old.is_static and new.is_static and old != new:
        raise TypeRuleError(
            f"{show_shape(t.shape)} has {old} elements and {show_shape(shape)} has {new}",
            operands=(0,),
        )
    return (t.with_shape(shape),)


defop(
    "reshape",
    "The same elements, in the same row-major order, in another shape.",
    params="x, shape: shape",
    type=_reshape,
    eval=lambda np, x, shape: np.reshape(x, shape),
    view=True,
    sample=(Sample((tensor("f16", 3, 4),), {"shape": (Dim.of(2), Dim.of(6))}),),
)


def _permute(x: Type, axes: tuple[int, ...]) -> tuple[Type, ...]:
    t = _tensor(x)
    order = [normal_axis(a, t.rank) for a in axes]
    if sorted(order) != list(range(t.rank)):
        raise TypeRuleError(
            f"{show_shape(axes)} does not name each axis of {t} once", "E0303", (0,)
        )
    return (t.with_shape(t.shape[a] for a in order),)


defop(
    "permute",
    "The axes in another order.",
    params="x, axes: axes",
    names="permute",
    type=_permute,
    eval=lambda np, x, axes: np.transpose(x, axes),
    view=True,
    sample=(Sample((tensor("f16", 2, 3, 4),), {"axes": (2, 0, 1)}),),
)


def _slice(x: Type, axis: int, start: Dim, length: Dim) -> tuple[Type, ...]:
    t = _tensor(x)
    size = t.shape[normal_axis(axis, t.rank)]
    if size.is_static and start.is_static and length.is_static:
        low, high = int(start), int(start + length)
        if not 0 <= low <= high <= int(size):
            raise TypeRuleError(
                f"{low}:{high} is out of range for axis {axis} of {t}", "E0303", (0,)
            )
    shape = (*t.shape[:axis], length, *t.shape[axis + 1 :])
    return (t.with_shape(shape),)


def _slice_eval(np: Any, x: Any, axis: int, start: int, length: int) -> Any:
    return x[(slice(None),) * axis + (slice(start, start + length),)]


defop(
    "slice",
    "`length` elements along an axis, from `start`.",
    params="x, axis: axis, start: dim, length: dim",
    type=_slice,
    eval=_slice_eval,
    view=True,
    sample=(Sample((tensor("f16", 5, 4),), {"axis": 0, "start": Dim.of(1), "length": Dim.of(3)}),),
)


def _access(
    x: Type, shape: tuple[Dim, ...], strides: tuple[Dim, ...], offset: Dim
) -> tuple[Type, ...]:
    return (_tensor(x).with_shape(shape),)


def _access_eval(np: Any, x: Any, shape: Any, strides: Any, offset: int) -> Any:
    flat = np.ascontiguousarray(x).reshape(-1)[offset:]
    steps = tuple(s * flat.itemsize for s in strides)
    return np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=False)


defop(
    "access",
    "How a kernel reads an operand: element (i, j, ...) is at offset + i*strides[0] + j*strides[1]"
    " + ... of the row-major operand. Views become this when they are fused into their reader.",
    params="x, shape: shape, strides: shape, offset: dim",
    type=_access,
    eval=_access_eval,
    view=True,
    sample=(
        Sample(
            (tensor("f16", 3, 4),),
            {
                "shape": (Dim.of(2), Dim.of(3)),
                "strides": (Dim.of(1), Dim.of(4)),
                "offset": Dim.of(1),
            },
        ),
    ),
)


def _half(x: Type) -> tuple[Type, ...]:
    if _tensor(x).dtype != "f16":
        raise TypeRuleError(f"{x} is stored as it is")
    return (x,)


defop(
    "stored",
    "A float16 number as memory holds it: how a kernel sees what it makes anew, and others read.",
    params="x",
    type=_half,
    eval=lambda np, x: x.astype(np.float16),
    msl="float(half({0}))",
    lanes="round_half8({0})",
    sample=(Sample((tensor("f16", 3, 4),), {}),),
)


# ---- compositions --------------------------------------------------------------------------------


def _transpose(b: Builder, x: Value, dim0: int | None = None, dim1: int | None = None) -> Value:
    rank = x.tensor.rank
    axes = list(range(rank))
    if (dim0 is None) != (dim1 is None):
        raise TypeRuleError("`transpose` exchanges two axes, and one is named", "E0203")
    if dim0 is None or dim1 is None:
        axes[-2:] = axes[:-3:-1]
    else:
        dim0, dim1 = normal_axis(dim0, rank), normal_axis(dim1, rank)
        axes[dim0], axes[dim1] = dim1, dim0
    return b.emit("permute", x, axes=tuple(axes))


compose(
    "transpose",
    "Two axes exchanged; the last two when none are named. `x.T` is the same.",
    _transpose,
    params="x, dim0: axis = none, dim1: axis = none",
    sample=(Sample((tensor("f16", 2, 3),), {}),),
)


def _flatten(b: Builder, x: Value) -> Value:
    return b.reshape(x, (x.tensor.numel,))


compose(
    "flatten",
    "All elements along one axis.",
    _flatten,
    params="x",
    sample=(Sample((tensor("f16", 2, 3),), {}),),
)


def _unsqueeze(b: Builder, x: Value, dim: int) -> Value:
    rank, shape = x.tensor.rank, list(x.tensor.shape)
    if not -rank - 1 <= dim <= rank:
        text = f"a new axis {dim} has no place in a tensor of rank {rank}"
        raise TypeRuleError(text, "E0303", (0,))
    shape.insert(normal_axis(dim, rank + 1), Dim.of(1))
    return b.reshape(x, shape)


def _squeeze(b: Builder, x: Value, dim: int | None = None) -> Value:
    shape, one = x.tensor.shape, Dim.of(1)
    if dim is None:
        return b.reshape(x, [d for d in shape if d != one])
    at = normal_axis(dim, x.tensor.rank)
    if shape[at] != one:
        raise TypeRuleError(f"axis {dim} of {x.type} has size {shape[at]}, not 1", "E0303", (0,))
    return b.reshape(x, shape[:at] + shape[at + 1 :])


compose(
    "unsqueeze",
    "A new axis of size 1.",
    _unsqueeze,
    params="x, dim: int",
    sample=(Sample((tensor("f16", 2, 3),), {"dim": 1}),),
)
compose(
    "squeeze",
    "Without the axes of size 1, or without one of them.",
    _squeeze,
    params="x, dim: axis = none",
    sample=(Sample((tensor("f16", 2, 1, 3),), {}),),
)


# ---- joining -------------------------------------------------------------------------------------


def _concat(*types: Type, axis: int) -> tuple[Type, ...]:
    first = _tensor(types[0])
    at = normal_axis(axis, first.rank)
    total = Dim.of(0)
    for who, other in enumerate(map(_tensor, types)):
        text = f"{first} and {other} do not join along axis {at}"
        if other.dtype != first.dtype or other.rank != first.rank:
            raise TypeRuleError(text, "E0301", (0, who))
        for k, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)):
            if k != at and a != b:
                differ = (Side(0, k, a), Side(who, k, b))
                raise TypeRuleError(text, "E0301", (0, who), differ=differ)
        total += other.shape[at]
    return (first.with_shape((*first.shape[:at], total, *first.shape[at + 1 :])),)


defop(
    "concat",
    "Tensors one behind the other along an axis.",
    params="x: tensors, axis: axis",
    type=_concat,
    eval=lambda np, *x, axis: np.concatenate(x, axis),
    kernel="concat",
    sample=(Sample((tensor("f16", 2, 3), tensor("f16", 2, 2)), {"axis": 1}),),
)
