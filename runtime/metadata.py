"""Turns the metadata of a model into texts, all that SafeTensors holds, and back to GGUF's types.

A text stays what it is, a number or truth value is written as in JSON, an array is JSON. The types
that GGUF had are kept under one more key, so that the way back gives what was there.
"""

from __future__ import annotations

import struct

from tlc.runtime.errors import RunError
from tlc.runtime.gguf_file import KIND_NAMES, NUMBERS, Metadata

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tlc.runtime.model_file import ModelFile

TYPES = "gguf.types"

# Keys that say how one file is laid out, and not what is in it.
_LAYOUT = frozenset(("general.alignment", "split.no", "split.count", "split.tensors.count"))
# Keys that say how most weights are quantised, which is no longer so once they are not.
_QUANTISED = frozenset(("general.file_type", "general.quantization_version"))

_KINDS = {name: kind for kind, name in KIND_NAMES.items()}
_STRING, _ARRAY = 8, 9


def texts(model: ModelFile, stored: Mapping[str, str]) -> dict[str, str]:
    """The metadata as texts; `stored` is how the new file stores each tensor."""
    import json

    found = {key: _text(model.metadata[key]) for key in _keys(model, stored)}
    if isinstance(model.metadata, Metadata) and found:
        found[TYPES] = json.dumps({key: model.metadata.kind(key) for key in found})
    return found


def pairs(model: ModelFile, stored: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """The metadata as GGUF holds it: each key with its type and its value.

    Raises RunError E0606 for a value that does not have the type that it is said to have.
    """
    metadata = model.metadata
    if isinstance(metadata, Metadata):
        for key in _keys(model, stored):
            yield key, _tag(metadata.kind(key)) + metadata.encoded(key)
        return
    types = _types(metadata)
    for key in _keys(model, stored):
        if key == "format" and model.format == "SafeTensors":
            continue  # of the library that wrote that file
        value = metadata[key]
        kind = types.get(key)
        if kind is None:
            kind = _natural(value)
        elif kind != "str":
            value = _parsed(model, key, value)
        try:
            yield key, _tag(kind) + _encoded(kind, value)
        except (struct.error, TypeError, KeyError, OverflowError, AttributeError):
            raise RunError(
                "E0606", f"the metadata {key!r} of {model.path} is not of the type {kind}"
            ) from None


def _keys(model: ModelFile, stored: Mapping[str, str]) -> list[str]:
    """What is still true in a file that stores the tensors so."""
    untrue = {TYPES, *_LAYOUT}
    if any(entry.encoding != stored[entry.name] for entry in model.tensors.values()):
        untrue |= _QUANTISED
    return [key for key in model.metadata if key not in untrue]


def _text(value: object) -> str:
    import json

    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=memoryview.tolist)


def _types(metadata: Mapping[str, object]) -> dict[str, str]:
    """What a converted file says of the types of its keys; nothing when that makes no sense."""
    from tlc.runtime import strict_json

    text = metadata.get(TYPES)
    try:
        found = strict_json.parse(text.encode()) if isinstance(text, str) else {}
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: kind for key, kind in found.items() if _is_kind(kind)}


def _is_kind(kind: object) -> bool:
    if not isinstance(kind, str):
        return False
    item = kind.strip("[]")
    depth = (len(kind) - len(item)) // 2
    return item in _KINDS and kind == "[" * depth + item + "]" * depth


def _parsed(model: ModelFile, key: str, value: object) -> object:
    import json

    try:
        return json.loads(str(value))
    except (ValueError, RecursionError):
        raise RunError(
            "E0606", f"the metadata {key!r} of {model.path} is not the JSON that it should be"
        ) from None


def _natural(value: object) -> str:
    """The type that a value of a config gets."""
    match value:
        case bool():
            return "bool"
        case int():
            return "u32" if 0 <= value < 1 << 32 else "i64"
        case float():
            return "f64"
        case list():
            kinds = {_natural(item) for item in value} or {"str"}
            widest = next((k for k in ("f64", "i64") if k in kinds), min(kinds))
            return f"[{widest}]"
    return "str"


def _tag(kind: str) -> bytes:
    return struct.pack("<I", _ARRAY if kind.startswith("[") else _KINDS[kind])


def _encoded(kind: str, value: object) -> bytes:
    """A value without its type; of an array, the type of its items, their number, and they."""
    if kind.startswith("["):
        items = kind[1:-1]
        if not isinstance(value, list):
            raise TypeError
        inner = b"".join(_encoded(items, item) for item in value)
        return _tag(items) + struct.pack("<Q", len(value)) + inner
    if kind == "str":
        text: bytes = value.encode()  # type: ignore[attr-defined]
        return struct.pack("<Q", len(text)) + text
    return struct.pack("<" + NUMBERS[_KINDS[kind]], value)
