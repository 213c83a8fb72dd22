"""Turns a picture into a model file of one tensor, its pixels: [3, height, width], RGB, 0 to 255.

A picture in a program is a weight like others: its shape is known at build, its numbers are read
when a kernel needs them. Pillow decodes it, the optional extra `images`.
"""

from __future__ import annotations

from contextlib import contextmanager

from tlc.runtime.errors import RunError
from tlc.runtime.model_file import PICTURES, ModelFile, Part, TensorEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator
    from typing import Any

    from numpy.typing import NDArray

PIXELS = "pixels"

_WIDE_MODES = ("I", "F")  # beginnings of Pillow's modes of more than 8 bits
_ORIENTATION = 0x0112  # of Exif: how the camera was held
_ON_ITS_SIDE = (5, 6, 7, 8)


class Pixels:
    """The numbers of a picture, decoded when they are asked for."""

    __slots__ = ("_mapping", "_path", "shape")

    def __init__(self, path: str, mapping: mmap.mmap) -> None:
        """Reads the size. Raises RunError E0601."""
        self._path, self._mapping = path, mapping
        with self._opened() as image:
            width, height = image.size
            on_its_side = image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE
            if on_its_side and image.format != "TIFF":  # which Pillow turns itself
                width, height = height, width
        self.shape = (3, height, width)

    def __call__(self) -> NDArray[Any]:
        """The pixels as float16, which is exact. Raises RunError E0601."""
        import numpy as np

        with self._opened() as image:
            from PIL import ImageOps

            upright = ImageOps.exif_transpose(image).convert("RGB")
            if (3, upright.height, upright.width) != self.shape:
                raise ValueError("its pixels are not as many as it says")
        return np.ascontiguousarray(np.asarray(upright).transpose(2, 0, 1), "<f2")

    def bytes(self) -> bytes:
        """The file."""
        return self._mapping[:]

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """The picture; what Pillow raises or warns of becomes an error that names the file."""
        import io
        import warnings

        try:
            from PIL import Image
        except ModuleNotFoundError:
            raise RunError(
                "E0601",
                f"{self._path}: pictures are read by Pillow, which is not installed",
                "pip install 'tlc[images]'",
            ) from None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what it can read all the same
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                formats = sorted(set(PICTURES.values()))
                with Image.open(io.BytesIO(self.bytes()), formats=formats) as image:
                    if image.mode.startswith(_WIDE_MODES):
                        raise ValueError("it has more than 8 bits to a number")
                    yield image
        except Exception as problem:  # its decoders raise whatever they meet
            text = " ".join(str(problem).split())[:200] or type(problem).__name__
            raise RunError(
                "E0601", f"{self._path}: this picture cannot be read: {text}"
            ) from problem


def read(path: str, mapping: mmap.mmap) -> ModelFile:
    """The picture in a file. Raises RunError E0601."""
    pixels = Pixels(path, mapping)
    entry = TensorEntry(PIXELS, pixels.shape, "rgb8", 0, len(mapping), recipe=pixels)
    return ModelFile(path, "Image", {}, {PIXELS: entry}, [Part(path, mapping, len(mapping))])
