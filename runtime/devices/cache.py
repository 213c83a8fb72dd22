"""Keeps compiled objects in a private folder, each named by the hash of all that went into it."""

from __future__ import annotations

import mmap
import os
import stat
import sys

from tlc.runtime.digests import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_temporary: list[str] = []  # the folder of this process, when the user's cannot be trusted


def key(parts: Iterable[bytes | memoryview]) -> str:
    """The name of an entry: a hash over the parts and where one ends and the next begins."""
    return blake2b(*(piece for part in parts for piece in (len(part).to_bytes(8, "little"), part)))


def fetch(name: str, build: Callable[[str], None], suffix: str = ".so") -> str:
    """The path of the object `name`, made by `build(path)` if it is missing or damaged.

    An entry is a folder that holds the object under the hash of its own bytes. A file whose bytes
    do not match its name was truncated or changed and is never loaded. Builders write elsewhere
    first and rename, so several processes may build one entry at once.
    """
    entry = os.path.join(folder(), name)
    try:
        for found in os.listdir(entry):
            path = os.path.join(entry, found)
            if found.endswith(suffix) and _digest(path) == found.removesuffix(suffix):
                return path
    except FileNotFoundError:
        os.makedirs(entry, 0o700, exist_ok=True)

    import shutil
    import tempfile

    workplace = tempfile.mkdtemp(prefix=".build-", dir=entry)
    try:
        built = os.path.join(workplace, "object")
        build(built)
        path = os.path.join(entry, _digest(built) + suffix)
        os.replace(built, path)
        return path
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _digest(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return blake2b(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    except (OSError, ValueError):  # of an empty file
        return ""


def folder() -> str:
    """The user's cache folder, made if missing; else one for this process, with a warning once.

    Code is loaded from here, so the folder must belong to the user and nobody else may write to it.
    """
    if _temporary:
        return _temporary[0]
    path = os.path.realpath(_preferred())
    problem = _problem(path)
    if not problem:
        return path

    import atexit
    import shutil
    import tempfile

    _temporary.append(tempfile.mkdtemp(prefix="tlc-"))
    atexit.register(shutil.rmtree, _temporary[0], ignore_errors=True)
    sys.stderr.write(
        f"warning: cache folder {path} {problem}; compiled kernels are kept for this run only\n"
    )
    return _temporary[0]


def _preferred() -> str:
    chosen = os.environ.get("TLC_CACHE_DIR")
    if chosen:
        return chosen
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Caches/tlc")
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG rules: a relative path is to be ignored.
    return os.path.join(base if os.path.isabs(base) else os.path.expanduser("~/.cache"), "tlc")


def _problem(path: str) -> str:
    try:
        if not os.path.lexists(path):
            os.makedirs(path, 0o700, exist_ok=True)  # another process may be faster
        found = os.lstat(path)
    except OSError as error:
        return f"cannot be made ({(error.strerror or 'unknown reason').lower()})"
    if not stat.S_ISDIR(found.st_mode):
        return "is not a folder"
    if found.st_uid != os.geteuid():
        return "belongs to another user"
    if found.st_mode & 0o022:
        return "can be written by other users"
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return "cannot be written"
    return ""
