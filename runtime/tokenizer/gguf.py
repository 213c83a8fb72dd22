"""The vocabulary in the metadata of a GGUF file to a tokenizer.

The keys are those of docs/gguf.md in the ggml repository; what is left out means what llama.cpp
takes it to mean.
"""

from __future__ import annotations

from array import array

from tlc.runtime.errors import RunError
from tlc.runtime.gguf_file import Metadata
from tlc.runtime.tokenizer.byte_pairs import BytePairs
from tlc.runtime.tokenizer.sentencepiece import SentencePiece
from tlc.runtime.tokenizer.tokenizer import Tokenizer
from tlc.runtime.tokenizer.words import Numbers, Some, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tlc.runtime.tokenizer.tokenizer import Model

_KEY = "tokenizer.ggml."
# types of tokens
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4
# tokens of these names end a text or a turn, and are special even in files that call them normal
_ENDS = frozenset(
    (
        *(
            "<|eot_id|>",
            "<|im_end|>",
            "<|end|>",
            "<|return|>",
            "<|call|>",
            "<|flush|>",
            "<|calls|>",
        ),
        *("<end_of_turn>", "<turn|>", "<|endoftext|>", "<|end_of_text|>", "<end_of_utterance>"),
        *("<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "</s>"),
    )
)

_CONTRACTIONS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_LLAMA3 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_TAIL}"
_QWEN2 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_TAIL}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%s"
    r"|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# how texts are cut into words, by the name that `tokenizer.ggml.pre` gives it
_PATTERNS: dict[str, tuple[str, ...]] = {
    "default": (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),
    "gpt-2": (_GPT2,),
    "llama-bpe": (_LLAMA3,),
    "qwen2": (_QWEN2,),
    "starcoder": (r"\p{N}", _GPT2),
    "falcon": (r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]"),
    "gpt-4o": (_CASED % (f"{_CONTRACTIONS}?", f"{_CONTRACTIONS}?", "{1,3}"),),
    "tekken": (_CASED % ("", "", ""),),
}
# other names of the same patterns
_ALIASES = {
    **dict.fromkeys(("llama3", "llama-v3", "falcon3", "smaug-bpe", "dbrx"), "llama-bpe"),
    **dict.fromkeys(("phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de"), "gpt-2"),
    **dict.fromkeys(("mpt", "olmo", "roberta-bpe", "gigachat", "exaone4"), "gpt-2"),
    **dict.fromkeys(("stablelm2", "deepseek-r1-qwen", "megrez", "hunyuan"), "qwen2"),
    **dict.fromkeys(("refact", "command-r", "smollm", "codeshell", "exaone"), "starcoder"),
    **dict.fromkeys(("minerva-7b",), "starcoder"),
    "llama4": "gpt-4o",
}


