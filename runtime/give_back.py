"""Gives the system memory that was freed: reading a model takes more than what is kept of it."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Free pages go back where the C library can: glibc keeps those between others in use."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
