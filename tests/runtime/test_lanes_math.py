"""The math of the 8-lane vocabulary and metal_stdlib against numpy, in units of the last place."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.runtime.lane_kernels import (
    ANGLES,
    ANY_BITS,
    BINARY,
    BINARY16,
    BODIES,
    EVERYWHERE,
    F32,
    NEAR,
    NEAR_ZERO,
    READERS,
    SPECIAL,
    UNARY,
    UNARY16,
    WIDE,
    Half,
    compiled,
    whole_groups,
)


@pytest.fixture(params=READERS)
def half(request: pytest.FixtureRequest) -> Half:
    return compiled(request.param)


@pytest.fixture
def cpu() -> Half:
    return compiled("cpu")


@pytest.fixture
def metal() -> Half:
    return compiled("metal")


def reference_sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1.0 + e)


REFERENCE: dict[str, Callable[..., NDArray[np.float64]]] = {
    "exp": np.exp,
    "log": np.log,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "tanh": np.tanh,
    "sigmoid": reference_sigmoid,
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "abs": np.abs,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1.0 / np.sqrt(x),
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.rint,
    "round_half": lambda x: x.astype(np.float32).astype(np.float16).astype(np.float64),
    "pow": np.power,
    "fmod": np.fmod,
    "max": np.maximum,
    "min": np.minimum,
}
ULPS = dict.fromkeys(REFERENCE, 0.0) | dict.fromkeys(
    ("exp", "log", "sin", "cos", "tan", "tanh", "sigmoid", "erf", "rsqrt", "pow"), 2.0
)


def errors(got: F32, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances in units of the last place of a float; 0 where NaN or infinity agree."""
    with np.errstate(all="ignore"):
        rounded = wanted.astype(np.float32)
        same = (got == rounded) | (np.isnan(got) & np.isnan(wanted))
        place = np.spacing(np.maximum(np.abs(rounded), np.finfo(np.float32).smallest_normal))
        distance = np.abs(got.astype(np.float64) - wanted) / place
        far = np.where(np.isfinite(distance), distance, np.inf)
    return np.where(same, 0.0, far)


def check(name: str, got: F32, wanted: NDArray[np.float64], *arguments: F32) -> None:
    error = errors(got, wanted)
    worst = int(error.argmax())
    at = [float(values[worst]) for values in arguments]
    assert error[worst] <= ULPS[name], f"{name}{at} = {got[worst]}, not {wanted[worst]}"


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_argument(name: str, cpu: Half) -> None:
    x = EVERYWHERE
    if name in ("sin", "cos", "tan"):  # beyond 1e15 the result is NaN, which numpy's is not
        x = whole_groups(np.concatenate([x[~(np.abs(x) > 1e15) | np.isinf(x)], ANGLES]))
    with np.errstate(all="ignore"):
        wanted = REFERENCE[name](x.astype(np.float64))
    got = cpu.floats(f"{name}_lanes", x)
    check(name, got, wanted, x)
    number = ~np.isnan(wanted)
    assert (np.signbit(got) == np.signbit(wanted))[number].all()


def test_an_angle_too_large_to_mean_anything_gives_nan(cpu: Half) -> None:
    x = np.full(8, 1e30, np.float32)
    for name in ("sin", "cos", "tan"):
        assert np.isnan(cpu.floats(f"{name}_lanes", x)).all()


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_arguments(name: str, cpu: Half) -> None:
    first, second = (grid.ravel() for grid in np.meshgrid(SPECIAL, SPECIAL))
    whole = np.round(NEAR)
    a = whole_groups(np.concatenate([first, ANY_BITS, NEAR, NEAR_ZERO, np.abs(WIDE)]))
    b = whole_groups(np.concatenate([second, ANY_BITS[::-1], whole, whole, NEAR_ZERO]))
    with np.errstate(all="ignore"):
        wanted = REFERENCE[name](a.astype(np.float64), b.astype(np.float64))
    got = cpu.floats(f"{name}_lanes", a, b)
    check(name, got, wanted, a, b)
    if name in ("pow", "fmod"):
        number = ~np.isnan(wanted)
        assert (np.signbit(got) == np.signbit(wanted))[number].all()


@pytest.mark.parametrize("name", UNARY + BINARY)
def test_one_float_has_the_bits_of_a_lane(name: str, half: Half) -> None:
    a, b = EVERYWHERE, EVERYWHERE[::-1]
    lanes, one = (half.floats(f"{name}_{kind}", a, b) for kind in ("lanes", "one"))
    number = ~np.isnan(lanes)
    assert (np.isnan(one) == ~number).all()
    assert (lanes.view(np.uint32) == one.view(np.uint32))[number].all()


@pytest.mark.parametrize("name", UNARY16 + BINARY16)
def test_16_lanes_have_the_bits_of_8(name: str, half: Half) -> None:
    a = EVERYWHERE[: EVERYWHERE.size // 16 * 16]
    b = a[::-1].copy()
    lanes, wide = (half.floats(f"{name}_{kind}", a, b) for kind in ("lanes", "wide"))
    number = ~np.isnan(lanes)
    assert (np.isnan(wide) == ~number).all()
    assert (lanes.view(np.uint32) == wide.view(np.uint32))[number].all()


@pytest.mark.parametrize("name", [name for name in BODIES if name.endswith("_lanes")])
def test_both_halves_give_the_same_bits(name: str, cpu: Half, metal: Half) -> None:
    a, b = EVERYWHERE, EVERYWHERE[::-1]
    ours, theirs = cpu.floats(name, a, b), metal.floats(name, a, b)
    number = ~np.isnan(ours)
    assert (np.isnan(theirs) == ~number).all()
    assert (ours.view(np.uint32) == theirs.view(np.uint32))[number].all()
