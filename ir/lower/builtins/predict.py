"""`model.predict(x)`: what a CoreML model computes, lowered where it is called like a function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.frontend.suggest import did_you_mean
from tlc.ir.builder import Builder
from tlc.ir.core import Block, Op, Value
from tlc.ir.dims import Dim
from tlc.ir.lower import indexing, tensors
from tlc.ir.lower.arguments import Argument
from tlc.ir.lower.builtins.table import SPECIAL, arguments
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Lowered, Model, describe
from tlc.ir.types import TensorType, Type

if TYPE_CHECKING:
    from tlc.ir.coreml import Maker


def _predict(cx: Context, node: ast.Call, first: list[Argument]) -> Lowered:
    """The outputs of a model: a tensor, or a tuple of them in the model's order."""
    from tlc.ir.coreml import Refusal

    args = arguments(cx, node, first)
    if not args:
        cx.fail("E0203", "`predict` needs a model", node.span)
    model = args[0].value
    if not isinstance(model, Model):
        cx.fail("E0302", f"a model is needed, and this is {describe(model)}", args[0].span)
    if model.header.format != "CoreML":
        cx.fail(
            "E0302",
            f"`predict` runs CoreML models, and {model.path} is {model.header.format}",
            args[0].span,
            hint="write what the model computes with the tensors that it holds",
        )
    cx.builder.span = node.span
    try:
        results = _run(cx, model, args[1:], node.span)
    except Refusal as problem:
        hint = problem.hint or (_ON_A_MAC if problem.code == "E0610" else "")
        cx.fail(problem.code, f"{model.path}: {problem}", node.span, hint=hint)
    return results[0] if len(results) == 1 else tuple(results)


SPECIAL["predict"] = _predict
_ON_A_MAC = "on a Mac, `--engine coreml` leaves the model to Core ML itself"


def _run(cx: Context, model: Model, args: Sequence[Argument], span: Span) -> list[Value]:
    from tlc.ir.coreml import Maker, Refusal, bind

    maker = Maker(cx.builder, wide=model.dtype == "f32")
    header: Any = model.header
    features = header.description.inputs
    inputs = {f.name: f for f in features} if header.network else dict(header.program.inputs)
    for name, type in inputs.items():
        if type.dtype == "other":
            raise Refusal("E0610", f"the model keeps a state, `{name}`, which tlc does not have")
    placed = _placed(cx, list(inputs), args, span)
    images = {feature.name for feature in features if feature.image is not None}
    bound: dict[str, Value] = {}
    for name, arg in placed.items():
        hint = "`preprocess(img)` makes what the model wants" if name in images else ""
        value = _tensor(cx, arg, inputs[name].dtype)
        if header.network and value.tensor.dtype == "i32":  # whose arrays may all be of floats
            value = maker.b.cast(value, maker.dtype(inputs[name].dtype))
        bound[name] = bind(maker, name, value, inputs[name], hint)
    _limits(maker, features, bound)
    if cx.program.engine == "coreml":
        return _by_core_ml(cx, model, bound, span)
    return list(_compiled(maker, model, bound).values())


def _compiled(maker: Maker, model: Model, bound: dict[str, Value]) -> dict[str, Value]:
    """The outputs by name, computed by operations of the IR. Raises Refusal."""
    from tlc.ir.coreml import lower_network, lower_program, narrowed, positions, widened

    header: Any = model.header
    network, features = header.network, header.description.inputs

    def tensor(name: str, dtype: str, shape: tuple[int, ...]) -> Value:
        type = TensorType(dtype, tuple(map(Dim.of, shape)))
        encoding = header.tensors[name].encoding
        return maker.b.emit(
            "weight", model=model.index, tensor=name, encoding=encoding, stored=dtype, type=type
        )

    if network is None:
        found = lower_program(maker, header.program, bound, tensor)
        return {name: maker.tensor(value) for name, value in found.items()}
    if network.exact and not network.exact_images:  # images have a sequence axis too
        for feature in features:
            if feature.image is not None and feature.name in bound:
                image = bound[feature.name]
                bound[feature.name] = maker.b.reshape(image, (1, *image.tensor.shape))
    whole = positions(network)
    wide = {
        name: widened(maker, value, network.exact, name in whole) for name, value in bound.items()
    }
    shapes = {f.name: f.shape for f in header.description.outputs if f.shape is not None}
    names = list(shapes)
    if not names and network.layers:  # a label and a table by labels: made of the last value
        names = [network.probabilities or network.layers[-1].outputs[0]]
    results = lower_network(maker, network, wide, names, tensor)
    return {
        name: narrowed(maker, v, shapes.get(name), network.exact) for name, v in results.items()
    }


