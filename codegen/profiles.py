"""Profiles: what kernels are generated for, as the few numbers that schedules depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Tile:
    """A block of a matrix product: rows and columns of the result, and how much of K at a time."""

    rows: int
    columns: int
    depth: int


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of device.

    name      `apple`: threadgroups of 32-lane simdgroups, kernels in scalars and 8x8 matrices.
              `cpu`: one thread per threadgroup, kernels in the lanes of `lanes.metal.j2`.
    threads   of a threadgroup, where the work does not ask for another number.
    work      elements that one threadgroup handles at least, so that starting it costs little.
    scratch   floats of a kernel's private arrays (the stack of a CPU thread), 0 for none.
    few_rows  on the left of a product that a matvec kernel takes.
    tile      of a large matrix product; `small_tile` when there are too few large ones.
    """

    name: Literal["apple", "cpu"]
    threads: int
    work: int
    scratch: int
    few_rows: int
    tile: Tile
    small_tile: Tile


# Rows of a cpu tile are a multiple of its micro-kernel's rows (6, or 12 with AVX-512), columns of
# its panel (16, or 32). The larger a tile, the fewer times operands are read and converted; its
# matrices take rows*272 + depth*32 + rows*(columns + 16) floats of stack: 440 KiB.
CPU = Profile("cpu", 1, 4096, 16384, 16, Tile(192, 256, 256), Tile(96, 128, 256))
APPLE = Profile("apple", 256, 1024, 0, 4, Tile(64, 64, 32), Tile(32, 32, 32))

PROFILES = {profile.name: profile for profile in (APPLE, CPU)}
