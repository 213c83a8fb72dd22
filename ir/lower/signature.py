"""Declared shapes against those of tensors: symbols get their sizes call by call."""

from __future__ import annotations

from dataclasses import dataclass, field

from tlc.frontend import ast
from tlc.frontend.diagnostics import Label
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower.context import Context
from tlc.ir.lower.fitting import bind_free, may_be_equal
from tlc.ir.lower.type_names import unknown_type
from tlc.ir.lower.values import (
    Lowered,
    whole,
)
from tlc.ir.types import SPELLINGS, TensorType


@dataclass(slots=True)
class Symbols:
    """The symbols of one signature at one call: their sizes, and where each got its size.

    `types` holds what its type parameters stand for, as `kind` names it; None before that is known.
    """

    sizes: dict[str, Dim] = field(default_factory=dict)
    places: dict[str, Label] = field(default_factory=dict)
    types: dict[str, str | None] = field(default_factory=dict)


def bound_symbols(cx: Context, node: ast.TypeExpr) -> Symbols:
    """The symbols of a type that have a size where it stands: the function's, and whole numbers."""
    symbols = Symbols()
    for part in (node, *node.args):
        known = cx.scope.find(f"<{part.name}>")
        if known is not None:
            symbols.types[part.name] = known.names[f"<{part.name}>"]
    waiting: list[ast.Node] = list(node.dims or ())
    while waiting:
        dim = waiting.pop()
        waiting += dim.children()
        if isinstance(dim, ast.Name):
            scope = cx.scope.find(dim.id)
            size = whole(scope.names[dim.id]) if scope else None
            if size is not None:
                symbols.sizes[dim.id] = Dim.of(size)
    return symbols


def declared(cx: Context, node: ast.TypeExpr, symbols: Symbols) -> TensorType:
    """A tensor type as written, free symbols as themselves: the type of an entry's parameter."""
    if node.name not in SPELLINGS:
        unknown_type(cx, node)
    dims = []
    for dim in node.dims or ():
        if isinstance(dim, ast.Name) and dim.id == "?":
            name = f"?{len(symbols.places)}"
            dims.append(symbols.sizes.get(name, Dim.of(name)))
            symbols.places[name] = Label(dim.span, "")
        else:
            dims.append(size_of(cx, dim, symbols, bind=True))
    return TensorType(SPELLINGS[node.name], tuple(dims))


def size_of(cx: Context, node: ast.Expr, symbols: Symbols, bind: bool) -> Dim:
    """A dimension expression; with `bind`, unknown names become symbols of their own."""
    match node:
        case ast.Number(value=number):
            size = whole(number)
            if isinstance(size, int):
                return Dim.of(size)
        case ast.Name(id=name):
            if bind:
                symbols.places.setdefault(name, Label(node.span, f"`{name}` is declared here"))
            if name in symbols.sizes:
                return symbols.sizes[name]
            if bind:
                return symbols.sizes.setdefault(name, Dim.of(name))
            found = cx.scope.find(name)
            value = whole(found.names[name]) if found else None
            if value is not None:
                return Dim.of(value)
            cx.fail("E0303", f"the dimension `{name}` is not bound by a parameter", node.span)
        case ast.Binary(op=op, left=left, right=right) if op in "+-*/%":
            a, b = size_of(cx, left, symbols, bind), size_of(cx, right, symbols, bind)
            if op in "/%" and b == Dim.of(0):
                cx.fail("E0305", "division by zero", node.span)
            match op:
                case "+":
                    return a + b
                case "-":
                    return a - b
                case "*":
                    return a * b
                case "/":
                    return a // b
            return a % b
    cx.fail(
        "E0303",
        "a dimension is a whole number, a symbol, or a sum or product of these",
        node.span,
    )


def bind(param: ast.Param, value: Lowered, span: Span, symbols: Symbols) -> None:
    """Give the bare symbols of a parameter's type their sizes, before formulas need them; a
    parameter that is a whole number is such a size itself."""
    node, size = param.type, whole(value)
    if size is not None:
        symbols.sizes[param.name] = Dim.of(size)
        symbols.places[param.name] = Label(span, f"`{param.name}` is {size} here")
    if node is None or not isinstance(value, Value) or len(node.dims or ()) != value.tensor.rank:
        return
    for dim, size in zip(node.dims or (), value.tensor.shape, strict=True):
        if isinstance(dim, ast.Name) and dim.id != "?" and dim.id not in symbols.sizes:
            symbols.sizes[dim.id] = size
            symbols.places[dim.id] = Label(span, f"`{dim.id}` is {size} here")


def unify(
    cx: Context, node: ast.TypeExpr, value: Value, span: Span, what: str, symbols: Symbols
) -> None:
    """Match a tensor against a declared type, binding symbols; a conflict shows both places."""
    dtype, shape = SPELLINGS[node.name], value.tensor.shape
    here = Label(node.span, f"{what} is declared {node.span.text}")
    if value.tensor.dtype != dtype:
        hint = f"convert with `as {node.name}`" if "f" in dtype + value.tensor.dtype else ""
        text = f"{what} must be {node.span.text}, and this is {value.type}"
        cx.fail("E0302", text, span, f"this is {value.type}", [here], hint)
    dims = node.dims or ()
    if len(dims) != len(shape):
        cx.fail(
            "E0301",
            f"{what} has rank {len(shape)}, and {node.span.text} has rank {len(dims)}",
            span,
            f"this is {value.type}",
            [here],
        )
    for axis, (dim, size) in enumerate(zip(dims, shape, strict=True)):
        if isinstance(dim, ast.Name):
            if dim.id == "?":
                continue
            if dim.id not in symbols.sizes:
                symbols.sizes[dim.id] = size
                symbols.places[dim.id] = Label(span, f"`{dim.id}` is {size} here")
                continue
        elif (solved := _solve(cx, dim, size, symbols)) is not None:
            name, found = solved
            if found is None:
                text = f"dimension {axis} of {what} is {size}, and not of the form {dim.span.text}"
                cx.fail("E0301", text, span, f"this is {value.type}", [here])
            symbols.sizes[name] = found
            symbols.places[name] = Label(span, f"`{name}` is {found} here")
            continue
        wanted = size_of(cx, dim, symbols, bind=False)
        if wanted != size:
            text = f"dimension {axis} of {what} is {size}, and must be "
            bind_free(cx.free, size, wanted)
            if may_be_equal(size, wanted):
                cx.builder.span = span
                cx.builder.check(size, wanted, text + str(wanted))
                continue
            source = symbols.places.get(dim.id) if isinstance(dim, ast.Name) else None
            written = (
                f"`{dim.span.text}`, which is {wanted}"
                if str(wanted) != dim.span.text
                else str(wanted)
            )
            cx.fail(
                "E0301",
                text + written,
                span,
                f"this is {value.type}",
                [source or here, *([here] if source else [])],
            )


def _solve(
    cx: Context, node: ast.Expr, size: Dim, symbols: Symbols
) -> tuple[str, Dim | None] | None:
    """The one unbound symbol of `k*N + c` and its size: None where none fits."""
    trial = Symbols(dict(symbols.sizes), dict(symbols.places))
    before = set(trial.sizes)
    form = size_of(cx, node, trial, bind=True)
    new = [name for name in trial.sizes if name not in before]
    if len(new) != 1:
        return None
    (name,) = new
    factor = form.substitute({name: 1}) - form.substitute({name: 0})
    rest = size - form.substitute({name: 0})
    found = rest.exact_div(factor) if factor.is_static and int(factor) else None
    if found is None or form.substitute({name: found}) != size:
        return name, None
    return name, found
