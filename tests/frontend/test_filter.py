"""Where statements end, which words are keywords and what `{`, `<` and `<-` mean."""

from collections.abc import Callable

import pytest

Kinds = Callable[[str], str]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("b\n(c)", "NAME ; ( NAME ) ;"),
        ("b\n[1]", "NAME ; [ NUMBER ] ;"),
        ("5 - 1\ni = 2", "NUMBER - NUMBER ; NAME = NUMBER ;"),
        ("a\n-b", "NAME ; - NAME ;"),
        ("a -\nb", "NAME - NAME ;"),
        ("a and\nb", "NAME && NAME ;"),
        ("x =\n3", "NAME = NUMBER ;"),
        ("f(\na,\nb\n)", "NAME ( NAME , NAME ) ;"),
        ("[\n1\n]", "[ NUMBER ] ;"),
        ("a\n.f()\n.g()", "NAME . NAME ( ) . NAME ( ) ;"),
        ("a\n.5", "NAME ; NUMBER ;"),
        ("a /* b\n c */ d", "NAME ; NAME ;"),
        ("a; b;\n\n;c", "NAME ; NAME ; NAME ;"),
        ("if a {}\nelse {}", "if NAME { } else { } ;"),
        ("if a\n{\n}", "if NAME { } ;"),
        ("a\n{}", "NAME ; { } ;"),
        ("{ a }", "{ NAME ; } ;"),
        ("{ a\n b\n }", "{ NAME ; NAME ; } ;"),
        ("f({\na\nb\n})", "NAME ( { NAME ; NAME ; } ) ;"),
        ("while a {} b", "while NAME { } ; NAME ;"),
        ("return\nx", "return ; NAME ;"),
        ("x =\nlet y = 3", "NAME = ; let NAME = NUMBER ;"),
    ],
)
def test_statements_end_at_a_newline_that_can_end_one(text: str, wanted: str, kinds: Kinds) -> None:
    assert kinds(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("learn { epochs: 1, a: 2 }", "learn { NAME : NUMBER ; NAME : NUMBER ; } ;"),
        ("learn { epochs: N  for i in x {} }", "learn { NAME : NAME ; for NAME in NAME { } ; } ;"),
        ("learn { lr: 1 epochs: 2 }", "learn { NAME : NUMBER ; NAME : NUMBER ; } ;"),
        (
            "embedding e { entities: {a, b} dimension: 64 }",
            "embedding NAME { NAME : SET_OPEN NAME , NAME } ; NAME : NUMBER ; } ;",
        ),
        (
            "match x { 1 => a, _ => {} b => c }",
            "match NAME { NUMBER => NAME ; NAME => { } ; NAME => NAME ; } ;",
        ),
        (
            "struct S { a: M<A, B>, b: C }",
            "struct NAME { NAME : NAME TYPE_OPEN NAME , NAME TYPE_CLOSE ; NAME : NAME ; } ;",
        ),
    ],
)
def test_lines_of_other_bodies_may_end_in_a_comma(text: str, wanted: str, kinds: Kinds) -> None:
    assert kinds(text) == wanted


SOFT = (
    "main test bench tensor entity relation embedding rule query learnable frozen embed where and"
    " or not as in then forward backward range epochs objective optimizer auto gpu float16 shape"
    " sum mean"
)


@pytest.mark.parametrize("word", SOFT.split())
def test_soft_keywords_are_names(word: str, kinds: Kinds) -> None:
    assert kinds(f"let {word} = 1") == "let NAME = NUMBER ;"
    assert kinds(f"fn {word}(a) {{ }}") == "fn NAME ( NAME ) { } ;"
    assert kinds(f"fn f({word}: T) {{ }}") == "fn NAME ( NAME : NAME ) { } ;"
    assert kinds(f"{word} = 1") == "NAME = NUMBER ;"
    assert kinds(f"a = {word}") == "NAME = NAME ;"
    assert kinds(f"a + {word}") == "NAME + NAME ;"
    assert kinds(f"f({word}, {word}: 1)") == "NAME ( NAME , NAME : NUMBER ) ;"
    assert kinds(f"x.{word}") == "NAME . NAME ;"
    assert kinds(f"for {word} in x {{ }}") == "for NAME in NAME { } ;"


