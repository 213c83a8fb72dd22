"""What an expression can be while it is lowered: an IR value, or something known already.

Known things are plain Python: `int`, `float`, `bool`, `str`, `None`, a `Dim` (a size that only run
time tells), a list (an array of the language), a tuple, and the classes below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tlc.frontend import ast
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.types import ScalarType, TensorType, show_shape


class TensorHeader(Protocol):
    """What lowering needs to know of one tensor of a model file."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def encoding(self) -> str: ...


class ModelHeader(Protocol):
    """What lowering needs to know of a model file: everything but the numbers."""

    @property
    def format(self) -> str: ...
    @property
    def quantization(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...
    @property
    def tensors(self) -> Mapping[str, TensorHeader]: ...
    @property
    def fingerprint(self) -> str: ...


class Vocabulary(Protocol):
    """What lowering needs to know of a tokenizer; -1 stands for a token that there is not."""

    bos: int
    eos: int
    eot: int
    vocab_size: int


class ModelProblem(Exception):
    """A model file cannot be opened: a diagnostic code, a message and a hint."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        self.code, self.message, self.hint = code, message, hint
        super().__init__(message)


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A loaded model: its index in the module, its header, the dtype its tensors get."""

    index: int
    path: str
    header: ModelHeader
    dtype: str


@dataclass(frozen=True, slots=True)
class ModelPath:
    """A dotted name inside a model that is not a tensor's whole name yet: `model.blk[0]`.

    Indexed by the counter of a loop it is as many names, of which run time takes number `index`.
    """

    model: Model
    names: tuple[str, ...]
    index: Dim | None = None

    def member(self, name: str) -> ModelPath:
        """The path one step further in."""
        return ModelPath(self.model, tuple(f"{n}.{name}" for n in self.names), self.index)


@dataclass(frozen=True, slots=True)
class Metadata:
    """`model.metadata`."""

    model: Model


@dataclass(frozen=True, slots=True)
class Range:
    """`low..high` and `range(n)`."""

    low: int | Dim
    high: int | Dim


@dataclass(frozen=True, slots=True)
class Zipped:
    """`zip(a, b)` and `enumerate(a)`: what a `for` walks together, a tuple of items at a time."""

    parts: tuple[Any, ...]


class Pieces(tuple[Value, ...]):
    """What `split` gives: a tuple of tensors, which stands for its first where one is wanted."""

    __slots__ = ()


class Vector(list[Any]):
    """An array whose elements are all of one type of the host, as those of `FloatVec()` are."""

    __slots__ = ("item",)

    def __init__(self, items: Iterable[Any], item: ast.TypeExpr) -> None:
        super().__init__(items)
        self.item = item


@dataclass(frozen=True, slots=True)
class Flag:
    """A truth value of the host that only run time knows: a dimension that is 0 or 1."""

    dim: Dim


class Owner:
    """Tells a struct that has a `drop` from its equals; `taken` while a name owns it."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken = False


@dataclass(frozen=True, slots=True, eq=False)
class Struct:
    """A struct with all its fields, in the order they are declared."""

    decl: ast.Struct
    fields: dict[str, Any]
    owner: Owner | None = None

    def with_field(self, name: str, value: Any) -> Struct:
        return Struct(self.decl, {**self.fields, name: value}, self.owner)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """An array of strings, structs or tuples whose length only run time knows: for each part of an
    element, by path, a tensor of one row per element. `like` is the layout of an element
    (ir/lower/rows.py)."""

    like: Any
    columns: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Text:
    """A string that only run time knows: its number among those that the run knows."""

    dim: Dim


@dataclass(frozen=True, slots=True)
class Cache:
    """A `KVCache`: the hidden name of its tensors, its layers, the dtype that it keeps."""

    name: str
    layers: int
    dtype: str


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """The tokenizer that a model file holds: the file's index in the module, and what is known."""

    index: int
    path: str
    vocabulary: Vocabulary


class Never:
    """The value of what does not come back, such as `panic`."""


NEVER = Never()


class Poison:
    """Stands for a value whose computation was reported as wrong; using it says nothing more."""


Lowered = Any  # Value, or one of the known things above


def describe(value: Lowered) -> str:
    """The type of something, as messages name it."""
    match value:
        case Value():
            return str(value.type)
        case TensorType() | ScalarType():
            return str(value)
        case bool() | Flag():
            return "bool"
        case int() | Dim():
            return "int"
        case float():
            return "float"
        case str() | Text():
            return "string"
        case Never():
            return "never"
        case None:
            return "nothing"
        case list() | Rows():
            return "array"
        case tuple():
            return f"tuple of {len(value)}"
        case Model():
            return "Model"
        case ModelPath():
            return "part of a model"
        case Metadata():
            return "metadata"
        case Range():
            return "range"
        case Struct(decl=decl):
            return decl.name
        case Cache():
            return "KVCache"
        case Tokenizer():
            return "Tokenizer"
        case Zipped():
            return "pairs"
    return type(value).__name__


def tell(value: Lowered) -> str:
    """A number as it is, anything else by its type: for messages about what was written."""
    return repr(value) if is_number(value) else describe(value)


def first_piece(value: Lowered) -> Lowered:
    """The first tensor of the pieces of a split; anything else as it is."""
    return value[0] if isinstance(value, Pieces) and value else value


def is_number(value: Lowered) -> bool:
    """Whether this is a plain number known at build."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def truth(value: Lowered) -> Dim | None:
    """A truth value as a dimension that is 0 or 1; None for what is not one."""
    match value:
        case bool():
            return Dim.of(int(value))
        case Flag(dim=dim):
            return dim
    return None


def whole(value: Lowered) -> int | Dim | None:
    """An integer, a size or an integral float as an integer or Dim; None for anything else."""
    match value:
        case bool():
            return None
        case Dim():
            return int(value) if value.is_static else value
        case int():
            return value
        case float() if value.is_integer():
            return int(value)
    return None


def show(value: Lowered, digits: int | None = None) -> str | None:
    """A known value as `print` writes it, its numbers with so many digits behind the point; None
    when run time has to."""
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case float() if digits is not None:
            return f"{value:.{digits}f}"
        case int() if digits:
            return f"{value}.{'0' * digits}"
        case int() | float():
            return repr(value)
        case Dim():
            return show(int(value), digits) if value.is_static else None
        case Range(low=low, high=high):
            ends = Dim.of(low), Dim.of(high)
            static = ends[0].is_static and ends[1].is_static
            return show(list(range(int(ends[0]), int(ends[1]))), digits) if static else None
        case list() | tuple():
            parts = [show(v, digits) for v in value]
            if any(p is None for p in parts):
                return None
            inner = ", ".join(p for p in parts if p is not None)
            return f"[{inner}]" if isinstance(value, list) else f"({inner})"
        case Struct(decl=decl, fields=fields):
            texts = {name: show(part, digits) for name, part in fields.items()}
            if None in texts.values():
                return None
            inner = ", ".join(f"{name}: {text}" for name, text in texts.items())
            return f"{decl.name} {{ {inner} }}" if inner else f"{decl.name} {{}}"
    return None


__all__ = [
    "NEVER",
    "Cache",
    "Flag",
    "Lowered",
    "Metadata",
    "Model",
    "ModelHeader",
    "ModelPath",
    "ModelProblem",
    "Never",
    "Owner",
    "Pieces",
    "Poison",
    "Range",
    "Rows",
    "Struct",
    "TensorHeader",
    "Text",
    "Tokenizer",
    "Vector",
    "Vocabulary",
    "Zipped",
    "describe",
    "first_piece",
    "is_number",
    "show",
    "show_shape",
    "tell",
    "truth",
    "whole",
]
