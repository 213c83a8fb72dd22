"""The vocabulary model of GPT-2: a text is cut into words, and the bytes of each are merged."""

from __future__ import annotations

from tlc.runtime.errors import RunError
from tlc.runtime.tokenizer.merging import merged
from tlc.runtime.tokenizer.patterns import compiled

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

    from tlc.runtime.tokenizer.words import Numbers, Words

KEPT_WORDS = 1 << 16  # whose tokens are remembered


def _letters() -> str:
    """The character that stands for each byte: itself where it is printed, else one above 255."""
    shown = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return "".join(chr(byte if byte in shown else next(others)) for byte in range(256))


_LETTERS = _letters()
_WRITTEN = dict(enumerate(_LETTERS))
_BYTES = {ord(letter): byte for byte, letter in enumerate(_LETTERS)}


def letters(word: str) -> str:
    """A word as the vocabulary writes it, a letter for each of its bytes."""
    data = word.encode("utf-8", "surrogatepass")
    return data.decode("latin-1").translate(_WRITTEN)


def bytes_of(text: str) -> bytes | None:
    """The bytes that the letters of a token stand for; None for a text of other characters."""
    try:
        return bytes(_BYTES[ord(letter)] for letter in text)
    except KeyError:
        return None


class BytePairs:
    """Byte-pair encoding of the words that patterns find."""

    __slots__ = (
        "_known", "_merges", "_patterns", "_pieces", "_unknown", "_verbatim", "_whole",
    )  # fmt: skip

    def __init__(
        self,
        tokens: Words,
        merges: Words,
        patterns: Sequence[str],
        verbatim: Numbers,
        whole: bool,
        unknown: int,
    ) -> None:
        """`merges` are two symbols with a space between, the first are merged first. Each pattern
        cuts what the one before it left; `whole` words that the vocabulary has are not merged;
        `verbatim` tokens hold their text as it is. Raises re.error."""
        self._pieces, self._merges, self._whole = tokens, merges, whole
        self._patterns = patterns
        for pattern in patterns:
            compiled(pattern, ascii=True)
        self._verbatim, self._unknown = verbatim, unknown
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str, first: bool) -> list[int]:
        """See `Model.encode`. Raises RunError E0607 for a byte without a token."""
        words, plain = [text], text.isascii()
        for source in self._patterns:
            pattern = compiled(source, plain)
            words = [piece for word in words for piece in cut(pattern, word)]
        ids: list[int] = []
        for word in words:
            found = self._known.get(word)
            if found is None:
                found = self._word(letters(word))
                if len(self._known) < KEPT_WORDS:
                    self._known[word] = found
            ids += found
        return ids

    def _word(self, word: str) -> list[int]:
        if self._whole and word in self._pieces:
            return [self._pieces.get(word)]
        ids: list[int] = []
        for symbol in merged(list(word), self._rank):
            token = self._pieces.get(symbol)
            ids += [self._letter(letter) for letter in symbol] if token < 0 else [token]
        return ids

    def _rank(self, left: str, right: str) -> int | None:
        rank = self._merges.get(f"{left} {right}")
        return None if rank < 0 else rank

    def _letter(self, letter: str) -> int:
        token = self._pieces.get(letter, self._unknown)
        if token < 0:
            text = f"the vocabulary has no token for the byte {_BYTES[ord(letter)]}"
            raise RunError("E0607", text)
        return token

    def piece(self, token: int) -> bytes:
        """See `Model.piece`."""
        text = self._pieces[token]
        data = None if token in self._verbatim else bytes_of(text)
        return text.encode() if data is None else data


def cut(pattern: re.Pattern[str], text: str) -> list[str]:
    """A text in pieces: what the pattern finds, and what lies between."""
    pieces: list[str] = []
    at = 0
    for found in pattern.finditer(text):
        start, end = found.span()
        if end > start:
            if start > at:
                pieces.append(text[at:start])
            pieces.append(text[start:end])
            at = end
    if at < len(text):
        pieces.append(text[at:])
    return pieces
