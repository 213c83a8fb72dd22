"""Tokenizers from the vocabulary of a GGUF file.

The expected tokens follow by hand from the pieces of small vocabularies, from their scores or the
order of their merges.
"""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlc.runtime.errors import RunError
from tlc.runtime.tokenizer import load_tokenizer
from tlc.runtime.tokenizer.gguf import from_metadata
from tlc.runtime.tokenizer.tokenizer import Stream, Tokenizer

TINY = Path(__file__).parent.parent / "data" / "tiny_llama_f16.gguf"
NASTY = [
    "",
    " ",
    "  leading and trailing  ",
    "tabs\tand\r\nlines\n\n\n",
    "naïve café — Zürich ß",
    "日本語のテキスト",
    "a🦙b👩\u200d👩\u200d👧c",
    "\u0000\u001f\u007f\u2028\ufeff",
    "don't DON'T we'LL 12345.678 x_y",
    "a" * 300,
]


def tokenizer(**keys: Any) -> Tokenizer:
    metadata = {f"tokenizer.ggml.{key}": value for key, value in keys.items() if value is not None}
    return from_metadata("m.gguf", metadata)


def pieces(words: list[str], **more: Any) -> Tokenizer:
    """A vocabulary like LLaMA's: `<unk>`, `<s>`, `</s>`, all bytes, then words, the best first."""
    given: dict[str, Any] = {
        "model": "llama",
        "tokens": ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *words],
        "scores": [0.0] * 259 + [-float(at) for at in range(len(words))],
        "token_type": [2, 3, 3] + [6] * 256 + [1] * len(words),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
    }
    return tokenizer(**given | more)


def byte_letters() -> list[str]:
    """GPT-2's letters for bytes: printed ones are themselves, the others follow from 256 on."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(b if b in shown else 256 + hidden.index(b)) for b in range(256)]


def byte_pairs(merges: list[str], **more: Any) -> Tokenizer:
    """A vocabulary like GPT-2's: all bytes, what merges make of them, and a special token."""
    tokens = [*byte_letters(), *(m.replace(" ", "") for m in merges), "<|end|>"]
    given: dict[str, Any] = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": tokens,
        "merges": merges,
        "token_type": [1] * (len(tokens) - 1) + [3],
        "eos_token_id": len(tokens) - 1,
    }
    return tokenizer(**given | more)


def cut(found: Tokenizer, text: str) -> list[str]:
    """A text in tokens, without the ones around it."""
    return [found.piece(token).decode() for token in found.encode(text, around=False)]


