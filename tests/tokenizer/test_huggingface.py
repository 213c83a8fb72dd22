"""Tokenizers from a `tokenizer.json`; expected tokens follow by hand from small vocabularies."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tlc
from tests.tokenizer.test_gguf import byte_letters
from tlc.runtime.errors import RunError
from tlc.runtime.model_file import open_model
from tlc.runtime.tokenizer import (
    about,
    embedded,
    embedded_metadata,
    from_embedded,
    load_tokenizer,
)
from tlc.runtime.tokenizer.huggingface import from_json
from tlc.runtime.tokenizer.steps import cutter, normaliser
from tlc.runtime.tokenizer.tokenizer import Tokenizer
from tlc.serving.chat_template import chat_template

WORDS = ["[UNK]", "[CLS]", "[SEP]", "un", "##able", "##a", "able", "the", ",", "e"]


def added(*names: str, vocab: dict[str, int]) -> list[dict[str, Any]]:
    return [{"id": vocab[name], "content": name, "special": True} for name in names]


def record(kind: str) -> dict[str, Any]:
    """A `tokenizer.json` of each kind, as the tokenizers library writes it."""
    if kind == "WordPiece":
        vocab = {word: at for at, word in enumerate(WORDS)}
        special = {"[CLS]": {"ids": [1]}, "[SEP]": {"ids": [2]}}
        single = [
            {"SpecialToken": {"id": "[CLS]"}},
            {"Sequence": {"id": "A"}},
            {"SpecialToken": {"id": "[SEP]"}},
        ]
        return {
            "added_tokens": added("[UNK]", "[CLS]", "[SEP]", vocab=vocab),
            "normalizer": {"type": "BertNormalizer", "lowercase": True},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing", "single": single, "special_tokens": special,
            },
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": vocab},
        }  # fmt: skip
    if kind == "Unigram":
        pieces = [("<unk>", 0.0), ("▁", -2.0), ("▁a", -1.5), ("a", -2.5), ("b", -3.0), ("ab", -3.5)]
        return {
            "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
            "decoder": {"type": "Metaspace"},
            "model": {"type": "Unigram", "unk_id": 0, "vocab": pieces},
        }
    merges = ["t h", "th e", "Ġ the"]
    tokens = [*byte_letters(), *(m.replace(" ", "") for m in merges), "<|endoftext|>"]
    vocab = {token: at for at, token in enumerate(tokens)}
    return {
        "added_tokens": added("<|endoftext|>", vocab=vocab),
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    }


def tokenizer(kind: str, **model: Any) -> Tokenizer:
    made = record(kind)
    made["model"] |= model
    return from_json("tokenizer.json", json.dumps(made).encode())


def test_word_pieces_are_the_longest_at_each_place() -> None:
    found = tokenizer("WordPiece")
    assert found.encode("unable, THE é") == [1, 3, 4, 8, 7, 9, 2]
    assert found.encode("unx the", around=False) == [0, 7], "a word that does not fit is unknown"
    assert found.decode([1, 3, 4, 8, 7, 2]) == "unable, the"
    assert (found.bos, found.eos, found.vocab_size) == (1, 2, len(WORDS))


def test_unigrams_have_the_greatest_sum_of_scores() -> None:
    found = tokenizer("Unigram")
    # ▁a + b is -4.5, ▁ + ab is -5.5, ▁ + a + b is -7.5
    assert found.encode("ab") == [2, 4]
    assert found.encode("b xyb") == [1, 4, 1, 0, 4], "unknown characters in a row are one token"
    assert found.decode([2, 4, 2]) == "ab a"


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_byte_pairs_give_any_text_back(text: str) -> None:
    found = tokenizer("BPE")
    assert found.decode(found.encode(text)) == text.replace("<|endoftext|>", "")


def test_byte_pairs_of_both_spellings() -> None:
    wanted = [256 + 1, 256 + 2, 259]
    assert tokenizer("BPE").encode("the the<|endoftext|>") == wanted
    pairs = [["t", "h"], ["th", "e"], ["Ġ", "the"]]
    assert tokenizer("BPE", merges=pairs).encode("the the<|endoftext|>") == wanted
    assert tokenizer("BPE").eos == 259


def test_bytes_stand_for_what_the_vocabulary_lacks() -> None:
    vocab = {"<unk>": 0, "▁": 1, "a": 2, "▁a": 3, "<0xC3>": 4, "<0xA9>": 5}
    made = {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Strip"}]},
        "model": {
            "type": "BPE", "vocab": vocab, "merges": ["▁ a"], "byte_fallback": True,
            "unk_token": "<unk>", "fuse_unk": True,
        },
    }  # fmt: skip
    found = from_json("tokenizer.json", json.dumps(made).encode())
    assert found.encode("a é aбб") == [3, 1, 4, 5, 3, 0]
    assert found.decode([3, 1, 4, 5]) == "a é"


@pytest.mark.parametrize(
    ("step", "text", "pieces"),
    [
        ({"type": "Whitespace"}, "don't  a_b!?", ["don", "'", "t", "a_b", "!?"]),
        ({"type": "WhitespaceSplit"}, " a  b ", ["a", "b"]),
        ({"type": "Digits", "individual_digits": True}, "a12", ["a", "1", "2"]),
        ({"type": "Digits"}, "a12", ["a", "12"]),
        ({"type": "Punctuation"}, "a.b", ["a", ".", "b"]),
        ({"type": "Metaspace", "prepend_scheme": "never"}, "a b", ["a", "▁b"]),
        ({"type": "Metaspace"}, "a  b", ["▁a", "▁", "▁b"]),
        ({"type": "Split", "pattern": {"String": "-"}, "behavior": "Removed"}, "a-b", ["a", "b"]),
        (
            {"type": "Split", "pattern": {"Regex": r"\p{N}"}, "behavior": "MergedWithPrevious"},
            "a1b2c",
            ["a1", "b2", "c"],
        ),
    ],
)
def test_how_texts_are_cut(step: dict[str, Any], text: str, pieces: list[str]) -> None:
    assert cutter(step)(text, True) == pieces


@pytest.mark.parametrize(
    ("step", "text", "wanted"),
    [
        ({"type": "NFKC"}, "ﬁ", "fi"),
        ({"type": "Lowercase"}, "ÀB", "àb"),
        ({"type": "StripAccents"}, "e\u0301", "e"),
        ({"type": "Strip"}, " a ", "a"),
        ({"type": "BertNormalizer"}, "Él\u0000\t中", "el  中 "),
        ({"type": "BertNormalizer", "lowercase": False}, "É", "É"),
    ],
)
def test_how_texts_are_normalised(step: dict[str, Any], text: str, wanted: str) -> None:
    assert normaliser(step)(text) == wanted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "it is no tokenizer.json"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}}}, "the model WordLevel"),
        ({"normalizer": {"type": "Nmt"}}, "the normaliser Nmt"),
        ({"pre_tokenizer": {"type": "UnicodeScripts"}}, "the pre-tokenizer UnicodeScripts"),
        ({"post_processor": {"type": "Other"}}, "the post-processor Other"),
        (
            {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Removed"}},
            "the pattern '('",
        ),
        ({"model": {"type": "BPE", "vocab": {"a": 9**9}, "merges": []}}, "are not numbered"),
        ({"model": {"type": "BPE"}}, "a damaged tokenizer"),
        ({"added_tokens": [{"id": -1, "content": "x"}]}, "beyond the vocabulary"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.1}}, "dropout"),
    ],
)
def test_what_is_not_supported_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError) as caught:
        from_json("tokenizer.json", json.dumps(record("BPE") | change).encode())
    assert caught.value.code == "E0607"
    assert message in caught.value.message


def test_a_file_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(RunError, match="a damaged tokenizer: its JSON is broken"):
        load_tokenizer(str(tmp_path / "tokenizer.json"))


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_program_reads_one(
    tmp_path: Path, device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(record("BPE")))
    config = {"bos_token": {"content": "<|endoftext|>"}, "eos_token": "<|endoftext|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    text = 'tok = load_tokenizer("tokenizer.json")\nprint(tok.bos, tokenize(tok, "the the"))\n'
    tlc.compile(str(tmp_path / "p.tl"), text=text, device=device).main()
    assert capsys.readouterr().out == "259 [257, 258]\n"


def test_an_artifact_holds_it_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(record("WordPiece")))
    found = from_embedded(embedded(open_model(str(path))))
    assert found.encode("unable") == load_tokenizer(str(path)).encode("unable") == [1, 3, 4, 2]


CHAT = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"


@pytest.mark.parametrize(
    ("config", "jinja", "wanted"),
    [
        ({"chat_template": CHAT}, None, CHAT),
        ({"chat_template": CHAT}, "{{ 1 }}", "{{ 1 }}"),
        ({}, CHAT, CHAT),
        ({"chat_template": [{"name": "tools", "template": "t"},
                            {"name": "default", "template": CHAT}]}, None, CHAT),
        ({"chat_template": [{"name": "tools", "template": "t"}]}, None, None),
        ({"chat_template": ["x"]}, None, None),
        ({"chat_template": 3}, None, None),
        ({}, None, None),
        (None, None, None),
    ],
)  # fmt: skip
def test_the_chat_template_of_a_folder(
    tmp_path: Path, config: dict[str, Any] | None, jinja: str | None, wanted: str | None
) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(record("BPE")))
    if config is not None:
        config |= {"eos_token": {"content": "<|endoftext|>"}}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    if jinja is not None:
        (tmp_path / "chat_template.jinja").write_text(jinja)
    file = open_model(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(str(tmp_path / "tokenizer.json"))
    inside = embedded(file)
    again = from_embedded(inside)
    assert (again.eos, again.encode(" the")) == (tokenizer.eos, tokenizer.encode(" the"))
    for metadata in (about(file), embedded_metadata(inside)):
        assert metadata.get("tokenizer.chat_template") == wanted
        if wanted == CHAT:
            write = chat_template(metadata, tokenizer)
            assert write([{"role": "user", "content": "a"}]) == "a<|endoftext|>"
