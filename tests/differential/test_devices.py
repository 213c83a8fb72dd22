"""Random programs give the same on the cpu device, in the reference interpreter, and before all
passes.

A failure is shrunk by hypothesis to a short program, which is printed and can be run as it is.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, seed, settings

import tlc
from tests.differential.programs import programs
from tlc.frontend.parser import parse
from tlc.frontend.source import Source
from tlc.ir.core import Func
from tlc.ir.interp import run
from tlc.ir.lower import lower

PARTS = 8
EXAMPLES = int(os.environ.get("TLC_FUZZ", "2000")) // PARTS


def arguments(n: int, m: int, k: int) -> list[np.ndarray]:
    rng = np.random.default_rng((n, m, k))

    def normal(*shape: int) -> np.ndarray:
        return rng.uniform(-1, 1, shape).astype(np.float16)

    ids = rng.integers(0, max(min(n, m), 1), k).astype(np.int32)
    return [normal(n, 6), normal(n, 6), normal(6, 6), normal(6), normal(m, 6), normal(n, m), ids]


def meaning(text: str) -> Func:
    """The function `f` as lowering leaves it."""
    tree, problems = parse(Source("fuzz.tl", text))
    assert not problems
    return lower(tree, lambda path, span: pytest.fail("no model")).module.func("f")


@pytest.mark.fuzz
@pytest.mark.parametrize("part", range(PARTS))
def test_the_cpu_agrees_with_the_reference(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=EXAMPLES,
        derandomize=False,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(programs())
    def agree(text: str) -> None:
        note(text)
        plain = meaning(text)
        reference = tlc.compile("fuzz.tl", text=text, device="reference")
        cpu = tlc.compile("fuzz.tl", text=text, device="cpu")
        for sizes in ((1, 2, 3), (5, 9, 1)):
            args = arguments(*sizes)
            expected = reference.run("f", *args)
            for device, found in (("cpu", cpu.run("f", *args)), ("plain", run(plain, args))):
                for at, (a, b) in enumerate(zip(expected, found, strict=True)):
                    note(f"{device}, sizes {sizes}, result {at}")
                    assert a.shape == b.shape
                    # Values are of size one. The devices run the same fused operations in float32
                    # and round where they store, `plain` rounds after every operation: a value
                    # moves by units of 2^-11 here and there, and up to 50 operations hand it on.
                    np.testing.assert_allclose(
                        a.astype(np.float32), b.astype(np.float32), rtol=0.05, atol=0.05
                    )

    agree()


@pytest.mark.fuzz
def test_the_apple_kernels_agree_with_the_reference_and_break_no_rule() -> None:
    @seed(PARTS)
    @settings(
        max_examples=max(EXAMPLES // 50, 5),  # each compiles its kernels with every check
        derandomize=False,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(programs())
    def agree(text: str) -> None:
        note(text)
        reference = tlc.compile("fuzz.tl", text=text, device="reference")
        emulated = tlc.compile("fuzz.tl", text=text, device="emulator")
        for sizes in ((1, 2, 3), (5, 9, 1)):
            args = arguments(*sizes)
            for a, b in zip(reference.run("f", *args), emulated.run("f", *args), strict=True):
                note(f"sizes {sizes}")
                assert a.shape == b.shape
                # as for the cpu device above
                np.testing.assert_allclose(
                    a.astype(np.float32), b.astype(np.float32), rtol=0.05, atol=0.05
                )

    agree()
