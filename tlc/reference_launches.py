"""A launch that was seen on a device to what the interpreter makes of the memory that it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlc.codegen.plan import plan
from tlc.codegen.profiles import PROFILES
from tlc.ir import interp
from tlc.ir.core import Op, Value
from tlc.ir.dims import SEED
from tlc.reference import NAMES, Array, ReferenceHost, ReferenceProgram
from tlc.runtime.decode import floats
from tlc.runtime.errors import RunError
from tlc.runtime.program import Entry
from tlc.runtime.watched import Seen
from tlc.runtime.weights import StoredWeights

Output = tuple[str, str, bytes]  # what it is, its dtype, its bytes


class ReferenceLaunches(ReferenceProgram):
    """A program on the reference device that can also repeat single launches of other devices.

    The plan is made once more, to know of which operation each launch is.
    """

    def __init__(self, artifact: Any, folders: list[str]) -> None:
        """Raises RunError E0501 when the IR cannot be read."""
        super().__init__(artifact, folders, _Gathering)
        self._launched = plan(self.module, list(PROFILES.values()), {}).launched

    def outputs(
        self, entry: Entry, args: list[Array], given: dict[str, str], seed: int
    ) -> tuple[list[Output], list[tuple[memoryview, str, tuple[int, ...]]]]:
        """The tensors that a run of an entry prints or would save, and its results."""
        self.given, self.seed = given, seed
        results = self.call(entry, args, lambda text: None)
        assert isinstance(self.last_host, _Gathering)
        return self.last_host.found, results

    def again(self, seen: Seen) -> dict[int, bytes]:
        """What a launch leaves in the buffers that it may write; constants are there as bytes.

        Raises RunError E0505.
        """
        op = self._launched[seen.entry][seen.step]
        host = self.host(self.weights, lambda text: None, False)
        frame = interp.Frame({str(SEED): 0, **seen.sizes}, host)
        values = [
            self._operand(frame, value, data)
            for value, data in zip(op.operands, seen.before, strict=False)
        ]
        try:
            results = frame.op(op, values, False)
        except interp.Failure as problem:
            raise RunError("E0505", str(problem)) from problem
        made = dict(seen.after)  # flags stay as they are
        for at, result in enumerate(results, len(op.operands)):
            before = seen.before[at]
            assert isinstance(before, bytes)
            made[at] = result.tobytes() + before[result.nbytes :]  # memory may be larger
        return made

    def _operand(self, frame: interp.Frame, value: Value, data: bytes | str) -> Array:
        shape = tuple(frame.attr(dim) for dim in value.tensor.shape)
        if isinstance(data, str):
            entry, stored = self.weights.tensor(int(data[1:]))
            return np.asarray(floats(entry, stored, value.tensor.dtype)).reshape(shape)
        dtype: Any = interp.NUMPY_DTYPES[value.tensor.dtype]
        return np.frombuffer(data, dtype, int(np.prod(shape))).reshape(shape)


class _Gathering(ReferenceHost):
    """Keeps the tensors that a run prints or would save; writes nothing."""

    def __init__(self, weights: StoredWeights, write: Any, full: bool) -> None:
        super().__init__(weights, write, full)
        self.found: list[Output] = []

    def io(self, op: Op, values: Sequence[Array], attrs: Mapping[str, Any]) -> None:
        match op.name:
            case "print":
                for value in values:
                    self._keep(f"printed tensor {len(self.found) + 1}", value)
            case "save":
                self._keep(f"saved {attrs['name']}", values[0])
            case "save_model":
                pass  # weights of a model file, which no device computes
            case _:
                super().io(op, values, attrs)

    def _keep(self, what: str, value: Array) -> None:
        self.found.append((what, NAMES[value.dtype.name], value.tobytes()))
