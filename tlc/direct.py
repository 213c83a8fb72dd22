"""An entry on the cpu device to a builtin function that takes and returns NumPy arrays.

A call in Python checks, looks up and converts for some microseconds; for small programs that is
most of the time. When arguments are arrays of the shapes and dtypes of the call before, all of it
is known: `native/call.cpp` compares, copies and launches.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from tlc.arrays import DTYPES
from tlc.runtime.devices import toolchain
from tlc.runtime.devices.cpu import CpuDevice, load_object
from tlc.runtime.format import numel
from tlc.runtime.program import Program

_FASTCALL = 0x82  # METH_FASTCALL | METH_KEYWORDS
_HEAD = 16  # bytes of an object before its own fields: a reference count and a type


class _Definition(ctypes.Structure):
    """A PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_definitions: list[_Definition] = []


def direct(
    program: Any, name: str, shapes: tuple[tuple[int, ...], ...], otherwise: Callable[..., Any]
) -> Callable[..., Any] | None:
    """A function for arguments of these shapes, which the entry was called with before.

    It gives all other arguments to `otherwise`. None where a call is more than launches, or where
    arrays do not lie in memory as expected. Raises RunError E0701, E0703.
    """
    if not isinstance(program, Program) or not isinstance(program.device, CpuDevice):
        return None
    entry = program.entry(name)
    bound = entry.bound(shapes)
    steady = bound.steady()
    if steady is None or not all(numel(s, {}) for _, _, s in steady.results) or not _known():
        return None
    batch: Any = steady.batch
    words = [0, 0, program.device.runner, batch.address, id(np.ndarray)]
    words += [len(shapes), len(steady.results), len(steady.flags)]
    for param, buffer, shape in zip(entry.params, bound.inputs, shapes, strict=True):
        memory: Any = buffer
        words += [memory.address, buffer.nbytes, id(DTYPES[param["dtype"]]), len(shape), *shape]
    flags: Any = steady.flags
    words += [flag.address for flag in flags]
    call = (ctypes.c_uint64 * len(words))(*words)
    copies = []
    for memory, dtype, shape in steady.results:
        kind = DTYPES[dtype]
        copies.append(np.frombuffer(memory.view, kind, numel(shape, {})).reshape(shape).copy)
    kept = (ctypes.addressof(call), program.lock.acquire, program.lock.release, otherwise)
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    made: Callable[..., Any] = make(
        ctypes.addressof(_definition()), (*kept, *copies, call, bound), None
    )
    return made


def _definition() -> _Definition:
    if not _definitions:
        with open(os.path.join(toolchain.NATIVE, "call.cpp"), encoding="utf-8") as file:
            loaded = load_object(file.read(), uses_header=False)
        function = ctypes.cast(loaded.tlc_call, ctypes.c_void_p)
        text = b"An entry of a compiled program."
        _definitions.append(_Definition(b"entry", function, _FASTCALL, text))
    return _definitions[0]


def _known() -> bool:
    """Whether an array lies in memory as call.cpp reads it."""
    if object.__basicsize__ != _HEAD or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    array = np.zeros((3, 5), np.float16)
    fields = (ctypes.c_uint64 * 9).from_address(id(array))
    shape = (ctypes.c_int64 * 2).from_address(fields[4])
    return (
        fields[1] == id(np.ndarray)
        and fields[2] == array.__array_interface__["data"][0]
        and fields[3] & 0xFFFFFFFF == 2
        and tuple(shape) == array.shape
        and fields[7] == id(array.dtype)
        and fields[8] & 0xFFFFFFFF == array.flags.num
    )
