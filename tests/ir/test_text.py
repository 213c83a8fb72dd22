"""The text form: what is printed reads back as the same module; malformed text names its line."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ir.programs import lowered
from tests.ir.strategies import Case, cases
from tlc.ir import interp
from tlc.ir.dims import Dim
from tlc.ir.parser import parse_module
from tlc.ir.passes import optimise
from tlc.ir.printer import print_module, show_attr
from tlc.ir.types import tensor
from tlc.ir.verify import verify

EVERYTHING = """\
model 0 "weights/a b.gguf" "12e34f00ab"
model 1 "\\u00fc\\"\\\\.safetensors" ""

func @main() {
  %0 = constant() {value=(1.0, -2.5, inf)} : f16[3]
  %1 = constant() {value=-0.0} : f16[]
  %2 = constant() {value=nan} : f32[]
  %3 = constant() {value=(true, false)} : bool[2]
  %4 = constant() {value=hex"0000803f"} : f32[1]
  %5 = weight() {model=0, tensor="blk.0.w", encoding="q4_0", stored="q4_0"} : f16[4, 32]
  %6 = constant() {value=(0, 3)} : i32[2]
  %7 = gather(%5, %6) : f16[2, 32]
  %8 = permute(%5) {axes=(1, 0)} : f16[32, 4]
  %9 = contract(%7, %8) : f16[2, 4]
  %10 = slice(%9) {axis=0, start=1, length=1} : f16[1, 4]
  %11 = cast(%10) {dtype="f32"} : f32[1, 4]
  print(%0, %11) {parts=("a \\"{}\\"\\n// no comment ", none, <4>, none)}
  save(%11) {path="out.safetensors", name="%11 }"}
  save_model() {model=1, path="b.safetensors", dequantize=true}
  yield()
}

