"""Turns the weights of a program into what its artifact holds: references, hashes, bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tlc.frontend.diagnostics import error
from tlc.ir.core import Module
from tlc.runtime.digests import sha256
from tlc.runtime.model_file import ModelFile
from tlc.runtime.progress import Progress
from tlc.runtime.tokenizer import embedded
from tlc.runtime.weights import MEMBER, TOKENIZERS, bytes_of, stored_as

PAGE = 16384  # of Apple's processors: a tensor of a page or more starts on one, so it can be mapped
LINE = 64  # of a cache: smaller tensors share a page


@dataclass(frozen=True, slots=True)
class Weights:
    """Parts of the manifest, and of the artifact."""

    manifest: dict[str, Any]
    members: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EmbeddedTensors:
    """All weights as the device stores them; each is converted when its turn comes."""

    tensors: tuple[tuple[ModelFile, str, str], ...]  # file, tensor, how it is stored
    places: tuple[tuple[int, int], ...]  # offset and bytes

    @property
    def nbytes(self) -> int:
        return self.places[-1][0] + self.places[-1][1] if self.places else 0

    def pieces(self) -> Iterator[bytes | memoryview]:
        """The bytes in order. Raises RunError E0604 for a value that the device cannot hold."""
        at = 0
        for (file, name, stored), (offset, nbytes) in zip(self.tensors, self.places, strict=True):
            yield bytes(offset - at)
            yield _bytes(file, name, stored)
            at = offset + nbytes


def weights_of(
    module: Module,
    weights: Sequence[dict[str, Any]],
    models: Mapping[str, ModelFile],
    embed: bool,
    hashed: bool,
) -> Weights:
    """What the artifact says of its weights, and with `embed` their bytes.

    `models` are the open files by the path that the program names. Raises CompileError E0606 for a
    `save_model` of weights that are embedded, since only those in use are.
    """
    files = [models[ref.path] for ref in module.models]
    parts: dict[str, Any] = {"models": [], "hashes": [], "embedded": []}
    for ref, file in zip(module.models, files, strict=True):
        listed = [
            {"name": p.name, "size": p.size, "fingerprint": p.fingerprint} for p in file.parts
        ]
        parts["models"].append({"path": ref.path, "fingerprint": ref.fingerprint, "files": listed})
    used = tuple((files[w["model"]], w["tensor"], w["stored"]) for w in weights)
    members: dict[str, Any] = {}
    if embed:
        _refuse_files(module)
    if embed and used:
        tensors = EmbeddedTensors(used, tuple(_places(weights)))
        parts["embedded"] = [list(place) for place in tensors.places]
        members[MEMBER] = tensors
    if embed:
        members |= {f"{TOKENIZERS}{at}": embedded(files[at]) for at in _tokenizers(module)}
    if hashed:
        with Progress("hashing weights"):
            parts["hashes"] = [
                sha256(_bytes(file, name, stored) if embed else file.view(name))
                for file, name, stored in used
            ]
    return Weights(parts, members)


def _tokenizers(module: Module) -> list[int]:
    """The models whose tokenizers the program uses."""
    names = ("tokenize", "detokenize", "detokenize_next")
    found = (op.attrs["model"] for func in module.funcs for op in func.walk() if op.name in names)
    return sorted(set(found))


def _places(weights: Sequence[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    at = 0
    for weight in weights:
        count = 1
        for dim in weight["shape"]:
            count *= dim
        nbytes = bytes_of(weight["stored"], count)
        at += -at % (PAGE if nbytes >= PAGE else LINE)
        yield at, nbytes
        at += nbytes


def _bytes(file: ModelFile, name: str, stored: str) -> memoryview:
    return stored_as(file.tensors[name], file.view(name), stored)


def _refuse_files(module: Module) -> None:
    for func in module.funcs:
        for op in func.walk():
            if op.name == "core_ml":
                raise error(
                    "E0606",
                    "Core ML reads the model's own files, and an artifact with embedded weights"
                    " runs without them",
                    op.span,
                    hint="build without --embed-weights, or without --engine coreml",
                )
            if op.name == "save_model":
                raise error(
                    "E0606",
                    "`save_model` writes every tensor of a model, and an artifact with embedded"
                    " weights has only those in use",
                    op.span,
                    hint="build without --embed-weights, or save the tensors that are meant",
                )
