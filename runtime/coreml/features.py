"""Turns a Core ML model's description into its inputs, outputs and metadata."""

from __future__ import annotations

from tlc.runtime.coreml.records import Feature, Image
from tlc.runtime.model_file import element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tlc.runtime.coreml.wire import Message, Wire

_DESCRIPTION = {1: "inputs", 10: "outputs", 11: "predicted", 12: "probabilities", 13: "states",
                20: "functions", 21: "function", 100: "metadata"}  # fmt: skip
_FUNCTION = {1: "name", 2: "inputs", 3: "outputs", 6: "states"}
_FEATURE = {1: "name", 2: "note", 3: "type"}
_TYPE = {1: "int64", 2: "double", 3: "string", 4: "image", 5: "array", 6: "dictionary",
         7: "sequence", 8: "state", 1000: "optional"}  # fmt: skip
_IMAGE = {1: "width", 2: "height", 3: "color"}
_ARRAY = {1: "shape", 2: "dtype", 21: "shapes", 31: "ranges"}
_RANGE = {1: "low", 2: "high"}
_METADATA = {1: "description", 2: "version", 3: "author", 4: "license", 100: "user"}
_COLORS = {10: "GRAY", 20: "RGB", 30: "BGR", 40: "GRAY"}
_DTYPES = {65552: "f16", 65568: "f32", 65600: "f64", 131104: "i32", 131080: "i8"}


class Description:
    """What the model says of itself."""

    __slots__ = ("function", "inputs", "metadata", "outputs")

    def __init__(
        self,
        function: str,
        inputs: list[Feature],
        outputs: list[Feature],
        metadata: dict[str, object],
    ) -> None:
        self.function, self.inputs, self.outputs = function, inputs, outputs
        self.metadata = metadata


def read(wire: Wire, span: slice | None) -> Description:
    """The description of a model. Raises ValueError for what is none."""
    found = wire.message(span, _DESCRIPTION)
    function = found.text("function")
    metadata = _metadata(wire, found)
    for at in found.spans("functions"):
        one = wire.message(at, _FUNCTION)
        if one.text("name") == function:
            found = one
    inputs = [_feature(wire, at) for at in found.spans("inputs")]
    outputs = [_feature(wire, at) for at in found.spans("outputs")]
    return Description(function or "main", inputs, outputs, metadata)


def _metadata(wire: Wire, description: Message) -> dict[str, object]:
    """Texts by name: the author's, then those of the user, whose names are as they are."""
    found = wire.message(description.span("metadata"), _METADATA)
    names = ("description", "version", "author", "license")
    table: dict[str, object] = {n: found.text(n) for n in names if found.text(n)}
    for key, at in wire.entries(found.spans("user")):
        table[key] = str(wire.data[at], "utf-8", "replace")
    for key in ("predicted", "probabilities"):
        if description.text(key):
            table[f"classifier.{key}"] = description.text(key)
    return table


def _feature(wire: Wire, span: slice) -> Feature:
    found = wire.message(span, _FEATURE)
    type = wire.message(found.span("type"), _TYPE)
    name, note, optional = found.text("name"), found.text("note"), bool(type.integer("optional"))
    if "array" in type:
        array = wire.message(type.span("array"), _ARRAY)
        return _array(wire, array, Feature(name, note, optional))
    if "image" in type:
        held = wire.message(type.span("image"), _IMAGE)
        width, height = held.integer("width"), held.integer("height")
        if not (0 <= width <= 1 << 16 and 0 <= height <= 1 << 16):
            raise ValueError(f"an image of {width} by {height} pixels")
        image = Image(width, height, _COLORS.get(held.integer("color"), "RGB"))
        shape = (1, 1 if image.color == "GRAY" else 3, height or None, width or None)
        return Feature(name, note, optional, "f32", shape, image=image)
    kind = next((k for k in _TYPE.values() if k in type and k != "optional"), "nothing")
    return Feature(name, note, optional, kind)


def _array(wire: Wire, array: Message, feature: Feature) -> Feature:
    """A multi-array: its shape, and how it may differ."""
    feature.dtype = _DTYPES.get(array.integer("dtype"), "other")
    shape: list[int | None] = list(array.integers("shape"))
    element_count(size or 0 for size in shape)
    if "ranges" in array:
        spans = wire.message(array.span("ranges"), {1: "sizes"}).spans("sizes")
        ranges: list[tuple[int, int | None]] = []
        for at in spans:
            one = wire.message(at, _RANGE)
            low, high = one.integer("low"), one.integer("high")
            ranges.append((low, None if high < 0 else high))
        feature.ranges = ranges
        shape = [low if low == high else None for low, high in ranges]
    elif "shapes" in array:
        spans = wire.message(array.span("shapes"), {1: "shapes"}).spans("shapes")
        shapes = [tuple(wire.message(at, {1: "shape"}).integers("shape")) for at in spans]
        ranks = {len(one) for one in shapes}
        if len(ranks) == 1:
            feature.shapes = shapes
            shape = [
                sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True)
            ]
    feature.shape = tuple(shape)
    return feature