KINDS = {
    "pieces": pieces(["▁", "▁t", "he", "▁the", "th"]),
    "pieces without a space in front": pieces(["▁", "he"], add_space_prefix=False),
    **{
        pre: byte_pairs(["t h", "th e", "Ġ the", "Ã ©", "1 2"], pre=pre)
        for pre in (
            "default",
            "gpt-2",
            "llama-bpe",
            "qwen2",
            "falcon",
            "smollm",
            "gpt-4o",
            "tekken",
        )
    },
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", NASTY)
def test_decoding_gives_the_text_back(kind: str, text: str) -> None:
    assert KINDS[kind].decode(KINDS[kind].encode(text)) == text


@settings(max_examples=100, deadline=None)
@given(st.text().filter(lambda text: not {"\u2581", "<"} & set(text)))
def test_any_text_comes_back_token_by_token(text: str) -> None:
    """Beside what stands for a space, and names of control tokens (`<s>`), which say nothing."""
    for kind in ("pieces without a space in front", "gpt-2", "llama-bpe"):
        stream = Stream(KINDS[kind])
        assert "".join(map(stream.feed, KINDS[kind].encode(text))) == text


def test_what_ends_a_turn_is_special_whatever_its_type() -> None:
    found = pieces(["<end_of_turn>", "</s>x"], token_type=None)
    at = found.vocab_size - 2
    assert found.encode("<end_of_turn>", around=False) == [at]
    assert found.decode([at]) == ""


def test_a_stream_gives_whole_characters_only() -> None:
    found = byte_pairs([])
    stream = Stream(found)
    assert [stream.feed(token) for token in found.encode("é🦙")] == ["", "é", "", "", "", "🦙"]
    assert [Stream(found).feed(token) for token in (0xFF, 0x41)] == ["\ufffd", "A"]


def test_pieces_are_merged_by_their_score() -> None:
    assert cut(pieces(["▁", "a", "b", "c", "bc", "ab"]), "abc") == [" ", "a", "bc"]
    assert cut(pieces(["▁", "a", "b", "c", "ab", "bc"]), "abc") == [" ", "ab", "c"]
    # of equal pairs the leftmost is first
    assert cut(pieces(["▁", "a", "aa"]), "aaa") == [" ", "aa", "a"]


def test_a_space_stands_before_a_text_and_behind_special_tokens() -> None:
    words = ["▁", "a", "▁a"]
    assert cut(pieces(words), "a a") == [" a", " a"]
    assert cut(pieces(words), "a</s>a") == [" a", "", " a"]
    assert cut(pieces(words, add_space_prefix=False), "a</s>a") == ["a", "", "a"]


def test_characters_without_a_piece_are_bytes() -> None:
    found = pieces(["▁"], add_space_prefix=False)
    assert found.encode("é") == [1, 3 + 0xC3, 3 + 0xA9]
    few = tokenizer(model="llama", tokens=["<unk>", "a"], scores=[0.0, 0.0], add_space_prefix=False)
    with pytest.raises(RunError, match="no token for 'b'"):
        few.encode("ab")


def test_byte_pairs_are_merged_in_their_order() -> None:
    assert cut(byte_pairs(["b c", "a b"]), "abc") == ["a", "bc"]
    assert cut(byte_pairs(["a b", "b c"]), "abc") == ["ab", "c"]


def test_words_are_cut_as_the_model_names_it() -> None:
    digits = ["1 2", "12 3", "123 4", "Ġ 1"]
    text = "1234 12"
    assert cut(byte_pairs(digits, pre="gpt-2"), text) == ["1234", " ", "12"]
    assert cut(byte_pairs(digits, pre="llama-bpe"), text) == ["123", "4", " ", "12"]
    assert cut(byte_pairs(digits, pre="qwen2"), text) == ["1", "2", "3", "4", " ", "1", "2"]
    letters = ["' l", "' L", "'l l", "'L L"]
    assert cut(byte_pairs(letters, pre="gpt-2"), "we'LL we'll")[2:5] == ["'", "L", "L"]
    assert cut(byte_pairs(letters, pre="llama-bpe"), "we'LL we'll")[2:3] == ["'LL"]
    # a word in upper case that goes on in lower case is two words of GPT-4o
    assert cut(byte_pairs(["o B", "B a"], pre="llama-bpe"), "FooBar")[2:] == ["oB", "a", "r"]
    assert cut(byte_pairs(["o B", "B a"], pre="gpt-4o"), "FooBar")[2:] == ["o", "Ba", "r"]


def test_a_whole_word_of_the_vocabulary_needs_no_merges() -> None:
    tokens = [*byte_letters(), "abc"]
    for pre, wanted in (("llama-bpe", ["abc"]), ("qwen2", ["a", "b", "c"])):
        assert cut(tokenizer(model="gpt2", pre=pre, tokens=tokens, merges=["x y"]), "abc") == wanted


def test_special_tokens_are_found_first_the_longest_at_each_place() -> None:
    tokens = [*byte_letters(), "<a>", "<a><b>", "ab"]
    found = tokenizer(model="gpt2", tokens=tokens, merges=["x y"], token_type=[1] * 256 + [3, 3, 4])
    assert found.encode("<a><a><b>xab") == [256, 257, ord("x"), 258]
    assert found.decode([256, ord("x"), 258]) == "xab", "control tokens are no text"


def test_what_stands_around_a_text() -> None:
    assert pieces(["▁"]).encode("") == [1]
    assert pieces(["▁"], add_bos_token=False, add_eos_token=True).encode("") == [2]
    assert byte_pairs([], bos_token_id=256).encode("") == []
    assert byte_pairs([], bos_token_id=256, pre="llama-bpe").encode("") == [256]
    assert (pieces([]).bos, pieces([]).eos, pieces([]).vocab_size) == (1, 2, 259)
    assert (byte_pairs([]).bos, byte_pairs([]).eos) == (-1, 256)


def test_the_tiny_llama_has_a_tokenizer() -> None:
    found = load_tokenizer(str(TINY))
    assert found.vocab_size == 320
    # `▁h` is the piece 259 + 27 + 7: the letters follow the bytes and `▁`, then those with `▁`
    assert found.encode("hi") == [1, 293, 260 + 8]
    assert found.decode(found.encode("hi")) == "hi"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "holds no vocabulary"),
        ({"tokens": ["a"]}, "there is no text `tokenizer.ggml.model`"),
        ({"tokens": ["a"], "model": "bert"}, "of the kind `bert` are not supported"),
        ({"tokens": ["a"], "model": 3}, "`tokenizer.ggml.model` is no text"),
        ({"tokens": [1], "model": "llama"}, "no list `tokenizer.ggml.tokens`"),
        ({"tokens": ["a"], "model": "llama"}, "no score for each token"),
        ({"tokens": ["a"], "token_type": [1, 1]}, "2 types for 1 tokens"),
        ({"tokens": ["a"], "model": "gpt2", "pre": "other"}, "pre-tokenizer `other` is not known"),
        ({"tokens": ["a"], "model": "gpt2"}, "no list `tokenizer.ggml.merges`"),
        (
            {"tokens": ["a"], "model": "llama", "scores": [0.0], "eos_token_id": 7},
            "`tokenizer.ggml.eos_token_id` is 7, of 1 tokens",
        ),
    ],
)
def test_what_is_wrong_with_a_vocabulary(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message) as caught:
        tokenizer(**keys)
    assert caught.value.code == "E0607"


@pytest.mark.parametrize("token", [-1, 259])
def test_a_token_that_there_is_not(token: int) -> None:
    with pytest.raises(RunError, match=r"there is no token .* the vocabulary has 259"):
        pieces([]).decode([token])
