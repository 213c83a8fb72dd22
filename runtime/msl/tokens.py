"""Metal text to tokens, each with the space and comments before it and its line."""

from __future__ import annotations

import re

from tlc.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ADDRESS_SPACES = frozenset(
    ("device", "constant", "threadgroup", "thread", "threadgroup_imageblock", "ray_data")
)

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\f\v\n]+ | //(?:\\\n|[^\n])* | /\*.*?\*/)
      | (?P<directive>\#(?:\\\n|[^\n])*)
      | (?P<string>"(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*')
      | (?P<number>\.?\d(?:[eEpP][+-]|[\w.])*)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<symbol>->\*|<<=|>>=|\.\.\.|::|->|\+\+|--|<<|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|.)""",
    re.DOTALL | re.VERBOSE,
)
_OPENING = {")": "(", "]": "[", "}": "{", ">": "<"}


class Token:
    """A piece of text of a `kind`: directive, string, number, name or symbol.

    `space` is what stands before it; a dead token is written as white space.
    """

    __slots__ = ("dead", "kind", "line", "space", "text")

    def __init__(self, kind: str, text: str, space: str, line: int) -> None:
        self.kind, self.text, self.space, self.line = kind, text, space, line
        self.dead = False

    def __repr__(self) -> str:
        return f"{self.text}@{self.line}"


def tokenize(text: str) -> list[Token]:
    """All tokens of a text; `>>` is two tokens, as it may close two template lists."""
    found: list[Token] = []
    space, line = "", 1
    for match in _TOKEN.finditer(text):
        kind, piece = str(match.lastgroup), match.group()
        if kind == "space":
            space += piece
        else:
            fresh = "\n" in space or not found or found[-1].kind == "directive"
            if kind == "directive" and not fresh:
                kind = "symbol"
            found.append(Token(kind, piece, space, line))
            space = ""
        line += piece.count("\n")
    return found


def render(tokens: Iterable[Token]) -> str:
    """Tokens as text again; lines stay where they were, comments go."""
    pieces: list[str] = []
    for token in tokens:
        space = _bare(token.space)
        if token.kind == "directive" and "\n" not in space and pieces:
            space += "\n"
        pieces.append(space)
        if not token.dead:
            pieces.append(token.text)
        elif not space:
            pieces.append(" ")
    return "".join(pieces)


def _bare(space: str) -> str:
    """White space without comments, as many lines as before."""
    if "/" not in space:
        return space
    return "\n" * space.count("\n") or " "


def text_at(tokens: Sequence[Token], at: int) -> str:
    """The text of a token; "" where there is none."""
    return tokens[at].text if 0 <= at < len(tokens) else ""


def closing(tokens: Sequence[Token], at: int) -> int:
    """Where the bracket at `at` closes. Raises RunError E0703 when it does not, or is none.

    Angle brackets are matched too when `at` is one; brackets within are then skipped as a whole.
    """
    opens = text_at(tokens, at)
    closes = next((close for close, open_ in _OPENING.items() if open_ == opens), "")
    if not closes:
        raise RunError("E0703", f"line {tokens[min(at, len(tokens) - 1)].line}: expected a bracket")
    depth, i = 0, at
    while i < len(tokens):
        text = tokens[i].text
        if text == opens and (i == at or text != "<" or _begins_list(tokens, i)):
            depth += 1
        elif text == closes:
            depth -= 1
            if depth == 0:
                return i
        elif opens == "<" and text in "([{" and tokens[i].kind == "symbol":
            i = closing(tokens, i)
        i += 1
    raise RunError("E0703", f"line {tokens[at].line}: `{opens}` is not closed")


def _begins_list(tokens: Sequence[Token], at: int) -> bool:
    """Whether a `<` begins a template's list, and does not compare: `sizeof(T) < 8`, `N < 8`."""
    if at == 0 or tokens[at - 1].kind != "name":
        return False
    spaced = tokens[at].space and at + 1 < len(tokens) and tokens[at + 1].space
    return tokens[at - 1].text == "template" or not spaced


def opening(tokens: Sequence[Token], at: int) -> int:
    """Where the bracket that closes at `at` opens. Raises RunError E0703 when it does not."""
    closes = tokens[at].text
    depth = 0
    for i in range(at, -1, -1):
        text = tokens[i].text
        if text == closes:
            depth += 1
        elif text == _OPENING[closes] and (text != "<" or _begins_list(tokens, i)):
            depth -= 1
            if depth == 0:
                return i
    raise RunError("E0703", f"line {tokens[at].line}: `{closes}` is not opened")


def split(tokens: Sequence[Token], begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The pieces between commas outside of all brackets, as ranges that are not empty."""
    start, i = begin, begin
    while i < end:
        text = tokens[i].text
        if tokens[i].kind == "symbol" and (
            text in "([{" or (text == "<" and _begins_list(tokens, i))
        ):
            i = closing(tokens, i)
        elif text == ",":
            if start < i:
                yield start, i
            start = i + 1
        i += 1
    if start < end:
        yield start, end


def erased(tokens: Sequence[Token], start: int, end: int) -> str:
    """The text of tokens without address spaces, a space between two."""
    kept = (t for t in tokens[start:end] if t.kind != "directive")
    return " ".join(t.text for t in kept if t.text not in ADDRESS_SPACES)


def remove(tokens: Sequence[Token], start: int, end: int) -> None:
    """Leave tokens out of the text; directives stay."""
    for token in tokens[start:end]:
        token.dead = token.kind != "directive"
