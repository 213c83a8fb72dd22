"""What large Metal libraries use, emulated: the results of `features.metal` are those of numpy.

All kernels are plain enough that a result is exact, or differs by the last bit of a function.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc.runtime.errors import RunError
from tlc.runtime.msl.build import MODES, Kernels, build
from tlc.runtime.msl.emulator import ORDERS, EmulatedBuffer, Schedule, launch

Array = NDArray[Any]
TEXT = (Path(__file__).parent / "features.metal").read_text()
RNG = np.random.default_rng(5)
HEAD = "#include <metal_stdlib>\nusing namespace metal;\n"
SIMD = 32


@cache
def kernels(mode: str, constants: tuple[tuple[int, str], ...] = ()) -> Kernels:
    return build(TEXT, "features.metal", mode, version="3.1", constants=dict(constants))


def run(
    made: Kernels, name: str, arrays: dict[int, Array], threads: Any, groups: Any = (1,), **how: Any
) -> dict[int, Array]:
    """The arrays after a launch, in which nothing may go wrong."""
    buffers = {}
    for index, array in arrays.items():
        buffers[index] = EmulatedBuffer(array.nbytes)
        buffers[index].write(np.ascontiguousarray(array).tobytes())
        if made.mode == "poison":
            buffers[index].fresh(False)
    found = launch(made, name, buffers, groups, threads, **how)
    assert not found, str(found[0])
    return {
        index: np.frombuffer(bytes(buffer.view), arrays[index].dtype).reshape(arrays[index].shape)
        for index, buffer in buffers.items()
    }


def everywhere(name: str, arrays: dict[int, Array], threads: Any, **how: Any) -> dict[int, Array]:
    """The results, which must be the same in every mode and order."""
    first: dict[int, Array] = {}
    for mode in MODES:
        for order in ORDERS:
            got = run(kernels(mode), name, arrays, threads, schedule=Schedule(order), **how)
            first = first or got
            for index in got:
                np.testing.assert_array_equal(got[index], first[index], f"{mode} {order}")
    return first


@pytest.mark.parametrize(
    ("name", "dtype"), [("f32", np.float32), ("f16", np.float16), ("i32", np.int32)]
)
def test_template_instances_and_buffers_without_an_index(name: str, dtype: type) -> None:
    x = RNG.integers(-9, 9, (3, 75)).astype(dtype)
    n, y = np.array([75], np.uint32), np.zeros(3, dtype)
    size = 40 * x.itemsize
    got = everywhere(
        f"row_sums_{name}", {0: x, 1: y, 2: n}, (40,), groups=(3,), threadgroup_bytes={0: size}
    )
    np.testing.assert_array_equal(got[1], x.sum(1))


def test_functions_as_arguments_of_templates() -> None:
    block = np.dtype([("scale", np.float16), ("nibbles", np.uint8, 16)])
    table = np.zeros((5, 3), block)
    table["scale"] = RNG.integers(-8, 8, (5, 3)) / 4
    table["nibbles"] = RNG.integers(0, 256, (5, 3, 16))
    columns, rows = np.array([96], np.uint32), np.array([4, 0, 2, 2], np.int32)
    arrays = {0: columns, 1: table, 2: rows, 3: np.zeros((4, 96), np.float32)}
    got = everywhere("get_rows_block", arrays, (32,), groups=(4,))
    nibbles = np.concatenate([table["nibbles"] & 15, table["nibbles"] >> 4], -1)
    values = table["scale"].astype(np.float32)[..., None] * (nibbles.astype(np.float32) - 8)
    np.testing.assert_array_equal(got[3], values.reshape(5, 96)[rows])


@pytest.mark.parametrize(("name", "dtype"), [("mean_f32", np.float32), ("sum_f16", np.float16)])
def test_vectors_that_a_template_makes(name: str, dtype: type) -> None:
    x = RNG.normal(size=(3, 100)).astype(dtype)
    n, y = np.array([100], np.int32), np.zeros_like(x)
    how: dict[str, Any] = {"groups": (3,), "threadgroup_bytes": {0: 4 * SIMD}}
    got = everywhere(name, {0: x, 1: y, 2: n}, (64,), **how)[1]
    wide = x.astype(np.float64)
    squares = (wide**2).mean(1) if name.startswith("mean") else (wide**2).sum(1)
    # a sum of 100 squares, a root, a quotient and a product; half has one rounding more
    bound = 64 * np.finfo(np.float32).eps + np.finfo(dtype).eps
    np.testing.assert_allclose(got.astype(np.float64), wide / np.sqrt(squares)[:, None], bound)


@pytest.mark.parametrize("constants", [(), ((0, "true"),), ((0, "false"), (3, "3")), ((3, "7"),)])
def test_function_constants(constants: tuple[tuple[int, str], ...]) -> None:
    given = dict(constants)
    x = RNG.integers(0, 99, 64).astype(np.int32)
    bias = RNG.integers(0, 99, 64).astype(np.int32)
    arrays = {0: x, 1: np.zeros_like(x)}
    if given.get(3) == "3":
        arrays |= {2: bias, 3: np.array([2], np.int32)}
    got = run(kernels("checked", constants), "specialised", arrays, (64,))
    wanted = (x[::-1] if given.get(0) == "true" else x) * int(given.get(3, 10))
    np.testing.assert_array_equal(got[1], wanted + (2 * bias if given.get(3) == "3" else 0))


def test_vectors_swizzles_and_conversions() -> None:
    record = np.dtype([("position", "f4", 3), ("mass", "f4"), ("colour", "f2", 4)])
    x = np.zeros(8, record)
    x["position"], x["mass"] = RNG.normal(size=(8, 3)), RNG.normal(size=8)
    x["colour"] = RNG.integers(-4, 4, (8, 4)) / 4
    got = everywhere("vectors", {0: x, 1: np.zeros((8, 4), np.float32)}, (8,))[1]
    px, py, pz = x["position"].astype(np.float32).T
    f = np.stack([py, px, pz * 2, x["mass"]], 1).astype(np.float32)
    colour = x["colour"].astype(np.float32)
    f[:, 3] += colour[:, 2]
    f[:, 0] += colour[:, 1]
    low = (f.view(np.uint32) & 0xFF).astype(np.float32)
    small = f < 1
    f = np.where(small, low, f)
    unit = f[:, :3] / np.linalg.norm(f[:, :3], axis=1)[:, None]
    columns = (
        f[:, 0],
        f @ np.array([0.5, 1.5, -1, 2], np.float32),
        np.rint(f[:, 2]) + small.any(1) + np.clip(f[:, 1], -1, 1),
        np.linalg.norm(unit, axis=1) + np.maximum(f[:, 0], 2.5) + f[:, 1] * 2 + 1e-3,
    )
    np.testing.assert_allclose(got, np.stack(columns, 1), rtol=2e-6)


def test_matrices() -> None:
    a = RNG.integers(-3, 3, (5, 4, 4)).astype(np.float32)  # [column, row], as they are stored
    b = RNG.integers(-3, 3, (2, 4)).astype(np.float32)
    got = everywhere("matrices", {0: a, 1: np.zeros((5, 4), np.float32), 2: b}, (5,))[1]
    m = a.transpose(0, 2, 1)
    row = np.array([1, 2, 3, 4], np.float32)
    np.testing.assert_array_equal(got, (m @ a) @ b[0] + row @ m + b[1])


def test_functions_of_a_simdgroup() -> None:
    x = RNG.integers(0, 100, 64).astype(np.int32)
    got = everywhere("lanes", {0: x, 1: np.zeros((64, 20), np.int32)}, (64,))[1]
    lane = np.arange(SIMD)
    for half, v in enumerate(x.reshape(2, SIMD).astype(np.int64)):
        out = got[half * SIMD : (half + 1) * SIMD].T
        ones = np.ones(SIMD, np.int64)
        quad = lane // 4 * 4
        wanted = [
            *(ones * v.sum(), ones * v.max(), ones * v.min(), v.cumsum(), v.cumsum() - v),
            *(v[lane * 7 % 32], v[lane ^ 5], np.where(lane >= 3, v[lane - 3], 0)),
            *(v[(lane + 9) % 32], ones * v[11], ones * v[0]),
            (ones * int(sum(1 << i for i in lane if v[i] > 50))).astype(np.uint32).view(np.int32),
            ones * (int((v > 98).any()) + 2),
            *(v[quad] + v[quad + 1] + v[quad + 2] + v[quad + 3], v[lane ^ 2], v[quad + 3]),
            np.where(lane >= 4, v[lane - 4], -v[(lane + 28) % 32]),
            np.where(lane + 30 < 32, v[(lane + 30) % 32], -v[(lane + 30) % 32]),
            ones
            * (
                np.bitwise_and.reduce(v) + np.bitwise_or.reduce(v) * 1000 + np.bitwise_xor.reduce(v)
            ),
            (v % 2 + 1).cumprod(),
        ]
        for at, column in enumerate(wanted):
            np.testing.assert_array_equal(out[at], column, str(at))


def test_products_of_8x8_matrices() -> None:
    a = RNG.integers(-4, 4, (8, 8)).astype(np.float16)
    b = RNG.integers(-4, 4, (8, 16)).astype(np.float16)
    zero = np.zeros((8, 8), np.float32)
    got = everywhere("products", {0: a, 1: b, 2: zero, 3: zero}, (SIMD,))
    wanted = a.astype(np.float32) @ b[:, 8:].T.astype(np.float32) + 1
    np.testing.assert_array_equal(got[2], wanted)
    np.testing.assert_array_equal(got[3], wanted)


def test_atomics() -> None:
    x = RNG.integers(0, 50, 96).astype(np.uint32)
    arrays = {0: x, 1: np.zeros(9, np.uint32), 2: np.zeros(1, np.float32)}
    got = everywhere("histogram", arrays, (48,), groups=(2,))
    np.testing.assert_array_equal(got[1][:8], np.bincount(x % 8, minlength=8))
    assert got[1][8] == x.max()
    assert got[2][0] == x.sum()


def test_namespaces_unions_bfloat_and_mathematics() -> None:
    x = np.array([0.5, 1.25, 3.0, -2.0], np.float32)
    packed = np.array([0.5, 1.5, -2, 8], np.float16).view(np.uint16)
    got = everywhere("various", {0: x, 1: np.zeros((4, 8), np.float32), 2: packed}, (4,))[1]
    bits = x.view(np.uint32)
    ones = np.array([bin(b).count("1") for b in bits])
    zeros = np.array([32 - int(b | 1).bit_length() for b in bits])
    columns = (
        x,  # all of these are bfloats
        bits >> 23,
        (0.5 * x + x) + (0.5 - x * x),
        2 * np.array([1, 0.5, 0.25, 0.125]) + 3,
        np.array([0.5, 1.5, -2, 8]),
        ones + zeros + 7 + (bits >> 4 & 63),
        np.exp(np.minimum(x, 1)) + np.cos(x) + np.abs(x) ** 1.5,
        65504 * np.sign(x) - 4 + float(np.float16(1) / np.float16(3)),
    )
    np.testing.assert_allclose(got, np.stack(columns, 1).astype(np.float32), rtol=1e-6)


def test_grids_that_threadgroups_do_not_divide() -> None:
    got = everywhere("places", {0: np.zeros((5, 50, 4), np.uint32)}, (20, 2), grid=(50, 5))[0]
    y, x = np.mgrid[:5, :50]
    width, height = np.where(x < 40, 20, 10), np.where(y < 4, 2, 1)
    np.testing.assert_array_equal(got[..., 0], width * 100 + height)
    np.testing.assert_array_equal(got[..., 1], x // 20 * 10 + y // 2)
    np.testing.assert_array_equal(got[..., 2], (x % 20 + y % 2 * width) // 32)
    np.testing.assert_array_equal(got[..., 3], -(-width * height // 32))


ADDED = """
#pragma METAL internals : enable
namespace metal {
template <typename... T> struct make_void { typedef void type; };
template <typename... T> using void_t = typename make_void<T...>::type;
METAL_FUNC bfloat abs(bfloat x) {
  return static_cast<bfloat>(__metal_fabs(static_cast<float>(x), __METAL_MAYBE_FAST_MATH__));
}
METAL_FUNC bfloat max(bfloat x, bfloat y) {
  return static_cast<bfloat>(__metal_fmax(static_cast<float>(x), static_cast<float>(y), 1));
}
METAL_FUNC bfloat simd_sum(bfloat x) {
  return static_cast<bfloat>(__metal_simd_sum(static_cast<float>(x)));
}
}
template <typename T> struct Sum {
  template <typename U, metal::enable_if_t<sizeof(U) < 8, bool> = true> U all(U x) thread {
    return simd_sum(x);
  }
  template <typename U, metal::enable_if_t<sizeof(U) == 8, bool> = true> U all(U x) thread {
    for (ushort k = 16; k > 0; k /= 2) x += as_type<U>(simd_shuffle_xor(as_type<uint2>(x), k));
    return x;
  }
};
template <typename T, int simds>
[[kernel, max_total_threads_per_threadgroup(simds * 32)]] void sums(
    device T* x, uint i [[thread_position_in_grid]]) {
  Sum<T> sum;
  x[i] = sum.all(max(T(abs(x[i])), T(2)));
}
template [[host_name("bf16")]] [[kernel]] decltype(sums<bfloat, 2>) sums<bfloat, 2>;
template [[host_name("i64")]] [[kernel]] decltype(sums<long, 1>) sums<long, 1>;
"""


def test_what_libraries_add_to_that_of_metal() -> None:
    x = RNG.integers(-3, 4, 32).astype(np.int64)
    bits = (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)  # exact
    wanted = np.maximum(abs(x), 2).sum()
    for mode in MODES:
        made = build(HEAD + ADDED, "k.metal", mode, version="3.1")
        assert set(run(made, "i64", {0: x}, (SIMD,))[0]) == {wanted}
        got = run(made, "bf16", {0: bits}, (SIMD,))[0].astype(np.uint32) << 16
        assert set(got.view(np.float32)) == {wanted}


def test_a_function_takes_bfloat_for_float_where_no_library_has_its_own() -> None:
    text = "kernel void k(device bfloat* x) { float y = exp(x[0]); x[0] = bfloat(max(y, x[1])); }"
    made = build(HEAD + text, "k.metal", "checked", version="3.1")
    zero_and_two = np.array([0, 0x4000], np.uint16)
    assert run(made, "k", {0: zero_and_two}, (1,))[0][0] == 0x4000


def test_what_is_larger_than_an_element_is_no_list_of_arguments() -> None:
    text = (
        "struct P { float x; }; kernel void k(device float* y) { P p[2]; p[0].x = y[0]; p[1].x = 2;"
        " const int at[2] = {1, 0}; y[1] = (y[at[1]] > p[at[0]].x ? 1.0f : 2.0f)"
        " + (p[at[1]].x < 4.0f && y[0] > y[at[0]]); }"
    )
    x = np.array([3, 0.5], np.float32)
    assert run(build(HEAD + text, "k.metal", "checked"), "k", {0: x}, (1,))[0][1] == 2


def test_a_reference_to_no_buffer_is_wrong_when_it_is_read() -> None:
    text = "kernel void k(device int* x, constant int& n) { x[0] = x[1] ? n : 1; }"
    made = build(HEAD + text, "k.metal", "checked")
    for second, wanted in ((0, []), (1, ["null-pointer"])):
        buffer = EmulatedBuffer(8)
        buffer.write(np.array([0, second], np.int32).tobytes())
        assert [f.kind for f in launch(made, "k", {0: buffer}, (1,), (1,))] == wanted


def test_denormals_are_flushed_unless_they_are_wanted() -> None:
    made = build(HEAD + "kernel void k(device float* x) { x[0] *= 0.5f; }", "k.metal", "fast")
    tiny = np.array([2.0**-126], np.float32)
    for flush, wanted in ((True, 0.0), (False, 2.0**-127)):
        got = run(made, "k", {0: tiny}, (1,), schedule=Schedule(flush=flush))
        assert got[0][0] == wanted


def test_halves_are_rounded_after_every_operation() -> None:
    text = "kernel void k(device half* x) { x[0] = x[0] * x[1] + x[2]; }"
    x = np.array([1.001, 1.001, -1.0], np.float16)
    for mode in MODES:
        got = run(build(HEAD + text, "k.metal", mode), "k", {0: x}, (1,))
        assert got[0][0] == x[0] * x[1] + x[2]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("kernel void k(float x) {}", "has no attribute"),
        ("kernel void k(texture2d<float> t [[texture(0)]]) {}", "not emulated"),
        ("kernel void k(device float* x [[buffer(31)]]) {}", "beyond 30"),
        ("kernel void k(device float* x) { x[0] = 1.0f }", "k.metal:3"),
        ("kernel void k(device float* x) { x[0] = max(1.0f, half(2)); }", "ambiguous"),
        ("kernel void k(device float* x { }", "not closed"),
        ('#include "nowhere.h"\n', "nowhere.h"),
    ],
)
def test_text_that_cannot_be_emulated_is_an_error_that_says_why(text: str, part: str) -> None:
    with pytest.raises(RunError, match="E0703") as problem:
        build(HEAD + text, "k.metal", "fast")
    assert part in str(problem.value)


def test_a_kernel_that_does_not_exist() -> None:
    with pytest.raises(RunError, match="E0503"):
        kernels("fast").function("nothing")
