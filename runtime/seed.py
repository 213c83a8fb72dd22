"""The seed of a run to the number that its kernels hash."""

from __future__ import annotations

SEED = "$seed"  # the symbol that stands for it in formulas


def key_of(seed: int) -> int:
    """The lower 31 bits of the first number of splitmix64 (Steele et al. 2014) from a seed."""
    z = (seed + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return (z ^ (z >> 31)) % 2**31
