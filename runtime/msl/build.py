"""Metal text to a loaded library of kernels: preprocess, translate, compile for the host, load."""

from __future__ import annotations

import ctypes
import os
import sys

from tlc.runtime.devices import cache, toolchain
from tlc.runtime.errors import RunError
from tlc.runtime.msl.entries import Entry
from tlc.runtime.msl.swizzles import swizzles
from tlc.runtime.msl.translate import Translation, translate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NATIVE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "native")
OLDEST_CLANG = 19  # the first with the bit functions of math.h
DEFAULT_VERSION = "2.3"  # of Metal, what metalcompute compiles
MODES = ("fast", "checked", "poison")

# names that `#include <...>` may have; all they declare comes with native/metal.h
HEADERS = (
    *("metal_stdlib", "metal_array", "metal_atomic", "metal_common", "metal_compute"),
    *("metal_config", "metal_extended_vector", "metal_geometric", "metal_graphics"),
    *("metal_integer", "metal_limits", "metal_logging", "metal_math", "metal_matrix"),
    *("metal_numeric", "metal_pack", "metal_packed_vector", "metal_quadgroup"),
    *("metal_relational", "metal_simdgroup", "metal_simdgroup_matrix", "metal_texture"),
    *("metal_type_traits", "metal_types", "metal_uniform", "metal_utility", "metal_vector"),
    *("simd/simd.h", "stdint.h", "cstdint"),
)

_HOST = ("-ffreestanding", "-nostdinc", "-fno-exceptions", "-fno-rtti", "-fno-stack-protector")
_CODE = (
    *("-std=c++17", *_HOST, "-fPIC", "-fno-threadsafe-statics", "-fno-math-errno", "-w"),
    *("-fdeclspec", "-fno-strict-aliasing", "-fvisibility=hidden"),
    "-fno-vectorize",  # clang 22 makes wrong loads of some loops: `runtime/devices/toolchain.py`
    # no stack steps over the guard below it; a loop without end is not taken for one with
    *("-fstack-clash-protection", "-fno-finite-loops"),
    # halves are rounded after every operation
    *("-Xclang", "-ffloat16-excess-precision=none"),
    *("-Xclang", "-fbfloat16-excess-precision=none"),
)
_LINES = ("-O1", "-gline-tables-only", "-gdwarf-4", "-ffp-contract=off")
_UNDEFINED = (
    "alignment,array-bounds,float-cast-overflow,integer-divide-by-zero,null,shift,"
    "signed-integer-overflow,return,unreachable"
)
_MODE = {
    "fast": ("-O2",),
    "checked": (
        *(*_LINES, "-DTLC_CHECKED", "-fsanitize=thread", f"-fsanitize={_UNDEFINED}"),
        *("-fsanitize-recover=all", "-mllvm", "-tsan-instrument-func-entry-exit=0"),
        *("-mllvm", "-tsan-instrument-atomics=0"),
        # a read that a write follows is checked too: it may be of memory that nobody wrote
        *("-mllvm", "-tsan-instrument-read-before-write=1"),
    ),
    "poison": (
        *(*_LINES, "-fno-discard-value-names", "-Xclang", "-fsanitize=kernel-memory"),
        *("-Xclang", "-fsanitize-memory-track-origins=1"),
    ),
}


class Function:
    """A kernel that can be launched: where its entry is, and what its text says about it."""

    __slots__ = ("address", "entry", "name")

    def __init__(self, entry: Entry, address: int) -> None:
        self.name, self.entry, self.address = entry.name, entry, address


class Kernels:
    """The kernels of a text, by the names that a host knows; `path` is the shared object."""

    __slots__ = ("functions", "library", "mode", "path")

    def __init__(
        self, functions: dict[str, Function], library: ctypes.CDLL, mode: str, path: str
    ) -> None:
        self.functions, self.library, self.mode, self.path = functions, library, mode, path

    def function(self, name: str) -> Function:
        """A kernel by name. Raises RunError E0503 with the names there are."""
        if name not in self.functions:
            known = ", ".join(self.functions) or "none"
            raise RunError("E0503", f"no kernel is called `{name}`", f"there are {known}")
        return self.functions[name]


def build(
    text: str,
    name: str,
    mode: str,
    *,
    constants: Mapping[int, str] | None = None,
    folders: Sequence[str] = (),
    defines: Sequence[str] = (),
    version: str = DEFAULT_VERSION,
    fast_math: bool = False,
    optimise: bool = True,
) -> Kernels:
    """Compile Metal text of a file called `name`; `mode` is one of MODES.

    `constants` are C++ expressions for function constants by index, `folders` are searched for
    `#include`. Kernels that clang does not `optimise` are there in a quarter of the time, and
    take twice as long to run. Raises RunError E0701 without a compiler, E0703 with its messages.
    """
    tools = usable()
    found = translate(preprocess(text, name, tools, folders, defines, version), constants or {})
    code = _with_header(found)
    # half / half is correctly rounded in Metal, with fast math too (MSL specification, accuracy of
    # half-precision operations); clang would narrow a division and take a reciprocal of halves
    math = ("-ffast-math", "-fno-reciprocal-math") if fast_math else ("-ffp-contract=off",)
    level = () if optimise else ("-O0",)  # the last of several counts
    path = compile_native(code, (*_CODE, *_MODE[mode], *math, *level), tools)
    load_runtime()
    library = _load(path)
    functions = {
        entry.name: Function(entry, _address(library, f"tlc_kernel_{at}"))
        for at, entry in enumerate(found.entries)
    }
    return Kernels(functions, library, mode, path)


