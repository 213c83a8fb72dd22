"""Threadgroup variables of Metal functions to references into the memory of a threadgroup."""

from __future__ import annotations

from tlc.runtime.msl.tokens import closing, erased, remove, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlc.runtime.msl.tokens import Token


class ThreadgroupVariables:
    """Replaces `threadgroup T a[2];` within functions; each variable of a text has a number."""

    __slots__ = ("_count", "_tokens")

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens, self._count = tokens, 0

    def replace(self, begin: int, end: int) -> None:
        """Replace those of a function, whose body these tokens are."""
        tokens = self._tokens
        start = i = begin
        while i < end:
            text = tokens[i].text
            if text in ";{}" or tokens[i].kind == "directive":
                start = i + 1
            elif text == "threadgroup" and all(
                t.text in ("const", "volatile", "static") for t in tokens[start:i]
            ):
                i = self._declared(start, i + 1, end)
                start = i + 1
            i += 1

    def _declared(self, start: int, begin: int, end: int) -> int:
        """Turn `threadgroup T a[2], b;` into references to memory; where its semicolon is."""
        tokens = self._tokens
        stop = begin
        while stop < end and tokens[stop].text != ";":
            stop = closing(tokens, stop) if tokens[stop].text in "([{" else stop
            stop += 1
        pieces = list(split(tokens, begin, stop))
        first = _name_at(tokens, *pieces[0])
        if first is None:  # a pointer or a reference
            return stop
        kind = erased(tokens, begin, first)
        made = []
        for at, (a, b) in enumerate(pieces):
            name = first if at == 0 else a
            made.append(
                _reference(kind, tokens[name].text, erased(tokens, name + 1, b), self._count)
            )
            self._count += 1
        remove(tokens, start, stop)
        tokens[stop].text = " ".join(made)
        return stop


def _name_at(tokens: Sequence[Token], begin: int, end: int) -> int | None:
    """Where the name of a variable stands: behind its type, before `[` or at the end."""
    i = begin
    while i < end:
        text = tokens[i].text
        if text in "*&" or text == "=":
            return None
        if text == "<":
            i = closing(tokens, i)
        elif text == "[" or i == end - 1:
            return i - 1 if text == "[" else i
        i += 1
    return None


def _reference(kind: str, name: str, sizes: str, at: int) -> str:
    type_, where = f"tlc_type_{at}", f"tlc_at_{at}"
    return (
        f"static constexpr char {where} = 0; typedef {kind} {type_}{sizes}; {type_}& {name} ="
        f" *({type_}*)tlc_threadgroup_variable((unsigned long)&{where}, sizeof({type_}),"
        f' alignof({type_}), "{name}");'
    )