func @f.g(%0 x: f16[N, 2*M+1], %1 größe: f32[(N+1//2), ?0]) {
  %2 = constant() {value=<M*N>} : f32[]
  check() {left=(N%4), right=0, text="N divides"}
  %3 = iota() {axis=1} : i32[N, 3]
  %4 = broadcast(%2) {shape=[N, 2*M+1]} : f32[N, 2*M+1]
  %5 = once() : f16[2] ^() {
    %6 = constant() {value=(1.0, 2.0)} : f16[2]
    %7 = neg(%6) : f16[2]
    yield(%7)
  }
  yield(%0, %5, %4)
}
"""


def test_every_form_of_the_text_reads_back() -> None:
    module = parse_module(EVERYTHING)
    verify(module)
    assert print_module(module) == EVERYTHING


def test_places_are_comments() -> None:
    module = lowered("fn f(x: float16[N]) -> float16[N] {\n  x + 1.0\n}\n").module
    text = print_module(module)
    assert "  %3 = add(%0, %2) : f16[N]  // test.tl:2\n" in text
    bare = print_module(module, places=False)
    assert "//" not in bare
    assert print_module(parse_module(text)) == bare


def test_a_quotient_is_no_comment() -> None:
    text = "func @f(%0 x: f16[(N//8), 3]) {  // a comment\n  yield(%0)\n}\n// the end"
    (func,) = parse_module(text).funcs
    assert func.params[0].type == tensor("f16", Dim.of("N") // 8, 3)


def test_values_read_back_as_they_were() -> None:
    module = parse_module(EVERYTHING)
    attrs = [op.attrs for op in module.func("main").body.ops]
    assert attrs[0]["value"] == (1.0, -2.5, np.inf)
    assert np.signbit(attrs[1]["value"])
    assert np.isnan(attrs[2]["value"])
    assert attrs[3]["value"] == (True, False)
    assert attrs[4]["value"] == b"\x00\x00\x80\x3f"
    assert [type(n) for n in attrs[6]["value"]] == [int, int]
    assert attrs[12]["parts"] == ('a "{}"\n// no comment ', None, Dim.of(4), None)
    assert [(m.path, m.fingerprint) for m in module.models] == [
        ("weights/a b.gguf", "12e34f00ab"),
        ('ü"\\.safetensors', ""),
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-06, "1e-06"),
        (1e20, "1e+20"),
        (7, "7"),
        (True, "true"),
        ((), "()"),
        ((1,), "(1,)"),
        ((1, (2.0, "a")), '(1, (2.0, "a"))'),
        (b"\x01\xff", 'hex"01ff"'),
        (("form", ">8.2", ("a",)), '("form", ">8.2", ("a",))'),
    ],
)
def test_attributes_have_one_text_each(value: object, text: str) -> None:
    assert show_attr(value) == text
    module = f"func @f() {{\n  print() {{parts={text}}}\n  yield()\n}}\n"
    assert print_module(parse_module(module)) == module


@pytest.mark.fuzz
@given(cases())
def test_generated_modules_read_back(case: Case) -> None:
    text = print_module(case.module)
    again = parse_module(text)
    verify(again)
    assert print_module(again) == text


@pytest.mark.fuzz
@given(cases(whole=True))
def test_fused_modules_read_back_and_mean_the_same(case: Case) -> None:
    optimise(case.module)
    text = print_module(case.module)
    again = parse_module(text)
    verify(again, "fused")
    assert print_module(again) == text
    found = interp.run(case.func, case.args), interp.run(again.funcs[0], case.args)
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- malformed text ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "line 1: expected func, found nonsense"),
        ("func @f() {", "line 1: expected more text, found the end"),
        ("func f() {\n  yield()\n}", "line 1: f is not the name of a function"),
        ("func @f() {\n}", "line 2: a block ends with a yield"),
        ("func @f() {\n  frobnicate()\n  yield()\n}", "line 2: no operation is called frobnicate"),
        ("func @f() {\n  yield(%3)\n}", "line 2: %3 is not defined"),
        ("func @f(%0 x: f16[2], %0 y: f16[2]) {", "line 1: %0 is not a new value"),
        ("func @f(%0 x: f99[2]) {", "line 1: f99 is not a type"),
        ("func @f(%0 x: f16[2+]) {", "line 1: not a dimension: '2+'"),
        (
            "func @f() {\n  %0 = constant() {value=1.0}\n  yield()\n}",
            "line 3: expected :, found yield",
        ),
        ("func @f() {\n  %0, %1 = constant()\n : f16[]\n}", "line 2: as many types as results"),
        ("func @f() {\n  constant() {value=1.0}\n  yield()\n}", "line 2: constant has one result"),
        ("func @f() {\n  print() {parts=(%)}\n}", "line 2: % is not an attribute's value"),
        ('func @f() {\n  print() {parts=hex"0"}\n}', 'line 2: hex"0" is not an attribute\'s value'),
        ('model 0 "a" nothing', "line 1: nothing is not a string"),
        ('model 1 "a" "b"', "line 1: expected 0, found 1"),
        ("\n\n  §", "line 3: unexpected '§'"),
    ],
)
def test_what_is_malformed_names_its_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_module(text)


@pytest.mark.parametrize(
    "text",
    [
        "func @f() { print() {parts=" + "(" * 5000,
        "func @f() { %0 = once() : f16[2] " + "^() { %0 = once() : f16[2] " * 5000,
        "func @f(%0 x: f16[" + "(" * 5000,
        "func @f(%0 x: f16[" + "9" * 5000 + "]) { yield() }",
    ],
    ids=["tuples", "regions", "dimensions", "digits"],
)
def test_depth_and_length_are_refused_not_fatal(text: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        parse_module(text)


@pytest.mark.fuzz
@given(
    st.sampled_from([EVERYTHING, EVERYTHING[EVERYTHING.index("func @f.g") :]]),
    st.lists(
        st.tuples(
            st.integers(0, len(EVERYTHING)),
            st.integers(0, 12),
            st.text(alphabet='(){}[]<>^%@=,:"\\/+-*?0123456789.einfhxNM \n_', max_size=4),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_damaged_text_never_raises_anything_else(
    text: str, damage: list[tuple[int, int, str]]
) -> None:
    for at, length, inserted in damage:
        text = text[:at] + inserted + text[at + length :]
    problem = ""
    try:
        module = parse_module(text)
    except ValueError as refused:
        problem = str(refused)
    if problem:
        assert re.match(r"line \d+: ", problem), problem
        return
    assert print_module(parse_module(print_module(module))) == print_module(module)
