"""Fused operations for tests, and a way to run their kernels on the cpu device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants
from numpy.typing import DTypeLike, NDArray

import tlc.ir.ops  # noqa: F401  (fills the registry)
from tlc.codegen.kernels import Kernel, Variant, generate, module_text
from tlc.codegen.profiles import CPU
from tlc.ir.builder import Builder
from tlc.ir.core import Block, Op, Value
from tlc.ir.dims import Dim, DimLike
from tlc.ir.opdef import OPS
from tlc.ir.types import TensorType
from tlc.runtime import devices
from tlc.runtime.devices.cpu import CpuDevice

Array = NDArray[Any]
SIZES = (1, 2, 3, 7, 31, 33, 64, 127, 130)  # around the widths of lanes, simdgroups and tiles
NAN, INF = float("nan"), float("inf")
EPS16, EPS32 = 2.0**-11, 2.0**-24  # half a unit in the last place, relative
DTYPES = {"f16": np.float16, "f32": np.float32, "i32": np.int32, "bool": np.bool_}
# where the float16 scales of a block are, and by what numbers they are multiplied at most
HALVES = {
    "q8_0": (0,), "q4_0": (0,), "q4_1": (0, 2), "q5_0": (0,), "q5_1": (0, 2), "q2_k": (80, 82),
    "q3_k": (108,), "q4_k": (0, 2), "q5_k": (0, 2), "q6_k": (208,), "iq4_nl": (0,),
}  # fmt: skip
SPREAD = {
    "q8_0": 128, "q4_0": 8, "q4_1": 15, "q5_0": 16, "q5_1": 31, "q2_k": 45, "q3_k": 128,
    "q4_k": 945, "q5_k": 1953, "q6_k": 4096, "iq4_nl": 127,
}  # fmt: skip
GUARD = 64  # bytes after every result that a kernel must leave alone


def fused(
    family: str,
    operands: Sequence[TensorType],
    build: Callable[..., Value | list[Value]],
    encodings: Sequence[str] | None = None,
) -> Op:
    """A fused operation whose region is what `build(builder, *arguments)` makes: one result, or a
    list of several."""
    block = Block([Value(type) for type in operands])
    made = build(Builder(block), *block.args)
    results = made if isinstance(made, list) else [made]
    block.ops.append(Op(OPS["yield"], results, {}))
    op = Op(
        OPS["fused"],
        [Value(type) for type in operands],
        {
            "family": family,
            "encodings": tuple(encodings or (type.dtype for type in operands)),
            "results": tuple(result.type for result in results),
        },
        regions=[block],
    )
    op.results = [Value(result.type, op) for result in results]
    return op


def view(
    b: Builder,
    value: Value,
    shape: Sequence[DimLike],
    strides: Sequence[DimLike],
    offset: DimLike = 0,
) -> Value:
    """An `access`: the elements of an operand in another order."""
    return b.emit(
        "access",
        value,
        shape=tuple(map(Dim.of, shape)),
        strides=tuple(map(Dim.of, strides)),
        offset=Dim.of(offset),
    )


@dataclass
class Case:
    """A fused operation, inputs as they are stored, and the exact result.

    `slack` is how far float32 arithmetic may be off, element by element; rounding to the result's
    dtype comes on top. An operation with several results has a list of each. `rough` is what
    kernels of the cpu profile may be off by besides, where they multiply by integers. `there` are
    results that lie where an input does, which they begin with: their numbers, and the input's.
    """

    name: str
    op: Op
    inputs: Sequence[Array]
    exact: Any
    slack: Any = 0.0
    sizes: Mapping[str, int] = field(default_factory=dict)
    status: int = 0
    part: int = 0
    rough: Any = 0.0
    there: Mapping[int, int] = field(default_factory=dict)

    @property
    def dtype(self) -> str:
        return self.op.results[self.part].tensor.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(size(dim, self.sizes) for dim in self.op.results[self.part].tensor.shape)

    @property
    def parts(self) -> list[Case]:
        """A case for each result."""
        if not isinstance(self.exact, list):
            return [self]
        pairs = zip(self.exact, self.slack, strict=True)
        return [replace(self, exact=x, slack=s, part=at) for at, (x, s) in enumerate(pairs)]


def allowed(case: Case) -> Array:
    """The largest error of each element: float32 slack and half a unit of the stored dtype."""
    exact = np.abs(np.asarray(case.exact, np.float64))
    unit, tiny = {"f16": (EPS16, 2.0**-25), "f32": (EPS32, 2.0**-149)}[case.dtype]
    return np.asarray(case.slack + (exact + case.slack) * unit + tiny)


def fits(case: Case, got: Array) -> bool:
    """Whether `check` finds nothing wrong."""
    try:
        check(case, got)
    except AssertionError:
        return False
    return True


def check(case: Case, got: Array, what: str = "") -> None:
    """Fails unless the stored result is within what is allowed, NaN and infinities in place."""
    where = f"{case.name} {what}"
    assert got.shape == case.exact.shape, where
    if case.dtype in ("i32", "bool"):
        same = np.uint8 if case.dtype == "bool" else np.int32  # a mask is stored as 0 or 1
        np.testing.assert_array_equal(got.view(same), case.exact.astype(same), where)
        return
    exact = np.asarray(case.exact, np.float64)
    with np.errstate(over="ignore"):
        whole = exact.astype(DTYPES[case.dtype]).astype(np.float64)
    finite = np.isfinite(whole)
    np.testing.assert_array_equal(got[~finite], whole[~finite], where)
    with np.errstate(invalid="ignore"):
        error = np.abs(got.astype(np.float64) - exact)
    bad = finite & ~(error <= allowed(case))
    assert not bad.any(), (
        f"{where}: {bad.sum()} of {bad.size} elements are wrong, the first at "
        f"{np.argwhere(bad)[0]}: {got[bad][0]!r}, exactly {exact[bad][0]!r}, "
        f"allowed error {np.broadcast_to(allowed(case), bad.shape)[bad][0]:.3g}"
    )


def size(dim: Dim, sizes: Mapping[str, int]) -> int:
    return int(dim.substitute(sizes))


def usable(variants: Sequence[Variant], sizes: Mapping[str, int]) -> list[Kernel]:
    """The kernels that are right for these sizes: all whose guard holds, and the last."""
    return [v.kernel for v in variants if v.guard is None or size(v.guard[0], sizes) <= v.guard[1]]


def run_on_cpu(cases: Sequence[Case], prefix: str = "") -> None:
    """Compile the cpu kernels of all cases as one text, run each, and check its results.

    Cases may share an operation. Every kernel also runs with one threadgroup and with more than it
    asks for. `prefix` goes before the text.
    """
    made: dict[Op, list[Variant]] = {}
    for case in cases:
        if case.op not in made:
            made[case.op] = generate(case.op, CPU, f"k{len(made)}", case.name)
    everything = [variant.kernel for variants in made.values() for variant in variants]
    text = prefix + module_text(everything, CPU, "tests")
    device = CpuDevice(threads=2)
    library = device.library(text, [devices.Kernel(k.name, k.threads) for k in everything])
    for case in cases:
        for kernel in usable(made[case.op], case.sizes):
            asked = size(kernel.groups, case.sizes)
            assert asked >= 1
            for groups in (asked, 1, asked + 3):
                found, status = _launch(device, library, kernel, case, groups)
                for part, got in zip(case.parts, found, strict=True):
                    part = replace(part, slack=part.slack + part.rough)
                    check(part, got, f"{kernel.name} with {groups} groups")
                assert status == case.status, case.name
    device.close()


def _launch(
    device: CpuDevice, library: Any, kernel: Kernel, case: Case, groups: int
) -> tuple[list[Array], int]:
    buffers = []
    for array in case.inputs:
        buffer = device.buffer(array.nbytes)
        device.write(buffer, np.ascontiguousarray(array).tobytes())
        buffers.append(buffer)
    outs = []
    for part in case.parts:
        nbytes = int(np.prod(part.shape)) * np.dtype(DTYPES[part.dtype]).itemsize
        outs.append((device.buffer(nbytes + GUARD), nbytes, part))
        device.write(outs[-1][0], b"\xff" * (nbytes + GUARD))
        buffers.append(outs[-1][0])
    for part, given in case.there.items():
        device.write(outs[part][0], np.ascontiguousarray(case.inputs[given]).tobytes())
        buffers[given] = outs[part][0]
    if kernel.status:
        status = device.buffer(4)
        buffers.append(status)
    dims = np.array([size(dim, case.sizes) for dim in kernel.dims], np.uint32)
    launch = devices.Launch(
        devices.Kernel(kernel.name, kernel.threads),
        list(buffers),
        groups,
        dims.tobytes() if kernel.dims else None,
    )
    device.run(device.batch(library, [launch]))
    got: list[Array] = []
    for out, nbytes, part in outs:
        memory = bytes(device.read(out, nbytes + GUARD))
        assert memory[nbytes:] == b"\xff" * GUARD, f"{case.name}: written beyond the result"
        got.append(np.frombuffer(memory[:nbytes], DTYPES[part.dtype]).reshape(part.shape))
    raised = int.from_bytes(device.read(status, 4), "little") if kernel.status else 0
    return got, raised


# ---- inputs -------------------------------------------------------------------------------------


def normal(seed: int, *shape: int, dtype: str = "f16") -> Array:
    """Reproducible numbers of the standard normal distribution, as they are stored."""
    rng = np.random.default_rng([seed, *shape])
    return rng.standard_normal(shape).astype(DTYPES[dtype])


def wide(array: Array) -> Array:
    """Stored numbers in float64, for exact results."""
    return array.astype(np.float64)


_unpacked: list[DTypeLike] = [np.float16]


@contextmanager
def unrounded_weights() -> Iterator[None]:
    """Cases that are made here have weights that are not rounded when they are unpacked."""
    _unpacked.append(np.float32)
    try:
        yield
    finally:
        _unpacked.pop()


def packed(seed: int, rows: int, columns: int, encoding: str) -> tuple[Array, Array]:
    """A matrix of random blocks, and the float16 numbers that they mean, as `gguf` unpacks them.

    Scales are about 1/64 of the largest number, so that products stay within float16.
    """
    kind = GGMLQuantizationType[encoding.upper()]
    block, nbytes = GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng([seed, rows, columns, kind.value])
    blocks = rng.integers(0, 256, (rows, columns // block, nbytes), dtype=np.uint8)
    for at in HALVES[encoding]:
        scales = rng.uniform(-1, 1, (rows, columns // block)) / SPREAD[encoding]
        blocks[..., at : at + 2] = scales.astype(np.float16)[..., None].view(np.uint8)
    data = blocks.reshape(rows, -1)
    return data, quants.dequantize(data, kind).astype(_unpacked[-1])
