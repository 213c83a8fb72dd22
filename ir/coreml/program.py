"""An ML program of Core ML to operations of the IR, its inputs bound to the arguments of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tlc.ir.core import Value
from tlc.ir.coreml.mil import MIL, Known, Lowered, Maker, Refusal, fits, unsupported
from tlc.ir.dims import Dim
from tlc.ir.opdef import TypeRuleError
from tlc.ir.types import FLOATS, TensorType, show_shape

_NUMPY = {"f16": "<f2", "f32": "<f4", "f64": "<f8", "i8": "i1", "i16": "<i2", "i32": "<i4",
          "i64": "<i8", "u8": "u1", "u16": "<u2", "u32": "<u4", "u64": "<u8",
          "bool": "?"}  # fmt: skip


class Tensors(Protocol):
    """Gives the tensors of the model file as values."""

    def __call__(self, name: str, dtype: str, shape: tuple[int, ...]) -> Value: ...


class MilType(Protocol):
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int | None, ...]: ...


class MilOperation(Protocol):
    """One operation as the file holds it (`runtime/coreml/records.py`)."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> Mapping[str, Sequence[Any]]: ...
    @property
    def outputs(self) -> Sequence[tuple[str, MilType]]: ...


class MilProgram(Protocol):
    @property
    def inputs(self) -> Sequence[tuple[str, MilType]]: ...
    @property
    def operations(self) -> Sequence[MilOperation]: ...
    @property
    def outputs(self) -> Sequence[str]: ...


def known(literal: Any) -> Lowered:
    """A literal of the file as an array, or a tuple of texts."""
    if isinstance(literal.data, tuple):
        if len(literal.data) == 1 and not literal.shape:
            return np.array(literal.data[0])
        return np.array(literal.data)
    if literal.dtype not in _NUMPY:
        raise unsupported(f"a constant of type {literal.dtype}")
    array = np.frombuffer(literal.data, _NUMPY[literal.dtype]).reshape(literal.shape)
    if literal.dtype in ("i64", "u64", "u32") and array.size:
        # sizes may be "as far as there is", the largest number of their type
        array = np.clip(array, -(2**31), 2**31 - 1).astype(np.int64)
    return array


def lower_program(
    m: Maker, program: MilProgram, arguments: Mapping[str, Value], tensors: Tensors
) -> dict[str, Lowered]:
    """The results of a program by name; of a classifier the probabilities, without the label.

    Raises Refusal, which names the operation that cannot be compiled.
    """
    missing = sorted({op.kind for op in program.operations} - MIL.keys() - {"const", "classify"})
    if missing:
        listed = ", ".join(f"`{kind}`" for kind in missing)
        what = "operations" if len(missing) > 1 else "the operation"
        raise Refusal("E0610", f"the model uses {what} {listed}, which tlc does not have")
    env: dict[str, Lowered] = dict(arguments)
    used = _last_reads(program)
    for at, op in enumerate(program.operations):
        try:
            _operation(m, op, env, tensors)
        except Refusal as problem:
            text = f"{_named(op)}: {problem}"
            raise Refusal(problem.code, text, problem.hint) from problem
        except TypeRuleError as problem:
            raise Refusal("E0601", f"{_named(op)}: {problem.message}") from problem
        except (ValueError, IndexError, TypeError, KeyError, ZeroDivisionError) as problem:
            raise Refusal("E0601", f"{_named(op)} cannot be made sense of: {problem}") from problem
        for name in used.get(at, ()):
            env.pop(name, None)
    lost = [name for name in program.outputs if name not in env]
    if lost:
        raise Refusal("E0601", f"the program returns `{lost[0]}`, which nothing computes")
    return {name: env[name] for name in program.outputs if env[name] is not None}


def _last_reads(program: MilProgram) -> dict[int, list[str]]:
    """For an operation the names that nothing reads after it."""
    last: dict[str, int] = {}
    for at, op in enumerate(program.operations):
        for held in op.inputs.values():
            last.update((v.name, at) for v in held if v.what == "ref")
    found: dict[int, list[str]] = {}
    for name, at in last.items():
        if name not in program.outputs:
            found.setdefault(at, []).append(name)
    return found


def _named(op: MilOperation) -> str:
    called = op.name or (op.outputs[0][0] if op.outputs else "")
    return f"the operation `{op.kind}` ({called[:80]})"


def _operation(m: Maker, op: MilOperation, env: dict[str, Lowered], tensors: Tensors) -> None:
    given = {key: [_value(m, v, env, tensors) for v in held] for key, held in op.inputs.items()}
    if op.kind == "const":
        (value,) = given["val"] if len(given["val"]) == 1 else (np.array(given["val"]),)
        env[op.outputs[0][0]] = value
        return
    if op.kind == "classify":  # a label, which is no tensor, and the table that it is looked up in
        *labels, (table, _) = op.outputs
        env.update((name, None) for name, _ in labels)
        env[table] = given["probabilities"][0]
        return
    made = m.run(op.kind, given)
    results = made if isinstance(made, tuple) else (made,)
    if len(results) != len(op.outputs):
        raise Refusal("E0601", f"it gives {len(results)} results, and {len(op.outputs)} are named")
    for (name, type), value in zip(op.outputs, results, strict=True):
        env[name] = _as_declared(m, value, type)


def _value(m: Maker, operand: Any, env: dict[str, Lowered], tensors: Tensors) -> Lowered:
    match operand.what:
        case "literal":
            return known(operand)
        case "stored":
            return tensors(operand.name, m.dtype(operand.dtype), operand.shape)
    if operand.name not in env:
        raise Refusal("E0601", f"nothing computes `{operand.name[:80]}` before it")
    return env[operand.name]


def _as_declared(m: Maker, value: Lowered, type: MilType) -> Lowered:
    """A result in the dtype that the model declares. Its shape must be one that fits."""
    if not isinstance(value, Value):
        return value
    if type.shape and not fits(value.tensor.shape, type.shape):
        found = show_shape(value.tensor.shape)
        wanted = show_shape(["?" if d is None else d for d in type.shape])
        raise Refusal("E0601", f"its result is {found}, and the model says {wanted}")
    return m.b.cast(value, m.dtype(type.dtype))


def bind(m: Maker, name: str, value: Value, type: MilType, hint: str = "") -> Value:
    """An argument as an input of the model. Raises Refusal, with the hint, when it does not fit."""
    shape = value.tensor.shape
    if not fits(shape, type.shape):
        wanted = show_shape(["?" if d is None else d for d in type.shape])
        if not hint and len(shape) + 1 == len(type.shape) and type.shape[0] == 1:
            hint = "add the batch: `unsqueeze(x, 0)`"
        raise Refusal("E0301", f"`{name}` is {wanted}, and this is {value.type}", hint)
    wanted = m.dtype(type.dtype)
    if (value.tensor.dtype in FLOATS) != (wanted in FLOATS):
        raise Refusal("E0302", f"`{name}` is {wanted}, and this is {value.type}")
    sizes: list[Dim] = []
    for have, want in zip(shape, type.shape, strict=True):
        if want is not None:
            m.b.check(have, Dim.of(want), f"a dimension of `{name}` is that of the model")
        sizes.append(have if want is None else Dim.of(want))
    return m.b.cast(m.b.reshape(value, sizes), wanted)


__all__ = ["Known", "MilProgram", "TensorType", "bind", "known", "lower_program"]
