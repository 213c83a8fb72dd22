"""Turns the protobuf of a neural network, as in `.mlmodel` files, into records of its layers.

Field numbers and defaults are those of Apple's NeuralNetwork.proto. A layer of a kind that is not
in the table has no parameters: it is refused by its name when the network is compiled.
"""

from __future__ import annotations

import math
import struct

from tlc.runtime.coreml.blob import BITS, Blob
from tlc.runtime.coreml.records import Layer, Literal, Network, TensorType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tlc.runtime.coreml.tensors import Tensors
    from tlc.runtime.coreml.wire import Message, Wire

_NETWORK = {1: "layers", 2: "preprocessing", 5: "exact", 6: "exact_images", 200: "probabilities"}
_LAYER = {1: "name", 2: "inputs", 3: "outputs"}
_PREPROCESSING = {1: "feature", 10: "scaler", 11: "mean"}
_SCALER = {10: "scale", 20: "blue", 21: "green", 22: "red", 30: "gray"}
_WEIGHTS = {1: "floats", 2: "halves", 30: "raw", 31: "signed", 40: "quantization"}
_QUANTIZATION = {1: "bits", 101: "linear", 102: "table"}
_LINEAR = {1: "scale", 2: "bias"}

# Parameters of a layer: field -> name and kind. `i` is a whole number, `f` a number, `b` a truth
# value, `I` a list of whole numbers, `F` one of floats, `w` weights; a table is a message of its
# own, and of several tables of one layer the one that is there says its name as `kind`. `dynamic`
# lets Core ML round what is multiplied with weights of 8 bits: the product of floats is closer.
_EDGES = {10: ("edges", {1: ("before", "i"), 2: ("behind", "i")})}
_PADDING = {1: ("valid", {1: ("amounts", _EDGES)}), 2: ("same", {1: ("mode", "i")})}
_ALPHA: dict[int, Any] = {1: ("alpha", "f")}
_ALPHA_BETA: dict[int, Any] = {1: ("alpha", "f"), 2: ("beta", "f")}
_AXES: dict[int, Any] = {1: ("axes", "I"), 2: ("keep", "b"), 3: ("all", "b")}
_AXIS: dict[int, Any] = {1: ("axis", "i")}
_SHAPE: dict[int, Any] = {1: ("shape", "I")}
_NONE: dict[int, Any] = {}

_ACTIVATION: dict[int, Any] = {
    5: ("linear", _ALPHA_BETA), 10: ("ReLU", _NONE), 15: ("leakyReLU", _ALPHA),
    20: ("thresholdedReLU", _ALPHA), 25: ("PReLU", {1: ("alpha", "w")}), 30: ("tanh", _NONE),
    31: ("scaledTanh", _ALPHA_BETA), 40: ("sigmoid", _NONE), 41: ("sigmoidHard", _ALPHA_BETA),
    50: ("ELU", _ALPHA), 60: ("softsign", _NONE), 70: ("softplus", _NONE),
    71: ("parametricSoftplus", {1: ("alpha", "w"), 2: ("beta", "w")}),
}  # fmt: skip

