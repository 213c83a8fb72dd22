"""Turns the bytes of a tensor into the text that `print` shows."""

from __future__ import annotations

import math
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 1000  # elements that are printed in full, as in NumPy
_EDGE = 3  # items kept at both ends of an axis that is cut

# dtype -> struct code
_CODES = {"f16": "e", "f32": "f", "i32": "i", "bool": "B"}


def format_float(value: float, dtype: str) -> str:
    """The shortest decimal that reads back as the same `dtype`, "f16" or "f32".

    `value` is a number of that type. Written as Python writes floats: 2.21, 65500.0, 6e-08, nan.
    """
    if not math.isfinite(value):
        return repr(value)
    code = _CODES[dtype]
    stored = struct.pack(code, value)
    # Below a power of two the neighbours are twice as close as above it, so there a decimal that
    # is not the nearest may be the shortest: try the next one away from zero as well.
    lopsided = math.frexp(value)[0] in (0.5, -0.5)
    for precision in range(9):  # 9 digits tell all float32 apart
        text = f"{value:.{precision}e}"
        if _reads_back(text, code, stored):
            break
        if lopsided:
            digits, exponent = text.split("e")
            last = int(digits.replace(".", "")) + (1 if value > 0 else -1)
            text = f"{last}e{int(exponent) - precision}"
            if _reads_back(text, code, stored):
                break
    return repr(float(text))


def _reads_back(text: str, code: str, stored: bytes) -> bool:
    try:
        return struct.pack(code, float(text)) == stored
    except OverflowError:
        return False


def format_tensor(
    data: bytes | memoryview,
    dtype: str,
    shape: tuple[int, ...],
    full: bool = False,
    digits: int | None = None,
) -> str:
    """Nested brackets on one line: `[[2.21, 2.82], [4.91, 6.418]]`; rank 0 is the bare value.

    `data` holds the row-major elements of `dtype` "f16", "f32", "i32" or "bool" (one byte each).
    Past 1000 elements only the three items at both ends of each longer axis are shown, unless
    `full`; the others are not even decoded. `digits` is how many each number has behind the point,
    the shortest that reads back when None.
    """
    code = "<" + _CODES[dtype]
    item = _item(dtype, digits)
    size = struct.calcsize(code)
    view = memoryview(data).cast("B")
    assert len(view) == size * math.prod(shape), (len(view), dtype, shape)
    cut = not full and math.prod(max(dim, 1) for dim in shape) > _MOST

    def show(axis: int, at: int) -> str:
        """The text of the part that starts at byte `at` and has the axes from `axis` on."""
        if axis == len(shape):
            return item(struct.unpack_from(code, view, at)[0])
        dim, stride = shape[axis], size * math.prod(shape[axis + 1 :])
        if cut and dim > 2 * _EDGE:
            shown = [show(axis + 1, at + stride * index) for index in range(_EDGE)]
            shown.append("...")
            shown += [show(axis + 1, at + stride * index) for index in range(dim - _EDGE, dim)]
        else:
            shown = [show(axis + 1, at + stride * index) for index in range(dim)]
        return f"[{', '.join(shown)}]"

    return show(0, 0)


def format_whole(value: int, digits: int | None) -> str:
    """A whole number, with zeros behind the point when digits are asked for."""
    return f"{value}.{'0' * digits}" if digits else str(value)


def form_of(spec: str) -> tuple[str, int | None]:
    """The width (`>8`, or nothing) and the digits of a form: `>8`, `.2` or `>8.2`."""
    width, point, digits = spec.partition(".")
    return width, int(digits) if point else None


def padded(text: str, width: str) -> str:
    """A text with spaces up to a width; longer ones stay as they are."""
    return f"{text:{width}}" if width else text


def _item(dtype: str, digits: int | None) -> Callable[[float], str]:
    match dtype:
        case "bool":
            return lambda value: "true" if value else "false"
        case "i32":
            return lambda value: format_whole(int(value), digits)
        case _ if digits is not None:
            return lambda value: f"{value:.{digits}f}"
        case _:
            return lambda value: format_float(value, dtype)
