"""What a user sees for typical mistakes, and that one mistake does not hide the next."""

from collections.abc import Callable

import pytest

from tlc.frontend import ast
from tlc.frontend.diagnostics import render_text
from tlc.frontend.lexer import MOST_ERRORS
from tlc.frontend.parser import parse
from tlc.frontend.source import Source
from tlc.frontend.unparse import unparse

Errors = Callable[[str], list[str]]

MISTAKES = {
    "brackets": [
        'print("a", x\ny = 3\n',
        "fn f(x: float16[2]) {\n    return g(x\n}\n",
        "x = f(1, 2]\n",
        "let x: float16[2) = 3\n",
        "x = (1 + 2))\n",
        "x = [1,\n     2\ny = 4\n",
        "x = f(7 // 2)\ny = 3\n",
        'print("abc)\nx = 3\n',
    ],
    "braces": [
        "fn f(x: T) {\n    if x > 0 {\n        y = 1\n\n    z = 2\n}\n\nfn g() {\n    1\n}\n",
        "fn f(x: T) {\n    x\n\nfn g() {\n    1\n}\n",
        "main {\n    while x {\n        y = 1\n    z = 2\n}\n",
        "x = 1\n}\ny = 2\n",
        "main {\n    fn f() { 1 }\n}\n",
        "main() { 1 }\n",
        "fn main { 1 }\n",
    ],
    "names": [
        "let = 3\n",
        "let match = 3\n",
        "let mut x = 3\n",
        "let a, b = f(x)\n",
        "a, b = f(x)\n",
        "fn (x) { }\n",
        "for i range(3) {\n    print(i)\n}\n",
        "import foo\n",
    ],
    "types": [
        "fn f(x float16) { x }\n",
        "fn f(x: ) { x }\n",
        "let x float16 = 3\n",
        "fn f() -> { 1 }\n",
        "struct P { x float16 }\n",
        "let x: float16[2,,3] = 3\n",
        "tensor x float16[2]\n",
        "relation R(x entity)\n",
    ],
    "statements": [
        "print x\n",
        "x = 3 y = 4\n",
        "if x = 3 {\n    y = 1\n}\n",
        "if x\n    y = 3\n",
        "x += 1\n",
        "v[0] += 1\n",
        "x++\n",
        "return a, b\n",
        "def f(x):\n    return x\n",
        "if a { b }\nelif c { d }\n",
        "else { x }\n",
        "f(1) = 2\n",
        "for (i = 0; i < 3; i++) { }\n",
        "let x += 3\n",
        "learn { epochs 100 }\n",
        "for i in x:\n    print(i)\n",
        "enum Color { Red, Green }\n",
        "switch (x) { case 1: break; }\n",
        "x = y = 3\n",
        "for i = 0 to 5 { }\n",
    ],
    "expressions": [
        "x = 1 +\n",
        "x = \n",
        "x = foo(1 2)\n",
        "x = [1 2]\n",
        "a < b < c\n",
        "x = a ? b : c\n",
        "x = y if c else z\n",
        "let f = fn(x) { x }\n",
        "let a = if c { 1 }\n",
        "x.y.\n",
        "match x { 1 -> 2 }\n",
        "H(X) <- \n",
        "P(X), Q(X)\n",
        "x = [i * 2 for i in y]\n",
        "f(a if b else c)\n",
        "let f = lambda x: x + 1\n",
    ],
    "characters": [
        "x & y\n",
        "let x = 12abc\n",
        "let x = “a”\n",
        "/* never\nclosed\n",
        'x = "a\\d"\n',
    ],
}


@pytest.mark.parametrize("group", MISTAKES)
def test_messages(group: str, golden: Callable[[str, str], None]) -> None:
    shown = []
    for text in MISTAKES[group]:
        problems = parse(Source("test.tl", text))[1]
        assert problems, text
        shown.append("\n".join([text, *(render_text(problem) + "\n" for problem in problems)]))
    golden(f"diagnostics/syntax_{group}.txt", ("-" * 60 + "\n").join(shown))


