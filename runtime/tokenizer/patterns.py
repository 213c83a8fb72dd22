r"""Regular expressions with Unicode classes, as tokenizers write them, to those of Python.

Python's `re` knows no `\p{L}`; its `\s` is not Unicode's white space. Both become explicit ranges.
"""

from __future__ import annotations

import re

# Unicode's White_Space property
_SPACE = r"\t-\r\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# No assigned character with another class than Cn, Co or Cs lies outside of these.
_PLANES = (range(0x32400), range(0xE0000, 0xE0200))
_ASCII = (range(0x80),)
_NOWHERE = r"\U0010fffd"  # in a text of ASCII
_TOKEN = re.compile(r"\\p\{(\w+)\}|\\P\{(\w+)\}|\\.|\[\^?\]?|\]|.", re.DOTALL)
# major class -> minor classes
_NAMES = {
    "L": "ultmo",
    "M": "nce",
    "N": "dlo",
    "P": "cdseifo",
    "S": "mcko",
    "Z": "slp",
    "C": "cfson",
}

_classes: dict[bool, dict[str, list[tuple[int, int]]]] = {}
_compiled: dict[tuple[str, bool], re.Pattern[str]] = {}


def compiled(pattern: str, ascii: bool = False) -> re.Pattern[str]:
    """A pattern ready to search with; one for texts of ASCII only takes less time to make. Raises
    re.error for one that Python does not read."""
    key = pattern, ascii
    if key not in _compiled:
        _compiled[key] = re.compile(_translated(pattern, ascii))
    return _compiled[key]


def _translated(pattern: str, ascii: bool) -> str:
    parts: list[str] = []
    inside = False
    for found in _TOKEN.finditer(pattern):
        part = found[0]
        if found[1] or found[2]:
            wanted = ranges(found[1] or found[2], ascii)
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


def ranges(name: str, ascii: bool = False) -> str:
    """The characters of a general category, such as `L` or `Lu`, as the inside of brackets."""
    if name[:1] not in _NAMES or name[1:] not in ("", *_NAMES[name[0]]):
        raise re.error(f"no Unicode class is called {name}")
    if ascii not in _classes:
        _classes[ascii] = _classified(_ASCII if ascii else _PLANES)
    found = sorted(
        pair for key, pairs in _classes[ascii].items() if key.startswith(name) for pair in pairs
    )
    joined: list[tuple[int, int]] = []
    for low, high in found:
        if joined and joined[-1][1] == low - 1:
            joined[-1] = joined[-1][0], high
        else:
            joined.append((low, high))
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in joined) or _NOWHERE


def _classified(planes: tuple[range, ...]) -> dict[str, list[tuple[int, int]]]:
    from itertools import groupby
    from unicodedata import category

    found: dict[str, list[tuple[int, int]]] = {}
    for plane in planes:
        for key, group in groupby(plane, lambda code: category(chr(code))):
            codes = list(group)
            found.setdefault(key, []).append((codes[0], codes[-1]))
    return found
