"""The grammar of TensorLogic: every rule, in order, with the function that builds its node.

Capitals are classes of tokens, quoted words and signs stand for themselves. `NEWLINE` ends every
statement and line of a body; `frontend/filter.py` puts it there and tells apart what looks alike:
`TYPE_OPEN` and `TYPE_CLOSE` are the `<` and `>` around types, `STRUCT_OPEN` is the `{` of
`Point { x: 1 }` and `SET_OPEN` that of `{a, b}`. `error` is a line that could not be read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tlc.frontend import ast
from tlc.frontend import expression_actions as expr
from tlc.frontend import statement_actions as stmt

Rule = tuple[str, Callable[..., Any]]

PRECEDENCE = (
    ("nonassoc", "'if'"),
    ("right", "'else'"),
    ("nonassoc", "'..'"),
    ("left", "'||'"),
    ("left", "'&&'"),
    ("right", "'not'"),
    ("nonassoc", "'==' '!=' '<' '<=' '>' '>='"),
    ("left", "'as'"),
    ("left", "'+' '-'"),
    ("left", "'*' '/' '%' '@'"),
    ("right", "UNARY"),
    ("right", "'**'"),
)
"""From the operators that bind least to those that bind most."""


def lines(name: str, *kinds: str) -> tuple[Rule, ...]:
    """The rules of a body whose lines are of these kinds; a bad line is left out of it."""
    return (
        (f"{name} : ", expr.none),
        *((f"{name} : {name} {kind} NEWLINE", expr.append) for kind in kinds),
        (f"{name} : {name} error NEWLINE", expr.first),
    )


def commas(name: str, item: str) -> tuple[Rule, ...]:
    """The rules of items between commas, none or more, the last comma optional."""
    return (
        (f"{name} : ", expr.none),
        (f"{name} : some_{name} | some_{name} ','", expr.first),
        *some(f"some_{name}", item),
    )


def some(name: str, item: str) -> tuple[Rule, ...]:
    """The rules of items between commas, one or more."""
    return (
        (f"{name} : {item}", expr.one),
        (f"{name} : {name} ',' {item}", expr.append_after),
    )


DECLARATIONS: tuple[Rule, ...] = (
    ("program : START declarations", stmt.program),
    *lines("declarations", "declaration", "statement"),
    (
        "declaration : fn | struct | impl | import | main | test | bench"
        " | entity | relation | embedding",
        expr.first,
    ),
    ("fn : 'fn' NAME generics '(' params ')' result block", stmt.fn),
    ("result : ", expr.nothing),
    ("result : '->' type", expr.second),
    ("generics : ", expr.none),
    ("generics : TYPE_OPEN names TYPE_CLOSE", expr.second),
    *commas("params", "param"),
    ("param : NAME | NAME ':' type", stmt.parameter),
    ("struct : 'struct' NAME generics '{' fields '}'", stmt.struct),
    *lines("fields", "field"),
    ("field : NAME ':' type", stmt.parameter),
    ("impl : 'impl' generics type '{' methods '}'", stmt.impl),
    ("impl : 'impl' generics NAME 'for' type '{' methods '}'", stmt.impl_for),
    *lines("methods", "fn"),
    ("import : 'import' STRING", stmt.import_),
    ("main : 'main' block", stmt.main),
    ("test : 'test' label block", stmt.test),
    ("bench : 'bench' label block", stmt.bench),
    ("label : NAME", expr.text),
    ("label : STRING", expr.value),
)

LOGIC: tuple[Rule, ...] = (
    ("entity : 'entity' members", stmt.entity),
    ("entity : 'entity' NAME SET_OPEN names '}'", stmt.entity_set),
    *some("members", "NAME"),
    ("relation : 'relation' NAME '(' params ')' embed", stmt.relation),
    ("embed : ", expr.nothing),
    ("embed : 'embed' type", expr.second),
    ("embedding : 'embedding' NAME '{' options '}'", stmt.embedding),
    *lines("options", "option"),
    ("option : NAME ':' expression", expr.named_argument),
    ("rule : expression '<-' goals where", stmt.rule),
    ("rule : 'rule' expression '<-' goals where", stmt.keyword_rule),
    ("rule : 'rule' expression", stmt.certain_rule),
    ("query : goals '?' where", stmt.query),
    ("query : 'query' goals mark where", stmt.keyword_query),
    ("mark : ", expr.nothing),
    ("mark : '?'", expr.first),
    *some("goals", "goal"),
    ("goal : expression", stmt.atom),
    ("where : ", expr.none),
    ("where : 'where' conditions", expr.second),
    *some("conditions", "expression"),
)

STATEMENTS: tuple[Rule, ...] = (
    ("block : '{' statements '}'", stmt.block),
    *lines("statements", "statement"),
    (
        "statement : let | assignment | jump | repetition | learn | tensor | rule | query",
        expr.first,
    ),
    ("statement : expression", stmt.expression_statement),
    ("let : 'let' NAME annotation '=' expression", stmt.let),
    ("let : 'let' '(' targets ')' annotation '=' expression", stmt.let_pair),
    ("annotation : ", expr.nothing),
    ("annotation : ':' type", expr.second),
    ("assignment : postfix '=' expression | postfix ':=' expression", stmt.assign),
    ("jump : 'break'", stmt.break_),
    ("jump : 'continue'", stmt.continue_),
    ("jump : 'return' | 'return' expression", stmt.return_),
    ("repetition : 'for' targets 'in' expression block", stmt.for_),
    *commas("targets", "target"),
    ("target : NAME", expr.text),
    ("target : '(' targets ')'", stmt.target),
    ("repetition : 'while' expression block", stmt.while_),
    ("repetition : 'loop' block", stmt.loop),
    ("learn : 'learn' '{' learning '}'", stmt.learn),
    *lines("learning", "statement", "option"),
    ("tensor : 'tensor' NAME ':' type role initial", stmt.tensor),
    ("role : ", expr.nothing),
    ("role : 'learnable' | 'frozen'", expr.first),
    ("initial : ", expr.nothing),
    ("initial : '=' expression", expr.second),
)

EXPRESSIONS: tuple[Rule, ...] = (
    ("expression : 'if' expression 'then' expression 'else' expression", expr.choice),
    ("expression : conditional", expr.first),
    (
        "conditional : 'if' expression block"
        " | 'if' expression block 'else' block"
        " | 'if' expression block 'else' conditional",
        expr.conditional,
    ),
    ("expression : block", expr.block_value),
    ("expression : 'match' expression '{' arms '}'", expr.match),
    ("expression : expression '..' expression", expr.range_),
    (
        "expression : expression '||' expression | expression '&&' expression"
        " | expression '==' expression | expression '!=' expression"
        " | expression '<' expression | expression '<=' expression"
        " | expression '>' expression | expression '>=' expression"
        " | expression '+' expression | expression '-' expression"
        " | expression '*' expression | expression '/' expression"
        " | expression '%' expression | expression '@' expression"
        " | expression '**' expression",
        expr.binary,
    ),
    ("expression : 'not' expression", expr.unary),
    ("expression : '-' expression %prec UNARY | '!' expression %prec UNARY", expr.unary),
    ("expression : expression 'as' type", expr.cast),
    ("expression : postfix", expr.first),
    ("postfix : primary", expr.first),
    ("postfix : postfix '(' args ')'", expr.call),
    ("postfix : postfix TYPE_OPEN types TYPE_CLOSE '(' args ')'", expr.typed_call),
    ("postfix : postfix '.' NAME | postfix '.' NUMBER", expr.attribute),
    ("postfix : postfix '[' indices ']'", expr.index),
    *commas("args", "arg"),
    ("arg : expression", expr.argument),
    ("arg : NAME ':' expression | NAME '=' expression", expr.named_argument),
    *commas("indices", "index"),
    ("index : expression", expr.first),
    ("index : ':'", expr.whole_slice),
    ("index : expression ':'", expr.slice_from),
    ("index : ':' expression", expr.slice_to),
    ("index : expression ':' expression", expr.slice_between),
    ("primary : NAME", expr.name),
    ("primary : path", expr.first),
    ("path : NAME '::' NAME", expr.path),
    ("path : path '::' NAME", expr.longer_path),
    ("primary : NUMBER", expr.number),
    ("primary : STRING", expr.string),
    ("primary : 'true' | 'false'", expr.boolean),
    ("primary : '(' expression ')'", expr.grouped),
    ("primary : '(' ')'", expr.unit),
    ("primary : '(' expression ',' expressions ')'", expr.pair),
    ("primary : '[' expressions ']'", expr.bracketed(ast.Array)),
    ("primary : '[' expression ';' expression ']'", expr.repeat),
    ("primary : SET_OPEN expressions '}'", expr.bracketed(ast.Set)),
    ("primary : NAME STRUCT_OPEN members_set '}'", expr.struct_literal),
    *commas("members_set", "member_set"),
    ("member_set : NAME ':' expression", expr.named_argument),
    *commas("expressions", "expression"),
    *commas("names", "name"),
    ("name : NAME", expr.text),
)

PATTERNS: tuple[Rule, ...] = (
    *lines("arms", "arm"),
    ("arm : pattern guard '=>' result_of_arm", expr.arm),
    ("guard : ", expr.nothing),
    ("guard : 'if' expression", expr.second),
    ("result_of_arm : expression | jump | assignment", expr.first),
    ("pattern : single_pattern", expr.first),
    ("pattern : pattern '|' single_pattern", expr.either_pattern),
    ("single_pattern : literal", expr.literal_pattern),
    ("single_pattern : NAME", expr.name_pattern),
    ("single_pattern : NAME STRUCT_OPEN field_patterns '}'", expr.struct_pattern),
    ("single_pattern : '(' patterns ')'", expr.tuple_pattern),
    *commas("field_patterns", "field_pattern"),
    *commas("patterns", "pattern"),
    ("field_pattern : NAME | NAME ':' pattern", expr.field_pattern),
    ("literal : NUMBER", expr.number),
    ("literal : '-' literal", expr.unary),
    ("literal : STRING", expr.string),
    ("literal : 'true' | 'false'", expr.boolean),
)

TYPES: tuple[Rule, ...] = (
    ("type : simple_type", expr.first),
    ("type : simple_type '[' dimensions ']'", expr.with_dims),
    ("type : '(' types ')'", expr.tuple_type),
    ("type : '[' type ']' | '[' type ';' expression ']'", expr.array_type),
    ("simple_type : NAME", expr.plain_type),
    ("simple_type : NAME TYPE_OPEN types TYPE_CLOSE", expr.with_args),
    *commas("types", "type"),
    *commas("dimensions", "dimension"),
    ("dimension : expression", expr.first),
    ("dimension : '?'", expr.name),
)

RULES: tuple[Rule, ...] = (
    *DECLARATIONS,
    *LOGIC,
    *STATEMENTS,
    *EXPRESSIONS,
    *PATTERNS,
    *TYPES,
)
