"""The genuine metalcompute extension, built here: its own C file over a Swift side of ours.

Only the C file of the published source distribution is used, as it is. What its Swift file does
with Metal is done by `Gpu`, in the same order and with the same numbers of errors.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tarfile
import warnings
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.metal.gpu import WIDTH, CommandBuffer, Dispatch, Gpu, most_threads
from tests.metal.native import compiled
from tlc.runtime.devices import toolchain
from tlc.runtime.errors import RunError
from tlc.runtime.msl.build import Kernels
from tlc.runtime.msl.emulator import EmulatedBuffer

VERSION = "0.2.9"
SHA256 = "8e06ee4616cf3aa26384d8ff10e910c19ae4d8bc85a9ae2f202f5134729c46c6"

CANNOT_CREATE_DEVICE, FAILED_TO_COMPILE = -1, -4
CANNOT_CREATE_PIPELINE = -11  # by which the C file understands "Cannot create command encoder"
DEVICE_NOT_FOUND, KERNEL_NOT_FOUND, FUNCTION_NOT_FOUND = -1000, -1001, -1002
COULD_NOT_MAKE_BUFFER, BUFFER_NOT_FOUND, RUN_NOT_FOUND = -1003, -1004, -1005
MOST_BUFFERS = 31


class NotHere(Exception):
    """Why the extension cannot be built on this machine."""


def extension() -> ModuleType:
    """The module `metalcompute`, built once for this Python. Raises NotHere."""
    if reason := toolchain.why_not():
        raise NotHere(reason)
    include = sysconfig.get_path("include")
    if not os.path.exists(os.path.join(include, "Python.h")):
        raise NotHere("the headers of this Python are not installed")

    def published(folder: Path) -> list[str]:
        file = folder / "metalcompute.c"
        file.write_bytes(genuine(folder))
        return [str(file), f"-I{include}"]

    abi = sysconfig.get_config_var("SOABI") or sys.version
    path = compiled(["swift_side.c"], [SHA256, abi], published)
    loader = ExtensionFileLoader("metalcompute", path)
    spec = importlib.util.spec_from_file_location("metalcompute", path, loader=loader)
    assert spec
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it makes a type without a module
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    return module


def genuine(folder: Path) -> bytes:
    """metalcompute.c as it was published. Raises NotHere when pip cannot get it."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"metalcompute=={VERSION} --hash=sha256:{SHA256}\n")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-binary", ":all:")
    where = ("--require-hashes", "-r", str(wanted), "-d", str(folder))
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, *where],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it says nothing"]
        raise NotHere(f"pip cannot get metalcompute {VERSION}: {last[0]}")
    packed = folder / f"metalcompute-{VERSION}.tar.gz"
    assert hashlib.sha256(packed.read_bytes()).hexdigest() == SHA256
    with tarfile.open(packed) as archive:
        file = archive.extractfile(f"metalcompute-{VERSION}/src/metalcompute.c")
        assert file
        return file.read()


class SwiftSide:
    """What metalcompute has open, by id, on a `Gpu`; None is a Mac without one."""

    def __init__(self, module: ModuleType, gpu: Gpu | None) -> None:
        self.gpu = gpu
        self.open: dict[int, Any] = {}
        self.broken = False  # whether no pipeline can be made
        self._next, self._message = 4242, b""
        self._table = self._functions()
        library = ctypes.PyDLL(module.__file__)
        slots = (ctypes.c_void_p * len(self._table)).in_dll(library, "swift_side")
        slots[:] = [ctypes.cast(function, ctypes.c_void_p).value for function in self._table]

    def _functions(self) -> list[Any]:
        """The table of swift_side.c, in its order."""
        i64, text, address = ctypes.c_int64, ctypes.c_char_p, ctypes.c_void_p
        ids = ctypes.POINTER(i64)

        def made(function: Callable[..., Any], *types: Any, result: Any = i64) -> Any:
            return ctypes.PYFUNCTYPE(result, *types)(function)

        return [
            made(self._open_device, i64),
            made(self._open_kernel, i64, text),
            made(self._open_function, i64, i64, text),
            made(self._open_buffer, i64, i64, address),
            made(self._open_run, i64, i64, i64, ids, i64),
            made(self._close, i64),
            made(self._contents, i64, result=address),
            made(self._write_message, address, i64),
        ]

    def count(self, kind: type) -> int:
        return sum(isinstance(each, kind) for each in self.open.values())

    def _opened(self, what: object) -> int:
        self._next += 1
        self.open[self._next] = what
        return self._next

    def _open_device(self, index: int) -> int:
        if self.gpu is None or index > 0:
            return CANNOT_CREATE_DEVICE
        return self._opened(self.gpu)

    def _open_kernel(self, device: int, text: bytes) -> int:
        if device not in self.open:
            return DEVICE_NOT_FOUND
        assert self.gpu
        try:
            return self._opened(self.gpu.compile(text.decode()))
        except RunError as error:
            self._message = error.message.encode()
            return FAILED_TO_COMPILE

    def _open_function(self, device: int, kernel: int, name: bytes) -> int:
        kernels: Kernels | None = self.open.get(kernel)
        if kernels is None:
            return KERNEL_NOT_FOUND
        function = kernels.functions.get(name.decode())
        return FUNCTION_NOT_FOUND if function is None else self._opened((kernels, function))

    def _open_buffer(self, device: int, length: int, source: int | None) -> int:
        if device not in self.open:
            return DEVICE_NOT_FOUND
        if length <= 0:
            return COULD_NOT_MAKE_BUFFER
        try:
            made = EmulatedBuffer(length)
        except MemoryError:
            return COULD_NOT_MAKE_BUFFER
        made.fresh(False)  # Metal gives zeros
        if source:
            made.write(ctypes.string_at(source, length))
        return self._opened(made)

    def _contents(self, buffer: int) -> int:
        found: EmulatedBuffer = self.open[buffer]
        return ctypes.addressof(ctypes.c_char.from_buffer(found.view))

    def _open_run(self, device: int, function: int, count: int, ids: Any, number: int) -> int:
        assert self.gpu
        if function not in self.open:
            return FUNCTION_NOT_FOUND
        kernels, compiled = self.open[function]
        size = most_threads(compiled) // WIDTH * WIDTH
        assert size, f"{compiled.name}: metalcompute divides by the width and ends the process"
        if self.broken:
            return CANNOT_CREATE_PIPELINE
        buffers = [self.open.get(ids[index]) for index in range(number)]
        if number > MOST_BUFFERS or not all(isinstance(b, EmulatedBuffer) for b in buffers):
            return BUFFER_NOT_FOUND
        groups = -(-count // size)
        bound = {index: (buffer, 0) for index, buffer in enumerate(buffers) if buffer}
        work = CommandBuffer([Dispatch(kernels, compiled, groups, size, bound)])
        self.gpu.commit(work)
        return self._opened(work)

    def _close(self, id: int) -> int:
        found = self.open.pop(id, None)
        if found is None:
            return RUN_NOT_FOUND
        if isinstance(found, CommandBuffer):
            assert self.gpu
            self.gpu.wait(found)
        return 0

    def _write_message(self, room: int, size: int) -> int:
        ctypes.memmove(room, self._message[: size - 1] + b"\0", min(len(self._message) + 1, size))
        return 0
