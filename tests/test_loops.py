"""Loops stay loops: one body for all layers of a model, its weights chosen by the counter."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import tlc
from tlc import driver

LAYERS, WIDTH = 5, 64
PROGRAM = """
let model = load_model("{path}")
fn layer(x: float16[N, D], m: Model, i: int) -> float16[N, D] {{
    let h = rms_norm(x, m.blk[i].norm.weight)
    x + relu(linear(h, m.blk[i].ffn.weight))
}}
fn forward(x: float16[N, {width}]) -> float16[N, {width}] {{
    for i in range(model.metadata["llama.block_count"]) {{ x = layer(x, model, i) }}
    x
}}
"""


def model_file(
    path: Path, kind: str, odd: int | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """A model of equal layers, or one whose layer `odd` is stored as F16; its numbers."""
    rng = np.random.default_rng(3)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", LAYERS)
    numbers = []
    for at in range(LAYERS):
        type = gguf.GGMLQuantizationType["F16" if at == odd else kind]
        weight = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 8
        stored = gguf.quants.quantize(weight, type)
        norm = rng.uniform(0.5, 1.5, WIDTH).astype(np.float32)
        writer.add_tensor(f"blk.{at}.ffn.weight", stored, raw_dtype=type)
        writer.add_tensor(f"blk.{at}.norm.weight", norm)
        numbers.append((gguf.quants.dequantize(stored, type).astype(np.float16), norm))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return numbers


def expected(x: np.ndarray, numbers: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The layers in float64, rounded to float16 where a kernel stores."""
    for weight, norm in numbers:
        wide = x.astype(np.float64)
        scale = 1 / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-6)
        h = (wide * scale * norm.astype(np.float16)).astype(np.float16)
        x = (wide + np.maximum(h.astype(np.float64) @ weight.T.astype(np.float64), 0)).astype(
            np.float16
        )
    return x


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_0"])
def test_layers_run_as_one_loop(tmp_path: Path, kind: str, device: str) -> None:
    numbers = model_file(tmp_path / "m.gguf", kind)
    text = PROGRAM.format(path=tmp_path / "m.gguf", width=WIDTH)
    model = tlc.compile("layers.tl", text=text, device=device)
    for batch in (1, 3, 17):
        x = np.random.default_rng(batch).standard_normal((batch, WIDTH)).astype(np.float16)
        # both round at the same places; a product may land on the other side of a tie: one unit
        # of float16 (2^-10 relative) in a layer, carried on by the layers behind it
        np.testing.assert_allclose(
            model.forward(x).astype(np.float64),
            expected(x, numbers).astype(np.float64),
            rtol=LAYERS * 2.0**-10,
            atol=LAYERS * 2.0**-10,
        )


def test_the_build_holds_one_body_with_a_table_of_weights(tmp_path: Path) -> None:
    model_file(tmp_path / "m.gguf", "Q8_0")
    built = driver.build("layers.tl", text=PROGRAM.format(path=tmp_path / "m.gguf", width=WIDTH))
    steps = built.manifest["entries"]["forward"]["steps"]
    (loop,) = [step for step in steps if step[0] == "loop"]
    launches = [step for step in loop[3] if step[0] == "launch"]
    assert len(launches) == 2, "rms_norm, and the product that adds to the carried value in place"
    tables = [m for step in launches for m in step[2] if isinstance(m, list)]
    assert [len(names) for names, _ in tables] == [LAYERS, LAYERS]


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_layers_that_are_stored_differently_are_followed_one_by_one(
    tmp_path: Path, device: str
) -> None:
    numbers = model_file(tmp_path / "m.gguf", "Q8_0", odd=2)
    text = PROGRAM.format(path=tmp_path / "m.gguf", width=WIDTH)
    built = driver.build("layers.tl", text=text)
    assert all(step[0] == "launch" for step in built.manifest["entries"]["forward"]["steps"])
    x = np.random.default_rng(0).standard_normal((2, WIDTH)).astype(np.float16)
    found = tlc.compile("layers.tl", text=text, device=device).forward(x)
    tolerance = LAYERS * 2.0**-10  # as above
    np.testing.assert_allclose(
        found.astype(np.float64), expected(x, numbers), rtol=tolerance, atol=tolerance
    )


GROWN = """
fn chat(x: float16[1, 2], turns: int32[1]) -> float16[?, 2] {
    let cache = zeros([0, 2])
    let t = 0
    while t < turns[0] {
        let n = tensor([0.0])
        while sum(n) < 3 {
            cache = concat(cache, x * (t + 1), 0)
            n = n + 1
        }
        if t > 1 { cache = concat(cache, zeros([1, 2]), 0) }
        cache = concat(concat(cache, x, 0), x * 9, 0)
        t = t + 1
    }
    cache
}
"""


def sources(steps: list[Any], kernels: list[dict[str, Any]]) -> Iterator[str]:
    """What the launches of steps compute, those inside of loops and branches too."""
    for step in steps:
        if step[0] == "launch":
            yield kernels[step[1]["cpu"][0][1]]["source"]
        for inner in step[3:] if step[0] in ("loop", "if") else ():
            yield from sources(inner, kernels)


def test_what_only_grows_is_never_copied_in_loops_and_branches() -> None:
    manifest = driver.build("chat.tl", text=GROWN).manifest
    steps, kernels = manifest["entries"]["chat"]["steps"], manifest["profiles"]["cpu"]["kernels"]
    (loop,) = [step for step in steps if step[0] == "loop"]
    found = list(sources(loop[3], kernels))
    assert sum("concat" in source for source in found) == 4
    # the counter of the inner loop begins anew in each pass of the outer one; nothing else does
    assert [source for source in found if source.endswith("copy")] == ["chat.tl:7 copy"]


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_what_grows_in_loops_and_branches_holds_its_rows(device: str) -> None:
    model = tlc.compile("chat.tl", text=GROWN, device=device)
    x = np.array([[1.0, -2.0]], np.float16)
    for turns in (3, 0, 1, 12):
        rows = [r for t in range(turns) for r in (3 * [t + 1] + [0] * (t > 1) + [1, 9])]
        wanted = np.outer(rows, x[0]).reshape(-1, 2)
        assert np.array_equal(model.chat(x, np.array([turns], np.int32)), wanted)
