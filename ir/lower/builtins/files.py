"""Builtins about files: models and their tensors, and what is saved."""

from __future__ import annotations

from collections.abc import Callable

from tlc.frontend import ast
from tlc.ir.core import Value
from tlc.ir.lower import models
from tlc.ir.lower.arguments import Argument
from tlc.ir.lower.builtins.table import need_tensor, special
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Model, describe


def need_text(cx: Context, arg: Argument, what: str) -> str:
    """A string known at build, such as a path."""
    if not isinstance(arg.value, str):
        text = f"{what} is a string known at build, and this is {describe(arg.value)}"
        cx.fail("E0304", text, arg.span)
    return arg.value


def need_model(cx: Context, arg: Argument) -> Model:
    """A loaded model."""
    if not isinstance(arg.value, Model):
        cx.fail("E0302", f"a model is needed, and this is {describe(arg.value)}", arg.span)
    return arg.value


def _load(dtype: str) -> Callable[..., Model]:
    def load(cx: Context, node: ast.Call, path: Argument) -> Model:
        found = cx.model(need_text(cx, path, "the path of a model"), dtype, path.span)
        if found.header.format == "Image":
            text = f"{found.path} is a picture, and no model"
            cx.fail("E0601", text, path.span, hint="`load_image` reads it")
        return found

    return load


for _name, _dtype in (("load_model", "f16"), ("load_model_f16", "f16"), ("load_model_f32", "f32")):
    special(_name, "path: any")(_load(_dtype))


@special("get_tensor", "model: any, name: any")
def _get_tensor(cx: Context, node: ast.Call, model: Argument, name: Argument) -> Value:
    wanted = need_text(cx, name, "a tensor's name")
    return models.tensor(cx, need_model(cx, model), wanted, name.span)


@special("has_tensor", "model: any, name: any")
def _has_tensor(cx: Context, node: ast.Call, model: Argument, name: Argument) -> bool:
    """Whether a model has a tensor of that name."""
    return need_text(cx, name, "a tensor's name") in need_model(cx, model).header.tensors


@special("save_model", "model: any, path: any, dequantize: bool = false")
def _save_model(
    cx: Context, node: ast.Call, model: Argument, path: Argument, dequantize: Argument | None
) -> None:
    source, target = need_model(cx, model), need_text(cx, path, "the path to save to")
    expand = dequantize is not None and dequantize.value
    if dequantize is not None and not isinstance(expand, bool):
        text = f"`dequantize` is true or false, and this is {describe(expand)}"
        cx.fail("E0302", text, dequantize.span)
    stored = [tensor.encoding for tensor in source.header.tensors.values()]
    if any("_" in e and e[0] in "qi" for e in stored) and not expand:
        cx.fail(
            "E0606",
            f"{source.path} holds block-quantised tensors, and SafeTensors has no type for them",
            node.span,
            hint=f'`save_model({model.span.text}, "{target}", dequantize: true)` writes float16',
        )
    cx.effect("save_model", model=source.index, path=target, dequantize=expand, span=node.span)


@special("save", "x: any, path: any")
def _save(cx: Context, node: ast.Call, x: Argument, path: Argument) -> None:
    target = need_text(cx, path, "the path to save to")
    name = x.span.text if x.span.text.isidentifier() else "tensor"
    cx.effect("save", need_tensor(cx, x), path=target, name=name, span=node.span)
