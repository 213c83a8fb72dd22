"""The reference device: an artifact's IR run by the interpreter, with numpy and no compiler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlc.ir import interp
from tlc.ir.core import Func, Op
from tlc.ir.parser import parse_module
from tlc.runtime.errors import RunError
from tlc.runtime.format import validate
from tlc.runtime.program import Entry
from tlc.runtime.weights import Models

Array = np.ndarray[Any, Any]
_NAMES = {"float16": "f16", "float32": "f32", "int32": "i32", "bool": "bool"}


class ReferenceProgram:
    """The same calls as `runtime.program.Program`, answered by `ir.interp`."""

    def __init__(self, artifact: Any, folders: list[str]) -> None:
        """Raises RunError E0501 when the artifact's IR cannot be read."""
        validate(artifact.manifest)
        try:
            self.module = parse_module(artifact.text("program.tlir"))
        except (ValueError, AssertionError, TypeError, KeyError) as problem:
            raise RunError(
                "E0501", f"the artifact's program.tlir is damaged: {problem}"
            ) from problem
        manifest = artifact.manifest
        self.models = Models(manifest["models"], folders)
        self.entries = {
            name: Entry(self, name, record, memoryview(b""))  # type: ignore[arg-type]
            for name, record in manifest["entries"].items()
        }

    def entry(self, name: str) -> Entry:
        """An entry by name. Raises RunError E0503."""
        if name not in self.entries:
            raise RunError(
                "E0503", f"no entry is called `{name}`", f"there are {', '.join(self.entries)}"
            )
        return self.entries[name]

    def call(
        self,
        entry: Entry,
        args: Sequence[Array],
        write: Callable[[str], object],
        full: bool = False,
    ) -> list[tuple[memoryview, str, tuple[int, ...]]]:
        """Run an entry; bytes, dtype and shape of its results. Raises RunError E0504, E0505."""
        entry.sizes([a.shape for a in args])
        func: Func = self.module.func(entry.name)
        try:
            results = interp.run(func, args, _Host(self.models, write, full))
        except interp.Failure as problem:
            raise RunError("E0505", str(problem)) from problem
        return [(memoryview(r.tobytes()), _NAMES[r.dtype.name], r.shape) for r in results]


class _Host(interp.Host):
    """Weights from files, printing and saving for the interpreter."""

    def __init__(self, models: Models, write: Callable[[str], object], full: bool) -> None:
        self.models, self.write, self.full = models, write, full
        self.loaded: dict[tuple[int, str, str], Array] = {}

    def weight(self, model: int, tensor: str, dtype: str) -> Array:
        from tlc.runtime.decode import floats
        from tlc.runtime.model_file import tensor as find

        key = (model, tensor, dtype)
        if key not in self.loaded:
            file = self.models.file(model)
            entry = find(file, tensor)
            array = np.asarray(floats(entry, file.view(tensor), dtype))
            self.loaded[key] = array.reshape(entry.shape)
        return self.loaded[key]

    def io(self, op: Op, values: Sequence[Array], attrs: Mapping[str, Any]) -> None:
        match op.name:
            case "print":
                self.write(self._line(values, attrs["parts"]))
            case "save":
                from tlc.runtime.save import save_tensors

                (x,) = values
                record = (_NAMES[x.dtype.name], x.shape, memoryview(x.tobytes()))
                save_tensors(attrs["path"], {attrs["name"]: record}, {})
            case "save_model":
                from tlc.runtime.save import save_model_file

                save_model_file(
                    self.models.file(attrs["model"]), attrs["path"], attrs["dequantize"]
                )

    def _line(self, values: Sequence[Array], parts: Sequence[Any]) -> str:
        from tlc.runtime.text import format_tensor

        shown = iter(
            format_tensor(v.tobytes(), _NAMES[v.dtype.name], v.shape, self.full) for v in values
        )
        return "".join(next(shown) if p is None else str(p) for p in parts) + "\n"
