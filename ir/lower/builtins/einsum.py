"""The call of `einsum`: a specification, known at build, and any number of tensors."""

from __future__ import annotations

from tlc.frontend import ast
from tlc.ir.core import Value
from tlc.ir.lower.arguments import Argument
from tlc.ir.lower.builtins.table import SPECIAL, arguments, need_tensor
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import describe
from tlc.ir.opdef import TypeRuleError
from tlc.ir.ops.einsum import parse_spec


def _einsum(cx: Context, node: ast.Call, first: list[Argument]) -> Value:
    """`einsum("ij,jk->ik", a, b)`."""
    args = arguments(cx, node, first)
    for at, arg in enumerate(args):
        if arg.name is not None and (at, arg.name) != (0, "spec"):
            cx.fail("E0203", f"`einsum` has no parameter `{arg.name}`", arg.span)
    if len(args) < 2:
        cx.fail("E0203", "`einsum` needs a specification and tensors", node.span)
    spec, *rest = args
    if not isinstance(spec.value, str):
        text = f"the specification of `einsum` is a string, and this is {describe(spec.value)}"
        cx.fail("E0302", text, spec.span)
    operands = [need_tensor(cx, arg) for arg in rest]
    places = [arg.span for arg in rest]
    try:
        parse_spec(spec.value, [x.tensor.rank for x in operands])
    except TypeRuleError as problem:
        cx.refuse(problem, spec.span, operands, places)
    return cx.emit("einsum", *operands, spec=spec.value, span=node.span, places=places)


SPECIAL["einsum"] = _einsum
