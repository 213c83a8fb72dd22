"""The steps of a `tokenizer.json` before its vocabulary: how texts are normalised and cut.

They are named as the tokenizers library of Hugging Face names them. A normaliser makes a text of a
text, a cutter pieces of a piece; one that is not in these tables is refused by name.
"""

from __future__ import annotations

import re

from tlc.runtime.errors import RunError
from tlc.runtime.tokenizer.byte_pairs import cut, letters
from tlc.runtime.tokenizer.patterns import compiled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Normaliser = Callable[[str], str]
    Cutter = Callable[[str, bool], list[str]]  # of a piece, and whether a text begins with it

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Unicode's word characters: Alphabetic, marks, decimal digits, connectors, joiners
_WORD = r"\p{L}\p{M}\p{Nl}\p{Nd}\p{Pc}\u200c\u200d\u24b6-\u24e9"
_WORD += r"\U0001f130-\U0001f149\U0001f150-\U0001f169\U0001f170-\U0001f189"
_CJK = "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002ceaf\uf900-\ufaff"
_CJK += "\U0002f800-\U0002fa1f"


def refused(what: str) -> RunError:
    return RunError("E0607", f"the tokenizer has {what}, which is not supported")


def _pattern(record: dict[str, Any]) -> re.Pattern[str]:
    """`{"Regex": ..}` or `{"String": ..}`. Raises RunError E0607 for what Python does not read."""
    found = record.get("pattern", {})
    if "String" in found:
        return re.compile(re.escape(found["String"]))
    try:
        return compiled(found["Regex"])
    except re.error as problem:
        raise refused(f"the pattern {found['Regex'][:80]!r} ({problem})") from None


# ---- normalisers ---------------------------------------------------------------------------------


def normaliser(record: dict[str, Any] | None) -> Normaliser:
    """The normaliser of a record; None changes nothing. Raises RunError E0607."""
    if record is None:
        return lambda text: text
    kind = record.get("type")
    match kind:
        case "Sequence":
            steps = [normaliser(inner) for inner in record["normalizers"]]
            return lambda text: _through(steps, text)
        case "NFC" | "NFD" | "NFKC" | "NFKD":
            return lambda text: _form(kind, text)
        case "Lowercase":
            return str.lower
        case "StripAccents":
            return _without_accents
        case "Prepend":
            return lambda text: record["prepend"] + text if text else text
        case "Replace":
            pattern, content = _pattern(record), record["content"]
            return lambda text: pattern.sub(lambda _: content, text)
        case "Strip":
            left, right = record.get("strip_left", True), record.get("strip_right", True)
            return lambda text: _stripped(text, left, right)
        case "BertNormalizer":
            return _bert(record)
    raise refused(f"the normaliser {kind}")


def _through(steps: Iterable[Normaliser], text: str) -> str:
    for step in steps:
        text = step(text)
    return text


def _form(kind: Any, text: str) -> str:
    from unicodedata import normalize

    return normalize(kind, text)


def _without_accents(text: str) -> str:
    from unicodedata import category

    return "".join(c for c in text if category(c) != "Mn")


def _stripped(text: str, left: bool, right: bool) -> str:
    text = text.lstrip() if left else text
    return text.rstrip() if right else text


def _bert(record: dict[str, Any]) -> Normaliser:
    accents, lower = record.get("strip_accents"), record.get("lowercase", True)
    cjk = re.compile(f"([{_CJK}])")

    def normalised(text: str) -> str:
        from unicodedata import category

        if record.get("clean_text", True):
            kept = (c for c in text if c in "\t\n\r" or category(c)[0] != "C")
            text = "".join(" " if c.isspace() else c for c in kept if c != "\ufffd")
        if record.get("handle_chinese_chars", True):
            text = cjk.sub(r" \1 ", text)
        if lower if accents is None else accents:
            text = _without_accents(_form("NFD", text))
        return text.lower() if lower else text

    return normalised


