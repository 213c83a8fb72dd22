"""Every operation's record is complete, and its faces agree: types, numbers, kernel text, names."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import tlc.ir.ops  # noqa: F401  (fills the registry)
from tlc.ir import interp
from tlc.ir.builder import Builder
from tlc.ir.core import Block, Func, Value
from tlc.ir.lower.builtins.table import SPECIAL
from tlc.ir.opdef import BUILTINS, OPS, OpDef, Param, Sample, parse_params
from tlc.ir.printer import show_attr
from tlc.ir.types import FLOATS, TensorType

# what the interpreter does itself, since it concerns regions, files, checks or the outside
IN_THE_INTERPRETER = {
    "yield", "fused", "once", "if", "loop", "function", "call", "read", "check", "weight",
    "weight_of", "print", "save", "save_model", "assert", "text", "text_of", "text_value", "timed",
    "text_order", "text_float", "tokenize", "detokenize", "detokenize_next", "core_ml",
}  # fmt: skip

WITHOUT_SAMPLES = {
    "yield": "ends a block",
    "fused": "has a region; test_passes.py runs thousands",
    "once": "has a region; test_passes.py runs it",
    "if": "has regions",
    "loop": "has a region",
    "function": "has a region; test_recursion.py calls it",
    "call": "has no meaning without its function",
    "read": "gives no tensor but a size",
    "check": "has no result; test_functions.py sees it hold and fail",
    "weight": "reads a file; test_models.py gives it one",
    "weight_of": "reads files; test_loops.py gives it some",
    "print": "has no result",
    "assert": "has no result; programs see it hold and fail",
    "text": "reads what is outside; test_testing.py gives it some",
    "text_of": "gives no tensor but a number of a text; programs print it",
    "text_value": "gives no tensor but a number",
    "text_order": "gives no tensor but a number",
    "tokenize": "needs a vocabulary; tests/tokenizer gives it some",
    "detokenize": "has no result; tests/tokenizer sees what it says",
    "detokenize_next": "has no result; tests/tokenizer sees what it says",
    "text_float": "reads what is outside; tests/test_arguments.py gives it some",
    "timed": "marks a place; test_testing.py sees what stands behind it",
    "core_ml": "needs a Mac; tests/coreml/test_engine.py stands in for one",
    "save": "has no result",
    "save_model": "has no result",
    "and": "works on masks, and samples are numbers; see the test below",
    "or": "works on masks, and samples are numbers; see the test below",
    "not": "works on masks, and samples are numbers; see the test below",
}
KINDS = {
    "tensor", "tensors", "axis", "axes", "shape", "dim", "int", "float", "bool", "str", "dtype",
    "attr", "pair", "tensor_i32",
}  # fmt: skip
KERNELS = {
    *("matmul", "convolution", "window", "gather", "concat"),
    *("reduce", "elementwise", "sort", "scan", "scatter"),
}

each_op = pytest.mark.parametrize("op", OPS.values(), ids=OPS.keys())
SAMPLES = [(op, sample) for op in OPS.values() for sample in op.sample]


@each_op
def test_the_record_is_complete(op: OpDef) -> None:
    assert op.doc.endswith("."), "the document is made of sentences"
    assert op.doc[0] != " "
    if op.expand is not None:
        assert op.type is None, "a composition's type is that of what it is made of"
        assert op.eval is None
        assert op.msl is None
        assert op.names, "a composition that nobody can call is nothing"
    else:
        assert op.type is not None
        assert (op.eval is not None) != (op.name in IN_THE_INTERPRETER)
    assert op.sample or op.name in WITHOUT_SAMPLES
    assert not (op.sample and op.name in WITHOUT_SAMPLES), "the list of exceptions is stale"
    assert op.effect in ("pure", "state", "io")


@each_op
def test_an_operation_is_computed_in_one_way(op: OpDef) -> None:
    """Elementwise expressions, views, kernel families and compositions exclude one another."""
    ways = [op.msl is not None, op.view, op.kernel is not None, op.expand is not None]
    special = op.name in IN_THE_INTERPRETER or op.name == "constant"
    assert sum(ways) == (0 if special else 1)
    assert op.kernel is None or op.kernel in KERNELS
    assert op.lanes is None or op.msl is not None


@each_op
def test_kernel_text_names_the_operands_there_are(op: OpDef) -> None:
    count = sum(p.kind == "tensor" for p in op.params)
    for text in filter(None, (op.msl, op.lanes)):
        assert set(re.findall(r"\{(.*?)\}", text)) == {str(at) for at in range(count)}
        assert text.format(*("x" * count)).count("(") == text.count(")")


@each_op
def test_parameters_are_well_formed(op: OpDef) -> None:
    names = [p.name for p in op.params]
    assert len(set(names)) == len(names)
    assert all(p.kind in KINDS for p in op.params)
    optional = [p.default is not None for p in op.params]
    assert optional == sorted(optional), "what may be left out comes last"
    assert all(name.isidentifier() for name in names)
    assert op.signature.startswith(f"{(op.names or (op.name,))[0]}(")


def test_builtins_have_one_meaning() -> None:
    spelled = [name for op in OPS.values() for name in op.names]
    assert len(set(spelled)) == len(spelled)
    assert {n: op for op in OPS.values() for n in op.names} == BUILTINS
    # these prepare arguments, or choose between operations by them, and hand on to the record
    both = {"max", "min", "clamp", "clip", "layer_norm", "rope", "einsum", "abs", "dropout"}
    assert SPECIAL.keys() & BUILTINS.keys() == both


def test_the_language_can_call_what_it_lists() -> None:
    """The builtins of the language that are one operation each."""
    listed = (
        "abs sqrt rsqrt exp log sin cos tan tanh sigmoid relu gelu gelu_erf silu floor ceil round"
        " pow clamp where sum mean max min argmax argmin softmax log_softmax rms_norm layer_norm"
        " matmul linear embedding gather index_select broadcast_to transpose permute flatten"
        " squeeze unsqueeze add batch_norm einsum conv2d max_pool2d avg_pool2d rope causal_mask"
        " apply_attention_mask attention scatter one_hot cumsum sort argsort fused_add_relu"
        " fused_mul_relu fused_affine fused_gelu_linear padding_mask combine_masks dropout"
        " precompute_rope_cos precompute_rope_sin normalize_features"
    )
    assert set(listed.split()) <= BUILTINS.keys()
    special = (
        "tensor zeros ones full arange range range_i f16::zeros f32::zeros f16::ones f32::ones"
        " positional_encoding shape rank len reshape concat stack split chunk slice slice_last"
        " repeat topk rand randn random_normal f16::rand f32::rand f16::randn f32::randn"
        " load_model load_model_f16 load_model_f32 get_tensor save_model save print"
    )
    assert set(special.split()) <= SPECIAL.keys()


def test_parameters_are_read_as_they_are_written() -> None:
    assert parse_params("") == ()
    assert parse_params("x, dim: axis = -1, w = none") == (
        Param("x", "tensor", None),
        Param("dim", "axis", "-1"),
        Param("w", "tensor", "none"),
    )


# ---- samples -------------------------------------------------------------------------------------


def numbers(type: TensorType, sample: Sample, seed: int) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(seed)
    shape = tuple(map(int, type.shape))
    found: Any
    match type.dtype:
        case "i32":
            found = random.integers(int(sample.low), int(sample.high) + 1, shape)
        case "bool":
            found = random.integers(0, 2, shape)
        case _:
            found = random.uniform(sample.low, sample.high, shape)
    array: np.ndarray[Any, Any] = np.asarray(found, interp.NUMPY_DTYPES[type.dtype])
    return array


def called(op: OpDef, sample: Sample) -> Func:
    """A function that makes the sample's call on its parameters."""
    params = [Value(type) for type in sample.operands]
    body = Block(list(params))
    builder = Builder(body)
    builder.append("yield", builder.emit(op, *params, **sample.attrs))
    return Func("f", body, [f"x{at}" for at in range(len(params))])


