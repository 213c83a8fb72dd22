"""A `tokenizer.json` of Hugging Face to a tokenizer: byte pairs, WordPiece and Unigram."""

from __future__ import annotations

import os

from tlc.runtime.errors import RunError
from tlc.runtime.tokenizer.byte_pairs import bytes_of
from tlc.runtime.tokenizer.merging import merged
from tlc.runtime.tokenizer.sentencepiece import byte_of
from tlc.runtime.tokenizer.steps import cutter, normaliser, refused
from tlc.runtime.tokenizer.tokenizer import Tokenizer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    Words = Callable[[str], list[int]]  # the tokens of a piece

LONGEST = 128 << 20  # bytes of a file; that of a vocabulary of 262,144 has 33 MB
LONGEST_CONFIG = 4 << 20  # of a file beside it
CONFIG = ("bos_token", "eos_token", "chat_template")  # what is read there
KEPT_WORDS = 1 << 16  # whose tokens are remembered

# no space stands before these where a WordPiece decoder tidies up
_CLOSE = frozenset((".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"))
# what ends a text where no tokenizer_config.json says it
_ENDS = ("<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<eos>", "</s>", "[SEP]")


def from_json(path: str, data: bytes | memoryview) -> Tokenizer:
    """The tokenizer that the bytes of a file describe.

    Raises RunError E0607 for a step that is not supported, or a file that makes no sense.
    """
    from tlc.runtime import strict_json

    try:
        if len(data) > LONGEST:
            raise ValueError(f"it has more than {LONGEST} bytes")
        record = strict_json.parse(data)
        if not isinstance(record, dict) or not isinstance(record.get("model"), dict):
            raise ValueError("it is no tokenizer.json")
        return _tokenizer(path, record)
    except RunError as problem:
        raise RunError(problem.code, f"{path}: {problem.message}", problem.hint) from problem
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as problem:
        raise RunError("E0607", f"{path}: a damaged tokenizer: {problem}") from problem


def _tokenizer(path: str, record: dict[str, Any]) -> Tokenizer:
    added = {t["content"]: int(t["id"]) for t in record.get("added_tokens") or []}
    hidden = [int(t["id"]) for t in record.get("added_tokens") or [] if t.get("special")]
    model = _Model(record, added)
    before, behind = _around(record.get("post_processor"), added)
    beside = record.get("tokenizer_config") or config(path)
    bos = added.get(beside.get("bos_token", ""), before[0] if before else -1)
    named = next((added[name] for name in _ENDS if name in added), -1)
    eos = added.get(beside.get("eos_token", ""), behind[-1] if behind else named)
    size = len(model.pieces)
    if not all(0 <= token < size for token in (*added.values(), *before, *behind)):
        raise ValueError("a special token is beyond the vocabulary")
    return Tokenizer(model, size, added, hidden, (bos, eos), (before, behind), model.space)


def config(path: str) -> dict[str, str]:
    """The names of the special tokens, and the chat template, from the files that lie beside a
    `tokenizer.json`: `tokenizer_config.json`, and `chat_template.jinja` as newer models have it."""
    from tlc.runtime import strict_json

    folder = os.path.dirname(path)
    texts = {}
    found = _read(os.path.join(folder, "tokenizer_config.json"))
    try:
        record = strict_json.parse(found) if found else {}
    except ValueError:
        record = {}
    for key in CONFIG:
        value = record.get(key) if isinstance(record, dict) else None
        if key == "chat_template" and isinstance(value, list):  # several, by their names
            named = (part for part in value if isinstance(part, dict))
            value = next((part for part in named if part.get("name") == "default"), None)
            value = value and value.get("template")
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            texts[key] = value
    template = _read(os.path.join(folder, "chat_template.jinja"))
    return {**texts, CONFIG[2]: template.decode("utf-8", "replace")} if template else texts


