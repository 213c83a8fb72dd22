"""Views cost no launch and no copy where their reader can look through them; results stay exact."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ir.kernels import check_kernels, families
from tests.ir.programs import lowered
from tlc.ir import interp
from tlc.ir.passes import optimise

SIGNATURE = (
    "fn f(x: float16[N, 4, 8], y: float16[N, 32], z: float16[B, N, D], s: float16[B, 4, H, W],"
    " w: float16[8, 5], v: float16[32], ids: int32[K]) -> Tensor { return %s }"
)
SIZES = {"N": 3, "B": 2, "D": 5, "H": 3, "W": 2, "K": 4}

HEADS = "reshape(transpose(reshape(y, [4, shape(y)[0], 8]), 0, 1), [shape(y)[0], 32])"
PIXELS = (
    "reshape(permute(reshape(s, [shape(s)[0], 2, 2, shape(s)[2], shape(s)[3]]), [0, 3, 1, 4, 2]),"
    " [shape(s)[0], 1, 2 * shape(s)[2], 2 * shape(s)[3]])"
)
REPEATED = "reshape(broadcast_to(unsqueeze(x, 2), [shape(x)[0], 4, 2, 8]), [shape(x)[0], 8, 8])"


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        # a reshape of permuted axes: the reader walks over the axes that were there before
        (HEADS, "elementwise"),
        (f"relu({HEADS} + y)", "elementwise"),
        (f"{HEADS} * {HEADS}", "elementwise"),
        (f"sum({HEADS}, 0)", "column"),
        (f"softmax(unsqueeze({HEADS}, 2) + y[0, :])", "row"),
        (PIXELS, "elementwise"),
        (f"{PIXELS} * 2.0", "elementwise"),
        ("flatten(transpose(y)) * 2.0", "elementwise"),
        # the same with sizes that only run time knows
        ("reshape(permute(z, [1, 0, 2]), [shape(z)[0] * shape(z)[1], shape(z)[2]])", "elementwise"),
        (
            "relu(reshape(permute(z, [2, 1, 0]), [shape(z)[2], shape(z)[1] * shape(z)[0]]))",
            "elementwise",
        ),
        # axes that are repeated and joined
        (f"{REPEATED} * 2.0", "elementwise"),
        ("repeat(y, 2, 1) + 1.0", "elementwise"),
        # what is stored is read as it lies
        ("transpose(y) * 2.0", "elementwise"),
        ("softmax(transpose(y))", "row"),
        ("argmax(transpose(y)[4:, :], 1)", "row"),
        ("chunk(y, 2, 1).0 * chunk(y, 2, 1).1", "elementwise"),
        ("split(y, 8, 1).1 @ w", "matmul"),
        ("permute(x, [1, 0, 2]) @ w", "elementwise matmul"),  # rows that lie in two steps
        ("transpose(x, 0, 1) @ permute(x, [1, 2, 0])", "matmul"),
        ("reshape(y, [4 * shape(y)[0], 8]) @ w", "matmul"),
        ("y[:, 3:11] @ w[:, 1:4]", "matmul"),
        ("transpose(squeeze(unsqueeze(y, 1))) @ x[:, 0, :]", "matmul"),
        ("cumsum(y, 0)", "scan elementwise"),  # it stores rows, and the axes are exchanged again
        # a sliced axis that is a product is written out in between
        (f"{HEADS}[:, 3:9] * 2.0", "elementwise elementwise"),
    ],
)
def test_a_view_is_read_through(body: str, wanted: str) -> None:
    """Whole numbers are exact in every order: the passes may not change a bit."""
    random = np.random.default_rng(5)
    module = lowered(SIGNATURE % body).module
    func = module.func("f")
    args = []
    for value in func.params:
        shape = [int(d.substitute(SIZES)) for d in value.tensor.shape]
        numbers = random.integers(-4, 5, shape)
        args.append(numbers.astype(interp.NUMPY_DTYPES[value.tensor.dtype]))
    (before,) = interp.run(func, args)
    optimise(module)
    check_kernels(func)
    assert families(func) == wanted.split()
    (after,) = interp.run(func, args)
    np.testing.assert_allclose(after, before, rtol=2.0**-10)  # softmax is not of whole numbers
