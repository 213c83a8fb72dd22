"""A malformed module is refused with what is wrong and the IR, whatever pass may have made it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given

from tests.ir.strategies import Case, cases
from tlc.frontend.diagnostics import InternalError
from tlc.ir.builder import Builder
from tlc.ir.core import Block, Func, Module, Op, Value
from tlc.ir.opdef import OPS
from tlc.ir.parser import parse_module
from tlc.ir.passes import optimise
from tlc.ir.types import ScalarType, tensor
from tlc.ir.verify import verify

X = tensor("f16", "N", 3)


def function(lines: str, params: str = "%0 x: f16[N, 3], %1 y: f16[N, 3]") -> Module:
    return parse_module(f"func @f({params}) {{\n{lines}\nyield()\n}}")


FUSED = """
%2 = fused(%0, %1) {{family="elementwise", encodings={encodings}}} : f16[N, 3] ^({args}) {{
  {inside}
}}"""


def fused(
    inside: str,
    args: str = "%3: f16[N, 3], %4: f16[N, 3]",
    encodings: str = '("f16", "f16")',
) -> str:
    return FUSED.format(inside=inside, args=args, encodings=encodings)


FUNCTION = """
function() {{name="f", ints=("$1",), ends=(("$2", <$1>),), types=()}} ^(%2: f16[$1]) {{ yield() }}
call() {{name="f", ints=({ints}), symbols=({symbols}), place=""}}"""


@pytest.mark.parametrize(
    ("lines", "stage", "message"),
    [
        # types and attributes
        # functions that call themselves
        ('call() {name="f", ints=(), symbols=(), place=""}', "lowered", "no function before it"),
        (FUNCTION.format(ints="<N>,", symbols='"$9",'), "lowered", "call hands on 0 values for 1"),
        (
            FUNCTION.format(ints="<$8>,", symbols='"$9",'),
            "lowered",
            "call hands on an unknown symbol",
        ),
        (FUNCTION.format(ints="", symbols='"$9",'), "lowered", "call hands on 0 numbers"),
        (FUNCTION.format(ints="<N>,", symbols=""), "lowered", "call takes 0 numbers"),
        ("%2 = add(%0, %1) : f16[N, 4]", "lowered", "add gives f16[N, 4], its type rule says"),
        ("%2 = add(%0, %1) : f32[N, 3]", "lowered", "add gives f32[N, 3], its type rule says"),
        ("%2 = add(%0) : f16[N, 3]", "lowered", "add has 1 operands"),
        ("%2 = neg(%0, %1) : f16[N, 3]", "lowered", "neg has 2 operands"),
        ("%2 = neg(%0) {axis=1} : f16[N, 3]", "lowered", "the attributes of neg are axis"),
        ("%2 = reduce_sum(%0) : f16[N, 1]", "lowered", "the attributes of reduce_sum are"),
        ("%2 = reduce_sum(%0) {axis=2} : f16[N, 1]", "lowered", "axis 2 is out of range"),
        ("%2 = permute(%0) {axes=(0, 0)} : f16[N, 3]", "lowered", "does not name each axis"),
        ('%2 = slice(%0) {axis="x", start=0, length=1} : f16[1, 3]', "lowered", "is malformed"),
        ("%2 = broadcast(%0) {shape=[2, 3]} : f16[2, 3]", "lowered", "does not broadcast"),
        ("%2 = constant() {value=(1.0, 2.0)} : f16[3]", "lowered", "2 numbers do not fill"),
        ('%2 = constant() {value=hex"00"} : f16[1]', "lowered", "0 numbers do not fill"),
        ("%2 = iota() {axis=1} : f16[3]", "lowered", "axis 1 is out of range"),
        ("print(%0) {parts=(none, none)}", "lowered", "2 places for 1 operands"),
        ('check() {left=K, right=0, text=""}', "lowered", "check has a symbol that no parameter"),
        ("%2 = iota() {axis=0} : f16[K]", "lowered", "iota has a symbol that no parameter has"),
        ("%2 = softmax(%0) : f16[N, 3]", "lowered", "softmax is a composition"),
        # structure
        ("yield()", "lowered", "yield is not the last operation"),
        ("%2 = neg(%0) : f16[N, 3] ^() {\nyield()\n}", "lowered", "neg has 1 regions"),
        ("%2 = once() : f16[2]", "lowered", "once has 0 regions"),
        ("%2 = once() : f16[2] ^() {\nyield()\n}", "lowered", "does not yield its results"),
        (
            "%2 = once() : f16[N, 3] ^() {\n%3 = neg(%0) : f16[N, 3]\nyield(%3)\n}",
            "lowered",
            "an operand of neg is not defined before it",
        ),
        # stages
        ("%2 = neg(%0) : f16[N, 3]", "fused", "neg has no place here"),
        ("%2 = permute(%0) {axes=(1, 0)} : f16[3, N]", "fused", "permute has no place here"),
        (fused("yield(%3)"), "lowered", "fused has no place here"),
        (
            "%2 = access(%0) {shape=[N], strides=[3], offset=0} : f16[N]",
            "fused",
            "access has no place here",
        ),
        (fused("print() {parts=()}\nyield(%3)"), "fused", "print has no place here"),
        (
            fused("%5 = reshape(%3) {shape=[3, N]} : f16[3, N]\nyield(%3)"),
            "fused",
            "reshape has no place here",
        ),
        # kernels
        (fused("yield(%3)", args="%3: f16[N, 3]"), "fused", "the region of fused are not its"),
        (fused("yield(%4)", args="%3: f16[N, 3], %4: f16[3]"), "fused", "are not its operands"),
        (fused("yield()"), "fused", "does not yield its results"),
        (fused("yield(%3)", encodings='("f16",)'), "fused", "1 encodings for 2 operands"),
        (fused("yield(%3)", encodings='("f16", "f32")'), "fused", "is not stored as f32"),
        (fused("yield(%3)", encodings='("f16", "q9_9")'), "fused", "is not stored as q9_9"),
        (fused("%5 = neg(%0) : f16[N, 3]\nyield(%5)"), "fused", "operand of neg is not defined"),
    ],
)
def test_malformed_text_is_refused(lines: str, stage: str, message: str) -> None:
    with pytest.raises(InternalError) as refused:
        verify(function(lines), stage)
    assert message in refused.value.message
    assert refused.value.message.startswith(f"@f is malformed ({stage}): ")
    assert "func @f(" in refused.value.ir, "the report carries the IR"
    assert "please report" in str(refused.value).lower()


def built(damage: Callable[[Func], object]) -> Module:
    """`x + x` and its negation, damaged."""
    x = Value(X)
    body = Block([x])
    builder = Builder(body)
    total = builder.emit("add", x, x)
    builder.append("yield", builder.emit("neg", total))
    func = Func("f", body, ["x"])
    damage(func)
    return Module([func])


def swap_operations(func: Func) -> None:
    func.body.ops[0], func.body.ops[1] = func.body.ops[1], func.body.ops[0]


def drop_yield(func: Func) -> None:
    func.body.ops.pop()


def share_result(func: Func) -> None:
    add, neg, _ = func.body.ops
    neg.results = add.results


def foreign_operand(func: Func) -> None:
    func.body.ops[1].operands = [Value(X)]


def wrong_owner(func: Func) -> None:
    func.body.ops[0].result.owner = func.body.ops[1]


def repeat_operation(func: Func) -> None:
    func.body.ops.insert(1, func.body.ops[0])


def scalar_parameter(func: Func) -> None:
    func.params[0].type = ScalarType("int")


def repeat_parameter(func: Func) -> None:
    func.body.args.append(func.params[0])
    func.param_names.append("y")


def lose_a_name(func: Func) -> None:
    func.param_names.clear()


def change_a_type(func: Func) -> None:
    func.params[0].type = tensor("f16", "N", 4)


def unprintable_attribute(func: Func) -> None:
    func.body.ops[0].attrs["what"] = object()


def empty(func: Func) -> None:
    func.body.ops.clear()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (swap_operations, "an operand of neg is not defined before it"),
        (drop_yield, "a block must end with a yield"),
        (empty, "a block must end with a yield"),
        (share_result, "a result of neg is defined twice"),
        (foreign_operand, "an operand of neg is not defined before it"),
        (wrong_owner, "a result of add names another owner"),
        (repeat_operation, "a result of add is defined twice"),
        (scalar_parameter, "a parameter is no tensor"),
        (repeat_parameter, "an argument is defined twice"),
        (lose_a_name, "0 names for 1 parameters"),
        (change_a_type, "add gives f16[N, 3], its type rule says f16[N, 4]"),
        (unprintable_attribute, "the attributes of add are what"),
    ],
)
def test_damage_by_a_pass_is_refused(damage: Callable[[Func], object], message: str) -> None:
    with pytest.raises(InternalError) as refused:
        verify(built(damage))
    assert message in refused.value.message
    assert refused.value.ir


def test_what_is_not_damaged_is_accepted() -> None:
    verify(built(lambda func: None))
    verify(parse_module("func @f() {\n  yield()\n}\n"), "fused")
    verify(Module())


def test_two_functions_of_one_name_are_refused() -> None:
    module = parse_module("func @f() {\n  yield()\n}\nfunc @f() {\n  yield()\n}\n")
    with pytest.raises(InternalError, match="two functions are called @f"):
        verify(module)


def test_a_weight_is_refused_where_a_kernel_is_meant() -> None:
    op = Op(OPS["weight"], [], {"model": 0})
    with pytest.raises(InternalError, match="the attributes of weight are model"):
        verify(Module([Func("f", Block(ops=[op, Op(OPS["yield"], [], {})]), [])]))


@pytest.mark.fuzz
@given(cases())
def test_generated_modules_are_accepted_at_every_stage(case: Case) -> None:
    verify(case.module)
    optimise(case.module, checked=True)
    verify(case.module, "fused")
