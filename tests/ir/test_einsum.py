"""`einsum` against numpy's, on specifications made at random, and what it says of bad ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tlc.ir.ops  # noqa: F401  (fills the registry)
from tests.ir.programs import lowered, marked, only_error
from tlc.ir import interp
from tlc.ir.builder import Builder
from tlc.ir.core import Block, Func, Value
from tlc.ir.passes import optimise
from tlc.ir.types import TensorType

SIZES = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}


@st.composite
def specifications(draw: st.DrawFn) -> str:
    """Up to four operands of up to four labels, in which labels may stand twice."""
    label = st.sampled_from(sorted(SIZES))
    parts = draw(st.lists(st.text(label, max_size=4), min_size=1, max_size=4))
    used = sorted(set("".join(parts)))
    result = draw(st.permutations(used))[: draw(st.integers(0, len(used)))]
    return ",".join(parts) + "->" + "".join(result)


def computed(spec: str, operands: list[np.ndarray], symbols: bool = False) -> np.ndarray:
    """What the operation computes; with `symbols`, sizes are known at run only."""
    parts = spec.partition("->")[0].split(",")
    params = []
    for part, x in zip(parts, operands, strict=True):
        shape = tuple(part.upper()) if symbols else x.shape
        params.append(Value(TensorType("f32", ()).with_shape(shape)))
    body = Block(list(params))
    builder = Builder(body)
    builder.append("yield", builder.emit("einsum", *params, spec=spec))
    func = Func("f", body, [f"x{at}" for at in range(len(params))])
    (found,) = interp.run(func, operands)
    return found


@given(specifications(), st.booleans())
def test_it_computes_what_numpy_computes(spec: str, symbols: bool) -> None:
    random = np.random.default_rng(len(spec))
    parts = spec.partition("->")[0].split(",")
    operands = [
        random.integers(-3, 4, [SIZES[c] for c in part]).astype(np.float32) for part in parts
    ]
    # small whole numbers: float32 is exact
    np.testing.assert_array_equal(computed(spec, operands, symbols), np.einsum(spec, *operands))


@pytest.mark.parametrize(
    ("spec", "shapes"),
    [
        ("ji", [(2, 3)]),
        ("ba,cb", [(2, 3), (4, 2)]),
        ("...i,ij", [(5, 2, 3), (3, 4)]),
        ("...i,...i->...", [(5, 1, 3), (2, 3)]),
        ("i...,...->i...", [(3, 2), (2,)]),
        ("...ii->...i", [(2, 3, 3)]),
        ("...,...", [(2, 1), (1, 3)]),
        ("...ij->...ji", [(2, 3)]),
    ],
)
def test_results_without_an_arrow_and_axes_behind_dots(
    spec: str, shapes: list[tuple[int, ...]]
) -> None:
    operands = [np.arange(np.prod(s), dtype=np.float32).reshape(s) for s in shapes]
    body = Block([Value(TensorType("f32", ()).with_shape(s)) for s in shapes])
    builder = Builder(body)
    builder.append("yield", builder.emit("einsum", *body.args, spec=spec))
    (found,) = interp.run(Func("f", body, ["x", "y"][: len(shapes)]), operands)
    np.testing.assert_array_equal(found, np.einsum(spec, *operands))


def test_operands_are_multiplied_in_the_cheaper_order() -> None:
    text = (
        "fn f(a: float32[100, 2], b: float32[2, 100], c: float32[100]) -> float32[100]"
        ' { einsum("ij,jk,k->i", a, b, c) }'
    )
    module = lowered(text).module
    products = [op for op in module.func("f").walk() if op.name == "contract"]
    assert [str(op.result.type) for op in products] == ["f32[2, 1]", "f32[100, 1]"]


def test_a_product_of_matrices_is_one_kernel() -> None:
    text = "fn f(a: float16[N, 8], b: float16[M, 8]) -> float16[N, M] {"
    module = lowered(text + ' relu(einsum("ij,kj->ik", a, b)) }').module
    optimise(module)
    kernels = [op for op in module.func("f").walk() if op.name == "fused"]
    assert [op.attrs["family"] for op in kernels] == ["matmul"]


@pytest.mark.parametrize(
    ("call", "code", "place", "message"),
    [
        ('einsum("ij,jk->ik", x)', "E0302", '"ij,jk->ik"', '"ij,jk->ik" is for 2 tensors, and 1'),
        ('einsum("i->i", x)', "E0301", '"i->i"', '`i` of "i->i" is for a tensor of rank 1'),
        ('einsum("ijk->", x)', "E0301", '"ijk->"', "rank 3, and operand 1 has rank 2"),
        ('einsum("ij->k", x)', "E0302", '"ij->k"', "`k` of the result is in no operand"),
        ('einsum("ij->ii", x)', "E0302", '"ij->ii"', "`i` is twice in the result"),
        ('einsum("i1->", x)', "E0302", '"i1->"', "has `1`, where a label is a letter"),
        ('einsum("ij->j->k", x)', "E0302", '"ij->j->k"', "where a label is a letter"),
        ('einsum("ii", x)', "E0301", 'einsum("ii", x)', '`i` of "ii" is 2 and 3'),
        ('einsum("ij,ij", x, x.T)', "E0301", 'einsum("ij,ij", x, x.T)', "is 2 and 3"),
        ("einsum(x, x)", "E0302", "x", "the specification of `einsum` is a string"),
        ('einsum("ij")', "E0203", 'einsum("ij")', "needs a specification and tensors"),
        ('einsum("ij", a: x)', "E0203", "a: x", "no parameter `a`"),
        ('einsum("i", tensor<int>([1]))', "E0302", 'einsum("i", tensor<int>([1]))', "i32[1]"),
    ],
)
def test_a_bad_call_is_an_error_with_its_place(
    call: str, code: str, place: str, message: str
) -> None:
    problem = only_error(f"let x = zeros([2, 3])\nprint({call})")
    assert problem.code == code
    assert marked(problem) == place
    assert message in problem.message


def test_operands_that_disagree_are_both_shown() -> None:
    problem = only_error('let x = zeros([2, 3])\nlet y = zeros([2])\neinsum("ij,j", x, y)')
    assert [label.span.text for label in problem.others] == ["x", "y"]
