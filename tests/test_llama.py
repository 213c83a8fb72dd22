"""`examples/llama.tl` on a tiny LLaMA gives llama.cpp's logits, which are stored beside the model.

The model (2 layers, 64 wide, 4 heads over 2 key-value heads, 320 tokens) holds random weights.
"""

from pathlib import Path

import numpy as np
import pytest

import tlc
from tlc import driver
from tlc.convert import convert

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"
TEXT = (
    (ROOT / "examples" / "llama.tl")
    .read_text()
    .replace("model.gguf", str(DATA / "tiny_llama_f16.gguf"))
)


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_logits_are_those_of_llama_cpp(device: str) -> None:
    stored = np.load(DATA / "tiny_llama_f16.npz")
    ids, wanted = stored["prompt_ids"].astype(np.int32), stored["logits"]
    model = tlc.compile("llama.tl", text=TEXT, device=device)
    for length in (len(ids), 7, 1):
        found = model.logits(ids[:length]).astype(np.float32)
        # llama.cpp keeps activations in float32; here about 12 values per layer are rounded to
        # float16, each by up to 2^-11 of its size (below 4), with signs that mostly cancel:
        # sqrt(2 * 12) * 4 * 2^-11 < 0.01
        np.testing.assert_allclose(found, wanted[:length], rtol=0, atol=0.01)
        np.testing.assert_array_equal(found.argmax(-1), wanted[:length].argmax(-1))


def test_the_layers_are_one_loop() -> None:
    built = driver.build("llama.tl", text=TEXT)
    steps = built.manifest["entries"]["logits"]["steps"]
    (loop,) = [step for step in steps if step[0] == "loop"]
    tables = {str(m) for s in loop[3] if s[0] == "launch" for m in s[2] if isinstance(m, list)}
    assert len(tables) == 9, "nine weights to a layer, chosen by its number"


def test_the_model_converted_to_safetensors_gives_the_same(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    convert(str(DATA / "tiny_llama_f16.gguf"), str(path))
    text = TEXT.replace(str(DATA / "tiny_llama_f16.gguf"), str(path))
    ids = np.arange(1, 9, dtype=np.int32)
    before, after = (
        tlc.compile("llama.tl", text=t, device="cpu").logits(ids) for t in (TEXT, text)
    )
    np.testing.assert_array_equal(after, before)
