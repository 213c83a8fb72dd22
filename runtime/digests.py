"""Turns bytes into their SHA-256 or BLAKE2b, without OpenSSL where there is a way around it."""

from __future__ import annotations

try:
    from _blake2 import blake2b as _blake2b  # hashlib would load OpenSSL: 3 ms for the same
except ImportError:
    from hashlib import blake2b as _blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# hashlib loads OpenSSL, which takes 2 ms and 3 MB; Python's own function needs as long for half of
# this much.
_FEW_BYTES = 1 << 20


def sha256(*parts: bytes | memoryview) -> str:
    """The SHA-256 of bytes, one part after the other, in hex."""
    state: Any = _made(sum(len(part) for part in parts))
    for part in parts:
        state.update(part)
    return str(state.hexdigest())


def digest(data: bytes | memoryview, size: int) -> bytes:
    """So many bytes of the BLAKE2b of bytes."""
    return _blake2b(data, digest_size=size).digest()


def blake2b(*parts: bytes | memoryview, size: int = 20) -> str:
    """The BLAKE2b of bytes, one part after the other, in hex: `size` bytes."""
    state = _blake2b(digest_size=size)
    for part in parts:
        state.update(part)
    return state.hexdigest()


def _made(count: int) -> Any:
    if count <= _FEW_BYTES:
        for name in ("_sha2", "_sha256"):  # since Python 3.12, and before
            try:
                return __import__(name).sha256()
            except ImportError:
                continue
    import hashlib

    return hashlib.sha256()
