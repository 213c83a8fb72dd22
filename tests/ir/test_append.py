"""Attention that appends to what it reads: when it does, that it computes the same, and apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.ir.kernels import families, kernels, optimised
from tests.ir.programs import lowered
from tlc.ir import interp
from tlc.ir.core import Func, Module, Op
from tlc.ir.passes.append import apart
from tlc.ir.verify import verify

SIGNATURE = (
    "fn f(q: float16[1, 4, 8], k: float16[1, 2, 8], v: float16[1, 2, 8], b: float16[8],"
    " old_k: float16[M, 2, 8], old_v: float16[M, 2, 8], flat: float16[M, 16]) {"
    " %s\n (reshape(attention(q, keys, values), [4, 8]), keys, values) }"
)
PLAIN = "let keys = concat(old_k, k, 0)\nlet values = concat(old_v, v, 0)"
TAKEN = {
    "as_they_are": (PLAIN, 2),
    "computed": (
        "let keys = concat(old_k, rope(k, shape(old_k)[0]), 0)\n"
        "let values = concat(old_v, tanh(v * b), 0)",
        2,
    ),
    "of_all_heads_in_a_row": (
        "let keys = reshape(concat(flat, reshape(k + b, [1, 16]), 0), [M + 1, 2, 8])\n"
        "let values = concat(old_v, v, 0)",
        2,
    ),
    "read_behind_it_too": (PLAIN + "\nlet more = sum(keys)\nlet q = q * 1.0", 2),
}
ALONE = {
    "two_rows": "let keys = concat(old_k, concat(k, k * 2.0, 0), 0)\n"
    "let values = concat(old_v, concat(v, v, 0), 0)",
    "in_front": "let keys = concat(k, old_k, 0)\nlet values = concat(v, old_v, 0)",
    "read_before_it": PLAIN + "\nlet q = q * sum(keys) + sum(values)",
    "not_by_heads": "let keys = permute(reshape(concat(flat, reshape(k, [1, 16]), 0),"
    " [M + 1, 8, 2]), [0, 2, 1])\nlet values = keys",
}


def ran(func: Func) -> list[NDArray[Any]]:
    rng = np.random.default_rng(3)
    shapes = [(1, 4, 8), (1, 2, 8), (1, 2, 8), (8,), (5, 2, 8), (5, 2, 8), (5, 16)]
    return interp.run(func, [rng.standard_normal(s).astype(np.float16) for s in shapes])


def attention(func: Func) -> Op:
    (op,) = (op for op in kernels(func) if op.attrs["family"] == "attention")
    return op


@pytest.mark.parametrize(("body", "grown"), TAKEN.values(), ids=TAKEN.keys())
def test_attention_appends_a_row_to_what_it_reads(body: str, grown: int) -> None:
    func = optimised(SIGNATURE % body)
    assert len(attention(func).results) == 1 + grown
    wanted = ran(lowered(SIGNATURE % body).module.func("f"))
    for found, exact in zip(ran(func), wanted, strict=True):
        # scores are not rounded to float16 on the way: a few roundings of numbers below 4
        np.testing.assert_allclose(found, exact, rtol=0, atol=4 * 4 * 2.0**-11)


@pytest.mark.parametrize("body", ALONE.values(), ids=ALONE.keys())
def test_what_is_no_row_of_heads_is_appended_before(body: str) -> None:
    func = optimised(SIGNATURE % body)
    assert len(attention(func).results) == 1
    assert "concat" in families(func)


@pytest.mark.parametrize("name", TAKEN)
def test_apart_it_is_two_kernels_that_give_the_same(name: str) -> None:
    """As the plan of memory has it where the old rows would have to be copied."""
    func = optimised(SIGNATURE % TAKEN[name][0])
    before, op = ran(func), attention(func)
    two = apart(op)
    assert [each.attrs["family"] for each in two] == ["concat", "attention"]
    for each in two:
        for value in each.results:
            value.owner = each
    at = func.body.ops.index(op)
    func.body.ops[at : at + 1] = two
    verify(Module([func]), "fused")
    for found, wanted in zip(ran(func), before, strict=True):
        np.testing.assert_array_equal(found, wanted)