_LAYERS: dict[int, tuple[str, dict[int, Any]]] = {
    100: ("convolution", {
        1: ("out", "i"), 2: ("depth", "i"), 10: ("groups", "i"), 20: ("kernel", "I"),
        30: ("stride", "I"), 40: ("dilation", "I"), 50: ("valid", _PADDING[1][1]),
        51: ("same", _PADDING[2][1]), 60: ("transposed", "b"), 70: ("biased", "b"),
        90: ("weights", "w"), 91: ("bias", "w"), 100: ("output", "I")}),
    120: ("pooling", {
        1: ("type", "i"), 10: ("kernel", "I"), 20: ("stride", "I"), 30: ("valid", _PADDING[1][1]),
        31: ("same", _PADDING[2][1]), 32: ("last", {10: ("amounts", "I")}),
        50: ("excluded", "b"), 60: ("whole", "b")}),
    130: ("activation", _ACTIVATION),
    140: ("innerProduct", {1: ("in", "i"), 2: ("out", "i"), 10: ("biased", "b"),
                           20: ("weights", "w"), 21: ("bias", "w"), 22: ("dynamic", "b")}),
    150: ("embedding", {1: ("in", "i"), 2: ("out", "i"), 10: ("biased", "b"),
                        20: ("weights", "w"), 21: ("bias", "w")}),
    160: ("batchnorm", {
        1: ("channels", "i"), 5: ("computed", "b"), 6: ("instance", "b"), 10: ("epsilon", "f"),
        15: ("gamma", "w"), 16: ("beta", "w"), 17: ("mean", "w"), 18: ("variance", "w")}),
    165: ("mvn", {1: ("across", "b"), 2: ("scaled", "b"), 3: ("epsilon", "f")}),
    170: ("l2normalize", {1: ("epsilon", "f")}),
    175: ("softmax", _NONE),
    200: ("padding", {1: ("constant", {1: ("value", "f")}), 2: ("reflection", _NONE),
                      3: ("replication", _NONE), 10: ("amounts", _EDGES)}),
    210: ("upsample", {1: ("factors", "I"), 5: ("mode", "i"), 6: ("linear", "i"),
                       7: ("fractions", "F")}),
    211: ("resizeBilinear", {1: ("sizes", "I"), 2: ("sampling", {1: ("method", "i")})}),
    220: ("unary", {1: ("type", "i"), 2: ("alpha", "f"), 3: ("epsilon", "f"), 4: ("shift", "f"),
                    5: ("scale", "f")}),
    230: ("add", _ALPHA), 231: ("multiply", _ALPHA), 240: ("average", _NONE),
    245: ("scale", {1: ("shape", "I"), 2: ("scale", "w"), 3: ("biased", "b"),
                    4: ("bias_shape", "I"), 5: ("bias", "w")}),
    250: ("bias", {1: ("shape", "I"), 2: ("bias", "w")}),
    260: ("max", _NONE), 261: ("min", _NONE),
    280: ("reduce", {1: ("mode", "i"), 2: ("epsilon", "f"), 3: ("axis", "i")}),
    290: ("loadConstant", {1: ("shape", "I"), 2: ("data", "w")}),
    300: ("reshape", {1: ("shape", "I"), 2: ("mode", "i")}),
    301: ("flatten", {1: ("mode", "i")}),
    310: ("permute", {1: ("axes", "I")}),
    320: ("concat", {100: ("sequence", "b")}),
    330: ("split", {1: ("count", "i")}),
    350: ("slice", {1: ("start", "i"), 2: ("end", "i"), 3: ("stride", "i"), 4: ("axis", "i")}),
    600: ("copy", _NONE),
    660: ("clip", {1: ("low", "f"), 2: ("high", "f")}),
    **{at: (name, _NONE) for at, name in {
        665: "ceil", 670: "floor", 680: "sign", 685: "round", 700: "exp2", 710: "sin", 715: "cos",
        720: "tan", 760: "tanh", 790: "erf", 840: "logicalOr", 845: "logicalXor",
        850: "logicalNot", 855: "logicalAnd", 865: "modBroadcastable", 870: "minBroadcastable",
        875: "maxBroadcastable", 880: "addBroadcastable", 885: "powBroadcastable",
        890: "divideBroadcastable", 895: "floorDivBroadcastable", 900: "multiplyBroadcastable",
        905: "subtractBroadcastable", 1330: "whereBroadcastable"}.items()},
    **{at: (name, _ALPHA) for at, name in {815: "equal", 820: "notEqual"}.items()},
    **{at: (name, {2: ("alpha", "f")}) for at, name in {
        825: "lessThan", 827: "lessEqual", 830: "greaterThan", 832: "greaterEqual"}.items()},
    795: ("gelu", {1: ("mode", "i")}),
    920: ("tile", {1: ("reps", "I")}),
    925: ("stack", _AXIS),
    930: ("gather", _AXIS), 952: ("gatherAlongAxis", _AXIS),
    960: ("reverse", {1: ("turned", "I")}),
    950: ("softmaxND", _AXIS),
    975: ("splitND", {1: ("axis", "i"), 2: ("count", "i"), 3: ("sizes", "I")}),
    980: ("concatND", {1: ("axis", "i"), 2: ("interleave", "b")}),
    985: ("transpose", {1: ("axes", "I")}),
    995: ("sliceStatic", {1: ("begin", "I"), 2: ("begin_mask", "I"), 3: ("end", "I"),
                          4: ("end_mask", "I"), 5: ("stride", "I"), 6: ("squeeze_mask", "I")}),
    1015: ("topK", {1: ("axis", "i"), 2: ("count", "i"), 3: ("bottom", "b")}),
    1020: ("argMin", {1: ("axis", "i"), 2: ("drop", "b")}),
    1025: ("argMax", {1: ("axis", "i"), 2: ("drop", "b")}),
    1040: ("embeddingND", {1: ("in", "i"), 2: ("out", "i"), 3: ("biased", "b"),
                           20: ("weights", "w"), 21: ("bias", "w")}),
    1045: ("batchedMatmul", {
        1: ("turn_a", "b"), 2: ("turn_b", "b"), 5: ("in", "i"), 6: ("out", "i"), 7: ("biased", "b"),
        8: ("weights", "w"), 9: ("bias", "w"), 10: ("dynamic", "b")}),
    1070: ("loadConstantND", {1: ("shape", "I"), 2: ("data", "w")}),
    1085: ("fillStatic", {1: ("value", "f"), 2: ("shape", "I")}),
    1105: ("broadcastToStatic", _SHAPE),
    1120: ("squeeze", {1: ("axes", "I"), 2: ("all", "b")}),
    1125: ("expandDims", {1: ("axes", "I")}),
    1130: ("flattenTo2D", _AXIS),
    1140: ("reshapeStatic", _SHAPE),
    1150: ("rankPreservingReshape", _SHAPE),
    1155: ("constantPad", {1: ("value", "f"), 2: ("amounts", "I"), 3: ("given", "b")}),
    **{at: (f"reduce{name}", _AXES) for at, name in {
        1250: "L1", 1255: "L2", 1260: "Max", 1265: "Min", 1270: "Sum", 1275: "Prod", 1280: "Mean",
        1285: "LogSum", 1290: "SumSquare", 1295: "LogSumExp"}.items()},
    1350: ("layerNormalization", {1: ("shape", "I"), 2: ("epsilon", "f"), 3: ("gamma", "w"),
                                  4: ("beta", "w")}),
    1450: ("oneHot", {1: ("size", "i"), 2: ("axis", "i"), 3: ("on", "f"), 4: ("off", "f")}),
    1455: ("cumSum", {1: ("axis", "i"), 2: ("exclusive", "b"), 3: ("reverse", "b")}),
    1460: ("clampedReLU", _ALPHA_BETA),
    1461: ("argSort", {1: ("axis", "i"), 2: ("descending", "b")}),
}  # fmt: skip
# other kinds, for their names alone
_OTHERS = {
    180: "lrn", 190: "crop", 212: "cropResize", 270: "dot", 340: "sequenceRepeat",
    345: "reorganizeData", 400: "simpleRecurrent", 410: "gru", 420: "uniDirectionalLSTM",
    430: "biDirectionalLSTM", 500: "custom", 605: "branch", 615: "loop", 620: "loopBreak",
    625: "loopContinue", 635: "rangeStatic", 640: "rangeDynamic", 730: "asin", 735: "acos",
    740: "atan", 750: "sinh", 755: "cosh", 770: "asinh", 775: "acosh", 780: "atanh",
    935: "scatter", 940: "gatherND", 945: "scatterND", 954: "scatterAlongAxis",
    965: "reverseSeq", 1000: "sliceDynamic", 1005: "slidingWindows", 1065: "getShape",
    1080: "fillLike", 1090: "fillDynamic", 1100: "broadcastToLike", 1110: "broadcastToDynamic",
    1135: "reshapeLike", 1145: "reshapeDynamic", 1170: "randomNormalLike",
    1175: "randomNormalStatic", 1180: "randomNormalDynamic", 1190: "randomUniformLike",
    1195: "randomUniformStatic", 1200: "randomUniformDynamic", 1210: "randomBernoulliLike",
    1215: "randomBernoulliStatic", 1220: "randomBernoulliDynamic",
    1230: "categoricalDistribution", 1313: "whereNonZero", 1315: "matrixBandPart",
    1320: "lowerTriangular", 1325: "upperTriangular", 1400: "NonMaximumSuppression",
    1465: "pooling3d", 1466: "globalPooling3d", 1470: "sliceBySize", 1471: "convolution3d",
}  # fmt: skip
_KINDS = {**{at: kind for at, (kind, _) in _LAYERS.items()}, **_OTHERS}
_BY_KIND = dict(_LAYERS.values())

