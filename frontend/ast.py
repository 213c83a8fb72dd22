"""The syntax tree: what the parser makes of a program, one frozen class per construct.

Every node has a `span`. Names are plain strings, operators are their spelling. Nothing here knows
what a builtin or a type means; that is `ir/lower`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tlc.frontend.source import Span


@dataclass(frozen=True, slots=True)
class Node:
    span: Span

    def children(self) -> Iterator[Node]:
        """The nodes that are fields of this one, in the order of the text."""
        for name in self.__match_args__:
            field = getattr(self, name)
            if isinstance(field, Node):
                yield field
            elif isinstance(field, tuple):
                yield from (part for part in field if isinstance(part, Node))


class Expr(Node):
    """Anything with a value."""

    __slots__ = ()


class Stmt(Node):
    """Anything that stands on a line of its own; an `Expr` there is an `ExprStmt`."""

    __slots__ = ()


class Item(Node):
    """A declaration of the program's top level."""

    __slots__ = ()

    __slots__ = ()


# ---- types ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TypeExpr(Node):
    """`float16[N, 2*D]`, `int`, `Tensor`, `Vec<T>`: a name, its dimensions, its arguments.

    `dims` is None without brackets. A dimension `?` is `Name("?")`. The type of a pair, `(A, B)`,
    has the name `tuple` and its parts as arguments; `[T]` is `Vec<T>`, `[T; n]` is `Vec<T>[n]`.
    """

    name: str
    dims: tuple[Expr, ...] | None = None
    args: tuple[TypeExpr, ...] = ()


# ---- expressions ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number(Expr):
    value: int | float


@dataclass(frozen=True, slots=True)
class String(Expr):
    value: str


@dataclass(frozen=True, slots=True)
class Bool(Expr):
    value: bool


@dataclass(frozen=True, slots=True)
class Name(Expr):
    id: str


@dataclass(frozen=True, slots=True)
class Path(Expr):
    """`f16::zeros`, `KVCache::new_f16`."""

    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Array(Expr):
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Repeat(Expr):
    """`[value; count]`."""

    value: Expr
    count: Expr


@dataclass(frozen=True, slots=True)
class Set(Expr):
    """`{a, b}`, as `for` walks it."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Tuple(Expr):
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Range(Expr):
    """`low..high`."""

    low: Expr
    high: Expr


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    """`op` is `-` or `!` (`not` is spelled `!` here)."""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    """`op` is one of `+ - * / % @ ** == != < <= > >= && ||`; `⊙` is `*`, `⊗` is `**`."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Cast(Expr):
    """`operand as type`."""

    operand: Expr
    type: TypeExpr


@dataclass(frozen=True, slots=True)
class IfExpr(Expr):
    """`if c then a else b`; also an `if` statement in a place that wants a value."""

    test: Expr
    then: Expr
    orelse: Expr


@dataclass(frozen=True, slots=True)
class BlockExpr(Expr):
    """A block whose value is its last expression."""

    body: Block


@dataclass(frozen=True, slots=True)
class Arg(Node):
    """An argument; `name` is set for `name: value` and `name=value`."""

    value: Expr
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Call(Expr):
    """`f(a)`, `x.f(a)` (callee is an `Attribute`), `tensor<float16>(a)` (with `type_args`)."""

    callee: Expr
    args: tuple[Arg, ...]
    type_args: tuple[TypeExpr, ...] = ()


@dataclass(frozen=True, slots=True)
class Attribute(Expr):
    """`value.name`; the name may be a number, as in `pair.0`."""

    value: Expr
    name: str
    name_span: Span


@dataclass(frozen=True, slots=True)
class Slice(Expr):
    """`low:high` inside an index; either side may be missing."""

    low: Expr | None = None
    high: Expr | None = None


@dataclass(frozen=True, slots=True)
class Index(Expr):
    """`value[i, :, 1:3]`."""

    value: Expr
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class StructLit(Expr):
    """`Point { x: 1.0, y: 2.0 }`."""

    name: str
    fields: tuple[Arg, ...]


@dataclass(frozen=True, slots=True)
class Pattern(Node):
    """A pattern of `match`: a literal, a name to bind, `_`, or alternatives with `|`.

    `kind` is `literal` (value is an `Expr`), `bind` (name), `any`, `or` and `tuple` (parts) or
    `struct` (name, parts); a part of a `struct` is a `field` (name, and one part to match it).
    """

    kind: str
    value: Expr | None = None
    name: str = ""
    parts: tuple[Pattern, ...] = ()


@dataclass(frozen=True, slots=True)
class Arm(Node):
    pattern: Pattern
    guard: Expr | None
    body: Expr


@dataclass(frozen=True, slots=True)
class Match(Expr):
    subject: Expr
    arms: tuple[Arm, ...]


