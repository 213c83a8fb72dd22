"""A tokenizer: special tokens are cut out of a text, a model of the vocabulary does the rest."""

from __future__ import annotations

from tlc.runtime.errors import RunError
from tlc.runtime.give_back import give_back
from tlc.runtime.tokenizer.words import Numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Protocol

    class Model(Protocol):
        """How ordinary text becomes tokens."""

        def encode(self, text: str, first: bool) -> list[int]:
            """The tokens of a text; `first` when nothing or a special token stands before it."""
            ...

        def piece(self, token: int) -> bytes:
            """The bytes of a token."""
            ...


# what ends a turn: of ChatML, Llama 3 and 4, Gemma, Phi 3
_ENDS_TURN = ("<|im_end|>", "<|eot_id|>", "<|eot|>", "<end_of_turn>", "<|end|>", "<EOT>")


class Tokenizer:
    """Texts to token ids and back.

    `bos` and `eos` are the tokens that begin and end a text, -1 where there is none; `eot` ends a
    turn of a conversation, and is `eos` where no other does. `before` and `behind` are what
    `encode` puts around a text when it adds them.
    """

    __slots__ = (
        "_encoded", "_firsts", "_hidden", "_lengths", "_model", "_space", "_special", "before",
        "behind", "bos", "eos", "eot", "let_go", "vocab_size",
    )  # fmt: skip

    def __init__(
        self,
        model: Model,
        vocab_size: int,
        special: Mapping[str, int],
        hidden: Iterable[int],
        ends: tuple[int, int] = (-1, -1),
        around: tuple[Sequence[int], Sequence[int]] = ((), ()),
        space: bool = False,
        eot: int = -1,
        let_go: Callable[[], None] = lambda: None,
    ) -> None:
        """`special` are found in texts before all others; `hidden` are no part of a text; with
        `space` the model puts a space before a text, which decoding takes away again. Without
        `eot` it is found among the special tokens by the names that it has. `let_go` is called
        when the vocabulary was much read."""
        import re

        self._model, self.vocab_size = model, vocab_size
        self._hidden, self._space, self.let_go = Numbers(hidden), space, let_go
        self.bos, self.eos = ends
        ends_turn = (special[name] for name in _ENDS_TURN if name in special)
        self.eot = eot if eot >= 0 else next(ends_turn, self.eos)
        self.before, self.behind = around
        self._special, self._encoded = special, 0
        lengths: dict[str, set[int]] = {}  # of special tokens, by their first character
        for text in filter(None, special):
            lengths.setdefault(text[0], set()).add(len(text))
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}
        firsts = "".join(map(re.escape, lengths))
        self._firsts = re.compile(f"[{firsts}]" if firsts else "(?!)")

    def encode(self, text: str, around: bool = True) -> list[int]:
        """The tokens of a text, with those `before` and `behind` it unless `around` is false.

        Raises RunError E0607 for a character that the vocabulary cannot write.
        """
        ids = list(self.before) if around else []
        first = True
        for part in self._parts(text):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += self._model.encode(part, first)
            first = isinstance(part, int)
        self._encoded += 1
        if self._encoded & (self._encoded - 1) == 0:  # who encodes often needs the pages again
            self.let_go()
            give_back()
        return [*ids, *self.behind] if around else ids

    def _parts(self, text: str) -> Iterator[str | int]:
        """The text cut at its special tokens: leftmost first, the longest at each place."""
        at = 0
        for found in self._firsts.finditer(text):
            start = found.start()
            if start < at:
                continue
            for length in self._lengths[found[0]]:
                token = self._special.get(text[start : start + length])
                if token is not None:
                    if start > at:
                        yield text[at:start]
                    yield token
                    at = start + length
                    break
        if at < len(text):
            yield text[at:]

    def piece(self, token: int) -> bytes:
        """The bytes that a token writes; none for one that only begins or ends texts.

        Raises RunError E0505 for a token that there is not.
        """
        if not 0 <= token < self.vocab_size:
            text = f"there is no token {token}: the vocabulary has {self.vocab_size}"
            raise RunError("E0505", text)
        return b"" if token in self._hidden else self._model.piece(token)

    def name(self, token: int) -> str:
        """What a token is called in the vocabulary, also one that writes nothing; "" for -1."""
        named = (text for text, at in self._special.items() if at == token)
        return next(named, "") or (self.decode([token]) if token >= 0 else "")

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens; bytes that are no UTF-8 become U+FFFD. Raises RunError E0505."""
        text = b"".join(map(self.piece, ids)).decode("utf-8", "replace")
        return text[1:] if self._space and text[:1] == " " else text


class Stream:
    """The text of tokens that come one by one."""

    __slots__ = ("_decoder", "_fed", "_tokenizer")

    def __init__(self, tokenizer: Tokenizer) -> None:
        import codecs

        self._tokenizer = tokenizer
        self._fed = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """The characters that this token completes; often none, when a character takes several.

        Raises RunError E0505 for a token that there is not.
        """
        self._fed += 1
        self._tokenizer.let_go()
        if self._fed & (self._fed - 1) == 0:  # the first steps prepare launches
            give_back()
        return self._decoder.decode(self._tokenizer.piece(token))
