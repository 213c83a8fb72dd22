"""What kernels share, without what these kernels do not use: a text of definitions, cut by need.

A text is cut at its blank lines, but not between `#if` and `#endif`. A part that defines nothing is
kept; one that defines functions or macros is kept when a kept part or a kernel names one of them.
"""

from __future__ import annotations

import re

_DEFINED = re.compile(
    r"^(?:(?:static inline|TLC_LANE|TLC_CALL|template)\b[^;{=]*?\b(\w+)\(|#define (\w+))",
    re.MULTILINE,
)
_MADE = re.compile(r"^[A-Z_]+\((\w+)", re.MULTILINE)  # by a macro, as in TLC_EACH(exp8, exp)
_WORD = re.compile(r"\w+")


def used(shared: str, kernels: str) -> str:
    """The parts of the shared text that the kernels need, in its order."""
    parts = _parts(shared)
    defined = [_names(part) for part in parts]
    kept = [not names for names in defined]
    words = set(_WORD.findall(kernels))
    for part, keep in zip(parts, kept, strict=True):
        words |= set(_WORD.findall(part)) if keep else set()
    changed = True
    while changed:
        changed = False
        for at, names in enumerate(defined):
            if not kept[at] and names & words:
                kept[at] = changed = True
                words |= set(_WORD.findall(parts[at]))
    return "\n\n".join(p for p, keep in zip(parts, kept, strict=True) if keep)


def _names(part: str) -> set[str]:
    """What a part defines; a macro call makes a name, or its form for 8 lanes and for one float."""
    made = _MADE.findall(part)
    names = {name for found in _DEFINED.findall(part) for name in found if name}
    return names.union(made, (f"{name}8" for name in made), (f"tlc_{name}" for name in made))


def _parts(text: str) -> list[str]:
    parts: list[str] = []
    depth = 0
    for block in text.split("\n\n"):
        if depth:
            parts[-1] += "\n\n" + block
        else:
            parts.append(block)
        for line in block.splitlines():
            depth += line.startswith("#if") - line.startswith("#endif")
    return parts
