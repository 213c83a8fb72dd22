"""The metal-objc device over Objective-C's runtime and Metal's objects for tests; kernels run.

What is counted: objects by class, retains, autorelease pools, command buffers, compilations.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tlc
from tests.metal.frameworks import Frameworks
from tests.metal.test_metalcompute import (
    ADD,
    ALL,
    CHOSEN,
    KERNELS,
    NAMES,
    NO_LIMIT,
    STEP,
    UNCHECKED,
    words,
)  # fmt: skip
from tests.test_llama import DATA, TEXT
from tests.test_programs import expected_lines, output
from tlc.runtime.devices import Kernel, Launch, metal_objc
from tlc.runtime.devices.metal_objc import MetalObjcDevice
from tlc.runtime.errors import RunError


@pytest.fixture
def device(mac: Frameworks) -> Iterator[MetalObjcDevice]:
    opened = MetalObjcDevice()
    yield opened
    opened.close()


def test_a_launch_list_is_one_command_buffer(device: MetalObjcDevice, mac: Frameworks) -> None:
    x, y = device.buffer(16), device.buffer(16)
    launches = [Launch(STEP, [each], 1) for each in (y, y, x)]
    batch = device.batch(device.library(KERNELS, ALL), launches)
    device.run(batch)
    assert (mac.commits, mac.gpu.dispatched, bytes(y.view)) == (1, 0, bytes(16))
    assert words(device, y, 4) == [4] * 4
    assert mac.gpu.dispatched == 3
    device.run(batch)
    device.write(x, np.uint32(5).tobytes())
    assert words(device, x, 4) == [5, 4, 4, 4]
    device.run(device.batch(device.library(KERNELS, ALL), []))
    assert mac.commits == 2


def test_kernels_are_compiled_without_fast_math(device: MetalObjcDevice, mac: Frameworks) -> None:
    device.library(KERNELS, ALL)
    assert mac.options == {"fast math": False, "version": 0x20003}


def test_pipelines_are_made_once(device: MetalObjcDevice, mac: Frameworks) -> None:
    library = device.library(KERNELS, ALL)
    y = device.buffer(16)
    for _ in range(3):
        device.run(device.batch(library, [Launch(STEP, [y], 1), Launch(NO_LIMIT, [y], 1)]))
    assert words(device, y, 1) == [1]
    assert mac.alive()["MTLComputePipelineState"] == 2


def test_few_command_buffers_are_in_flight(device: MetalObjcDevice, mac: Frameworks) -> None:
    y = device.buffer(16)
    batch = device.batch(device.library(KERNELS, ALL), [Launch(STEP, [y], 1)] * 50)
    wanted = 0
    for _ in range(100):
        device.run(batch)
    for _ in range(5000):
        wanted = (wanted * 3 + 1) % 2**32
    assert words(device, y, 4) == [wanted] * 4
    assert (mac.gpu.stalls, mac.gpu.most_queued) == (0, metal_objc.MAX_IN_FLIGHT)


def test_sizes_are_encoded_and_need_no_buffer(device: MetalObjcDevice, mac: Frameworks) -> None:
    x, y = device.constant(np.arange(8, dtype=np.uint32).data), device.buffer(32)
    launches = [Launch(ADD, [x, y], 1, np.uint32(n).tobytes()) for n in (8, 3)]
    batch = device.batch(device.library(KERNELS, ALL), launches)
    for _ in range(10):
        device.run(batch)
    assert words(device, y, 8) == [0, 20, 40, 30, 40, 50, 60, 70]
    assert mac.alive()["MTLBuffer"] == 2


def test_buffers_outlive_the_launches_that_use_them(
    device: MetalObjcDevice, mac: Frameworks
) -> None:
    y = device.buffer(32)
    for _ in range(3):
        x = device.constant(np.full(8, 2, np.uint32).data)
        launch = Launch(ADD, [x, y], 1, np.uint32(8).tobytes())
        device.run(device.batch(device.library(KERNELS, ALL), [launch]))
        del x, launch
    assert words(device, y, 8) == [6] * 8


def test_threads(device: MetalObjcDevice, mac: Frameworks) -> None:
    y = device.buffer(16)
    library = device.library(KERNELS, ALL)
    device.run(device.batch(library, [Launch(STEP, [y], 3), Launch(STEP, [y], 0)]))
    words(device, y, 1)
    assert (mac.gpu.dispatched, mac.gpu.threads) == (1, 96)
    # a pipeline may allow fewer threads than the kernel asks for: then there are more threadgroups
    device.run(device.batch(library, [Launch(Kernel("step", 64), [y], 3)]))
    words(device, y, 1)
    assert (mac.gpu.dispatched, mac.gpu.threads) == (2, 96 + 192)
    big = device.buffer(64)
    device.run(device.batch(library, [Launch(UNCHECKED, [big], 17)]))
    words(device, big, 1)
    found, mac.gpu.findings = mac.gpu.findings, []
    assert "out-of-bounds: write of 4 bytes at byte 64 of buffer(0)" in found[0]


@pytest.fixture
def mapped(tmp_path: Path) -> Iterator[memoryview]:
    """Three pages of a file, numbers from 0."""
    path = tmp_path / "weights"
    path.write_bytes(np.arange(3 * mmap.PAGESIZE // 4, dtype=np.uint32).tobytes())
    with path.open("rb") as file:
        yield memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def test_mapped_weights_are_read_where_they_are(
    device: MetalObjcDevice, mac: Frameworks, mapped: memoryview
) -> None:
    library, y = device.library(KERNELS, ALL), device.buffer(32)
    allocated = device.allocated
    before_a_page_ends = mmap.PAGESIZE - 16
    for start in (0, 64, before_a_page_ends, 2 * mmap.PAGESIZE):
        x = device.constant(mapped[start : start + 32])
        assert (x.offset, x.nbytes) == (start % mmap.PAGESIZE, 32)
        device.run(device.batch(library, [Launch(ADD, [x, y], 1, np.uint32(8).tobytes())]))
        assert words(device, y, 8) == list(range(start // 4, start // 4 + 8))
        device.write(y, bytes(32))
        assert bytes(device.read(x, 32)) == bytes(mapped[start : start + 32])
    assert (mac.mapped, device.allocated) == (4, allocated)


def test_other_weights_are_copied(
    device: MetalObjcDevice, mac: Frameworks, mapped: memoryview
) -> None:
    for data in (
        memoryview(b"\1\2\3"),
        memoryview(b""),
        np.arange(7, dtype=np.float16).data,
        mapped[8:40],  # a GPU reads four float32 at once, at multiples of 16 bytes
    ):
        assert bytes(device.read(device.constant(data), data.nbytes)) == bytes(data)
    assert mac.mapped == 0


def test_memory_is_bounded(device: MetalObjcDevice, mac: Frameworks, mapped: memoryview) -> None:
    mac.working_set, mac.longest = 1 << 20, 1 << 19
    small = MetalObjcDevice()
    with pytest.raises(MemoryError, match=r"buffer of 524289 bytes: it recommends 1048576"):
        small.buffer((1 << 19) + 1)
    kept = [small.buffer(1 << 19)]
    held = small.constant(mapped)  # not an allocation
    kept.append(small.buffer(1 << 19))
    with pytest.raises(MemoryError, match=r"buffer of 1 bytes.* 1048576 are in use"):
        small.buffer(1)
    kept.pop()
    small.buffer(1)
    assert held.nbytes == len(mapped)
    small.close()


def test_refusals(device: MetalObjcDevice, mac: Frameworks) -> None:
    with pytest.raises(RunError, match=r"(?s)E0703.*Metal refuses.*unknown type name 'nope'"):
        device.library(f"{KERNELS}\nnope f();", ALL)
    with pytest.raises(RunError, match=r"E0703.*null character"):
        device.library("a\0b", [])
    library, y = device.library(KERNELS, ALL), device.buffer(16)
    with pytest.raises(RunError, match=r"E0703.*kernel absent: the library lacks it"):
        device.batch(library, [Launch(Kernel("absent", 32), [y], 1)])
    with pytest.raises(RunError, match=r"E0703.*kernel add has 32 buffers; Metal binds 31"):
        device.batch(library, [Launch(ADD, [y] * 31, 1, b"\0\0\0\0")])
    mac.can_make_pipelines = False
    with pytest.raises(RunError, match=r"E0703.*kernel step: Compiler encountered an internal"):
        device.batch(library, [Launch(STEP, [y], 1)])


def test_errors_of_the_gpu(device: MetalObjcDevice, mac: Frameworks) -> None:
    library, y = device.library(KERNELS, ALL), device.buffer(16)
    batch = device.batch(library, [Launch(STEP, [y], 1)])
    mac.errors = ["", "Caused GPU Timeout Error", "Ignored"]
    for _ in range(3):
        device.run(batch)
    with pytest.raises(RunError, match=r"E0706.*the GPU did not finish: Caused GPU Timeout"):
        device.read(y, 4)
    device.write(y, bytes(16))
    device.run(batch)
    assert words(device, y, 1) == [1]  # the device goes on
    mac.has_commands = False
    with pytest.raises(RunError, match=r"E0706.*Metal gives no command buffer"):
        device.run(batch)


def test_macs_that_cannot(mac: Frameworks, monkeypatch: pytest.MonkeyPatch) -> None:
    mac.family = 1006
    with pytest.raises(RunError, match=r"E0702.*the GPU is older than that of an M1"):
        MetalObjcDevice()
    mac.family, mac.has_queue = 1007, False
    with pytest.raises(RunError, match=r"E0702.*Metal gives no queue"):
        MetalObjcDevice()
    mac.has_gpu = False
    with pytest.raises(RunError, match=r"E0702.*there is no GPU"):
        MetalObjcDevice()


def test_a_closed_device(mac: Frameworks) -> None:
    device = MetalObjcDevice()
    batch = device.batch(device.library(KERNELS, ALL), [Launch(STEP, [device.buffer(16)], 1)])
    device.run(batch)
    device.close()
    for use in (lambda: device.buffer(1), lambda: device.run(batch)):
        with pytest.raises(ValueError, match="closed"):
            use()
    device.close()


def test_ten_thousand_launches_need_no_more_memory_than_one(
    device: MetalObjcDevice, mac: Frameworks
) -> None:
    mac.gpu.mode = "fast"
    x, y = device.constant(np.ones(8, np.uint32).data), device.buffer(32)
    launches = [Launch(ADD, [x, y], 1, np.uint32(8).tobytes())] * 100
    batch = device.batch(device.library(KERNELS, ALL), launches)
    for turn in range(100):
        device.run(batch)
        device.read(y, 4)
        if turn == 20:
            alive = mac.alive()
    assert mac.alive() == alive
    assert words(device, y, 1) == [10_000]
    assert mac.commits == 100


def test_a_device_that_goes_before_its_launches_are_done_leaves_nothing(mac: Frameworks) -> None:
    device = MetalObjcDevice()
    device.run(device.batch(device.library(KERNELS, ALL), [Launch(STEP, [device.buffer(16)], 1)]))
    assert mac.alive()["MTLCommandBuffer"] == 1
    del device  # `mac` counts what is left


@pytest.mark.fuzz
@pytest.mark.parametrize("path", CHOSEN, ids=lambda p: p.stem)
def test_a_program_prints_what_it_says(path: Path, mac: Frameworks) -> None:
    mac.gpu.mode = "fast"
    text = path.read_text(encoding="utf-8")
    assert output(text, "metal-objc", str(path)) == expected_lines(text)
    assert mac.gpu.dispatched or path.stem not in NAMES  # a few others have no work for a GPU


def test_a_llama_gives_the_logits_of_llama_cpp(mac: Frameworks) -> None:
    mac.gpu.mode = "fast"
    stored = np.load(DATA / "tiny_llama_f16.npz")
    ids, wanted = stored["prompt_ids"].astype(np.int32)[:7], stored["logits"][:7]
    model = tlc.compile("llama.tl", text=TEXT, device="metal-objc")
    # the bound is that of tests/test_llama.py
    np.testing.assert_allclose(model.logits(ids).astype(np.float32), wanted, rtol=0, atol=0.01)
    assert mac.mapped > 9, "the weights of a GGUF file are not copied"
