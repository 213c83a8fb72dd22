"""Finds a C++ compiler and turns kernel text or the thread pool into a shared object."""

from __future__ import annotations

import os
import sys

from tlc.runtime.errors import RunError
from tlc.runtime.progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

OLDEST_CLANG = 15  # the first with _Float16 on x86-64 and the vector builtins of metal_stdlib
NEWEST_CLANG = 40  # names tried on PATH: clang, then clang-40 down to clang-15

NATIVE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "native")

_NOTHING = "no clang on PATH and no Python package ziglang"
_INSTALL = (
    "pip install ziglang, or install clang 15 or newer; TLC_CC=PATH names a compiler elsewhere"
)

# Contraction: metal_stdlib turns it on for kernels and off for its own math. No -ffast-math: NaN,
# infinities and the order of sums are part of the meaning. Nothing of a C library is used.
# Kernels say themselves what goes in lanes; clang 22 makes wrong loads of loops over `x[a + i % 8]`
# when it vectorizes them (`for (unsigned i = 0; i < 32; ++i) q[i] = x[a + i % 8];` with -O2).
FLAGS = (
    *("-std=c++17", "-O2", "-fno-vectorize", "-ffp-contract=on", "-fno-math-errno"),
    "-fno-trapping-math",
    *("-fsigned-char", "-ffreestanding", "-nostdinc", "-fno-exceptions", "-fno-rtti"),
    *("-fno-stack-protector", "-fPIC", "-fvisibility=hidden", "-w"),
)

# What the host has, as far as it decides the code that -march=native gives.
_CPU_KEYS = (
    *("vendor_id", "cpu family", "model", "model name", "flags"),
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features"),
)


class Toolchain:
    """A compiler that was found and not yet run: kind "clang" or "zig", and its path."""

    __slots__ = ("kind", "path")

    def __init__(self, kind: str, path: str) -> None:
        self.kind, self.path = kind, path

    def identity(self) -> str:
        """Changes when the program at this path is replaced."""
        found = os.stat(self.path)
        return f"{self.kind} {self.path} {found.st_size} {found.st_mtime_ns}"


def find() -> list[Toolchain]:
    """Compilers in the order they are tried: $TLC_CC alone, else clang on PATH, then ziglang."""
    chosen = os.environ.get("TLC_CC")
    if chosen:
        path = chosen if os.path.dirname(chosen) else _on_path([chosen])
        if not path or not os.access(path, os.X_OK):
            raise RunError("E0701", f"TLC_CC names {chosen}, which is not a program", _INSTALL)
        kind = "zig" if os.path.basename(path).startswith("zig") else "clang"
        return [Toolchain(kind, path)]
    found = []
    versions = range(NEWEST_CLANG, OLDEST_CLANG - 1, -1)
    for names in (["clang"], [f"clang-{version}" for version in versions]):
        path = _on_path(names)
        if path and not _is_installer(path):
            found.append(Toolchain("clang", path))
    for folder in sys.path:
        path = os.path.join(folder or ".", "ziglang", "zig")
        if os.access(path, os.X_OK):
            found.append(Toolchain("zig", path))
            break
    return found


def _on_path(names: Sequence[str]) -> str | None:
    folders = [f for f in os.environ.get("PATH", "").split(os.pathsep) if os.path.isdir(f)]
    for name in names:
        for folder in folders:
            path = os.path.join(folder, name)
            if os.access(path, os.X_OK):
                return path
    return None


def _is_installer(path: str) -> bool:
    """Whether this is macOS's stand-in, which opens a dialog when no developer tools are there."""
    tools = ("/Library/Developer/CommandLineTools/usr/bin/clang", "/Applications/Xcode.app")
    return (
        sys.platform == "darwin"
        and path == "/usr/bin/clang"
        and not any(os.path.exists(tool) for tool in tools)
    )


def target() -> tuple[list[str], str]:
    """Flags for the processor at hand, and a text that changes when their meaning does.

    Raises RunError E0702 on an x86-64 processor without AVX2, FMA or F16C (before about 2013).
    """
    machine = os.uname().machine
    if sys.platform == "darwin":  # was compiled for, never run
        return (["-march=x86-64-v3"] if machine == "x86_64" else []), f"darwin {machine}"
    facts = _cpu_facts()
    if machine == "x86_64":
        missing = {"avx2", "fma", "f16c"}.difference(facts.get("flags", "").split())
        if missing:
            names = ", ".join(sorted(missing))
            raise RunError("E0702", f"the cpu device needs a processor with {names}")
        flags = ["-march=native"]
        if "avx512f" in facts["flags"].split():  # else clang splits the 16 lanes for some models
            flags.append("-mprefer-vector-width=512")
        if "amx_bf16" in facts["flags"].split() and not _may_use_tiles():
            flags += ["-mno-amx-bf16", "-mno-amx-int8", "-mno-amx-tile"]
    else:
        flags = ["-mcpu=native"] if machine == "aarch64" else []
    return flags, "\n".join([machine, *(f"{key}: {value}" for key, value in facts.items())])


def _may_use_tiles() -> bool:
    """Asks Linux for the tile registers of AMX, for all threads of this process."""
    import ctypes

    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    return bool(ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data) == 0)


