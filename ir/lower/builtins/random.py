"""Builtins that draw random numbers. Each call is a draw of its own: the draws are counted in a
hidden number, which loops carry, so that no two draws of a run are the same."""

from __future__ import annotations

from collections.abc import Iterator

from tlc.frontend import ast
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower.arguments import Argument, place, shape_of
from tlc.ir.lower.builtins.registry import builtin
from tlc.ir.lower.builtins.table import SPECIAL, arguments, hint_device, special
from tlc.ir.lower.context import DRAW, Context
from tlc.ir.lower.values import Lowered, describe, is_number
from tlc.ir.opdef import BUILTINS
from tlc.ir.ops.random import normal, uniform


def next_draw(cx: Context) -> Dim:
    """The number of a draw, which no other of the run has."""
    scope = cx.scope.find(DRAW) or cx.globals
    draw = Dim.of(scope.names[DRAW])
    scope.names[DRAW] = draw + 1
    return draw


def _number(cx: Context, arg: Argument | None, default: float, what: str) -> float:
    if arg is None:
        return default
    if not is_number(arg.value):
        text = f"{what} is a number known at build, and this is {describe(arg.value)}"
        cx.fail("E0302", text, arg.span)
    return float(arg.value)


def _draws(prefix: str, dtype: str) -> None:
    """The builtins of one dtype."""

    @special(f"{prefix}rand", "shape: any, device: any = auto")
    def _rand(cx: Context, node: ast.Call, shape: Argument, device: Argument | None) -> Value:
        hint_device(cx, device)
        dims = shape_of(cx, shape.value, shape.span)
        cx.builder.span = node.span
        return uniform(cx.builder, dims, dtype, cx.program.seed, next_draw(cx))

    names = f"{prefix}randn" if prefix else "randn random_normal"

    @special(names, "shape: any, mean: any = 0, std: any = 1, device: any = auto")
    def _randn(
        cx: Context,
        node: ast.Call,
        shape: Argument,
        mean: Argument | None,
        std: Argument | None,
        device: Argument | None,
    ) -> Value:
        hint_device(cx, device)
        dims = shape_of(cx, shape.value, shape.span)
        middle, spread = _number(cx, mean, 0.0, "the mean"), _number(cx, std, 1.0, "`std`")
        cx.builder.span = node.span
        return normal(cx.builder, dims, dtype, cx.program.seed, next_draw(cx), middle, spread)


for _prefix, _dtype in (("", "f16"), ("f16::", "f16"), ("f32::", "f32")):
    _draws(_prefix, _dtype)


def _dropout(cx: Context, node: ast.Call, first: list[Argument]) -> Lowered:
    """`dropout(x, p, train: true)`: each element is 0 with probability p, else divided by 1 - p."""
    args = arguments(cx, node, first)
    op = BUILTINS["dropout"]
    placed = place(cx, op.params, args, "`dropout`", node.span)
    train = placed.pop("train", None)
    plain = builtin(cx, op, "dropout", list(_by_name(placed)), node.span)
    if train is None or train.value is False:
        return plain
    if train.value is not True:
        cx.fail("E0304", "`train` is true or false, known at build", train.span)
    assert isinstance(plain, Value)
    kept = 1.0 - _number(cx, placed.get("p"), 0.5, "`p`")
    b = cx.builder
    b.span = node.span
    chance = uniform(b, plain.tensor.shape, "f32", cx.program.seed, next_draw(cx))
    keep = b.emit("lt", chance, b.scalar(kept, chance))
    x = b.f32(plain)
    scaled = b.emit("mul", x, b.scalar(1.0 / kept if kept else 0.0, x))
    chosen = b.emit("where", keep, scaled, b.broadcast(b.scalar(0.0, x), x.tensor.shape))
    return b.cast(chosen, plain.tensor.dtype)


def _by_name(placed: dict[str, Argument]) -> Iterator[Argument]:
    for name, arg in placed.items():
        yield Argument(arg.value, arg.span, name)


SPECIAL["dropout"] = _dropout
