"""Turns models that lie in several files into one: shards of SafeTensors, split GGUF, folders.

Sharded SafeTensors have an index, `*.safetensors.index.json`, whose `weight_map` says in which file
each tensor lies. A folder of Hugging Face holds such an index or one file, and `config.json`. Split
GGUF files are named `NAME-00001-of-00003.gguf`, carry `split.no` and `split.count`, and the first
holds the metadata (llama.cpp, `llama_split_path` and `llama_model_loader`).
"""

from __future__ import annotations

import os

from tlc.runtime import safetensors_file, strict_json
from tlc.runtime.errors import RunError
from tlc.runtime.mapped_file import map_file
from tlc.runtime.model_file import ModelFile, Part, TensorEntry, open_model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONFIG = "config.json"
LONGEST_INDEX = 64 << 20  # bytes; that of a model with 10,000 tensors has 1 MB
LONGEST_CONFIG = 4 << 20
MOST_SHARDS = 4096
_LONGEST_KEY = 200  # characters of a dotted name from a config: each repeats those it lies in

_INDEX = ".safetensors.index.json"
_PREFERRED = ("model.safetensors", "model" + _INDEX)  # as transformers looks for them


# ---- sharded SafeTensors -------------------------------------------------------------------------


def open_index(path: str) -> ModelFile:
    """The model of an index. Raises RunError E0601 for a bad index or shard, naming the file.

    Shards lie beside the index. Tensors that a shard holds and the index does not name are part of
    the model too; one that lies in two shards is taken from where the index says.
    """
    index, part = _json(path, LONGEST_INDEX)
    found = index.get("weight_map")
    if not isinstance(found, dict) or not found:
        raise _bad(path, "an index of shards needs a `weight_map` of tensor names to files")
    names = dict.fromkeys(_shard_name(path, name) for name in found.values())
    if len(names) > MOST_SHARDS:
        raise _bad(path, f"it names {len(names)} shards, more than {MOST_SHARDS}")
    folder = os.path.dirname(path)
    shards = []
    for name in names:
        at = os.path.join(folder, name)
        shards.append(safetensors_file.read(at, map_file(at, "E0601")))
    joined = _join(path, shards, found)
    for tensor, name in found.items():
        if tensor not in joined.tensors:
            raise _bad(
                path, f"it places tensor {tensor[:80]!r} in {name}, which has no such tensor"
            )
    joined.parts += (part,)
    return joined


def _shard_name(path: str, name: object) -> str:
    """A file of the index's own folder, whose links are followed, as in Hugging Face's cache."""
    if not isinstance(name, str) or not name.endswith(".safetensors"):
        raise _bad(path, f"it names the shard {str(name)[:80]!r}, which is no SafeTensors file")
    if "/" in name or "\\" in name or "\0" in name:
        raise _bad(path, f"it names the shard {name[:80]!r}; shards lie beside their index")
    return name


def _join(path: str, models: Sequence[ModelFile], places: Mapping[str, str]) -> ModelFile:
    """One model of several; `places` says which file has the tensors that it names."""
    tensors: dict[str, TensorEntry] = {}
    metadata: dict[str, object] = {}
    for number, model in enumerate(models):
        (part,) = model.parts
        for name, entry in model.tensors.items():
            if places.get(name, part.name) != part.name:
                continue
            if name in tensors:
                other = models[tensors[name].part].parts[0].name
                raise _bad(path, f"tensor {name[:80]!r} lies both in {other} and in {part.name}")
            entry.part = number
            tensors[name] = entry
        for key, value in model.metadata.items():
            metadata.setdefault(key, value)
    return ModelFile(
        path, models[0].format, metadata, tensors, [model.parts[0] for model in models]
    )


# ---- folders -------------------------------------------------------------------------------------


def open_folder(path: str) -> ModelFile:
    """The model in a folder, with the values of its `config.json` as metadata.

    Values inside objects have dotted names: `rope_scaling.factor`. Raises RunError E0601 when there
    is no model, when there are several, and when a file is bad.
    """
    model = open_model(os.path.join(path, _model_in(path)))
    config = os.path.join(path, CONFIG)
    if os.path.exists(config):
        values, part = _json(config, LONGEST_CONFIG)
        flat = dict(model.metadata)
        for key, value in values.items():
            if not _flatten(key, value, flat):
                raise _bad(config, f"its value {key[:80]!r} is nested too deep")
        model.metadata = flat
        model.parts += (part,)
    model.path = path
    return model