def assembly(text: str, name: str) -> str:
    """What clang makes of a text, to compare with what it makes of another: kernels at -O2.

    Raises RunError as `build` does.
    """
    tools = usable()
    found = translate(preprocess(text, name, tools), {})
    flags = [*_CODE, *_MODE["fast"], "-ffp-contract=off", *toolchain.target()[0], "-x", "c++"]
    flags += ["-isystem", NATIVE, "-S", "-o", "-", "-"]
    return toolchain.run_front(tools[0], flags, _with_header(found), "clang refuses the kernels")


def _with_header(found: Translation) -> str:
    unions = "#define TLC_HAS_UNIONS\n" if " union " in f" {found.code} " else ""
    return f'{unions}{swizzles(found.code)}#include "metal.h"\n{found.code}'


def usable() -> list[toolchain.Toolchain]:
    """Compilers that are new enough, best first. Raises RunError E0701 when there is none."""
    return [toolchain.usable(toolchain.find(), OLDEST_CLANG, "the emulator")]


def preprocess(
    text: str,
    name: str,
    tools: Sequence[toolchain.Toolchain],
    folders: Sequence[str] = (),
    defines: Sequence[str] = (),
    version: str = DEFAULT_VERSION,
) -> str:
    """Text with its includes and macros replaced, comments and line markers kept."""
    import tempfile

    major, _, minor = version.partition(".")
    number = int(major) * 100 + int(minor or 0) * 10
    with tempfile.TemporaryDirectory(prefix="tlc-") as headers:
        os.mkdir(os.path.join(headers, "simd"))
        for header in HEADERS:
            with open(os.path.join(headers, header), "w", encoding="ascii"):
                pass
        flags = [
            *("-E", "-C", "-x", "c++", "-std=c++17", "-nostdinc", "-undef", "-I", headers),
            *("-D__METAL__=1", "-D__METAL_MACOS__=1", f"-D__METAL_VERSION__={number}"),
            *("-D__cpp_if_constexpr=201606", "-D__cpp_variable_templates=201304"),
            *("-D__METAL_MAYBE_FAST_MATH__=0", "-D__METAL_FAST_MATH__=1"),
            *("-D__METAL_PRECISE_MATH__=0",),
            *(("-D__HAVE_BFLOAT__=1",) if number >= 310 else ()),
            *(part for folder in folders for part in ("-I", folder)),
            *(f"-D{define}" for define in defines),
            "-",
        ]
        marked = f'# 1 "{name}"\n{text}'
        return toolchain.run_front(tools[0], flags, marked, "the text cannot be preprocessed")


def compile_native(code: str, flags: Sequence[str], tools: Sequence[toolchain.Toolchain]) -> str:
    """The path of a shared object made of C++ text, compiled or found in the cache."""
    machine = toolchain.target()
    keyed = [code, *flags, *machine[0], machine[1], *(tool.identity() for tool in tools)]
    parts = [part.encode() for part in keyed]
    for file in sorted(os.listdir(NATIVE)):
        if file.endswith((".h", ".cpp")):
            with open(os.path.join(NATIVE, file), "rb") as opened:
                parts.append(opened.read())

    def make(path: str) -> None:
        toolchain.compile_shared(code, path, tools, flags=flags, headers=NATIVE)

    return cache.fetch(cache.key(parts), make)


_runtime: list[ctypes.CDLL] = []


def load_runtime() -> ctypes.CDLL:
    """The runtime of the emulator, whose functions kernels call. Raises RunError E0702."""
    if not _runtime:
        if sys.platform != "linux" or os.uname().machine not in ("x86_64", "aarch64"):
            raise RunError("E0702", "the emulator runs on Linux, on x86-64 and aarch64")
        with open(os.path.join(NATIVE, "runtime.cpp"), encoding="utf-8") as file:
            code = file.read()
        flags = ("-std=c++17", *_HOST, "-O2", "-fPIC", "-fno-threadsafe-statics")
        path = compile_native(code, flags, usable())
        # kernels find the functions of libm among the global ones, where Python itself may not be
        for name in ("libm.so.6", "libm.so"):
            try:
                ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
                break
            except OSError:
                continue
        _runtime.append(_load(path, ctypes.RTLD_GLOBAL))
    return _runtime[0]


def _load(path: str, mode: int = ctypes.RTLD_LOCAL) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(path, mode=mode)
    except OSError as error:
        raise RunError("E0703", f"the compiled kernels cannot be loaded: {error}") from None


def _address(library: ctypes.CDLL, name: str) -> int:
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
