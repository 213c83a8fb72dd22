"""A kernel's text to mutants: the same text with one small thing deleted or weakened."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tlc.runtime.msl.tokens import Token, closing, opening, split, tokenize

KINDS = {
    "barrier": "a barrier is gone, or orders less",
    "bound": "a condition, a choice or a limit is gone, or off by one",
    "start": "a loop or a sum begins elsewhere or nowhere",
    "step": "a stride, a count or a size is off by one",
    "cast": "a conversion is not written out",
    "mask": "bits are not masked, shifted or inverted",
    "index": "a term or a factor is gone",
    "sum": "an accumulation or a reduction is gone",
    "store": "an assignment is gone",
    "form": "a suffix, an address space, a limit of threads or the precise function is gone",
}

_TYPES = frozenset(
    (
        *("float", "half", "int", "uint", "uchar", "char", "ushort", "short", "ulong", "long"),
        *("bool", "float2", "float4", "half2", "half4", "uint4", "int4"),
    )
)
_CASTS = frozenset(("float", "half", "int", "uint"))
_POSITIONS = frozenset(("tid", "lane", "simdgroup", "group"))
# operators by how tightly they bind, the loosest first
_BINDING = (
    ("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<", ">", "<=", ">="), ("<<", ">>"),
    ("+", "-"), ("*", "/", "%"),
)  # fmt: skip
_LEVEL = {operator: level for level, row in enumerate(_BINDING) for operator in row}
_ENDS = frozenset((";", ",", "?", ":", ")", "]", "}", "(", "[", "{", "return"))
_ASSIGNING = re.compile(r"[-+*/&|^]?=")
_WEAKER = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}


@dataclass(frozen=True, slots=True)
class Mutant:
    """`text` is the whole text after the change; `line` and what that was and is are for people."""

    kind: str
    line: int
    before: str
    after: str
    text: str

    @property
    def key(self) -> str:
        """What names the mutant in tables: its kind, and its line before and after."""
        return f"{self.kind}: {self.before} => {self.after}"


def mutants(text: str) -> list[Mutant]:
    """All mutants of a text of helper functions and one kernel, in the order of the text."""
    tokens = tokenize(text)
    starts, at = [], 0
    for token in tokens:
        at += len(token.space)
        starts.append(at)
        at += len(token.text)
    lines = text.splitlines()
    found: dict[str, Mutant] = {}
    for kind, begin, end, put in _edits(tokens):
        first, last = starts[begin], starts[end - 1] + len(tokens[end - 1].text)
        put += "\n" * (text.count("\n", first, last) - put.count("\n"))
        changed = text[:first] + put + text[last:]
        line = text.count("\n", 0, first)
        now = changed.splitlines()[line] if changed.count("\n") == text.count("\n") else put
        found.setdefault(changed, Mutant(kind, line + 1, lines[line].strip(), now.strip(), changed))
    found.pop(text, None)
    return list(found.values())


Edit = tuple[str, int, int, str]  # kind, the tokens that go, what comes in their place


def _edits(tokens: Sequence[Token]) -> Iterator[Edit]:
    for at, token in enumerate(tokens):
        if token.kind == "directive":
            continue
        if token.kind == "number":
            yield from _number(tokens, at)
        elif token.kind == "name":
            yield from _name(tokens, at)
        elif token.kind == "symbol":
            yield from _symbol(tokens, at)


def _text(tokens: Sequence[Token], begin: int, end: int) -> str:
    pieces = [t.space + t.text for t in tokens[begin:end]]
    return re.sub(r"\s+", " ", "".join(pieces)).strip()


# ---- names: calls, casts, statements ------------------------------------------------------------


def _name(tokens: Sequence[Token], at: int) -> Iterator[Edit]:
    text = tokens[at].text
    called = tokens[at + 1].text == "("
    if text in ("threadgroup_barrier", "simdgroup_barrier") and called:
        end = closing(tokens, at + 1) + 2
        yield "barrier", at, end, ""
        if text == "threadgroup_barrier":
            yield "barrier", at, at + 1, "simdgroup_barrier"
    elif text in ("mem_threadgroup", "mem_device"):
        yield "barrier", at, at + 1, "mem_none"
    elif text == "if":
        opens, close = at + 1, closing(tokens, at + 1)
        yield "bound", opens, close + 1, "(true)"
    elif text in _CASTS and called and tokens[at - 1].text not in ("operator",):
        yield "cast", at, at + 1, ""
    elif text in ("min", "max", "tlc_max", "tlc_min") and called:
        for begin, end in split(tokens, at + 2, closing(tokens, at + 1)):
            yield "bound", at, closing(tokens, at + 1) + 1, _text(tokens, begin, end)
    elif text == "fma" and called:
        end = closing(tokens, at + 1)
        a, b, c = (_text(tokens, *piece) for piece in split(tokens, at + 2, end))
        yield "sum", at, end + 1, f"({a}) * ({b})"
        yield "sum", at, end + 1, f"({c})"
        yield "index", at, end + 1, f"({a}) + ({c})"
    elif text in ("simd_sum", "simd_max") and called:
        yield "sum", at, at + 1, ""
    elif text in ("simdgroup_multiply_accumulate", "simdgroup_store", "simdgroup_load") and called:
        yield "sum", at, closing(tokens, at + 1) + 1, ""
    elif text == "atomic_store_explicit":
        yield "store", at, closing(tokens, at + 1) + 1, ""
    elif text == "precise":
        yield "form", at, at + 2, ""
    elif text == "continue":
        yield "bound", at, at + 1, ""
    elif text in ("thread", "threadgroup", "device") and "*" in [
        t.text for t in tokens[at + 1 : at + 4]
    ]:
        yield "form", at, at + 1, ""
    elif text == "max_total_threads_per_threadgroup":
        yield "form", at - 2, closing(tokens, at - 2) + 1, ""


# ---- numbers ------------------------------------------------------------------------------------


def _number(tokens: Sequence[Token], at: int) -> Iterator[Edit]:
    text = tokens[at].text
    if at > 1 and tokens[at - 2].text in ("buffer", "max_total_threads_per_threadgroup"):
        if tokens[at - 2].text == "buffer":
            yield "form", at, at + 1, str(int(text) + 1)
        return
    if re.fullmatch(r"\d+u?", text):
        value, suffix = int(text.rstrip("u")), "u" if text.endswith("u") else ""
        declared = _declares(tokens, at)
        if tokens[at - 1].text not in _WEAKER and not declared:  # those are weakened themselves
            yield "step", at, at + 1, f"{value + 1}{suffix}"
        if value > 1 and (declared or tokens[at - 1].text in ("[", "*")):
            yield "step", at, at + 1, f"{value - 1}{suffix}"
    elif text[-1] in "fh" and "x" not in text:
        if text not in ("0.0f", "0.0h"):
            yield "sum", at, at + 1, f"0.0{text[-1]}"
        yield "form", at, at + 1, text[:-1]


def _declares(tokens: Sequence[Token], at: int) -> bool:
    """Whether a number is part of the size of an array that is declared here."""
    while tokens[at].text not in (";", "{", "}", "(", "="):
        at -= 1
        if tokens[at].text == "]":
            at = opening(tokens, at)
    after = tokens[at + 1].text
    return after in ("threadgroup", "simdgroup_float8x8") or after in _TYPES


# ---- operators ----------------------------------------------------------------------------------


def _symbol(tokens: Sequence[Token], at: int) -> Iterator[Edit]:
    text = tokens[at].text
    if text == "=" or (_ASSIGNING.fullmatch(text) and len(text) == 2):
        yield from _assignment(tokens, at)
    elif text == "?":
        yield from _choice(tokens, at)
    elif text in "~!-" and not _binary(tokens, at):
        yield "mask", at, at + 1, ""
    elif (operator := _operator(tokens, at)) in _LEVEL and _binary(tokens, at):
        yield from _operation(tokens, at, operator)


def _assignment(tokens: Sequence[Token], at: int) -> Iterator[Edit]:
    end = at
    while end < len(tokens) and tokens[end].text not in (";", ",", ")"):
        end = closing(tokens, end) if tokens[end].text in ("(", "[", "{") else end
        end += 1
    start = _statement_start(tokens, at)
    in_head = tokens[start - 1].text == "(" or _in_head(tokens, start)
    declared = tokens[at - 2].text in _TYPES or tokens[at - 2].text in ("*", "&")
    value = tokens[at + 1 : end]
    if tokens[at].text != "=":  # a += b
        if in_head:
            yield "step", at + 1, end, f"({_text(tokens, at + 1, end)}) * 2u"
        else:
            yield "sum", at, at + 1, "="
    elif in_head:
        if _POSITIONS & {t.text for t in value}:
            yield "start", at + 1, end, "0u"
        elif declared and len(value) > 1:
            yield "start", at + 1, end, f"{_text(tokens, at + 1, end)} + 1u"
    elif declared:
        if len(value) == 1 and value[0].kind == "number" and tokens[start].text != "const":
            yield "start", at, end, ""
    elif tokens[end].text == ";" and tokens[start].text not in ("const", "constant"):
        yield "store", start, end, ""


def _statement_start(tokens: Sequence[Token], at: int) -> int:
    while at > 0 and tokens[at - 1].text not in (";", "{", "}"):
        if tokens[at - 1].text in (")", "]"):
            opens = opening(tokens, at - 1)
            if tokens[opens - 1].text in ("if", "for", "while"):
                return at
            at = opens
        elif tokens[at - 1].text in ("(", "else") or tokens[at - 1].kind == "directive":
            return at
        else:
            at -= 1
    return at


def _in_head(tokens: Sequence[Token], at: int) -> bool:
    """Whether a position is between the parentheses of a `for`."""
    depth = 0
    for i in range(at - 1, -1, -1):
        text = tokens[i].text
        if text in (")", "]"):
            depth += 1
        elif text in ("(", "["):
            depth -= 1
            if depth < 0:
                return tokens[i - 1].text == "for"
        elif text in "{}":
            return False
    return False


def _choice(tokens: Sequence[Token], at: int) -> Iterator[Edit]:
    """`c ? a : b` to either of its values."""
    begin, end, colon, depth = at, at + 1, 0, 0
    while begin > 0 and tokens[begin - 1].text not in (*"=(,?:[{;", "return"):
        begin -= 1
        if tokens[begin].text in (")", "]"):
            begin = opening(tokens, begin)
    while tokens[end].text not in (";", ",", ")", "]", "}"):
        text = tokens[end].text
        if text in ("(", "["):
            end = closing(tokens, end)
        elif text == "?":
            depth += 1
        elif text == ":" and depth == 0 and not colon:
            colon = end
        elif text == ":":
            depth -= 1
        end += 1
    yield "bound", begin, end, _text(tokens, at + 1, colon)
    yield "bound", begin, end, _text(tokens, colon + 1, end)


def _operator(tokens: Sequence[Token], at: int) -> str:
    """The operator here; the lexer makes two tokens of `>>`."""
    text = tokens[at].text
    if text == ">" and tokens[at + 1].text == ">" and not tokens[at + 1].space:
        return ">>"
    return text


def _binary(tokens: Sequence[Token], at: int) -> bool:
    """Whether an operator stands between two values, and is no pointer, list or second `>`."""
    before, after = tokens[at - 1], tokens[at + 1]
    if before.text == ">" and tokens[at].text == ">" and not tokens[at].space:
        return False
    if tokens[at].text in ("*", "&") and (before.text in _TYPES or before.text.endswith("_Dims")):
        return False
    if tokens[at].text in ("<", ">") and not tokens[at].space:
        return False
    value = before.kind in ("name", "number") or before.text in (")", "]")
    if before.text == ")" and tokens[opening(tokens, at - 1) + 1].text in ("device", "threadgroup"):
        return False
    return value and before.text != "return" and after.text not in (")", ";")


def _operation(tokens: Sequence[Token], at: int, operator: str) -> Iterator[Edit]:
    width = 2 if operator == ">>" else 1
    level = _LEVEL[operator]
    begin, end = _left(tokens, at, level), _right(tokens, at + width, level)
    kind = {"||": "bound", "&&": "bound", "|": "mask", "&": "mask", "<<": "mask", ">>": "mask"}
    if operator in _WEAKER:
        yield "bound", at, at + 1, _WEAKER[operator]
        return
    named = kind.get(operator, "index")
    yield named, at, end, ""
    if operator in ("||", "&&", "|", "+", "*"):
        yield named, begin, at + width, ""


def _right(tokens: Sequence[Token], at: int, level: int) -> int:
    """Where the right operand of an operator of this level ends."""
    while tokens[at].text in "-~!*&":
        at += 1
    while at < len(tokens):
        text = tokens[at].text
        if text in ("(", "["):
            at = closing(tokens, at) + 1
        elif _ends(tokens, at, level + 1):
            return at
        else:
            at += 1
    return at


def _ends(tokens: Sequence[Token], at: int, level: int) -> bool:
    """Whether an operand ends here: what binds looser than the level, or is no operator."""
    text = tokens[at].text
    if text in _ENDS or _ASSIGNING.fullmatch(text):
        return True
    return _LEVEL.get(text, 99) < level and _binary(tokens, at)


def _left(tokens: Sequence[Token], at: int, level: int) -> int:
    """Where the left operand begins."""
    while at > 0:
        before = tokens[at - 1]
        if before.text in (")", "]"):
            at = opening(tokens, at - 1)
        elif _ends(tokens, at - 1, level):
            return at
        else:
            at -= 1
    return at
