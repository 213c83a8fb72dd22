"""The cpu device: kernels written by hand, run over threads, forks and damaged caches."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tlc.runtime.devices import Kernel, Launch, cpu, toolchain
from tlc.runtime.devices.cpu import CpuBuffer, CpuDevice, CpuLibrary
from tlc.runtime.devices.select import available, open_device
from tlc.runtime.errors import RunError

ROOT = Path(__file__).parents[2]
GRID = "uint group [[threadgroup_position_in_grid]], uint groups [[threadgroups_per_grid]]"
TEXT = f"""#include <metal_stdlib>
using namespace metal;

struct Dims {{ uint n; uint step; }};

kernel void add(device const half* a [[buffer(0)]], device const half* b [[buffer(1)]],
                device half* y [[buffer(2)]], constant Dims& dims [[buffer(3)]], {GRID}) {{
  for (uint i = group * 100u; i < min(dims.n, group * 100u + 100u); i++)
    y[i] = half(float(a[i]) + float(b[i]));
}}
kernel void next(device uint* y [[buffer(0)]], {GRID}) {{ y[group] = y[group] * 3u + groups; }}
kernel void fold(device const uint* x [[buffer(0)]], device uint* y [[buffer(1)]],
                 constant Dims& dims [[buffer(2)]], {GRID}) {{
  uint sum = 0u;
  for (uint i = 0u; i < dims.n; i++) sum += x[i * dims.step];
  y[group] = sum;
}}
constant float weights[3] = {{1.0f, 10.0f, 100.0f}};
kernel void weigh(constant float* x [[buffer(0)]], device float* y [[buffer(1)]], {GRID}) {{
  y[group] = x[group] * weights[group % 3u];
}}
kernel void big_stack(device uint* y [[buffer(0)]], {GRID}) {{
  threadgroup uint tile[100000];
  for (uint i = 0u; i < 100000u; i++) tile[i] = i * (group + 1u);
  uint sum = 0u;
  for (uint i = 0u; i < 100000u; i++) sum += tile[(i * 7919u) % 100000u];
  y[group] = sum;
}}
kernel void meet(device uint* here [[buffer(0)]], device uint* met [[buffer(1)]], {GRID}) {{
  volatile device uint* flags = here;
  flags[group] = 1u;
  for (uint i = 0u; i < 1000000000u && flags[1u - group] == 0u; i++) {{}}
  met[group] = flags[1u - group];
}}
"""
NAMES = ("add", "next", "fold", "weigh", "big_stack", "meet")
KERNELS = {name: Kernel(name, 1) for name in NAMES}


@pytest.fixture(params=[1, 2, 4], ids="{} threads".format)
def device(request: pytest.FixtureRequest) -> Iterator[CpuDevice]:
    """More threads than processors is the case in which helpers come late."""
    opened = CpuDevice(request.param)
    yield opened
    opened.close()


@pytest.fixture
def two() -> Iterator[CpuDevice]:
    opened = CpuDevice(2)
    yield opened
    opened.close()


def library(device: CpuDevice) -> CpuLibrary:
    return device.library(TEXT, list(KERNELS.values()))


def uints(device: CpuDevice, buffer: CpuBuffer, count: int) -> list[int]:
    return [int(word) for word in np.frombuffer(device.read(buffer, 4 * count), np.uint32)]


def dims(n: int, step: int = 1) -> bytes:
    return np.array([n, step], np.uint32).tobytes()


@pytest.mark.parametrize("n", [0, 1, 100, 101, 12345])
def test_a_vector_of_any_length(device: CpuDevice, n: int) -> None:
    a, b = np.random.default_rng(n).normal(size=(2, n)).astype(np.float16)
    y = device.buffer(2 * n + 2)
    device.write(y, b"\x11" * (2 * n + 2))
    x, z = device.constant(a.data), device.constant(b.data)
    launch = Launch(KERNELS["add"], [x, z, y], (n + 99) // 100, dims(n))
    batch = device.batch(library(device), [launch])
    for _ in range(6):  # shared and alone
        device.run(batch)
        np.testing.assert_array_equal(np.frombuffer(device.read(y, 2 * n), np.float16), a + b)
        assert bytes(device.read(y, 2 * n + 2)[2 * n :]) == b"\x11\x11"


@pytest.mark.parametrize("groups", [1, 2, 15, 16, 17, 1000, 100_003])
def test_every_threadgroup_runs_once(device: CpuDevice, groups: int) -> None:
    y = device.buffer(4 * groups + 4)
    batch = device.batch(library(device), [Launch(KERNELS["next"], [y], groups)])
    wanted = 0
    for _ in range(6):
        device.run(batch)
        wanted = wanted * 3 + groups
        got = np.frombuffer(device.read(y, 4 * groups + 4), np.uint32)
        assert (got[:groups] == wanted % 2**32).all()
        assert got[groups] == 0


def test_each_launch_sees_what_the_one_before_wrote(device: CpuDevice) -> None:
    x, y, z = (device.buffer(4 * 600) for _ in range(3))
    launches = [
        Launch(KERNELS["next"], [x], 600),
        Launch(KERNELS["fold"], [x, y], 300, dims(300, 2)),
        Launch(KERNELS["fold"], [y, z], 1, dims(300)),
    ]
    batch = device.batch(library(device), launches)
    for value in (600, 2400, 7800, 24000, 72600):
        device.run(batch)
        assert uints(device, y, 300) == [300 * value] * 300
        assert uints(device, z, 1) == [300 * 300 * value % 2**32]


def test_a_thousand_launches_in_one_call(device: CpuDevice) -> None:
    y = device.buffer(4 * 37)
    groups = [1 + (i * 7) % 37 for i in range(1000)]
    batch = device.batch(library(device), [Launch(KERNELS["next"], [y], g) for g in groups])
    wanted = np.zeros(37, np.uint32)
    for _ in range(6):
        device.run(batch)
        for count in groups:
            wanted[:count] = wanted[:count] * np.uint32(3) + np.uint32(count)
    assert uints(device, y, 37) == wanted.tolist()


def test_a_launch_of_no_threadgroups_and_an_empty_batch(device: CpuDevice) -> None:
    y = device.buffer(8)
    device.run(device.batch(library(device), []))
    device.run(device.batch(library(device), [Launch(KERNELS["next"], [y], 0)]))
    assert uints(device, y, 2) == [0, 0]


def test_tiles_of_400_kilobytes_fit_on_the_stack(device: CpuDevice) -> None:
    y = device.buffer(4 * 40)
    device.run(device.batch(library(device), [Launch(KERNELS["big_stack"], [y], 40)]))
    total = 100_000 * 99_999 // 2
    assert uints(device, y, 40) == [total * (group + 1) % 2**32 for group in range(40)]


def test_constants_of_the_program_and_of_the_host(device: CpuDevice) -> None:
    x, y = device.constant(np.arange(6, dtype=np.float32).data), device.buffer(24)
    device.run(device.batch(library(device), [Launch(KERNELS["weigh"], [x, y], 6)]))
    got = np.frombuffer(device.read(y, 24), np.float32)
    assert got.tolist() == [0.0, 10.0, 200.0, 3.0, 40.0, 500.0]


def test_buffers(device: CpuDevice) -> None:
    made = [device.buffer(nbytes) for nbytes in (0, 1, 100, 5 << 20)]
    assert [buffer.address % 64 for buffer in made] == [0, 0, 0, 0]
    assert [buffer.nbytes for buffer in made] == [0, 1, 100, 5 << 20]
    assert bytes(device.read(made[3], 5 << 20)) == bytes(5 << 20)
    device.write(made[2], np.arange(10, dtype=np.float64).data)
    assert bytes(device.read(made[2], 80)) == np.arange(10, dtype=np.float64).tobytes()
    device.write(made[0], b"")
    with pytest.raises(ValueError, match="different structures"):
        device.write(made[1], b"too long")
    with pytest.raises(MemoryError, match="1152921504606846976 bytes"):
        device.buffer(1 << 60)


def test_a_constant_is_not_copied(device: CpuDevice, tmp_path: Path) -> None:
    memory = bytearray(16)
    assert bytes(device.constant(memoryview(memory)).view) == bytes(16)
    shared = device.constant(memoryview(memory))
    memory[3] = 7
    assert device.read(shared, 4)[3] == 7

    path = tmp_path / "weights"
    path.write_bytes(np.arange(5000, dtype=np.uint32).tobytes())
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    weights = device.constant(memoryview(mapped)[400:])
    del mapped  # the buffer keeps it
    y = device.buffer(4)
    device.run(device.batch(library(device), [Launch(KERNELS["fold"], [weights, y], 1, dims(9))]))
    assert uints(device, y, 1) == [sum(range(100, 109))]
    with pytest.raises(TypeError, match="read-only"):
        device.write(weights, b"x")
    assert device.constant(memoryview(b"")).nbytes == 0


def run_meeting(device: CpuDevice) -> list[int]:
    here, met = device.buffer(8), device.buffer(8)
    device.run(device.batch(library(device), [Launch(KERNELS["meet"], [here, met], 2)]))
    return uints(device, met, 2)


def test_helpers_take_part_and_wake_up_again(two: CpuDevice) -> None:
    for pause in (0.0, 0.0, 0.05, 0.0, 0.05):
        time.sleep(pause)  # long enough for the helper to fall asleep
        assert run_meeting(two) == [1, 1]


def test_helpers_without_futex(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "#define TLC_NO_FUTEX\n" + Path(toolchain.NATIVE, "pool.cpp").read_text("utf-8")
    pool = cpu._declare(cpu.load_object(text, uses_header=False))
    monkeypatch.setattr(cpu, "_pool_library", [pool])
    device = CpuDevice(2)
    test_helpers_take_part_and_wake_up_again(device)
    device.close()


def test_two_threads_on_two_devices_and_on_one() -> None:
    devices = [CpuDevice(3), CpuDevice(3)]
    failures: list[object] = []

    def work(device: CpuDevice) -> None:
        y = device.buffer(4 * 500)
        batch = device.batch(library(device), [Launch(KERNELS["next"], [y], 500)] * 3)
        wanted = 0
        for _ in range(300):
            device.run(batch)
            for _ in range(3):
                wanted = (wanted * 3 + 500) % 2**32
            if uints(device, y, 500) != [wanted] * 500:
                failures.append(wanted)

    threads = [threading.Thread(target=work, args=[devices[i % 2]]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for device in devices:
        device.close()


def python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ, **environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SCRIPT = f"""
import os, sys
from tlc.runtime.devices import Kernel, Launch
from tlc.runtime.devices.cpu import CpuDevice
kernel = Kernel("next", 1)
device = CpuDevice(4)
library = device.library({TEXT!r}, [kernel])
y = device.buffer(4000)
batch = device.batch(library, [Launch(kernel, [y], 1000)])
def run():
    device.run(batch)
    return int.from_bytes(device.read(y, 4000)[3996:], "little")
