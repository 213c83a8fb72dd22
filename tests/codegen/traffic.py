"""What launches move between buffers and threads, counted by the emulator.

A GPU's caches keep what a threadgroup has read, and what is small beside the rest: bytes count once
for each threadgroup that touches them, those of small operands once for the launch. A load of a
simdgroup is that of its lanes at one place of the code, in the same turn of their loops.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from tests.codegen.emulation import compiled, launched
from tests.codegen.running import Array, Case, size, usable
from tlc.runtime.msl.build import build
from tlc.runtime.msl.emulator import Access, Log

LINE, LANES, THREADS = 128, 32, 1024  # bytes; of a simdgroup; numbers of a threadgroup's threads
SMALL = 16  # times smaller than the largest operand
SIZES = {"half": 2, "float": 4, "int": 4}
MOST = 4_000_000  # accesses of a launch


class Traffic(NamedTuple):
    """Bytes that a launch moves and has to move, and its loads: all, and those of few lines."""

    kernel: str
    moved: int
    least: int
    loads: int
    coalesced: int


def traffic(case: Case) -> Traffic:
    """Of the kernel that is chosen for a case, as it is launched."""
    made, text = compiled([case])
    kernels = build(text, "apple.metal", "checked")
    kernel = usable(made[case.op], case.sizes)[0]
    with Log(MOST) as log:
        groups = size(kernel.groups, case.sizes)
        results, _, found = launched(kernels, kernel, case, groups, kernel.threads, "forward")
        assert not found, found[0]
        accesses = np.frombuffer(bytes(log.accesses()), np.dtype(Access))
    outside = len(case.inputs) + len(case.parts)  # dims and status come behind
    accesses = _joined(accesses[accesses["buffer"] < outside], kernel.text)
    sizes = [array.nbytes for array in (*case.inputs, *results)]
    moved = sum(
        _touched(accesses[accesses["buffer"] == at], alone=nbytes * SMALL > max(sizes))
        for at, nbytes in enumerate(sizes)
    )
    loads, coalesced = _loads(accesses[accesses["write"] == 0])
    return Traffic(kernel.name, moved, sum(sizes), loads, coalesced)


def _joined(accesses: Array, text: str) -> Array:
    """The emulator reads a vector element by element; here it is one access, where a kernel has
    vectors of four elements in memory."""
    found = re.findall(r"device (?:const )?(half|float|int)4\*", text)
    for nbytes in {SIZES[kind] for kind in found}:
        at = np.arange(len(accesses) - 3)
        first = (accesses["offset"][at] % (4 * nbytes) == 0) & (accesses["size"][at] == nbytes)
        for step in (1, 2, 3):
            later = accesses[at + step]
            first &= later["offset"] == accesses["offset"][at] + np.uint64(step * nbytes)
            for same in ("pc", "who", "buffer", "write"):
                first &= later[same] == accesses[same][at]
        whole = np.flatnonzero(first)
        accesses = accesses.copy()
        accesses["size"][whole] = 4 * nbytes
        accesses = np.delete(accesses, np.concatenate([whole + 1, whole + 2, whole + 3]))
    return accesses


def _touched(accesses: Array, alone: bool) -> int:
    """Different bytes, counted for each threadgroup alone or for all together."""
    group = accesses["who"] // THREADS * alone
    places = [
        np.stack([group, accesses["offset"] + at], 1)[accesses["size"] > at]
        for at in range(accesses["size"].max(initial=0))
    ]
    return len(np.unique(np.concatenate(places), axis=0)) if places else 0


def _loads(reads: Array) -> tuple[int, int]:
    """Loads of whole simdgroups, and how many of them touch no more lines than their bytes fill."""
    order = np.lexsort((np.arange(len(reads)), reads["who"], reads["pc"]))
    reads = reads[order]
    fresh = np.flatnonzero(
        (np.diff(reads["who"], prepend=-1) != 0) | (np.diff(reads["pc"], prepend=0) != 0)
    )
    turn = np.arange(len(reads)) - np.repeat(fresh, np.diff([*fresh, len(reads)]))
    keys = np.stack([reads["pc"], reads["who"] // LANES, turn], 1).astype(np.uint64)
    _, which = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(which, kind="stable")
    parts = np.split(reads[order], np.flatnonzero(np.diff(which[order])) + 1)
    loads = coalesced = 0
    for part in parts:
        if len(part) != LANES:
            continue
        starts = np.unique(part["offset"])
        nbytes = int(part["size"].max())
        touched = np.unique([starts // LINE, (starts + nbytes - 1) // LINE])
        loads += 1
        coalesced += len(touched) <= -(-len(starts) * nbytes // LINE)
    return loads, coalesced
