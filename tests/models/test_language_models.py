"""`examples/llm` reads, says and expects what llama.cpp does, with Gemma 3 and Qwen2.5-Coder.

See language_models.py for the models. Weights of each type are those that llama.cpp has too, but
it rounds what it multiplies with quantised ones to 8 bits; what that does is told from the same
weights unpacked to float32, which it multiplies as they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tlc
from tests.models.language_models import folder, stored_as
from tests.models.nasty_texts import nasty_texts
from tlc.runtime.tokenizer import load_tokenizer

pytestmark = pytest.mark.models

LLM = Path(__file__).parents[2] / "examples" / "llm"
TEXT = (Path(__file__).parent / "lighthouse.txt").read_text()
MODELS = ["gemma3", "qwen2"]
KINDS = [
    "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M",
    "Q6_K",
]  # fmt: skip
PROMPTS = {"gemma3": "The capital of France is", "qwen2": "def fibonacci(n):\n"}
STEPS = 32
CLOSE = 0.005  # of a perplexity
PROGRAM = """
import "language_model.tl"
model = load_model("MODEL")

fn best(ids: int[N], cache: KVCache) -> int {
    argmax(head(model, hidden(model, ids, cache)[-1:, :])[0, :])
}

fn greedy(ids: int[N]) {
    let cache = empty_cache(model)
    let next = best(ids, cache)
    let all = concat(ids, [next], 0)
    let n = 1
    while n < STEPS {
        next = best([next], cache)
        all = concat(all, [next], 0)
        n = n + 1
    }
    all
}

fn at_once(ids: int[N]) {
    logits(model, ids, empty_cache(model))
}
"""


@contextmanager
def llama_cpp(path: Path) -> Iterator[Any]:
    """llama.cpp with a model, which is freed in the end."""
    from tests.models.llama_cpp_reference import LlamaCpp

    reference = LlamaCpp(path)
    try:
        yield reference
    finally:
        reference.close()


def compiled(path: Path) -> Any:
    """The functions of PROGRAM for a model."""
    text = PROGRAM.replace("MODEL", str(path)).replace("STEPS", str(STEPS))
    return tlc.compile(str(LLM / "proof.tl"), text=text, device="cpu")


@pytest.mark.parametrize("name", MODELS)
def test_texts_are_cut_as_by_llama_cpp(name: str) -> None:
    path = stored_as(name, "Q4_K_M")
    tokenizer = load_tokenizer(str(path))
    texts = nasty_texts()
    assert len(set(texts)) == 200
    with llama_cpp(path) as reference:
        differ = [text for text in texts if tokenizer.encode(text) != reference.tokens(text)]
    assert differ == []


@pytest.mark.parametrize("kind", ["F16", "Q8_0"])
@pytest.mark.parametrize("name", MODELS)
def test_the_most_likely_tokens_are_those_of_llama_cpp(name: str, kind: str) -> None:
    path = stored_as(name, kind)
    with llama_cpp(path) as reference:
        prompt = reference.tokens(PROMPTS[name])
        wanted = reference.greedy(prompt, STEPS)
        found = compiled(path).greedy(np.array(prompt, np.int32)).tolist()
        assert found[: len(prompt)] == prompt
        found = found[len(prompt) :]
        same = next((n for n in range(STEPS) if found[n] != wanted[n]), STEPS)
        rows = reference.logits([*prompt, *found[:-1]])[len(prompt) - 1 :]
    if same < STEPS:
        exact = unpacked_logits(path, [*prompt, *found[:-1]])[len(prompt) - 1 :]
        for n in range(same, STEPS):
            ours, theirs = found[n], int(rows[n].argmax())
            if ours != theirs:
                print(
                    f"{name} {kind}, token {n}: logits of llama.cpp {rows[n][theirs]:.4f}"
                    f" of {theirs} and {rows[n][ours]:.4f} of {ours}, ours; unpacked weights"
                    f" {exact[n][theirs]:.4f} and {exact[n][ours]:.4f}"
                )
                # ours rounds what runs through the layers to float16, 2^-11 of its size
                best = exact[n].max()
                assert best - exact[n][ours] <= 2.0**-11 * abs(best), "no tie"


def unpacked_logits(path: Path, ids: list[int]) -> np.ndarray:
    """llama.cpp's logits on the same weights in float32."""
    from tests.models.llama_cpp_reference import quantise

    exact = folder() / "unpacked.gguf"
    quantise(path, exact, "F32")
    try:
        with llama_cpp(exact) as reference:
            return reference.logits(ids)
    finally:
        exact.unlink()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_a_text_is_as_likely_as_to_llama_cpp(name: str, kind: str) -> None:
    path = stored_as(name, kind)
    with llama_cpp(path) as reference:
        ids = reference.tokens(TEXT)
        theirs = perplexity(reference.logits(ids), ids)
    ours = perplexity(compiled(path).at_once(np.array(ids, np.int32)), ids)
    print(f"{name} {kind}: {ours:.3f}, llama.cpp {theirs:.3f}, {ours / theirs - 1:+.2%}")
    if abs(ours / theirs - 1) > CLOSE:
        exact = perplexity(unpacked_logits(path, ids), ids)
        print(f"    llama.cpp on unpacked weights {exact:.3f}, {ours / exact - 1:+.2%}")
        assert abs(ours / exact - 1) <= CLOSE, "it is not llama.cpp's rounding"


def perplexity(logits: np.ndarray, ids: list[int]) -> float:
    """e to the mean of -log(probability) of each token behind those before it."""
    total = 0.0
    for row, token in zip(logits[:-1], ids[1:], strict=True):
        row = row.astype(np.float64)
        total += np.log(np.exp(row - row.max()).sum()) + row.max() - row[token]
    return float(np.exp(total / (len(ids) - 1)))
