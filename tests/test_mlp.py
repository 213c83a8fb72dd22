"""A three-layer network whose weights torch wrote: every float type, both layouts, any batch.

The expected numbers are torch's, in float64, from `tests/data/make_mlp.py`.
"""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import tlc

DATA = Path(__file__).parent / "data"
EXPECTED = load_file(DATA / "mlp_expected.safetensors")

OUT_IN = """
let model = load_model("{path}")
fn forward(x: float16[N, 24]) -> float16[N, 5] {{
    let h = relu(linear(x, model.get_tensor("0.weight"), model.get_tensor("0.bias")))
    let g = gelu(linear(h, get_tensor(model, "2.weight"), get_tensor(model, "2.bias")))
    linear(g, model.get_tensor("4.weight"), model.get_tensor("4.bias"))
}}
"""
IN_OUT = """
let model = load_model("{path}")
fn dense(x: float16[N, D], w: float16[D, M], b: float16[M]) -> float16[N, M] {{ b + x @ w }}
fn forward(x: float16[N, 24]) -> float16[N, 5] {{
    let h = relu(dense(x, model.get_tensor("0.weight_t"), model.get_tensor("0.bias")))
    let g = gelu(dense(h, model.get_tensor("2.weight_t"), model.get_tensor("2.bias")))
    dense(g, model.get_tensor("4.weight_t"), model.get_tensor("4.bias"))
}}
"""


def tolerance(kind: str) -> float:
    """The error that roundings of this network can make, in units of its outputs (below 1).

    Weights, two hidden layers and the result are rounded to float16, 2^-11 relative each; rounding
    errors of the weights and activations add up as random signs do over at most 40 products of size
    below 0.4, which is less than 6 * 2^-11. bfloat16 weights are 2^-9 relative instead.
    """
    return 6 * (2.0**-9 if kind == "bf16" else 2.0**-11)


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("program", [OUT_IN, IN_OUT], ids=["out_in", "in_out"])
@pytest.mark.parametrize("kind", ["f64", "f32", "f16", "bf16"])
def test_one_build_serves_every_batch(kind: str, program: str, device: str) -> None:
    text = program.format(path=DATA / f"mlp_{kind}.safetensors")
    model = tlc.compile("mlp.tl", text=text, device=device)
    for batch in (1, 7, 64):
        found = model.forward(EXPECTED["x"][:batch])
        assert found.dtype == np.float16
        np.testing.assert_allclose(
            found.astype(np.float32), EXPECTED["y"][:batch], rtol=0, atol=tolerance(kind)
        )


def test_the_network_is_three_launches() -> None:
    from tlc import driver

    text = OUT_IN.format(path=DATA / "mlp_f16.safetensors")
    entry = driver.build("mlp.tl", text=text).manifest["entries"]["forward"]
    assert [step[0] for step in entry["steps"]] == ["launch"] * 3
    assert entry["once"] == []
