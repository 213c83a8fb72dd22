"""A tree in, TensorLogic text out that parses to the same tree.

A node becomes a list of pieces, which are texts, line breaks and nodes to be written in turn; a
stack of pieces takes the place of recursion, so that no tree is too deep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tlc.frontend import ast
from tlc.frontend.lexer import KEYWORDS
from tlc.frontend.pieces import LINE_END, Break, Option, Pieces, Wanted, in_braces, joined, quoted
from tlc.frontend.unparse_expressions import ANY, RANGE, expression, set_literal


def unparse(node: ast.Node) -> str:
    """The text of a tree or of a part of it; that of a program ends in a newline."""
    return _write(node, one_line=False, explicit=False)


def explicit(node: ast.Node) -> str:
    """The text on one line with every operator's operands in brackets."""
    return _write(node, one_line=True, explicit=True)


def _write(node: ast.Node, *, one_line: bool, explicit: bool) -> str:
    out: list[str] = []
    indent = 0
    waiting: Pieces = [node]
    while waiting:
        match waiting.pop():
            case str() as text:
                out.append(text)
            case Break(on_one_line=text, deeper=deeper):
                indent += deeper
                out.append(text if one_line else "\n" + "    " * indent)
            case Wanted() as wanted:
                waiting += reversed(expression(wanted, explicit))
            case ast.Expr() as value:
                waiting.append(Wanted(value))
            case other:
                waiting += reversed(PIECES[type(other)](other))
    return "".join(out)


# ---- the parts of expressions and declarations ------------------------------------------------


def _argument(node: ast.Arg) -> Pieces:
    return [Wanted(node.value)] if node.name is None else [f"{node.name}: ", Wanted(node.value)]


def _option(node: ast.Arg) -> Pieces:
    name = f"{node.name}: "
    if isinstance(node.value, ast.Set):
        return [name, *set_literal(node.value)]
    return [name, Wanted(node.value, RANGE)]


def _type(node: ast.TypeExpr) -> Pieces:
    if node.name == "tuple":
        return ["(", *joined(node.args), ")"]
    args = ["<", *joined(node.args), ">"] if node.args else []
    dims = [] if node.dims is None else ["[", *joined(node.dims), "]"]
    return [node.name, *args, *dims]


def _arm(node: ast.Arm) -> Pieces:
    guard: Pieces = [] if node.guard is None else [" if ", Wanted(node.guard, ANY, True)]
    return [node.pattern, *guard, " => ", Wanted(node.body)]


def _pattern(node: ast.Pattern) -> Pieces:
    match node.kind:
        case "literal":
            assert node.value is not None
            return [Wanted(node.value)]
        case "any":
            return ["_"]
        case "or":
            return joined(node.parts, " | ")
        case "tuple":
            return ["(", *joined(node.parts), ")"]
        case "struct":
            return (
                [node.name, " { ", *joined(node.parts), " }"] if node.parts else [node.name, " {}"]
            )
        case "field":
            (part,) = node.parts
            short = part.kind == "bind" and part.name == node.name
            return [node.name] if short else [f"{node.name}: ", part]
    return [node.name]


def _atom(node: ast.Atom) -> Pieces:
    if node.value is not None:
        return [Wanted(node.value)]
    return ["not " if node.negated else "", node.name, "(", *joined(node.args), ")"]


def _typed(name: str, type_: ast.TypeExpr | None) -> Pieces:
    return [name] if type_ is None else [f"{name}: ", type_]


def _generics(names: tuple[str, ...]) -> str:
    return f"<{', '.join(names)}>" if names else ""


def _label(name: str) -> str:
    plain = name.isidentifier() and name not in KEYWORDS and name != "function"
    return name if plain else quoted(name)


# ---- statements -------------------------------------------------------------------------------


def _expression_statement(node: ast.ExprStmt) -> Pieces:
    match node.value:
        case ast.Name(id="main"):  # a block on the next line would be its block
            return ["(main)"]
    return [Wanted(node.value)]


def _let(node: ast.Let) -> Pieces:
    return ["let ", *_typed(_names(node.names), node.type), " = ", Wanted(node.value)]


def _names(names: tuple[ast.Target, ...]) -> str:
    if len(names) == 1 and isinstance(names[0], str):
        return names[0]
    inner = ", ".join(name if isinstance(name, str) else _names(name) for name in names)
    return f"({inner})"


