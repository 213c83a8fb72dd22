"""Raw tokens in, the parser's tokens out: it decides what an LALR(1) grammar cannot.

* Where a statement ends: at a newline, unless a bracket is open, the line ends in an operator, a
  comma or an opening bracket, or the next one starts with `else`, `.`, `->` or an operator that
  needs something before it, such as `&&`. The parser sees one `NEWLINE` after every statement, also
  before a `}`.
* Which words are keywords here: `test` is one before a name, `and` between two operands, `not`
  before an operand; anywhere else they are names.
* What a `{` opens: a block, the fields of a struct literal (`STRUCT_OPEN`) or a set (`SET_OPEN`).
* What a `<` is: type arguments (`TYPE_OPEN`, `TYPE_CLOSE`) when the name before and the `>` touch
  what is inside, and that is types only, as in `tensor<float16>(x)` and not `f(a < b, c > (d))`.
* What `<-` and `:-` are: the arrow of a rule after `Name(...)` at the start of a statement, else
  two tokens, as in `a <- b` for `a < -b` and `x[a:-1]`.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from tlc.frontend.brackets import (
    INFIX_WORDS,
    OPERAND_ENDS,
    OPERANDS,
    PARTNER,
    STATEMENT_HEADS,
)
from tlc.frontend.lexer import KEYWORDS, Token, words
from tlc.frontend.source import Span

OPENERS = words("( [ { SET_OPEN STRUCT_OPEN")
CLOSERS = words(") ] }")
OPERAND_STARTS = OPERANDS | words("( [ - ! if match")
CONTINUING = (
    words(
        "|| && ! == != < <= > >= + - * / % @ ** | , : :: . .. = := -> => <- TYPE_OPEN"
        " and or not as in then else"
    )
    | OPENERS
)
"""A line that ends in one of these goes on with the next."""

LEADING = words("else . -> |")
"""A line that starts with one of these goes on with the one before."""

JOINING = words("|| && == != <= >= + * / % @ **")
"""So does one of these, which need something before them, among statements."""

DECLARING = {
    "test": "{",
    "bench": "{",
    "tensor": ":",
    "relation": "(",
    "embedding": "{",
    "rule": "(",
    "entity": "",
    "query": "",
}
"""Words that are keywords before a name, and what follows the name if it is an infix word."""

NAMING = words("fn let for struct impl . :: test bench tensor entity relation embedding")
"""After these stands a name, also when it is the word `not`."""

INFIX_KINDS = {"and": "&&", "or": "||"}
HEADS = words("if while for match fn struct impl loop main test bench learn embedding")
"""The next `{` of the statement belongs to the last of these."""

LINES = words("program block learn options fields arms")
"""What is written in lines; inside other brackets a newline is a blank."""

STATEMENT_SIGNS = words("; = := ? <- :-")
"""What no item of a set has at its top level."""

STATEMENT_LINES = words("program block learn")
COMMA_LINES = words("learn options fields arms")
OPTION_LINES = words("learn options")
BODY = {"learn": "learn", "embedding": "options", "struct": "fields", "match": "arms"}


class _Level:
    """An open bracket: what it holds, where its current statement starts, heads without a body."""

    __slots__ = ("angles", "heads", "holds", "start")

    def __init__(self, holds: str, start: int) -> None:
        self.holds = holds
        self.start = start
        self.heads: list[str] = []
        self.angles = 0  # type arguments that are open


def arrange(raw: list[Token]) -> tuple[list[Token], list[int]]:
    """The parser's tokens, and for each the number of brackets open around it.

    The brackets of `raw` match: it comes from `brackets.balance`.
    """
    arranging = _Arranging(raw)
    for at, token in enumerate(raw):
        arranging.take(at, token)
    arranging.finish()
    return arranging.out, arranging.depths


class _Arranging:
    def __init__(self, raw: list[Token]) -> None:
        self.raw = raw
        self.out: list[Token] = []
        self.depths: list[int] = []
        self.levels = [_Level("program", 0)]
        self.open_at: list[int] = []
        self.last_open = -1  # where the bracket opened that the last output token closes
        self.ended_body = False  # the last output token is the `}` of lines
        self.angles: dict[int, bool] = {}

    # ---- statements ---------------------------------------------------------------------------

    def take(self, at: int, token: Token) -> None:
        level = self.levels[-1]
        if level.holds in LINES and token.kind != "}":
            comma = token.kind == "," and level.holds in COMMA_LINES and not level.angles
            if comma or token.kind == ";":
                self.end_statement(token.text, token.span)
                return
            if len(self.out) > level.start and self.starts_statement(at, token, level):
                self.end_statement("\n", self.here())
        match token.kind:
            case "(" | "[":
                self.open(token, token.kind)
            case "{":
                self.open_brace(at, token, level)
            case ")" | "]" | "}":
                self.close(token)
            case "<-" | ":-":
                self.arrow(token, level)
            case "<" | ">":
                self.angle(at, token, level)
            case _:
                self.word(at, token, level)

    def starts_statement(self, at: int, token: Token, level: _Level) -> bool:
        last = self.out[-1]
        if token.first:
            if token.kind in STATEMENT_HEADS:
                return last.kind != "=>"
            awaited = token.kind == "{" and bool(level.heads)
            joins = token.text in INFIX_KINDS and self.follows(at, OPERANDS | {"!"})
            joins = joins or (token.kind in JOINING and level.holds in STATEMENT_LINES)
            return not (last.kind in CONTINUING or token.kind in LEADING or awaited or joins)
        if token.text in INFIX_WORDS or token.kind == "else":
            return False
        if self.ended_body and (token.kind in OPERANDS or token.kind in KEYWORDS):
            first = self.out[level.start].kind
            return level.holds == "arms" or first in HEADS or first == "{"
        if level.holds in OPTION_LINES and last.kind in OPERAND_ENDS:
            option = token.kind == "NAME" and self.follows(at, ":")
            return option or token.kind in STATEMENT_HEADS or token.kind == "if"
        return False

    def end_statement(self, text: str, span: Span) -> None:
        level = self.levels[-1]
        if len(self.out) > level.start:
            self.emit(Token("NEWLINE", text, span))
        level.start = len(self.out)
        level.heads.clear()

    def here(self) -> Span:
        """The empty place after the last token."""
        last = self.out[-1].span
        return Span(last.source, last.end, last.end)

    def emit(self, token: Token) -> None:
        self.out.append(token)
        self.depths.append(len(self.levels))
        self.ended_body = False

    def finish(self) -> None:
        if self.out:
            self.end_statement("", self.here())

    # ---- words --------------------------------------------------------------------------------

    def word(self, at: int, token: Token, level: _Level) -> None:
        kind = self.word_kind(at, token, level)
        if kind != token.kind:
            token = replace(token, kind=kind)
        self.emit(token)
        if kind in HEADS and not (kind == "for" and "impl" in level.heads):
            level.heads.append(kind)
        elif kind == "then" and level.heads[-1:] == ["if"]:
            level.heads.pop()
        elif kind == "=>" or (kind == "," and level.holds not in LINES):
            level.heads.clear()

    def word_kind(self, at: int, token: Token, level: _Level) -> str:
        starts = len(self.out) == level.start
        before = self.out[-1].kind if self.out else ""
        if before in (".", "::") and token.kind in KEYWORDS and not token.first:
            return "NAME"
        if token.kind != "NAME" or (before in NAMING and not starts):
            return token.kind
        if token.text == "not" and self.follows(at, OPERAND_STARTS):
            return "not"
        if not starts:
            ended = before in OPERAND_ENDS or before in ("TYPE_CLOSE", "?")
            infix = token.text in INFIX_WORDS and ended
            return INFIX_KINDS.get(token.text, token.text) if infix else "NAME"
        if level.holds in STATEMENT_LINES and self.declares(at, token):
            return token.text
        return "NAME"

    def declares(self, at: int, token: Token) -> bool:
        """Whether the word that starts a statement is the keyword of a declaration."""
        if token.text == "main":
            return at + 1 < len(self.raw) and self.raw[at + 1].kind == "{"
        if token.text not in DECLARING or not self.follows(at, ("NAME", "STRING")):
            return False
        infix = self.raw[at + 1].text in INFIX_WORDS
        return not infix or self.follows(at + 1, (DECLARING[token.text],))

    def follows(self, at: int, kinds: Container[str]) -> bool:
        """Whether one of `kinds` stands after the token `at`, on the same line."""
        if at + 1 == len(self.raw):
            return False
        after = self.raw[at + 1]
        return after.kind in kinds and not after.first

    def arrow(self, token: Token, level: _Level) -> None:
        start = level.start
        named = len(self.out) > start and self.out[start].kind == "rule"
        ends_call = bool(self.out) and self.out[-1].kind == ")"
        starts_call = self.last_open == start + named + 1 and self.out[start + named].kind == "NAME"
        if level.holds in LINES and ends_call and starts_call:
            self.emit(replace(token, kind="<-"))
            return
        for at, sign in enumerate(token.text, token.span.start):
            self.emit(Token(sign, sign, Span(token.span.source, at, at + 1)))

    # ---- brackets -----------------------------------------------------------------------------

    def open(self, token: Token, holds: str) -> None:
        self.emit(token)
        self.open_at.append(len(self.out) - 1)
        self.levels.append(_Level(holds, len(self.out)))

    def close(self, token: Token) -> None:
        level = self.levels[-1]
        if level.holds in LINES:
            self.end_statement(token.text, token.span)
        self.levels.pop()
        self.emit(token)
        self.last_open = self.open_at.pop()
        self.ended_body = level.holds in LINES

    def open_brace(self, at: int, token: Token, level: _Level) -> None:
        holds = self.brace_holds(at, level)
        if holds in ("SET_OPEN", "STRUCT_OPEN"):
            token = replace(token, kind=holds)
        self.open(token, holds)

    def brace_holds(self, at: int, level: _Level) -> str:
        if level.holds in LINES:
            if len(self.out) == level.start:
                return "block"
            if self.out[level.start].kind == "entity":
                return "SET_OPEN"
        before = self.out[-1].kind
        if before == "in" or (before == ":" and level.holds == "options"):
            return "SET_OPEN"
        if before in ("else", "then", "=>"):
            return "block"
        if level.heads:
            return BODY.get(level.heads.pop(), "block")
        if before == "NAME" and not self.raw[at].first:
            return "STRUCT_OPEN"
        if before in OPERAND_ENDS:
            return "block"
        return "SET_OPEN" if self.holds_commas(at + 1) else "block"

    def holds_commas(self, at: int) -> bool:
        """Whether a brace that opens before `at` holds items with commas, and no statements."""
        depth, commas = 0, False
        for index in range(at, len(self.raw)):
            token = self.raw[index]
            if token.kind in PARTNER:
                depth += 1
            elif token.kind in CLOSERS:
                depth -= 1
                if depth < 0:
                    break
            elif depth == 0:
                before = self.raw[index - 1].kind
                ended = token.first and before not in CONTINUING
                head = token.kind in STATEMENT_HEADS and before not in (".", "::")
                if ended or head or token.kind in STATEMENT_SIGNS:
                    return False
                commas = commas or token.kind == ","
        return commas

    # ---- type arguments -----------------------------------------------------------------------

    def angle(self, at: int, token: Token, level: _Level) -> None:
        if at not in self.angles and token.kind == "<":
            self.match_angles(at)
        if self.angles.get(at):
            opens = token.kind == "<"
            level.angles += 1 if opens else -1
            token = replace(token, kind="TYPE_OPEN" if opens else "TYPE_CLOSE")
        self.emit(token)

    def match_angles(self, at: int) -> None:
        """Settle what this `<`, and those before its `>`, are."""
        raw, square, several = self.raw, 0, False
        open_at: list[int] = []
        while at < len(raw):
            token = raw[at]
            if token.first and open_at and not square:
                break
            touches = at > 0 and token.span.start == raw[at - 1].span.end
            if token.kind == "[":
                square += 1
            elif token.kind == "]" and square:
                square -= 1
            elif square:
                pass
            elif token.kind == "<" and touches and raw[at - 1].kind in ("NAME", "impl"):
                open_at.append(at)
            elif token.kind == ">" and open_at and touches:
                # without a comma a `<` and a `>` would be two comparisons, which do not chain
                opened = open_at.pop()
                operand = self.follows(at, OPERAND_STARTS) and raw[at + 1].kind != "("
                compared = several and operand and raw[at + 1].text not in INFIX_WORDS
                compared = compared and raw[opened - 1].kind != "impl"
                self.angles[opened] = self.angles[at] = not compared
            elif token.kind == ",":
                several = True
            elif token.kind != "NAME":
                break
            if not open_at:
                break
            at += 1
        self.angles.update(dict.fromkeys(open_at, False))
