"""Names that a user may have meant."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], most: int = 3) -> str:
    """A hint with the nearest known names, or an empty string when none is near."""
    from difflib import get_close_matches

    names = sorted(set(known))
    alike = [n for n in names if n.casefold() == name.casefold()]
    near = alike or get_close_matches(name, names, most, 0.6)
    return f"did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else ""