# weights of more than one axis: what the layer says of their shape
_SHAPES = {
    ("innerProduct", "weights"): ("out", "in"), ("embedding", "weights"): ("out", "in"),
    ("embeddingND", "weights"): ("out", "in"), ("batchedMatmul", "weights"): ("in", "out"),
    ("loadConstant", "data"): ("shape",), ("loadConstantND", "data"): ("shape",),
    ("scale", "scale"): ("shape",), ("scale", "bias"): ("bias_shape",),
    ("bias", "bias"): ("shape",),
}  # fmt: skip


def read(wire: Wire, span: slice, tensors: Tensors) -> Network:
    """A neural network, classifier or regressor. Raises ValueError for what is none."""
    found = wire.message(span, _NETWORK)
    layers = [_layer(wire, at, tensors) for at in found.spans("layers")]
    scalers: dict[str, tuple[float, ...]] = {}
    for at in found.spans("preprocessing"):
        one = wire.message(at, _PREPROCESSING)
        if "mean" in one:
            raise ValueError("a mean image is taken from its input, and that is not read")
        scaler = wire.message(one.span("scaler"), _SCALER)
        scalers[one.text("feature")] = (
            scaler.number("scale", 1.0),
            *(scaler.number(color) for color in ("red", "green", "blue", "gray")),
        )
    exact, images = found.integer("exact") == 1, found.integer("exact_images") == 1
    return Network(layers, exact, images, scalers, found.text("probabilities"))


