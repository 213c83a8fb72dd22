"""The metal device over a stand-in for metalcompute that has the same traps as the real package."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tlc.runtime.devices import Kernel, Launch, metal, objc
from tlc.runtime.devices.metal import MetalDevice
from tlc.runtime.devices.select import available, open_device
from tlc.runtime.errors import RunError


class Failure(Exception):
    """metalcompute.error"""


class Gpu:
    """What happened below the stand-in."""

    def __init__(self) -> None:
        self.queued: list[Work] = []
        self.most_queued = 0
        self.copies = 0  # buffers made from an exporter: the host's bytes twice
        self.buffers = 0
        self.compiled = 0
        self.looked_up: list[str] = []
        self.pools: list[str] = []
        self.limit = 1 << 40
        self.broken = False


class Memory(bytearray):
    """metalcompute.Buffer: the buffer protocol and nothing else."""

    gpu: Gpu

    def __del__(self) -> None:
        self.gpu.buffers -= 1


class Work:
    """A command buffer in the queue, and the buffers it uses."""

    def __init__(self, body: Any, buffers: list[Memory]) -> None:
        self.body, self.buffers = body, buffers


class Run:
    """What a launch returns. Letting go of it waits for this launch, and for no unrelated one."""

    def __init__(self, gpu: Gpu, work: Work) -> None:
        self.gpu, self.work = gpu, work
        gpu.queued.append(work)
        gpu.most_queued = max(gpu.most_queued, len(gpu.queued))

    def __del__(self) -> None:
        queued = self.gpu.queued
        if self.work not in queued:
            return
        needed: list[Work] = [self.work]
        touched = {id(buffer) for buffer in self.work.buffers}
        for earlier in reversed(queued[: queued.index(self.work)]):
            if touched & {id(buffer) for buffer in earlier.buffers}:
                needed.insert(0, earlier)
                touched |= {id(buffer) for buffer in earlier.buffers}
        for work in needed:
            queued.remove(work)
            work.body()


class Function:
    def __init__(self, gpu: Gpu, name: str) -> None:
        self.gpu, self.name = gpu, name

    def __call__(self, count: Any, *buffers: Any) -> Run:
        if not isinstance(count, int):
            raise Failure("Expected integer kernel count")
        if not 1 <= len(buffers) <= 31:
            raise Failure("Buffer not found")
        made = [
            each if isinstance(each, Memory) else make_buffer(self.gpu, each) for each in buffers
        ]
        if self.gpu.broken:
            raise Failure("Cannot create command encoder")
        if len(self.gpu.queued) >= 64:
            pytest.fail("the 65th command buffer blocks the process")
        return Run(self.gpu, Work(lambda: BODIES[self.name](count, *made), made))


def make_buffer(gpu: Gpu, what: Any) -> Memory:
    """An exporter wins over a number; whatever is left is a size."""
    try:
        content = memoryview(what)
    except TypeError:
        size = int(what)
        if not 0 < size <= gpu.limit:
            raise Failure("Could not make buffer") from None
        made = Memory(size)
    else:
        if not content.c_contiguous:
            raise Failure("Unsupported input format")
        if not content.nbytes:
            raise Failure("Could not make buffer")
        gpu.copies += 1
        made = Memory(content.cast("B"))
    made.gpu = gpu
    gpu.buffers += 1
    return made


def words(memory: Memory) -> Any:
    return np.frombuffer(memory, np.uint32)


def step(count: int, y: Memory) -> None:
    words(y)[:] = words(y) * 3 + 1


def add(count: int, x: Memory, y: Memory, dims: Memory) -> None:
    n = int(words(dims)[0])
    words(y)[:n] += words(x)[:n]


def threads(count: int, y: Memory) -> None:
    words(y)[0] = count


BODIES: dict[str, Any] = {
    "step": step,
    "add": add,
    "threads": threads,
    "many": lambda count, *buffers: None,
}


class Compiled:
    def __init__(self, gpu: Gpu, text: Any) -> None:
        if not isinstance(text, str):
            raise TypeError("argument 1 must be str")
        if "nope" in text:
            raise Failure("program_source:3:5: error: use of undeclared identifier 'nope'")
        self.gpu, gpu.compiled = gpu, gpu.compiled + 1

    def function(self, name: str) -> Function:
        if name not in BODIES:
            raise Failure("Function not found")
        self.gpu.looked_up.append(name)
        return Function(self.gpu, name)


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="arm64", release="23.6.0"))
    monkeypatch.setattr(sys, "version_info", (3, 13, 1))


@pytest.fixture
def gpu(mac: None, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A Mac with metalcompute."""
    gpu = Gpu()
    module = ModuleType("metalcompute")
    module.error = Failure  # type: ignore[attr-defined]
    module.Device = lambda: SimpleNamespace(  # type: ignore[attr-defined]
        kernel=lambda text: Compiled(gpu, text), buffer=lambda what: make_buffer(gpu, what)
    )
    monkeypatch.setitem(sys.modules, "metalcompute", module)

    def push() -> int:
        gpu.pools.append("push")
        return len(gpu.pools)

    monkeypatch.setattr(
        objc, "autorelease_pools", lambda: (push, lambda token: gpu.pools.append(f"pop {token}"))
    )
    return gpu


