"""A function of the IR to a Core ML package, through coremltools.

The package takes and gives the types of the function: iOS 16 is the first that has float16 there,
iOS 18 the first whose weights stay block-quantised. Open dimensions become ranges.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tlc.codegen import coreml_layers, coreml_ops  # noqa: F401 - they fill the table of writers
from tlc.codegen.coreml_mil import Mil, written_whole
from tlc.frontend.diagnostics import error
from tlc.ir.core import Func, Op, Value

KEPT = written_whole()  # compositions that a function to be exported keeps
LARGEST = 4096  # of an open dimension: Core ML wants a limit


@dataclass(frozen=True, slots=True)
class Blocks:
    """A weight of signed numbers with a scale for every `block` of them along the last axis."""

    numbers: Any  # int8, in the shape of the weight; of 4 bits when `bits` is 4
    scales: Any  # float16, [..., blocks]
    bits: int


Weights = Callable[[Op], Any]  # an array of the weight's dtype, or Blocks


def export(func: Func, weights: Weights, path: str) -> None:
    """Write a function as `path`, a .mlpackage, in place of an older one.

    Raises CompileError E0611 for what Core ML cannot take, and E0612 without coremltools.
    """
    ct, mb, types, mil, np = _coremltools()
    found = {op: weights(op) for op in func.walk() if op.name == "weight"}
    packed = any(isinstance(v, Blocks) for v in found.values())
    target = ct.target.iOS18 if packed else ct.target.iOS16
    dims, ranges = _dimensions(func, ct)
    kinds = {"f16": types.fp16, "f32": types.fp32, "i32": types.int32}
    inputs = {
        name: mb.placeholder(shape=shape, dtype=kinds[_io(value, func)])
        for (name, shape), value in zip(dims.items(), func.params, strict=True)
    }
    with _quiet():
        program = mil.Program()
        with mil.Function(inputs, opset_version=target) as function:
            symbols = {
                dim.symbol: (function.inputs[name], axis)
                for name, value in zip(func.param_names, func.params, strict=True)
                for axis, dim in enumerate(value.tensor.shape)
                if dim.symbol is not None
            }
            writer = Mil(mb, np, symbols, lambda op: _weight(mb, np, types, found[op]))
            for name, value in zip(func.param_names, func.params, strict=True):
                writer.bind(value, function.inputs[name])
            writer.block(func.body.ops)
            function.set_outputs(list(_results(func, writer, mb)))
        program.add_function("main", function)
        model = ct.convert(
            program,
            convert_to="mlprogram",
            inputs=[ct.TensorType(name=name, shape=shape) for name, shape in ranges.items()]
            or None,
            minimum_deployment_target=target,
            compute_precision=ct.precision.FLOAT32,  # types are what the function says
            skip_model_load=True,
        )
        _save(model, path)


def _coremltools() -> tuple[Any, Any, Any, Any, Any]:
    """The package, its builder, types and programs, and numpy. Raises CompileError E0612."""
    try:
        with _quiet():
            import coremltools as ct
            import numpy as np
            from coremltools.converters.mil import Builder as mb
            from coremltools.converters.mil.mil import Function, Program, types
    except ImportError as problem:
        raise error(
            "E0612",
            f"a Core ML package is written with coremltools, which is not there: {problem}",
            hint="install it: pip install 'tlc[coreml]' (Python up to 3.13)",
        ) from problem
    return ct, mb, types, _Mil(Program, Function), np


@dataclass(frozen=True, slots=True)
class _Mil:
    """Constructors of MIL programs."""

    Program: Any
    Function: Any


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars and notes on native libraries, which are not there on Linux."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _io(value: Value, func: Func) -> str:
    dtype = value.tensor.dtype
    if dtype == "bool":
        text = f"`{func.name}` takes or gives truth values, which Core ML does not"
        raise error("E0611", text, func.span, hint="convert them: `mask as float16`")
    return dtype


def _dimensions(func: Func, ct: Any) -> tuple[dict[str, tuple[Any, ...]], dict[str, Any]]:
    """The shapes of the inputs with symbols, and with ranges where there are any."""
    ranges: dict[str, Any] = {}
    shapes: dict[str, tuple[Any, ...]] = {}
    shown: dict[str, tuple[Any, ...]] = {}
    for name, value in zip(func.param_names, func.params, strict=True):
        sizes: list[Any] = []
        for dim in value.tensor.shape:
            if not dim.is_static and dim.symbol is None:
                text = f"the dimension {dim} of `{name}` is neither a number nor a name"
                raise error("E0611", text, func.span, hint="declare it as a name of its own")
            if dim.symbol is not None and dim.symbol not in ranges:
                ranges[dim.symbol] = ct.RangeDim(1, LARGEST)
            sizes.append(int(dim) if dim.symbol is None else ranges[dim.symbol])
        if not sizes:
            text = f"`{name}` is a single number, and Core ML takes tensors of one axis or more"
            raise error("E0611", text, func.span)
        shown[name] = tuple(sizes)
        shapes[name] = tuple(getattr(size, "symbol", size) for size in sizes)
    return shapes, shown if ranges else {}


def _weight(mb: Any, np: Any, types: Any, found: Any) -> Any:
    """A constant, or the operation that unpacks one."""
    if not isinstance(found, Blocks):
        return mb.const(val=np.ascontiguousarray(found))
    numbers = found.numbers
    if found.bits == 4:
        numbers = numbers.astype(types.np_int4_dtype)
    return mb.constexpr_blockwise_shift_scale(data=numbers, scale=found.scales)


def _results(func: Func, writer: Mil, mb: Any) -> Iterator[Any]:
    """The results under names of their own."""
    taken = set(func.param_names)
    for at, value in enumerate(func.results):
        _io(value, func)
        name = "output" if len(func.results) == 1 else f"output_{at}"
        while name in taken:
            name += "_"
        yield mb.identity(x=writer[value], name=name)


def _save(model: Any, path: str) -> None:
    """Put the package where an older one may be; that one stays when anything fails."""
    folder, base = os.path.split(os.path.abspath(path))
    mark = os.urandom(4).hex()
    fresh, old = (os.path.join(folder, f".{mark}.{kind}.mlpackage") for kind in ("new", "old"))
    try:
        model.save(fresh)
        if os.path.lexists(path):
            os.replace(path, old)
        os.replace(fresh, os.path.join(folder, base))
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise error("E0104", f"{path} cannot be written: {reason}") from problem
    finally:
        if os.path.lexists(old) and not os.path.lexists(path):
            os.replace(old, path)
        for rest in (fresh, old):
            if os.path.isdir(rest) and not os.path.islink(rest):
                shutil.rmtree(rest, ignore_errors=True)
