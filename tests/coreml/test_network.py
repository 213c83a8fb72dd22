"""Neural networks of `.mlmodel` files against NumPy: layer by layer, and a small one as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tlc
from tests.coreml.layer_cases import conv
from tests.coreml.mil_cases import Array, floats, softmax
from tests.coreml.network_cases import VECTOR, Case, X, cases
from tests.coreml.network_order_cases import of_one_element, of_order, of_shape
from tests.coreml.network_writer import (
    integers,
    layer,
    network,
    number,
    part,
    real,
    text,
    weights,
)
from tlc.frontend.diagnostics import CompileError
from tlc.ir.coreml.network import LAYERS

CASES = [*cases(), *of_order(), *of_one_element(), *of_shape()]


@pytest.mark.parametrize("case", CASES, ids=[f"{c.name}-{at}" for at, c in enumerate(CASES)])
def test_a_layer_is_what_numpy_says(case: Case, tmp_path: Path) -> None:
    found = case.wanted(*case.inputs)
    wanted = [np.asarray(v) for v in (found if isinstance(found, tuple) else (found,))]
    names, results = (
        [f"x{n}" for n in range(len(case.inputs))],
        [f"y{n}" for n in range(case.outputs)],
    )
    network(
        tmp_path / "m.mlmodel",
        [layer(case.kind, case.params, names, results)],
        {n: x.shape for n, x in zip(names, case.inputs, strict=True)},
        {n: y.shape for n, y in zip(results, wanted, strict=True)},
        case.exact,
    )
    params = ", ".join(f"{n}: float32[{', '.join(map(str, x.shape))}]"
                       for n, x in zip(names, case.inputs, strict=True))  # fmt: skip
    program = f'm = load_model_f32("m.mlmodel")\nfn f({params}) {{ m.predict({", ".join(names)}) }}'
    have = tlc.compile(tmp_path / "p.tl", text=program, device="reference").f(*case.inputs)
    for one, want in zip(have if isinstance(have, tuple) else (have,), wanted, strict=True):
        assert one.shape == want.shape
        # float32 sums of at most 60 terms in another order
        np.testing.assert_allclose(one, want, rtol=3e-5, atol=3e-5)


W1, B1, W2 = floats(4, 3, 3, 3), floats(4), floats(5, 4)


def classifier(path: Path) -> None:
    """A convolution, ReLU, the mean of each channel, a product, softmax; a classifier of spec 4."""
    convolution = number(1, 4) + number(2, 3) + integers(20, [3, 3]) + number(70, 1)
    convolution += weights(90, W1) + weights(91, B1) + part(50)
    product = number(1, 4) + number(2, 5) + weights(20, W2)
    layers = [
        layer(100, convolution, ["image"], ["a"], "conv1"),
        layer(130, part(10), ["a"], ["b"], "relu1"),
        layer(120, number(1, 1) + number(60, 1), ["b"], ["c"], "pool"),
        layer(140, product, ["c"], ["d"], "fc"),
        layer(175, b"", ["d"], ["p"], "prob"),
    ]
    extra = part(100, text(1, "cat")) + text(200, "p")
    network(path, layers, {"image": X.shape}, {"p": [5]}, field=403, extra=extra)


def scores(x: Array) -> Array:
    ones = np.array([1, 1])
    hidden = np.maximum(conv(x[None], W1, ones, ones, 1, "valid", np.zeros(4), B1)[0], 0)
    return softmax(W2 @ hidden.mean((1, 2)), -1)


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_network_runs_in_float16_with_its_weights_by_name(tmp_path: Path, device: str) -> None:
    classifier(tmp_path / "m.mlmodel")
    text = (
        'm = load_model("m.mlmodel")\nfn f(x: float16[3, 4, 5]) { m.predict(x) }\n'
        'fn w() { m.get_tensor("fc.weights") }\nprint(m.metadata.format)'
    )
    model = tlc.compile(tmp_path / "p.tl", text=text, device=device)
    found = model.f(X.astype(np.float16))
    assert (found.dtype, found.shape) == (np.float16, (5,))
    # inputs, weights and four results are rounded to 11 bits; |scores| < 32, probabilities <= 1
    np.testing.assert_allclose(found, scores(X), atol=0.02)
    np.testing.assert_array_equal(model.w(), W2.astype(np.float16))


def test_a_classifier_that_describes_no_array_gives_its_probabilities(tmp_path: Path) -> None:
    """The output is a label and a table by labels; the probabilities are what a layer gives."""
    softmax_and_more = [
        layer(175, b"", ["x"], ["p"], "prob"),
        layer(600, b"", ["p"], ["q"], "last"),
    ]
    for extra in (b"", text(200, "p")):
        path = network(
            tmp_path / "m.mlmodel", softmax_and_more, {"x": [6]}, {}, field=403, extra=extra
        )
        source = f'm = load_model("{path}")\nfn f(x: float32[6]) {{ m.predict(x) }}'
        found = tlc.compile(tmp_path / "p.tl", text=source, device="reference").f(VECTOR)
        # probabilities, of inputs and results rounded to 11 bits
        np.testing.assert_allclose(found, softmax(VECTOR, -1), atol=2**-10)


@pytest.mark.parametrize("given", ["int[3]", "float32[3]"])
def test_places_in_a_table_are_exact(tmp_path: Path, given: str) -> None:
    """Float16 would make 3001 the row 3000, and 4095 one that is not there."""
    table = floats(2, 4096)
    shape = integers(1, [3, 1])
    layers = [
        layer(1140, shape, ["ids"], ["column"]),
        layer(1040, number(1, 4096) + number(2, 2) + weights(20, table), ["column"], ["rows"]),
    ]
    network(tmp_path / "m.mlmodel", layers, {"ids": [3]}, {"rows": [3, 2]}, exact=True)
    source = f'm = load_model("m.mlmodel")\nfn f(ids: {given}) {{ m.predict(ids) }}'
    model = tlc.compile(tmp_path / "p.tl", text=source, device="reference")
    ids = np.array([3001, 4095, 2049])
    found = model.f(ids.astype(np.int32 if given[0] == "i" else np.float32))
    np.testing.assert_array_equal(found, table[:, ids].T.astype(np.float16))


def test_every_layer_of_the_table_is_tried() -> None:
    from tlc.runtime.coreml.network import _LAYERS

    tried = {case.kind for case in CASES}
    assert {kind for at, (kind, _) in _LAYERS.items() if at not in tried} == set()
    assert {kind for kind, _ in _LAYERS.values()} == LAYERS.keys()


@pytest.mark.parametrize(
    "params", [number(99, 1), part(5, real(1, 2.0), number(7, 1))], ids=["outer", "inner"]
)
def test_a_parameter_of_tomorrow_is_not_ignored(tmp_path: Path, params: bytes) -> None:
    network(tmp_path / "m.mlmodel", [layer(130, params, ["x"], ["y"])], {"x": [6]}, {"y": [6]})
    with pytest.raises(CompileError, match=r"E0610(.|\n)*`activation` \(one\) has the field"):
        tlc.compile(tmp_path / "p.tl", text='print(load_model("m.mlmodel").predict(zeros([6])))')


def test_layers_that_are_not_there_are_named(tmp_path: Path) -> None:
    layers = [layer(410, b"", ["x"], ["h"]), layer(7777, b"", ["h"], ["y"])]
    network(tmp_path / "m.mlmodel", layers, {"x": [6]}, {"y": [6]})
    with pytest.raises(CompileError) as caught:
        tlc.compile(tmp_path / "p.tl", text='print(load_model("m.mlmodel").predict(zeros([6])))')
    (found,) = caught.value.diagnostics
    assert found.code == "E0610"
    assert "layers that tlc does not have: `gru`, `unknown`" in found.message
