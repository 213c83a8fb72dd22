"""Core ML models as model files: packages, `.mlmodel` files and compiled folders, read by us alone.

`open_coreml` finds the parts. `wire` reads protobuf, `milproto` and `miltext` read ML programs,
`network` the neural networks of before; `tensors`, `blob` and `recipes` are about weights.
"""

from __future__ import annotations

import os

from tlc.runtime.coreml import features
from tlc.runtime.coreml.tensors import Tensors
from tlc.runtime.coreml.wire import Wire
from tlc.runtime.errors import RunError
from tlc.runtime.mapped_file import map_file
from tlc.runtime.model_file import ModelFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tlc.runtime.coreml.features import Description
    from tlc.runtime.coreml.records import Network, Program


_MODEL = {1: "version", 2: "description", 303: "regressor", 403: "classifier", 500: "network",
          502: "program", 200: "pipeline classifier", 201: "pipeline regressor", 202: "pipeline",
          300: "linear regressor", 301: "support vector regressor", 302: "tree ensemble regressor",
          400: "linear classifier", 401: "support vector classifier",
          402: "tree ensemble classifier", 600: "serialized model"}  # fmt: skip
_NETWORKS = ("network", "classifier", "regressor")
_LONGEST_MANIFEST = 1 << 20


class CoreMLFile(ModelFile):
    """An open Core ML model.

    One of `program` and `network` is what it computes; `description` says what goes in and out.
    `version` is that of the specification: 6 is iOS 15.
    """

    __slots__ = ("description", "network", "program", "version")

    def __init__(
        self,
        path: str,
        tensors: Tensors,
        version: int,
        description: Description,
        program: Program | None,
        network: Network | None,
    ) -> None:
        super().__init__(path, "CoreML", description.metadata, tensors.entries, tensors.parts())
        self.version, self.description = version, description
        self.program, self.network = program, network


def open_coreml(path: str) -> CoreMLFile:
    """The model at a path that ends in `.mlmodel`, `.mlpackage` or `.mlmodelc`.

    Raises RunError E0601 for what cannot be read, and no other exception.
    """
    suffix = os.path.splitext(path.rstrip("/"))[1].lower()
    try:
        if os.path.isdir(path) and suffix == ".mlmodelc":
            return _compiled(path)
        if os.path.isdir(path):
            spec = _inside(os.path.join(path, "Data"), _root_item(path))
            folder = os.path.dirname(spec)
        else:
            spec, folder = path, os.path.dirname(path)
        return _specified(path, spec, folder)
    except ValueError as problem:
        raise RunError("E0601", f"{path}: a damaged Core ML model: {problem}") from None


def _inside(folder: str, name: str) -> str:
    """The path of a part of the model. Raises ValueError for one that leads out of its folder."""
    parts = name.split("/")
    if not name or "\\" in name or "\0" in name or any(p in ("", "..") for p in parts):
        raise ValueError(f"the path {name[:80]!r} leads out of it")
    return os.path.join(folder, *parts)


def _root_item(path: str) -> str:
    """The path of the model in a package, under `Data`, as Manifest.json says."""
    from tlc.runtime import strict_json

    mapping = map_file(os.path.join(path, "Manifest.json"), "E0601")
    if len(mapping) > _LONGEST_MANIFEST:
        raise ValueError("its Manifest.json is too long")
    match strict_json.parse(mapping[:]):
        case {"itemInfoEntries": dict(items), "rootModelIdentifier": str(root)}:
            match items.get(root):
                case {"path": str(name)}:
                    return name
    raise ValueError("its Manifest.json names no model")


def _specified(path: str, spec: str, folder: str) -> CoreMLFile:
    """A model described in protobuf, by the file `spec`."""
    mapping = map_file(spec, "E0601")
    wire = Wire(memoryview(mapping))
    model = wire.message(slice(0, len(mapping)), _MODEL)
    version = model.integer("version")
    description = features.read(wire, model.span("description"))
    tensors = Tensors(spec, mapping, lambda name: _inside(folder, name))
    if "program" in model:
        from tlc.runtime.coreml import milproto

        span = model.span("program") or slice(0, 0)
        program = milproto.read(wire, span, description.function, tensors)
        return CoreMLFile(path, tensors, version, description, program, None)
    for kind in _NETWORKS:
        if kind in model:
            from tlc.runtime.coreml import network

            found = network.read(wire, model.span(kind) or slice(0, 0), tensors)
            return CoreMLFile(path, tensors, version, description, None, found)
    other = next(
        (k for k in _MODEL.values() if k in model and k not in ("version", "description")), ""
    )
    if not version or not other:
        raise ValueError("it holds no model of a kind that is known")
    raise RunError(
        "E0601",
        f"{path}: this Core ML model is a {other}, and ML programs and neural networks are read",
    )


def _compiled(path: str) -> CoreMLFile:
    """A folder that Core ML's compiler made."""
    from tlc.runtime.coreml import miltext

    text = os.path.join(path, "model.mil")
    if not os.path.exists(text):
        raise RunError(
            "E0601",
            f"{path}: a compiled model without model.mil, as of a neural network, is not read",
            "load the .mlpackage or .mlmodel that it was compiled from",
        )
    mapping = map_file(text, "E0601")
    tensors = Tensors(text, mapping, lambda name: _inside(path, name))
    program = miltext.read(memoryview(mapping), tensors)
    return CoreMLFile(path, tensors, 0, miltext.described(program), program, None)


__all__ = ["CoreMLFile", "open_coreml"]
