"""The lint: what Apple's compiler refuses is found, with its line; near relatives pass."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.codegen.cases import EVERYTHING
from tests.codegen.emulation import compiled
from tests.msl.emitted import collected, problems
from tests.msl.lint_cases import RIGHT, WRONG, kernel
from tests.msl.lint_own_cases import NOT_OURS, OURS
from tlc import driver
from tlc.frontend.diagnostics import CompileError
from tlc.runtime.errors import RunError
from tlc.runtime.msl.lint import RULES, lint, require
from tlc.runtime.msl.translate import translate

PROGRAMS = Path(__file__).parent.parent / "programs"


@pytest.mark.parametrize("name", WRONG)
def test_what_metal_refuses_is_found(name: str) -> None:
    text, code, version = WRONG[name]
    assert code in {message.code for message in lint(text, version=version)}


@pytest.mark.parametrize("name", RIGHT)
def test_what_metal_takes_passes(name: str) -> None:
    text, version = RIGHT[name]
    assert lint(text, version=version) == []


@given(
    st.sampled_from(["features.metal", "defects.metal"]),
    st.floats(0, 1),
    st.integers(0, 400),
    st.tuples(st.sampled_from("<>()[]{};,"), st.sampled_from("<>()[]{};, ")),
)
def test_damaged_text_is_read_or_refused(
    name: str, where: float, length: int, swapped: tuple[str, str]
) -> None:
    whole = (Path(__file__).parent / name).read_text()
    start = int(where * len(whole))
    text = whole[start : start + length].replace(*swapped)
    with suppress(RunError):
        check_all(text)
    with suppress(RunError):
        translate(text, {})


def check_all(text: str) -> None:
    """All of the lint but clang, which says that something is wrong."""
    said = "", "kernels.metal:1:1: error: wrong"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tlc.runtime.devices.toolchain.run_both", lambda *_: said)
        lint(text.replace("#", ""), own=True)


@pytest.mark.parametrize(
    "text", ["template < a <", "if", "constant", "vec<int, 2>", "kernel void f(,int x) {}"]
)
def test_text_that_ends_early_is_linted(text: str) -> None:
    with suppress(RunError):
        assert lint(text, own=True)


def test_large_libraries_pass() -> None:
    text = (Path(__file__).parent / "features.metal").read_text()
    assert lint(text, version="3.1") == []


def test_a_message_about_a_macro_says_the_line_that_uses_it() -> None:
    text, *_ = WRONG["double in a macro"]
    assert {message.line for message in lint(text)} == {4}


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


def test_every_kernel_of_the_test_programs_passes() -> None:
    with collected() as found:
        for program in sorted(PROGRAMS.glob("*.tl")):
            with suppress(CompileError):  # some show what is wrong
                driver.build(str(program))
    assert len(found) > 500
    assert problems(list(found.values())) == []
    kernel, *_ = found.values()
    wrong = replace(kernel, text=kernel.text.replace("    uint group [", "    int group [", 1))
    assert "`group` cannot be a int" in problems([wrong])[0]


def test_a_program_may_compare_whole_numbers_with_themselves() -> None:
    driver.build("p.tl", text="let x = tensor([1, 2])\nprint(x == x, x != x)\n", verify=True)


def test_a_message_says_its_line() -> None:
    with pytest.raises(RunError, match=r"k\.metal:3: M01"):
        require(kernel("a[0] = 1.0f;"), "k.metal")
