"""Random numbers: the documented hash, how evenly they lie, and which draws differ."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.ir.programs import lowered, run_func, value
from tlc.frontend.parser import parse
from tlc.frontend.source import Source
from tlc.ir.dims import Dim
from tlc.ir.lower import lower
from tlc.runtime.seed import key_of

COUNT = 100_000


def hashed(count: int, draw: int, seed: int = 0, stream: int = 0) -> NDArray[np.uint32]:
    """The hash as docs/language.md says it, in Python's whole numbers."""

    def mix(x: int, y: int) -> int:
        return ((x ^ x >> 16) * 0x45D9F3B + y) % 2**32

    z = (seed + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    first = mix(mix(mix((z ^ z >> 31) % 2**31, draw), stream), 0)
    second = mix(mix(first, 0), 0)
    return np.array(
        [mix(mix(mix(mix(i, first), second), 0), 0) >> 8 for i in range(count)], np.uint32
    )


@pytest.mark.parametrize(("prefix", "bits"), [("", 11), ("f32::", 24)])
def test_uniform_numbers_are_the_upper_bits_of_the_hash(prefix: str, bits: int) -> None:
    found = value(f"{prefix}rand([3, 50])")
    assert found.dtype == (np.float16 if bits == 11 else np.float32)
    exact = (hashed(150, 0) >> (24 - bits)) / 2.0**bits
    np.testing.assert_array_equal(found.reshape(-1), exact)


def test_normal_numbers_are_made_of_two_uniform_ones() -> None:
    found = value("f32::randn([40])")
    u, v = (hashed(40, 0, stream=s).astype(np.float64) for s in (1, 2))
    exact = np.sqrt(-2 * np.log((u + 1) / 2**24)) * np.cos(2 * np.pi * v / 2**24)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)
    shifted = value("random_normal([40], 3.0, std: 0.5)")
    np.testing.assert_allclose(shifted, (3 + 0.5 * exact).astype(np.float16), rtol=2**-10)


def test_uniform_numbers_lie_evenly() -> None:
    found = value(f"f32::rand([{COUNT}])").astype(np.float64)
    assert 0 <= found.min() < 1e-3
    assert 1 - 1e-3 < found.max() < 1
    counts = np.histogram(found, 100, (0, 1))[0]
    # chi squared with 99 degrees of freedom: mean 99, deviation 14
    assert 50 < ((counts - COUNT / 100) ** 2 / (COUNT / 100)).sum() < 160
    for distance in (1, 2, 64, 1024):  # correlations deviate from 0 by 1 / sqrt(COUNT) = 0.003
        assert abs(np.corrcoef(found[:-distance], found[distance:])[0, 1]) < 0.015


def test_normal_numbers_have_the_moments_of_the_normal_distribution() -> None:
    found = value(f"f32::randn([{COUNT}])").astype(np.float64)
    assert abs(found.mean()) < 0.015
    assert abs(found.std() - 1) < 0.015
    assert abs((found**4).mean() - 3) < 0.15


def _printed(text: str, seed: int = 0) -> list[NDArray[np.float64]]:
    tree, problems = parse(Source("test.tl", text))
    assert not problems
    module = lower(tree, lambda path, span: pytest.fail(path), seed=Dim.of(key_of(seed))).module
    return [x.astype(np.float64) for x in run_func(module.func("main"))[1].printed]


def test_draws_and_seeds_are_far_apart() -> None:
    """No sequence is another one, shifted."""
    text = "for i in range(3) { print(f32::rand([1000])) }"
    drawn = [x for seed in (0, 1, 2, -1, 2**63) for x in _printed(text, seed)]
    assert len(drawn) == 15
    everything = np.concatenate(drawn)
    assert len(np.unique(everything)) > len(everything) - 30  # 15000^2 / 2^25 = 7 by chance


def test_the_same_seed_gives_the_same_numbers() -> None:
    text = "print(rand([5]), randn([5]))"
    first, again = _printed(text, 7), _printed(text, 7)
    np.testing.assert_array_equal(first, again)
    assert (np.array(first) != np.array(_printed(text, 8))).any()


def test_each_pass_of_a_loop_draws_anew_and_draws_behind_it_go_on() -> None:
    text = """
    let kept = f32::zeros([4])
    let n = 0
    while sum(kept) < 100.0 { kept = kept + f32::rand([4])  n = n + 1 }
    print(kept, f32::rand([4]))
    """.replace("  n = n", "\n n = n")
    kept, behind = _printed(text)
    total, passes = np.zeros(4, np.float32), 0
    while total.sum() < 100:
        total = total + (hashed(4, passes) / 2.0**24).astype(np.float32)
        passes += 1
    np.testing.assert_allclose(kept, total, rtol=1e-6)
    np.testing.assert_allclose(behind, hashed(4, passes) / 2.0**24)


def test_branches_count_their_draws() -> None:
    text = """
    let x = f32::rand([2])
    if sum(x) < 10.0 {
        let y = f32::rand([2])
        print(y)
    }
    print(f32::rand([2]))
    """
    first, second = _printed(text)
    np.testing.assert_array_equal(first, hashed(2, 1) / 2.0**24)
    np.testing.assert_array_equal(second, hashed(2, 2) / 2.0**24)


def test_a_program_that_draws_nothing_carries_nothing() -> None:
    text = "let x = zeros([1])\nwhile sum(x) < 5.0 { x = x + 1.0 }\nprint(x)"
    (loop,) = (op for op in lowered(text).module.func("main").walk() if op.name == "loop")
    names = re.findall(r"\$\d+", str(loop.attrs["ints"]))
    assert len(loop.attrs["ints"]) == 1, names  # the condition
