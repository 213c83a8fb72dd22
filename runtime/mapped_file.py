"""Turns the path of a file into a read-only memory map, or an error that says what is there."""

from __future__ import annotations

import mmap
import os
import stat

from tlc.runtime.errors import RunError


def map_file(path: str, code: str) -> mmap.mmap:
    """The whole of a regular, non-empty file, mapped; nothing is read yet.

    Raises RunError with the given code for whatever else is at `path`.
    """
    # Without O_NONBLOCK, opening a named pipe would wait for a writer that may never come.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise RunError(code, f"{path}: {_reason(error)}") from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
            raise RunError(code, f"{path}: this is {kind}")
        if not found.st_size:
            raise RunError(code, f"{path}: the file is empty")
        return mmap.mmap(handle, 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError, OverflowError) as error:
        raise RunError(code, f"{path}: {_reason(error)}") from None
    finally:
        os.close(handle)


def _reason(error: Exception) -> str:
    match error:
        case FileNotFoundError():
            return "there is no such file"
        case IsADirectoryError():
            return "this is a folder"
        case PermissionError():
            return "no permission to read it"
        case OSError(strerror=str(text)):
            return f"it cannot be read: {text.lower()}"
        case _:
            return f"it cannot be read: {error}"
