"""Bounds hold: whatever a function computes lies between the ends that were found without running.

That they are near as well is tested where it matters: softmax, norms, means and weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from tests.ir.programs import FakeModel, FakeTensor, lowered
from tests.ir.strategies import Case, cases
from tests.ir.test_registry import SAMPLES, called, numbers
from tlc.ir import interp
from tlc.ir.core import Func, Op, Value
from tlc.ir.opdef import OpDef, Sample
from tlc.ir.passes import BEFORE_FUSION, optimise
from tlc.ir.ranges.bounds import Bound
from tlc.ir.ranges.intervals import of_array
from tlc.ir.ranges.walk import bounds, stored

Array = np.ndarray[Any, Any]


def nothing(model: int, tensor: str, dtype: str) -> Array:
    raise AssertionError(f"{tensor} is read")


class Watch(interp.Host):
    """Holds every value that is computed against its bound."""

    wide = True

    def __init__(self, known: Mapping[Value, Bound]) -> None:
        self.known = known

    def saw(self, op: Op, values: Sequence[Array], results: Sequence[Array]) -> None:
        for value, array in zip(op.results, results, strict=True):
            check(op.name, self.known[value], array)

    def io(self, op: Op, values: Sequence[Array], attrs: Mapping[str, Any]) -> None:
        pass


def check(name: str, bound: Bound, array: Array) -> None:
    held, minus, plus = of_array(array)
    # the interpreter rounds to float32 in between, which the bounds leave out: a few roundings of
    # 2^-24 of numbers no larger than these ends, and float16 rounds once more, by 2^-11
    room = 2.0**-10 * max(1.0, held.largest)
    assert bound.held.low - room <= held.low, f"{name}: {held} and {bound}"
    assert held.high <= bound.held.high + room, f"{name}: {held} and {bound}"
    assert not minus or bound.minus or bound.held.low < -60000, name
    assert not plus or bound.plus or bound.held.high > 60000, name
    if bound.shares:
        assert (array >= 0).all()
        assert (array.sum(-1) <= 1 + 2.0**-9).all()
    if math.isfinite(bound.length):
        lengths = np.sqrt((array.astype(np.float64) ** 2).sum(-1))
        assert (lengths <= bound.length * (1 + 2.0**-9)).all()


@pytest.mark.parametrize(
    ("op", "sample"), SAMPLES, ids=[f"{op.name}-{at}" for at, (op, _) in enumerate(SAMPLES)]
)
def test_the_rule_of_an_operation_holds_for_its_samples(op: OpDef, sample: Sample) -> None:
    args = [numbers(t, sample, seed) for seed, t in enumerate(sample.operands)]
    hold(called(op, sample), args)


@pytest.mark.fuzz
@given(cases(whole=True, most=14))
def test_bounds_of_random_programs_hold(case: Case) -> None:
    hold(case.func, case.args)


def hold(func: Func, args: list[Array]) -> None:
    known = bounds(func, [Bound(*of_array(arg)) for arg in args], nothing)
    interp.run(func, args, Watch(known))


# ---- what is known without knowing the arguments -------------------------------------------------


def found(text: str, **weights: Array) -> list[tuple[set[str], Bound]]:
    """The operations of each kernel of `f`, and the bound of what it stores; the result is last."""
    arrays = {name: np.asarray(array, np.float16) for name, array in weights.items()}
    model = FakeModel({name: FakeTensor(array.shape) for name, array in arrays.items()})
    module = lowered(f'let m = load_model("m")\n{text}', {"m": model}).module
    optimise(module, passes=BEFORE_FUSION)
    kept = stored(module.func("f"), lambda model, tensor, dtype: arrays[tensor])
    return [({inner.name for inner in op.regions[0].ops}, bound) for op, bound in kept]


def only(text: str, by: str = "", **weights: Array) -> Bound:
    """The bound of the one value that is stored, or of the one that operation `by` is part of."""
    (one,) = (bound for names, bound in found(text, **weights) if not by or by in names)
    return one


@pytest.mark.parametrize(
    ("body", "low", "high"),
    [
        ("softmax(x)", 0, 1),
        ("softmax(x, 0)", 0, 1),
        ("softmax(x * 1000.0 + x)", 0, 1),
        ("exp(x - max(x, 1, true)) / sum(exp(x - max(x, 1, true)), 1, true)", 0, 1),
        ("sigmoid(x) * 3.0 - 1.0", -1, 2),
        ("tanh(x) + cos(x)", -2, 2),
        ("(x > 0.0) as float16", 0, 1),
        ("rms_norm(x, ones([16]))", -4, 4),  # sqrt(16)
        ("rms_norm(x, full([16], 0.5))", -2, 2),
        ("layer_norm(x, ones([16]), ones([16]))", -3, 5),
        ("x / sqrt(mean(x * x, 1, true) + 0.001)", -4, 4),
        ("normalize_features(x)", -1, 1),
        ("mean(sigmoid(x), 1)", 0, 1),
        ("mean(sigmoid(x))", 0, 1),  # whatever N is
        ("min(sum(sigmoid(x) + 2.0), 5.0)", 0, 5),  # and there may be no rows
        ("sum(sigmoid(x), 1)", 0, 16),
        ("clamp(x, -2.0, 3.0)", -2, 3),
        ("where(x > 0.0, sigmoid(x), 7.0)", 0, 7),
        ("attention(sin(x.reshape([N, 2, 8])), x.reshape([N, 2, 8]), cos(x.reshape([N, 2, 8])))",
         -1.001, 1.001),
    ],
)  # fmt: skip
def test_some_operations_give_bounds_of_anything(body: str, low: float, high: float) -> None:
    bound = found(f"fn f(x: float16[N, 16]) {{ {body} }}")[-1][1]
    assert bound.held == pytest.approx((low, high), rel=2**-9)


@pytest.mark.parametrize(
    "body",
    [
        "x + 1.0",
        "x * x",
        "1.0 / x",
        "sum(sigmoid(x))",  # grows with N
        "x - max(x, 0, true)",  # has no lower end
        "x.T - max(x, 1)",  # an element, and the largest of another row
        "x / sum(x, 1, true)",  # numbers of both signs
        "sigmoid(x) / sum(sigmoid(x.T), 1)",
        "x * rsqrt(mean(x, 1, true))",
    ],
)
def test_others_do_not(body: str) -> None:
    assert found(f"fn f(x: float16[N, N]) {{ {body} }}")[-1][1].held.largest == math.inf


def test_weights_count_with_their_numbers() -> None:
    w = [[1.0, -2.0], [0.5, 3.0]]
    text = "fn f(x: float16[N, 2]) { sigmoid(x) @ m.w }"
    # the sums of what is negative, and of what is positive, in a column
    assert only(text, "contract", w=w).held == (-2.0, 3.0)
    assert only(text.replace("m.w", "m.w.T"), "contract", w=w).held == (-2.0, 3.5)
    # a row of a norm is no longer than sqrt(2), and a column no longer than sqrt(13)
    text = "fn f(x: float16[N, 2]) { rms_norm(x, ones([2])) @ m.w }"
    assert only(text, "contract", w=w).held.high == pytest.approx(math.sqrt(26), rel=2**-10)
    assert only("fn f(ids: int[N]) { m.w[ids, :] * 2.0 }", w=w).held == (-4.0, 6.0)


def test_windows_count_with_their_elements_and_the_zeros_around() -> None:
    text = "fn f(x: float16[1, 1, 4, 4]) { conv2d(sigmoid(x) + 1.0, m.w, padding: 1) }"
    # four elements from 0 to 2, and weights from -2 to 3
    assert only(text, "convolve", w=[[[[1.0, -2.0], [0.5, 3.0]]]]).held == (-16.0, 24.0)
    pool = "fn f(x: float16[1, 4, 4]) {{ {}_pool2d(sigmoid(x) + 1.0, 2, 2, 1) }}"
    assert only(pool.format("avg"), "pool").held == (0.0, 2.0), "their sum by four"
    assert only(pool.format("max"), "pool").held == (1.0, 2.0)


def test_what_weights_alone_decide_is_computed() -> None:
    text = "fn f(x: float16[N, 2]) { sigmoid(x) * (m.w * m.w * 100.0 + 1.0) }"
    once = only(text, "add", w=[3.0, -30.0])
    assert once.held == (901.0, 90001.0), "beyond float16, and not hidden by an infinity"
    assert only(text, "sigmoid", w=[3.0, -30.0]).held == (0.0, pytest.approx(90001.0, rel=2**-9))


def test_loops_are_followed_as_far_as_their_ends_are_known() -> None:
    text = "fn f(x: float16[2]) {{ let h = sigmoid(x)\n for i in range({}) {{ h = h * 2.0 }}\n h }}"
    assert only(text.format("20"), "mul").held.high == pytest.approx(2.0**20, rel=2**-6)
    ever = only(text.format("argmax(x)"), "mul")
    assert ever.held == (0.0, math.inf), "it keeps its sign, however long it goes on"
    stays = "fn f(x: float16[2]) { let h = x\n while argmax(h) > 0 { h = sigmoid(h) }\n h }"
    assert only(stays).held == (0.0, 1.0)


def test_a_loop_s_weights_are_those_of_the_pass() -> None:
    weights = {f"blk.{i}.w": np.full((2, 2), 10.0**i) for i in range(3)}
    text = (
        "fn f(x: float16[N, 2]) { let h = sigmoid(x)\n"
        "for i in range(3) { h = sigmoid(h) @ m.blk[i].w }\n h }"
    )
    assert only(text, "contract", **weights).held == (1.0, 200.0)


def test_branches_that_run_time_decides_are_both_possible() -> None:
    text = (
        "fn f(x: float16[2]) { let y = sigmoid(x)\n"
        "if argmax(x) > 0 { y = y + 1.0 } else { y = y - 5.0 }\n y * 2.0 }"
    )
    assert found(text)[-1][1].held == (-10.0, 4.0)


def test_infinities_that_a_program_writes_are_told_apart() -> None:
    text = "fn f(x: float16[4, 4]) { apply_attention_mask(sigmoid(x), causal_mask(4)) }"
    bound = only(text)
    assert bound.held == (0.0, 1.0)
    assert (bound.minus, bound.plus) == (True, False)
    assert only(text.replace("apply", "softmax(apply").replace("(4))", "(4)))")).held == (0.0, 1.0)
