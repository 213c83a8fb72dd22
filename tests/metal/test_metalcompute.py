"""The metal device over the genuine metalcompute, whose GPU is the emulator.

pip fetches the published source of metalcompute and this machine compiles its C file as it is, over
`swift_side.c`. The tests are skipped where that cannot be done.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tlc
from tests.metal.gpu import QUEUE, CommandBuffer, Gpu
from tests.metal.swift_side import NotHere, SwiftSide, extension
from tests.test_llama import DATA, TEXT
from tests.test_programs import PROGRAMS, expected_lines, output
from tlc.runtime.devices import Kernel, Launch, emulator, metal, objc
from tlc.runtime.devices.metal import MetalDevice
from tlc.runtime.errors import RunError

pytestmark = pytest.mark.skipif(bool(emulator.why_not()), reason=emulator.why_not() or "it is here")

KERNELS = """#include <metal_stdlib>
using namespace metal;

[[max_total_threads_per_threadgroup(32)]]
kernel void step(device uint* y [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    if (i < 4u) {
        y[i] = y[i] * 3u + 1u;
    }
}

struct Dims {
    uint n;
};

[[max_total_threads_per_threadgroup(64)]]
kernel void add(
    device const uint* x [[buffer(0)]],
    device uint* y [[buffer(1)]],
    constant Dims& dims [[buffer(2)]],
    uint i [[thread_position_in_grid]]
) {
    if (i < dims.n) {
        y[i] += x[i];
    }
}

kernel void without_a_limit(
    device uint* y [[buffer(0)]],
    uint i [[thread_position_in_grid]],
    uint n [[threads_per_grid]]
) {
    if (i == 0u) {
        y[0] = n;
    }
}

kernel void unchecked(device uint* y [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    y[i] = i;
}
"""
STEP, ADD = Kernel("step", 32), Kernel("add", 64)
NO_LIMIT, UNCHECKED = Kernel("without_a_limit", 1), Kernel("unchecked", 1)
ALL = [STEP, ADD, NO_LIMIT, UNCHECKED]


@pytest.fixture(scope="module")
def metalcompute() -> ModuleType:
    try:
        return extension()
    except NotHere as reason:
        pytest.skip(str(reason))


class Pools:
    """Autorelease pools, of which each ends before the one around it."""

    def __init__(self) -> None:
        self.open: list[int] = []
        self.made = 0

    def push(self) -> int:
        self.made += 1
        self.open.append(self.made)
        return self.made

    def pop(self, token: int) -> None:
        assert self.open.pop() == token


@pytest.fixture
def side(metalcompute: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[SwiftSide]:
    """A Mac with metalcompute; at the end nothing is open and no kernel has broken a rule."""
    pools = Pools()
    monkeypatch.setitem(sys.modules, "metalcompute", metalcompute)
    monkeypatch.setattr(metal, "why_not", lambda: "")
    monkeypatch.setattr(objc, "autorelease_pools", lambda: (pools.push, pools.pop))
    side = SwiftSide(metalcompute, Gpu())
    yield side
    gc.collect()
    assert not side.open, "metalcompute has let go of all"
    assert side.gpu is None or (side.gpu.queue, side.gpu.findings) == ([], [])
    assert not pools.open


@pytest.fixture
def gpu(side: SwiftSide) -> Gpu:
    assert side.gpu
    return side.gpu


@pytest.fixture
def device(side: SwiftSide) -> Iterator[MetalDevice]:
    opened = MetalDevice()
    yield opened
    opened.close()


def words(device: MetalDevice, buffer: metal.MetalBuffer, count: int) -> list[int]:
    return [int(word) for word in np.frombuffer(device.read(buffer, 4 * count), np.uint32)]


def test_nothing_runs_before_somebody_reads(device: MetalDevice, gpu: Gpu) -> None:
    x, y = device.buffer(16), device.buffer(16)
    library = device.library(KERNELS, ALL)
    batch = device.batch(library, [Launch(STEP, [each], 1) for each in (y, y, x)])
    device.run(batch)
    assert (gpu.dispatched, bytes(y.view)) == (0, bytes(16))
    assert words(device, y, 4) == [4] * 4
    assert gpu.dispatched == 3  # that of x, which shares nothing with y, as well
    device.run(batch)
    device.write(x, np.uint32(5).tobytes())
    assert words(device, x, 4) == [5, 4, 4, 4]
    assert gpu.compiled == 1


def test_many_in_flight_never_block(device: MetalDevice, gpu: Gpu) -> None:
    y = device.buffer(16)
    batch = device.batch(device.library(KERNELS, ALL), [Launch(STEP, [y], 1)] * 50)
    wanted = 0
    for _ in range(20):
        device.run(batch)
    for _ in range(1000):
        wanted = (wanted * 3 + 1) % 2**32
    assert words(device, y, 4) == [wanted] * 4
    assert (gpu.stalls, gpu.most_queued) == (0, metal.MAX_IN_FLIGHT)
    assert metal.MAX_IN_FLIGHT < QUEUE


def test_a_queue_that_is_full_blocks_metalcompute(metalcompute: Any, side: SwiftSide) -> None:
    """What MAX_IN_FLIGHT is for."""
    opened = metalcompute.Device()
    step = opened.kernel(KERNELS).function("step")
    y = opened.buffer(16)
    runs = [step(32, y) for _ in range(QUEUE)]
    assert side.gpu
    assert side.gpu.stalls == 0
    runs.append(step(32, y))
    assert (side.gpu.stalls, side.gpu.most_queued) == (1, QUEUE)
    runs.clear()


def test_sizes_go_in_a_buffer_that_lasts(device: MetalDevice, side: SwiftSide) -> None:
    x, y = device.constant(np.arange(8, dtype=np.uint32).data), device.buffer(32)
    launches = [Launch(ADD, [x, y], 1, np.uint32(n).tobytes()) for n in (8, 3)]
    batch = device.batch(device.library(KERNELS, ALL), launches)
    before = len(side.open)
    for _ in range(10):
        device.run(batch)
    assert words(device, y, 8) == [0, 20, 40, 30, 40, 50, 60, 70]
    assert len(side.open) == before


def test_threadgroups_are_as_large_as_the_kernel_says(device: MetalDevice, gpu: Gpu) -> None:
    y = device.buffer(16)
    library = device.library(KERNELS, ALL)
    device.run(device.batch(library, [Launch(STEP, [y], 3), Launch(STEP, [y], 0)]))
    words(device, y, 1)
    assert (gpu.dispatched, gpu.threads) == (1, 96)
    device.run(device.batch(library, [Launch(NO_LIMIT, [y], 7)]))
    assert words(device, y, 1) == [1024]  # 7 were asked for: whole threadgroups run


def test_threads_beyond_the_end_run_too(device: MetalDevice, gpu: Gpu) -> None:
    y = device.buffer(64)
    device.run(device.batch(device.library(KERNELS, ALL), [Launch(UNCHECKED, [y], 16)]))
    words(device, y, 16)
    found, gpu.findings = gpu.findings, []
    assert "out-of-bounds: write of 4 bytes at byte 64 of buffer(0)" in found[0]


def test_buffers_of_odd_kinds(device: MetalDevice, metalcompute: Any) -> None:
    opened = metalcompute.Device()
    size: Any = np.int64(1024)
    assert len(memoryview(opened.buffer(size))) == 8  # the bytes of the number itself
    assert len(device.buffer(size).view) == 1024
    empty = device.buffer(0)
    assert (empty.nbytes, bytes(device.read(empty, 0))) == (0, b"")
    for refused in (0, -1, b""):
        with pytest.raises(metalcompute.error, match="Could not make buffer"):
            opened.buffer(refused)
    with pytest.raises(MemoryError, match=f"{1 << 40} bytes"):
        device.buffer(1 << 40)
    strided = np.zeros((4, 4), np.float16)[:, ::2]
    with pytest.raises(metalcompute.error, match="Unsupported input format"):
        opened.buffer(strided)
    for weights in (b"\1\2\3", np.arange(7, dtype=np.float16), np.zeros((0, 3), np.float32)):
        view = memoryview(weights)
        constant = device.constant(view)
        assert bytes(device.read(constant, view.nbytes)) == bytes(weights)
    view = device.buffer(8).view  # outlives its buffer
    view[0] = 1


def test_kernels_that_do_not_compile(device: MetalDevice, side: SwiftSide) -> None:
    with pytest.raises(RunError, match=r"(?s)E0703.*Metal refuses.*unknown type name 'nope'"):
        device.library(f"{KERNELS}\nnope f();", ALL)
    with pytest.raises(RunError, match=r"E0703.*kernel absent: Function not found"):
        device.library(KERNELS, [STEP, Kernel("absent", 32)])
    with pytest.raises(RunError, match=r"E0703.*Metal refuses the kernels"):
        device.library("a\0b", [])
    y = device.buffer(16)
    batch = device.batch(device.library(KERNELS, ALL), [Launch(STEP, [y], 1)])
    side.broken = True
    # metalcompute numbers its errors in two ways, so this is what a pipeline that fails is called
    message = "E0703.*kernel step cannot be started: Cannot create command encoder"
    with pytest.raises(RunError, match=message):
        device.run(batch)
    side.broken = False
    device.run(batch)
    assert words(device, y, 1) == [1]
    # metalcompute never frees what a launch that failed was given: one buffer here
    del batch, y
    device.close()
    gc.collect()
    assert len(side.open) == 2  # with the device that the buffer is on
    side.open.clear()


def test_a_mac_without_a_gpu(metalcompute: ModuleType, side: SwiftSide) -> None:
    side.gpu = None
    with pytest.raises(RunError, match=r"E0702.*Cannot create device"):
        MetalDevice()


def test_letting_go_while_an_exception_is_on_its_way(device: MetalDevice) -> None:
    def launches() -> None:
        y = device.buffer(16)
        device.run(device.batch(device.library(KERNELS, ALL), [Launch(STEP, [y], 1)]))
        raise KeyError("kept")

    with pytest.raises(KeyError, match="kept"):
        launches()


def resident() -> int:
    """Bytes of memory that this process occupies."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_ten_thousand_launches_need_no_more_memory_than_one(
    device: MetalDevice, side: SwiftSide, gpu: Gpu
) -> None:
    gpu.mode = "fast"
    x, y = device.constant(np.ones(8, np.uint32).data), device.buffer(32)
    launches = [Launch(ADD, [x, y], 1, np.uint32(8).tobytes())] * 100
    batch = device.batch(device.library(KERNELS, ALL), launches)

    def thousands(count: int) -> None:
        for _ in range(10 * count):
            device.run(batch)
            device.read(y, 4)

    thousands(2)
    opened, growth = len(side.open), []
    for _ in range(4):
        before = resident()
        thousands(2)
        growth.append(resident() - before)
    assert len(side.open) == opened
    assert side.count(CommandBuffer) == 0
    # a handle, a tuple or an int lost at each launch would be 2,000 times 32 bytes each time; now
    # and then Python takes memory for itself
    assert min(growth) < 32_000
    assert words(device, y, 1) == [10_000]


NAMES = ("attention", "growing_tensors", "key_value_cache", "linear", "norms", "runtime_loops")
# all of them take a minute
CHOSEN = [p for p in PROGRAMS if p.stem in NAMES or "TLC_FUZZ" in os.environ]


@pytest.mark.fuzz
@pytest.mark.parametrize("path", CHOSEN, ids=lambda p: p.stem)
def test_a_program_prints_what_it_says(path: Path, gpu: Gpu) -> None:
    gpu.mode = "fast"
    text = path.read_text(encoding="utf-8")
    assert output(text, "metal", str(path)) == expected_lines(text)
    assert gpu.dispatched or path.stem not in NAMES  # a few others have no work for a GPU


def test_a_llama_gives_the_logits_of_llama_cpp(gpu: Gpu) -> None:
    gpu.mode = "fast"
    stored = np.load(DATA / "tiny_llama_f16.npz")
    ids, wanted = stored["prompt_ids"].astype(np.int32)[:7], stored["logits"][:7]
    model = tlc.compile("llama.tl", text=TEXT, device="metal")
    # the bound is that of tests/test_llama.py
    np.testing.assert_allclose(model.logits(ids).astype(np.float32), wanted, rtol=0, atol=0.01)


def test_the_c_file_is_used_as_it_was_published(metalcompute: ModuleType) -> None:
    assert metalcompute.__file__
    library = ctypes.PyDLL(metalcompute.__file__)
    assert library.PyInit_metalcompute
    assert {"Device", "get_devices", "init", "rerun", "error"} <= set(dir(metalcompute))
