"""Objective-C from Python: libraries of macOS, messages to objects and autorelease pools.

ctypes is enough: a message is a call of `objc_msgSend` with the types of the method. Who gets an
object from a method whose name begins with `new` owns it and sends `release`; other objects last
until the autorelease pool around the call ends.
"""

from __future__ import annotations

import ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

OBJC = "/usr/lib/libobjc.A.dylib"

ID = ctypes.c_void_p  # an object; None is nil
WORD = ctypes.c_size_t  # NSUInteger
FLAG = ctypes.c_bool
TEXT = ctypes.c_char_p  # UTF-8


def function(path: str, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """A C function of a library. Raises OSError and AttributeError where it is not there."""
    found = getattr(ctypes.CDLL(path), name)
    found.restype, found.argtypes = result, arguments
    return found  # type: ignore[no-any-return]


class Messages:
    """The messages of a table, each a method `name(receiver, *arguments)`."""

    def __init__(self, table: Mapping[str, tuple[Any, ...]]) -> None:
        """`table` has for each name the selector, the type of the result, those of arguments."""
        named = function(OBJC, "sel_registerName", ctypes.c_void_p, TEXT)
        library = ctypes.CDLL(OBJC)
        for name, (selector, result, *arguments) in table.items():
            made = ctypes.CFUNCTYPE(result, ID, ctypes.c_void_p, *arguments)
            setattr(self, name, _sender(made(("objc_msgSend", library)), named(selector.encode())))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., Any]: ...


def _sender(send: Callable[..., Any], selector: int) -> Callable[..., Any]:
    return lambda receiver, *arguments: send(receiver, selector, *arguments)


def class_named(name: str) -> int:
    """A class, which is an object too. Raises LookupError."""
    found = function(OBJC, "objc_getClass", ID, TEXT)(name.encode())
    if not found:
        raise LookupError(f"this macOS has no class {name}")
    return int(found)


def autorelease_pools() -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """Push and pop of a pool; without one, temporary objects of Metal pile up."""
    return (
        function(OBJC, "objc_autoreleasePoolPush", ctypes.c_void_p),
        function(OBJC, "objc_autoreleasePoolPop", None, ctypes.c_void_p),
    )
