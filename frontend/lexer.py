"""Source text in, tokens out: words, numbers, strings and punctuation, without blanks and comments.

The tokens are raw: which `{` opens what, which word is a keyword here and where a statement ends is
decided by `frontend/filter.py`. A bad character or literal is a diagnostic, and scanning goes on.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ply import lex

from tlc.frontend.diagnostics import Diagnostic
from tlc.frontend.source import Source, Span


def words(text: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(text.split())


KEYWORDS = words(
    "fn let if else for while loop return break continue true false struct impl import match learn"
)
"""Words that are never names; every other keyword is one only where its neighbours say so."""

MOST_ERRORS = 50
"""After so many errors of one kind no more are reported: they repeat themselves."""

_SPELLINGS = {"function": "fn", "⊙": "*", "⊗": "**"}
_CLOSED_STRING = re.compile(r"""(["'])(?:\\.|(?!\1)[^\\])*\1""")
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]{1,6})\}|(.))")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "'": "'", "\\": "\\"}
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_DIGITS = re.compile(r"[0-9]*")
_WORD_REST = re.compile(r"\w+")
_LARGEST_INTEGER = 2**64
_HINTS = {
    "&": "the operator is `&&` or `and`",
    "^": "a power is written `**`",
    "#": "a comment starts with `//`",
    "−": "the minus sign is `-`",
    "–": "the minus sign is `-`",
    "×": "the operator is `*`",
    "“": 'strings stand in `"`',
    "”": 'strings stand in `"`',
    "‘": "strings stand in `'`",
    "’": "strings stand in `'`",
    "\u00a0": "replace it with an ordinary space",
}


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is `NAME`, `NUMBER`, `STRING`, a kind `filter.py` adds, or the spelling itself.

    `text` is what stands in the source (a name in normal form NFC); `value` is that of a literal;
    `first` says that the token is the first on its line.
    """

    kind: str
    text: str
    span: Span
    value: int | float | str | None = None
    first: bool = False


_Rule = Callable[[Any], Any]


def _token(pattern: str) -> Callable[[_Rule], _Rule]:
    """Gives a token rule its pattern; PLY would otherwise look for one in the docstring."""
    mark: Callable[[_Rule], _Rule] = lex.TOKEN(pattern)
    return mark


class _Rules:
    """The token rules as PLY reads them: patterns and functions, in order, no docstring read."""

    tokens = ("NUMBER", "STRING", "NAME", "PUNCTUATION", "BAD")
    t_ignore = " \t\r\f\n"

    @_token(r"//[^\n]*")
    def t_LINE_COMMENT(token: Any) -> None:
        pass

    @_token(r"/\*")
    def t_BLOCK_COMMENT(token: Any) -> None:
        text, start = token.lexer.lexdata, token.lexpos
        at, depth = start + 2, 1
        while depth:
            edge = _COMMENT_EDGE.search(text, at)
            if edge is None:
                _report(token.lexer, start, start + 2, "comment is never closed")
                at = len(text)
                break
            depth += 1 if edge.group() == "/*" else -1
            at = edge.end()
        token.lexer.lexpos = at

    @_token(
        r"""0[xX][0-9a-fA-F](?:_?[0-9a-fA-F])*
        | (?: [0-9](?:_?[0-9])*
              (?: \.[0-9](?:_?[0-9])*              # 1.5
                | \.(?=[eE][+-]?[0-9]+(?!\w))      # 1.e5, but not the property of 1.exp
                | \.(?![.\w])                      # 1. but not the range 1..3
              )?
            | (?<![\w)\]}"'])\.[0-9](?:_?[0-9])*   # .5, but not the member of pair.0
          )
          (?: [eE][+-]?[0-9]+ )?"""
    )
    def t_NUMBER(token: Any) -> Any:
        text, start = token.lexer.lexdata, token.lexpos
        if text[start - 1 : start] == "." and text[start - 2 : start - 1] != "." and start:
            digits = _DIGITS.match(token.value)  # the 0 of pair.0.1
            token.value = digits.group() if digits else ""
            token.lexer.lexpos = start + len(token.value)
            return token
        rest = _WORD_REST.match(text, token.lexer.lexpos)
        if rest is not None:
            token.lexer.lexpos = rest.end()
            bad = text[start : rest.end()]
            _report(token.lexer, start, rest.end(), f"`{_shorten(bad)}` is not a number")
            token.value = "0"
        return token

    t_STRING = r""" "[^"\\\n]*(?:\\.?[^"\\\n]*)*"? | '[^'\\\n]*(?:\\.?[^'\\\n]*)*'? """

    @_token(r"[^\W\d][A-Za-z0-9_]*")
    def t_NAME(token: Any) -> Any:
        text, start, end = token.lexer.lexdata, token.lexpos, token.lexer.lexpos
        if not text[start].isidentifier():
            token.type = "BAD"
            token.lexer.lexpos = start + 1
            return token
        # other letters one by one: \w has some that no name has, and lacks the marks of scripts
        while end < len(text) and f"a{text[end]}".isidentifier():
            end += 1
        token.lexer.lexpos = end
        token.value = unicodedata.normalize("NFC", text[start:end])
        return token

    t_PUNCTUATION = (
        r"\*\*|::|:=|:-|<-|->|=>|==|!=|<=|>=|&&|\|\||\.\."
        r"|[-+*/%@⊙⊗<>=!.,:;?|(){}\[\]]"
    )  # fmt: skip

    t_BAD = r"."


def _bad_character(lexer: Any, at: int) -> None:
    char = lexer.lexdata[at]
    if char == "\ufeff" and at == 0:
        return
    name = unicodedata.name(char, "").lower()
    shown = f"`{char}`" if char.isprintable() and char != " " else f"U+{ord(char):04X}"
    about = f" ({name})" if name and not char.isascii() else ""
    message = f"{shown}{about} has no meaning in TensorLogic"
    _report(lexer, at, at + 1, message, _HINTS.get(char, ""))


def _shorten(text: str) -> str:
    return text if len(text) <= 30 else f"{text[:30]}…"


def _report(lexer: Any, start: int, end: int, message: str, hint: str = "") -> None:
    if len(lexer.problems) < MOST_ERRORS:
        span = Span(lexer.source, start, end)
        lexer.problems.append(Diagnostic("E0103", message, span, hint=hint))


# Only `optimize` without a table name keeps PLY from importing and from writing a table file.
_LEXER = lex.lex(object=_Rules, optimize=True, lextab="", errorlog=lex.NullLogger())


def scan(source: Source) -> tuple[list[Token], list[Diagnostic]]:
    """Every token of the text, and what is wrong with its characters and literals."""
    text = source.text
    lexer: Any = _LEXER.clone()
    lexer.source, lexer.problems = source, []
    lexer.input(text)
    tokens: list[Token] = []
    end = 0
    while (found := lexer.token()) is not None:
        start, kind = found.lexpos, found.type
        value: int | float | str | None = None
        first = not tokens or "\n" in text[end:start]
        end = lexer.lexpos
        span = Span(source, start, end)
        match kind:
            case "NAME":
                kind = _SPELLINGS.get(found.value, found.value)
                kind = kind if kind in KEYWORDS else "NAME"
            case "PUNCTUATION":
                kind = _SPELLINGS.get(found.value, found.value)
            case "NUMBER":
                value = _number(lexer, found.value, span)
            case "STRING":
                value = _string(lexer, found.value, start)
            case "BAD":
                _bad_character(lexer, start)
                continue
        tokens.append(Token(kind, found.value, span, value, first))
    return tokens, lexer.problems


def _number(lexer: Any, text: str, span: Span) -> int | float:
    digits = text.replace("_", "")
    if digits[:2] in ("0x", "0X"):
        integer = int(digits, 16)
    elif digits.isdecimal():
        # int() itself refuses numbers of thousands of digits
        integer = int(digits) if len(digits) < 1000 else _LARGEST_INTEGER
    else:
        real = float(digits)
        if real == float("inf"):
            _report(lexer, span.start, span.end, f"`{_shorten(text)}` is beyond every float type")
            return 0.0
        return real
    if integer >= _LARGEST_INTEGER:
        _report(lexer, span.start, span.end, f"`{_shorten(text)}` does not fit in 64 bits")
        return 0
    return integer


def _string(lexer: Any, text: str, start: int) -> str:
    if _CLOSED_STRING.fullmatch(text) is None:
        hint = f"a string ends on its own line with `{text[0]}`; write a newline as `\\n`"
        _report(lexer, start, start + 1, "string is never closed", hint)
        return text[1:]

    def decode(escape: re.Match[str]) -> str:
        code, char = escape.groups()
        if code is not None:
            number = int(code, 16)
            if number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF:
                return chr(number)
        elif char in _ESCAPES:
            return _ESCAPES[char]
        at = start + 1 + escape.start()
        hint = r"the escapes are \n \t \r \" \' \\ and \u{…} with a hexadecimal character number"
        shown = _shorten(escape.group())
        _report(lexer, at, at + len(escape.group()), f"`{shown}` is not an escape", hint)
        return ""

    return _ESCAPE.sub(decode, text[1:-1]) if "\\" in text else text[1:-1]
