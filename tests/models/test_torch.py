"""Operations beside PyTorch's in float64, where torch is installed (`make bench-peers` has it).

What float32 sums may be off by comes from the same operation on absolute values; a result in
float16 is rounded once more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import tlc

pytestmark = pytest.mark.models

Array = NDArray[Any]
UNIT = {"float16": (2.0**-11, 2.0**-25), "float32": (2.0**-24, 2.0**-149)}
RANDOM = np.random.default_rng(11)


class Case(NamedTuple):
    """An expression of x, y, z … in TensorLogic, the shapes of these, and PyTorch's function of
    them; `terms` are added for an element, or 0 where numbers are only moved."""

    text: str
    shapes: tuple[tuple[int, ...], ...]
    function: Callable[..., Any]
    terms: int


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


def cases(torch: Any) -> list[Case]:
    f = torch.nn.functional
    found = []
    for image, weights, stride, padding, dilation, groups in (
        ((2, 3, 11, 13), (5, 3, 3, 3), 1, 1, 1, 1),
        ((1, 8, 17, 9), (12, 4, 3, 5), 2, (1, 2), 1, 2),
        ((3, 6, 12, 12), (6, 1, 5, 5), 2, 2, 1, 6),
        ((2, 4, 15, 14), (8, 1, 3, 3), 1, 2, 2, 4),
        ((1, 16, 7, 7), (33, 16, 1, 1), 1, 0, 1, 1),
        ((1, 70, 6, 6), (40, 70, 3, 3), 1, 1, 1, 1),
        ((2, 5, 31, 8), (4, 5, 7, 2), (3, 1), (3, 0), (1, 3), 1),
    ):
        said = [list(v) if isinstance(v, tuple) else v for v in (stride, padding, dilation)]
        found.append(
            Case(
                f"conv2d(x, y, z, stride: {said[0]}, padding: {said[1]}, dilation: {said[2]},"
                f" groups: {groups})",
                (image, weights, weights[:1]),
                lambda x, w, b, at=(stride, padding, dilation, groups): f.conv2d(x, w, b, *at),
                int(np.prod(weights[1:])) + 1,
            )
        )
    for size, stride, padding in ((2, 2, 0), (3, 1, 1), ((5, 2), (1, 2), (2, 1)), (7, 7, 0)):
        said = [list(v) if isinstance(v, tuple) else v for v in (size, stride, padding)]
        where, shape = ", ".join(map(str, said)), ((2, 3, 15, 14),)
        count = int(np.prod(size)) if isinstance(size, tuple) else size * size
        at = (size, stride, padding)
        found += [
            Case(f"max_pool2d(x, {where})", shape, lambda x, at=at: f.max_pool2d(x, *at), 0),
            Case(f"avg_pool2d(x, {where})", shape, lambda x, at=at: f.avg_pool2d(x, *at), count),
        ]
    return [
        *found,
        Case("cumsum(x, 1)", ((5, 400),), lambda x: x.cumsum(1), 400),
        Case("cumsum(x, 0)", ((37, 6),), lambda x: x.cumsum(0), 37),
        Case("sort(x, 1)", ((9, 130),), lambda x: x.sort(1).values, 0),
        Case("sort(x, 0, true)", ((65, 3),), lambda x: x.sort(0, descending=True).values, 0),
        Case("topk(x, 7).0", ((4, 100),), lambda x: x.topk(7).values, 0),
        Case("topk(x, 7).1", ((4, 100),), lambda x: x.topk(7).indices, 0),
    ]


@pytest.mark.parametrize("dtype", UNIT)
def test_sums_and_order(torch: Any, dtype: str) -> None:
    tried = cases(torch)
    text = "".join(
        f"fn f{at}({', '.join(_typed(dtype, *p) for p in zip('xyz', case.shapes, strict=False))})"
        f" {{ {case.text} }}\n"
        for at, case in enumerate(tried)
    )
    model = tlc.compile("torch.tl", text=text, device="cpu")
    for at, case in enumerate(tried):
        args = [RANDOM.standard_normal(shape).astype(dtype) for shape in case.shapes]
        got = model.run(f"f{at}", *args)
        given = [torch.from_numpy(arg).double() for arg in args]
        size = case.function(*map(torch.abs, given)).numpy() if case.terms else 0.0
        _check(got, case.function(*given).numpy(), case.terms * 2.0**-24 * size, case.text)


@pytest.mark.parametrize("dtype", UNIT)
def test_batch_norm(torch: Any, dtype: str) -> None:
    """Of what is computed of x, a difference, a quotient, a product and a sum are rounded, and the
    root under it has the error of its function."""
    channels = "".join(f", {name}: {dtype}[6]" for name in "mvgb")
    text = f"fn f(x: {dtype}[B, 6, H, W]{channels}) {{ batch_norm(x, m, v, g, b, 0.001) }}"
    model = tlc.compile("norm.tl", text=text, device="cpu")
    x = RANDOM.standard_normal((2, 6, 5, 7)).astype(dtype)
    mean, gain, bias = (RANDOM.standard_normal(6).astype(dtype) for _ in range(3))
    spread = RANDOM.uniform(0.1, 2, 6).astype(dtype)
    given = [torch.from_numpy(v).double() for v in (x, mean, spread, gain, bias)]
    norm = torch.nn.functional.batch_norm
    exact = norm(*given, eps=0.001).numpy()
    absolute = [v.abs() for v in given]
    size = norm(absolute[0], -absolute[1], *absolute[2:], eps=0.001).numpy()
    _check(model.f(x, mean, spread, gain, bias), exact, 8 * 2.0**-24 * size, "batch_norm")


@pytest.mark.parametrize("dtype", UNIT)
def test_rope(torch: Any, dtype: str) -> None:
    """Pairs are complex numbers, turned; the angles are at most 40, and off by a few of their
    units, so that a turned number is off by so much of the pair."""
    text = f"fn f(x: {dtype}[N, 3, 10], p: int[N]) {{ rope(x, p) }}\n"
    text += f"fn g(x: {dtype}[N, 3, 10], p: int[N]) {{ rope(x, p, layout: half) }}\n"
    model = tlc.compile("rope.tl", text=text, device="cpu")
    x = RANDOM.standard_normal((8, 3, 10)).astype(dtype)
    positions = np.array([0, 1, 2, 3, 5, 17, 39, 40], np.int32)
    angles = torch.from_numpy(positions).double()[:, None] * 10000.0 ** (-torch.arange(5) / 5.0)
    turns = torch.polar(torch.ones_like(angles), angles)[:, None]
    wide = torch.from_numpy(x).double()
    slack = 2 * np.abs(x).max() * (4 * 40 + 4) * 2.0**-24
    pairs = torch.view_as_complex(wide.reshape(8, 3, 5, 2)) * turns
    _check(model.f(x, positions), torch.view_as_real(pairs).flatten(2).numpy(), slack, "rope")
    halves = torch.complex(wide[..., :5], wide[..., 5:]) * turns
    exact = torch.cat([halves.real, halves.imag], 2).numpy()
    _check(model.g(x, positions), exact, slack, "rope of halves")


def _typed(dtype: str, name: str, shape: tuple[int, ...]) -> str:
    return f"{name}: {dtype}[{', '.join(map(str, shape))}]"


def _check(got: Array, exact: Array, slack: Any, what: str) -> None:
    """Within float32's slack and one rounding to the dtype of the result."""
    assert got.shape == exact.shape, what
    if got.dtype == np.int32:
        np.testing.assert_array_equal(got, exact, what)
        return
    unit, tiny = UNIT[got.dtype.name]
    error = np.abs(got.astype(np.float64) - exact)
    allowed = slack + (np.abs(exact) + slack) * unit + tiny
    assert (error <= allowed).all(), f"{what}: {(error / allowed).max():.2f} of what is allowed"
