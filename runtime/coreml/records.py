"""What a Core ML model holds, as plain records: of packages, older files and compiled models alike.

Types are named as the compiler names them: f16, f32, i32, bool, str, and i8, u8, ... of what is
stored. A dimension that the model leaves open is None. Operands say `what` they are: a `ref`, a
`literal` or `stored`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class TensorType:
    """A dtype and a shape."""

    __slots__ = ("dtype", "shape")

    def __init__(self, dtype: str, shape: tuple[int | None, ...]) -> None:
        self.dtype, self.shape = dtype, shape


class Ref:
    """An input of the program, or what an operation gave."""

    __slots__ = ("name",)
    what = "ref"

    def __init__(self, name: str) -> None:
        self.name = name


class Literal:
    """Numbers or texts that stand in the program itself: little-endian bytes, or a tuple of str."""

    __slots__ = ("data", "dtype", "shape")
    __match_args__ = ("dtype", "shape", "data")
    what = "literal"

    def __init__(
        self, dtype: str, shape: tuple[int, ...], data: bytes | memoryview | tuple[str, ...]
    ) -> None:
        self.dtype, self.shape, self.data = dtype, shape, data


class Stored:
    """A tensor of the model file, by its name there."""

    __slots__ = ("dtype", "name", "shape")
    what = "stored"

    def __init__(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        self.name, self.dtype, self.shape = name, dtype, shape


class Operation:
    """One MIL operation; an argument is a tuple, as some take any number of values."""

    __slots__ = ("inputs", "kind", "name", "outputs")

    def __init__(
        self,
        kind: str,
        name: str,
        inputs: Mapping[str, tuple[Any, ...]],
        outputs: list[tuple[str, TensorType]],
    ) -> None:
        self.kind, self.name, self.inputs, self.outputs = kind, name, inputs, outputs


class Program:
    """A function of an ML program: its inputs, its operations in order, the names it returns."""

    __slots__ = ("inputs", "operations", "opset", "outputs")

    def __init__(
        self,
        opset: str,
        inputs: list[tuple[str, TensorType]],
        operations: list[Operation],
        outputs: list[str],
    ) -> None:
        self.opset, self.inputs = opset, inputs
        self.operations, self.outputs = operations, outputs


class Layer:
    """A layer of a neural network of before ML programs; `params` is None for an unknown kind."""

    __slots__ = ("inputs", "kind", "name", "outputs", "params")

    def __init__(
        self,
        kind: str,
        name: str,
        inputs: list[str],
        outputs: list[str],
        params: dict[str, Any] | None,
    ) -> None:
        self.kind, self.name, self.params = kind, name, params
        self.inputs, self.outputs = inputs, outputs


class Network:
    """A neural network: its layers in order.

    Without `exact` every value has five axes, [sequence, batch, channels, height, width].
    `scalers` are what an input image is multiplied with and what is added, by feature: (scale,
    red, green, blue, gray). `probabilities` names the value that a classifier gives, where it says.
    """

    __slots__ = ("exact", "exact_images", "layers", "probabilities", "scalers")

    def __init__(
        self,
        layers: list[Layer],
        exact: bool,
        exact_images: bool,
        scalers: dict[str, tuple[float, ...]],
        probabilities: str = "",
    ) -> None:
        self.probabilities = probabilities
        self.layers, self.exact, self.exact_images = layers, exact, exact_images
        self.scalers = scalers


class Image:
    """What an image has to be as an input: size in pixels; `RGB`, `BGR` or `GRAY`."""

    __slots__ = ("color", "height", "width")

    def __init__(self, width: int, height: int, color: str) -> None:
        self.width, self.height, self.color = width, height, color


class Feature:
    """An input or output as the model describes it.

    `shape` is that of a tensor, its open dimensions None; `ranges` then holds the least and largest
    size of every dimension, the largest None where there is no limit; `shapes` lists the shapes of
    an input that takes only some.
    """

    __slots__ = ("dtype", "image", "name", "note", "optional", "ranges", "shape", "shapes")

    def __init__(
        self,
        name: str,
        note: str = "",
        optional: bool = False,
        dtype: str = "",
        shape: tuple[int | None, ...] | None = None,
        ranges: list[tuple[int, int | None]] | None = None,
        shapes: list[tuple[int, ...]] | None = None,
        image: Image | None = None,
    ) -> None:
        self.name, self.note, self.optional, self.dtype = name, note, optional, dtype
        self.shape, self.ranges, self.shapes, self.image = shape, ranges, shapes, image
