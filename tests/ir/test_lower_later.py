"""Constructs of the language that this version cannot compile say so, each at its place."""

from __future__ import annotations

import pytest

from tests.ir.programs import marked, only_error

# ---- what this version does not do yet -----------------------------------------------------------

LATER_BUILTINS = [
    "panic", "assert", "assert_eq", "env", "input", "str", "to_int", "append", "get", "vec",
    "from_vec", "to_vec", "rand", "randn", "random_normal", "batch_norm", "conv2d", "max_pool2d",
    "avg_pool2d", "einsum", "rope", "causal_mask", "apply_attention_mask", "attention", "scatter",
    "one_hot", "fused_add_relu", "fused_mul_relu", "fused_affine", "fused_gelu_linear",
    "padding_mask", "combine_masks", "precompute_rope_cos", "precompute_rope_sin", "dropout",
    "load_image", "preprocess", "predict", "load_tokenizer", "tokenize", "detokenize",
    "detokenize_incremental", "temperature_sample", "sample", "top_k", "top_p", "backward",
    "cleanup", "new_tensor_buffer", "alloc", "KVCache::new_f16", "KVCache::new_f32", "adam",
    "clip_grad_norm", "set_lr", "entity_onehot", "entity_dim", "transe_score", "distmult_score",
    "complex_score", "margin_ranking_loss", "binary_cross_entropy", "predict_tail_transe",
    "predict_head_complex", "compute_rank", "compute_mrr", "compute_hits_at_k", "compute_mean_rank",
    "relational_aggregate", "normalize_features",
]  # fmt: skip


@pytest.mark.parametrize("name", LATER_BUILTINS)
def test_a_builtin_of_the_language_that_is_not_there_yet_says_so(name: str) -> None:
    found = only_error(f"let a = {name}(zeros([2]))\n")
    assert (found.code, marked(found)) == ("E0401", name)
    assert found.message == f"`{name}` is not supported yet"


@pytest.mark.parametrize(
    ("program", "place", "what"),
    [
        ("for row in ones([2]) { }", "ones([2])", "a loop over a tensor"),
        ("for i in range(5000) { let a = i }", "range(5000)", "a loop of more than 4096 passes"),
        # constructs
        ("let a = match 1 { 1 => 2, _ => 3 }", "match 1 { 1 => 2, _ => 3 }", "`match`"),
        ("struct Point { x: float }", "struct Point { x: float }", "`struct`"),
        ("impl P { fn f(self) -> int { 1 } }", "impl P { fn f(self) -> int { 1 } }", "`impl`"),
        ("let p = Point { x: 1.0 }", "Point { x: 1.0 }", "a struct literal"),
        ('import "other.tl"', 'import "other.tl"', "`import`"),
        ("test adding { print(1) }", "test adding { print(1) }", "`test`"),
        ("bench adding { print(1) }", "bench adding { print(1) }", "`bench`"),
        ("fn f<T>(x: T) -> T { x }\nprint(f(1))", "f", "a generic function"),
        ("let a = [1, 2]\na[0] = 5", "a[0]", "assignment to a part of a value"),
        ("let a = zeros([2])\na[0] = 5.0", "a[0]", "assignment to a part of a value"),
        ("fn f(k: KVCache) -> int { 1 }\nf(1)", "KVCache", "the type `KVCache`"),
        ("fn f(k: Vec<int>) -> int { 1 }\nf(1)", "Vec<int>", "the type `Vec`"),
        ("fn f(t: Tokenizer) -> int { 1 }\nf(1)", "Tokenizer", "the type `Tokenizer`"),
        ("let a = zeros<float32>([2])", "zeros", "`zeros` with type arguments"),
        ("let a = layer_norm(ones([2, 3]), [2, 3])", "[2, 3]", "layer_norm over other dimensions"),
        ("let m = ones([2])\nprint([m, m] + [m, m])", "[m, m]", "an array of tensors as one"),
        # learning
        ("tensor w: float16[2] learnable = [1.0, 2.0]",
         "tensor w: float16[2] learnable = [1.0, 2.0]", "`learnable`"),
        ("learn { epochs: 3 }", "learn { epochs: 3 }", "`learn`"),
        # logic
        ("entity alice, bob", "entity alice, bob", "`entity`"),
        ("relation Parent(x: entity, y: entity)", "relation Parent(x: entity, y: entity)",
         "`relation`"),
        ("Grand(X, Z) <- Parent(X, Y), Parent(Y, Z)", "Grand(X, Z) <- Parent(X, Y), Parent(Y, Z)",
         "a rule"),
        ("Parent(alice, X)?", "Parent(alice, X)?", "a query"),
        ("embedding e { dimension: 64 }", "embedding e { dimension: 64 }", "`embedding`"),
    ],
)  # fmt: skip
def test_a_construct_that_is_not_there_yet_says_so(program: str, place: str, what: str) -> None:
    found = only_error(program)
    assert (found.code, marked(found)) == ("E0401", place)
    assert found.message.startswith(what)
    assert found.message.endswith("is not supported yet")


def test_a_construct_inside_a_function_is_found_when_the_function_is_lowered() -> None:
    found = only_error("fn f(x: float16[N]) -> Tensor { let y = match 1 { _ => x }\n  y }")
    assert (found.code, marked(found)) == ("E0401", "match 1 { _ => x }")