@pytest.mark.parametrize(
    ("op", "sample"), SAMPLES, ids=[f"{op.name}-{at}" for at, (op, _) in enumerate(SAMPLES)]
)
def test_a_sample_has_the_type_that_its_rule_says(op: OpDef, sample: Sample) -> None:
    func = called(op, sample)
    args = [numbers(type, sample, seed) for seed, type in enumerate(sample.operands)]
    ((found,), (result,)) = interp.run(func, args), func.results
    assert found.shape == tuple(map(int, result.tensor.shape))
    assert found.dtype == interp.NUMPY_DTYPES[result.tensor.dtype]
    assert np.isfinite(found).all(), "a sample shows the operation at work, not its limits"
    if op.elementwise and op.name != "cast":
        first = sample.operands[-1]
        assert result.tensor.shape == first.shape


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.sample], ids=lambda op: op.name)
def test_attributes_of_samples_are_parameters_with_a_text_form(op: OpDef) -> None:
    allowed = {p.name for p in op.params if not p.kind.startswith("tensor")}
    for sample in op.sample:
        assert sample.attrs.keys() <= allowed
        required = {p.name for p in op.params if p.default is None} & allowed
        assert required <= sample.attrs.keys()
        assert all(isinstance(show_attr(value), str) for value in sample.attrs.values())


