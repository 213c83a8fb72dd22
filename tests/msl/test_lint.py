"""The lint: what Apple's compiler refuses is found, with its line; near relatives pass."""

from __future__ import annotations

import pytest

from tests.codegen.cases import EVERYTHING
from tests.codegen.emulation import compiled
from tests.msl.lint_cases import NOT_OURS, OURS, RIGHT, WRONG, kernel
from tlc.runtime.errors import RunError
from tlc.runtime.msl.lint import RULES, lint, require


@pytest.mark.parametrize("name", WRONG)
def test_what_metal_refuses_is_found(name: str) -> None:
    text, code, version = WRONG[name]
    assert code in {message.code for message in lint(text, version=version)}


@pytest.mark.parametrize("name", RIGHT)
def test_what_metal_takes_passes(name: str) -> None:
    text, version = RIGHT[name]
    assert lint(text, version=version) == []


@pytest.mark.parametrize("name", NOT_OURS)
def test_what_our_kernels_do_without_is_found(name: str) -> None:
    text, code = NOT_OURS[name]
    assert {message.code for message in lint(text, own=True)} == {code}


@pytest.mark.parametrize("name", OURS)
def test_what_our_kernels_may_have_passes(name: str) -> None:
    assert lint(OURS[name], own=True) == []


def test_every_rule_has_a_case() -> None:
    cases = [code for _, code, _ in WRONG.values()] + [code for _, code in NOT_OURS.values()]
    assert set(cases) >= RULES.keys() - {"M02"}


def test_every_apple_kernel_passes_with_the_rules_of_our_own() -> None:
    for cases in EVERYTHING:
        assert lint(compiled(list(cases()))[1], own=True) == [], cases.__name__


def test_a_message_says_its_line() -> None:
    with pytest.raises(RunError, match=r"k\.metal:3: M01"):
        require(kernel("a[0] = 1.0f;"), "k.metal")
