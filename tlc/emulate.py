"""`tlc emulate`: launches a kernel of any Metal file on the emulator, on arrays of .npy files."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc import driver
from tlc.arrays import NUMPY, read_npy, write_npy
from tlc.runtime.devices.emulator import broken
from tlc.runtime.errors import RunError
from tlc.runtime.msl.build import build
from tlc.runtime.msl.emulator import (
    ORDERS,
    EmulatedBuffer,
    Schedule,
    launch,
    stored_without_value,
)

ODD = (3, 33, 7, 5)  # sizes of arguments that are made at random


def emulate(path: str, options: dict[str, Any]) -> int:
    """Launch one kernel, and write the buffers that are asked for.

    Raises RunError E0504 for arguments that do not fit and E0704 for what the kernel does wrong.
    """
    text = driver.read(path)
    mode, order = options["mode"], options["order"]
    constants = dict(_pair(word, 65535) for word in options["constant"])
    folders = [os.path.dirname(path) or ".", *options["include"]]
    made = build(text, path, mode, constants=constants, folders=folders, version=options["metal"])
    room = {index: _count(what) for index, what in map(_pair, options["threadgroup"])}
    arrays = {index: _array(what) for index, what in map(_pair, options["buffer"])}
    buffers: dict[int, EmulatedBuffer] = {}
    for index, array in arrays.items():
        buffers[index] = EmulatedBuffer(array.nbytes)
        buffers[index].write(np.ascontiguousarray(array).tobytes())
    name = options["entry"] or next(iter(made.functions), "")
    found = launch(
        made, name, buffers, _numbers(options["groups"]), _numbers(options["threads"]),
        grid=_numbers(options["grid"]) if options["grid"] else None,
        threadgroup_bytes=room, schedule=Schedule(order), texts={path: text},
    )  # fmt: skip
    if mode == "poison":
        found += stored_without_value(made.function(name), buffers)
    if found:
        raise broken(found)
    for index, file in map(_pair, options["output"]):
        if index not in arrays:
            raise RunError("E0504", f"there is no buffer {index} to write")
        like = arrays[index]
        result = np.frombuffer(bytes(buffers[index].view), like.dtype).reshape(like.shape)
        write_npy(file, result)
    print(f"ok {name}")
    return 0


def _pair(word: str, most: int = 30) -> tuple[int, str]:
    index, equals, value = word.partition("=")
    if not equals or not index.isdecimal() or int(index) > most:
        raise RunError("E0504", f"`{word}` is not INDEX=VALUE, with an index from 0 to {most}")
    return int(index), value


def _count(text: str) -> int:
    if not text.isdecimal():
        raise RunError("E0504", f"`{text}` is no number of bytes")
    return int(text)


def _array(what: str) -> NDArray[Any]:
    """An array of a .npy file, zeros for `float32:64`, or the numbers of `int32[3,70]`."""
    dtype, colon, count = what.partition(":")
    listed = re.fullmatch(r"(\w+)\[(.*)\]", what)
    try:
        if listed:
            array = np.array(listed[2].split(",")).astype(np.dtype(listed[1]))
        elif colon and count.isdecimal():
            array = np.zeros(int(count), np.dtype(dtype))
        else:
            return read_npy(what)
        if array.dtype.kind not in "biuf":
            raise ValueError("buffers hold numbers")
        return array
    except (ValueError, TypeError, OverflowError, MemoryError) as problem:
        raise RunError("E0504", f"{what} is no array: {problem}") from None


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) > 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise RunError("E0504", f"`{text}` is not one to three numbers, as in 8,8,1")
    return tuple(map(int, parts))


def check_program(path: str) -> None:
    """Run a program on the emulator in every order of threads, and follow its values.

    That is `main`, the `test` blocks, and every function with arguments made at random, where its
    parameters have plain sizes. What comes out must be the same each time. Raises RunError E0704.
    """
    from tlc.runtime.devices.emulator import EmulatorDevice
    from tlc.runtime.loader import load

    built: Any = driver.build(path, blocks=True)
    before: dict[str, list[Any]] = {}
    for mode, order in (*(("checked", o) for o in ORDERS), ("poison", ORDERS[0])):
        device: Any = EmulatorDevice(mode, Schedule(order))
        program = load(built, device, [os.path.dirname(path), ""])
        for name, entry in program.entries.items():
            if name.startswith("bench ") or (args := sampled(entry)) is None:
                continue
            came: list[Any] = []
            try:
                came += [bytes(data) for data, *_ in program.call(entry, args, came.append)]
            except RunError as problem:
                if problem.code == "E0704" or not args:
                    raise
                came.append(problem.message)  # arguments at random may be wrong ones
            if before.setdefault(name, came) != came:
                what = f"what `{name}` gives depends on the order of threads: {order}"
                raise RunError("E0704", what)


def sampled(entry: Any, odd: tuple[int, ...] = ODD) -> list[NDArray[Any]] | None:
    """Arguments at random for an entry; None where a size is computed from others."""
    rng = np.random.default_rng(1)
    sizes: dict[str, int] = {}
    args: list[NDArray[Any]] = []
    for param in entry.params:
        if any(isinstance(size, list) for size in param["shape"]):
            return None
        shape = [
            sizes.setdefault(size, odd[len(sizes) % len(odd)]) if isinstance(size, str) else size
            for size in param["shape"]
        ]
        if param["dtype"] in ("i32", "bool"):
            args.append(rng.integers(0, 2, shape).astype(NUMPY[param["dtype"]]))
        else:
            args.append(rng.standard_normal(shape).astype(NUMPY[param["dtype"]]))
    return args