"""


def test_a_forked_child_runs_on(tmp_path: Path) -> None:
    code = (
        SCRIPT
        + """
import warnings
warnings.simplefilter("ignore")  # newer Pythons advise against it
assert run() == 1000
child = os.fork()
if not child:
    ok = [run() for _ in range(5)] == [4000, 13000, 40000, 121000, 364000]
    device.close()
    os._exit(0 if ok else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(status, run())  # memory is not shared with the child
device.close()
"""
    )
    assert python(code) == "0 4000\n"


def test_a_child_forked_during_a_run_is_not_held_up() -> None:
    code = (
        SCRIPT
        + """
import threading, time, warnings
warnings.simplefilter("ignore")
busy = True
def other():
    mine = device.batch(library, [Launch(kernel, [device.buffer(400000)], 100000)] * 20)
    while busy:
        device.run(mine)
thread = threading.Thread(target=other)
thread.start()
time.sleep(0.05)
codes = []
for _ in range(5):
    child = os.fork()
    if not child:
        os._exit(0 if run() == 1000 else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
busy = False
thread.join()
print(codes)
"""
    )
    assert python(code) == "[0, 0, 0, 0, 0]\n"


def test_a_start_with_everything_compiled_loads_little(tmp_path: Path) -> None:
    heavy = "numpy subprocess tempfile hashlib dataclasses typing re shutil threading logging"
    start = "import sys\nbefore = set(sys.modules)\n"  # what the interpreter has loaded by itself
    found = f"run(); print([m for m in {heavy.split()} if m in sys.modules and m not in before])"
    python(start + SCRIPT + found, TLC_CACHE_DIR=str(tmp_path))
    assert python(start + SCRIPT + found, TLC_CACHE_DIR=str(tmp_path)) == "[]\n"


def test_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TLC_THREADS", raising=False)
    assert CpuDevice().threads == len(os.sched_getaffinity(0))
    monkeypatch.setenv("TLC_THREADS", "3")
    assert CpuDevice().threads == 3
    for wrong in ("0", "257", "two", "-1"):
        monkeypatch.setenv("TLC_THREADS", wrong)
        with pytest.raises(RunError, match=r"E0702.*TLC_THREADS"):
            CpuDevice()


def test_a_closed_device_says_so() -> None:
    device = CpuDevice(1)
    batch = device.batch(library(device), [])
    device.close()
    device.close()
    with pytest.raises(ValueError, match="closed"):
        device.run(batch)


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available()["cpu"] == ""
    assert open_device("cpu").name == "cpu"
    monkeypatch.setattr(sys, "platform", "linux")
    assert available()["metal"] == "it needs macOS"
    assert open_device().name == "cpu"
    with pytest.raises(RunError, match="E0702") as caught:
        open_device("gpu")
    assert str(caught.value) == (
        "error[E0702]: no device is named 'gpu'\n  hint: devices: auto, metal, metal-objc,"
        " cpu, emulator, emulator-fast, reference"
    )
