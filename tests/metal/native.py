"""C files of the tests to shared objects, with the compiler that the cpu device uses."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tlc.runtime.devices import cache, toolchain

HERE = Path(__file__).parent


def compiled(
    ours: Sequence[str],
    key: Sequence[str] = (),
    more: Callable[[Path], Sequence[str]] = lambda folder: (),
) -> str:
    """The path of a shared object of our files, made once for each `key`.

    `more` gives further arguments of the compiler, and may write into the folder that it is given.
    Raises RunError E0701.
    """
    tool = toolchain.usable(toolchain.find())
    parts = [*key, tool.identity()]
    parts += [(HERE / name).read_text() for name in sorted(os.listdir(HERE)) if name[-2:] in ".c.h"]

    def build(path: str) -> None:
        front = [tool.path, "cc"] if tool.kind == "zig" else [tool.path]
        sources = [str(HERE / name) for name in ours]
        options = ["-shared", "-fPIC", "-O1", "-w", "-fno-sanitize=all", f"-I{HERE}", "-o", path]
        # zig makes its C library once, in this folder
        zig = os.path.join(cache.folder(), "zig")
        where = dict(os.environ, ZIG_GLOBAL_CACHE_DIR=zig, ZIG_LOCAL_CACHE_DIR=zig)
        command = [*front, *options, *sources, *more(Path(path).parent)]
        subprocess.run(command, check=True, env=where)

    return cache.fetch(cache.key([part.encode() for part in parts]), build)