def _model_in(path: str) -> str:
    """The one model file of a folder."""
    try:
        names = sorted(n for n in os.listdir(path) if not os.path.isdir(os.path.join(path, n)))
    except OSError as error:
        raise _bad(path, f"the folder cannot be read: {error.strerror}") from None
    for name in _PREFERRED:
        if name in names:
            return name
    for suffix in (_INDEX, ".safetensors", ".gguf"):
        found = [name for name in names if name.lower().endswith(suffix)]
        if suffix == ".gguf":  # any part of a split file opens all of it
            found = list({_split_name(name)[0] or name: name for name in reversed(found)}.values())
        if len(found) > 1:
            raise RunError(
                "E0601",
                f"{path}: this folder holds {len(found)} models",
                f"name one of them, such as {os.path.join(path, found[-1])}",
            )
        if found:
            return found[0]
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".pth"))]
    raise RunError(
        "E0601",
        f"{path}: this folder holds no SafeTensors or GGUF file",
        f"save {pickles[0]} as SafeTensors, if that is the model" if pickles else "",
    )


def _flatten(name: str, value: object, into: dict[str, object]) -> bool:
    """Every number, text, truth value and list of a JSON value under its dotted name.

    False when a name would get too long.
    """
    match value:
        case None:
            return True
        case dict():
            items = list(value.items())
        case list() if any(isinstance(item, dict | list) or item is None for item in value):
            items = [(str(at), item) for at, item in enumerate(value)]
        case _:
            into[name] = value
            return len(name) <= _LONGEST_KEY
    return len(name) <= _LONGEST_KEY and all(
        _flatten(f"{name}.{key}", item, into) for key, item in items
    )


def _json(path: str, longest: int) -> tuple[dict[str, object], Part]:
    """The JSON object in a file, and the file as a part of the model."""
    mapping = map_file(path, "E0601")
    if len(mapping) > longest:
        raise _bad(path, f"it has {len(mapping)} bytes, more than {longest}")
    try:
        value = strict_json.parse(memoryview(mapping))
    except ValueError as error:
        raise _bad(path, str(error)) from None
    if not isinstance(value, dict):
        raise _bad(path, "its JSON is no object")
    return value, Part(path, mapping, len(mapping))


# ---- split GGUF ----------------------------------------------------------------------------------


def whole_of(part: ModelFile) -> ModelFile:
    """The whole model that a GGUF file is a part of; the file itself when it is the only one.

    Raises RunError E0601 when a part is missing, of another split, or repeats a tensor.
    """
    count = part.metadata["split.count"]
    if count in (0, 1):
        return part
    path = part.path
    prefix, number, named = _split_name(path)
    if not isinstance(count, int) or not 1 < count <= MOST_SHARDS:
        raise _bad(path, f"it is split into {count!r} parts")
    if named != count:
        raise RunError(
            "E0601",
            f"{path}: this is one of {count} parts of a split model, and its name does not say"
            " which",
            f"name the parts as llama.cpp does: MODEL-00001-of-{count:05}.gguf",
        )
    parts = []
    for at in range(count):
        here = f"{prefix}-{at + 1:05}-of-{count:05}.gguf"
        parts.append(part if at + 1 == number else _part(here))
        if (
            parts[at].metadata.get("split.no") != at
            or parts[at].metadata.get("split.count") != count
        ):
            raise _bad(here, f"it does not say that it is part {at + 1} of {count}")
    joined = _join(f"{prefix}-00001-of-{count:05}.gguf", parts, {})
    joined.metadata = parts[0].metadata
    promised = joined.metadata.get("split.tensors.count", len(joined.tensors))
    if promised != len(joined.tensors):
        raise _bad(
            joined.path, f"its parts hold {len(joined.tensors)} tensors, and it promises {promised}"
        )
    return joined


def _part(path: str) -> ModelFile:
    from tlc.runtime import gguf_file

    mapping = map_file(path, "E0601")
    if mapping[:4] != b"GGUF":
        raise _bad(path, "this part of a split model is no GGUF file")
    return gguf_file.read(path, mapping)


def _split_name(path: str) -> tuple[str, int, int]:
    """`MODEL`, 2 and 3 of `MODEL-00002-of-00003.gguf`; an empty text and zeros of another name."""
    head, _, tail = path[: -len(".gguf")].rpartition("-of-")
    prefix, _, number = head.rpartition("-")
    digits = (number, tail)
    if not path.lower().endswith(".gguf") or not all(
        len(text) == 5 and text.isascii() and text.isdecimal() for text in digits
    ):
        return "", 0, 0
    return prefix, int(number), int(tail)


def _bad(path: str, reason: str) -> RunError:
    return RunError("E0601", f"{path}: {reason}")
