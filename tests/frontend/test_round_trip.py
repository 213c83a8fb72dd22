"""Trees of every shape survive being written out and parsed again."""

from collections.abc import Callable
from functools import cache
from itertools import zip_longest

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tlc.frontend import ast
from tlc.frontend.diagnostics import render_text
from tlc.frontend.lexer import KEYWORDS
from tlc.frontend.parser import parse
from tlc.frontend.source import Source, Span
from tlc.frontend.unparse import unparse

HERE = Span(Source("tree", ""), 0, 0)


def difference(one: object, other: object) -> tuple[object, object] | None:
    """The first parts, spans aside, in which two trees differ; works on trees of any depth."""
    waiting = [(one, other)]
    while waiting:
        a, b = waiting.pop()
        if type(a) is not type(b):
            return a, b
        match a:
            case Span():
                continue
            case ast.Node():
                waiting += [(getattr(a, f), getattr(b, f)) for f in reversed(a.__match_args__)]
            case tuple():
                assert isinstance(b, tuple)
                waiting += zip_longest(a, b)
            case _ if a != b:
                return a, b
    return None


# ---- trees as the parser makes them, at most so many levels deep ------------------------------

Strategy = st.SearchStrategy[object]

WORDS = ["x", "y", "W_q", "é", "µ", "tensor", "entity", "relation", "embedding", "rule", "query"]
WORDS += ["test", "bench", "main", "range", "self", "forward", "shape", "float16"]
INFIX = ["and", "or", "as", "in", "then", "where", "embed", "learnable", "frozen", "not"]
OPERATORS = ["+", "-", "*", "/", "%", "@", "**", "==", "!=", "<", "<=", ">", ">=", "&&", "||"]

plain_names = st.sampled_from(WORDS)
names = plain_names | st.sampled_from(INFIX)
relation_names = names.filter(lambda name: name != "not")
members = st.sampled_from([*WORDS, *INFIX, *sorted(KEYWORDS), "0", "12"])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


def node(kind: type, *fields: Strategy) -> Strategy:
    return st.builds(kind, st.just(HERE), *fields)


def several(items: Strategy, least: int = 0) -> Strategy:
    return st.lists(items, min_size=least, max_size=least + 2).map(tuple)


def maybe(item: Strategy) -> Strategy:
    return st.none() | item


@st.composite
def chosen(
    draw: st.DrawFn,
    made: Callable[[int], Strategy],
    depth: int,
    wanted: Callable[[object], bool],
) -> object:
    """What `made` gives at a depth, if wanted; `.filter` would print the whole strategy."""
    value = draw(made(depth))
    assume(wanted(value))
    return value


variables = node(ast.Name, names)
simple = st.one_of(
    variables,
    node(ast.Number, st.integers(0, 2**64 - 1)),
    node(ast.Number, st.floats(0, allow_infinity=False, allow_nan=False)),
    node(ast.String, texts),
    node(ast.Bool, st.booleans()),
    node(ast.Path, st.tuples(plain_names, members.filter(str.isidentifier))),
)


@cache
def expressions(depth: int) -> Strategy:
    if depth == 0:
        return simple
    inner, types = expressions(depth - 1), named_types(depth - 1)
    arguments = node(ast.Arg, inner) | node(ast.Arg, inner, plain_names)
    return st.one_of(
        simple,
        node(ast.Binary, st.sampled_from(OPERATORS), inner, inner),
        node(ast.Binary, st.sampled_from(OPERATORS), inner, inner),
        node(ast.Unary, st.sampled_from(["-", "!"]), inner),
        node(ast.Cast, inner, types),
        node(ast.Range, inner, inner),
        node(ast.Call, inner, several(arguments)),
        node(ast.Call, node(ast.Name, plain_names), several(arguments), several(types, 1)),
        node(ast.Attribute, inner, members, st.just(HERE)),
        node(ast.Index, inner, indices(depth - 1)),
        node(ast.Array, several(inner)),
        node(ast.Repeat, inner, inner),
        node(ast.Tuple, several(inner)),
        node(ast.Set, several(inner, 1)),
        node(ast.StructLit, plain_names, several(node(ast.Arg, inner, names))),
        node(ast.IfExpr, inner, inner, inner),
        node(ast.BlockExpr, blocks(depth - 1)),
        node(ast.Match, inner, several(arms(depth - 1))),
    )


@cache
def indices(depth: int) -> Strategy:
    inner = expressions(depth)
    return several(inner | node(ast.Slice, maybe(inner), maybe(inner)), 1)


@cache
def named_types(depth: int) -> Strategy:
    plain = node(ast.TypeExpr, plain_names)
    if depth == 0:
        return plain
    dimensions = expressions(depth - 1) | node(ast.Name, st.just("?"))
    arguments = several(named_types(depth - 1), 1)
    return st.one_of(
        plain,
        node(ast.TypeExpr, plain_names, several(dimensions)),
        node(ast.TypeExpr, plain_names, st.none(), arguments),
    )


@cache
def types(depth: int) -> Strategy:
    parts = several(named_types(depth))
    return named_types(depth) | node(ast.TypeExpr, st.just("tuple"), st.none(), parts)


@cache
def patterns(depth: int) -> Strategy:
    number = node(ast.Number, st.integers(0, 9))
    literal = st.one_of(
        number,
        node(ast.Unary, st.just("-"), number),
        node(ast.String, texts),
        node(ast.Bool, st.booleans()),
    )
    single = st.one_of(
        node(ast.Pattern, st.just("literal"), literal),
        node(ast.Pattern, st.just("any")),
        node(ast.Pattern, st.just("bind"), st.none(), plain_names),
    )
    if depth > 0:
        part = patterns(depth - 1).map(lambda pattern: (pattern,))
        fields = several(node(ast.Pattern, st.just("field"), st.none(), plain_names, part))
        single |= node(ast.Pattern, st.just("struct"), st.none(), plain_names, fields)
        parts = several(patterns(depth - 1), 2)
        single |= node(ast.Pattern, st.just("tuple"), st.none(), st.just(""), parts)
    return single | node(ast.Pattern, st.just("or"), st.none(), st.just(""), several(single, 2))


