"""The vocabulary model of SentencePiece as LLaMA uses it: merges by score, bytes for the rest."""

from __future__ import annotations

from tlc.runtime.errors import RunError
from tlc.runtime.tokenizer.merging import merged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlc.runtime.tokenizer.words import Numbers, Words

SPACE = "\u2581"  # stands for a space in the vocabulary


def byte_of(token: str) -> int | None:
    """The byte that a token such as `<0x0A>` stands for."""
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return int(token[3:5], 16)
        except ValueError:
            return None
    return None


class SentencePiece:
    """Characters merged as long as the vocabulary has a piece, the best score first."""

    __slots__ = ("_bytes", "_pieces", "_prefix", "_scores", "_unknown", "_verbatim")

    def __init__(
        self,
        tokens: Words,
        scores: Sequence[float],
        verbatim: Numbers,
        prefix: bool,
        unknown: int,
    ) -> None:
        """`verbatim` tokens hold their text as it is; `prefix` puts a space before a text;
        `unknown` is the token for characters without one, or -1."""
        self._pieces, self._scores, self._prefix = tokens, scores, prefix
        names = ((byte, f"<0x{byte:02X}>") for byte in range(256))
        self._bytes = {byte: tokens.get(name) for byte, name in names if name in tokens}
        self._verbatim, self._unknown = verbatim, unknown

    def _rank(self, left: str, right: str) -> float | None:
        token = self._pieces.get(left + right)
        return None if token < 0 else -self._scores[token]

    def encode(self, text: str, first: bool) -> list[int]:
        """See `Model.encode`. Raises RunError E0607 for a character without a token."""
        if first and self._prefix:
            text = " " + text
        ids: list[int] = []
        for symbol in merged(list(text.replace(" ", SPACE)), self._rank):
            token = self._pieces.get(symbol)
            ids += self._in_bytes(symbol) if token < 0 else [token]
        return ids

    def _in_bytes(self, symbol: str) -> list[int]:
        data = symbol.encode("utf-8", "surrogatepass")
        if all(byte in self._bytes for byte in data):
            return [self._bytes[byte] for byte in data]
        if self._unknown >= 0:
            return [self._unknown]
        raise RunError("E0607", f"the vocabulary has no token for {symbol!r}")

    def piece(self, token: int) -> bytes:
        """See `Model.piece`."""
        text = self._pieces[token]
        if token in self._verbatim:
            return text.encode()
        byte = byte_of(text)
        return text.replace(SPACE, " ").encode() if byte is None else bytes((byte,))