def _layer(wire: Wire, span: slice, tensors: Tensors) -> Layer:
    found = wire.message(span, {**_LAYER, **_KINDS})
    name, inputs, outputs = found.text("name"), found.texts("inputs"), found.texts("outputs")
    kind = next((kind for kind in _KINDS.values() if kind in found), "")
    params: dict[str, Any] | None = None
    if kind in _BY_KIND:
        reader = _Params(wire, tensors, name)
        params = reader.read(found.span(kind), _BY_KIND[kind])
        _shape_weights(kind, params)
        params = {key: reader.named(key, value) for key, value in params.items()}
    return Layer(kind or "unknown", name, inputs, outputs, params)


class _Params:
    """Reads the parameters of one layer."""

    __slots__ = ("_layer", "_tensors", "_wire")

    def __init__(self, wire: Wire, tensors: Tensors, layer: str) -> None:
        self._wire, self._tensors, self._layer = wire, tensors, layer

    def read(self, span: slice | None, table: dict[int, Any]) -> dict[str, Any]:
        """The parameters that are there, by name; `others` are the numbers of unknown ones."""
        found = self._wire.message(span, {at: name for at, (name, _) in table.items()})
        made: dict[str, Any] = {"others": sorted(found.others)} if found.others else {}
        for name, kind in table.values():
            if name not in found:
                continue
            if isinstance(kind, dict):
                inner = [self.read(at, kind) for at in found.spans(name)]
                made[name] = inner if name == "edges" else inner[-1]
                made.setdefault("kind", name)
                if others := [number for one in inner for number in one.get("others", ())]:
                    made["others"] = others
            else:
                made[name] = self._value(found, name, kind)
        return made

    def _value(self, found: Message, name: str, kind: str) -> Any:
        match kind:
            case "i":
                return found.integer(name)
            case "f":
                return found.number(name)
            case "b":
                return bool(found.integer(name))
            case "I":
                return found.integers(name)
            case "F":
                data = b"".join(self._wire.data[at] for at in found.packed(name, 4))
                return list(struct.unpack(f"<{len(data) // 4}f", data))
        return self._weights(found.span(name))

    def named(self, key: str, value: Any) -> Any:
        """Weights under the layer's name: floats stay where they lie in the file."""
        if isinstance(value, dict):
            return {k: self.named(f"{key}.{k}", v) for k, v in value.items()}
        return self._tensors.named(f"{self._layer}.{key}", value)

    def _weights(self, span: slice | None) -> Any:
        """The numbers of a WeightParams message, in one axis; None for none."""
        found = self._wire.message(span, _WEIGHTS)
        for name, dtype in (("floats", "f32"), ("halves", "f16")):
            width = BITS[dtype] // 8
            spans = [at for at in found.packed(name, width) if at.stop > at.start]
            if len(spans) == 1:
                (at,) = spans
                count = (at.stop - at.start) // width
                return Blob(0, at.start, at.stop - at.start, dtype, (count,))
            if spans:
                data = b"".join(self._wire.data[at] for at in spans)
                return Literal(dtype, (len(data) // width,), data)
        for name in ("raw", "signed"):
            if name in found:
                return self._quantized(found, name)
        return None

    def _quantized(self, found: Message, name: str) -> Any:
        """Weights of 1 to 8 bits, the highest bit first, with a scale or a table."""
        wire, data = self._wire, found.span(name) or slice(0, 0)
        held = wire.message(found.span("quantization"), _QUANTIZATION)
        bits = 8 if name == "signed" else held.integer("bits")
        if not 1 <= bits <= 8:
            raise ValueError(f"weights of {bits} bits")
        size = data.stop - data.start
        count = size * 8 // bits
        kind = "i8" if name == "signed" else "u8"
        parts: dict[str, Any] = {"data": Blob(0, data.start, size, kind, (size,))}
        numbers = wire.message(held.span("linear"), _LINEAR) if "linear" in held else None
        if numbers is not None:
            parts |= {key: self._floats(numbers, key) for key in ("scale", "bias")}
        else:
            parts["table"] = self._floats(wire.message(held.span("table"), {1: "v"}), "v")
        parts["bits"] = Literal("u8", (), bytes([bits]))
        return self._tensors.recipe("quantized", parts, TensorType("f32", (count,)))

    def _floats(self, found: Message, name: str) -> Literal:
        data = b"".join(self._wire.data[at] for at in found.packed(name, 4))
        return Literal("f32", (len(data) // 4,), data)


def _shape_weights(kind: str, params: dict[str, Any]) -> None:
    """Give weights the shape that their layer says. Raises ValueError when it does not fit."""
    wanted = {key: _wanted(kind, key, params) for key in params}
    for key, shape in wanted.items():
        value = params[key]
        if shape is None or not hasattr(value, "shape"):
            continue
        (count,) = value.shape
        needed = math.prod(shape)
        # the last byte of packed weights may hold more than there are
        if needed != count and not (hasattr(value, "encoding") and needed < count < needed + 8):
            raise ValueError(f"a layer has {count} {key}, and its shape is {list(shape)}")
        value.shape = shape


def _wanted(kind: str, key: str, params: dict[str, Any]) -> tuple[int, ...] | None:
    """The shape of some weights; None when one axis is right."""
    if (kind, key) == ("convolution", "weights"):
        kernel = params.get("kernel") or [3, 3]
        groups = params.get("groups", 0) or 1
        out, depth = params.get("out", 0), params.get("depth", 0)
        lead = (depth, out // groups) if params.get("transposed") else (out, depth)
        return (*lead, *kernel)
    names = _SHAPES.get((kind, key))
    if names is None:
        return None
    if names == ("shape",) or names == ("bias_shape",):
        return tuple(params.get(names[0], [])) or None
    return tuple(params.get(name, 0) for name in names)


__all__ = ["read"]