# ---- cutters -------------------------------------------------------------------------------------


def cutter(record: dict[str, Any] | None) -> Cutter:
    """The cutter of a record; None leaves one piece. Raises RunError E0607."""
    if record is None:
        return lambda piece, first: [piece]
    kind = record.get("type")
    match kind:
        case "Sequence":
            steps = [cutter(inner) for inner in record["pretokenizers"]]
            return lambda piece, first: _in_turn(steps, piece, first)
        case "ByteLevel":
            return _byte_level(record)
        case "Metaspace":
            return _metaspace(record)
        case "Split":
            return _split(record)
        case "Digits":
            pattern = compiled(r"\p{N}" if record.get("individual_digits") else r"\p{N}+")
            return lambda piece, first: cut(pattern, piece)
        case "Punctuation" if record.get("behavior", "Isolated") == "Isolated":
            return lambda piece, first: cut(_punctuation(), piece)
        case "Whitespace":
            words = compiled(rf"[{_WORD}]+|[^{_WORD}\s]+")
            return lambda piece, first: words.findall(piece)
        case "WhitespaceSplit":
            return lambda piece, first: piece.split()
        case "BertPreTokenizer":
            return lambda piece, first: [p for w in piece.split() for p in cut(_punctuation(), w)]
    raise refused(f"the pre-tokenizer {kind}")


def _in_turn(steps: Iterable[Cutter], piece: str, first: bool) -> list[str]:
    pieces = [piece]
    for step in steps:
        pieces = [
            inner for at, outer in enumerate(pieces) for inner in step(outer, first and at == 0)
        ]
    return pieces


def _punctuation() -> re.Pattern[str]:
    return compiled(r"[!-/:-@\[-`{-~\p{P}]")


def _byte_level(record: dict[str, Any]) -> Cutter:
    words = compiled(GPT2) if record.get("use_regex", True) else None
    space = record.get("add_prefix_space", True)

    def pieces(piece: str, first: bool) -> list[str]:
        if space and not piece.startswith(" "):
            piece = " " + piece
        return [letters(word) for word in (cut(words, piece) if words else [piece])]

    return pieces


def _metaspace(record: dict[str, Any]) -> Cutter:
    sign = record.get("replacement", "\u2581")
    scheme = record.get("prepend_scheme")
    if scheme is None:
        scheme = "always" if record.get("add_prefix_space", True) else "never"
    words = re.compile(f"{re.escape(sign)}?[^{re.escape(sign)}]+|{re.escape(sign)}")
    whole = not record.get("split", True)

    def pieces(piece: str, first: bool) -> list[str]:
        piece = piece.replace(" ", sign)
        wanted = scheme == "always" or (scheme == "first" and first)
        if wanted and not piece.startswith(sign):
            piece = sign + piece
        return [piece] if whole else words.findall(piece)

    return pieces


def _split(record: dict[str, Any]) -> Cutter:
    behaviour, pattern = record.get("behavior"), _pattern(record)
    inverted = bool(record.get("invert"))
    match behaviour:
        case "Isolated":
            return lambda piece, first: cut(pattern, piece)
        case "Removed" if inverted:
            return lambda piece, first: [m[0] for m in pattern.finditer(piece) if m[0]]
        case "Removed":
            return lambda piece, first: [p for p in cut(pattern, piece) if not pattern.fullmatch(p)]
        case "MergedWithPrevious" if not inverted:
            return lambda piece, first: _merged_back(pattern, piece)
    raise refused(f"a split with {'inverted ' if inverted else ''}{behaviour}")


def _merged_back(pattern: re.Pattern[str], piece: str) -> list[str]:
    ends = [found.end() for found in pattern.finditer(piece) if found[0]]
    starts = [0, *ends]
    return [piece[a:b] for a, b in zip(starts, [*ends, len(piece)], strict=True) if b > a]
