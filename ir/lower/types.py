"""Type expressions against values: declared shapes, symbols bound call by call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

from tlc.frontend import ast
from tlc.frontend.diagnostics import Diagnostic, Label
from tlc.frontend.source import Span
from tlc.frontend.suggest import did_you_mean
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower.context import Context, Program
from tlc.ir.lower.literals import literal, own_dtype
from tlc.ir.lower.values import (
    Cache,
    Flag,
    Lowered,
    Model,
    ModelPath,
    Pieces,
    Range,
    Struct,
    Text,
    Tokenizer,
    Vector,
    describe,
    first_piece,
    is_number,
    tell,
    whole,
)
from tlc.ir.types import FLOATS, SPELLINGS, TensorType, show_shape

# types that are known at build and leave nothing in the IR
_HOST_TYPES: dict[str, Callable[[Lowered], bool]] = {
    "int": lambda v: whole(v) is not None,
    "float": is_number,
    "bool": lambda v: isinstance(v, bool | Flag),
    "string": lambda v: isinstance(v, str | Text),
    "String": lambda v: isinstance(v, str | Text),
    "str": lambda v: isinstance(v, str | Text),
    "Model": lambda v: isinstance(v, Model | ModelPath),
    "KVCache": lambda v: isinstance(v, Cache),
    "Tokenizer": lambda v: isinstance(v, Tokenizer),
}
# arrays known at build; the types of their elements
_VECTORS = {"IntVec": "int", "FloatVec": "float", "StringVec": "string", "BoolVec": "bool"}


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


def is_tensor_type(node: ast.TypeExpr) -> bool:
    """Whether a type names tensors of a known dtype: `float16[N]`, `float16`, `int[N]`."""
    return node.name in SPELLINGS and (node.dims is not None or node.name not in _HOST_TYPES)


def declared(cx: Context, node: ast.TypeExpr, symbols: Symbols) -> TensorType:
    """A tensor type as written, free symbols as themselves: the type of an entry's parameter."""
    if node.name not in SPELLINGS:
        _unknown_type(cx, node)
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
        case ast.Number(value=number):
            size = whole(number)
            if isinstance(size, int):
                return Dim.of(size)
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


