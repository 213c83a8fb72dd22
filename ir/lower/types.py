"""Values as declared types want them, converted where that loses nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

from tlc.frontend import ast
from tlc.frontend.diagnostics import Label
from tlc.frontend.source import Span
from tlc.ir.core import Block, Value
from tlc.ir.dims import Dim
from tlc.ir.lower.context import Context
from tlc.ir.lower.literals import literal, own_dtype
from tlc.ir.lower.signature import Symbols, size_of, unify
from tlc.ir.lower.type_names import HOST_TYPES, VECTORS, is_tensor_type, unknown_type
from tlc.ir.lower.values import (
    Flag,
    Lowered,
    Pieces,
    Range,
    Rows,
    Struct,
    Vector,
    describe,
    first_piece,
    is_number,
    tell,
    whole,
)
from tlc.ir.types import FLOATS, SPELLINGS, TensorType


def convert(
    cx: Context, node: ast.TypeExpr, value: Lowered, span: Span, what: str, symbols: Symbols
) -> Lowered:
    """A value as a declared type wants it. Reports what does not fit."""
    if node.name in symbols.types:
        return _parameter(cx, node, value, span, what, symbols)
    if node.name in cx.program.structs:
        return _struct(cx, node, value, span, what, symbols)
    if node.name == "Vec" or (node.name in ("tuple", *VECTORS) and node.dims is None):
        return _items(cx, node, value, span, what, symbols)
    scalar = isinstance(value, Dim | bool | Flag) or is_number(value)
    if node.name == "Tensor" and (scalar or isinstance(value, Value)):
        return value
    if node.name == "Tensor" and isinstance(value, list | Pieces):
        tensor = first_piece(value)
        return literal(cx, tensor, own_dtype(tensor), span) if isinstance(tensor, list) else tensor
    if is_tensor_type(node):
        tensor = first_piece(value)
        if isinstance(tensor, list) or (is_number(tensor) and not node.dims):
            tensor = literal(cx, tensor, SPELLINGS[node.name], span)
        elif isinstance(tensor, Dim) and not node.dims:
            tensor = _size_on_device(cx, tensor, SPELLINGS[node.name], span)
        if isinstance(tensor, Value):
            unify(cx, node, tensor, span, what, symbols)
            return tensor
    elif node.name in HOST_TYPES:
        if isinstance(value, Value) and not value.tensor.shape:
            from tlc.ir.lower.reading import on_host

            if (node.name, value.tensor.dtype) in (("int", "i32"), ("bool", "bool")):
                return on_host(cx, value, span)
            if node.name in ("int", "float"):
                return value
        if isinstance(value, Dim) and node.name == "float":
            return _size_on_device(cx, value, "f32", span)
        if HOST_TYPES[node.name](value):
            match node.name:
                case "int":
                    return whole(value)
                case "float":
                    return float(value)
            return value
    elif node.args:
        cx.unsupported(f"the type `{node.name}`", node.span)
    elif node.name != "Tensor":
        unknown_type(cx, node)
    _unfit(cx, node, value, span, what)


def _size_on_device(cx: Context, size: Dim, dtype: str, span: Span) -> Value:
    """A size that only run time knows, as a tensor of one number."""
    cx.builder.span = span
    return cx.builder.constant(size, TensorType(dtype, ()))


def _unfit(cx: Context, node: ast.TypeExpr, value: Lowered, span: Span, what: str) -> NoReturn:
    wanted = node.name if node.dims is None and not node.args else node.span.text
    cx.fail(
        "E0302",
        f"{what} must be {wanted}, and this is {tell(value)}",
        span,
        others=[Label(node.span, "declared here")],
        hint="" if value is not None else "its value is its last expression, or `return e`",
    )


def kind(value: Lowered) -> str:
    """What a type parameter stands for when this is its value: an element type for a tensor."""
    value = first_piece(value)
    if isinstance(value, Value):
        return next(name for name, dtype in SPELLINGS.items() if dtype == value.tensor.dtype)
    return describe(value)


def _parameter(
    cx: Context, node: ast.TypeExpr, value: Lowered, span: Span, what: str, symbols: Symbols
) -> Lowered:
    """A value of the type that a type parameter stands for: everywhere the same."""
    found, known = kind(value), symbols.types[node.name]
    if node.dims is not None and isinstance(value, list):
        value = literal(cx, value, SPELLINGS.get(known or "float16", "f16"), span)
        found = kind(value)
    numbers = {"int", "float"}
    alike = {found, known or found} <= numbers or SPELLINGS.get(found, found) == SPELLINGS.get(
        known or found, known or found
    )
    if not alike:
        first = symbols.places.get(f"<{node.name}>") or Label(node.span, "declared here")
        text = f"{what} is {describe(value)}, and `{node.name}` is {known} in this call"
        cx.fail("E0302", text, span, others=[first])
    if known is None:
        symbols.types[node.name] = found
        symbols.places[f"<{node.name}>"] = Label(span, f"`{node.name}` is {found} here")
    if node.dims is None:
        return value
    if not isinstance(value, Value):
        _unfit(cx, node, value, span, what)
    unify(cx, replace(node, name=found), value, span, what, symbols)
    return value


def _struct(
    cx: Context, node: ast.TypeExpr, value: Lowered, span: Span, what: str, symbols: Symbols
) -> Lowered:
    """A struct of that name, its fields of the types that the arguments say."""
    decl = cx.program.structs[node.name]
    if not isinstance(value, Struct) or value.decl is not decl:
        _unfit(cx, node, value, span, what)
    if node.args:
        if len(node.args) != len(decl.generics):
            text = f"`{node.name}` has {len(decl.generics)} type parameters"
            cx.fail("E0203", text, node.span, others=[Label(decl.span, "declared here")])
        args = dict(zip(decl.generics, node.args, strict=True))
        for param in decl.fields:
            type = param.type
            if type is not None and type.name in args and type.dims is None:
                part = f"`{param.name}` of {what}"
                convert(cx, args[type.name], value.fields[param.name], span, part, symbols)
    return value


def _items(
    cx: Context, node: ast.TypeExpr, value: Lowered, span: Span, what: str, symbols: Symbols
) -> Lowered:
    """An array of the build, or a tuple: its parts of the types that the type says."""
    if node.name == "tuple":
        if not isinstance(value, tuple) or len(value) != len(node.args):
            _unfit(cx, node, value, span, what)
        pairs = zip(node.args, value, strict=True)
        return tuple(convert(cx, t, v, span, f"a part of {what}", symbols) for t, v in pairs)
    item = node.args[0] if node.args else None
    if node.name in VECTORS:
        item = ast.TypeExpr(node.span, VECTORS[node.name])
    if isinstance(value, Range) and isinstance(value.low, int) and isinstance(value.high, int):
        value = list(range(value.low, value.high))
    if isinstance(value, Value) and value.tensor.rank == 1:  # an array that grew in a loop
        held = value.tensor.dtype
        kinds = {"int": ("i32",), "bool": ("bool",), "float": FLOATS}
        if item is None or held in kinds.get(item.name, (SPELLINGS.get(item.name),)):
            _length(cx, node, value.tensor.shape[0], span, what, symbols)
            return value
    if isinstance(value, Rows):
        from tlc.ir.lower import rows

        _length(cx, node, rows.length(value), span, what, symbols)
        if item is not None:  # what converting an element of that kind would do is not done
            outer, cx.builder.block = cx.builder.block, Block()
            convert(cx, item, rows.sample(value), span, f"an element of {what}", symbols)
            cx.builder.block = outer
        return value
    if not isinstance(value, list):
        _unfit(cx, node, value, span, what)
    _length(cx, node, Dim.of(len(value)), span, what, symbols)
    if item is None:
        return value
    items = [convert(cx, item, v, span, f"an element of {what}", symbols) for v in value]
    return Vector(items, item) if item.name in HOST_TYPES else items


def _length(
    cx: Context, node: ast.TypeExpr, length: Dim, span: Span, what: str, symbols: Symbols
) -> None:
    """Match the length of an array against that of `[T; n]`, which may bind a symbol."""
    for dim in node.dims or ():
        if isinstance(dim, ast.Name) and not (dim.id in symbols.sizes or cx.scope.find(dim.id)):
            symbols.sizes[dim.id] = length
            symbols.places[dim.id] = Label(span, f"`{dim.id}` is {length} here")
            continue
        wanted = size_of(cx, dim, symbols, bind=False)
        if wanted != length:
            text = f"{what} has {length} elements, and must have {wanted}"
            cx.fail("E0301", text, span, others=[Label(node.span, "declared here")])
