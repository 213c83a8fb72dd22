"""Mistakes in structs, methods, type parameters, `match`, imports, assignment and assertions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.ir.programs import Files, errors, lowered, marked, only_error
from tlc.frontend import ast
from tlc.frontend.diagnostics import CompileError, Diagnostic, error, render_text
from tlc.frontend.parser import parse
from tlc.frontend.source import Source, Span
from tlc.ir.lower import lower

POINT = (
    "struct Point { x: float, y: float }\n"
    "impl Point { fn norm(self) -> float { self.x } }\n"
    "struct Pair<T> { a: T, b: T }\n"
    "fn same<T>(a: T, b: T) -> T { a }\n"
    "let p = Point { x: 1.0, y: 2.0 }\n"
    "let v = [1, 2]\n"
    "let x = zeros([2, 3])\n"
    "let n = argmax(tensor([0.0, 1.0]))\n"
)

# (statement, code, marked text, beginning of the message)
STATEMENTS: list[tuple[str, str, str, str]] = [
    # structs
    ("Pont { x: 1.0 }", "E0201", "Pont { x: 1.0 }", "unknown struct `Pont`"),
    ("Point { x: 1.0 }", "E0203", "Point { x: 1.0 }", "`Point` needs `y`"),
    ("Point { x: 1.0, y: 2.0, z: 3.0 }", "E0204", "z: 3.0", "`Point` has no field `z`"),
    ("Point { x: 1.0, x: 2.0, y: 3.0 }", "E0203", "x: 2.0", "the field `x` is given twice"),
    ('Point { x: "a", y: 2.0 }', "E0302", '"a"', "`x` of `Point` must be float, and this is str"),
    ("p.z", "E0204", "z", "`Point` has no field `z`"),
    ("p.norm", "E0204", "norm", "`Point` has no field `norm`"),
    ("p.nrm()", "E0201", "nrm", "unknown method `nrm`"),
    ("p.norm(1)", "E0203", "1", "`norm` takes one argument, and 2 are given"),
    ("Point::make()", "E0201", "Point::make", "unknown function `Point::make`"),
    ("p + p", "E0302", "p + p", "no `+` of Point and Point"),
    ("p == 1", "E0302", "p == 1", "no `==` of Point and int"),
    ("p[0]", "E0302", "p[0]", "Point cannot be indexed like this"),
    ("relu(p)", "E0302", "p", "`x` of `relu` is a tensor, and this is Point"),
    ("Pair { a: 1, b: true }", "E0302", "true", "`b` of `Pair` is bool, and `T` is int in this"),
    ("let q: Pair<string> = Pair { a: 1, b: 2 }", "E0302", "Pair { a: 1, b: 2 }", "`a` of `q`"),
    ("let q: Pair<int, int> = Pair { a: 1, b: 2 }", "E0203", "Pair<int, int>", "`Pair` has 1 type"),
    ("let q: Pair<int> = p", "E0302", "p", "`q` must be Pair<int>, and this is Point"),
    ('same(1, "a")', "E0302", '"a"', "`b` is string, and `T` is int in this call"),
    ("same<float32>(x, x)", "E0302", "x", "`a` is f16[2, 3], and `T` is float32 in this call"),
    ("same<int, int>(1, 2)", "E0203", "int", "`same` has 1 type parameter, and 2"),
    # assignment
    ("p.z = 1.0", "E0204", "z", "`Point` has no field `z`"),
    ("p.x = true", "E0302", "true", "`x` of `Point` must be float, and this is bool"),
    ("v.x = 1", "E0302", "v.x", "array has no fields that can be assigned to"),
    ("v[2] = 1", "E0303", "2", "index 2 is out of range for 2 elements"),
    ("v[0, 0] = 1", "E0302", "v[0, 0]", "array has no items that can be assigned to"),
    ("n[0] = 1", "E0303", "n[0]", "1 indices for i32[]"),
    ("missing[0] = 1", "E0201", "missing", "unknown name `missing`"),
    ("x[2, 0] = 1.0", "E0303", "2", "index 2 is out of range for axis 0 of f16[2, 3]"),
    ("x[0, 0, 0] = 1.0", "E0303", "x[0, 0, 0]", "3 indices for f16[2, 3]"),
    ("x[0.5] = 1.0", "E0303", "0.5", "this is float, and no place"),
    ("x[:, 1:9] = 1.0", "E0303", "1:9", "the slice 1:9 is out of range for axis 1 of f16[2, 3]"),
    ("x[0] = [1.0, 2.0]", "E0301", "[1.0, 2.0]", "a part of shape [3] cannot be f16[2]"),
    ("x[0] = true", "E0302", "true", "a part of f16[2, 3] cannot be bool"),
    ("tensor<int>([1])[0] = 1", "E0302", "tensor<int>([1])", "this cannot be assigned to"),
    # match
    ("match 1 { 1 => 2 }", "E0302", "match 1 { 1 => 2 }", "this `match` does not cover every"),
    ("match true { true => 2 }", "E0302", "match true { true => 2 }", "this `match` does not"),
    ("match 1 { k if k > 0 => 2 }", "E0302", "match 1 { k if k > 0 => 2 }", "this `match`"),
    ('match 1 { "a" => 2, _ => 3 }', "E0302", '"a"', "no `==` of int and string"),
    ("match p { Pair { a } => 1, _ => 2 }", "E0302", "Pair { a }", "`Pair` is matched here, and"),
    ("match p { Point { z } => 1, _ => 2 }", "E0204", "z", "`Point` has no field `z`"),
    ('match n { 0 => 1, _ => "a" }', "E0302", "0 => 1", "the value is int in one branch and"),
    # arrays and strings of the build
    ("get(v, 2)", "E0303", "2", "index 2 is out of range for 2 elements"),
    ("get(v, 0.5)", "E0303", "0.5", "an index is a whole number, and this is 0.5"),
    ("append(x, 1)", "E0302", "1", "a row of f16[2, 3] is f16[3], and this is int"),
    ('IntVec(1, "a")', "E0302", 'IntVec(1, "a")', "an element of `IntVec` must be int"),
    ('to_int("1.5")', "E0305", '"1.5"', '"1.5" is not a whole number'),
    ("to_int(x)", "E0302", "x", "f16[2, 3] is no whole number"),
    ("env(1)", "E0304", "1", "the name of a variable is a string known at build"),
    ("from_vec(v, [3])", "E0301", "v", "2 numbers do not fill a tensor of shape [3]"),
    # assertions
    ("assert(1)", "E0302", "1", "an assertion is a truth value, and this is int"),
    ("assert(x > 0.0)", "E0302", "x > 0.0", "an assertion is one truth value, and this is bool[2"),
    ("assert()", "E0203", "assert()", "`assert` needs a condition"),
    ("assert_eq(1)", "E0203", "assert_eq(1)", "`assert_eq` needs two values"),
    ('assert_eq(1, "a")', "E0302", 'assert_eq(1, "a")', "no `==` of int and string"),
    ('assert(true, "{}")', "E0203", '"{}"', "one hole `{}` for no values"),
    ('panic(code: "a")', "E0203", 'code: "a"', "`panic` has no named arguments"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "code", "place", "message"), STATEMENTS, ids=[s[0][:40] for s in STATEMENTS]
)
def test_a_mistake_is_reported_at_its_place(
    statement: str, code: str, place: str, message: str
) -> None:
    found = only_error(f"{POINT}{statement}\n")
    assert (found.code, marked(found)) == (code, place)
    assert found.message.startswith(message)


@pytest.mark.parametrize(
    ("program", "code", "place", "message"),
    [
        ("struct S { a: int }\nstruct S { b: int }", "E0202", "struct S { b: int }", "`S` is"),
        ("impl Gone { }", "E0201", "Gone", "`impl` of `Gone`, which is no struct of this program"),
        ("struct S { a: int }\nimpl S { fn f(self) { }\n fn f(self) { } }", "E0202", "f",
         "`S` has two methods `f`"),
        ("struct S { a: int }\nimpl Drop for S { fn drop(self, n: int) { } }", "E0203", "drop",
         "`drop` takes `self` and nothing else"),
        ('import "a.tl"', "E0104", 'import "a.tl"', "an import needs a program that is read from"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_reported(program: str, code: str, place: str, message: str) -> None:
    found = only_error(program)
    assert (found.code, marked(found)) == (code, place)
    assert found.message.startswith(message)


def test_two_tests_of_one_name_are_reported() -> None:
    found = only_error("test a { assert(true) }\ntest a { assert(true) }")
    assert (found.code, found.message) == ("E0202", "`test a` is defined twice")


def test_what_a_struct_is_given_may_be_known_only_at_run_time() -> None:
    text = "struct S { n: int, done: bool }\nlet x = tensor([1.0])\n"
    text += "print(S { n: argmax(x), done: sum(x) > 0.0 })"
    ops = [op.name for op in lowered(text).module.func("main").body.ops]
    assert ops.count("read") == 2


# ---- imports -------------------------------------------------------------------------------------


def with_files(text: str, files: Mapping[str, str]) -> list[Diagnostic]:
    """What is wrong with a program that imports some files."""

    def tree(name: str, source: str) -> ast.Program:
        found, problems = parse(Source(name, source))
        assert not problems
        return found

    def import_file(path: str, span: Span) -> ast.Program:
        if path not in files:
            raise error("E0104", f"{path} cannot be read", span)
        return tree(path, files[path])

    try:
        lower(tree("main.tl", text), Files({}), import_file)
    except CompileError as problem:
        return list(problem.diagnostics)
    return []


def place(found: Diagnostic) -> tuple[str, str, str]:
    assert found.span is not None
    return found.code, found.span.source.name, found.span.text


def test_names_of_imported_files_are_visible_both_ways() -> None:
    files = {"a.tl": "fn f() -> int { g() }", "b.tl": "fn g() -> int { 1 }"}
    assert with_files('import "a.tl"\nimport "b.tl"\nlet n = f() + g()', files) == []


def test_a_file_that_is_imported_twice_is_read_once() -> None:
    files = {"a.tl": 'import "b.tl"\nfn f() -> int { g() }', "b.tl": "fn g() -> int { 1 }"}
    assert with_files('import "a.tl"\nimport "b.tl"\nlet n = f() + g()', files) == []


def test_a_mistake_in_an_imported_file_names_that_file() -> None:
    files = {"a.tl": "fn f() -> int { missing }"}
    (found,) = with_files('import "a.tl"\nlet n = f()', files)
    assert place(found) == ("E0201", "a.tl", "missing")


def test_a_file_that_is_not_there_is_reported_where_it_is_imported() -> None:
    (found,) = with_files('import "a.tl"', {"a.tl": 'import "gone.tl"'})
    assert place(found) == ("E0104", "a.tl", 'import "gone.tl"')


def test_one_name_in_two_files_shows_both_places() -> None:
    (found,) = with_files('import "a.tl"\nfn f() -> int { 2 }', {"a.tl": "fn f() -> int { 1 }"})
    assert place(found) == ("E0202", "main.tl", "f")
    assert [label.span.source.name for label in found.others] == ["a.tl"]


def test_statements_of_an_imported_file_are_refused_and_its_main_is_left_out() -> None:
    (found,) = with_files('import "a.tl"', {"a.tl": "let n = 1\nmain { print(missing) }"})
    assert place(found) == ("E0101", "a.tl", "let n = 1")


# ---- how they look -------------------------------------------------------------------------------

SHOWN = {
    "struct": (
        "struct Layer {\n    w: float16[2, 2]\n    b: float16[2]\n}\n"
        "let a = Layer { w: zeros([2, 3]), b: zeros([2]) }\n"
        "let c = Layer { w: zeros([2, 2]) }\n"
        "let d = Layer { w: zeros([2, 2]), bias: zeros([2]) }\n"
        "let e = Layer { w: zeros([2, 2]), b: zeros([2]) }\n"
        "e.weight = e.w.T\n"
    ),
    "type_parameter": (
        'fn larger<T>(a: T, b: T) -> T { if a > b then a else b }\nprint(larger(1, "one"))\n'
    ),
    "match_with_a_gap": (
        'fn name(n: int) -> string {\n    match n {\n        0 => "none"\n'
        '        1 | 2 => "few"\n    }\n}\nprint(name(1))\n'
    ),
    "assignment": (
        "let x = zeros([2, 3])\nlet y = x\nlet z = x\n"
        'x[:, 1] = [1.0, 2.0, 3.0]\ny[5, 0] = 1.0\nz[0, 0] = "one"\n'
    ),
}
CYCLE = {
    "a.tl": 'import "b.tl"\nfn a() { }\n',
    "b.tl": '// back again\nimport "c.tl"\nfn b() { }\n',
    "c.tl": 'import "a.tl"\nfn c() { }\n',
}


@pytest.mark.parametrize("name", SHOWN)
def test_the_message_as_a_terminal_shows_it(name: str, golden: Callable[[str, str], None]) -> None:
    shown = "\n\n".join(render_text(d) for d in errors(SHOWN[name]))
    golden(f"diagnostics/lower_{name}.txt", shown + "\n")


def test_a_cycle_of_imports_is_shown(golden: Callable[[str, str], None]) -> None:
    shown = "\n\n".join(render_text(d) for d in with_files('import "a.tl"\n', CYCLE))
    golden("diagnostics/lower_import_cycle.txt", shown + "\n")
