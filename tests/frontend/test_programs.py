"""The forms of the language, one by one, and the programs of the model loading guide."""

from collections.abc import Callable

import pytest

from tests.guide import BLOCKS
from tlc.frontend import ast
from tlc.frontend.parser import parse
from tlc.frontend.source import Source

Lines = Callable[[str], list[str]]
Parsed = Callable[[str], ast.Program]


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_each_block_of_the_guide_parses(number: int, parsed: Parsed) -> None:
    assert parsed(BLOCKS[number]).body


def test_the_guide_parses_as_one_file(parsed: Parsed) -> None:
    names = [type(node).__name__ for node in parsed("".join(BLOCKS)).body]
    assert names == ["Assign"] * 4 + ["Fn", "Assign"] + ["Let"] * 4 + ["ExprStmt"] * 3


# Each text is followed by what its lines mean, with brackets around the operands of operators.
FORMS = {
    # programs
    'import "path.tl"': 'import "path.tl"',
    "function f() {}": "fn f() {}",
    "fn f(a: T, b,) -> T[N, 2*N, ?] { a }": "fn f(a: T, b) -> T[N, (2 * N), ?] { a }",
    "fn id<T>(x: T) -> (T, Vec<T>) { return (x, y) }": "fn id<T>(x: T) -> (T, Vec<T>)"
    " { return (x, y) }",
    "fn f()\n{\n}": "fn f() {}",
    "main { f(); g() }": "main { f(); g() }",
    "test adds { assert_eq(1 + 1, 2) }": "test adds { assert_eq((1 + 1), 2) }",
    'bench "a name" { f() }': 'bench "a name" { f() }',
    "tensor x: float16[2, 3] learnable = randn([2, 3])": "tensor x: float16[2, 3] learnable"
    " = randn([2, 3])",
    "tensor x: float16[2] frozen": "tensor x: float16[2] frozen",
    "tensor x: float16[2] = [1, 2]": "tensor x: float16[2] = [1, 2]",
    "struct P<T> { x: T, y: int\n z: float16[2] }": "struct P<T> { x: T; y: int; z: float16[2] }",
    "impl P { fn f(self) { self.x } }": "impl P { fn f(self) { self.x } }",
    "impl Drop for P<int> { fn drop(self) { } }": "impl Drop for P<int> { fn drop(self) {} }",
    "impl<T> P<T> { }": "impl<T> P<T> {}",
    # statements
    "let x = 1": "let x = 1",
    "let x: float16[N] = 1": "let x: float16[N] = 1",
    "let (a, b) = split(x)": "let (a, b) = split(x)",
    "x = 1": "x = 1",
    "x := 1": "x = 1",
    "x[i] = 1": "x[i] = 1",
    "x.f = 1": "x.f = 1",
    "(a, b) = f()": "(a, b) = f()",
    "if a {} else if b {} else {}": "if a {} else if b {} else {}",
    "for i in range(10) { continue }": "for i in range(10) { continue }",
    "for i in 0..n { break }": "for i in (0..n) { break }",
    "for i in {a, b} {}": "for i in {a, b} {}",
    "while a { loop { return } }": "while a { loop { return } }",
    "{ let x = 1\n { let x = 2 } }": "{ let x = 1; { let x = 2 } }",
    'panic("no {}", x)': 'panic("no {}", x)',
    # expressions
    "let a = if c { 1 } else { 2 }": "let a = (if c { 1 } else { 2 })",
    "let a = if c { 1 } else if d { 2 } else { 3 }": "let a = (if c { 1 } else if d { 2 }"
    " else { 3 })",
    "let a = if c then 1 else 2": "let a = (if c then 1 else 2)",
    "let a = { let b = 1; b }": "let a = ({ let b = 1; b })",
    "let a = match x { 1 | 2 => a, -1 if b => { c }, _ => return }": "let a = (match x"
    " { 1 | 2 => a, (-1) if b => ({ c }), _ => ({ return }) })",
    'match p { P { x, y: 0 } => x, "s" => 1, n => n }': "(match p"
    ' { P { x, y: 0 } => x, "s" => 1, n => n })',
    "P { x: 1.0, y: 2.0 }": "P { x: 1.0, y: 2.0 }",
    "tensor<float16>([1], device: gpu)": "tensor<float16>([1], device: gpu)",
    "f16::zeros([2, 3])": "f16::zeros([2, 3])",
    "KVCache::new_f16(layers)": "KVCache::new_f16(layers)",
    "f(a, k: 1, j=2,)": "f(a, k: 1, j: 2)",
    "[v; n]": "[v; n]",
    "[]": "[]",
    "[1, 2,]": "[1, 2]",
    "()": "()",
    "(a,)": "(a,)",
    "E[i, :]": "E[i, :]",
    "E[ids, 1:, :2, a:b, -1, a:-1]": "E[ids, 1:, :2, a:b, (-1), a:(-1)]",
    "model.blk[i].attn_q.weight": "model.blk[i].attn_q.weight",
    'model.metadata["llama.rope.freq_base"]': 'model.metadata["llama.rope.freq_base"]',
    '"=" * 80': '("=" * 80)',
    "true != false": "(true != false)",
    # learning
    "learn { let y = f(x)\n objective: loss(y), optimizer: adam(lr: 0.001), epochs: 100,"
    " scheduler: cosine(a) }": "learn { let y = f(x); objective: loss(y);"
    " optimizer: adam(lr: 0.001); epochs: 100; scheduler: cosine(a) }",
    "learn { optimizer: sgd(lr=0.1) epochs: N  for epoch in range(epochs) { backward(loss) } }":
    "learn { optimizer: sgd(lr: 0.1); epochs: N; for epoch in range(epochs) { backward(loss) } }",
    # logic
    "entity alice, bob": "entity alice, bob",
    "entity Person { alice, bob }": "entity Person {alice, bob}",
    "relation R(x: entity, y: entity) embed float16[64]": "relation R(x: entity, y: entity)"
    " embed float16[64]",
    "relation R(x: entity)": "relation R(x: entity)",
    "Parent(alice, bob)": "Parent(alice, bob)",
    "H(X) <- A(X, Y), not B(Y), X != Y": "H(X) <- A(X, Y), not B(Y), (X != Y)",
    "H(X) :- A(X), B(X)": "H(X) <- A(X), B(X)",
    "rule H(X) <- A(X) where X != a": "H(X) <- A(X), (X != a)",
    "rule H(a)": "rule H(a)",
    "P(alice, X)? where X != Y": "P(alice, X)? where (X != Y)",
    "P(X)? where X != a, X != b": "P(X)? where ((X != a) && (X != b))",
    "query P(alice, X)": "P(alice, X)?",
    "query P(X), not Q(X)? where X != a": "P(X), not Q(X)? where (X != a)",
    "P(alice, bob)?": "P(alice, bob)?",
    "embedding e { entities: {alice, bob} dimension: 64 init: xavier }": "embedding e"
    " { entities: {alice, bob}; dimension: 64; init: xavier }",
    "e[alice]": "e[alice]",
}  # fmt: skip