def _by_core_ml(cx: Context, model: Model, bound: dict[str, Value], span: Span) -> list[Value]:
    """The outputs, left to Core ML. Their types are those that a compiled model has, or what the
    model says of them where it has operations that are not compiled."""
    from tlc.ir.coreml import Maker, Refusal

    aside = Maker(Builder(Block(), span, cx.builder.kept), wide=model.dtype == "f32")
    types: dict[str, Type]
    try:
        types = {name: v.type for name, v in _compiled(aside, model, dict(bound)).items()}
    except Refusal:
        types = _declared(aside, model)
        if not types:
            raise
    made = cx.builder.append(
        "core_ml",
        *bound.values(),
        model=model.index,
        inputs=tuple(bound),
        outputs=tuple(types),
        results=tuple(types.values()),
    )
    assert isinstance(made, Op)
    return made.results


def _declared(maker: Maker, model: Model) -> dict[str, Type]:
    """The types of the outputs as the model names them; none when a size is left open."""
    header: Any = model.header
    found: dict[str, Any]
    if header.network is not None:
        found = {f.name: (maker.dtype("f16"), f.shape) for f in header.description.outputs}
    else:
        made = {n: t for op in header.program.operations for n, t in op.outputs}
        found = {n: (maker.dtype(made[n].dtype), made[n].shape) for n in header.program.outputs}
    if any(shape is None or None in shape for _, shape in found.values()):
        return {}
    return {name: TensorType(t, tuple(map(Dim.of, shape))) for name, (t, shape) in found.items()}


def _placed(
    cx: Context, names: list[str], args: Sequence[Argument], span: Span
) -> dict[str, Argument]:
    """Arguments by the model's names of its inputs."""
    if len(args) > len(names):
        text = f"the model takes {len(names)} inputs, and {len(args)} are given"
        cx.fail("E0203", text, args[len(names)].span)
    placed: dict[str, Argument] = {}
    positional = iter(names)
    for arg in args:
        name = arg.name or next(positional)
        if name not in names:
            hint = did_you_mean(name, names) or f"its inputs are {', '.join(names)}"
            cx.fail("E0203", f"the model has no input `{name}`", arg.span, hint=hint)
        if name in placed:
            cx.fail("E0203", f"`{name}` is given twice", arg.span)
        placed[name] = arg
    missing = [name for name in names if name not in placed]
    if missing:
        cx.fail("E0203", f"the model needs its input `{missing[0]}`", span)
    return placed


def _tensor(cx: Context, arg: Argument, dtype: str) -> Value:
    """An argument as a tensor; a list of whole numbers where the model wants them."""
    if dtype[0] in "iu":
        return indexing.index_tensor(cx, arg.value, arg.span) or tensors.need_tensor(
            cx, arg.value, arg.span
        )
    return tensors.need_tensor(cx, arg.value, arg.span)


def _limits(maker: Maker, features: Sequence[Any], bound: dict[str, Value]) -> None:
    """Demand that open dimensions lie in the ranges that the model names."""
    for feature in features:
        if feature.name not in bound or not feature.ranges:
            continue
        shape = bound[feature.name].tensor.shape
        for size, (low, high) in zip(shape, feature.ranges, strict=False):
            text = f"`{feature.name}` has from {low} to {high or 'any'} elements along an axis"
            maker.b.check_at_most(Dim.of(low), size, text)
            if high is not None:
                maker.b.check_at_most(size, Dim.of(high), text)
