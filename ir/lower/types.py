"""Type expressions against values: declared shapes, symbols bound call by call."""

from __future__ import annotations

from dataclasses import dataclass, field

from tlc.frontend import ast
from tlc.frontend.diagnostics import Label
from tlc.frontend.source import Span
from tlc.frontend.suggest import did_you_mean
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower.context import Context
from tlc.ir.lower.values import Lowered, Model, describe, is_number, whole
from tlc.ir.types import SPELLINGS, TensorType, show_shape

# types that are known at build and leave nothing in the IR
_HOST_TYPES = {
    "int": lambda v: whole(v) is not None,
    "float": is_number,
    "bool": lambda v: isinstance(v, bool),
    "string": lambda v: isinstance(v, str),
    "String": lambda v: isinstance(v, str),
    "str": lambda v: isinstance(v, str),
    "Model": lambda v: isinstance(v, Model),
}
_LATER = {"Tokenizer", "KVCache", "Vec", "IntVec", "FloatVec", "StringVec", "BoolVec"}


@dataclass(slots=True)
class Symbols:
    """The symbols of one signature at one call: their sizes, and where each got its size."""

    sizes: dict[str, Dim] = field(default_factory=dict)
    places: dict[str, Label] = field(default_factory=dict)


def is_tensor_type(node: ast.TypeExpr) -> bool:
    """Whether a type names tensors of a known dtype: `float16[N]`, `float16`, `int[N]`."""
    return node.name in SPELLINGS and (node.dims is not None or node.name not in _HOST_TYPES)


def declared(cx: Context, node: ast.TypeExpr, symbols: Symbols) -> TensorType:
    """A tensor type as written, its symbols as themselves: the type of an entry's parameter."""
    dims = []
    for dim in node.dims or ():
        if isinstance(dim, ast.Name) and dim.id == "?":
            dims.append(Dim.of(f"?{len(symbols.places)}"))
            symbols.places[f"?{len(symbols.places)}"] = Label(dim.span, "")
        else:
            dims.append(_size(cx, dim, symbols, bind=True))
    return TensorType(SPELLINGS[node.name], tuple(dims))


def _size(cx: Context, node: ast.Expr, symbols: Symbols, bind: bool) -> Dim:
    """A dimension expression; with `bind`, unknown names become symbols of their own."""
    match node:
        case ast.Number(value=value):
            number = whole(value)
            if number is not None and (isinstance(number, Dim) or number >= 0):
                return Dim.of(number)
        case ast.Name(id=name):
            if name in symbols.sizes:
                return symbols.sizes[name]
            if bind:
                symbols.places.setdefault(name, Label(node.span, f"`{name}` is declared here"))
                return symbols.sizes.setdefault(name, Dim.of(name))
            found = cx.scope.find(name)
            value = whole(found.names[name]) if found else None
            if value is not None:
                return Dim.of(value)
            cx.fail("E0303", f"the dimension `{name}` is not bound by a parameter", node.span)
        case ast.Binary(op=op, left=left, right=right) if op in "+-*/%":
            a, b = _size(cx, left, symbols, bind), _size(cx, right, symbols, bind)
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


def unify(
    cx: Context, node: ast.TypeExpr, value: Value, span: Span, what: str, symbols: Symbols
) -> None:
    """Match a tensor against a declared type, binding symbols; both places are shown on conflict."""
    dtype, shape = SPELLINGS[node.name], value.tensor.shape
    here = Label(node.span, f"{what} is declared {node.span.text}")
    if value.tensor.dtype != dtype:
        hint = f"convert with `as {node.name}`" if "f" in dtype + value.tensor.dtype else ""
        cx.fail("E0302", f"{what} is {value.type}", span, f"this is {value.type}", [here], hint)
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
            symbols.sizes[name] = found
            symbols.places[name] = Label(span, f"`{name}` is {found} here")
            continue
        wanted = _size(cx, dim, symbols, bind=False)
        if wanted != size:
            source = symbols.places.get(dim.id) if isinstance(dim, ast.Name) else None
            written = f"`{dim.span.text}`, which is {wanted}" if str(wanted) != dim.span.text else str(wanted)
            cx.fail(
                "E0301",
                f"dimension {axis} of {what} is {size}, and must be {written}",
                span,
                f"this is {value.type}",
                [source or here, *([here] if source else [])],
            )


def _solve(cx: Context, node: ast.Expr, size: Dim, symbols: Symbols) -> tuple[str, Dim] | None:
    """The one unbound symbol of `k*N + c` and its size, when the size fits."""
    trial = Symbols(dict(symbols.sizes), dict(symbols.places))
    before = set(trial.sizes)
    form = _size(cx, node, trial, bind=True)
    new = [name for name in trial.sizes if name not in before]
    if len(new) != 1:
        return None
    (name,) = new
    factor = form.substitute({name: 1}) - form.substitute({name: 0})
    rest = size - form.substitute({name: 0})
    found = rest.exact_div(factor) if factor.is_static and int(factor) else None
    if found is None or form.substitute({name: found}) != size:
        cx.fail("E0301", f"{size} is not of the form {node.span.text}", node.span)
    return name, found


def convert(
    cx: Context, node: ast.TypeExpr, value: Lowered, span: Span, what: str, symbols: Symbols
) -> Lowered:
    """A value as a declared type wants it. Reports what does not fit."""
    if node.name == "Tensor" and (isinstance(value, Value) or is_number(value)):
        return value
    if is_tensor_type(node):
        if is_number(value) and not node.dims:
            kind = TensorType(SPELLINGS[node.name], ())
            cx.builder.span = span
            return cx.builder.constant(value, kind)
        if isinstance(value, Value):
            unify(cx, node, value, span, what, symbols)
            return value
    elif node.name in _HOST_TYPES:
        if isinstance(value, Value) and node.name in ("int", "float") and not value.tensor.shape:
            return value
        if _HOST_TYPES[node.name](value):
            return whole(value) if node.name == "int" else value
    elif node.name in _LATER or node.args:
        cx.unsupported(f"the type `{node.name}`", node.span)
    else:
        known = [*SPELLINGS, *_HOST_TYPES, "Tensor"]
        cx.fail(
            "E0201", f"unknown type `{node.name}`", node.span, hint=did_you_mean(node.name, known)
        )
    cx.fail(
        "E0302",
        f"{what} must be {node.span.text}, and this is {describe(value)}",
        span,
        others=[Label(node.span, "declared here")],
    )


def dtype_of(cx: Context, node: ast.TypeExpr) -> str:
    """The dtype a bare type name stands for, as in `tensor<float16>` and `x as float32`."""
    dtype = SPELLINGS.get("float16" if node.name == "float" else node.name)
    if dtype is None or node.dims is not None:
        cx.fail(
            "E0302",
            f"`{node.span.text}` is not an element type",
            node.span,
            hint="the element types are float16, float32, int and bool",
        )
    return dtype


__all__ = ["Symbols", "convert", "declared", "dtype_of", "is_tensor_type", "show_shape", "unify"]
