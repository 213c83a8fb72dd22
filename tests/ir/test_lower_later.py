"""Constructs of the language that this version cannot compile say so, each at its place."""

from __future__ import annotations

import pytest

from tests.ir.programs import errors, marked, only_error

# ---- what this version does not do yet -----------------------------------------------------------

LATER_BUILTINS = [
    "backward",
    "adam",
    "clip_grad_norm", "set_lr", "entity_onehot", "entity_dim", "transe_score", "distmult_score",
    "complex_score", "margin_ranking_loss", "binary_cross_entropy", "predict_tail_transe",
    "predict_head_complex", "compute_rank", "compute_mrr", "compute_hits_at_k", "compute_mean_rank",
    "relational_aggregate",
]  # fmt: skip


@pytest.mark.parametrize("name", LATER_BUILTINS)
def test_a_builtin_of_the_language_that_is_not_there_yet_says_so(name: str) -> None:
    found = only_error(f"let a = {name}(zeros([2]))\n")
    assert (found.code, marked(found)) == ("E0401", name)
    assert found.message == f"`{name}` is not supported yet"


@pytest.mark.parametrize(
    ("program", "place", "what"),
    [
        # constructs
        ("let a = zeros<float32>([2])", "zeros", "`zeros` with type arguments"),
        # learning
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


def test_what_logic_declares_is_not_reported_as_unknown_as_well() -> None:
    text = "entity alice, bob\nrelation Parent(x: entity, y: entity)\nParent(alice, bob)\n"
    assert [d.code for d in errors(text)] == ["E0401", "E0401"]
