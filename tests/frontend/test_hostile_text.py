"""No text makes the parser raise or hang: random tokens and damaged programs."""

import random
from time import monotonic

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tlc.frontend.diagnostics import render_json, render_text
from tlc.frontend.dump import dump_tokens, dump_tree
from tlc.frontend.lexer import MOST_ERRORS, scan
from tlc.frontend.parser import parse, tokenize
from tlc.frontend.source import Source
from tlc.frontend.unparse import unparse

PROGRAM = """\
import "path.tl"
fn forward(x: float16[N, D], w: Vec<T>) -> float16[N, 2*D, ?] {
    let (a, b) = f(x, dim: 1); return x @ w + b
}
struct P<T> { x: T, y: int }
impl Drop for P<int> { fn drop(self) { print("bye {}", self.x) } }
tensor w: float16[2, 3] learnable = tensor<float16>([[1.0, .5], [1e-5, 0xff]], device: gpu)
if a > b and not c { d = 1 } else if e { f[i, :] = -2 ** 3 } else { g := {1, 2} }
let z = if c then a else if d { b } else { 3 }
for i in 0..10 { while x { break } loop { continue } }
match x { 1 | -2 => a, "s" if q => { y = 3 }
  P { x, y: 0 } => x, _ => panic("no") }
test name { learn { optimizer: sgd(lr=0.1) epochs: N  for e in range(3) { backward(l) } } }
entity alice, bob
relation R(x: entity) embed float16[64]
H(X) <- A(X, Y), not B(Y), X != Y
rule H(X) :- A(X)
P(alice, X)? where X != Y
embedding e { entities: {alice, bob} dimension: 64 }
f16::zeros([v; 2]).relu().shape[0] as int // end
main { e[alice] /* nested /* comment */ */ }
"""

WORDS = sorted({token.text for token in scan(Source("program.tl", PROGRAM))[0]})
BITS = [*WORDS, "\n", " ", ";", "§", '"', "'", "/*", "*/", "//", "\ud800", "0x", "1e", "\\", "é"]

pytestmark = pytest.mark.fuzz


def survives(text: str) -> None:
    source = Source("hostile.tl", text)
    program, problems = parse(source)
    assert len(problems) <= 4 * MOST_ERRORS
    for problem in problems:
        assert render_text(problem)
        assert render_json(problem)["place"]
    assert dump_tree(program)
    dump_tokens(tokenize(source)[0])
    again, more = parse(Source("again.tl", unparse(program)))
    if not problems:
        assert not more, unparse(program)
        assert unparse(again) == unparse(program)


@given(st.lists(st.sampled_from(BITS), max_size=60).map(" ".join))
@example("_ = =")
def test_random_tokens(text: str) -> None:
    survives(text)


@given(st.text(max_size=40))
def test_random_characters(text: str) -> None:
    survives(text)


@given(st.integers(0, 2**32))
def test_damaged_programs(seed: int) -> None:
    chance = random.Random(seed)
    text = PROGRAM
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(text))
        cut = at + chance.choice([0, 0, 1, 5, 40])
        text = text[:at] + chance.choice(["", *BITS]) + text[cut:]
    survives(text)


def test_the_program_itself_has_no_errors() -> None:
    assert parse(Source("program.tl", PROGRAM))[1] == []


def test_long_hostile_texts_take_no_long_time() -> None:
    start = monotonic()
    for bit in ["§", '"', "/*", "a<", "x = {", "f(\n", "é§", "}", ")(", "if ", "a.", ":-", "a\n(b"]:
        parse(Source("hostile.tl", bit * (100_000 // len(bit))))
    assert monotonic() - start < 60, "some text takes time that grows with its square"