class _Vocabulary:
    """The metadata of one file, read with errors that name it."""

    def __init__(self, path: str, metadata: Mapping[str, object]) -> None:
        self.path, self._metadata = path, metadata
        self.tokens = self.words("tokens")
        types = self._metadata.get(f"{_KEY}token_type")
        self.types: Sequence[int] = types if types is not None else [NORMAL] * len(self.tokens)  # type: ignore[assignment]
        if len(self.types) != len(self.tokens):
            raise self.wrong(f"{len(self.types)} types for {len(self.tokens)} tokens")

    def wrong(self, what: str, hint: str = "") -> RunError:
        return RunError("E0607", f"{self.path}: its vocabulary is not usable: {what}", hint)

    def words(self, key: str) -> Words:
        if isinstance(self._metadata, Metadata):
            found = self._metadata.texts(_KEY + key) if _KEY + key in self._metadata else None
            if found is not None:
                return Words(*found)
        else:
            texts = self._metadata.get(_KEY + key)
            if isinstance(texts, list) and all(isinstance(text, str) for text in texts[:1]):
                return Words.of(texts)
        raise self.wrong(f"there is no list `{_KEY}{key}`")

    def text(self, key: str, default: str | None) -> str:
        """A text; `default` where it is left out, None where it may not be."""
        found = self._metadata.get(_KEY + key, default)
        if found is None:
            raise self.wrong(f"there is no text `{_KEY}{key}`")
        if not isinstance(found, str):
            raise self.wrong(f"`{_KEY}{key}` is no text")
        return found

    def flag(self, key: str, default: bool) -> bool:
        return bool(self._metadata.get(f"{_KEY}{key}", default))

    def token(self, key: str) -> int:
        """The token that a key names; -1 where it is left out."""
        found = self._metadata.get(f"{_KEY}{key}_token_id", -1)
        if not isinstance(found, int) or not -1 <= found < len(self.tokens):
            raise self.wrong(f"`{_KEY}{key}_token_id` is {found}, of {len(self.tokens)} tokens")
        return found

    def scores(self) -> Sequence[float]:
        found = self._metadata.get(f"{_KEY}scores")
        if found is None or len(found) != len(self.tokens):  # type: ignore[arg-type]
            raise self.wrong("it has no score for each token")
        return found  # type: ignore[return-value]

    def numbers(self, *types: int) -> array[int]:
        """The tokens of some types."""
        return array("I", (at for at, kind in enumerate(self.types) if kind in types))

    def ends(self) -> dict[str, int]:
        """Normal tokens that end a text or a turn by their names."""
        found = {text: self.tokens.get(text) for text in _ENDS if text in self.tokens}
        return {text: at for text, at in found.items() if self.types[at] == NORMAL}


def from_metadata(path: str, metadata: Mapping[str, object]) -> Tokenizer:
    """The tokenizer of a GGUF file's metadata. Raises RunError E0607 for what is not supported."""
    if f"{_KEY}tokens" not in metadata:
        hint = "models are trained with a tokenizer; give the file that holds it"
        raise RunError("E0607", f"{path} holds no vocabulary", hint)
    found = _Vocabulary(path, metadata)
    kind = found.text("model", None)
    ends = found.ends()
    verbatim = Numbers((*found.numbers(CONTROL, USER_DEFINED), *ends.values()))
    model: Model
    tables = [found.tokens]
    if kind == "llama":
        prefix = found.flag("add_space_prefix", True)
        unknown = found.token("unknown")
        model = SentencePiece(found.tokens, found.scores(), verbatim, prefix, unknown)
        add_bos = True
    elif kind == "gpt2":
        prefix, pre = False, found.text("pre", "default")
        pre = _ALIASES.get(pre, pre)
        if pre not in _PATTERNS:
            known = ", ".join(sorted({*_PATTERNS, *_ALIASES}))
            raise found.wrong(f"the pre-tokenizer `{pre}` is not known", f"known are {known}")
        merges = found.words("merges")
        tables.append(merges)
        unknown = found.token("unknown")
        add_bos = whole = pre == "llama-bpe"
        model = BytePairs(found.tokens, merges, _PATTERNS[pre], verbatim, whole, unknown)
    else:
        text = f"tokenizers of the kind `{kind}` are not supported"
        raise found.wrong(text, "supported are llama (SentencePiece) and gpt2 (byte pairs)")
    bos, eos = found.token("bos"), found.token("eos")
    before = [bos] if found.flag("add_bos_token", add_bos) and bos >= 0 else []
    behind = [eos] if found.flag("add_eos_token", False) and eos >= 0 else []
    ends.pop("</s>", None)  # of HTML, in an ordinary vocabulary: cut out, yet visible
    hidden = (*found.numbers(CONTROL), *ends.values())
    special = Some(found.tokens, verbatim)
    return Tokenizer(
        model, len(found.tokens), special, hidden, (bos, eos), (before, behind), prefix,
        found.token("eot"), _letting_go(metadata, *tables),
    )  # fmt: skip


def _letting_go(metadata: Mapping[str, object], *tables: Words) -> Callable[[], None]:
    """What takes the pages of a vocabulary out of memory: those of weights come next."""

    def let_go() -> None:
        if isinstance(metadata, Metadata):
            metadata.let_go()
        for words in tables:
            words.let_go()

    return let_go
