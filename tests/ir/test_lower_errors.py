"""Mistakes: each is reported once, at its place, with its code and what to do about it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.ir.programs import FakeModel, FakeTensor, errors, lowered, marked, only_error
from tlc.frontend.codes import CODES
from tlc.frontend.diagnostics import render_text
from tlc.runtime.errors import CODES as RUN_CODES

SETUP = (
    "let x = tensor([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]])\n"
    "let v = tensor([1.0, 2.0, 4.0])\n"
    "let ids = tensor<int>([1, 0])\n"
)

# (expression, code, marked text, beginning of the message)
EXPRESSIONS: list[tuple[str, str, str, str]] = [
    # names
    ("nothing", "E0201", "nothing", "unknown name `nothing`"),
    ("sqrt", "E0201", "sqrt", "unknown name `sqrt`"),
    ("nothing(1)", "E0201", "nothing", "unknown function `nothing`"),
    ("x.nothing(1)", "E0201", "nothing", "unknown method `nothing`"),
    ("f99::zeros([2])", "E0201", "f99::zeros", "unknown function `f99::zeros`"),
    ("f16::zeros", "E0201", "f16::zeros", "`f16::zeros` is a function; call it"),
    ("x.shap", "E0204", "shap", "f16[2, 3] has no member `shap`"),
    ("(1, 2).2", "E0204", "2", "tuple of 2 has no member `2`"),
    ("x as thing", "E0302", "thing", "`thing` is not an element type"),
    ("tensor<float99>([1.0])", "E0302", "float99", "`float99` is not an element type"),
    # arguments
    ("softmax()", "E0203", "softmax()", "`softmax` needs `x`"),
    ("softmax(x, 0, 1)", "E0203", "1", "`softmax` takes 2 arguments, and 3 are given"),
    ("softmax(x, axs: 0)", "E0203", "axs: 0", "`softmax` has no parameter `axs`"),
    ("softmax(x, 0, dim: 1)", "E0203", "dim: 1", "`dim` is given twice"),
    ("softmax(x, dim: 0, dim: 1)", "E0203", "dim: 1", "`dim` is given twice"),
    ("clamp(x)", "E0203", "clamp(x)", "`clamp` needs `low` and `high`"),
    ("zeros([2], device: tpu)", "E0203", "device: tpu", "a device is one of gpu, cpu"),
    ('zeros([2], device: "tpu")', "E0203", 'device: "tpu"', "a device is one of gpu, cpu"),
    ("relu(x, device: gpu)", "E0201", "gpu", "unknown name `gpu`"),
    ("concat(x, y: x)", "E0203", "y: x", "no parameter `y` here"),
    ("concat(1)", "E0203", "concat(1)", "tensors and at most one axis are needed"),
    ("transpose(x, 0)", "E0203", "transpose(x, 0)", "`transpose` exchanges two axes"),
    ('print("{} {}", 1)', "E0203", '"{} {}"', "2 holes `{}` for one value"),
    ('print(1, sep: "")', "E0203", 'sep: ""', "`print` has no argument `sep`"),
    ("print(1, end: 2)", "E0304", "end: 2", "what `print` ends with is a string known at build"),
    # types
    ("x + true", "E0302", "x + true", "no `+` of f16[2, 3] and bool"),
    ('x * "a"', "E0302", 'x * "a"', "no `*` of f16[2, 3] and string"),
    ('1 + "a"', "E0302", '1 + "a"', "no `+` of int and string"),
    ("true < false", "E0302", "true < false", "no `<` of bool and bool"),
    ("1 == true", "E0302", "1 == true", "no `==` of int and bool"),
    ("[x] == [x]", "E0302", "[x] == [x]", "no `==` of f16[2, 3] and f16[2, 3]"),
    ("1 && true", "E0302", "1 && true", "no `&&` of int and bool"),
    ("true && 1", "E0302", "1", "`&&` needs bools, and this is int"),
    ("!1", "E0302", "!1", "no `!` of int"),
    ('-"a"', "E0302", '-"a"', "no `-` of string"),
    ("!x", "E0302", "!x", "a mask is needed, and this is f16[2, 3]"),
    ("-(x > 0)", "E0302", "-(x > 0)", "arithmetic needs floating-point tensors"),
    ("ids + 1", "E0302", "ids + 1", "arithmetic needs floating-point tensors, and this is i32"),
    ("ids + 0.5", "E0302", "ids + 0.5", "no `+` of i32[2] and float"),
    ("sum(ids)", "E0302", "sum(ids)", "a floating-point tensor is needed, and this is i32[2]"),
    ("softmax(ids)", "E0302", "softmax(ids)", "a floating-point tensor is needed"),
    ("x @ ids", "E0302", "x @ ids", "a floating-point tensor is needed, and this is i32[2"),
    ("x @ 2.0", "E0302", "x @ 2.0", "`@` needs vectors or matrices, and this is f16[]"),
    ('relu("a")', "E0302", '"a"', "`x` of `relu` is a tensor, and this is string"),
    ("clamp(x, true, 1)", "E0302", "true", "`low` of `clamp` is a number, and this is bool"),
    ("sum(x, 0, 1)", "E0302", "1", "`keepdim` of `sum` is true or false, and this is 1"),
    ("permute(x, 1)", "E0302", "1", "`axes` of `permute` is a list of axes"),
    ('"a" as int', "E0302", '"a" as int', "string cannot be converted to int"),
    ("1 as float16[2]", "E0302", "float16[2]", "`float16[2]` is not an element type"),
    ("(1)(2)", "E0302", "(1)", "this cannot be called"),
    ("shape(true)", "E0302", "true", "a tensor is needed, and this is bool"),
    ('reshape("a", [1])', "E0302", '"a"', "a tensor is needed, and this is string"),
    ('tensor("a")', "E0302", '"a"', "a tensor is made of numbers, and this holds string"),
    ("full([2], true)", "E0302", "true", "a number is needed, and this is bool"),
    ("1[0]", "E0302", "1[0]", "int cannot be indexed like this"),
    ("where(x, x, x)", "E0302", "where(x, x, x)", "a mask is needed, and this is f16[2, 3]"),
    ("if 1 then 2 else 3", "E0302", "1", "a condition is a bool, and this is int"),
    ("x[x > 0, :]", "E0401", "x > 0", "an index that is a mask is not supported yet"),
    ("{ let a = 1 }", "E0302", "{ let a = 1 }", "this has no value"),
    # shapes
    ("x + zeros([2])", "E0301", "x + zeros([2])", "shapes [2, 3] and [2] do not broadcast"),
    ("x @ x", "E0301", "x @ x", "`@` of [2, 3] and [2, 3]: the inner dimensions 3 and 2 differ"),
    ("x @ zeros([4])", "E0301", "x @ zeros([4])", "`@` of [2, 3] and [4, 1]"),
    ("linear(x, zeros([3, 4]))", "E0301", "linear(x, zeros([3, 4]))", "`linear` of [2, 3] with"),
    ("linear(x, x, v)", "E0301", "linear(x, x, v)", "the bias of `linear` is [out], here [2]"),
    ("linear(x, v)", "E0301", "linear(x, v)", "the weights of `linear` are [out, in]"),
    ("rms_norm(x, zeros([2]))", "E0301", "rms_norm(x, zeros([2]))", "the weights have shape"),
    ("layer_norm(x, [4])", "E0301", "[4]", "the last dimensions of f16[2, 3] are not [4]"),
    ("concat(x, v, 0)", "E0301", "concat(x, v, 0)", "f16[2, 3] and f16[3] do not join"),
    ("concat(x, x as int)", "E0301", "concat(x, x as int)", "f16[2, 3] and i32[2, 3] do not join"),
    ("reshape(x, [4])", "E0301", "reshape(x, [4])", "[2, 3] has 6 elements and [4] has 4"),
    ("reshape(x, [4, -1])", "E0301", "reshape(x, [4, -1])", "6 elements do not divide into rows"),
    ("reshape(x, [0, -1])", "E0301", "reshape(x, [0, -1])", "6 elements do not divide into rows"),
    ("broadcast_to(x, [3, 3])", "E0301", "broadcast_to(x, [3, 3])", "a tensor of shape [2, 3] "),
    ("tensor([[1.0], [1.0, 2.0]])", "E0301", "[[1.0], [1.0, 2.0]]", "the rows of this array have"),
    ("slice(v, 0, 0, 1)", "E0301", "v", "`slice` reads a row of a matrix, and this is f16[3]"),
    # axes, indices, sizes
    ("sum(x, 2)", "E0303", "sum(x, 2)", "axis 2 is out of range for a tensor of rank 2"),
    ("sum(x, -3)", "E0303", "sum(x, -3)", "axis -3 is out of range"),
    ("sum(x, 0.5)", "E0303", "0.5", "`dim` of `sum` is an axis, and this is 0.5"),
    ("concat(x, x, 0.5)", "E0303", "0.5", "an axis is a whole number, and this is 0.5"),
    ("concat(x, x, 2)", "E0303", "2", "axis 2 is out of range"),
    ("squeeze(x, 0)", "E0303", "squeeze(x, 0)", "axis 0 of f16[2, 3] has size 2, not 1"),
    ("permute(x, [0, 0])", "E0303", "permute(x, [0, 0])", "[0, 0] does not name each axis"),
    ("x[2, 0]", "E0303", "2", "index 2 is out of range for axis 0 of f16[2, 3]"),
    ("x[-3]", "E0303", "-3", "index -3 is out of range for axis 0 of f16[2, 3]"),
    ("x[0, 0, 0]", "E0303", "x[0, 0, 0]", "3 indices, and f16[2, 3] has 2 axes"),
    ("x[0.5]", "E0303", "0.5", "an index is a whole number, and this is 0.5"),
    ('x["a"]', "E0303", '"a"', "an index is a whole number, and this is string"),
    ("x[:, 1:5]", "E0303", "1:5", "the slice 1:5 is out of range for axis 1 of f16[2, 3]"),
    ("x[:, 2:1]", "E0303", "2:1", "the slice 2:1 ends before it starts"),
    ("x[:, 0.5:]", "E0303", "0.5", "the ends of a slice are whole numbers"),
    ("x[[0.5]]", "E0305", "[0.5]", "0.5 is not a 32-bit whole number"),
    ("x[tensor([0.5]), :]", "E0302", "tensor([0.5])", "an index tensor holds whole numbers"),
    ("[1, 2][5]", "E0303", "5", "index 5 is out of range for 2 elements"),
    ("[1, 2][0.5]", "E0303", "0.5", "an index is a whole number"),
    ('zeros("4")', "E0303", '"4"', "a shape is a list of sizes, and this is string"),
    ("zeros(2, 3)", "E0203", "3", "a device is one of gpu, cpu, ane, auto, and this is int"),
    ("zeros([2, 1.5])", "E0303", "[2, 1.5]", "a shape is a list of sizes, and this has 1.5"),
    ("zeros([-1])", "E0303", "[-1]", "a shape is a list of sizes, and this has -1"),
    ("reshape(x, [-1, -1])", "E0303", "[-1, -1]", "only one size of a reshape can be -1"),
    ("split(x, 0)", "E0303", "0", "the size of a piece is a whole number of at least 1"),
    ("chunk(x, 1.5)", "E0303", "1.5", "the number of pieces is a whole number of at least 1"),
    ("range(1.5)", "E0303", "1.5", "a range ends at a whole number, and this is 1.5"),
    ("0..1.5", "E0303", "1.5", "a range ends at a whole number, and this is 1.5"),
    ("[1; 0.5]", "E0303", "0.5", "the count of `[value; count]` is a whole number"),
    ("len(sum(x))", "E0303", "sum(x)", "a tensor of rank 0 has no length"),
    ("slice(x, 5, 0, 1)", "E0303", "5", "5:6 is out of range for axis 0 of f16[2, 3]"),
    ("slice(x, 0, 2, 9)", "E0303", "2, 9", "2:9 is out of range for axis 1"),
    # known at build
    ("sum(x, argmax(v))", "E0304", "argmax(v)", "`dim` of `sum` is an axis, known at build"),
    ("load_model(x)", "E0304", "x", "the path of a model is a string known at build"),
    ("save(x, 1)", "E0304", "1", "the path to save to is a string known at build"),
    # values
    ("1 / 0", "E0305", "1 / 0", "division by zero"),
    ("1 % 0", "E0305", "1 % 0", "division by zero"),
    ("1.0 / 0.0", "E0305", "1.0 / 0.0", "division by zero"),
    ("0.0 ** -1", "E0305", "0.0 ** -1", "`**` of 0.0 and -1 has no finite result"),
    ("(-1.0) ** 0.5", "E0305", "(-1.0) ** 0.5", "`**` of -1.0 and 0.5 is not a real number"),
    ("10.0 ** 999", "E0305", "10.0 ** 999", "`**` of 10.0 and 999 has no finite result"),
    ("2 ** 64", "E0305", "2 ** 64", "`**` of 2 and 64 is beyond 64 bits"),
    ("2 ** 999999999", "E0305", "2 ** 999999999", "`**` of 2 and 999999999 has no finite"),
    ("9223372036854775807 + 1", "E0305", "9223372036854775807 + 1", "`+` of 92233720368547758"),
    ("tensor([65520.0])", "E0305", "[65520.0]", "65520.0 is beyond the largest float16, 65504"),
    ("tensor<float32>([1e39])", "E0305", "[1e39]", "1e+39 is beyond the largest float32"),
    ("tensor<int>([2147483648])", "E0305", "[2147483648]", "2147483648 is not a 32-bit whole"),
    ("tensor<int>([0.5])", "E0305", "[0.5]", "0.5 is not a 32-bit whole number"),
    ("full([2], 1e6)", "E0305", "1e6", "1000000.0 is beyond the largest float16"),
    ("x * 1e6", "E0305", "1e6", "1000000.0 is beyond the largest float16"),
    ("(1e308 * 10) as int", "E0305", "(1e308 * 10) as int", "inf has no whole number"),
    # too large
    ("[0; 99999999]", "E0401", "[0; 99999999]", "an array or string of more than 16777216"),
    ('"ab" * 99999999', "E0401", '"ab" * 99999999', "an array or string of more than"),
    ("[" * 33 + "1.0" + "]" * 33 + ".relu()", "E0303", "[" * 33 + "1.0" + "]" * 33, "a tensor has"),
]


@pytest.mark.parametrize(
    ("expression", "code", "place", "message"), EXPRESSIONS, ids=[e[0][:40] for e in EXPRESSIONS]
)
def test_a_mistake_is_reported_at_its_place(
    expression: str, code: str, place: str, message: str
) -> None:
    found = only_error(f"{SETUP}let found = {expression}\n")
    assert (found.code, marked(found)) == (code, place)
    assert found.message.startswith(message)
    assert found.code in CODES or found.code in RUN_CODES


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("sofmax(x)", "did you mean `softmax`"),
        ("x.tranpose()", "did you mean `transpose`"),
        ("softmax(x, dmi: 0)", "did you mean `dim`?"),
        ("softmax(x, zzz: 0)", "it is `softmax(x, dim = -1)`"),
        ("x.shap", "did you mean `shape`?"),
        ("sqrt", "`sqrt` is a function; call it: `sqrt(...)`"),
        ("idz", "did you mean `ids`"),
        ("x @ x", "transpose the right operand: `x @ w.T`, or `linear(x, w)`"),
        ("zeros([3, 4]) @ x", "the operands fit the other way round: exchange them"),
        ("zeros([2, 4]) @ x", "transpose the left operand: `x.T @ w`"),
        ("linear(x, zeros([3, 4]))", "the weights are [in, out]: use `x @ w + b`"),
        ("ids * 2", "integer tensors hold indices; convert with `as float32`"),
        ("embedding(x, v / 2.0)", "write the ids as `tensor<int>([1, 2, 3])`"),
        ("if x > 0 then 1 else 2", "`where(mask, a, b)` chooses element by element"),
        ("x * 1e6", "compute in float32, as with `x as float32`"),
    ],
)
def test_a_mistake_comes_with_what_to_do(expression: str, hint: str) -> None:
    assert hint in only_error(f"{SETUP}let found = {expression}\n").hint


@pytest.mark.parametrize(
    ("expression", "labels"),
    [
        ("x + zeros([2])", [("x", "this is f16[2, 3]"), ("zeros([2])", "this is f16[2]")]),
        ("x @ x", [("x", "this is f16[2, 3]"), ("x", "this is f16[2, 3]")]),
        ('1 + "a"', [("1", "this is int"), ('"a"', "this is string")]),
        ("where(v > 0, v == 1, v)", [("v == 1", "this is bool[3]")]),
        ("linear(x, x, v)", [("v", "this is f16[3]")]),
        ("embedding(x, v / 2.0)", [("v / 2.0", "this is f16[3]")]),
        ("softmax(x, 0, dim: 1)", [("0", "given here first")]),
        ("concat(x, v, 0)", [("x", "this is f16[2, 3]"), ("v", "this is f16[3]")]),
        (
            "if true then x else 1.0",
            [("x", "this is f16[2, 3]"), ("1.0", "this is float")],
        ),
        (
            'if false { "a" } else { 1 }',
            [('{ "a" }', "this is string"), ("{ 1 }", "this is int")],
        ),
    ],
)
def test_a_disagreement_shows_both_sides(expression: str, labels: list[tuple[str, str]]) -> None:
    found = only_error(f"{SETUP}let found = {expression}\n")
    assert [(label.span.text, label.text) for label in found.others] == labels


# ---- statements ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "code", "place", "message"),
    [
        ("let (a, b) = (1, 2, 3)", "E0302", "let (a, b) = (1, 2, 3)", "2 names, and this is"),
        ("let (a, b) = 1", "E0302", "let (a, b) = 1", "2 names, and this is int"),
        ("let a: int = 2.5", "E0302", "2.5", "`a` must be int, and this is 2.5"),
        ("let a: float16[3] = [1.0]", "E0301", "[1.0]", "dimension 0 of `a` is 1, and must be 3"),
        ("let N = 2\nlet a: float16[N] = [1.0]", "E0301", "[1.0]", "dimension 0 of `a` is 1"),
        ("let a: thing = 1", "E0201", "thing", "unknown type `thing`"),
        ("let a: flot16[2] = [1.0, 2.0]", "E0201", "flot16[2]", "unknown type `flot16`"),
        ("tensor a: float16[2] = [1.0]", "E0301", "[1.0]", "1 numbers do not fill a tensor of"),
        ("tensor a: float16[N]", "E0304", "float16[N]", "the shape of a tensor without a value"),
        ("tensor a: thing[2]", "E0201", "thing[2]", "unknown type `thing`"),
        ("tensor a: float16[1] = f32::ones([1])", "E0302", "f32::ones([1])", "`a` must be float16"),
        ("tensor a: float16[1.5]", "E0303", "1.5", "a dimension is a whole number"),
        ("tensor a: float16[2 / 0]", "E0305", "2 / 0", "division by zero"),
        ("for i in 5 { }", "E0302", "5", "int cannot be walked by `for`"),
        ("let a = {1, 2}", "E0302", "{1, 2}", "a set `{a, b}` can only be walked by `for`"),
        ("if 1 { }", "E0302", "1", "a condition is a bool, and this is int"),
        ("while 1 { }", "E0302", "1", "a condition is a bool, and this is int"),
        ("return 5", "E0101", "5", "this `return` stands outside of a function"),
        ("fn f() { break }\nf()", "E0101", "break", "this `break` stands outside of a loop"),
        ("fn f() -> int { 1 }\nfn f() -> int { 2 }", "E0202", "f", "`f` is defined twice"),
        ("main { }\nmain { }", "E0202", "main { }", "`main` is defined twice"),
        ("fn f() -> int { }\nlet a = f()", "E0302", "f", "the result of `f` must be int, and this"),
        ("fn f() { }\nlet a = f()", "E0302", "f()", "this has no value"),
        ("fn f(n: int, m: int) -> int { n }\nf(1)", "E0203", "f(1)", "`f` needs `m`"),
        ("fn f(n: int) -> int { n }\nf(1, 2)", "E0203", "2", "`f` takes one argument, and 2 are"),
        ("fn f() -> int { 1 }\nf(2)", "E0203", "2", "`f` takes no arguments, and one is given"),
        ("fn f(n: int) -> int { n }\nf(m: 1)", "E0203", "m: 1", "`f` has no parameter `m`"),
        ("fn f(x: float16[K + M]) -> int { 1 }\nf(ones([3]))", "E0303", "K", "the dimension `K`"),
    ],
)  # fmt: skip
def test_a_wrong_statement_is_reported_at_its_place(
    program: str, code: str, place: str, message: str
) -> None:
    found = only_error(program)
    assert (found.code, marked(found)) == (code, place)
    assert found.message.startswith(message)


# ---- several mistakes ----------------------------------------------------------------------------


def test_all_mistakes_are_reported_each_once() -> None:
    text = (
        "let a = nothing\n"
        "let b = a + 1\n"  # says nothing more: `a` is known to be wrong
        "let c = sofmax(b)\n"
        "fn f(x: float16[N]) -> Tensor {\n  let y = missing\n  return y + lost\n}\n"
        "impl Gone { }\n"
        "main {\n  print(c, b)\n  print(1 / 0)\n}\n"
    )
    assert [(d.code, marked(d)) for d in errors(text)] == [
        ("E0201", "nothing"),
        ("E0201", "sofmax"),
        ("E0201", "missing"),
        ("E0201", "Gone"),
        ("E0305", "1 / 0"),
    ]


@pytest.mark.parametrize(
    "program",
    [
        "let a = nothing\nprint(a)\nlet b = a\nprint(b @ b, b.shape, b[0], f(b))\nfn f(x) { x }",
        "let (a, b) = nothing\nprint(a, b)",
        "a = nothing\na = a + 1\nprint(a)",
        "(a, b) = nothing\nprint(a + b)",
        "tensor a: float16[2] = nothing\nprint(a)",
        "let a = 1\nif nothing { a = 2 }\nprint(a @ a)",
        "let a = zeros([2])\nfor i in nothing { a = stack(a, a) }\nprint(a @ zeros([7]))",
        "let a = 1\nwhile true { a = nothing }\nprint(a.thing)",
        "let a = [1, nothing]\nprint(a[0])",
        "for i in range(3) { print(nothing) }",
        "let a = if nothing then 1 else 2\nprint(a)",
        "let a = if true then 1 else nothing\nprint(a)",
        "fn f(x: float16[N]) { let a = nothing\n  a }\nprint(f(ones([2])))\nprint(f(ones([3])))",
        "print(1 + nothing * 2)\n",
    ],
)
def test_one_mistake_makes_one_message(program: str) -> None:
    assert marked(only_error(program)) == "nothing"


def test_a_second_value_after_a_mistake_is_used() -> None:
    text = "let a = nothing\na = zeros([2])\nprint(a @ zeros([3]))"
    assert [d.code for d in errors(text)] == ["E0201", "E0301"]


def test_two_mistakes_of_one_kind_at_two_places_are_two() -> None:
    assert len(errors("print(nothing)\nprint(nothing)")) == 2


def test_warnings_come_with_the_errors() -> None:
    model = FakeModel({"w": FakeTensor((32, 32), "iq4_xs")})
    text = 'model = load_model("m")\nprint(model.w)\nprint(nothing)'
    assert [d.code for d in errors(text, {"m": model})] == ["E0201"]
    found = lowered('model = load_model("m")\nprint(model.w)', {"m": model})
    assert [d.code for d in found.warnings] == ["W0002"]


# ---- how they look -------------------------------------------------------------------------------

MODEL = {
    "tiny.gguf": FakeModel(
        {
            "blk.0.attn_q.weight": FakeTensor((8, 8)),
            "blk.0.attn_k.weight": FakeTensor((8, 8)),
            "steps": FakeTensor((1,), "i64"),
        }
    )
}
SHOWN = {
    "shape_conflict_in_calls": (
        "fn scaled(a: float16[N], b: float16[N]) -> float16[N] { a * b }\n"
        "\n"
        "fn layer(x: float16[B, D], w: Tensor) -> Tensor {\n"
        "    let row = x[0, :]\n"
        "    return scaled(row, w)\n"
        "}\n"
        "\n"
        "let x = zeros([2, 3])\n"
        "print(layer(x, ones([4])))\n"
    ),
    "unknown_tensor": (
        'model = load_model("tiny.gguf")\nlet q = model.blk[0].attn_p.weight\nprint(q)\n'
    ),
    "integer_weight": 'model = load_model("tiny.gguf")\nprint(model.steps + 1.0)\n',
    "product_the_wrong_way_round": (
        "// four rows of three features\nlet x = zeros([4, 3])\nlet W = zeros([3, 2])\n"
        "let V = zeros([2, 3])\nlet y = W @ x\nlet z = x @ V\n"
    ),
    "undefined_name": "let weights = ones([3])\nlet y = wieghts * 2.0\nprint(y)\n",
    "wrong_argument": (
        "let x = ones([2, 3])\nprint(softmax(x, axes: 1))\nprint(sum(x, 0, true, 4))\n"
        "print(clamp(x, low: 0.0, 0.5, low: 1.0))\n"
    ),
    "branches_of_an_if": (
        "let training = false\nlet x = ones([2, 3])\n"
        'let y = if training { x * 2.0 } else { "off" }\n'
    ),
}


@pytest.mark.parametrize("name", SHOWN)
def test_the_message_as_a_terminal_shows_it(name: str, golden: Callable[[str, str], None]) -> None:
    shown = "\n\n".join(render_text(d) for d in errors(SHOWN[name], MODEL))
    golden(f"diagnostics/lower_{name}.txt", shown + "\n")