TRAPS = {
    "y = x[i+1]": ["y = x[(i + 1)]"],
    "y = x[-1]": ["y = x[(-1)]"],
    "y = (a+b).shape": ["y = (a + b).shape"],
    "y = [1.0].relu()": ["y = [1.0].relu()"],
    "if a {\n}\nelse {\n}": ["if a {} else {}"],
    "5 - 1\ni = 2": ["(5 - 1)", "i = 2"],
    "b\n(c)": ["b", "c"],
    "b\n[1]": ["b", "[1]"],
    "f(1e-5)": ["f(1e-05)"],
    "y = 0xff": ["y = 255"],
    "loop { continue }": ["loop { continue }"],
    "a /* b /* c */ d */\ne // f": ["a", "e"],
    "y = 2 ** 3 ** 2": ["y = (2 ** (3 ** 2))"],
    "y = -1 ** 2": ["y = (-(1 ** 2))"],
    "if x { y = 1 }": ["if x { y = 1 }"],
    "a <- b": ["(a < (-b))"],
    "inv_freq = return_value + breakpoint": ["inv_freq = (return_value + breakpoint)"],
    "fn forward(range: T) { epochs }": ["fn forward(range: T) { epochs }"],
    "let tensor = x.shape": ["let tensor = x.shape"],
}


@pytest.mark.parametrize("text", FORMS)
def test_forms(text: str, lines: Lines) -> None:
    assert lines(text) == [FORMS[text]]


@pytest.mark.parametrize("text", TRAPS)
def test_traps(text: str, lines: Lines) -> None:
    assert lines(text) == TRAPS[text]


def test_print_without_brackets_is_an_error(errors: Callable[[str], list[str]]) -> None:
    assert errors("print x") == ["E0101 expected end of line, found `x`"]


def test_ten_thousand_brackets_are_an_error(errors: Callable[[str], list[str]]) -> None:
    for opener, closer in ("()", "[]", "{}"):
        text = opener * 10_000 + closer * 10_000
        assert errors(text) == ["E0102 nested more than 200 deep"]


def test_an_if_with_blocks_is_a_statement_where_one_may_stand(parsed: Parsed) -> None:
    (statement,) = parsed("if a { 1 } else { 2 }").body
    assert isinstance(statement, ast.If)
    (let,) = parsed("let x = if a { 1 } else { 2 }").body
    assert isinstance(let, ast.Let)
    assert isinstance(let.value, ast.IfExpr)


def test_spans_go_from_the_first_to_the_last_character(parsed: Parsed) -> None:
    text = "let y = (a + f(b)).g[1:2] as T[3]"
    (let,) = parsed(text).body
    found = set()
    waiting: list[ast.Node] = [let]
    while waiting:
        node = waiting.pop()
        found.add(node.span.text)
        waiting += node.children()
    wanted = "(a + f(b)).g[1:2]", "(a + f(b)).g", "(a + f(b))", "f(b)", "1:2", "T[3]", text
    assert found.issuperset(wanted)


def test_a_program_spans_its_file() -> None:
    program, _ = parse(Source("test.tl", "\n\nx = 1\n"))
    assert program.span.text == "\n\nx = 1\n"
