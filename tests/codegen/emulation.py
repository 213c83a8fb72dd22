"""Runs the apple kernels of sample operations on the emulator, which checks what they do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np

from tests.codegen.running import DTYPES, Array, Case, check, fits, size, usable
from tlc.codegen.kernels import Kernel, Variant, generate, module_text
from tlc.codegen.profiles import APPLE
from tlc.ir.core import Op
from tlc.runtime.msl.build import Kernels, build
from tlc.runtime.msl.emulator import (
    SECONDS,
    EmulatedBuffer,
    Schedule,
    launch,
    stored_without_value,
)
from tlc.runtime.msl.findings import Finding

WAYS = 5  # to launch each kernel
SIMD = 32  # a threadgroup is a number of whole simdgroups


def compiled(cases: Sequence[Case]) -> tuple[dict[Op, list[Variant]], str]:
    """The kernels of all cases, which may share operations, and their text."""
    made: dict[Op, list[Variant]] = {}
    for case in cases:
        if case.op not in made:
            made[case.op] = generate(case.op, APPLE, f"k{len(made)}", case.name)
    everything = [variant.kernel for variants in made.values() for variant in variants]
    return made, module_text(everything, APPLE, "tests")


def ways(kernel: Kernel, case: Case) -> Iterator[tuple[int, int, str]]:
    """Threadgroups, threads and order of some launches; each of them must give the same."""
    asked = size(kernel.groups, case.sizes)
    assert asked >= 1
    odd = max(kernel.threads * 3 // 4 // SIMD * SIMD, SIMD)  # 3 or 6 simdgroups
    yield asked, kernel.threads, "forward"
    yield 1, SIMD, "reverse"
    yield asked + 3, odd, "random"
    yield 1, kernel.threads, "random"  # all the work for one threadgroup of several simdgroups
    yield asked + 3, SIMD, "forward"  # little for each: threadgroups that overlap are seen


def run_emulated(
    cases: Sequence[Case],
    mode: str = "checked",
    all_ways: bool = False,
    others: Sequence[Case] = (),
    **how: bool,
) -> None:
    """Every kernel of every case gives its exact result within its bounds, and breaks no rule.

    Without `all_ways` the cases take turns with the ways to launch a kernel. `others` are the cases
    with another result that is as right, where there are two.
    """
    made, text = compiled(cases)
    kernels = build(text, "apple.metal", mode, **how)
    turns = cycle(range(WAYS))
    for case, other in zip(cases, others or cases, strict=True):
        for kernel in usable(made[case.op], case.sizes):
            turn = next(turns)
            for at, (groups, threads, order) in enumerate(ways(kernel, case)):
                if not all_ways and at != turn:
                    continue
                what = f"{kernel.name}, {groups} groups of {threads} threads, {order}"
                results, status, found = launched(kernels, kernel, case, groups, threads, order)
                assert not found, f"{case.name} {what}: {found[0]}\n{kernel.text}"
                for part, also, got in zip(case.parts, other.parts, results, strict=True):
                    if other is case or not fits(also, got):
                        check(part, got, what)
                assert status == case.status, case.name


def launched(
    kernels: Kernels,
    kernel: Kernel,
    case: Case,
    groups: int,
    threads: int,
    order: str,
    seconds: int = SECONDS,
) -> tuple[list[Array], int, list[Finding]]:
    """The results of a launch, its status word, and what it did wrong."""
    buffers: dict[int, EmulatedBuffer] = {}

    def bind(data: bytes) -> None:
        buffer = EmulatedBuffer(len(data))
        buffer.write(data)
        buffers[len(buffers)] = buffer

    for array in case.inputs:
        bind(np.ascontiguousarray(array).tobytes())
    outs = []
    for part in case.parts:
        nbytes = int(np.prod(part.shape)) * np.dtype(DTYPES[part.dtype]).itemsize
        outs.append(EmulatedBuffer(nbytes))
        outs[-1].write(b"\xff" * nbytes)
        outs[-1].fresh()
        buffers[len(buffers)] = outs[-1]
    for number, given in case.there.items():
        outs[number].write(np.ascontiguousarray(case.inputs[given]).tobytes())
        buffers[given] = outs[number]
    status = len(buffers)
    if kernel.status:
        bind(bytes(4))
    if kernel.dims:
        bind(np.array([size(dim, case.sizes) for dim in kernel.dims], np.uint32).tobytes())
    if kernels.mode == "poison":
        for out in outs:
            out.fresh(False)
    # denormals are kept: the exact results of the samples have them, and a GPU may keep them too
    schedule = Schedule(order, flush=False, seconds=seconds)
    found = launch(kernels, kernel.name, buffers, (groups,), (threads,), schedule=schedule)
    if kernels.mode == "poison":
        found += stored_without_value(kernels.function(kernel.name), buffers)
    elif kernels.mode == "checked" and not found and not case.status:
        unwritten = [hole for out in outs for hole in out.unwritten()]
        found += [Finding("unwritten-output", f"{hole}", kernel.name) for hole in unwritten]
    got: list[Array] = [
        np.frombuffer(bytes(out.view), DTYPES[part.dtype]).reshape(part.shape)
        for out, part in zip(outs, case.parts, strict=True)
    ]
    raised = int.from_bytes(buffers[status].view, "little") if kernel.status else 0
    return got, raised, found
