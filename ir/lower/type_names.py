"""What types are called: tensors, values of the host, arrays; and names that are no type's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from tlc.frontend import ast
from tlc.frontend.diagnostics import Diagnostic
from tlc.frontend.suggest import did_you_mean
from tlc.ir.lower.context import Context, Program
from tlc.ir.lower.values import (
    Cache,
    Flag,
    Lowered,
    Model,
    ModelPath,
    Text,
    Tokenizer,
    is_number,
    whole,
)
from tlc.ir.types import SPELLINGS

# types that are known at build and leave nothing in the IR
HOST_TYPES: dict[str, Callable[[Lowered], bool]] = {
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
VECTORS = {"IntVec": "int", "FloatVec": "float", "StringVec": "string", "BoolVec": "bool"}


def is_tensor_type(node: ast.TypeExpr) -> bool:
    """Whether a type names tensors of a known dtype: `float16[N]`, `float16`, `int[N]`."""
    return node.name in SPELLINGS and (node.dims is not None or node.name not in HOST_TYPES)


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


def unknown_type(cx: Context, node: ast.TypeExpr) -> NoReturn:
    hint = did_you_mean(node.name, known_types(cx.program))
    cx.fail("E0201", f"unknown type `{node.name}`", node.span, hint=hint)


def known_types(program: Program) -> list[str]:
    """The names of all types: of tensors, of values of the host, of the program's structs."""
    own = [*SPELLINGS, *HOST_TYPES, *VECTORS, "Tensor", "Vec", "tuple", "Self"]
    return [*own, *program.structs]


def unknown_types(
    program: Program, item: ast.Fn | ast.Struct, generics: Sequence[str] = ()
) -> Iterator[Diagnostic]:
    """The types in a function's signature, or of a struct's fields, that there are not, whether it
    is used or not. `generics` are the type parameters of the struct that a method belongs to."""
    known = {*known_types(program), *generics, *item.generics}
    params = item.fields if isinstance(item, ast.Struct) else item.params
    types = [param.type for param in params]
    types += [] if isinstance(item, ast.Struct) else [item.result]
    waiting = [type for type in types if type is not None]
    while waiting:
        node = waiting.pop()
        waiting += node.args
        if node.name not in known:
            hint = did_you_mean(node.name, known)
            yield Diagnostic("E0201", f"unknown type `{node.name}`", node.span, hint=hint)
