"""Raw tokens in, tokens whose brackets match out: the parser never meets an open or a stray one.

A bracket without a partner is reported here, at its own place, and then given one or dropped. The
file's indentation tells where a forgotten bracket was most likely meant to stand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tlc.frontend.diagnostics import Diagnostic, Label
from tlc.frontend.lexer import MOST_ERRORS, Token, words
from tlc.frontend.source import Span

DEEPEST = 200
"""Brackets, and the tree of the program, may be nested this deep."""

PARTNER = {"(": ")", "[": "]", "{": "}"}
_OPENER = {closer: opener for opener, closer in PARTNER.items()}

STATEMENT_HEADS = words("fn let for while loop return break continue struct impl import learn")
"""Keywords that begin a statement and stand nowhere else, `for` in an `impl` line excepted."""

DECLARATION_HEADS = words("fn struct impl import")
OPERANDS = words("NAME NUMBER STRING true false")
OPERAND_ENDS = OPERANDS | words(") ] }")
INFIX_WORDS = words("and or as in then where embed learnable frozen")
"""Names that join what stands before and after them, when both stand on one line."""


@dataclass(frozen=True, slots=True)
class _Open:
    """An open bracket, the indentation of its line, and the declaration that it is the body of."""

    token: Token
    indent: int
    declaration: str


class TooDeep(Exception):
    """Raised with the diagnostic when brackets are nested deeper than `DEEPEST`."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


def too_deep(span: Span) -> Diagnostic:
    """The diagnostic for what is nested deeper than `DEEPEST`."""
    hint = "give inner parts a name of their own"
    return Diagnostic("E0102", f"nested more than {DEEPEST} deep", span, hint=hint)


def balance(tokens: list[Token]) -> tuple[list[Token], list[Diagnostic]]:
    """The tokens with every bracket closed, and what had to be mended.

    Raises `TooDeep` at the first bracket that is nested too deeply.
    """
    mending = _Mending()
    for token in tokens:
        mending.take(token)
    return mending.finish(), mending.problems


class _Mending:
    def __init__(self) -> None:
        self.out: list[Token] = []
        self.problems: list[Diagnostic] = []
        self.open: list[_Open] = []
        self.indent = 0
        self.declaration = ""
        self.suspect: tuple[Token, Token] | None = None  # a `{` and its `}`, too far left for it

    def take(self, token: Token) -> None:
        if token.first:
            text, start = token.span.source.text, token.span.start
            self.indent = start - (text.rfind("\n", 0, start) + 1)
            self.close_forgotten(token)
        if token.kind in PARTNER:
            if len(self.open) == DEEPEST:
                raise TooDeep(too_deep(token.span))
            self.open.append(_Open(token, self.indent, self.declaration))
        elif token.kind in _OPENER:
            self.close(token)
            return
        if token.kind in DECLARATION_HEADS:
            self.declaration = token.kind
        elif token.kind == "{":
            self.declaration = ""
        self.out.append(token)

    def close_forgotten(self, token: Token) -> None:
        """Close what a line that clearly begins anew shows to have been left open."""
        words = token.kind in OPERANDS and token.text not in INFIX_WORDS
        ended = bool(self.out) and self.out[-1].kind in OPERAND_ENDS
        while self.open:
            top = self.open[-1]
            left = self.indent <= top.indent
            if top.token.kind == "{":
                anew = token.kind in DECLARATION_HEADS and left and top.declaration != "impl"
            else:
                anew = token.kind in STATEMENT_HEADS or (words and ended and left)
            if not anew:
                return
            self.close_unclosed(token)

    def close(self, token: Token) -> None:
        opener = _OPENER[token.kind]
        partner = self.find(opener, token)
        if partner is None:
            top = self.open[-1] if self.open else None
            near = top is not None and (token.kind != "}" or self.same_line(top, token))
            if top is None or not near or top.token.kind == "{":
                self.report(f"`{token.kind}` closes nothing", token.span)
                return
            wanted = PARTNER[top.token.kind]
            label = Label(top.token.span, "to close this")
            self.report(f"expected `{wanted}`, found `{token.kind}`", token.span, label)
            token = replace(token, kind=wanted)
            partner = top
        while self.open[-1] is not partner:
            self.close_unclosed(token)
        if token.kind == "}" and token.first and self.indent < partner.indent:
            self.suspect = self.suspect or (partner.token, token)
        self.open.pop()
        self.out.append(token)

    def find(self, opener: str, token: Token) -> _Open | None:
        """The open bracket that the closing `token` is for, looked for within the block."""
        for bracket in reversed(self.open):
            if bracket.token.kind == opener:
                return bracket
            if bracket.token.kind == "{" and not self.same_line(bracket, token):
                return None
        return None

    def same_line(self, bracket: _Open, token: Token) -> bool:
        return bracket.token.span.line == token.span.line

    def close_unclosed(self, token: Token | None) -> None:
        """Close the innermost bracket, which nothing closes before `token` or the end of file."""
        bracket = self.open.pop().token
        closer = PARTNER[bracket.kind]
        blamed = bracket
        other = None
        if token is not None:
            other = Label(token.span, f"a `{closer}` is missing before this")
        if bracket.kind == "{" and self.suspect is not None:
            inner, left = self.suspect
            if bracket.span.start < inner.span.start:
                blamed = inner
                other = Label(left.span, "this one would close it, but stands further left")
            self.suspect = None
        source = bracket.span.source
        rest = source.text[bracket.span.end :].partition("\n")[0].partition("//")[2]
        hint = "`//` begins a comment; whole numbers are divided by `/`" if closer in rest else ""
        self.report(f"`{bracket.kind}` is never closed", blamed.span, other, hint)
        end = self.out[-1].span.end
        span = Span(bracket.span.source, end, end)
        self.out.append(Token(closer, closer, span))

    def report(self, message: str, span: Span, other: Label | None = None, hint: str = "") -> None:
        others = () if other is None else (other,)
        if len(self.problems) < MOST_ERRORS:
            self.problems.append(Diagnostic("E0101", message, span, others=others, hint=hint))

    def finish(self) -> list[Token]:
        # of brackets that the end of the file leaves open, the innermost ones say enough
        first = len(self.problems)
        while self.open:
            self.close_unclosed(None)
        del self.problems[first + 3 :]
        return self.out
