"""What `--emit tokens` and `--emit ast` show."""

from collections.abc import Callable

from tlc.frontend.dump import dump_tokens, dump_tree
from tlc.frontend.parser import parse, tokenize
from tlc.frontend.source import Source

TEXT = """\
fn forward(x: float16[N, D]) -> float16[N] {
    let y = x @ w + b
    if y > 0 { y } else { -y }
}
tensor w: float16[2, 3] learnable
match x { 1 => { print("one") }, _ => 2 }
"""


def test_tree(golden: Callable[[str, str], None]) -> None:
    golden("dump/tree.txt", dump_tree(parse(Source("test.tl", TEXT))[0]))


def test_tokens(golden: Callable[[str, str], None]) -> None:
    golden("dump/tokens.txt", dump_tokens(tokenize(Source("test.tl", TEXT))[0]))


def test_a_long_sum_is_one_line() -> None:
    text = "x = a" + " + a" * 10_000
    assert dump_tree(parse(Source("test.tl", text))[0]).count("\n") == 2
