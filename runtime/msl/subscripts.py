"""Subscripts of arrays to subscripts that are checked, where clang's own check sees less.

Clang lets an object of a class be named one place behind the last element of an array, as long as
no member of it is: an assignment to it, or a reference. Vectors and matrices are classes here.
"""

from __future__ import annotations

from tlc.runtime.errors import RunError
from tlc.runtime.msl.tokens import closing, opening

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlc.runtime.msl.tokens import Token

_SCALARS = frozenset(
    (
        *("bool", "char", "uchar", "short", "ushort", "int", "uint", "long", "ulong"),
        *("half", "float", "bfloat", "size_t", "ptrdiff_t", "unsigned", "signed"),
    )
)
_NO_TYPES = frozenset(("return", "else", "case", "goto", "do", "new", "delete", "operator"))


def check_subscripts(tokens: Sequence[Token]) -> None:
    """Put `tlc::within` (memory.h) around subscripts of variables that are arrays of no scalars."""
    followed = [
        at
        for at in range(1, len(tokens) - 1)
        if tokens[at].kind == "name" and tokens[at + 1].text == "["
    ]
    declared = {at for at in followed if _is_declared(tokens, at)}
    names = {tokens[at].text for at in declared if tokens[at - 1].text not in _SCALARS}
    edits: dict[int, str] = {}
    for at in followed:
        if at in declared or tokens[at].text not in names or tokens[at].dead:
            continue
        array = _named(tokens, at)
        opens = at + 1
        while array and opens < len(tokens) and tokens[opens].text == "[":
            closes = closing(tokens, opens)
            edits[opens] = f"[tlc::within<decltype(({array}))>("
            edits[closes] = ")]"
            array, opens = f"{array}[0]", closes + 1
    for at, text in edits.items():
        tokens[at].text = text


def _is_declared(tokens: Sequence[Token], at: int) -> bool:
    """Whether the name of an array is declared here: a type stands before it."""
    before = tokens[at - 1]
    if before.kind == "name":
        return before.text not in _NO_TYPES
    if before.text == ">":  # of a list of template arguments, or it compares
        try:
            opens = opening(tokens, at - 1)
        except RunError:
            return False
        return tokens[opens - 1].kind == "name" and _starts(tokens, opens) > 0
    if before.text in "*&,":
        names = _starts(tokens, at - 1)
        return names > 1 or (names == 1 and before.text != ",")
    return False


def _starts(tokens: Sequence[Token], at: int) -> int:
    """How many names are all that stands in a declaration or a parameter before `at`; else 0."""
    first = at
    while first > 0 and (tokens[first - 1].kind == "name" or tokens[first - 1].text == "::"):
        first -= 1
    names = sum(token.kind == "name" for token in tokens[first:at])
    if first == at or tokens[first].text in _NO_TYPES:
        return 0
    if first == 0 or tokens[first - 1].text in ";{}" or tokens[first - 1].kind == "directive":
        return names
    return names if tokens[first - 1].text in "(," and names > 1 else 0  # not `f(a * b[0])`


def _named(tokens: Sequence[Token], at: int) -> str:
    """The variable or member that is subscripted here, as an expression; empty for what calls."""
    begin = at
    while tokens[begin - 1].text in (".", "->", "::"):
        begin -= 2
        while tokens[begin].text == "]":
            begin = opening(tokens, begin) - 1
        if tokens[begin].kind != "name":
            return ""
    return " ".join(token.text for token in tokens[begin : at + 1] if not token.dead)