def _if(node: ast.If) -> Pieces:
    orelse: Pieces = [] if node.orelse is None else [" else ", node.orelse]
    return ["if ", Wanted(node.test, ANY, True), " ", node.then, *orelse]


def _for(node: ast.For) -> Pieces:
    iterable = node.iterable
    walked = (
        set_literal(iterable) if isinstance(iterable, ast.Set) else [Wanted(iterable, ANY, True)]
    )
    return ["for ", _names(node.names), " in ", *walked, " ", node.body]


def _return(node: ast.Return) -> Pieces:
    return ["return"] if node.value is None else ["return ", Wanted(node.value)]


def _learn(node: ast.Learn) -> Pieces:
    lines = sorted((*node.body, *node.options), key=lambda line: line.span.start)
    return ["learn ", *in_braces(Option(n) if isinstance(n, ast.Arg) else n for n in lines)]


def _tensor(node: ast.TensorDecl) -> Pieces:
    role: Pieces = [f" {node.role}"] if node.role else []
    value: Pieces = [] if node.value is None else [" = ", Wanted(node.value)]
    return ["tensor ", *_typed(node.name, node.type), *role, *value]


# ---- declarations -----------------------------------------------------------------------------


def _fn(node: ast.Fn) -> Pieces:
    result: Pieces = [] if node.result is None else [" -> ", node.result]
    head = f"fn {node.name}{_generics(node.generics)}("
    return [head, *joined(node.params), ")", *result, " ", node.body]


def _impl(node: ast.Impl) -> Pieces:
    trait = "" if node.trait is None else f"{node.trait} for "
    return [f"impl{_generics(node.generics)} {trait}", node.type, " ", *in_braces(node.fns)]


def _entity(node: ast.Entity) -> Pieces:
    members = ", ".join(node.members)
    return [f"entity {node.name} {{{members}}}" if node.name else f"entity {members}"]


def _relation(node: ast.Relation) -> Pieces:
    embed: Pieces = [] if node.embed is None else [" embed ", node.embed]
    return [f"relation {node.name}(", *joined(node.params), ")", *embed]


def _rule(node: ast.Rule) -> Pieces:
    return [node.head, " <- ", *joined(node.body)] if node.body else ["rule ", node.head]


def _query(node: ast.Query) -> Pieces:
    where: Pieces = [] if node.where is None else [" where ", Wanted(node.where)]
    return [*joined(node.goals), "?", *where]


def _embedding(node: ast.Embedding) -> Pieces:
    return [f"embedding {node.name} ", *in_braces(map(Option, node.options))]


def _struct(node: ast.Struct) -> Pieces:
    return [f"struct {node.name}{_generics(node.generics)} ", *in_braces(node.fields)]


def _program(node: ast.Program) -> Pieces:
    return [piece for line in node.body for piece in (line, LINE_END)]


PIECES: dict[type, Callable[[Any], Pieces]] = {
    ast.Arg: _argument,
    Option: lambda node: _option(node.arg),
    ast.TypeExpr: _type,
    ast.Arm: _arm,
    ast.Pattern: _pattern,
    ast.Atom: _atom,
    ast.Param: lambda node: _typed(node.name, node.type),
    ast.Block: lambda node: in_braces(node.body),
    ast.ExprStmt: _expression_statement,
    ast.Let: _let,
    ast.Assign: lambda node: [Wanted(node.target), " = ", Wanted(node.value)],
    ast.If: _if,
    ast.For: _for,
    ast.While: lambda node: ["while ", Wanted(node.test, ANY, True), " ", node.body],
    ast.Loop: lambda node: ["loop ", node.body],
    ast.Break: lambda node: ["break"],
    ast.Continue: lambda node: ["continue"],
    ast.Return: _return,
    ast.Learn: _learn,
    ast.TensorDecl: _tensor,
    ast.Fn: _fn,
    ast.Struct: _struct,
    ast.Impl: _impl,
    ast.Import: lambda node: [f"import {quoted(node.path)}"],
    ast.Main: lambda node: ["main ", node.body],
    ast.Test: lambda node: [f"test {_label(node.name)} ", node.body],
    ast.Bench: lambda node: [f"bench {_label(node.name)} ", node.body],
    ast.Entity: _entity,
    ast.Relation: _relation,
    ast.Rule: _rule,
    ast.Query: _query,
    ast.Embedding: _embedding,
    ast.Program: _program,
}