# ---- statements ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Block(Stmt):
    """Statements in braces; the value of a block is that of a last `ExprStmt`."""

    body: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class ExprStmt(Stmt):
    value: Expr


Target = str | tuple["Target", ...]  # a name, or several for the parts of a value


def targets(names: tuple[Target, ...]) -> Iterator[str]:
    """All names in targets, in order."""
    for name in names:
        if isinstance(name, str):
            yield name
        else:
            yield from targets(name)


@dataclass(frozen=True, slots=True)
class Let(Stmt):
    """`let a = e`, `let a: T = e`, `let (a, (b, c)) = e`."""

    names: tuple[Target, ...]
    type: TypeExpr | None
    value: Expr


@dataclass(frozen=True, slots=True)
class Assign(Stmt):
    """`target = e` and `target := e`; the target is a `Name`, `Attribute`, `Index` or `Tuple`."""

    target: Expr
    value: Expr


@dataclass(frozen=True, slots=True)
class If(Stmt):
    """`orelse` is None, a `Block`, or the `If` of an `else if`."""

    test: Expr
    then: Block
    orelse: Block | If | None


@dataclass(frozen=True, slots=True)
class For(Stmt):
    """`for a in e`, `for (a, b) in e`, `for a, (b, c) in e`."""

    names: tuple[Target, ...]
    iterable: Expr
    body: Block


@dataclass(frozen=True, slots=True)
class While(Stmt):
    test: Expr
    body: Block


@dataclass(frozen=True, slots=True)
class Loop(Stmt):
    body: Block


@dataclass(frozen=True, slots=True)
class Break(Stmt):
    pass


@dataclass(frozen=True, slots=True)
class Continue(Stmt):
    pass


@dataclass(frozen=True, slots=True)
class Return(Stmt):
    value: Expr | None


@dataclass(frozen=True, slots=True)
class Learn(Stmt):
    """A `learn` block: its statements, and its options such as `epochs: 100`."""

    body: tuple[Stmt, ...]
    options: tuple[Arg, ...]


# ---- declarations --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Param(Node):
    """A parameter; `self` has no type."""

    name: str
    type: TypeExpr | None


@dataclass(frozen=True, slots=True)
class Fn(Item):
    name: str
    name_span: Span
    generics: tuple[str, ...]
    params: tuple[Param, ...]
    result: TypeExpr | None
    body: Block


@dataclass(frozen=True, slots=True)
class TensorDecl(Item, Stmt):
    """`tensor w: float16[2, 3] learnable = e`; `role` is "", "learnable" or "frozen"."""

    name: str
    type: TypeExpr
    role: str
    value: Expr | None


@dataclass(frozen=True, slots=True)
class Struct(Item):
    name: str
    generics: tuple[str, ...]
    fields: tuple[Param, ...]


@dataclass(frozen=True, slots=True)
class Impl(Item):
    """`impl Type { fns }`, `impl Trait for Type { fns }`."""

    trait: str | None
    type: TypeExpr
    fns: tuple[Fn, ...]
    generics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Import(Item):
    path: str


@dataclass(frozen=True, slots=True)
class Main(Item):
    body: Block


@dataclass(frozen=True, slots=True)
class Test(Item):
    name: str
    body: Block


@dataclass(frozen=True, slots=True)
class Bench(Item):
    name: str
    body: Block


# ---- logic (LANGUAGE §11) ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Atom(Node):
    """`Parent(alice, X)`, `not Parent(alice, X)`, or a comparison such as `X != Y` in `value`."""

    name: str
    args: tuple[Expr, ...] = ()
    negated: bool = False
    value: Expr | None = None


@dataclass(frozen=True, slots=True)
class Entity(Item):
    """`entity alice, bob` or `entity Person { alice, bob }`."""

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Relation(Item):
    """`relation R(x: entity, y: entity) embed float16[64]`."""

    name: str
    params: tuple[Param, ...]
    embed: TypeExpr | None


@dataclass(frozen=True, slots=True)
class Rule(Item, Stmt):
    """`Head(X) <- A(X, Y), not B(Y), X != Y`."""

    head: Atom
    body: tuple[Atom, ...]


@dataclass(frozen=True, slots=True)
class Query(Item, Stmt):
    """`P(alice, X)? where X != Y`."""

    goals: tuple[Atom, ...]
    where: Expr | None


@dataclass(frozen=True, slots=True)
class Embedding(Item):
    """`embedding e { entities: {a, b} dimension: 64 init: xavier }`."""

    name: str
    options: tuple[Arg, ...]


@dataclass(frozen=True, slots=True)
class Program(Node):
    """A file: declarations and top-level statements, in order."""

    body: tuple[Item | Stmt, ...]