def _cpu_facts() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; the rest of the file, long with many, is not read."""
    text = b""
    handle = os.open("/proc/cpuinfo", os.O_RDONLY)
    try:
        while b"\n\n" not in text and (piece := os.read(handle, 4096)):
            text += piece
    finally:
        os.close(handle)
    facts = {}
    for line in text.partition(b"\n\n")[0].decode("utf-8", "replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in _CPU_KEYS:
            facts[key.strip()] = value.strip()
    return facts


def compile_shared(
    source: str,
    output: str,
    toolchains: Sequence[Toolchain],
    flags: Sequence[str] = FLAGS,
    headers: str = NATIVE,
) -> None:
    """Compile C++ text to a shared object at `output`, with the first usable toolchain.

    Raises RunError E0701 when there is none, E0703 with the compiler's first lines when it refuses.
    """
    toolchain = usable(toolchains)
    with Progress("compiling kernels"):
        for command in _commands(toolchain, output, flags, headers):
            _run(command, source, output)


def usable(
    toolchains: Sequence[Toolchain], oldest: int = OLDEST_CLANG, who: str = "the cpu device"
) -> Toolchain:
    """The first toolchain that is new enough. Raises RunError E0701 when there is none."""
    refused = []
    for toolchain in toolchains:
        reason = _too_old(toolchain, oldest)
        if not reason:
            return toolchain
        refused.append(reason)
    found = "; ".join(refused) or _NOTHING
    raise RunError("E0701", f"{who} needs a C++ compiler: {found}", _INSTALL)


def run_front(toolchain: Toolchain, flags: Sequence[str], source: str, refusal: str) -> str:
    """What clang itself writes for a text with these flags; the text comes from stdin.

    Raises RunError E0703 with `refusal` and the compiler's first lines.
    """
    done = _front(toolchain, flags, source)
    if done.returncode:
        raise _refused(refusal, done.stderr)
    return str(done.stdout, "utf-8", "replace")


def run_both(toolchain: Toolchain, flags: Sequence[str], source: str) -> tuple[str, str]:
    """What clang writes for a text to its output and to its messages, whether it refuses or not."""
    done = _front(toolchain, flags, source)
    return str(done.stdout, "utf-8", "replace"), str(done.stderr, "utf-8", "replace")


def _commands(
    toolchain: Toolchain, output: str, flags: Sequence[str] = FLAGS, headers: str = NATIVE
) -> list[list[str]]:
    compile_flags = [*flags, *target()[0], "-isystem", headers, "-x", "c++", "-"]
    link_flags = ["-shared", "-nostdlib", "-o", output]
    if sys.platform == "darwin":  # these lines were compiled with, never run
        link_flags += ["-Wl,-undefined,dynamic_lookup"]
    if toolchain.kind == "clang":
        return [[toolchain.path, *compile_flags, *link_flags]]
    if sys.platform == "darwin":
        machine = {"arm64": "aarch64"}.get(os.uname().machine, os.uname().machine)
        front = [toolchain.path, "cc", "-target", f"{machine}-macos"]
        return [[*front, *compile_flags, *link_flags]]
    # `zig cc` and `zig c++` would first build their own C library; these two need no cache.
    unlinked = output + ".o"
    return [
        [toolchain.path, "clang", *compile_flags, "-c", "-o", unlinked],
        [toolchain.path, "ld.lld", "-shared", "-o", output, unlinked],
    ]


def _run(command: list[str], source: str, output: str) -> None:
    import subprocess

    folder = os.path.dirname(output)
    environment = dict(os.environ, LC_ALL="C")
    environment.update(ZIG_GLOBAL_CACHE_DIR=folder, ZIG_LOCAL_CACHE_DIR=folder)
    done = subprocess.run(
        command, input=source.encode(), capture_output=True, env=environment, check=False
    )
    if done.returncode:
        raise _refused("the compiler refuses the kernels", done.stderr)


def _refused(what: str, messages: bytes) -> RunError:
    lines = messages.decode("utf-8", "replace").strip().splitlines()
    return RunError("E0703", "\n".join([what, *(line[:200] for line in lines[:8])]))


def _front(toolchain: Toolchain, flags: Sequence[str], source: str) -> Any:
    import subprocess

    front = [toolchain.path, "clang"] if toolchain.kind == "zig" else [toolchain.path]
    return subprocess.run(
        [*front, *flags],
        input=source.encode(),
        capture_output=True,
        env=dict(os.environ, LC_ALL="C"),
        check=False,
    )


def _too_old(toolchain: Toolchain, oldest: int = OLDEST_CLANG) -> str:
    """Why this compiler cannot be used, or an empty text; runs it to ask for its version."""
    version = _version(toolchain)
    if toolchain.kind == "zig":
        return ""
    number = version.partition(".")[0]
    if not number.isdecimal():
        return f"{toolchain.path} does not tell its version"
    return f"{toolchain.path} is version {version}" if int(number) < oldest else ""


def _version(toolchain: Toolchain) -> str:
    import subprocess

    option = "version" if toolchain.kind == "zig" else "-dumpversion"
    try:
        done = subprocess.run(
            [toolchain.path, option], capture_output=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").strip()


def why_not() -> str:
    """Why kernels cannot be compiled here, or an empty text; no compiler is run to find out."""
    try:
        target()
        return "" if find() else _NOTHING
    except RunError as error:
        return error.message


def describe() -> list[str]:
    """One line per compiler found, in the order of use, for `tlc doctor`."""
    try:
        found = find()
    except RunError as error:
        return [error.message]
    if not found:
        return [f"{_NOTHING} ({_INSTALL})"]
    return [
        _too_old(each) + f" (clang {OLDEST_CLANG} is needed)"
        if _too_old(each)
        else f"{each.kind} {_version(each)} at {each.path}"
        for each in found
    ]