@cache
def arms(depth: int) -> Strategy:
    return node(ast.Arm, patterns(1), maybe(expressions(depth)), expressions(depth))


def is_statement(value: object) -> bool:
    """Whether an expression is read as a statement of its own where a statement may stand."""
    while isinstance(value, ast.IfExpr) and isinstance(value.then, ast.BlockExpr):
        value = value.orelse
    return isinstance(value, ast.BlockExpr)


def is_relation(value: object) -> bool:
    if isinstance(value, ast.Unary) and value.op == "!":
        value = value.operand
    match value:
        case ast.Call(callee=ast.Name(), args=args, type_args=()):
            return all(argument.name is None for argument in args)
    return False


@cache
def goals(depth: int) -> Strategy:
    inner = expressions(depth)
    relation = node(ast.Atom, relation_names, several(inner), st.booleans())
    condition = chosen(expressions, depth, lambda value: not is_relation(value))
    test = node(ast.Atom, st.just(""), st.just(()), st.just(False), condition)
    return several(relation | test, 1)


@cache
def targets(depth: int) -> Strategy:
    if depth == 0:
        return variables
    return st.one_of(
        variables,
        node(ast.Attribute, expressions(depth - 1), members, st.just(HERE)),
        node(ast.Index, expressions(depth - 1), indices(depth - 1)),
        node(ast.Tuple, several(targets(depth - 1), 1)),
    )


@cache
def blocks(depth: int) -> Strategy:
    return node(ast.Block, several(statements(depth - 1)) if depth else st.just(()))


@cache
def ifs(depth: int) -> Strategy:
    orelse = blocks(depth) | ifs(depth - 1) if depth else blocks(depth)
    return node(ast.If, expressions(depth), blocks(depth), maybe(orelse))


@cache
def options(depth: int) -> Strategy:
    value = expressions(depth) | node(ast.Set, several(expressions(depth), 1))
    return several(node(ast.Arg, value, names))


def has_commas(statement: object) -> bool:
    """Whether commas join parts of a statement; between the lines of `learn` they separate."""
    match statement:
        case ast.Rule(body=parts) | ast.Query(goals=parts):
            return len(parts) > 1
    return False


@cache
def learnings(depth: int) -> Strategy:
    if depth == 0:
        return node(ast.Learn, st.just(()), options(0))
    line = chosen(statements, depth - 1, lambda statement: not has_commas(statement))
    return node(ast.Learn, several(line), options(depth))


@cache
def statements(depth: int) -> Strategy:
    value, body = expressions(depth), blocks(depth)
    head = node(ast.Atom, relation_names, several(value))
    role = st.sampled_from(["", "learnable", "frozen"])
    return st.one_of(
        node(ast.ExprStmt, chosen(expressions, depth, lambda value: not is_statement(value))),
        node(ast.Let, st.tuples(names), maybe(types(depth)), value),
        node(ast.Let, several(names, 2), maybe(types(depth)), value),
        node(ast.Assign, targets(depth), value),
        ifs(depth),
        node(ast.For, several(names, 1), value | node(ast.Set, several(value)), body),
        node(ast.While, value, body),
        node(ast.Loop, body),
        node(ast.Break),
        node(ast.Continue),
        node(ast.Return, maybe(value)),
        body,
        learnings(depth),
        node(ast.TensorDecl, names, types(depth), role, maybe(value)),
        node(ast.Rule, head, goals(depth) | st.just(())),
        node(ast.Query, goals(depth), maybe(value)),
    )


@cache
def declarations(depth: int) -> Strategy:
    body, generics = blocks(depth), several(plain_names)
    params = several(node(ast.Param, names, maybe(types(depth))))
    fields = several(node(ast.Param, names, types(depth)))
    function = node(ast.Fn, names, st.just(HERE), generics, params, maybe(types(depth)), body)
    return st.one_of(
        function,
        node(ast.Struct, names, generics, fields),
        node(ast.Impl, maybe(plain_names), named_types(depth), several(function), generics),
        node(ast.Import, texts),
        node(ast.Main, body),
        node(ast.Test, names | texts, body),
        node(ast.Bench, names | texts, body),
        node(ast.Entity, st.just(""), several(plain_names, 1)),
        node(ast.Entity, plain_names, several(names)),
        node(ast.Relation, names, params, maybe(types(depth))),
        node(ast.Embedding, names, options(depth)),
    )


programs = st.one_of(
    [node(ast.Program, several(declarations(depth) | statements(depth))) for depth in range(4)]
)


@given(programs)
def test_a_written_tree_parses_to_itself(tree: ast.Program) -> None:
    text = unparse(tree)
    again, problems = parse(Source("again.tl", text))
    assert not problems, "\n".join([text, *map(render_text, problems)])
    assert difference(tree, again) is None, text
    assert unparse(again) == text


@pytest.mark.parametrize(
    "text",
    [
        "x = a" + " + a" * 10_000,
        "x = a" + ".f()" * 10_000,
        "x = a" + "[0]" * 10_000,
        "x = a" + " as int" * 10_000,
    ],
    ids=["sum", "methods", "indices", "casts"],
)
def test_long_chains_are_no_depth(text: str, parsed: Callable[[str], ast.Program]) -> None:
    tree = parsed(text)
    assert unparse(tree) == text + "\n"
    assert difference(tree, parsed(unparse(tree))) is None