def bind(node: ast.TypeExpr | None, value: Lowered, span: Span, symbols: Symbols) -> None:
    """Give the bare symbols of a parameter's type their sizes, before formulas need them."""
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
        wanted = _size(cx, dim, symbols, bind=False)
        if wanted != size:
            source = symbols.places.get(dim.id) if isinstance(dim, ast.Name) else None
            written = (
                f"`{dim.span.text}`, which is {wanted}"
                if str(wanted) != dim.span.text
                else str(wanted)
            )
            cx.fail(
                "E0301",
                f"dimension {axis} of {what} is {size}, and must be {written}",
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
    form = _size(cx, node, trial, bind=True)
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


def convert(
    cx: Context, node: ast.TypeExpr, value: Lowered, span: Span, what: str, symbols: Symbols
) -> Lowered:
    """A value as a declared type wants it. Reports what does not fit."""
    if node.name in symbols.types:
        return _parameter(cx, node, value, span, what, symbols)
    if node.name in cx.program.structs:
        return _struct(cx, node, value, span, what, symbols)
    if node.name == "Vec" or (node.name in ("tuple", *_VECTORS) and node.dims is None):
        return _items(cx, node, value, span, what, symbols)
    if node.name == "Tensor" and (isinstance(value, Value | Dim) or is_number(value)):
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
    elif node.name in _HOST_TYPES:
        if isinstance(value, Value) and not value.tensor.shape:
            from tlc.ir.lower.reading import on_host

            if (node.name, value.tensor.dtype) in (("int", "i32"), ("bool", "bool")):
                return on_host(cx, value, span)
            if node.name in ("int", "float"):
                return value
        if isinstance(value, Dim) and node.name == "float":
            return _size_on_device(cx, value, "f32", span)
        if _HOST_TYPES[node.name](value):
            match node.name:
                case "int":
                    return whole(value)
                case "float":
                    return float(value)
            return value
    elif node.args:
        cx.unsupported(f"the type `{node.name}`", node.span)
    elif node.name != "Tensor":
        _unknown_type(cx, node)
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
    if node.name in _VECTORS:
        item = ast.TypeExpr(node.span, _VECTORS[node.name])
    if isinstance(value, Range) and isinstance(value.low, int) and isinstance(value.high, int):
        value = list(range(value.low, value.high))
    if isinstance(value, Value) and value.tensor.rank == 1:  # an array that grew in a loop
        held = value.tensor.dtype
        kinds = {"int": ("i32",), "bool": ("bool",), "float": FLOATS}
        if item is None or held in kinds.get(item.name, (SPELLINGS.get(item.name),)):
            _length(cx, node, value.tensor.shape[0], span, what, symbols)
            return value
    if not isinstance(value, list):
        _unfit(cx, node, value, span, what)
    _length(cx, node, Dim.of(len(value)), span, what, symbols)
    if item is None:
        return value
    items = [convert(cx, item, v, span, f"an element of {what}", symbols) for v in value]
    return Vector(items, item) if item.name in _HOST_TYPES else items


def _length(
    cx: Context, node: ast.TypeExpr, length: Dim, span: Span, what: str, symbols: Symbols
) -> None:
    """Match the length of an array against that of `[T; n]`, which may bind a symbol."""
    for dim in node.dims or ():
        if isinstance(dim, ast.Name) and not (dim.id in symbols.sizes or cx.scope.find(dim.id)):
            symbols.sizes[dim.id] = length
            symbols.places[dim.id] = Label(span, f"`{dim.id}` is {length} here")
            continue
        wanted = _size(cx, dim, symbols, bind=False)
        if wanted != length:
            text = f"{what} has {length} elements, and must have {wanted}"
            cx.fail("E0301", text, span, others=[Label(node.span, "declared here")])


def _unknown_type(cx: Context, node: ast.TypeExpr) -> NoReturn:
    hint = did_you_mean(node.name, _known_types(cx.program))
    cx.fail("E0201", f"unknown type `{node.name}`", node.span, hint=hint)


def _known_types(program: Program) -> list[str]:
    own = [*SPELLINGS, *_HOST_TYPES, *_VECTORS, "Tensor", "Vec", "tuple", "Self"]
    return [*own, *program.structs]


def unknown_types(program: Program, fn: ast.Fn, generics: Sequence[str]) -> Iterator[Diagnostic]:
    """The types in a function's signature that there are not, whether it is called or not."""
    known = {*_known_types(program), *generics}
    waiting = [t for t in (fn.result, *(p.type for p in fn.params)) if t is not None]
    while waiting:
        node = waiting.pop()
        waiting += node.args
        if node.name not in known:
            hint = did_you_mean(node.name, known)
            yield Diagnostic("E0201", f"unknown type `{node.name}`", node.span, hint=hint)


def dtype_of(cx: Context, node: ast.TypeExpr) -> str:
    """The dtype a bare type name stands for, as in `tensor<float16>` and `x as float32`."""
    known = cx.scope.find(f"<{node.name}>")  # a type parameter stands for a type
    name = node.name if known is None else known.names[f"<{node.name}>"]
    dtype = SPELLINGS.get("float16" if name == "float" else name)
    if dtype is None or node.dims is not None:
        cx.fail(
            "E0302",
            f"`{node.span.text}` is not an element type",
            node.span,
            hint="the element types are float16, float32, int and bool",
        )
    return dtype


__all__ = [
    "Symbols",
    "convert",
    "declared",
    "dtype_of",
    "is_tensor_type",
    "kind",
    "show_shape",
    "unify",
]
