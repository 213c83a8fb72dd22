"""Bytes that take long to make, kept in the user's cache folder; whatever goes wrong is a miss.

A file starts with the SHA-256 of its content, so that a cut or damaged one is seen. Content that
another user could have written is never returned: folder and file must belong to this user and be
writable by nobody else.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from hashlib import sha256

_DIGEST_SIZE = 32


def folder() -> str:
    """`$TLC_CACHE_DIR`, else `tlc` in `$XDG_CACHE_HOME`, `~/Library/Caches` or `~/.cache`."""
    chosen = os.environ.get("TLC_CACHE_DIR", "")
    if os.path.isabs(chosen):
        return chosen
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        home = os.path.expanduser("~")
        base = os.path.join(
            home, *(("Library", "Caches") if sys.platform == "darwin" else (".cache",))
        )
    return os.path.join(base, "tlc")


def load(name: str) -> bytes | None:
    """The content stored under a name, or None."""
    where = folder()
    try:
        if not _private(os.lstat(where)):
            return None
        handle = os.open(os.path.join(where, name), os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with open(handle, "rb") as file:
            about = os.fstat(handle)
            if not (stat.S_ISREG(about.st_mode) and _private(about)):
                return None
            data = file.read()
    except OSError:
        return None
    digest, content = data[:_DIGEST_SIZE], data[_DIGEST_SIZE:]
    return content if sha256(content).digest() == digest else None


def store(name: str, content: bytes) -> None:
    """Keep the content under a name; readers see all of it or nothing."""
    where = folder()
    passing = os.path.join(where, f"{name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        os.makedirs(where, mode=0o700, exist_ok=True)
        if not _private(os.lstat(where)):
            return
        handle = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return
    try:
        with open(handle, "wb") as file:
            file.write(sha256(content).digest() + content)
        os.replace(passing, os.path.join(where, name))
    except OSError:
        pass
    finally:
        with suppress(OSError):
            os.unlink(passing)


def _private(about: os.stat_result) -> bool:
    """Whether a file belongs to this user alone; systems without owners say yes."""
    if not hasattr(os, "geteuid"):
        return True
    return about.st_uid == os.geteuid() and not about.st_mode & 0o022
