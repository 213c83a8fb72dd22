"""Names that a user may have meant."""

from __future__ import annotations

from collections.abc import Iterable

_MOST = 2000  # names that are compared, which takes a tenth of a second
_LONGEST = 200  # characters: comparing is quadratic in them


def did_you_mean(name: str, known: Iterable[str], most: int = 3) -> str:
    """A hint with the nearest known names, or an empty string when none is near."""
    from difflib import get_close_matches

    names = sorted(set(known))
    alike = [n for n in names if n.casefold() == name.casefold()]
    near = alike or get_close_matches(name[:_LONGEST], _candidates(name, names), most, 0.6)
    *others, last = (f"`{n}`" for n in near) if near else ("",)
    shown = f"{', '.join(others)} or {last}" if others else last
    return f"did you mean {shown}?" if near else ""


def _candidates(name: str, names: list[str]) -> list[str]:
    """Names worth comparing; of very many, as a model file may have, those that begin alike."""
    short = [n for n in names if len(n) <= _LONGEST]
    if len(short) > _MOST:
        half = name[: len(name) // 2]
        short.sort(key=lambda n: (not n.startswith(half), abs(len(n) - len(name))))
    return short[:_MOST]