@pytest.fixture
def device(gpu: Gpu) -> Iterator[MetalDevice]:
    opened = MetalDevice()
    yield opened
    opened.close()
    assert not gpu.queued


KERNELS = {name: Kernel(name, 64) for name in BODIES}


def library(device: MetalDevice) -> metal.MetalLibrary:
    return device.library("kernel void step() {}", list(KERNELS.values()))


def uints(device: MetalDevice, buffer: metal.MetalBuffer, count: int) -> list[int]:
    return [int(word) for word in np.frombuffer(device.read(buffer, 4 * count), np.uint32)]


def test_reading_waits_for_every_launch(device: MetalDevice, gpu: Gpu) -> None:
    x, y = device.buffer(16), device.buffer(16)
    launches = [Launch(KERNELS["step"], [each], 4) for each in (y, y, x)]
    batch = device.batch(library(device), launches)
    device.run(batch)
    assert bytes(y.view) == bytes(16)  # still queued
    assert uints(device, y, 4) == [4] * 4
    assert not gpu.queued
    device.run(batch)
    device.write(x, b"\1")
    assert uints(device, x, 2) == [1, 4]


def test_the_queue_never_fills(device: MetalDevice, gpu: Gpu) -> None:
    y = device.buffer(4)
    batch = device.batch(library(device), [Launch(KERNELS["step"], [y], 1)] * 150)
    wanted = 0
    for _ in range(3):
        device.run(batch)
        for _ in range(150):
            wanted = (wanted * 3 + 1) % 2**32
    assert uints(device, y, 1) == [wanted]
    assert gpu.most_queued == metal.MAX_IN_FLIGHT


def test_dims_are_one_lasting_buffer_per_launch(device: MetalDevice, gpu: Gpu) -> None:
    x, y = device.constant(np.arange(8, dtype=np.uint32).data), device.buffer(32)
    dims = [np.array([n], np.uint32).tobytes() for n in (8, 3)]
    launches = [Launch(KERNELS["add"], [x, y], 1, each) for each in dims]
    before = gpu.buffers
    batch = device.batch(library(device), launches)
    assert gpu.buffers == before + 2
    for _ in range(10):
        device.run(batch)
    assert gpu.buffers == before + 2
    assert uints(device, y, 8) == [0, 20, 40, 30, 40, 50, 60, 70]
    assert gpu.copies == 0  # nothing but buffers of its own went to metalcompute
    del batch, launches
    assert gpu.buffers == before


def test_threads_are_counted_not_threadgroups(device: MetalDevice, gpu: Gpu) -> None:
    y = device.buffer(4)
    groups: Any = np.int64(5)  # metalcompute takes plain ints
    device.run(device.batch(library(device), [Launch(KERNELS["threads"], [y], groups)]))
    assert uints(device, y, 1) == [320]
    device.run(device.batch(library(device), [Launch(KERNELS["threads"], [y], 0)]))
    assert uints(device, y, 1) == [320]


