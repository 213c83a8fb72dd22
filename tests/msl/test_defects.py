"""Every defect that the emulator looks for: kernels that have it are found, others left alone.

`defects.metal` holds the kernels, and says on which line they go wrong.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tlc.runtime.msl.build import Kernels, build
from tlc.runtime.msl.emulator import (
    ORDERS,
    EmulatedBuffer,
    Schedule,
    launch,
    stored_without_value,
)
from tlc.runtime.msl.findings import KINDS, Finding

TEXT = (Path(__file__).parent / "defects.metal").read_text()
NAMES = re.findall(r"^.*KERNEL(?:_Z)?\(((?:bad|good)_\w+)\)", TEXT, re.MULTILINE)
THREADS = 64
IN_TWO_GROUPS = ("two_groups", "other_group")
# found only by following values, in a second build of the kernels
FOLLOWED = "uninitialised-value"


@cache
def kernels(mode: str) -> Kernels:
    return build(TEXT, "defects.metal", mode)


def expected(name: str) -> tuple[str, list[tuple[str, int]]]:
    """The kind of the defect of a `bad_` kernel, and the places that say it."""
    lines = TEXT.splitlines()
    start = next(i for i, line in enumerate(lines) if f"({name})" in line)
    end = lines.index("}", start)
    marked = [(i + 1, re.search(r"//! ([\w-]+)", lines[i])) for i in range(start, end)]
    found = [(number, mark[1]) for number, mark in marked if mark]
    return found[0][1], [("defects.metal", number) for number, _ in found]


def run(name: str, mode: str, order: str) -> list[Finding]:
    a, o = EmulatedBuffer(4 * THREADS), EmulatedBuffer(4 * THREADS)
    a.write(np.arange(THREADS, dtype=np.float32).tobytes())
    if mode == "poison":
        o.fresh(False)
    groups = 2 if name.split("_", 1)[1] in IN_TWO_GROUPS else 1
    schedule = Schedule(order, seconds=1)
    buffers = {0: a, 1: o}
    found = launch(kernels(mode), name, buffers, (groups,), (THREADS // groups,), schedule=schedule)
    function = kernels(mode).function(name)
    if mode == "poison":
        return found + stored_without_value(function, buffers)
    holes = [] if found or mode == "fast" else o.unwritten()
    return found + [Finding("unwritten-output", f"{hole}", name) for hole in holes]


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("bad_")])
def test_a_defect_is_found_where_it_is(name: str) -> None:
    kind, places = expected(name)
    for order in ORDERS[:1] if kind == "endless-loop" else ORDERS:
        found = run(name, "poison" if kind == FOLLOWED else "checked", order)
        same = [f for f in found if f.kind == kind]
        assert same, f"{order}: {[str(f) for f in found]}"
        if same[0].place is not None:
            assert {f.place for f in same}.intersection(places), [str(f) for f in same]
        else:  # of the launch or of memory as a whole, or before the first line
            assert kind in ("unwritten-output", "threads", "thread-memory", FOLLOWED)


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("good_")])
def test_its_nearest_relative_is_left_alone(name: str) -> None:
    for mode in ("checked", "poison"):
        for order in ORDERS:
            assert not [str(f) for f in run(name, mode, order)], (mode, order)


def test_every_kind_of_finding_has_a_kernel_that_shows_it() -> None:
    kinds = {expected(name)[0] for name in NAMES if name.startswith("bad_")}
    assert kinds == KINDS.keys() - {"order"}
    assert [n.replace("bad", "good") for n in NAMES[::2]] == NAMES[1::2]


def test_guard_pages_stop_a_kernel_that_was_not_compiled_to_be_checked() -> None:
    # a division by zero stops x86-64 alone; elsewhere it gives 0
    division = ("bad_division",) if os.uname().machine == "x86_64" else ()
    for name in ("bad_read_behind", "bad_write_far", "bad_unbound", *division):
        (found,) = run(name, "fast", "forward")[:1]
        assert found.kind == expected(name)[0]
    assert not run("good_read_behind", "fast", "forward")


def test_a_finding_says_kernel_thread_and_line() -> None:
    (found, *_) = run("bad_read_behind", "checked", "forward")
    assert str(found).splitlines()[0] == (
        "defects.metal:13: out-of-bounds: read of 4 bytes at byte 256 of buffer(0), "
        "which has 256 bytes"
    )
    assert "threadgroup (0, 0, 0), thread 63 (simdgroup 1, lane 31)" in str(found)
