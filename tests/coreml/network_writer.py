"""Writes small neural networks as `.mlmodel` files, by Apple's NeuralNetwork.proto."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.coreml.writer import ARRAYS, integers, number, part, real, reals, text

Array = np.ndarray[Any, Any]


def weights(at: int, array: Array) -> bytes:
    """Weights as they are: float32, or float16 as bytes."""
    if array.dtype == np.float16:
        return part(at, part(2, array.tobytes()))
    return part(at, reals(1, array.ravel().tolist()))


def quantized(
    at: int, data: bytes, bits: int, scale: Sequence[float], bias: Sequence[float]
) -> bytes:
    """Packed weights with a scale and a bias."""
    linear = part(101, reals(1, scale), reals(2, bias))
    return part(at, part(30, data), part(40, number(1, bits), linear))


def lookup(at: int, data: bytes, bits: int, table: Sequence[float]) -> bytes:
    """Packed indices into a table."""
    return part(at, part(30, data), part(40, number(1, bits), part(102, reals(1, table))))


def layer(
    kind: int, params: bytes, inputs: Sequence[str], outputs: Sequence[str], name: str = "one"
) -> bytes:
    """A layer; `kind` is the number of its field."""
    names = [text(1, name), *(text(2, n) for n in inputs), *(text(3, n) for n in outputs)]
    return part(1, *names, part(kind, params))


def network(
    path: Path,
    layers: Sequence[bytes],
    inputs: Mapping[str, Sequence[int]],
    outputs: Mapping[str, Sequence[int]],
    exact: bool = False,
    field: int = 500,
    extra: bytes = b"",
    images: Mapping[str, tuple[int, int, int]] | None = None,
) -> Path:
    """A model of layers; shapes are those of the description, and may be left out of outputs.

    `images` are more inputs: their width, height and color (10 gray, 20 RGB, 30 BGR).
    """

    def feature(at: int, name: str, shape: Sequence[int]) -> bytes:
        array = part(5, integers(1, shape), number(2, ARRAYS["f32"]))
        return part(at, text(1, name), part(3, array))

    shown = [feature(1, n, s) for n, s in inputs.items()]
    for name, (width, height, color) in (images or {}).items():
        held = part(4, number(1, width), number(2, height), number(3, color))
        shown.append(part(1, text(1, name) + part(3, held)))
    shown += [feature(10, n, s) for n, s in outputs.items()]
    held = b"".join([*layers, number(5, int(exact)), number(6, int(exact)), extra])
    path.write_bytes(number(1, 4) + part(2, *shown) + part(field, held))
    return path


__all__ = ["integers", "layer", "lookup", "network", "number", "part", "quantized", "real",
           "reals", "text", "weights"]  # fmt: skip
