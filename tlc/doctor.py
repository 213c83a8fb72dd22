"""`tlc doctor`: what this machine offers to tlc, and what is missing."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata

from tlc import __version__

_PACKAGES = (
    "ply",
    "jinja2",
    "numpy",
    "safetensors",
    "gguf",
    "ziglang",
    "metalcompute",
    "coremltools",
    "pillow",
    "uvicorn",
)


def report() -> str:
    """Devices, compilers, caches and packages, one to a line."""
    from tlc.runtime.devices.cache import folder
    from tlc.runtime.devices.select import available
    from tlc.runtime.devices.toolchain import describe

    lines = [
        f"tlc {__version__} on Python {platform.python_version()}, {platform.system()}"
        f" {platform.machine()}, {os.cpu_count()} cores",
        "",
        "devices",
        *(f"  {name:12} {state or 'ready'}" for name, state in available().items()),
        f"  {'reference':12} ready (numpy, no compiler)",
        "",
        "compilers for the cpu device",
        *(f"  {line}" for line in describe()),
        "",
        "caches",
        f"  {folder()}  {_size(folder())}",
        "",
        "packages",
        *(f"  {name:12} {_version(name)}" for name in _PACKAGES),
    ]
    if sys.version_info >= (3, 14):
        lines.append("  metalcompute has no wheel for Python 3.14 or newer; use 3.13 or metal-objc")
    return "\n".join(lines)


def _size(folder: str) -> str:
    """How many files a folder holds, and their bytes."""
    sizes = [entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()]
    return f"{len(sizes)} files, {sum(sizes):,} bytes"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
