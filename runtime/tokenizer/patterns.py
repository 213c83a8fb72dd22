r"""Regular expressions with Unicode classes, as tokenizers write them, to those of Python.

Python's `re` knows no `\p{L}`; its `\s` is not Unicode's white space. Both become explicit ranges.
"""

from __future__ import annotations

import re

# Unicode's White_Space property
_SPACE = r"\t-\r\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# No assigned character with another class than Cn, Co or Cs lies outside of these.
_PLANES = (range(0x32400), range(0xE0000, 0xE0200))
_TOKEN = re.compile(r"\\p\{(\w+)\}|\\P\{(\w+)\}|\\.|\[\^?\]?|\]|.", re.DOTALL)

_classes: dict[str, list[tuple[int, int]]] = {}
_compiled: dict[str, re.Pattern[str]] = {}


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern ready to search with. Raises re.error for one that Python does not read."""
    if pattern not in _compiled:
        _compiled[pattern] = re.compile(_translated(pattern))
    return _compiled[pattern]


def _translated(pattern: str) -> str:
    parts: list[str] = []
    inside = False
    for found in _TOKEN.finditer(pattern):
        part = found[0]
        if found[1] or found[2]:
            wanted = ranges(found[1] or found[2])
            if found[2] and inside:
                raise re.error(f"{part} inside brackets", pattern, found.start())
            parts.append(wanted if inside else f"[{'^' if found[2] else ''}{wanted}]")
        elif part == r"\s":
            parts.append(_SPACE if inside else f"[{_SPACE}]")
        elif part == r"\S" and not inside:
            parts.append(f"[^{_SPACE}]")
        elif inside:
            inside = part != "]"
            parts.append("\\" + part if part == "[" else part)
        else:
            inside = part[0] == "["
            parts.append(part)
    return "".join(parts)


def ranges(name: str) -> str:
    """The characters of a general category, such as `L` or `Lu`, as the inside of brackets."""
    if not _classes:
        _classify()
    found = sorted(
        pair for key, pairs in _classes.items() if key.startswith(name) for pair in pairs
    )
    if not found:
        raise re.error(f"no Unicode class is called {name}")
    joined: list[tuple[int, int]] = []
    for low, high in found:
        if joined and joined[-1][1] == low - 1:
            joined[-1] = joined[-1][0], high
        else:
            joined.append((low, high))
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in joined)


def _classify() -> None:
    from itertools import groupby
    from unicodedata import category

    for plane in _PLANES:
        for key, group in groupby(plane, lambda code: category(chr(code))):
            codes = list(group)
            _classes.setdefault(key, []).append((codes[0], codes[-1]))