def test_every_bad_line_is_reported_and_the_others_are_kept() -> None:
    text = "let = 1\na = 1\nlet = 2\nfn f( {\n    b = 1\n    let = 3\n}\nc = 1\nx +\n"
    program, problems = parse(Source("test.tl", text))
    assert [p.span.line for p in problems if p.span] == [1, 3, 4, 9]
    assert unparse(program) == "a = 1\nc = 1\n"


def test_errors_close_together_are_all_reported(errors: Errors) -> None:
    assert len(errors("let = 1\nlet = 2\n= 3\n")) == 3


def test_an_error_in_a_body_leaves_its_other_lines() -> None:
    text = (
        "fn f() {\n a = 1\n let\n b = 1\n}\nmatch x {\n 1 => a\n * => b\n 2 => c\n}\n"
        "struct S {\n x: T\n 3\n y: T\n}\nlearn {\n epochs: 1\n )\n a b\n lr: 2\n}\n"
    )
    program, problems = parse(Source("test.tl", text))
    assert [problem.span.line for problem in problems if problem.span] == [3, 8, 13, 18, 19]
    function, match, struct, learn = program.body
    assert unparse(function) == "fn f() {\n    a = 1\n    b = 1\n}"
    assert unparse(match) == "match x {\n    1 => a\n    2 => c\n}"
    assert unparse(struct) == "struct S {\n    x: T\n    y: T\n}"
    assert unparse(learn) == "learn {\n    epochs: 1\n    lr: 2\n}"


def test_recovery_does_not_go_back_into_a_closed_block(errors: Errors) -> None:
    assert errors("let a = if c { 1 } e\nb = 1\n") == [
        "E0101 expected `else` or end of line, found `e`"
    ]


def test_an_error_at_the_end_of_the_file_keeps_the_tree() -> None:
    program, problems = parse(Source("test.tl", "a = 1\nb ="))
    assert len(problems) == 1
    assert unparse(program) == "a = 1\n"


def test_one_error_is_reported_once(errors: Errors) -> None:
    assert len(errors("a b c d e f g h\n")) == 1


@pytest.mark.parametrize("line", ["let = 3\n", ")\n", "§\n", "a b\n", "x = {a: }\n"])
def test_reports_stop_in_the_end(line: str, errors: Errors) -> None:
    assert MOST_ERRORS <= len(errors(line * 10_000)) <= 2 * MOST_ERRORS


def test_diagnostics_come_in_the_order_of_the_text() -> None:
    problems = parse(Source("test.tl", "f(1) = 2\nlet = 3\n)\n§\nlet = 4\n"))[1]
    assert [problem.span.line for problem in problems if problem.span] == [1, 2, 3, 4, 5]


def test_an_empty_file_is_a_program() -> None:
    program, problems = parse(Source("test.tl", ""))
    assert (program.body, problems) == ((), [])
    assert isinstance(program, ast.Program)


DEEP = {
    "powers": "x = 2" + " ** 2" * 10_000,
    "signs": "x = " + "-" * 10_000 + "1",
    "nots": "x = " + "not " * 10_000 + "a",
    "choices": "x = " + "if a then b else " * 10_000 + "c",
    "else-ifs": "if a {}" + " else if a {}" * 10_000,
    "types": "let x: " + "V<" * 10_000 + "T" + ">" * 10_000 + " = 3",
    "patterns": "match x { " + "-" * 10_000 + "1 => 2 }",
    "calls": "f(-" * 199 + "a" + ")" * 199,
    "blocks": "main {" * 10_000,
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_what_is_nested_too_deeply_is_an_error(text: str, errors: Errors) -> None:
    assert errors(text) == ["E0102 nested more than 200 deep"]


@pytest.mark.parametrize("text", ["(" * 200 + "a" + ")" * 200, "{" * 199 + "}" * 199])
def test_two_hundred_brackets_are_allowed(text: str, errors: Errors) -> None:
    assert errors(text) == []
