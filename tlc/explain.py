"""`tlc explain CODE`: the text of a diagnostic code, whichever stage it belongs to."""

from __future__ import annotations

from tlc.frontend.codes import CODES as COMPILE_CODES
from tlc.runtime.errors import CODES as RUN_CODES


def all_codes() -> dict[str, tuple[str, str]]:
    """Every code with its title and explanation, in order."""
    codes = {code: (c.title, c.text) for code, c in COMPILE_CODES.items()}
    return dict(sorted({**codes, **RUN_CODES}.items()))


def explain(code: str) -> str | None:
    """The explanation of a code; None when there is no such code."""
    found = all_codes().get(code.upper())
    return None if found is None else f"{code.upper()}: {found[0]}\n\n{found[1]}"