def test_buffers(device: MetalDevice, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = device.buffer(0)
    assert (empty.nbytes, len(empty.view)) == (0, 16)
    size: Any = np.int64(1024)  # as it is, this would be a buffer of 8 bytes
    assert len(device.buffer(size).view) == 1024
    device.write(empty, b"")
    assert bytes(device.read(empty, 0)) == b""
    gpu.limit = 1000
    with pytest.raises(MemoryError, match="1001 bytes"):
        device.buffer(1001)
    gpu.limit = 1 << 40

    monkeypatch.setattr(metal, "COPY_BYTES", 1000)
    weights = np.arange(3333, dtype=np.float32)
    constant = device.constant(weights.data)
    assert bytes(device.read(constant, weights.nbytes)) == weights.tobytes()
    assert gpu.copies == 0


def test_nothing_is_left_behind(gpu: Gpu) -> None:
    device = MetalDevice()
    y = device.buffer(4)
    batch = device.batch(library(device), [Launch(KERNELS["step"], [y], 1)] * 100)
    for _ in range(5):
        device.run(batch)
        device.read(y, 4)
    device.close()
    del batch, y, device
    assert (gpu.buffers, gpu.queued) == (0, [])
    assert gpu.pools == [f"pop {i}" if i % 2 else "push" for i in range(20)]


def test_one_text_is_compiled_once_and_functions_are_looked_up_once(
    device: MetalDevice, gpu: Gpu
) -> None:
    compiled = library(device)
    for _ in range(3):
        device.run(device.batch(compiled, [Launch(KERNELS["step"], [device.buffer(4)], 1)]))
    assert (gpu.compiled, sorted(gpu.looked_up)) == (1, sorted(BODIES))


def test_refusals(device: MetalDevice, gpu: Gpu) -> None:
    with pytest.raises(RunError, match=r"E0703.*Metal refuses.*\n.*undeclared identifier 'nope'"):
        device.library("nope", [])
    with pytest.raises(RunError, match=r"E0703.*kernel absent: Function not found"):
        device.library("", [Kernel("absent", 32)])
    many = [device.buffer(4)] * 31
    device.batch(library(device), [Launch(KERNELS["many"], [*many], 1)])
    with pytest.raises(RunError, match=r"E0703.*kernel many has 32 buffers; Metal binds 31"):
        device.batch(library(device), [Launch(KERNELS["many"], [*many], 1, b"\0\0\0\0")])
    gpu.broken = True
    with pytest.raises(RunError, match=r"E0703.*kernel step cannot be started: Cannot create"):
        device.run(device.batch(library(device), [Launch(KERNELS["step"], [many[0]], 1)]))
    assert gpu.pools[-1].startswith("pop")


def test_a_mac_without_a_gpu(gpu: Gpu) -> None:
    def no_device() -> None:
        raise Failure("Cannot create device")

    sys.modules["metalcompute"].Device = no_device  # type: ignore[attr-defined]
    with pytest.raises(RunError, match=r"E0702.*Cannot create device"):
        MetalDevice()


@pytest.mark.parametrize(
    ("platform", "machine", "release", "python", "reason"),
    [
        ("linux", "x86_64", "6.1.0", (3, 12), "it needs macOS"),
        (
            *("darwin", "x86_64", "23.0.0", (3, 12)),
            "it needs a Mac with Apple silicon; metalcompute has no wheel for Intel",
        ),
        ("darwin", "arm64", "22.6.0", (3, 12), "it needs macOS 14 or newer"),
        (
            *("darwin", "arm64", "25.1.0", (3, 14)),
            "metalcompute has no wheel for Python 3.14 and newer; Python 3.13 has one",
        ),
        (
            *("darwin", "arm64", "23.0.0", (3, 13)),
            "the Python package metalcompute is missing; pip install 'tlc[metal]'",
        ),
    ],
)
def test_why_not(
    platform: str,
    machine: str,
    release: str,
    python: tuple[int, int],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine, release=release))
    monkeypatch.setattr(sys, "version_info", python)
    monkeypatch.setitem(sys.modules, "metalcompute", None)
    assert available()["metal"] == reason
    with pytest.raises(RunError, match="E0702") as caught:
        open_device("metal")
    assert caught.value.message == f"the metal device cannot be used: {reason}"
    assert caught.value.hint == (
        "--device metal-objc runs on the GPU without a package, --device cpu without a GPU"
        if (platform, machine) == ("darwin", "arm64")
        else "use the cpu device: --device cpu"
    )
    assert open_device("auto").name == "cpu"


def test_auto_is_metal_where_it_can_be(gpu: Gpu) -> None:
    chosen = open_device()
    assert (chosen.name, chosen.profile) == ("metal", "apple")
    chosen.close()
