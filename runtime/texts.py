"""The texts of a run: what a program reads from outside, what it makes, and what tokens say.

A run keeps its texts; a number stands for each where the program goes on with it.
"""

from __future__ import annotations

import os
import sys

from tlc.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Protocol

    from tlc.runtime.tokenizer.tokenizer import Stream, Tokenizer

    class Watcher(Protocol):
        """Who is told of tokens: see tlc/stats.py."""

        def read(self, count: int) -> None: ...
        def said(self) -> None: ...


class Texts:
    """The texts of a run; equal ones have one number."""

    watcher: Watcher | None = None  # of all runs of this process

    __slots__ = ("_found", "_given", "_numbers", "_streams")

    def __init__(self, given: Mapping[str, str]) -> None:
        """`given` are the arguments of the run by name."""
        self._given = given
        self._found: list[str] = []
        self._numbers: dict[str, int] = {}
        self._streams: dict[int, Stream] = {}  # by the number of a tokenizer's model

    def read(self, source: str, name: str) -> int:
        """Read a line of `input` (empty at its end), a variable of `env` (empty when not set) or an
        argument, whose name `arg` has with `=` and what it is when it was not given.

        The number of the text is returned.
        """
        match source:
            case "input":
                sys.stdout.flush()
                return self.number(sys.stdin.readline().rstrip("\r\n"))
            case "env":
                return self.number(os.environ.get(name, ""))
        name, _, otherwise = name.partition("=")
        return self.number(self._given.get(name, otherwise))

    def number(self, text: str) -> int:
        """The number of a text, which is kept from now on."""
        number = self._numbers.setdefault(text, len(self._found))
        if number == len(self._found):
            self._found.append(text)
        return number

    def __getitem__(self, at: int) -> str:
        if not 0 <= at < len(self._found):
            raise RunError("E0501", "the artifact is damaged: a text is used that was not made")
        return self._found[at]

    def tokens(self, at: int, tokenizer: Tokenizer, around: bool, place: str) -> list[int]:
        """The tokens of a text. Raises RunError E0607 for what the vocabulary cannot write."""
        if self.watcher is not None:
            self.watcher.read(0)
        try:
            ids = tokenizer.encode(self[at], around)
        except RunError as problem:
            raise _placed(problem, place) from problem
        if self.watcher is not None:
            self.watcher.read(len(ids))
        return ids

    def joined(self, ids: Iterable[int], tokenizer: Tokenizer, place: str) -> int:
        """The number of the text of tokens. Raises RunError E0505 for one that there is not."""
        try:
            return self.number(tokenizer.decode(ids))
        except RunError as problem:
            raise _placed(problem, place) from problem

    def goes_on(self, token: int, model: int, tokenizer: Tokenizer, place: str) -> int:
        """The number of the text that one more token of a model's tokenizer completes.

        Raises RunError E0505 for a token that there is not.
        """
        if model not in self._streams:
            from tlc.runtime.tokenizer.tokenizer import Stream

            self._streams[model] = Stream(tokenizer)
        if self.watcher is not None:
            self.watcher.said()
        try:
            return self.number(self._streams[model].feed(token))
        except RunError as problem:
            raise _placed(problem, place) from problem

    def fraction(self, at: int, place: str) -> float:
        """The number that a text says. Raises RunError E0505 for one that says none."""
        try:
            number = float(self[at])
        except ValueError:
            number = float("nan")
        if abs(number) <= 3.4e38:
            return number
        raise RunError("E0505", f'{place}: "{self[at]}" is not a number')

    def order(self, one: int, other: int) -> int:
        """-1, 0 or 1: whether a text stands before another one, is equal to it, or behind it."""
        a, b = self[one], self[other]
        return (a > b) - (a < b)

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


def _placed(problem: RunError, place: str) -> RunError:
    return RunError(problem.code, f"{place}: {problem.message}", problem.hint)
