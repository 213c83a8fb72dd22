"""Turns stored numbers into the float16 or float32 that kernels read, at the speed of memory.

This is the quick way of encodings that need no care; `runtime/decode.py` has the others, and
the messages.
"""

from __future__ import annotations

import ctypes
import os

from tlc.runtime.devices import toolchain
from tlc.runtime.devices.cpu import address, load_object, zeroed
from tlc.runtime.errors import RunError
from tlc.runtime.float8 import halves

# (stored in the file, on the device) -> function of native/convert.cpp, bytes per number of both
_FUNCTIONS = {
    ("f32", "f16"): ("tlc_f32_to_f16", 4, 2),
    ("bf16", "f16"): ("tlc_bf16_to_f16", 2, 2),
    ("bf16", "f32"): ("tlc_bf16_to_f32", 2, 4),
    ("f8_e4m3", "f16"): ("tlc_u8_to_f16", 1, 2),
    ("f8_e5m2", "f16"): ("tlc_u8_to_f16", 1, 2),
}

_library: list[ctypes.CDLL | None] = []


def converted(data: memoryview, encoding: str, stored: str) -> memoryview | None:
    """New memory with the numbers of `data`, rounded once to the nearest, ties to even.

    None when this way cannot do it: another encoding, no compiler on this machine, or a result
    that is infinite or NaN, whose reason has to be found.
    """
    if (encoding, stored) not in _FUNCTIONS or not data.nbytes:
        return None
    name, width, made = _FUNCTIONS[encoding, stored]
    library = _loaded()
    if library is None:
        return None
    count = data.nbytes // width
    out = memoryview(zeroed(count * made))
    table = (ctypes.c_uint16 * 256)(*halves(encoding)) if width == 1 else None
    if getattr(library, name)(
        ctypes.c_void_p(address(data)), ctypes.c_void_p(address(out)), ctypes.c_uint64(count), table
    ):
        return None
    return out[: count * made]


def within_float16(data: memoryview) -> bool:
    """Whether it is certain that every bfloat16 of `data` is finite, and so as float16."""
    library = _loaded()
    return library is not None and not library.tlc_bf16_beyond(
        ctypes.c_void_p(address(data)), ctypes.c_uint64(data.nbytes // 2)
    )


def _loaded() -> ctypes.CDLL | None:
    """The compiled functions; None when this machine has no compiler."""
    if not _library:
        with open(os.path.join(toolchain.NATIVE, "convert.cpp"), encoding="utf-8") as file:
            source = file.read()
        try:
            _library.append(load_object(source, uses_header=False))
        except RunError:
            _library.append(None)
    return _library[0]
