"""A function called where calls may nest deeply: on a thread with a large stack."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Python frames; at most 250 bytes of the C stack have been seen for each
MAX_FRAMES = 200_000
STACK = 128 << 20  # bytes, of which the system gives what is touched


def deeply(function: Callable[[], T]) -> T:
    """What a function returns or raises. A recursion without end in it is a RecursionError."""
    results: list[T] = []
    problems: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as problem:
            problems.append(problem)

    limit, size = sys.getrecursionlimit(), threading.stack_size(STACK)
    thread = threading.Thread(target=run, daemon=True)
    try:
        sys.setrecursionlimit(max(limit, MAX_FRAMES))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
        sys.setrecursionlimit(limit)
    for problem in problems:
        raise problem
    return results[0]
