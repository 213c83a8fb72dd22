"""Runs a Core ML model by Core ML itself, on macOS: arrays in by name, arrays out by name.

`coremltools` calls the framework; it is imported when the first model is run. An image input gets
the 8-bit picture that `preprocess` made numbers of.
"""

from __future__ import annotations

import sys

from tlc.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tlc.runtime.coreml.records import Feature

_NUMPY = {"f16": "<f2", "f32": "<f4", "i32": "<i4", "bool": "?"}
_PLACES = {"RGB": (0, 1, 2), "BGR": (2, 1, 0), "GRAY": (0,)}  # of red, green and blue; of luma

_loaded: dict[tuple[str, str], Any] = {}  # path and fingerprint -> a model of coremltools


def require() -> Any:
    """The package coremltools on a system that has Core ML. Raises RunError E0615."""
    if sys.platform != "darwin":
        raise RunError(
            "E0615",
            f"Core ML is a part of macOS, and this is {sys.platform}",
            "without `--engine coreml` the model is compiled like the rest of the program",
        )
    try:
        import coremltools
    except ImportError as problem:
        raise RunError(
            "E0615",
            f"Core ML is called through coremltools, which is not there: {problem}",
            "install it: pip install 'tlc[coreml]' (Python up to 3.13)",
        ) from None
    return coremltools


def predict(
    file: Any,
    given: Mapping[str, tuple[str, tuple[int, ...], memoryview]],
    wanted: Mapping[str, tuple[str, tuple[int, ...]]],
) -> list[bytes]:
    """The outputs of an open model, as bytes of the dtype and shape that each is wanted in.

    `given` are the inputs: dtype, shape and bytes. Raises RunError E0615 without Core ML, and when
    it refuses the model or its inputs or gives something else.
    """
    import numpy as np

    model = _model(file)
    features = {feature.name: feature for feature in file.description.inputs}
    inputs: dict[str, Any] = {}
    for name, (dtype, shape, data) in given.items():
        array = np.frombuffer(data, _NUMPY[dtype]).reshape(shape)
        inputs[name] = _input(np, file, features.get(name), array)
    try:
        found = model.predict(inputs)
    except Exception as problem:  # of Core ML, in whatever form coremltools hands it on
        raise RunError("E0615", f"{file.path}: Core ML does not run it: {problem}") from problem
    return [_output(np, file, found, name, *type) for name, type in wanted.items()]


def _model(file: Any) -> Any:
    key = file.path, file.fingerprint
    if key not in _loaded:
        models = require().models
        compiled = file.path.rstrip("/").lower().endswith(".mlmodelc")
        make = models.CompiledMLModel if compiled else models.MLModel
        try:
            _loaded[key] = make(file.path)
        except Exception as problem:  # as above
            text = f"{file.path}: Core ML does not load it: {problem}"
            raise RunError("E0615", text) from problem
    return _loaded[key]


def _input(np: Any, file: Any, feature: Feature | None, array: Any) -> Any:
    """An input as Core ML takes it: an array, or the picture that `preprocess` made numbers of."""
    if feature is None or feature.image is None:
        return array
    try:
        from PIL import Image
    except ImportError:
        raise RunError(
            "E0615",
            f"{file.path}: Core ML takes pictures of Pillow, which is not installed",
            "pip install 'tlc[images]'",
        ) from None

    color = feature.image.color
    scale, *bias = 1.0, 0.0, 0.0, 0.0, 0.0
    if file.network is not None:
        scalers = file.network.scalers
        scale, *bias = scalers.get(feature.name) or scalers.get("") or (scale, *bias)
    shifts = (bias[3],) if color == "GRAY" else tuple(bias[at] for at in _PLACES[color])
    pixels = array.reshape(array.shape[-3:]).astype(np.float32)
    pixels = (pixels - np.array(shifts, np.float32)[:, None, None]) / (scale or 1.0)
    planes = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)[list(_PLACES[color])]
    return Image.fromarray(planes[0] if color == "GRAY" else planes.transpose(1, 2, 0).copy())


def _output(np: Any, file: Any, found: Any, name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    """One output in the dtype and shape that the program expects."""
    value = found.get(name) if isinstance(found, dict) else None
    if isinstance(value, dict):
        raise RunError(
            "E0615",
            f"{file.path}: Core ML gives `{name}` by labels, whose order it does not say",
            "without `--engine coreml` the probabilities are a tensor",
        )
    array = None if value is None else np.asarray(value)
    if array is None or array.dtype.kind not in "fiub" or array.size != np.prod(shape, dtype=int):
        have = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
        text = f"{file.path}: Core ML gives {have} as `{name}`, and {list(shape)} was expected"
        raise RunError("E0615", text)
    with np.errstate(over="ignore"):
        return bytes(array.astype(_NUMPY[dtype]).tobytes())
