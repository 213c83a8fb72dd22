"""Replaces words and literals of Metal that mean another thing in C++, or nothing."""

from __future__ import annotations

import re

from tlc.runtime.msl.tokens import ADDRESS_SPACES, Token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_FLOAT = re.compile(r"(\d+\.\d*|\.\d+|\d+(?=[eE]|$))([eE][+-]?\d+)?")
_SUFFIXED = re.compile(r"([\d.eE+-]+?)(h|H|bf|BF)")


def replace_words(tokens: Sequence[Token]) -> None:
    """Change tokens in place: address spaces, `kernel`, `static_cast`, literals, pragmas."""
    for at, token in enumerate(tokens):
        if token.dead:
            continue
        if token.kind == "name":
            _replace_name(tokens, at)
        elif token.kind == "number":
            token.text = literal(token.text)
        elif token.kind == "directive":
            token.dead = re.match(r"#\s*pragma", token.text) is not None


def _replace_name(tokens: Sequence[Token], at: int) -> None:
    token = tokens[at]
    if token.text == "constant":
        before = at - 1
        while before >= 0 and tokens[before].text == "const":
            before -= 1
        token.dead = before >= 0 and tokens[before].text == ")"  # behind the parameters of a method
        token.text = "const"
    elif token.text in ADDRESS_SPACES or token.text == "kernel":
        token.dead = True
    elif token.text == "static_cast":
        token.text = "tlc::static_cast_"


def literal(text: str) -> str:
    """A number as C++ writes it: a float without suffix is single, as in Metal."""
    if text[:2] in ("0x", "0X"):
        return text
    if suffixed := _SUFFIXED.fullmatch(text):
        whole, suffix = suffixed.groups()
        point = whole if "." in whole or "e" in whole.lower() else f"{whole}.0"
        return f"(({'half' if suffix in 'hH' else 'bfloat'}){point}f)"
    if _FLOAT.fullmatch(text) and re.search(r"[.eE]", text):
        return f"{text}f"
    return text
