"""Turns the metadata of a model into texts, all that SafeTensors holds, and back to GGUF's types.

A text stays what it is, numbers, truth values and arrays are written as JSON. Their types are kept
under one more key, so that programs and the way back find what was there.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from tlc.runtime.errors import RunError
from tlc.runtime.gguf_file import KIND_NAMES, NUMBERS, Metadata
from tlc.runtime.safetensors_file import TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tlc.runtime.model_file import ModelFile

# Keys that say how one file is laid out, and not what is in it.
_LAYOUT = frozenset(("general.alignment", "split.no", "split.count", "split.tensors.count"))
# Keys that say how most weights are quantised, which is no longer so once they are not.
_QUANTISED = frozenset(("general.file_type", "general.quantization_version"))

_KINDS = {name: kind for kind, name in KIND_NAMES.items()}
_STRING, _ARRAY = 8, 9


class TypedTexts(Mapping[str, object]):
    """The metadata of a converted file, each value of the type that it had in GGUF.

    A text that does not read as its type stays a text.
    """

    __slots__ = ("_kinds", "_texts")

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = {key: text for key, text in texts.items() if key != TYPES}
        self._kinds = _kinds(texts.get(TYPES, ""))

    def kind(self, key: str) -> str:
        """As `gguf_file.Metadata.kind`."""
        return self._kinds.get(key, "str")

    def __getitem__(self, key: str) -> object:
        import json

        text = self._texts[key]
        try:
            return text if self.kind(key) == "str" else json.loads(text)
        except (ValueError, RecursionError):
            return text

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def texts(model: ModelFile, stored: Mapping[str, str]) -> dict[str, str]:
    """The metadata as texts; `stored` is how the new file stores each tensor."""
    import json

    found = {key: _text(model.metadata[key]) for key in _keys(model, stored)}
    kinds = {key: kind for key in found if (kind := _kind(model.metadata, key)) != "str"}
    if kinds:
        found[TYPES] = json.dumps(kinds)
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
    for key in _keys(model, stored):
        if key == "format" and model.format == "SafeTensors":
            continue  # of the library that wrote that file
        kind = _kind(metadata, key)
        try:
            yield key, _tag(kind) + _encoded(kind, metadata[key])
        except (struct.error, TypeError, KeyError, OverflowError, AttributeError):
            raise RunError(
                "E0606", f"the metadata {key!r} of {model.path} is not of the type {kind}"
            ) from None


def _keys(model: ModelFile, stored: Mapping[str, str]) -> list[str]:
    """What is still true in a file that stores the tensors so."""
    untrue = set(_LAYOUT)
    if any(entry.encoding != stored[entry.name] for entry in model.tensors.values()):
        untrue |= _QUANTISED
    return [key for key in model.metadata if key not in untrue]


def _text(value: object) -> str:
    import json

    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=memoryview.tolist)


def _kinds(text: str) -> dict[str, str]:
    """What a converted file says of the types of its keys; nothing when that makes no sense."""
    from tlc.runtime import strict_json

    try:
        found = strict_json.parse(text.encode())
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


def _kind(metadata: Mapping[str, object], key: str) -> str:
    if isinstance(metadata, Metadata | TypedTexts):
        return metadata.kind(key)
    return _natural(metadata[key])


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
