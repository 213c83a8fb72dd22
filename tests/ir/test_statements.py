"""What statements do, what `print` writes, and the operations that programs become."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.ir.programs import ir, lowered, output

Array = np.ndarray[Any, Any]
F16, F32 = np.float16, np.float32

# ---- statements ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "lines"),
    [
        # names
        ("let a = 1\na = a + 1\nprint(a)", ["2"]),
        ("a := 3\nprint(a)", ["3"]),
        ('a = 1\na = "text"\nprint(a)', ["text"]),
        ("let (a, b) = (1, 2)\nprint(b, a)", ["2 1"]),
        ("let (a, b) = [3, 4]\nprint(a + b)", ["7"]),
        ("a = 1\nb = 2\n(a, b) = (b, a)\nprint(a, b)", ["2 1"]),
        ("let a = 1\n{\n  let a = 2\n  print(a)\n}\nprint(a)", ["2", "1"]),
        ("let a = 1\n{\n  a = 2\n}\nprint(a)", ["2"]),
        ("let x: float16[2] = [1.0, 2.0]\nprint(x)", ["[1.0, 2.0]"]),
        ("let x: float = 1\nprint(x)", ["1.0"]),
        ("let x: int = 2.0\nprint(x)", ["2"]),
        ("tensor w: float16[2, 2] = [1, 2, 3, 4]\nprint(w)", ["[[1.0, 2.0], [3.0, 4.0]]"]),
        ("tensor w: float32[2]\nprint(w)", ["[0.0, 0.0]"]),
        ("let N = 2\ntensor w: int[N, 1] = [1, 2]\nprint(w)", ["[[1], [2]]"]),
        ("tensor w: float16[?] frozen = [1.0, 2.0]\nprint(w)", ["[1.0, 2.0]"]),
        ("tensor s: float16 = 0.5\nprint(s)", ["0.5"]),
        # choices
        ("if 1 > 2 { print(1) } else if 2 > 2 { print(2) } else { print(3) }", ["3"]),
        ("if true { print(1) }", ["1"]),
        ("let a = if true { let b = 2\n b * 3 } else { 0 }\nprint(a)", ["6"]),
        # loops
        ("for i in range(3) { print(i) }", ["0", "1", "2"]),
        ("for i in range_i(2, 4) { print(i) }", ["2", "3"]),
        ("for i in arange(2) { print(i) }", ["0", "1"]),
        ("for i in 1..3 { print(i) }", ["1", "2"]),
        ("for i in 3..1 { print(i) }\nprint(9)", ["9"]),
        ("for i in [5, 7.5] { print(i) }", ["5.0", "7.5"]),
        ("for i in {3, 4} { print(i) }", ["3", "4"]),
        ("for i in range(2.0) { print(i) }", ["0", "1"]),
        ("for s in zeros([2, 3]).shape { print(s) }", ["2", "3"]),
        ("let i = 0\nwhile i < 3 { i = i + 2\n print(i) }", ["2", "4"]),
        (
            "i = 0\nloop { i = i + 1\n if i == 2 { continue }\n if i > 3 { break }\n print(i) }",
            ["1", "3"],
        ),
        (
            "for i in range(9) { if i == 1 { continue }\n if i == 3 { break }\n print(i) }",
            ["0", "2"],
        ),
        (
            "for i in range(2) { for j in range(2) { if j == 1 { break }\n print(i, j) } }",
            ["0 0", "1 0"],
        ),
        ("let x = ones([1])\nfor i in range(3) { x = x * 2 }\nprint(x)", ["[8.0]"]),
        # main comes after the top level
        ("main { print(2, a) }\nlet a = 1\nprint(1)", ["1", "2 1"]),
        # an if of blocks as a last expression
        ("fn f(n: int) -> int { if n > 1 { n * 10 } else { 0 } }\nprint(f(2), f(1))", ["20 0"]),
        ("fn f(n: int) -> int { if n > 1 { return 7 }\n n }\nprint(f(2), f(1))", ["7 1"]),
        (
            "fn f(n: int) -> int { for i in 0..9 { if i == n { return i * 2 } }\n 0 }\nprint(f(3))",
            ["6"],
        ),
        # recursion on numbers
        (
            "fn fact(n: int) -> int { if n < 2 { 1 } else { n * fact(n - 1) } }\nprint(fact(10))",
            ["3628800"],
        ),
        (
            "fn fib(n: int) -> int { if n < 2 then n else fib(n - 1) + fib(n - 2) }\nprint(fib(9))",
            ["34"],
        ),
        # a branch that is not taken has no effect
        ("let a = 1\nlet b = if true { 1 } else { a = 2\n 2 }\nprint(a, b)", ["1 1"]),
        ("fn f() -> int { let b = if true { 1 } else { return 5 }\n b }\nprint(f())", ["1"]),
        ("let n = 0\nlet a = if n == 0 then 0 else 10 / n\nprint(a)", ["0"]),
        ("let a = if true { 1 } else { print(9)\n 2 }\nprint(a)", ["1"]),
        # semicolons
        ("let a = 1; print(a); print(a + 1);", ["1", "2"]),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_a_program_prints_what_its_statements_say(program: str, lines: list[str]) -> None:
    assert output(program) == lines


# ---- print ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ("print()", ""),
        ('print("a", 1, 2.5, true)', "a 1 2.5 true"),
        ('print("{} of {}", 1, 2)', "1 of 2"),
        ('print("{}{}", "a", [1, 2])', "a[1, 2]"),
        ('print("a {}", x)', "a [1.0, 2.0]"),
        ('print("shape:", x.shape)', "shape: [2]"),
        ("print((1, x))", "(1, [1.0, 2.0])"),
        ("print([x, 3])", "[[1.0, 2.0], 3]"),
        ('println("a")', "a"),
        ('print("50%", "{")', "50% {"),
        ('"a".print()', "a"),
    ],
)
def test_print_joins_its_arguments_or_fills_the_holes(call: str, line: str) -> None:
    assert output(f"let x = tensor([1.0, 2.0])\n{call}") == [line]


def test_printed_text_is_one_part_and_tensors_are_operands() -> None:
    text = ir('let x = zeros([2])\nprint("a", 1, x, x.shape)')
    assert '{parts=("a 1 ", none, " [2]\\n")}' in text
    shown = ir('fn f(x: float16[N, 2]) { print("{}:", x.shape) }')
    assert '{parts=("[", <N>, ", 2]:\\n")}' in shown


# ---- the IR that comes out -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "operations"),
    [
        ("x @ w", ["contract"]),
        ("x @ w + b", ["contract", "broadcast", "add"]),
        ("x.T", ["permute"]),
        ("x + 1", ["constant", "broadcast", "add"]),
        ("x[0, :]", ["check", "slice", "reshape"]),
        ("x", []),
        ("x[:, :]", []),
        ("reshape(x, [N, K])", []),
        ("x as float16", []),
        ("relu(x)", ["relu"]),
    ],
)
def test_no_operation_is_made_that_says_nothing(body: str, operations: list[str]) -> None:
    text = f"fn f(x: float16[N, K], w: float16[K, M], b: float16[M]) -> Tensor {{ {body} }}"
    module = lowered(text).module
    if body == "x as float16":
        operations = ["cast"]  # taken away by the canonical form
    assert [op.name for op in module.func("f").body.ops[:-1]] == operations


def test_operations_remember_where_they_were_written() -> None:
    module = lowered("fn f(x: float16[2]) -> Tensor {\n  let y = exp(x)\n  y *\n    2.0\n}").module
    spans = [op.span for op in module.func("f").body.ops if op.name in ("exp", "mul")]
    assert [span.text for span in spans if span] == ["exp(x)", "y *\n    2.0"]


def test_devices_are_hints() -> None:
    found = lowered("let x = zeros([2], device: gpu)\nlet y = tensor([1.0], device: ane)")
    assert {name: span.line for name, span in found.hints.items()} == {"gpu": 1, "ane": 2}
    assert lowered("let x = zeros([2], device: auto)").hints == {}
    assert lowered("let gpu = 1\nprint(gpu)").hints == {}
    # what is not run asks for nothing
    assert lowered("let x = if true then zeros([1]) else zeros([1], device: gpu)").hints == {}
