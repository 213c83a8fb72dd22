"""Metal text to a Metal library, by Apple's own compiler where this machine has it.

The compiler comes with Xcode, as `metal`, and is found and called by `xcrun`. Without it an
artifact holds the text alone, which Metal compiles when the artifact is loaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

from tlc.runtime.metal_library import LibraryError, alone, problems, read_library

# Math as the metal-objc device asks for it: NaN and infinities are part of what programs mean.
_OPTIONS = ("-std=macos-metal2.3", "-O2", "-fno-fast-math")
_LONGEST = 600  # seconds that the compiler may take


class NotCompiled(Exception):
    """Why there is no library; the text says it in a few words."""


def is_installed() -> bool:
    """Whether there is an `xcrun` to ask. That of a Mac without developer tools opens a dialog."""
    if not shutil.which("xcrun"):
        return False
    if sys.platform != "darwin":
        return True
    chosen = subprocess.run(["xcode-select", "-p"], capture_output=True, check=False)
    return chosen.returncode == 0


def compile_library(text: str, kernels: list[str], macos: str) -> bytes:
    """A library of exactly these kernels, for this version of macOS and newer.

    Raises NotCompiled when Xcode has no Metal compiler, or one that does something unexpected.
    """
    with tempfile.TemporaryDirectory(prefix="tlc-") as folder:
        source, output = (os.path.join(folder, name) for name in ("apple.metal", "apple.metallib"))
        with open(source, "w", encoding="utf-8") as file:
            file.write(text)
        options = [*_OPTIONS, f"-mmacosx-version-min={macos}", "-o", output, source]
        command = ["xcrun", "-sdk", "macosx", "metal", *options]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=_LONGEST)
            if done.returncode:
                raise NotCompiled(_first_line(done.stderr) or "xcrun metal fails and says nothing")
            with open(output, "rb") as written:
                data = written.read()
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotCompiled(f"xcrun metal cannot be used: {error}") from None
    try:
        library = read_library(memoryview(data))
    except LibraryError as error:
        raise NotCompiled(f"xcrun metal writes a library that cannot be read: {error}") from None
    if alone(library) != data:
        raise NotCompiled("xcrun metal writes a library with bytes that nothing points at")
    if wrong := problems(library):
        raise NotCompiled(f"xcrun metal writes a damaged library: {wrong[0]}")
    if sorted(function.name for function in library.functions) != sorted(kernels):
        raise NotCompiled("xcrun metal writes a library of other kernels")
    return data


def _first_line(messages: bytes) -> str:
    """The error among the lines of a compiler, or its first line."""
    lines = messages.decode("utf-8", "replace").strip().splitlines()
    return next((line for line in lines if "error" in line), lines[0] if lines else "")
