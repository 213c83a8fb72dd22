"""The reference meaning of a module: numpy, one operation at a time.

Stored values are rounded to their dtype after every operation; inside a `fused` region floats stay
float32 until they are yielded, as in a kernel. The passes and the devices are tested against this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import tlc.ir.ops  # noqa: F401  (fills the registry)
from tlc.frontend.diagnostics import InternalError
from tlc.ir.core import Block, Func, Op, Value
from tlc.ir.dims import Dim
from tlc.ir.types import FLOATS, TensorType, Type

Array = np.ndarray[Any, Any]
NUMPY_DTYPES = {"f16": np.float16, "f32": np.float32, "i32": np.int32, "bool": np.bool_}


class Failure(Exception):
    """A check or an operation that does not hold for the values of this run."""


class Host:
    """What the world outside of a function does; the base class has no weights and is silent."""

    def weight(self, model: int, tensor: str, dtype: str) -> Array:
        """A model's tensor in the dtype asked for."""
        raise Failure(f"no model file is open, and tensor {tensor} is needed")

    def io(self, op: Op, values: Sequence[Array], attrs: Mapping[str, Any]) -> None:
        """A `print`, `save` or `save_model` operation."""


def bind_symbols(func: Func, args: Sequence[Array]) -> dict[str, int]:
    """The sizes of a function's symbols for these arguments. Raises Failure on a conflict."""
    sizes: dict[str, int] = {}
    pairs = [
        (dim, size, name)
        for value, name, arg in zip(func.params, func.param_names, args, strict=True)
        for dim, size in zip(value.tensor.shape, arg.shape, strict=True)
    ]
    for dim, size, _ in pairs:
        if dim.symbol is not None:
            sizes.setdefault(dim.symbol, size)
    for dim, size, name in pairs:
        if int(dim.substitute(sizes)) != size:
            raise Failure(f"dimension {dim} of {name} is {size}, and {dim} is {sizes}")
    return sizes


def run(func: Func, args: Sequence[Array], host: Host | None = None) -> list[Array]:
    """The results of a function. Raises Failure when a run-time check does not hold."""
    sizes = bind_symbols(func, args)
    frame = _Frame(sizes, host or Host())
    return frame.block(func.body, args)


class _Frame:
    def __init__(self, sizes: dict[str, int], host: Host) -> None:
        self.sizes, self.host = sizes, host
        self.env: dict[Value, Array] = {}

    def block(self, block: Block, args: Sequence[Array], wide: bool = False) -> list[Array]:
        self.env.update(zip(block.args, args, strict=True))
        for op in block.ops[:-1]:
            values = [self.env[v] for v in op.operands]
            results = self.op(op, values, wide)
            self.env.update(zip(op.results, results, strict=True))
        return [self.env[v] for v in block.yielded]

    def op(self, op: Op, values: list[Array], wide: bool) -> Sequence[Array]:
        attrs = {k: self.attr(v) for k, v in op.attrs.items()}
        match op.name:
            case "fused":
                found = self.block(op.regions[0], values, wide=True)
                return [stored(x, v.type, False) for x, v in zip(found, op.results, strict=True)]
            case "once":
                return self.block(op.regions[0], [])
            case "check":
                if attrs["left"] != attrs["right"]:
                    raise Failure(f"{attrs['text']}: {attrs['left']} and {attrs['right']} differ")
                return []
            case "weight":
                return [self.host.weight(attrs["model"], attrs["tensor"], attrs["type"].dtype)]
        if op.defn.effect == "io":
            self.host.io(op, values, attrs)
            return []
        if op.defn.eval is None:
            raise InternalError(f"operation {op.name} has no meaning")
        wide_values = [v.astype(np.float32) if v.dtype == np.float16 else v for v in values]
        with np.errstate(all="ignore"):
            try:
                found = op.defn.eval(np, *wide_values, **attrs)
            except IndexError as problem:
                raise Failure(str(problem)) from problem
        return [stored(found, op.result.type, wide)]

    def attr(self, value: Any) -> Any:
        match value:
            case Dim():
                return int(value.substitute(self.sizes))
            case TensorType():
                return value.with_shape(d.substitute(self.sizes) for d in value.shape)
            case tuple():
                return tuple(map(self.attr, value))
        return value


def stored(array: Any, type: Type, wide: bool) -> Array:
    """The array as memory holds it; a `wide` float is not rounded below float32."""
    assert isinstance(type, TensorType)
    dtype: Any = np.float32 if wide and type.dtype in FLOATS else NUMPY_DTYPES[type.dtype]
    with np.errstate(all="ignore"):
        return np.asarray(array).astype(dtype)
