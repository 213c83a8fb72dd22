"""Turns bytes into their SHA-256, without OpenSSL where they are few."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# hashlib loads OpenSSL, which takes 2 ms: as long as Python's own function needs for this much.
_FEW_BYTES = 256 << 10


def sha256(*parts: bytes | memoryview) -> str:
    """The SHA-256 of bytes, one part after the other, in hex."""
    state: Any = _made(sum(len(part) for part in parts))
    for part in parts:
        state.update(part)
    return str(state.hexdigest())


def _made(count: int) -> Any:
    if count <= _FEW_BYTES:
        for name in ("_sha2", "_sha256"):  # since Python 3.12, and before
            try:
                return __import__(name).sha256()
            except ImportError:
                continue
    import hashlib

    return hashlib.sha256()