def _read(path: str) -> bytes:
    """A file, or nothing where there is none that is of use."""
    try:
        with open(path, "rb") as file:
            found = file.read(LONGEST_CONFIG + 1)
    except OSError:
        return b""
    return found if len(found) <= LONGEST_CONFIG else b""


def _around(record: dict[str, Any] | None, added: Mapping[str, int]) -> tuple[list[int], list[int]]:
    """The tokens before and behind a text."""
    before: list[int] = []
    behind: list[int] = []
    kind = record.get("type") if record else None
    match kind:
        case None | "ByteLevel":
            pass
        case "Sequence":
            assert record is not None
            for inner in record["processors"]:
                a, b = _around(inner, added)
                before, behind = a + before, behind + b
        case "BertProcessing" | "RobertaProcessing":
            assert record is not None
            before, behind = [int(record["cls"][1])], [int(record["sep"][1])]
        case "TemplateProcessing":
            assert record is not None
            side = before
            for part in record["single"]:
                if "Sequence" in part:
                    side = behind
                else:
                    name = part["SpecialToken"]["id"]
                    side += map(int, record["special_tokens"][name]["ids"])
        case _:
            raise refused(f"the post-processor {kind}")
    return before, behind


class _Model:
    """Normalised, cut into pieces, and each piece into tokens."""

    __slots__ = ("_cut", "_known", "_normalise", "_plain", "_word", "_write", "pieces", "space")

    def __init__(self, record: dict[str, Any], added: Mapping[str, int]) -> None:
        model = record["model"]
        self._normalise = normaliser(record.get("normalizer"))
        self._cut = cutter(record.get("pre_tokenizer"))
        kind = model.get("type") or ("BPE" if "merges" in model else "WordPiece")
        numbers: dict[str, int]
        if kind == "Unigram":
            numbers = {text: at for at, (text, _) in reversed(list(enumerate(model["vocab"])))}
        else:
            numbers = {text: int(at) for text, at in model["vocab"].items()}
        count = 1 + max((*numbers.values(), *added.values()), default=-1)
        if count > 2 * (len(numbers) + len(added)) + 1024:
            raise ValueError("its tokens are not numbered one behind the other")
        self.pieces = [""] * count
        for text, at in (*numbers.items(), *added.items()):
            self.pieces[at] = text
        self._plain = frozenset(added.values())
        match kind:
            case "BPE":
                self._word: Words = _byte_pairs(model, numbers)
            case "WordPiece":
                self._word = _word_pieces(model, numbers)
            case "Unigram":
                self._word = _unigram(model, numbers)
            case _:
                raise refused(f"the model {kind}")
        self._known: dict[str, list[int]] = {}
        self._write, self.space = _writer(record, kind)

    def encode(self, text: str, first: bool) -> list[int]:
        """See `tokenizer.Model`."""
        text = self._normalise(text)
        ids: list[int] = []
        for word in self._cut(text, first) if text else ():
            found = self._known.get(word)
            if found is None:
                found = self._word(word)
                if len(self._known) < KEPT_WORDS:
                    self._known[word] = found
            ids += found
        return ids

    def piece(self, token: int) -> bytes:
        """See `tokenizer.Model`."""
        text = self.pieces[token]
        return text.encode() if token in self._plain else self._write(text)


def _writer(record: dict[str, Any], kind: str) -> tuple[Callable[[str], bytes], bool]:
    """How a token becomes bytes, and whether a text then begins with a space too many."""
    decoder = record.get("decoder")
    kinds = {inner.get("type") for inner in _flat(decoder)}
    if "ByteLevel" in kinds:
        return lambda text: bytes_of(text) or text.encode(), False
    if kind == "WordPiece":
        mark, tidy = (decoder or {}).get("prefix", "##"), (decoder or {}).get("cleanup", True)

        def word(text: str) -> bytes:
            if text.startswith(mark):
                return text[len(mark) :].encode()
            return (text if tidy and text in _CLOSE else " " + text).encode()

        return word, True

    def written(text: str) -> bytes:
        byte = byte_of(text)
        return text.replace("\u2581", " ").encode() if byte is None else bytes((byte,))

    return written, bool({"Strip", "Metaspace"} & kinds)