# ---- numbers, against formulas written here ------------------------------------------------------

X = np.linspace(-3.0, 3.0, 25, dtype=np.float32)
POSITIVE = np.linspace(0.05, 6.0, 25, dtype=np.float32)


def erf(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """2/sqrt(pi) times the integral from 0, by its power series."""
    total = term = x.astype(np.float64)
    for n in range(1, 60):
        term = -term * x * x / n
        total = total + term / (2 * n + 1)
    return np.asarray(2.0 / np.sqrt(np.pi) * total)


FORMULAS: dict[str, Any] = {
    "neg": lambda x: -x,
    "abs": np.fabs,
    "exp": np.exp,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "tanh": lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
    "erf": erf,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.round,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.where(x > 0, x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "gelu_erf": lambda x: 0.5 * x * (1 + erf(x / np.sqrt(2))),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_functions_compute_their_formula(name: str) -> None:
    func = called(OPS[name], Sample((TensorType("f32", ()).with_shape(X.shape),), {}))
    (found,) = interp.run(func, [X])
    np.testing.assert_allclose(found, FORMULAS[name](X.astype(np.float64)), 2e-6, 1e-6)


@pytest.mark.parametrize(
    ("name", "formula"),
    [("sqrt", np.sqrt), ("rsqrt", lambda x: 1 / np.sqrt(x)), ("log", np.log)],
    ids=["sqrt", "rsqrt", "log"],
)
def test_functions_of_positive_numbers_compute_their_formula(name: str, formula: Any) -> None:
    func = called(OPS[name], Sample((TensorType("f32", ()).with_shape(X.shape),), {}))
    (found,) = interp.run(func, [POSITIVE])
    np.testing.assert_allclose(found, formula(POSITIVE.astype(np.float64)), 2e-6, 1e-6)


def pairwise(name: str, a: list[Any], b: list[Any], dtype: str = "f32") -> list[Any]:
    type = TensorType(dtype, ()).with_shape((len(a),))
    stored: Any = interp.NUMPY_DTYPES[dtype]
    arrays = [np.array(x, stored) for x in (a, b)]
    (found,) = interp.run(called(OPS[name], Sample((type, type), {})), arrays)
    return list(found.tolist())


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("name", "a", "b", "wanted"),
    [
        ("add", [1.5, INF, INF], [2.0, 1.0, -INF], [3.5, INF, NAN]),
        ("sub", [1.5, INF, 0.0], [2.0, INF, -0.0], [-0.5, NAN, 0.0]),
        ("mul", [3.0, INF, -2.0], [-0.5, 0.0, INF], [-1.5, NAN, -INF]),
        ("div", [3.0, 1.0, 0.0, -1.0], [-2.0, 0.0, 0.0, 0.0], [-1.5, INF, NAN, -INF]),
        ("mod", [7.0, -7.0, 7.0, 1.0], [3.0, 3.0, -3.0, 0.0], [1.0, -1.0, 1.0, NAN]),
        ("pow", [2.0, -2.0, 4.0, -2.0], [3.0, 2.0, 0.5, 0.5], [8.0, 4.0, 2.0, NAN]),
        ("maximum", [1.0, NAN, 2.0], [2.0, 1.0, NAN], [2.0, NAN, NAN]),
        ("minimum", [1.0, NAN, 2.0], [2.0, 1.0, NAN], [1.0, NAN, NAN]),
        ("eq", [1.0, NAN, 0.0], [1.0, NAN, -0.0], [True, False, True]),
        ("ne", [1.0, NAN, 0.0], [1.0, NAN, -0.0], [False, True, False]),
        ("lt", [1.0, NAN, 2.0], [2.0, 1.0, 2.0], [True, False, False]),
        ("le", [1.0, NAN, 2.0], [2.0, 1.0, 2.0], [True, False, True]),
        ("gt", [1.0, NAN, 3.0], [2.0, 1.0, 2.0], [False, False, True]),
        ("ge", [1.0, NAN, 2.0], [2.0, 1.0, 2.0], [False, False, True]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_operators_follow_ieee_arithmetic(
    name: str, a: list[float], b: list[float], wanted: list[Any]
) -> None:
    np.testing.assert_array_equal(pairwise(name, a, b), wanted)


@pytest.mark.parametrize(
    ("name", "wanted"), [("and", [False, False, True]), ("or", [False, True, True])]
)
def test_masks_combine(name: str, wanted: list[bool]) -> None:
    assert pairwise(name, [False, False, True], [False, True, True], "bool") == wanted


def test_a_mask_is_negated() -> None:
    func = called(OPS["not"], Sample((TensorType("bool", ()).with_shape((2,)),), {}))
    (found,) = interp.run(func, [np.array([True, False])])
    assert found.tolist() == [False, True]


@pytest.mark.parametrize("dtype", FLOATS)
def test_float16_arithmetic_is_float32_and_rounded_once(dtype: str) -> None:
    # 2048 + 1 is no float16: the sum is rounded to even, the product is computed exactly first
    assert pairwise("add", [2048.0], [1.0], dtype) == [2048.0 if dtype == "f16" else 2049.0]
    assert pairwise("mul", [0.1], [3.0], dtype) == [
        float(interp.NUMPY_DTYPES[dtype](np.float32(interp.NUMPY_DTYPES[dtype](0.1)) * 3))
    ]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("reduce_sum", [NAN, 6.0]),
        ("reduce_max", [NAN, 3.0]),
        ("reduce_min", [NAN, 1.0]),
        ("reduce_argmax", [1, 1]),
        ("reduce_argmin", [1, 0]),
    ],
)
def test_reductions_hand_nan_on_and_take_the_first_of_equals(name: str, wanted: list[Any]) -> None:
    x = np.array([[1.0, NAN, NAN], [1.0, 3.0, 2.0]], np.float32)
    type = TensorType("f32", ()).with_shape(x.shape)
    (found,) = interp.run(called(OPS[name], Sample((type,), {"axis": 1})), [x])
    np.testing.assert_array_equal(found[:, 0], wanted)
    (ties,) = interp.run(called(OPS[name], Sample((type,), {"axis": 1})), [np.ones_like(x)])
    assert ties[0, 0] == {"reduce_sum": 3, "reduce_max": 1, "reduce_min": 1}.get(name, 0)
