"""The reference device: an artifact's IR run by the interpreter, with numpy and no compiler."""

from __future__ import annotations

from _thread import RLock
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlc.ir import interp
from tlc.ir.core import Func, Module, Op
from tlc.ir.dims import Dim
from tlc.ir.parser import parse_module
from tlc.runtime.errors import RunError
from tlc.runtime.program import Entry, named
from tlc.runtime.schema import validate
from tlc.runtime.seed import key_of
from tlc.runtime.steps import explained
from tlc.runtime.texts import Texts
from tlc.runtime.weights import StoredWeights

Array = np.ndarray[Any, Any]
NAMES = {"float16": "f16", "float32": "f32", "int32": "i32", "bool": "bool"}


class ReferenceProgram:
    """The same calls as `runtime.program.Program`, answered by `ir.interp`."""

    def __init__(
        self, artifact: Any, folders: list[str], host: type[ReferenceHost] | None = None
    ) -> None:
        """`host` may watch what runs. Raises RunError E0501 when the IR cannot be read."""
        self.host = host or ReferenceHost
        self.lock = RLock()
        self.given: dict[str, str] = {}  # arguments of a run, as `arg` reads them
        self.seed: int = artifact.manifest.get("seed", 0)  # of random numbers
        validate(artifact.manifest)
        self.module = _module(artifact)
        manifest = artifact.manifest
        self.skipped: dict[str, str] = manifest["skipped"]  # functions that are no entries, and why
        self.weights = StoredWeights(manifest, folders, artifact.mapped)
        self.entries = {
            name: Entry(self, name, record, memoryview(b""))  # type: ignore[arg-type]
            for name, record in manifest["entries"].items()
        }

    def entry(self, name: str) -> Entry:
        """An entry by name. Raises RunError E0503."""
        return named(self.entries, name, self.skipped)

    def call(
        self,
        entry: Entry,
        args: Sequence[Array],
        write: Callable[[str], object],
        full: bool = False,
        texts: Texts | None = None,
    ) -> list[tuple[memoryview, str, tuple[int, ...]]]:
        """Run an entry; bytes, dtype and shape of its results. Raises RunError E0504, E0505.

        `texts` are what the run reads and makes of tokens, when somebody looks on.
        """
        entry.sizes([a.shape for a in args])
        func: Func = self.module.func(entry.name)
        self.last_host = self.host(self.weights, write, full)
        self.last_host.texts = texts or Texts(self.given)
        self.last_host.seed = key_of(self.seed)
        try:
            results = interp.run(func, args, self.last_host)
        except interp.Failure as problem:
            raise RunError("E0505", str(problem)) from problem
        return [(memoryview(r.tobytes()), NAMES[r.dtype.name], r.shape) for r in results]


def _module(artifact: Any) -> Module:
    """The IR of an artifact: with its places in the source when it was built just now."""
    built = getattr(artifact, "module", None)
    if isinstance(built, Module):
        return built
    try:
        return parse_module(artifact.text("program.tlir"))
    except (ValueError, AssertionError, TypeError, KeyError) as problem:
        raise RunError("E0501", f"the artifact's program.tlir is damaged: {problem}") from problem


class ReferenceHost(interp.Host):
    """Weights from files, printing and saving for the interpreter."""

    def __init__(self, weights: StoredWeights, write: Callable[[str], object], full: bool) -> None:
        self.weights, self.write, self.full = weights, write, full
        self.loaded: dict[tuple[int, str, str], Array] = {}
        self.texts = Texts({})

    def weight(self, model: int, tensor: str, dtype: str) -> Array:
        from tlc.runtime.decode import floats

        key = (model, tensor, dtype)
        if key not in self.loaded:
            entry, data = self.weights.tensor(self.weights.number(model, tensor, dtype))
            self.loaded[key] = np.asarray(floats(entry, data, dtype))
        return self.loaded[key]

    def explained(self, op: Op, left: int, right: int, sizes: Mapping[str, int]) -> str:
        compared = op.attrs["right"] == Dim.of(0)
        return explained(op.attrs["text"], left, right, compared, sizes)

    def text(self, attrs: Mapping[str, Any]) -> int:
        return self.texts.read(attrs["source"], attrs["name"])

    def text_of(self, values: Sequence[Array], attrs: Mapping[str, Any]) -> int:
        return self.texts.number(self._line(values, attrs["parts"]))

    def text_value(self, attrs: Mapping[str, Any]) -> int:
        return self.texts.value(attrs["text"], attrs["what"], attrs["other"], attrs["place"])

    def text_order(self, attrs: Mapping[str, Any]) -> int:
        return self.texts.order(attrs["text"], attrs["other"])

    def text_float(self, attrs: Mapping[str, Any]) -> float:
        return self.texts.fraction(attrs["text"], attrs["place"])

    def tokenize(self, attrs: Mapping[str, Any]) -> Sequence[int]:
        tokenizer = self.weights.models.tokenizer(attrs["model"])
        return self.texts.tokens(attrs["text"], tokenizer, attrs["around"], attrs["place"])

    def core_ml(self, values: Sequence[Array], attrs: Mapping[str, Any]) -> Sequence[Array]:
        from tlc.runtime.coreml.engine import predict

        given = {
            name: (NAMES[x.dtype.name], x.shape, memoryview(x.tobytes()))
            for name, x in zip(attrs["inputs"], values, strict=True)
        }
        types = [(t.dtype, tuple(map(int, t.shape))) for t in attrs["results"]]
        wanted = dict(zip(attrs["outputs"], types, strict=True))
        file = self.weights.models.file(attrs["model"])
        names = {short: long for long, short in NAMES.items()}
        return [
            np.frombuffer(data, names[dtype]).reshape(shape)
            for data, (dtype, shape) in zip(predict(file, given, wanted), types, strict=True)
        ]

    def detokenize(self, ids: Sequence[int], attrs: Mapping[str, Any]) -> int:
        model, place = attrs["model"], attrs["place"]
        tokenizer = self.weights.models.tokenizer(model)
        if "token" in attrs:
            return self.texts.goes_on(attrs["token"], model, tokenizer, place)
        return self.texts.joined(ids, tokenizer, place)

    def io(self, op: Op, values: Sequence[Array], attrs: Mapping[str, Any]) -> None:
        match op.name:
            case "print":
                self.write(self._line(values, attrs["parts"]))
            case "assert":
                text = self._line(values, attrs["parts"])
                raise RunError("E0507", f"{attrs['place']}: {text}")
            case "save":
                from tlc.runtime.save import save_tensors

                (x,) = values
                record = (NAMES[x.dtype.name], x.shape, memoryview(x.tobytes()))
                save_tensors(attrs["path"], {attrs["name"]: record}, {})
            case "save_model":
                from tlc.runtime.save import save_model_file

                save_model_file(
                    self.weights.models.file(attrs["model"]), attrs["path"], attrs["dequantize"]
                )

    def _line(self, values: Sequence[Array], parts: Sequence[Any]) -> str:
        from tlc.runtime.text import form_of, format_tensor, format_whole, padded

        left = iter(values)

        def shown(part: Any, digits: int | None) -> str:
            match part:
                case None:
                    v = next(left)
                    name = NAMES[v.dtype.name]
                    return format_tensor(v.tobytes(), name, v.shape, self.full, digits)
                case ("form", spec, inner):
                    width, digits = form_of(spec)
                    return padded("".join(shown(p, digits) for p in inner), width)
                case ("text", number):
                    return self.texts[number]
                case (_, number):
                    return "true" if number else "false"
                case str():
                    return part
            return format_whole(part, digits)

        return "".join(shown(part, None) for part in parts)
