"""Functions: symbols are bound call by call; functions of tensors are entries of the program."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ir.programs import call, errors, known, lowered, marked, only_error, output, run_func
from tlc.ir import interp

F16 = np.float16


def test_symbols_are_bound_anew_by_every_call() -> None:
    text = "fn rows(x: float16[N, D]) -> int { N }\nprint(rows(zeros([2, 3])), rows(zeros([5, 1])))"
    assert output(text) == ["2 5"]


@pytest.mark.parametrize(
    ("signature", "argument", "result"),
    [
        ("x: float16[N]", "[4]", "N"),
        ("x: float16[2*N]", "[4]", "N * 2"),
        ("x: float16[N*2 + 2]", "[10]", "N"),
        ("x: float16[N, N]", "[4, 4]", "N"),
        ("x: float16[2*N, N]", "[8, 4]", "N"),
        ("x: float16[N - 1]", "[3]", "N"),
        ("x: float16[?, N]", "[9, 4]", "N"),
        ("x: float16[?, ?, N]", "[9, 8, 4]", "N"),
        ("x: float16[4]", "[4]", "4"),
        ("x: float16[2 + 2]", "[4]", "4"),
        ("x: float16[8 / 2]", "[4]", "4"),
        ("x: float16[9 % 5]", "[4]", "4"),
    ],
)
def test_dimensions_are_solved(signature: str, argument: str, result: str) -> None:
    assert known(f"f(zeros({argument}))", f"fn f({signature}) -> int {{ {result} }}") == "4"


def test_a_bare_symbol_of_any_parameter_helps_to_solve_a_formula() -> None:
    text = "fn f(x: float16[H * D], h: float16[H]) -> int { D }"
    assert known("f(zeros([12]), zeros([3]))", text) == "4"


def test_dimensions_that_have_no_solution_are_refused() -> None:
    found = only_error("fn f(x: float16[2*N]) -> int { N }\nprint(f(zeros([5])))")
    assert found.code == "E0301"
    assert found.message == "dimension 0 of `x` is 5, and not of the form 2*N"


def test_a_function_sees_its_own_names_and_those_of_the_top_level() -> None:
    text = (
        "let k = 2.0\n"
        "fn f(x: Tensor) -> Tensor { let y = x * k\n  return y }\n"
        "main { let y = 7\n  print(f(ones([1])), y) }"
    )
    assert output(text) == ["[2.0] 7"]
    inner = only_error("fn f() -> int { y }\nmain { let y = 1\n print(f()) }")
    assert (inner.code, marked(inner)) == ("E0201", "y")


def test_arguments_may_be_named_and_builtins_shadowed() -> None:
    assert known("f(b: 1, a: 2)", "fn f(a: int, b: int) -> int { a * 10 + b }") == "21"
    assert known("f(1, b: 2)", "fn f(a: int, b: int) -> int { a * 10 + b }") == "12"
    assert known("sqrt(5)", "fn sqrt(x: int) -> int { x + 1 }") == "6"
    assert known("x.double()", "fn double(n: int) -> int { 2 * n }\nlet x = 4") == "8"


def test_results_are_checked_against_what_is_declared() -> None:
    assert known("f(1)", "fn f(n: int) -> float { n }") == "1.0"
    assert known("f(1.0)", "fn f(n: float) -> int { n }") == "1"
    text = "fn f(x: float16[N]) -> float16[N, 2] { return x }\nprint(f(ones([3])))"
    found = only_error(text)
    assert found.code == "E0301"
    assert "the result of `f` has rank 1, and float16[N, 2] has rank 2" in found.message
    assert marked(found) == "x"
    assert [label.span.text for label in found.others[:1]] == ["float16[N, 2]"]
    size = only_error("fn f(x: float16[N, M]) -> float16[M, N] { x }\nprint(f(ones([2, 3])))")
    assert size.message == "dimension 0 of the result of `f` is 2, and must be `M`, which is 3"


def test_a_declaration_inside_a_function_uses_its_symbols() -> None:
    text = "fn f(x: float16[N, M]) -> Tensor {\n  let y: float16[%s] = x.T\n  y\n}\n"
    assert not errors(text % "M, N" + "print(f(ones([2, 3])))")
    found = only_error(text % "N, M" + "print(f(ones([2, 3])))")
    assert (found.code, marked(found)) == ("E0301", "x.T")


@pytest.mark.parametrize(
    ("signature", "argument", "message"),
    [
        ("x: float16[N]", "zeros([2, 2])", "`x` has rank 2, and float16[N] has rank 1"),
        ("x: float16[3]", "zeros([2])", "dimension 0 of `x` is 2, and must be 3"),
        ("x: float32[N]", "zeros([2])", "`x` must be float32[N], and this is f16[2]"),
        ("x: int[N]", "zeros([2])", "`x` must be int[N], and this is f16[2]"),
        ("x: int", "2.5", "`x` must be int, and this is 2.5"),
        ("x: int", '"a"', "`x` must be int, and this is string"),
        ("x: bool", "1", "`x` must be bool, and this is 1"),
        ("x: string", "1", "`x` must be string, and this is 1"),
        ("x: Model", "1", "`x` must be Model, and this is 1"),
        ("x: Tensor", '"a"', "`x` must be Tensor, and this is string"),
        ("x: float16[N]", "1.0", "`x` must be float16[N], and this is 1.0"),
    ],
)
def test_arguments_are_checked_against_what_is_declared(
    signature: str, argument: str, message: str
) -> None:
    found = only_error(f"fn f({signature}) -> int {{ 1 }}\nprint(f({argument}))")
    assert found.message == message
    assert marked(found) == argument


def test_a_list_is_a_tensor_where_one_is_declared() -> None:
    text = "fn f(x: float32[N]) -> Tensor { x * 0.1 }"
    module = lowered(text + "\nprint(f([1.0, 3.0]))").module
    ((),), screen = [run_func(module.func("main"))[0]], run_func(module.func("main"))[1]
    assert screen.printed[0].tolist() == [float(np.float32(n) * np.float32(0.1)) for n in (1, 3)]


# ---- conflicts show both places and the way there ------------------------------------------------

NESTED = """\
fn inner(a: float16[N], b: float16[N]) -> float16[N] { a + b }
fn outer(x: Tensor, y: Tensor) -> Tensor {
  return inner(x, y)
}
let p = zeros([3])
let q = zeros([4])
print(outer(p, q))
"""


def test_a_conflict_through_two_calls_shows_both_places_and_the_calls() -> None:
    found = only_error(NESTED)
    assert found.code == "E0301"
    assert found.message == "dimension 0 of `b` is 4, and must be `N`, which is 3"
    shown = [(label.span.text, label.text) for label in found.others]
    assert shown == [
        ("x", "`N` is 3 here"),
        ("float16[N]", "`b` is declared float16[N]"),
        ("outer(p, q)", "in this call of `outer`"),
    ]


def test_an_error_deep_in_calls_shows_the_calls_that_led_there() -> None:
    text = (
        "fn a(x: Tensor) -> Tensor { x @ x }\nfn b(x: Tensor) -> Tensor { a(x) }\n"
        "fn c(x: Tensor) -> Tensor { b(x) }\nprint(c(zeros([2, 3])))"
    )
    found = only_error(text)
    calls = [label.text for label in found.others if label.text.startswith("in this call")]
    assert calls == [f"in this call of `{name}`" for name in "abc"]


def test_an_error_in_a_function_called_twice_is_reported_once() -> None:
    text = "fn f(x: Tensor) -> Tensor { x + nothing }\nlet a = f(zeros([2]))\nlet b = f(zeros([3]))"
    assert [marked(d) for d in errors(text)] == ["nothing"]


# ---- recursion that does not end -----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "fn f(x: int) -> int { f(x) }\nprint(f(1))",
        "fn f(x: int) -> int { g(x) }\nfn g(x: int) -> int { f(x + 1) }\nprint(f(1))",
        "fn f(x: float16[N]) -> Tensor { f(x) }\nprint(f(ones([2])))",
        "fn f(x: int) -> int { (((((f(x)))))) + f(x) }\nprint(f(1))",
    ],
)
def test_a_recursion_without_end_is_an_error(text: str) -> None:
    found = errors(text)
    assert [d.code for d in found] == ["E0304"]
    assert "nested more than 1000 deep" in found[0].message
    assert "known at build" in found[0].hint


def test_a_program_that_takes_too_long_to_build_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tlc.ir.lower.context.MAX_STEPS", 1000)
    text = "fn f(n: int) -> int { if n < 2 then n else f(n - 1) + f(n - 2) }\nprint(f(50))"
    found = only_error(text + "\nfn g(x: float16[N]) -> Tensor { x }\n")
    assert found.code == "E0401"
    assert "more than 1000 steps" in found.message
    loops = "for i in range(99) { for j in range(99) { let a = i * j } }\nprint(nothing)"
    assert [d.code for d in errors("print(missing)\n" + loops)] == ["E0201", "E0401"]


# ---- entries -------------------------------------------------------------------------------------


def entries(text: str) -> list[str]:
    return [func.name for func in lowered(text).module.funcs]


def test_functions_of_tensors_are_entries() -> None:
    text = (
        "fn f(x: float16[N, 3], y: float32[?], ids: int[M], s: float16) -> Tensor { x }\n"
        "fn g() -> Tensor { zeros([2]) }\n"
    )
    assert entries(text) == ["main", "f", "g"]
    func = lowered(text).module.func("f")
    assert [str(v.type) for v in func.params] == ["f16[N, 3]", "f32[?1]", "i32[M]", "f16[]"]
    assert func.param_names == ["x", "y", "ids", "s"]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("fn f(n: int) -> int { n }", "the type of `n` is int, which is known only at a call"),
        ("fn f(x: Tensor) -> Tensor { x }", "the type of `x` is Tensor, which is known only at"),
        ("fn f(x) -> Tensor { x }", "the type of `x` is undeclared, which is known only at a call"),
        ("fn f(m: Model) -> Tensor { m.w }", "the type of `m` is Model, which is known only"),
        ("fn f<T>(x: float16[N]) -> Tensor { x }", "it is generic"),
        ('fn f(x: float16[N]) { "text" }', "its result is string, which is not a tensor"),
        ("fn main(x: float16[N]) -> Tensor { x }", "`main` is the program itself"),
        (
            "fn f(x: float16[N, K]) -> Tensor { x @ x }\nprint(f(ones([2, 2])))",
            "the inner dimensions K and N differ",
        ),
    ],
)
def test_functions_that_are_no_entries_are_listed_with_the_reason(
    function: str, reason: str
) -> None:
    found = lowered(function)
    ((name, text),) = found.skipped.items()
    assert name in ("f", "main")
    assert reason in text
    assert [func.name for func in found.module.funcs] == ["main"]


def test_a_mistake_that_two_functions_come_across_is_reported_once() -> None:
    text = "fn g(x: float16[N, K]) -> Tensor { x @ x }\nfn f(y: float16[P, Q]) -> Tensor { g(y) }"
    assert [marked(d) for d in errors(text)] == ["x @ x"]
    good = "fn h(y: float16[P, P]) -> Tensor { g(y) }"
    assert list(lowered(text.splitlines()[0] + "\n" + good).skipped) == ["g"]


def test_a_function_that_is_never_called_is_checked() -> None:
    found = only_error("fn f(x: float16[N, K]) -> Tensor { x @ x }")
    assert found.code == "E0301"
    assert not any("in this call" in label.text for label in found.others)


def test_a_symbol_that_fits_at_one_size_has_that_size() -> None:
    inner = "fn inner(x: float16[K, 2]) -> float16[K, 2] { x }\n"
    for body, type in (
        ("x @ ones([3, 2])", "f16[N, 3]"),
        ("linear(x, ones([2, 3]))", "f16[N, 3]"),
        ("x + ones([3])", "f16[N, 3]"),
        ("inner(x.T)", "f16[2, ?1]"),
        ("inner(x.T) + ones([3, 1])", "f16[2, 3]"),
    ):
        module = lowered(f"{inner}fn f(x: float16[N, ?]) {{ {body} }}").module
        assert str(module.func("f").body.args[0].type) == type


def test_sizes_that_only_the_run_can_compare_are_compared_there() -> None:
    half = "let h = reshape(x[0:N / 2 * 2], [N / 2, 2])"
    for body in (
        f"{half}; x + reshape(h, [-1])",
        f"{half}; concat(reshape(x, [N, 1]), reshape(h, [N / 2 * 2, 1]), 1)",
        f"{half}; reshape(x, [1, N]) @ reshape(h, [-1, 1])",
        "same(x, x[0:N / 2 * 2])",
    ):
        same = "fn same(x: float16[N], y: float16[N]) { x + y }\n"
        text = f"{same}fn f(x: float16[N]) {{ {body} }}"
        assert call(text, "f", np.arange(4, dtype=F16)) is not None
        with pytest.raises(interp.Failure):
            call(text, "f", np.arange(5, dtype=F16))
    assert only_error("fn f(x: float16[N]) { x + x[0:N / 2] }").code == "E0301"  # never
    apart = "fn f(x: float16[N], i: int[2]) { let (n, m) = (i[0], i[1]); x[n:] + x[:N - 1 - m] }"
    assert call(apart, "f", np.arange(4, dtype=F16), np.array([1, 0], np.int32)) is not None
    with pytest.raises(interp.Failure):
        call(apart, "f", np.arange(4, dtype=F16), np.array([1, 1], np.int32))


def test_an_entry_may_have_several_results_or_none() -> None:
    module = lowered(
        "fn pair(x: float16[N]) { (x * 2, x.shape[0], 1.5) }\nfn shown(x: float16[N]) { print(x) }"
    ).module
    results, _ = run_func(module.func("pair"), [np.ones(3, F16)])
    assert [r.tolist() for r in results] == [[2, 2, 2], 3, 1.5]
    results, screen = run_func(module.func("shown"), [np.ones(1, F16)])
    assert results == []
    assert screen.lines == ["[1.0]"]


def test_an_entry_is_for_any_sizes_that_fit() -> None:
    text = "fn f(x: float16[2*N], y: float16[N, M]) -> float16[M] { sum(y, 0) * x[0] }"
    assert call(text, "f", np.full(4, 3, F16), np.ones((2, 3), F16)).tolist() == [6, 6, 6]
    func = lowered(text).module.func("f")
    with pytest.raises(interp.Failure, match=r"dimension 2\*N of x is 5"):
        interp.run(func, [np.zeros(5, F16), np.ones((2, 3), F16)])


def test_a_size_that_only_a_formula_has_is_solved() -> None:
    text = "fn f(x: float16[2*N + 1]) -> float16[N] { x[0:N] }"
    assert call(text, "f", np.arange(7, dtype=F16)).tolist() == [0, 1, 2]


def test_an_entry_that_reads_top_level_names_computes_them_silently() -> None:
    text = (
        'print("at the top")\n'
        "let w = ones([3, 2]) * 2\n"
        'save(w, "w.safetensors")\n'
        "let k = 0.5\n"
        "fn f(x: float16[N, 3]) -> Tensor {\n  print(x.shape)\n  return x @ w * k\n}\n"
    )
    module = lowered(text).module
    ((found,), screen) = run_func(module.func("f"), [np.ones((1, 3), F16)])
    assert found.tolist() == [[3, 3]]
    assert screen.lines == ["[1, 3]"], "its own output is kept, the top level's is not repeated"
    assert screen.saved == {}


def test_an_entry_without_top_level_names_does_not_run_the_top_level() -> None:
    module = lowered("let w = ones([3])\nfn f(x: float16[N]) -> Tensor { x * 2 }").module
    assert [op.name for op in module.func("f").body.ops] == [
        "constant", "broadcast", "mul", "yield",
    ]  # fmt: skip


def test_an_entry_whose_top_level_is_wrong_is_none() -> None:
    text = "let w = nothing\nfn f(x: float16[N]) -> Tensor { x * w }"
    assert [marked(d) for d in errors(text)] == ["nothing"]
    ended = "let w = 1\nreturn\nfn f(x: float16[N]) -> Tensor { x * w }"
    assert [d.code for d in errors(ended)] == ["E0101"]


def test_a_name_that_gets_its_value_further_down_is_not_known_yet() -> None:
    text = "fn f(x: Tensor) -> Tensor { x * k }\nlet a = f(ones([1]))\nlet k = 2.0"
    found = only_error(text)
    assert (found.code, marked(found)) == ("E0201", "k")
    assert found.hint == "it is given a value only further down"
    assert only_error("print(k)\nlet k = 1").hint == "it is given a value only further down"


# ---- what only run time knows is checked then ----------------------------------------------------


@pytest.mark.parametrize(
    ("body", "good", "bad", "message"),
    [
        ("x[2]", 3, 2, "index 2 is out of range for axis 0 of f16[N]"),
        ("x[-2]", 2, 1, "index -2 is out of range for axis 0 of f16[N]"),
        ("x[1:3]", 3, 2, "the slice 1:3 is out of range for axis 0 of f16[N]"),
        ("x[-3:]", 3, 2, "the slice N-3:N is out of range for axis 0 of f16[N]"),
        ("x[:-3]", 3, 2, "the slice 0:N-3 is out of range for axis 0 of f16[N]"),
        ("x[3:N]", 3, 2, "the slice 3:N is out of range for axis 0 of f16[N]"),
        ("slice_last(x, 0)", 1, 0, "N-1:N is out of range for axis 0 of f16[N]"),
        ("reshape(x, [2, 3])", 6, 5, "reshape of f16[N] to [2, 3]"),
        ("reshape(x, [-1, 3])", 6, 5, "reshape of f16[N] to [(N//3), 3]"),
        ("reshape(x, [N / 2, 2])", 6, 5, "reshape of f16[N] to [(N//2), 2]"),
        ("x[6 / N]", 4, 2, "index (6//N) is out of range for axis 0 of f16[N]"),
        ("x[6 / N - 3]", 2, 1, "index"),
    ],
)
def test_an_index_or_shape_that_may_not_fit_is_checked_at_run_time(
    body: str, good: int, bad: int, message: str
) -> None:
    text = f"fn f(x: float16[N]) -> Tensor {{ {body} }}"
    assert call(text, "f", np.arange(good, dtype=F16)) is not None
    with pytest.raises(interp.Failure) as failed:
        call(text, "f", np.arange(bad, dtype=F16))
    assert message in str(failed.value)


@pytest.mark.parametrize("body", ["x[0:N]", "x[:]", "x[0:N - N]", "reshape(x, [N, 1])", "x.T"])
def test_what_always_fits_is_not_checked(body: str) -> None:
    module = lowered(f"fn f(x: float16[N]) -> Tensor {{ {body} }}").module
    assert not any(op.name == "check" for op in module.func("f").body.ops)


def test_a_size_divided_by_zero_stops_the_run() -> None:
    text = "fn f(x: float16[N], y: float16[M]) -> Tensor { zeros([N / M]) }"
    with pytest.raises(interp.Failure, match="division by zero"):
        call(text, "f", np.zeros(2, F16), np.zeros(0, F16))


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("x.shape[0] * 2", 8),
        ("N / 3", 1),
        ("N % 3", 1),
        ("(N + 1) * (N - 1)", 15),
        ("len(x) - 1", 3),
        ("-N + 5", 1),
        ("N as float", 4),
        ("N / 8.0", 0.5),
        ("N * 0.5", 2),
        ("N ** 2", 16),
        ("1 / sqrt(N)", 0.5),
        ("tensor([N])", 4),
        ("sum([N, 2.0, N + 1])", 11),
        ("if N == N then 1 else 2", 1),
        ("if x.shape == [N] then 1 else 2", 1),
        ("if N + 1 > N then 1 else 2", 1),
    ],
)
def test_sizes_that_only_run_time_knows_are_computed_with(body: str, wanted: int) -> None:
    assert call(f"fn f(x: float16[N]) {{ {body} }}", "f", np.zeros(4, F16)) == wanted


def test_what_has_to_be_known_is_asked_of_the_call() -> None:
    """A function that nobody calls may still be called with a size that the build knows."""
    found = lowered("fn halves(x: float16[N]) -> Tensor { split(x, 2)[0] }\nprint(1)\n")
    assert found.skipped == {"halves": "how many pieces of 2 there are in N must be known at build"}
    parts = "fn f(x: float16[3 * N]) -> float16[N] { let (a, b, c) = split(x, N)\n c - a }"
    assert call(parts, "f", np.arange(6, dtype=F16)).tolist() == [4, 4]
    assert call(
        parts.replace("split(x, N)", "chunk(x, 3)"), "f", np.arange(6, dtype=F16)
    ).tolist() == [4, 4]


def test_a_recursion_may_end_on_a_size_that_calls_bind() -> None:
    """By itself the function never ends at build: there run time ends it."""
    text = """fn total(x: float16[N]) -> float {
        if N == 1 { return x[0] }
        total(x[0:N / 2]) + total(x[N / 2:])
    }
    fn of_five() -> float { total([1.0, 2.0, 3.0, 4.0, 5.0]) }
    """
    assert call(text, "of_five") == 15
    assert [call(text, "total", np.ones(n, F16)) for n in (1, 2, 7)] == [1, 2, 7]
