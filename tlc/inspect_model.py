"""`tlc inspect` of a model: its format, tensors, metadata and what it takes on a device."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from tlc.ir.formats import PACKED
from tlc.runtime.decode import BLOCK_FLOATS, PLAIN_FLOATS
from tlc.runtime.float8 import FLOAT8
from tlc.runtime.model_file import ModelFile, TensorEntry, element_count, open_model

if TYPE_CHECKING:
    from tlc.runtime.coreml.records import Feature

_FLOATS = frozenset((*PLAIN_FLOATS, *FLOAT8, *BLOCK_FLOATS))
_LONGEST_TEXT = 60  # characters of a metadata value that are shown
_SHOWN = 4  # items of a metadata array


def inspect_model(path: str, *, as_json: bool = False) -> str:
    """A description of a model file, an index of shards, or a folder. Raises RunError E0601."""
    model = open_model(path)
    if as_json:
        return json.dumps(_record(model), indent=2, ensure_ascii=False)
    return "\n".join(_lines(model))


def device_bytes(entry: TensorEntry) -> int:
    """What a tensor takes once loaded: packed, or float16; 0 when it cannot be computed with."""
    if entry.encoding in PACKED:
        return entry.nbytes
    floats = entry.encoding in {*PLAIN_FLOATS, *FLOAT8, *BLOCK_FLOATS}
    return 2 * element_count(entry.shape) if floats or entry.recipe is not None else 0


def _record(model: ModelFile) -> dict[str, Any]:
    tensors = [
        {
            "name": entry.name,
            "shape": list(entry.shape),
            "encoding": entry.encoding,
            "file": model.parts[entry.part].name,
            "offset": entry.offset,
            "bytes": entry.nbytes,
            "device_bytes": device_bytes(entry),
        }
        for entry in model.tensors.values()
    ]
    return {
        "path": model.path,
        "format": model.format,
        "quantization": model.quantization,
        "fingerprint": model.fingerprint,
        "files": [{"name": part.name, "bytes": part.size} for part in model.parts],
        "parameters": _parameters(model.tensors.values()),
        "device_bytes": sum(map(device_bytes, model.tensors.values())),
        **{
            what: [_feature_record(feature) for feature in features]
            for what, features in _features(model).items()
        },
        "metadata": {key: _plain(value) for key, value in model.metadata.items()},
        "tensors": tensors,
    }


def _features(model: ModelFile) -> dict[str, list[Feature]]:
    """What goes into a Core ML model and comes out of it; nothing for a file of tensors alone."""
    from tlc.runtime.coreml import CoreMLFile

    if not isinstance(model, CoreMLFile):
        return {}
    return {"inputs": model.description.inputs, "outputs": model.description.outputs}


def _feature_record(feature: Feature) -> dict[str, Any]:
    image = feature.image
    return {
        "name": feature.name,
        "type": feature.dtype,
        "shape": None if feature.shape is None else list(feature.shape),
        "ranges": feature.ranges,
        "image": image and {"width": image.width, "height": image.height, "color": image.color},
    }


def _feature(feature: Feature) -> str:
    """`f32[1, 3, 224, 224], a picture (RGB)`; a dimension that may differ is `1..64` or `?`."""
    if not feature.shape:  # an array without axes is one of which the model says no more
        return feature.dtype
    dims = ["?" if size is None else str(size) for size in feature.shape]
    for at, (low, high) in enumerate(feature.ranges or ()):
        if low != high and at < len(dims):
            dims[at] = f"{low}..{high or ''}"
    image = f", a picture ({feature.image.color})" if feature.image else ""
    return f"{feature.dtype}[{', '.join(dims)}]{image}"


def _plain(value: object) -> object:
    """A metadata value as JSON has it: infinities and NaN, which it lacks, become text."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case memoryview() | list():
            return [_plain(item) for item in value]
    return value


def _parameters(entries: Iterable[TensorEntry]) -> int:
    """The number of floats."""
    return sum(element_count(entry.shape) for entry in entries if device_bytes(entry))


def _lines(model: ModelFile) -> Iterator[str]:
    entries = list(model.tensors.values())
    yield (
        f"{_name(model.path)}: {' '.join(filter(None, (model.format, model.quantization)))},"
        f" {_count(len(entries), 'tensor')}, {_parameters(entries):,} parameters,"
        f" {sum(part.size for part in model.parts):,} bytes"
    )
    packed = sum(entry.nbytes for entry in entries if entry.encoding in PACKED)
    total = sum(map(device_bytes, entries))
    what = f"{packed:,} packed, {total - packed:,} as float16" if packed else "as float16"
    yield f"{total:,} bytes on a device when all tensors are used: {what}"
    if len(model.parts) > 1:
        yield from ("", "files")
        for part in model.parts:
            yield f"  {_name(part.name)}  {part.size:,} bytes"
    for what, features in _features(model).items():
        yield from ("", what)
        width = max((len(_name(feature.name)) for feature in features), default=0)
        for feature in features:
            yield f"  {_name(feature.name):{min(width, 48)}}  {_feature(feature)}"
    if model.metadata:
        yield from ("", "metadata")
        width = max(len(_name(key)) for key in model.metadata)
        for key, value in model.metadata.items():
            yield f"  {_name(key):{min(width, 48)}}  {_shown(value)}"
    if not entries:
        return
    yield from ("", "types")
    for encoding in sorted({entry.encoding for entry in entries}):
        of_it = [entry for entry in entries if entry.encoding == encoding]
        use = "" if any(map(device_bytes, of_it)) or not _elements(of_it) else ", not computed with"
        yield (
            f"  {encoding.upper():8} {_count(len(of_it), 'tensor'):>12}"
            f" {sum(entry.nbytes for entry in of_it):>15,} bytes{use}"
        )
    yield from ("", "tensors")
    width = min(max(len(_name(entry.name)) for entry in entries), 64)
    for entry in entries:
        shape = str(list(entry.shape))
        yield (
            f"  {_name(entry.name):{width}}  {shape:18} {entry.encoding.upper():8}"
            f" {entry.nbytes:>13,} bytes"
        )


def _elements(entries: Iterable[TensorEntry]) -> int:
    return sum(element_count(entry.shape) for entry in entries)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _name(text: str) -> str:
    """A name of the file's own, which must not steer the terminal."""
    return text if text.isprintable() else repr(text)


def _shown(value: object) -> str:
    match value:
        case str():
            cut = value if len(value) <= _LONGEST_TEXT else value[:_LONGEST_TEXT] + "..."
            return json.dumps(cut, ensure_ascii=not cut.isprintable())
        case memoryview() | list():
            first = ", ".join(_shown(item) for item in value[:_SHOWN])
            more = ", ..." if len(value) > _SHOWN else ""
            return f"[{first}{more}]" + (f" ({len(value):,} items)" if more else "")
        case bool():
            return "true" if value else "false"
    return str(value)
