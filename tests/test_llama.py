"""`examples/llama.tl` on a tiny LLaMA gives llama.cpp's logits, which are stored beside the model.

The model (2 layers, 64 wide, 4 heads over 2 key-value heads, 320 tokens) holds random weights.
llama.cpp rounds activations to 8 bits before a product with quantised weights, which tlc does not,
so those are compared with the same network in float32 on the weights that `gguf` unpacks.
"""

from pathlib import Path

import gguf
import numpy as np
import pytest

import tlc
from tlc import driver
from tlc.convert import convert

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"
EXAMPLE = (ROOT / "examples" / "llama.tl").read_text()
HEADS, KV_HEADS, LAYERS = 4, 2, 2

# Activations in float32 are the references' way; here about 12 values per layer are rounded to
# float16, each by up to 2^-11 of its size (below 4), with signs that mostly cancel:
# sqrt(2 * 12) * 4 * 2^-11 < 0.01
TOLERANCE = 0.01


def example(kind: str) -> str:
    """The example, with the tiny model of that quantisation."""
    return EXAMPLE.replace("model.gguf", str(DATA / f"tiny_llama_{kind}.gguf"))


TEXT = example("f16")


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_logits_are_those_of_llama_cpp(kind: str, device: str) -> None:
    stored = np.load(DATA / f"tiny_llama_{kind}.npz")
    ids, wanted = stored["prompt_ids"].astype(np.int32), stored["logits"]
    model = tlc.compile("llama.tl", text=example(kind), device=device)
    for length in (len(ids), 7, 1):
        found = model.logits(ids[:length]).astype(np.float32)
        np.testing.assert_allclose(found, wanted[:length], rtol=0, atol=TOLERANCE)
        np.testing.assert_array_equal(found.argmax(-1), wanted[:length].argmax(-1))


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_logits_of_a_quantised_model_are_those_of_its_unpacked_weights(
    kind: str, device: str
) -> None:
    ids = prompt()
    wanted = llama(unpacked(kind), ids)
    found = tlc.compile("llama.tl", text=example(kind), device=device).logits(ids)
    np.testing.assert_allclose(found.astype(np.float32), wanted, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(found.argmax(-1), wanted.argmax(-1))


def test_the_network_in_float32_is_that_of_llama_cpp() -> None:
    """It is right to compare with it: on unrounded weights it gives llama.cpp's logits."""
    wanted = np.load(DATA / "tiny_llama_f32.npz")["logits"]
    # sums in another order, of about 200 terms: 2 layers * sqrt(200) * 4 * 2^-24 < 1e-5
    np.testing.assert_allclose(llama(unpacked("f32"), prompt()), wanted, rtol=0, atol=1e-5)


def prompt() -> np.ndarray:
    return np.load(DATA / "tiny_llama_f32.npz")["prompt_ids"].astype(np.int32)


def unpacked(kind: str) -> dict[str, np.ndarray]:
    """The weights as `gguf` unpacks them."""
    reader = gguf.GGUFReader(DATA / f"tiny_llama_{kind}.gguf")
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}


