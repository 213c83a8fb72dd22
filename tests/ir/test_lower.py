"""What programs mean: every expression and builtin, against numbers from NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.ir.programs import call, known, lowered, output, run_func, value

Array = np.ndarray[Any, Any]
F16, F32 = np.float16, np.float32

X = np.array([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]], F16)
Y = np.array([[0.5, 1.5, 2.5], [3.5, 4.5, 5.5]], F16)
SETUP = (
    "let x = tensor([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]])\n"
    "let y = tensor([[0.5, 1.5, 2.5], [3.5, 4.5, 5.5]])\n"
    "let v = tensor([1.0, 2.0, 4.0])\n"
    "let ids = tensor<int>([1, 0, -1])\n"
    "let t = reshape(arange([24]), [2, 3, 4])\n"
)
V, IDS, T = np.array([1, 2, 4], F16), np.array([1, 0, -1]), np.arange(24.0).reshape(2, 3, 4)
WIDE_X, WIDE_Y = X.astype(F32), Y.astype(F32)

# ---- numbers that are known at build -------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        # the traps of the grammar that concern meaning
        ("2 ** 3 ** 2", "512"),
        ("-1 ** 2", "-1"),
        ("(-1) ** 2", "1"),
        ("2 ** -1", "0.5"),
        ("2 ⊗ 3", "8"),
        ("3 ⊙ 4", "12"),
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("10 - 4 - 3", "3"),
        ("2 * 3 % 4", "2"),
        # integers divide toward zero
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("7 / -2", "-3"),
        ("7 % 3", "1"),
        ("-7 % 3", "-1"),
        ("7 % -3", "1"),
        ("7.0 / 2", "3.5"),
        ("-7.5 % 2.0", "-1.5"),
        ("1.5 + 1", "2.5"),
        ("0xff", "255"),
        ("1_000", "1000"),
        (".5", "0.5"),
        ("1.", "1.0"),
        ("1e-5", "1e-05"),
        ("9223372036854775807", "9223372036854775807"),
        # comparisons and logic
        ("1 < 2", "true"),
        ("1 == 1.0", "true"),
        ('"a" < "b"', "true"),
        ("1 != 2 && 2 >= 2", "true"),
        ("false || not true", "false"),
        ("!false and true or false", "true"),
        ("true == (1 < 2)", "true"),
        ("[1, 2] == [1, 2]", "true"),
        ("[1, 2] != [1, 2, 3]", "true"),
        ("(1, 2) == (1, 3)", "false"),
        # strings and arrays
        ('"a" + "b"', "ab"),
        ('"=" * 3', "==="),
        ('"ab" * 0', ""),
        ('"héllo"[1]', "é"),
        ('"hello"[1:3]', "el"),
        ('[1, 2.5, true, "s"]', "[1, 2.5, true, s]"),
        ("[1, 2, 3][-1]", "3"),
        ("[1, 2, 3][1:]", "[2, 3]"),
        ("[7; 3]", "[7, 7, 7]"),
        ("(1, 2)", "(1, 2)"),
        ("(4, 5).1", "5"),
        ("[1, 2, 3].len", "3"),
        ("len([1, 2])", "2"),
        ('len("abc")', "3"),
        # choices and conversions
        ("if 1 < 2 then 3 else 4", "3"),
        ("if false then 3 else if true then 5 else 6", "5"),
        ("if 2 > 1 { 3 } else { 4 }", "3"),
        ("2.9 as int", "2"),
        ("-2.9 as int", "-2"),
        ("3 as float", "3.0"),
        ("2 as bool", "true"),
        ("true as int", "1"),
        ("2.5 as string", "2.5"),
        # functions of plain numbers are plain numbers
        ("sqrt(2.0)", repr(math.sqrt(2.0))),
        ("1.0 / sqrt(64)", "0.125"),
        ("abs(-3)", "3"),
        ("abs(-3.5)", "3.5"),
        ("floor(2.7)", "2.0"),
        ("round(2.5)", "2.0"),
        ("pow(2.0, 10)", "1024.0"),
        ("exp(0.0)", "1.0"),
        ("max(3, 7)", "7"),
        ("min(3, 7.5)", "3.0"),
        ("relu(-2.0)", "0.0"),
    ],
)
def test_what_is_known_is_computed_at_build(expression: str, shown: str) -> None:
    assert known(expression) == shown


# ---- tensors -------------------------------------------------------------------------------------

GELU = 0.5 * WIDE_X * (1 + np.tanh(np.sqrt(2 / np.pi) * (WIDE_X + 0.044715 * WIDE_X**3)))


def softmax(x: Array, axis: int = -1) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


def normal(x: Array, eps: float) -> Array:
    spread = np.sqrt(x.var(-1, keepdims=True) + eps)
    return np.asarray((x - x.mean(-1, keepdims=True)) / spread)


EXPRESSIONS: list[tuple[str, Any]] = [
    # operators; numbers and arrays adapt to the tensor
    ("x + y", X + Y),
    ("x - 1", X - 1),
    ("2 * x", 2 * X),
    ("x / y", X / Y),
    ("1.0 / x", 1 / X),
    ("x % 2.0", np.fmod(X, 2)),
    ("x ** 2", X * X),
    ("-x", -X),
    ("x + [10.0, 20.0, 30.0]", X + np.array([10, 20, 30])),
    ("[1.0, 2.0] + [3.0, 4.0]", [4.0, 6.0]),
    ("2 * [1, 2]", [2.0, 4.0]),
    ("-[1.0, 2.0]", [-1.0, -2.0]),
    ("[1.0, -1.0].relu()", [1.0, 0.0]),
    ("x ⊙ y", X * Y),
    ("x > 0", X > 0),
    ("x == [[1.0], [5.0]]", np.equal(X, [[1], [5]])),
    ("x > 0 && y < 4", (X > 0) & (Y < 4)),
    ("x > 0 || !(y < 4)", (X > 0) | ~(Y < 4)),
    ("ids == 0", IDS == 0),
    # products
    ("x @ transpose(y)", X @ Y.T),
    ("x @ v", X @ V),
    ("v @ v", V @ V),
    ("[1.0, 2.0] @ x", np.array([1, 2]) @ X),
    ("t @ transpose(t)", T @ T.transpose(0, 2, 1)),
    ("t @ ones([4, 2])", T @ np.ones((4, 2))),
    ("v @ t[0, :, :]", V @ T[0]),
    ("ones([5, 1, 2, 3]) @ t", np.ones((5, 1, 2, 3)) @ T),
    ("matmul(x, y.T)", X @ Y.T),
    ("linear(x, y)", X @ Y.T),
    ("linear(x, y, [1.0, 2.0])", X @ Y.T + np.array([1, 2])),
    # indices
    ("x[0, 1]", -2.0),
    ("x[-1, -1]", -6.0),
    ("x[1]", X[1]),
    ("x[:, 0]", X[:, 0]),
    ("x[:, 1:]", X[:, 1:]),
    ("x[:, :-1]", X[:, :-1]),
    ("x[0:1, -2:]", X[0:1, -2:]),
    ("x[:, 0..2]", X[:, 0:2]),
    ("x[1.0, 2.0]", -6.0),
    ("x[ids, :]", X[IDS]),
    ("x[:, ids]", X[:, IDS]),
    ("t[:, ids, 1]", T[:, IDS, 1]),
    ("x[[1, 0], :]", X[[1, 0]]),
    ("x[[1.0, 0.0], :]", X[[1, 0]]),
    ("x[tensor([1.0, 0.0]), :]", X[[1, 0]]),
    ("x[argmax(v[0:2]), :]", X[1]),
    ("t[1, 2, 3]", 23.0),
    ("(x + y)[1 + 0, 2 - 1]", 9.5),
    # shapes
    ("reshape(x, [3, 2])", X.reshape(3, 2)),
    ("reshape(x, [-1])", X.reshape(-1)),
    ("reshape(t, [2.0, -1, 2])", T.reshape(2, -1, 2)),
    ("x.reshape([6])", X.reshape(6)),
    ("x.T", X.T),
    ("transpose(t)", T.transpose(0, 2, 1)),
    ("transpose(t, 0, 2)", T.transpose(2, 1, 0)),
    ("transpose(t, dim0: 0, dim1: -2)", T.transpose(1, 0, 2)),
    ("permute(t, [2, 0, 1])", T.transpose(2, 0, 1)),
    ("flatten(x)", X.reshape(-1)),
    ("squeeze(x[0:1, :])", X[0]),
    ("squeeze(x[0:1, :], 0)", X[0]),
    ("unsqueeze(v, 0)", V[None]),
    ("unsqueeze(v, -1)", V[:, None]),
    ("broadcast_to(v, [2, 3])", np.broadcast_to(V, (2, 3))),
    ("concat(x, y, 0)", np.concatenate([X, Y], 0)),
    ("concat(x, y, 1.0)", np.concatenate([X, Y], 1)),
    ("concat([x, y, x], dim: -1)", np.concatenate([X, Y, X], -1)),
    ("concat(x, y)", np.concatenate([X, Y], 0)),
    ("concat([1.0], [2.0, 3.0])", [1.0, 2.0, 3.0]),
    ("cat(v, v)", [1.0, 2.0, 4.0, 1.0, 2.0, 4.0]),
    ("stack(x, y)", np.stack([X, Y])),
    ("stack([x, y], -1)", np.stack([X, Y], -1)),
    ("split(v, 2)[1]", [4.0]),
    ("split(v, 2) * 2", [2.0, 4.0]),  # as a tensor, the pieces are the first one
    ("split(x, 1, 1).2", X[:, 2:]),
    ("chunk(x, 2)[1]", X[1:]),
    ("chunk(t, 2, dim: 2)[1]", T[:, :, 2:]),
    ("concat(split(v, 1), 0)", V),
    ("slice(x, 1, 0, 2)", X[1, 0:2]),
    ("slice_last(x, 0)", X[-1]),
    ("slice_last(x, 1)", X[:, -1]),
    ("repeat(x, 2)", np.tile(X, (2, 1))),
    ("repeat(x, 3, dim: 1)", np.tile(X, (1, 3))),
    # reductions
    ("sum(x)", X.sum()),
    ("sum(x, 0)", X.sum(0)),
    ("sum(x, -1, true)", X.sum(-1, keepdims=True)),
    ("x.sum(dim: 1)", X.sum(1)),
    ("mean(x)", -0.5),
    ("mean(x, 1.0)", WIDE_X.mean(1)),
    ("max(x)", 5.0),
    ("max(x, 0)", X.max(0)),
    ("max(x, 0.0)", np.maximum(X, 0)),
    ("max(x, y)", np.maximum(X, Y)),
    ("max(0, x)", np.maximum(X, 0)),
    ("min(x, dim: 1)", X.min(1)),
    ("min([1.0, 5.0], [4.0, 2.0])", [1.0, 2.0]),
    ("argmax(x)", 4),
    ("argmax(x, 1)", X.argmax(1)),
    ("argmin(x, 0, true)", X.argmin(0)[None]),
    # functions
    ("relu(x)", np.maximum(X, 0)),
    ("x.abs().sqrt()", np.sqrt(np.abs(X))),
    ("clamp(x, -1, 2.5)", np.clip(X, -1, 2.5)),
    ("clamp(x, low: 0.0, high: 1.0)", np.clip(X, 0, 1)),
    ("where(x > 0, x, y)", np.where(X > 0, X, Y)),
    ("where(x > 0, 1.0, 0.0)", np.where(X > 0, 1.0, 0.0)),
    ("where(v > 1, x, [[0.0], [1.0]])", np.where(V > 1, X, np.array([[0.0], [1.0]]))),
    ("pow(2.0, v)", [2.0, 4.0, 16.0]),
    ("sigmoid(x)", 1 / (1 + np.exp(-WIDE_X))),
    ("silu(x)", WIDE_X / (1 + np.exp(-WIDE_X))),
    ("gelu(x)", GELU),
    ("softmax(x)", softmax(WIDE_X)),
    ("softmax(x, 0)", softmax(WIDE_X, 0)),
    ("softmax(x, dim: 1.0)", softmax(WIDE_X)),
    ("log_softmax(x)", np.log(softmax(WIDE_X))),
    ("rms_norm(x, v)", WIDE_X / np.sqrt((WIDE_X**2).mean(-1, keepdims=True) + 1e-6) * V),
    ("rms_norm(x, v, eps: 1)", WIDE_X / np.sqrt((WIDE_X**2).mean(-1, keepdims=True) + 1) * V),
    ("layer_norm(x, v, v)", normal(WIDE_X, 1e-5) * V + V),
    ("layer_norm(x, [3])", normal(WIDE_X, 1e-5)),
    ("layer_norm(x, [3], 0.5)", normal(WIDE_X, 0.5)),
    ("layer_norm(x, [3], eps: 0.5)", normal(WIDE_X, 0.5)),
    ("embedding(x, ids)", X[IDS]),
    ("gather(x, ids)", X[IDS]),
    ("index_select(v, ids)", V[IDS]),
    ("x as int", np.trunc(X)),
    ("(x > 0) as float16", (X > 0) * 1.0),
    ("x as bool", X != 0),
    ("if true then x else y", X),
]


@pytest.mark.parametrize(("expression", "wanted"), EXPRESSIONS, ids=[e for e, _ in EXPRESSIONS])
def test_an_expression_has_the_value_that_numpy_gives_it(expression: str, wanted: Any) -> None:
    found = value(expression, SETUP)
    wanted = np.asarray(wanted)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found.astype(float), wanted.astype(float), 2e-3, 1e-3)


@pytest.mark.parametrize(
    ("expression", "dtype"),
    [
        ("tensor([1.0])", F16),
        ("tensor<float32>([1.0])", F32),
        ("tensor<int>([1])", np.int32),
        ("tensor<bool>([true, false])", np.bool_),
        ("zeros([2])", F16),
        ("f32::ones([2])", F32),
        ("f16::full([2], 3.0)", F16),
        ("tensor([1, 2])", F16),
        ("[1, 2] as int", np.int32),
        ("x + 0.1", F16),
        ("(x as float32) + 0.1", F32),
        ("x + tensor<float32>([1.0])", F32),
        ("x @ f32::zeros([3, 2])", F32),
        ("sum(x)", F16),
        ("argmax(x)", np.int32),
        ("x == x", np.bool_),
        ("positional_encoding(2, 4)", F16),
        ("arange([3])", F16),
    ],
)
def test_an_expression_has_the_dtype_that_the_language_gives_it(
    expression: str, dtype: Any
) -> None:
    assert value(expression, SETUP).dtype == dtype


def test_a_number_takes_the_precision_of_the_tensor_it_meets() -> None:
    wide = value("x * 0.1", "let x = f32::ones([1])")
    assert wide[0] == F32(0.1)
    for expression in ("pow(0.1, x)", "where(x > 0, 0.1, x)", "max(0.1, -x)", "0.1 ** x"):
        assert value(expression, "let x = f32::ones([1])")[0] == F32(0.1), expression
    assert value("x * 0.1", "let x = ones([1])")[0] == F16(0.1)


def test_a_plain_number_is_not_rounded_to_float16_on_the_way() -> None:
    """1/sqrt(3) in float16 would be 0.5771."""
    assert value("f32::ones([1]) * (1.0 / sqrt(3.0))")[0] == F32(1 / math.sqrt(3))


def test_tensors_are_made_as_the_language_says() -> None:
    assert value("tensor([[1, 2], [3, 4]])").tolist() == [[1, 2], [3, 4]]
    assert value("tensor(2.5)").shape == ()
    assert value("zeros([4.0, 2])").tolist() == [[0, 0]] * 4
    assert value("full([2], 7, device: gpu)").tolist() == [7, 7]
    assert value("arange([2, 3])").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert value("tensor<int>([1.0, 2.0])").tolist() == [1, 2]
    many = ", ".join(map(str, range(100)))
    assert value(f"tensor([{many}])").tolist() == list(range(100))
    assert value(f"tensor<int>([{many}])").tolist() == list(range(100))
    assert value(f"tensor<float32>([{many}]) * 0.1")[99] == F32(99) * F32(0.1)


def test_positional_encoding_is_the_documented_formula() -> None:
    angle = np.arange(6)[:, None] / 10000 ** (np.arange(5)[None] / 5)
    wanted = np.where(np.arange(5) % 2 == 1, np.cos(angle), np.sin(angle))
    np.testing.assert_allclose(value("positional_encoding(6, 5)"), wanted, 1e-3, 1e-3)


# ---- large and deep programs ---------------------------------------------------------------------


def test_a_sum_of_ten_thousand_terms() -> None:
    assert known(" + ".join(["1"] * 10_000)) == "10000"
    total = " + ".join(["x"] * 2000)
    assert call(f"fn f(x: float16[1]) -> Tensor {{ {total} }}", "f", np.ones(1, F16)) == [2000]


def test_parentheses_200_deep() -> None:
    assert known("(" * 199 + "1" + ")" * 199) == "1"
    assert known("abs(" * 99 + "-1" + ")" * 99) == "1"
    assert known("-(" * 99 + "1" + ")" * 99) == "-1"
    assert known("[" * 31 + "1" + "]" * 31 + "[0]" * 31) == "1"


def test_three_thousand_statements() -> None:
    steps = "".join(f"  x = x + {at % 3}.0\n" for at in range(3000))
    text = f"fn f(x: float16[1]) -> Tensor {{\n{steps}  x\n}}"
    assert call(text, "f", np.zeros(1, F16))[0] > 2000


def test_a_chain_of_a_thousand_methods() -> None:
    text = "fn f(x: float16[1]) -> Tensor { x" + ".relu().neg()" * 1000 + " }"
    assert call(text, "f", np.ones(1, F16)).tolist() == [0.0]


def test_calls_a_hundred_deep_with_deep_expressions_inside() -> None:
    """Every call has a deep expression around the next: the stack holds all of it."""
    nested = "1 + (0 + abs(" * 60 + "f(n - 1)" + "))" * 60
    text = f"fn f(n: int) -> int {{ if n < 1 {{ 0 }} else {{ {nested} }} }}\nprint(f(90))"
    assert output(text) == [str(90 * 60)]


def test_the_limit_on_recursion_is_put_back() -> None:
    import sys

    before = sys.getrecursionlimit()
    lowered("print(1)")
    assert sys.getrecursionlimit() == before


def test_a_function_is_lowered_for_each_call_by_itself() -> None:
    text = (
        "fn twice(x: Tensor) -> Tensor { x * 2 }\n"
        "print(twice(ones([2])), twice(f32::ones([1, 1])), twice(3))"
    )
    assert output(text) == ["[2.0, 2.0] [[2.0]] 6"]


def test_saving_is_part_of_the_program() -> None:
    module = lowered('let w = ones([2])\nsave(w, "w.safetensors")\nsave(w + 1, "v.safetensors")')
    _, screen = run_func(module.module.func("main"))
    assert {k: v.tolist() for k, v in screen.saved.items()} == {
        "w.safetensors": [1, 1],
        "v.safetensors": [2, 2],
    }
    names = [op.attrs["name"] for op in module.module.func("main").body.ops if op.name == "save"]
    assert names == ["w", "tensor"]
