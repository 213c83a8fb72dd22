"""Names of older programs: `cndl_relu` is `relu`, `alloc` makes zeros, `cleanup` does nothing."""

from __future__ import annotations

from tlc.frontend import ast
from tlc.ir.core import Value
from tlc.ir.lower.arguments import Argument, shape_of
from tlc.ir.lower.builtins.table import SPECIAL, arguments, special
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Lowered
from tlc.ir.opdef import BUILTINS
from tlc.ir.types import TensorType

PREFIX = "cndl_"


def current(name: str) -> str:
    """The name that a builtin has today: `relu` for `cndl_relu`."""
    rest = name.removeprefix(PREFIX)
    return rest if rest in SPECIAL or rest in BUILTINS else name


def _cleanup(cx: Context, node: ast.Call, first: list[Argument]) -> Lowered:
    """Memory needs no care: values live as long as something reads them."""
    arguments(cx, node, first)
    return None


SPECIAL["cleanup"] = _cleanup


@special("alloc new_tensor_buffer", "shape: any")
def _alloc(cx: Context, node: ast.Call, shape: Argument) -> Value:
    dims = shape_of(cx, shape.value, shape.span)
    cx.builder.span = node.span
    return cx.builder.broadcast(cx.builder.constant(0.0, TensorType("f16", ())), dims)