def llama(w: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """LLaMA in float32 (Touvron et al. 2023), with rotary positions of adjacent pairs."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-5)) * w[name]

    def split(x: np.ndarray, heads: int) -> np.ndarray:
        return x.reshape(len(ids), heads, -1).transpose(1, 0, 2)

    def rope(x: np.ndarray) -> np.ndarray:
        size = x.shape[-1]
        angles = np.arange(len(ids))[:, None] * 10000.0 ** (-np.arange(0, size, 2) / size)
        pairs = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)
        return np.stack([pairs.real, pairs.imag], -1).reshape(x.shape).astype(np.float32)

    x = w["token_embd.weight"][ids]
    later = np.triu(np.ones((len(ids), len(ids)), bool), 1)
    for i in range(LAYERS):
        at = f"blk.{i}"
        y = norm(x, f"{at}.attn_norm.weight")
        q = rope(split(y @ w[f"{at}.attn_q.weight"].T, HEADS))
        k = rope(split(y @ w[f"{at}.attn_k.weight"].T, KV_HEADS)).repeat(HEADS // KV_HEADS, 0)
        v = split(y @ w[f"{at}.attn_v.weight"].T, KV_HEADS).repeat(HEADS // KV_HEADS, 0)
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(np.float32(q.shape[-1]))
        scores = np.exp(np.where(later, -np.inf, scores - scores.max(-1, keepdims=True)))
        mixed = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(x.shape)
        x = x + mixed @ w[f"{at}.attn_output.weight"].T
        y = norm(x, f"{at}.ffn_norm.weight")
        gate = y @ w[f"{at}.ffn_gate.weight"].T
        up = y @ w[f"{at}.ffn_up.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[f"{at}.ffn_down.weight"].T
    return norm(x, "output_norm.weight") @ w["output.weight"].T


def test_the_layers_are_one_loop() -> None:
    built = driver.build("llama.tl", text=TEXT)
    steps = built.manifest["entries"]["logits"]["steps"]
    (loop,) = [step for step in steps if step[0] == "loop"]
    tables = {str(m) for s in loop[3] if s[0] == "launch" for m in s[2] if isinstance(m, list)}
    assert len(tables) == 9, "nine weights to a layer, chosen by its number"


def test_a_layer_is_few_launches() -> None:
    """Projections of normalised rows, rotary positions of the keys, attention, its output; a gated
    product of normalised rows, its output. The table of positions is made once, before them all."""
    built = driver.build("llama.tl", text=TEXT)
    steps = built.manifest["entries"]["logits"]["steps"]
    (loop,) = [step for step in steps if step[0] == "loop"]
    assert [step[0] for step in loop[3]] == ["launch"] * 6
    assert [step[0] for step in steps if step is not loop] == ["launch"] * 3


DECODE = """
model = load_model("%s")

fn layer(x: float16[N, D], cache: KVCache, i: int) -> float16[N, D] {
    let y = rms_norm(x, model.blk[i].attn_norm.weight)
    let q = rope(reshape(linear(y, model.blk[i].attn_q.weight), [N, 4, 16]), cache.len())
    let k = rope(reshape(linear(y, model.blk[i].attn_k.weight), [N, 2, 16]), cache.len())
    cache.append(i, k, reshape(linear(y, model.blk[i].attn_v.weight), [N, 2, 16]))
    let mixed = attention(q, cache.get_k(i), cache.get_v(i))
    let h = x + linear(reshape(mixed, [N, D]), model.blk[i].attn_output.weight)
    let z = rms_norm(h, model.blk[i].ffn_norm.weight)
    let gate = silu(linear(z, model.blk[i].ffn_gate.weight))
    h + linear(gate * linear(z, model.blk[i].ffn_up.weight), model.blk[i].ffn_down.weight)
}
main {
    let cache = KVCache::new_f16(2)
    let x = zeros([1, 64])
    while sum(x) < 3 {
        x = layer(x, cache, 0)
    }
    print(x)
}
"""


def test_a_layer_with_a_cache_is_few_launches() -> None:
    """Projections, attention with what is new in the cache, its output, the gated product, its
    output; and the sum of x and its comparison."""
    built = driver.build("decode.tl", text=DECODE % (DATA / "tiny_llama_f16.gguf"))
    steps = built.manifest["entries"]["main"]["steps"]
    (loop,) = [step for step in steps if step[0] == "loop"]
    assert [step[0] for step in loop[3]].count("launch") == 5 + 2


def test_the_model_converted_to_safetensors_gives_the_same(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    convert(str(DATA / "tiny_llama_f16.gguf"), str(path))
    text = TEXT.replace(str(DATA / "tiny_llama_f16.gguf"), str(path))
    ids = np.arange(1, 9, dtype=np.int32)
    before, after = (
        tlc.compile("llama.tl", text=t, device="cpu").logits(ids) for t in (TEXT, text)
    )
    np.testing.assert_array_equal(after, before)
