"""Choosing a token: the filters against NumPy, the draws against their probabilities."""

from typing import Any

import numpy as np
import pytest

import tlc
from tlc import driver
from tlc.frontend.diagnostics import CompileError

PROGRAM = """
fn largest(x: float32[N]) { top_k(x, 3) }
fn nucleus(x: float32[M, N]) { top_p(x, 0.8) }
fn likely(x: float32[N]) { min_p(x, 0.1) }
fn all(x: float32[N]) { min_p(top_p(top_k(x, 0), 1.0), 0) }
fn less(x: float32[N], ids: int[K]) { repetition_penalty(x, ids, 1.5) }
fn cold(x: float32[M, N]) { temperature_sample(x, 0) }
fn cool(x: float32[M, N]) { sample(x, 0.5) }
fn few(x: float32[M, N]) { sample(x, top_k: 2) }
fn of_one_row(x: float32[1, N]) {
    let found = zeros([0])
    let enough = x[0, 0] * 0
    while enough < 2000 {
        found = concat(found, sample(x, top_k: 3, top_p: 0.9) as float16, 0)
        enough = enough + 1
    }
    found
}
fn in_turn(x: float32[N]) {
    let found = zeros([0])
    let enough = x[0] * 0
    while enough < 64 {
        found = concat(found, [sample(x)] as float16, 0)
        enough = enough + 1
    }
    found
}
"""


@pytest.fixture(scope="module", params=["cpu", "reference"])
def program(request: pytest.FixtureRequest) -> Any:
    return tlc.compile("p.tl", text=PROGRAM, device=request.param)


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def kept(x: np.ndarray) -> list[list[int]]:
    return [np.flatnonzero(row > -np.inf).tolist() for row in np.atleast_2d(x)]


X = np.random.default_rng(0).normal(0, 2, (4, 20)).astype(np.float32)


def test_top_k_keeps_the_largest(program: Any) -> None:
    found = program.largest(X[0])
    assert kept(found) == [sorted(np.argsort(X[0])[-3:].tolist())]
    np.testing.assert_array_equal(found[found > -np.inf], X[0][found > -np.inf])
    ties = np.array([1, 5, 2, 2, 2, 0], np.float32)
    assert kept(program.largest(ties)) == [[1, 2, 3, 4]], "those as large as the third stay"


def test_top_p_keeps_the_fewest_that_come_to_p(program: Any) -> None:
    wanted = []
    for row in softmax(X):
        order = np.argsort(-row)
        count = int((np.cumsum(row[order]) < 0.8).sum()) + 1
        wanted.append(sorted(order[:count].tolist()))
    assert kept(program.nucleus(X)) == wanted
    assert kept(program.nucleus(np.array([[9, 0, 0]], np.float32))) == [[0]]


def test_min_p_keeps_what_is_not_much_less_likely(program: Any) -> None:
    chances = softmax(X[1])
    wanted = np.flatnonzero(chances >= 0.1 * chances.max()).tolist()
    assert kept(program.likely(X[1])) == [wanted]


def test_filters_that_keep_all(program: Any) -> None:
    np.testing.assert_array_equal(program.all(X[0]), X[0])


def test_a_repetition_penalty(program: Any) -> None:
    ids = np.array([3, 7, 3], np.int32)
    wanted = X[0].astype(np.float64)
    for at in {3, 7}:
        wanted[at] = wanted[at] / 1.5 if wanted[at] > 0 else wanted[at] * 1.5
    # one float32 operation: half a unit in the last place, and one more for a quick division
    np.testing.assert_allclose(program.less(X[0], ids), wanted, rtol=2**-22)


def test_at_temperature_0_the_largest_is_drawn(program: Any) -> None:
    np.testing.assert_array_equal(program.cold(X), X.argmax(-1))


def test_draws_have_the_probabilities_of_softmax(program: Any) -> None:
    x = np.array([0.3, -1.0, 1.2, 0.9, -0.2], np.float32)
    many = np.broadcast_to(x, (20000, 5)).copy()
    for found, chances in (
        (program.cool(many), softmax(x / 0.5)),
        (program.few(many), softmax(np.where(x >= 0.9, x, -np.inf))),
    ):
        seen = np.bincount(found, minlength=5)
        expected = chances * len(many)
        some = expected > 0
        assert seen[~some].sum() == 0
        # chi squared of at most 4 degrees of freedom is below 23.5 in all but one of 10,000 draws;
        # the draw is the same in every run
        assert ((seen - expected)[some] ** 2 / expected[some]).sum() < 23.5


def test_draws_of_one_row_are_of_its_largest(program: Any) -> None:
    x = np.array([[0.3, -1.0, 1.2, 2.9, -0.2]], np.float32)
    # of the three largest, the first two come to 0.9
    chances = softmax(np.where(x >= 1.2, x, -np.inf))[0]
    seen = np.bincount(program.of_one_row(x).astype(int), minlength=5)
    assert seen.sum() == 2000
    assert seen[chances == 0].sum() == 0
    spread = np.sqrt(2000 * chances[3] * (1 - chances[3]))
    assert abs(seen[3] - 2000 * chances[3]) < 5 * spread


def test_each_pass_of_a_loop_draws_anew(program: Any) -> None:
    found = program.in_turn(np.zeros(4, np.float32))
    assert found.shape == (64,)
    # 64 equal draws of 4, or one of the four missing, have a probability below 4 * (3/4)^64 < 1e-7
    assert set(found.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("call", "code", "message"),
    [
        ("sample(ones([3]), -1.0)", "E0303", "a temperature is at least 0, and this is -1.0"),
        ('sample(ones([3]), "hot")', "E0302", "a temperature is a number, and this is string"),
        ("top_p(ones([3]), 1.5)", "E0303", "a probability is from 0 to 1, and this is 1.5"),
        ("top_k(ones([3]), 1.5)", "E0303", "`k` is a whole number, and this is 1.5"),
        ("sample(tensor<int>([1, 2]))", "E0302", "logits are numbers along an axis"),
        ("repetition_penalty(ones([3]), [1], 0)", "E0303", "a penalty is at least 1e-06"),
        ("repetition_penalty(ones([2, 3]), [1], 2)", "E0301", "the logits of one token"),
    ],
)
def test_mistakes(call: str, code: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        driver.build("p.tl", text=f"print({call})\n")
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert message in found.message
