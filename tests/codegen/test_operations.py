"""Every elementwise operation of the registry as a kernel of its own, against its numpy meaning."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.codegen.running import DTYPES, EPS32, Array, Case, fused, run_on_cpu, wide
from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.opdef import OPS, OpDef, Sample
from tlc.ir.types import TensorType, tensor

LOGICAL = {"and": 2, "or": 2, "not": 1}  # have no sample: their operands are masks


def _numbers(rng: np.random.Generator, type_: TensorType, sample: Sample) -> Array:
    shape = tuple(map(int, type_.shape))
    if type_.dtype == "bool":
        return rng.random(shape) < 0.5
    return rng.uniform(sample.low, sample.high, shape).astype(DTYPES[type_.dtype])


def _case(op: OpDef, sample: Sample) -> Case:
    rng = np.random.default_rng(7)
    types = [TensorType(t.dtype, tensor("f16", 9, 37).shape) for t in sample.operands]
    inputs = [_numbers(rng, type_, sample) for type_ in types]

    def build(b: Builder, *operands: Value) -> Value:
        return b.emit(op, *operands, **sample.attrs)

    assert op.eval is not None
    values: list[Any] = [x if x.dtype == bool else wide(x) for x in inputs]
    with np.errstate(all="ignore"):
        exact = np.asarray(op.eval(np, *values, **sample.attrs))
    slack = 0.0 if exact.dtype == bool else 8 * EPS32 * (np.abs(exact) + 0.1)
    return Case(op.name, fused("elementwise", types, build), inputs, exact, slack)


def test_operations() -> None:
    cases = []
    for op in OPS.values():
        if op.name in LOGICAL:
            mask = tensor("bool", 1)
            cases.append(_case(op, Sample((mask,) * LOGICAL[op.name], {})))
        elif op.elementwise:
            assert op.sample, f"{op.name} has no sample"
            cases += [_case(op, sample) for sample in op.sample]
    assert len(cases) > 30
    run_on_cpu(cases)