def _flat(decoder: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    yield from (decoder or {}).get("decoders", [decoder] if decoder else [])


# ---- vocabularies --------------------------------------------------------------------------------


def _byte_pairs(model: dict[str, Any], numbers: Mapping[str, int]) -> Words:
    for key in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if model.get(key):
            raise refused(f"byte pairs with {key}")
    pairs = (m.split(" ", 1) if isinstance(m, str) else m for m in model["merges"])
    ranks = {(left, right): at for at, (left, right) in enumerate(pairs)}
    whole, fallback = bool(model.get("ignore_merges")), bool(model.get("byte_fallback"))
    unknown, fuse = numbers.get(model.get("unk_token") or "", -1), bool(model.get("fuse_unk"))

    def tokens(word: str) -> list[int]:
        if whole and word in numbers:
            return [numbers[word]]
        ids: list[int] = []
        for symbol in merged(list(word), lambda *pair: ranks.get(pair)):
            found = [numbers[symbol]] if symbol in numbers else _bytes(symbol, numbers, fallback)
            if not found and unknown >= 0 and not (fuse and ids[-1:] == [unknown]):
                found = [unknown]
            ids += found
        return ids

    return tokens


def _bytes(symbol: str, numbers: Mapping[str, int], wanted: bool) -> list[int]:
    """A token for each byte; none where some are missing."""
    names = [f"<0x{byte:02X}>" for byte in symbol.encode("utf-8", "surrogatepass")]
    return [numbers[n] for n in names] if wanted and all(n in numbers for n in names) else []


def _word_pieces(model: dict[str, Any], numbers: Mapping[str, int]) -> Words:
    """The longest token that a word begins with, and so on (Wu et al. 2016)."""
    mark, unknown = model.get("continuing_subword_prefix", "##"), numbers[model["unk_token"]]
    longest = model.get("max_input_chars_per_word", 100)

    def tokens(word: str) -> list[int]:
        if len(word) > longest:
            return [unknown]
        ids: list[int] = []
        at = 0
        while at < len(word):
            for end in range(len(word), at, -1):
                token = numbers.get((mark if at else "") + word[at:end])
                if token is not None:
                    break
            else:
                return [unknown]
            ids.append(token)
            at = end
        return ids

    return tokens


def _unigram(model: dict[str, Any], numbers: Mapping[str, int]) -> Words:
    """The tokens of the greatest sum of scores (Kudo 2018), found by dynamic programming."""
    scores = {text: float(score) for text, score in reversed(model["vocab"])}
    longest = max(map(len, scores))
    unknown, penalty = model.get("unk_id"), min(scores.values()) - 10.0
    fallback = bool(model.get("byte_fallback"))

    def tokens(word: str) -> list[int]:
        best = [0.0, *[float("-inf")] * len(word)]
        start = [0] * (len(word) + 1)
        for at in range(len(word)):
            for end in range(at + 1, min(len(word), at + longest) + 1):
                score = scores.get(word[at:end], penalty if end == at + 1 else None)
                if score is not None and best[at] + score > best[end]:
                    best[end], start[end] = best[at] + score, at
        ids: list[int] = []
        end, lost = len(word), ""
        while end or lost:
            piece = word[start[end] : end] if end else ""
            if piece and piece not in numbers:
                lost = piece + lost  # unknown characters in a row are one token
            else:
                if lost:
                    found = _bytes(lost, numbers, fallback)
                    ids += found[::-1] or ([] if unknown is None else [int(unknown)])
                    lost = ""
                if piece:
                    ids.append(numbers[piece])
            end = start[end] if end else 0
        return ids[::-1]

    return tokens