@pytest.mark.parametrize("word", ["match", "if", "loop", "learn", "true", "import", "fn"])
def test_members_may_have_the_name_of_a_keyword(word: str, kinds: Kinds) -> None:
    assert kinds(f"model.{word}.weight") == "NAME . NAME . NAME ;"
    assert kinds(f"A::{word}()") == "NAME :: NAME ( ) ;"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("test t {}", "test NAME { } ;"),
        ("bench and {}", "bench NAME { } ;"),
        ("main {}", "main { } ;"),
        ("main()", "NAME ( ) ;"),
        ("test(x)", "NAME ( NAME ) ;"),
        ("test and x", "NAME && NAME ;"),
        ("tensor in: T", "tensor NAME : NAME ;"),
        ("tensor t: T frozen = x", "tensor NAME : NAME frozen = NAME ;"),
        ("tensor(x)", "NAME ( NAME ) ;"),
        ("entity a, b", "entity NAME , NAME ;"),
        ("relation R(x: entity) embed T", "relation NAME ( NAME : NAME ) embed NAME ;"),
        ("embedding(W, x)", "NAME ( NAME , NAME ) ;"),
        ("a and not b or c", "NAME && not NAME || NAME ;"),
        ("if c then a else b", "if NAME then NAME else NAME ;"),
        ("where(c, a, b)", "NAME ( NAME , NAME , NAME ) ;"),
        ("P(X)? where where(X)", "NAME ( NAME ) ? where NAME ( NAME ) ;"),
        ("a as in as as", "NAME as NAME as NAME ;"),
    ],
)
def test_soft_keywords_where_they_are_keywords(text: str, wanted: str, kinds: Kinds) -> None:
    assert kinds(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("if x { y = 1 }", "if NAME { NAME = NUMBER ; } ;"),
        ("while x { y }", "while NAME { NAME ; } ;"),
        ("for i in x { y }", "for NAME in NAME { NAME ; } ;"),
        ("match x { y => z }", "match NAME { NAME => NAME ; } ;"),
        ("p = P { x: 1 }", "NAME = NAME STRUCT_OPEN NAME : NUMBER } ;"),
        ("if (P { x: 1 }).x { }", "if ( NAME STRUCT_OPEN NAME : NUMBER } ) . NAME { } ;"),
        (
            "fn f() -> P { P { x: 1 } }",
            "fn NAME ( ) -> NAME { NAME STRUCT_OPEN NAME : NUMBER } ; } ;",
        ),
        ("for i in {a, b} { }", "for NAME in SET_OPEN NAME , NAME } { } ;"),
        ("for i in {a} { }", "for NAME in SET_OPEN NAME } { } ;"),
        ("s = {a, b}", "NAME = SET_OPEN NAME , NAME } ;"),
        ("s = { a }", "NAME = { NAME ; } ;"),
        ("s = { P(a), Q(b)?\n a }", "NAME = { NAME ( NAME ) , NAME ( NAME ) ? ; NAME ; } ;"),
        ("a = if c { 1 } else { 2 }", "NAME = if NAME { NUMBER ; } else { NUMBER ; } ;"),
    ],
)
def test_braces(text: str, wanted: str, kinds: Kinds) -> None:
    assert kinds(text) == wanted


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("tensor<float16>(x)", True),
        ("f<A, B>(x)", True),
        ("f<A<B[2]>>(x)", True),
        ("impl<A, B> P { }", True),
        ("a < b", False),
        ("a<b", False),
        ("f(a < b, c > (d))", False),
        ("f(a<b, c>d)", False),
        ("a<b && c>(d)", False),
        ("x[a<b]", False),
        ("a<1", False),
    ],
)
def test_type_arguments_and_comparisons(text: str, types: bool, kinds: Kinds) -> None:
    assert ("TYPE_OPEN" in kinds(text)) is types
    assert ("<" in kinds(text).split()) is not types


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("H(X) <- A(X)", "NAME ( NAME ) <- NAME ( NAME ) ;"),
        ("H(X) :- A(X)", "NAME ( NAME ) <- NAME ( NAME ) ;"),
        ("rule H(X) <- A(X)", "rule NAME ( NAME ) <- NAME ( NAME ) ;"),
        ("H(X) <-\nA(X)", "NAME ( NAME ) <- NAME ( NAME ) ;"),
        ("a <- b", "NAME < - NAME ;"),
        ("y = f(x) <- b", "NAME = NAME ( NAME ) < - NAME ;"),
        ("g(x).f(x) <- b", "NAME ( NAME ) . NAME ( NAME ) < - NAME ;"),
        ("if f(x) <- 1 { }", "if NAME ( NAME ) < - NUMBER { } ;"),
        ("x[a:-1]", "NAME [ NAME : - NUMBER ] ;"),
        ("f(k:-1)", "NAME ( NAME : - NUMBER ) ;"),
    ],
)
def test_arrows_of_rules_and_comparisons(text: str, wanted: str, kinds: Kinds) -> None:
    assert kinds(text) == wanted
