"""The 8-lane vocabulary: memory, arithmetic, masks and integers against numpy, for every reader."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator

import numpy as np
import pytest

from tests.runtime.lane_kernels import (
    NEAR,
    NEAR_ZERO,
    PORTABLE,
    RANDOM,
    READERS,
    VOCABULARY,
    Half,
    bytes_of,
    compiled,
    kernel_text,
    whole_groups,
)
from tlc.runtime.devices import Kernel
from tlc.runtime.devices.cpu import CpuBuffer, CpuDevice
from tlc.runtime.errors import RunError


@pytest.fixture(params=READERS)
def half(request: pytest.FixtureRequest) -> Half:
    return compiled(request.param)


def test_arithmetic_gives_the_same_half_floats_in_both_halves() -> None:
    a, b = whole_groups(NEAR), whole_groups(NEAR_ZERO)
    results = []
    for each in (compiled("cpu"), compiled("metal")):
        out = np.empty(a.size, np.float16)
        each.run("arithmetic", a.size // 8, out, a, b)
        results.append(out)
    assert (results[0].view(np.uint16) == results[1].view(np.uint16)).all()
    x, z = a.astype(np.float64), b.astype(np.float64)
    lane = np.resize(np.arange(8), a.size)
    wanted = (x * z + (x - z)) / (2 * x + 0.5) + z * 3 + (1 - x) + 0.25 * x + z / 3 + 1 / z
    wanted -= lane * 3 + 1
    near = np.abs(wanted) < 60000
    np.testing.assert_allclose(results[0][near], wanted[near], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        ("half_to_float", np.float16, np.float32),
        ("char_to_float", np.int8, np.float32),
        ("uchar_to_float", np.uint8, np.float32),
        ("int_to_int", np.int32, np.int32),
        ("char_to_int", np.int8, np.int32),
        ("uchar_to_int", np.uint8, np.int32),
        ("float_to_half", np.float32, np.float16),
    ],
)
def test_loads_and_stores(
    name: str, source: type[np.generic], target: type[np.generic], half: Half
) -> None:
    kind = np.dtype(source)
    a = np.frombuffer(RANDOM.bytes(4096 * kind.itemsize), source)
    out = np.empty(a.size, target)
    half.run(name, a.size // 8, out, a)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(out, a.astype(target))


def test_a_misaligned_pointer_is_fine(half: Half) -> None:
    a = np.arange(24, dtype=np.float16)
    shifted = np.frombuffer(b"\0\0" + a.tobytes(), np.float16)[1:]
    out = np.empty(24, np.float32)
    half.run("half_to_float", 3, out, shifted)
    np.testing.assert_array_equal(out, a)


@pytest.fixture
def page() -> Iterator[mmap.mmap]:
    """A page of memory whose next page cannot be touched: reading on ends the process."""
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None)
    after = ctypes.c_void_p(start + mmap.PAGESIZE)
    assert libc.mprotect(after, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    yield memory
    assert libc.mprotect(after, ctypes.c_size_t(mmap.PAGESIZE), 3) == 0


@pytest.mark.parametrize("n", range(9))
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("load_float", np.float32),
        ("load_half", np.float16),
        ("load_char", np.int8),
        ("load_int", np.int32),
    ],
)
def test_a_masked_load_reads_nothing_beyond(
    name: str, kind: type[np.generic], n: int, half: Half, page: mmap.mmap
) -> None:
    values = RANDOM.integers(-100, 100, n).astype(kind)
    start = mmap.PAGESIZE - values.nbytes
    page[start : mmap.PAGESIZE] = values.tobytes()
    a = half.device.constant(memoryview(page)[start : mmap.PAGESIZE])
    if not n:  # an empty buffer is elsewhere: point at the untouchable page itself
        a.address = ctypes.addressof(ctypes.c_char.from_buffer(page)) + mmap.PAGESIZE
    y = half.device.buffer(128)
    half.device.write(y, np.array([n], np.float32).tobytes())
    half.launch(name, a, a, y, 1)
    target = np.int32 if name == "load_int" else np.float32
    got = np.frombuffer(half.device.read(y, 64), target)[8:]
    np.testing.assert_array_equal(got, [*values, *[0] * (8 - n)])


@pytest.mark.parametrize("n", range(9))
@pytest.mark.parametrize(
    ("name", "kind"),
    [("store_float", np.float32), ("store_half", np.float16), ("store_int", np.int32)],
)
def test_a_masked_store_writes_nothing_beyond(
    name: str, kind: type[np.generic], n: int, half: Half, page: mmap.mmap
) -> None:
    wide = np.int32 if name == "store_int" else np.float32
    values = RANDOM.integers(-100, 100, 8).astype(wide)
    size = n * np.dtype(kind).itemsize
    start = mmap.PAGESIZE - 32 - size
    page[start : start + 4] = np.array([n], np.float32).tobytes()
    b = half.device.constant(bytes_of(values))
    address = ctypes.addressof(ctypes.c_char.from_buffer(page)) + start
    y = CpuBuffer(memoryview(page)[start : mmap.PAGESIZE], 32 + size, address)
    half.launch(name, b, b, y, 1)
    np.testing.assert_array_equal(np.frombuffer(y.view, kind, n, 32), values[:n].astype(kind))


def test_thread_memory(half: Half) -> None:
    a, b = whole_groups(NEAR), whole_groups(NEAR_ZERO)
    wanted = a + b.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(half.floats("thread_memory", a, b), wanted)


def test_conversion_to_int_goes_toward_zero(half: Half) -> None:
    a = whole_groups(NEAR)
    np.testing.assert_array_equal(half.floats("to_int_and_back", a), np.trunc(a) + 0.0)


def test_strided_and_indexed_access(half: Half) -> None:
    a = RANDOM.normal(size=200).astype(np.float32)
    out = np.empty(1200, np.float32)
    half.run("gather", 5, out, a)
    for group in range(5):
        np.testing.assert_array_equal(out[8 * group : 8 * group + 8], a[group : group + 24 : 3])
        eight = slice(1000 + group, 1000 + group + 40, 5)
        np.testing.assert_array_equal(out[eight], a[8 * group : 8 * group + 8])

    halves = a.astype(np.float16)
    half.run("gather_half", 5, out, halves)
    np.testing.assert_array_equal(out[8:16], halves[1:25:3])

    where = RANDOM.integers(0, 200, 64).astype(np.int32)
    np.testing.assert_array_equal(half.floats("pick", np.resize(a, 64), where)[:0], [])
    picked = np.empty(64, np.float32)
    half.run("pick", 8, picked, a, where)
    np.testing.assert_array_equal(picked, a[where])


def test_integer_lanes(half: Half) -> None:
    x, z = RANDOM.integers(-(1 << 20), 1 << 20, (2, 4096)).astype(np.int32)
    x[::9], z[::9] = 7, 100
    out = np.empty(4096, np.int32)
    half.run("integers", 512, out, x, z)
    chosen = np.where((x < z) & (x != 7), z, x)
    np.testing.assert_array_equal(out, ((x & z) | (x << 3)) + (z >> 2) - x * 5 - z + chosen)


def test_comparisons_and_masks(half: Half) -> None:
    x, z = RANDOM.integers(-2, 3, (2, 4096)).astype(np.float32)
    x[:16], x[16:24] = 1.0, -1.0
    x[100], z[200] = np.nan, np.nan
    out = np.empty(4096, np.int32)
    half.run("compare", 512, out, x, z)
    tests = [x < z, x <= z, x > z, x >= z, x == z, x != z, (x > 0) | (z > 0), (x > 0) & ~(z > 0)]
    by_group = (x > 0).reshape(-1, 8)
    tests += [np.repeat(by_group.any(1), 8), np.repeat(by_group.all(1), 8)]
    wanted = sum(test.astype(np.int32) << bit for bit, test in enumerate(tests))
    np.testing.assert_array_equal(out, wanted)


def test_the_fast_maximum_is_exact_on_numbers(half: Half) -> None:
    a, b = whole_groups(NEAR), whole_groups(NEAR_ZERO)
    out = np.empty((a.size // 8, 2, 8), np.float32)
    half.run("fast", a.size // 8, out, a, b)
    np.testing.assert_array_equal(out[:, 0].ravel(), np.maximum(a, b))
    np.testing.assert_array_equal(out[:, 1].ravel(), np.minimum(a, b))


def test_horizontal_operations_keep_their_order(half: Half) -> None:
    a = (RANDOM.normal(size=(1024, 8)) * 10.0 ** RANDOM.integers(-4, 5, (1024, 8))).astype(
        np.float32
    )
    out = np.empty((1024, 4), np.float32)
    half.run("horizontal", 1024, out, a)
    c = a.T
    total = ((c[0] + c[4]) + (c[2] + c[6])) + ((c[1] + c[5]) + (c[3] + c[7]))
    lanes = a[np.arange(1024), np.arange(1024) % 8]
    np.testing.assert_array_equal(out, np.stack([total, a.max(1), a.min(1), lanes], 1))

    a[3, 5] = np.nan
    half.run("horizontal", 1024, out, a)
    assert np.isnan(out[3, :3]).all()
    assert np.isnan(out).sum() == 3 + (3 % 8 == 5)


def test_every_second_lane(half: Half) -> None:
    a, b = (RANDOM.normal(size=(4, 8)).astype(np.float32) for _ in range(2))
    out = np.empty((4, 2, 8), np.float32)
    half.run("every_second", 4, out, a, b)
    both = np.concatenate([a, b], 1)
    np.testing.assert_array_equal(out, np.stack([both[:, ::2], both[:, 1::2]], 1))


def test_transpose(half: Half) -> None:
    a = RANDOM.normal(size=(4, 8, 8)).astype(np.float32)
    out = np.empty_like(a)
    half.run("transpose", 4, out, a)
    np.testing.assert_array_equal(out, a.swapaxes(1, 2))


def test_16_lanes(half: Half) -> None:
    a, b = (whole_groups(v)[:16_000] for v in (NEAR, NEAR_ZERO))
    out = np.empty((1000, 3, 16), np.float32)
    half.run("sixteen", 1000, out, a, b)
    x, z = a.reshape(-1, 16), b.astype(np.float16).astype(np.float32).reshape(-1, 16)
    np.testing.assert_array_equal(out[:, 0], x + z)
    exact = x.astype(np.float64) * z + 0.5
    np.testing.assert_allclose(out[:, 1], exact, rtol=2**-23, atol=1e-12)
    np.testing.assert_array_equal(out[:, 2, :8], x[:, 8:])
    np.testing.assert_allclose(out[:, 2, 8], x.sum(1, dtype=np.float64), atol=1e-4)


def test_arithmetic_of_16_lanes(half: Half) -> None:
    a, b = (RANDOM.uniform(1, 9, 2048).astype(np.float32) for _ in range(2))
    out = np.empty(2048, np.float16)
    half.run("arithmetic_of_16", 128, out, a, b)
    np.testing.assert_array_equal(out, ((a - b) / (a * 2 - b)).astype(np.float16))


def test_bytes_are_brought_to_their_lanes(half: Half) -> None:
    a = RANDOM.integers(0, 256, (64, 64)).astype(np.uint8)
    out = np.empty((64, 9, 64), np.uint8)
    half.run("bytes", 64, out, a)
    np.testing.assert_array_equal(out[:, 0], np.concatenate([a[:, 2:34], a[:, 23:55]], 1) ^ 128)
    np.testing.assert_array_equal(out[:, 1], np.tile(a[:, 3:35], 2))
    np.testing.assert_array_equal(
        out[:, 2], np.concatenate([a[:, 2:18], a[:, 2:18], a[:, 30:46], a[:, 30:46]], 1)
    )
    bits = np.concatenate([a[:, 1:5], a[:, 9:13]], 1)
    np.testing.assert_array_equal(
        out[:, 3], np.unpackbits(bits, axis=1, bitorder="little").astype(np.uint8)
    )
    np.testing.assert_array_equal(out[:, 4], 255 - (a & 15) ** 2)
    shifts = np.tile(np.repeat([0, 4], 16), 2).astype(np.uint8)
    np.testing.assert_array_equal(out[:, 5], (a >> shifts) & 15)
    shifts = np.repeat([1, 3], 32).astype(np.uint8)
    np.testing.assert_array_equal(out[:, 6], ((a >> shifts) & 1) | ((a & 3) << 1))
    shifts = np.repeat([7, 2], 8).astype(np.int32)
    np.testing.assert_array_equal(out[:, 7].view(np.int32), (a.view(np.int32) << shifts) + 3)
    np.testing.assert_array_equal(out[:, 8].view(np.float32)[:, :8], a[:, 5:13])


def test_products_of_bytes(half: Half) -> None:
    u = RANDOM.integers(0, 256, (64, 16, 4)).astype(np.uint8)
    s = RANDOM.integers(-128, 128, (64, 16, 4)).astype(np.int8)
    u[0], s[0] = 255, -128  # the largest sum that must fit
    u[1], s[1] = 255, 127
    out = np.empty((64, 16), np.int32)
    half.run("byte_products", 64, out, u, s)
    np.testing.assert_array_equal(out, (u.astype(np.int32) * s).sum(2) + 5)


def test_few_numbers_are_spread_over_the_lanes(half: Half) -> None:
    a = RANDOM.normal(size=(64, 8)).astype(np.float32)
    out = np.empty((64, 3, 16), np.float32)
    half.run("spread", 64, out, a)
    np.testing.assert_array_equal(out[:, 0], np.repeat(a[:, 1:3], 8, 1))
    np.testing.assert_array_equal(out[:, 1], np.repeat(a[:, 2:6], 4, 1))
    np.testing.assert_array_equal(out[:, 2], np.repeat(a[:, 3:6:2], 8, 1))


def test_what_lies_apart(half: Half) -> None:
    a = RANDOM.integers(0, 256, (64, 272)).astype(np.uint8)
    out = np.empty((64, 72), np.float32)
    half.run("apart", 64, out, a)
    for found, first, apart in ((out[:, :16], 2, 18), (out[:, 16:32], 4, 20)):
        at = first + apart * np.arange(4)[:, None] + np.arange(16)
        np.testing.assert_array_equal(found.copy().view(np.uint8), a[:, at.reshape(-1)])
    for each, (first, apart) in enumerate(((0, 18), (2, 20), (0, 22), (2, 24), (0, 34))):
        at = first + apart * np.arange(8)[:, None] + np.arange(2)
        halves = a[:, at.reshape(-1)].copy().view(np.float16).astype(np.float32)
        np.testing.assert_array_equal(out[:, 32 + 8 * each : 40 + 8 * each], halves)


def test_floats_are_stored_as_bytes(half: Half) -> None:
    a = RANDOM.uniform(-128.9, 127.9, (64, 16)).astype(np.float32)
    out = np.empty((64, 16), np.int8)
    half.run("store_bytes", 64, out, a)
    np.testing.assert_array_equal(out, np.trunc(a))


def test_the_portable_half_rejects_an_unqualified_pointer() -> None:
    body = "thread const float* p = a; y[0] = p[0];"
    device = CpuDevice(threads=1)
    device.library(VOCABULARY + kernel_text("k", body), [Kernel("k", 1)])
    with pytest.raises(RunError, match=r"cannot initialize.*device float"):
        device.library(PORTABLE + kernel_text("k", body), [Kernel("k", 1)])
    device.close()
