"""What kernels ask of the system they run on: the oldest macOS whose Metal has all they use.

Versions are those of the Metal Shading Language Specification: MSL 2.0 came with macOS 10.13, 2.1
with 10.14 (simdgroup functions), 2.3 with 11.0 (simdgroup matrices). Apple silicon starts at 11.0.
"""

from __future__ import annotations

from collections.abc import Iterable

from tlc.codegen.kernels import Kernel

BASE = ("11.0", "Apple silicon itself")

# feature of a kernel -> (macOS, Metal Shading Language)
FEATURES = {
    "simdgroup": ("10.14", "2.1"),
    "simdgroup_matrix": ("11.0", "2.3"),
}


def macos_of(kernels: Iterable[Kernel]) -> tuple[str, str]:
    """The oldest macOS that runs the kernels, and which feature asks for it."""
    needed, reason = BASE
    for kernel in kernels:
        for feature in sorted(kernel.features):
            version, _ = FEATURES[feature]
            if _number(version) > _number(needed):
                needed, reason = version, f"{feature} in {kernel.name}"
    return needed, reason


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
