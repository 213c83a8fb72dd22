"""TensorLogic programs on the cpu device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tlc
from benchmarks.cases import Case, inputs, program, weight_file
from tlc import driver
from tlc.api import Model
from tlc.arrays import NUMPY
from tlc.runner import open_program
from tlc.runtime.steps import Host


def version() -> str:
    return f"tlc {tlc.__version__}"


def prepare(case: Case, folder: Path) -> Any:
    """A call with arrays where the case asks for it, else all launches of a call: arguments stay
    where the first call put them, results where the kernels put them."""
    if case.kind in ("mlp", "encoder", "minilm", "efficientnet"):
        weight_file(case.kind, folder)
    text, name = program(case, folder)
    built = driver.build(f"{case.kind}.tl", text=text)
    opened, _ = open_program(built, "cpu", [str(folder)])
    entry = opened.entry(name)
    arrays = [
        value.astype(np.float16) if value.dtype == np.float32 else value
        for value in inputs(case).values()
    ]
    if case.sizes.get("call"):
        model = Model(opened, "cpu")
        x, w, b = arrays
        return (lambda: model.forward(x, w, b)), (lambda: model.forward(x, w, b))
    bound = entry.bind(entry.sizes([a.shape for a in arrays]))
    for buffer, array in zip(bound.inputs, arrays, strict=True):
        opened.device.write(buffer, memoryview(array).cast("B"))
    host = Host(lambda text: None)

    def result() -> np.ndarray[Any, Any]:
        ((buffer, dtype, shape),) = bound.run(host)
        count = int(np.prod(shape))
        return np.frombuffer(opened.device.read(buffer, buffer.nbytes), NUMPY[dtype])[:count]

    run: Callable[[], Any] = lambda: bound.run(host)  # noqa: E731
    return run, result
