"""What a program reads from outside as text: lines of standard input, variables of the environment.

A run keeps the texts it has read; a number stands for each where the program goes on with it.
"""

from __future__ import annotations

import os
import sys

from tlc.runtime.errors import RunError


class Texts:
    """The texts that a run has read; equal ones have one number."""

    __slots__ = ("_found", "_numbers")

    def __init__(self) -> None:
        self._found: list[str] = []
        self._numbers: dict[str, int] = {}

    def read(self, source: str, name: str) -> int:
        """Read a line of `input` (empty at its end) or a variable of `env` (empty when not set).

        A `literal` is the name itself. The number of the text is returned.
        """
        if source == "input":
            sys.stdout.flush()
            text = sys.stdin.readline().rstrip("\r\n")
        else:
            text = os.environ.get(name, "") if source == "env" else name
        number = self._numbers.setdefault(text, len(self._found))
        if number == len(self._found):
            self._found.append(text)
        return number

    def __getitem__(self, at: int) -> str:
        if not 0 <= at < len(self._found):
            raise RunError("E0501", "the artifact is damaged: a text is used that was not read")
        return self._found[at]

    def value(self, at: int, what: str, other: str, place: str) -> int:
        """A number that a text says (`int`), its length (`len`), or whether it `is` another one.

        Raises RunError E0505 for a text that is no whole number of 64 bits.
        """
        text = self[at]
        if what == "len":
            return len(text)
        if what == "is":
            return int(text == other)
        digits = text.strip()
        bare = digits[1:] if digits[:1] in ("-", "+") else digits
        if bare.isascii() and bare.isdigit() and len(bare) <= 19:
            number = int(digits)
            if -(1 << 63) <= number < 1 << 63:
                return number
        raise RunError("E0505", f'{place}: "{text}" is not a whole number')
