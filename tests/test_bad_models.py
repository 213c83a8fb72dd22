"""Language models whose files do not fit together, and prompts and tokens that do not fit them."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tlc
from tests.serving import ROOT
from tests.tiny_llama import MODEL, written
from tlc.cli import run
from tlc.runtime.errors import RunError
from tlc.runtime.tokenizer import load_tokenizer


def generated(folder: Path, *given: str, example: str = "generate", **change: Any) -> str:
    """What a run of an example prints and says, on the tiny model with a change."""
    model = written(folder / "model.gguf", **change) if change else MODEL
    for path in (ROOT / "examples" / "llm").glob("*.tl"):
        text = path.read_text().replace('"model.gguf"', f'"{model}"')
        (folder / path.name).write_text(text)
    command = ["run", str(folder / f"{example}.tl"), "--device", "reference", *given]
    said, problem = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(problem):
        assert run([*command, "--temperature", "0"]) in (0, 1)
    return said.getvalue() + problem.getvalue()


# ---- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "message"),
    [
        *(
            (f"llama.{name}", f"model.gguf has no metadata `llama.{name}`")
            for name in (
                "block_count",
                "attention.head_count",
                "attention.head_count_kv",
                "attention.layer_norm_rms_epsilon",
            )
        ),
        ("tokenizer.ggml.model", "model.gguf: its vocabulary is not usable: there is no text"),
        ("tokenizer.ggml.tokens", "model.gguf holds no vocabulary"),
        ("tokenizer.ggml.scores", "model.gguf: its vocabulary is not usable: it has no score"),
        ("blk.1.attn_q.weight", "model.gguf has no tensor `blk.1.attn_q`"),
        ("output_norm.weight", "model.gguf has no tensor `output_norm`"),
    ],
)
def test_what_is_missing_is_named_with_its_file(tmp_path: Path, key: str, message: str) -> None:
    said = generated(tmp_path, without=[key])
    assert message in said
    assert ".tl:" in said, "and where it is asked for"


def test_what_has_a_usual_value_may_be_missing(tmp_path: Path) -> None:
    given = ("--prompt", "we said", "--max-tokens", "4")
    (tmp_path / "whole").mkdir()
    usual = ["llama.context_length", "llama.rope.freq_base", "llama.vocab_size"]
    usual += [f"tokenizer.ggml.{name}" for name in ("pre", "token_type", "eos_token_id")]
    found = generated(tmp_path, *given, without=usual)
    assert found == generated(tmp_path / "whole", *given)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("llama.attention.head_count", 0, "division by zero"),
        ("llama.attention.head_count", 3, "a head is turned in pairs, and its size is 21"),
        ("llama.attention.head_count_kv", 0, "4 heads of queries do not share 0 heads of keys"),
        ("llama.attention.head_count_kv", 3, "4 heads of queries do not share 3 heads of keys"),
        ("llama.block_count", 3, "model.gguf has no tensor `blk.2`"),
        ("llama.block_count", 4_000_000_000, "a cache has a number of layers known at build"),
        ("llama.rope.freq_base", 0.0, "the base of rotary positions is positive"),
        ("tokenizer.ggml.bos_token_id", 320, "`tokenizer.ggml.bos_token_id` is 320, of 320 tokens"),
        ("tokenizer.ggml.model", "none", "tokenizers of the kind `none` are not supported"),
    ],
)
def test_numbers_of_a_file_that_cannot_be(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    assert message in generated(tmp_path, metadata={key: value})


def test_a_vocabulary_larger_than_the_embeddings_is_an_error(tmp_path: Path) -> None:
    message = "language_model.tl:11: there are 330 tokens, and 320 have an embedding"
    assert message in generated(tmp_path, tokens=330)
    (tmp_path / "chat").mkdir()
    template = "{{ messages[0].content }}"
    said = generated(
        tmp_path / "chat", "--prompt", "a", example="chat", tokens=330, template=template
    )
    assert message in said


def test_of_a_smaller_vocabulary_only_a_token_that_is_chosen_matters(tmp_path: Path) -> None:
    """Files pad their embeddings; the rows behind the last token are never chosen by a model that
    was trained so."""
    assert generated(tmp_path, "--max-tokens", "2", tokens=319).startswith("Once upon a time")
    said = generated(tmp_path, "--prompt", "we said", "--max-tokens", "20", tokens=270)
    assert "error[E0505]: generate.tl:25: there is no token 296: the vocabulary has 270" in said


# ---- prompts -------------------------------------------------------------------------------------


def test_a_prompt_longer_than_the_model_reads_is_an_error(tmp_path: Path) -> None:
    said = generated(tmp_path, "--prompt", "x " * 150)
    assert "the prompt has 152 tokens, and the model reads 128 with its answer" in said


def test_an_answer_ends_where_the_context_does(tmp_path: Path) -> None:
    given = ("--prompt", "we said", "--max-tokens", "100000", "--stats")
    model = written(tmp_path / "model.gguf", metadata={"llama.context_length": 20})
    prompt = len(load_tokenizer(str(model)).encode("we said"))
    said = generated(tmp_path, *given, metadata={"llama.context_length": 20})
    assert f"prefill  {prompt} tokens" in said
    assert f"decode   {20 - prompt - 1} tokens" in said, "the first is told by the prompt"


def test_a_prompt_without_tokens_is_an_error(tmp_path: Path) -> None:
    said = generated(tmp_path, "--arg", "prompt=", without=["tokenizer.ggml.bos_token_id"])
    assert "generate.tl:17: the prompt is empty" in said


# ---- tokens --------------------------------------------------------------------------------------

ROWS = {
    "given": "sum(model.token_embd.weight[ids, :], 1)",
    "of an array": "let all = [1, 5, ids[0]]\n    sum(model.token_embd.weight[all, :], 1)",
    "one": "sum(model.token_embd.weight[ids[0], :])",
    "in a loop": """let total = tensor([0.0])
    let next = ids[0] - 100
    while sum(total) < 2 {
        total = total + 1 + sum(model.token_embd.weight[[next], :]) * 0
        next = next + 100
    }
    total""",
}


# numbers of the host, which a loop counts on, have a check of their own
BEYOND = r"p\.tl:\d: an index is beyond the|a size comes out as -"


@pytest.mark.parametrize("device", ["cpu", "reference", "emulator"])
@pytest.mark.parametrize("body", ROWS.values(), ids=ROWS.keys())
def test_a_token_without_an_embedding_stops_the_run(body: str, device: str) -> None:
    text = f'model = load_model("{MODEL}")\nfn f(ids: int[N]) {{\n    {body}\n}}\n'
    program: Any = tlc.compile("p.tl", text=text, device=device)
    program.f(np.array([319], np.int32))
    for token in (320, 2**31 - 1, -(2**30)):
        with pytest.raises(RunError, match=BEYOND) as found:
            program.f(np.array([token], np.int32))
        assert found.value.code == "E0505"


def test_a_constant_token_without_an_embedding_does_too() -> None:
    text = f'model = load_model("{MODEL}")\nprint(model.token_embd.weight[[320], :])\n'
    with pytest.raises(RunError, match=r"p\.tl:2: an index is beyond the"):
        tlc.compile("p.tl", text=text, device="cpu").main()
