"""Characters become tokens; what cannot is a diagnostic and never an exception."""

from collections.abc import Callable

import pytest

from tlc.frontend.lexer import MOST_ERRORS, scan
from tlc.frontend.source import Source


def values(text: str) -> list[object]:
    """The value of each literal and the text of every other token."""
    tokens, problems = scan(Source("test.tl", text))
    assert not problems, problems[0].message
    return [token.text if token.value is None else token.value for token in tokens]


def messages(text: str) -> list[str]:
    problems = scan(Source("test.tl", text))[1]
    assert {problem.code for problem in problems} <= {"E0103"}
    return [problem.message for problem in problems]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1", [1]),
        ("1_000", [1000]),
        ("0xff 0XFF 0xf_f", [255, 255, 255]),
        ("18446744073709551615", [2**64 - 1]),
        ("1.5 1_0.2_5", [1.5, 10.25]),
        (".5", [0.5]),
        ("1.", [1.0]),
        ("1.e5 1.5E+3 1e-5", [100000.0, 1500.0, 1e-5]),
        ("1..3", [1, "..", 3]),
        ("1.0..2.0", [1.0, "..", 2.0]),
        ("x[1.]", ["x", "[", 1.0, "]"]),
        ("f(1e-5)", ["f", "(", 1e-5, ")"]),
        ("2.0.sqrt()", [2.0, ".", "sqrt", "(", ")"]),
        ("2.sqrt()", [2, ".", "sqrt", "(", ")"]),
        ("1.exp", [1, ".", "exp"]),
        ("pair.0", ["pair", ".", 0]),
        ("pair.0.1", ["pair", ".", 0, ".", 1]),
        ("f(x).0", ["f", "(", "x", ")", ".", 0]),
        ("2**3", [2, "**", 3]),
    ],
)
def test_numbers(text: str, wanted: list[object]) -> None:
    found = values(text)
    assert found == wanted
    assert [type(value) for value in found] == [type(value) for value in wanted]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0xzz", "`0xzz` is not a number"),
        ("12abc", "`12abc` is not a number"),
        ("1__0", "`1__0` is not a number"),
        ("1e", "`1e` is not a number"),
        ("1_", "`1_` is not a number"),
        ("1e999", "`1e999` is beyond every float type"),
        ("18446744073709551616", "`18446744073709551616` does not fit in 64 bits"),
        ("9" * 5000, f"`{'9' * 30}…` does not fit in 64 bits"),
    ],
)
def test_bad_numbers(text: str, message: str) -> None:
    assert messages(text) == [message]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('"plain"', "plain"),
        ("'plain'", "plain"),
        ('""', ""),
        (r'"a\n\t\r\"\'\\"', "a\n\t\r\"'\\"),
        (r"'it\'s'", "it's"),
        (r'"\u{e9}\u{1F600}"', "é\U0001f600"),
        ('"// no comment /* here"', "// no comment /* here"),
        ('"été"', "été"),
    ],
)
def test_strings(text: str, wanted: str) -> None:
    assert values(text) == [wanted]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"abc', "string is never closed"),
        ('"abc\n"', "string is never closed"),
        ('"abc\\"', "string is never closed"),
        ('"abc\\', "string is never closed"),
        (r'"\q"', r"`\q` is not an escape"),
        (r'"\u{110000}"', r"`\u{110000}` is not an escape"),
        (r'"\u{d800}"', r"`\u{d800}` is not an escape"),
        (r'"\u{}"', r"`\u` is not an escape"),
    ],
)
def test_bad_strings(text: str, message: str) -> None:
    assert messages(text)[0] == message


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a // b", ["a"]),
        ("a // b\nc", ["a", "c"]),
        ("a /* b */ c", ["a", "c"]),
        ("a /* b /* c */ d */ e", ["a", "e"]),
        ("a /* // */ b", ["a", "b"]),
        ("a // /*\nb", ["a", "b"]),
        ("/**/ a", ["a"]),
        ("/***/ a", ["a"]),
    ],
)
def test_comments(text: str, wanted: list[str]) -> None:
    assert values(text) == wanted


def test_a_comment_that_never_ends_is_reported_where_it_starts() -> None:
    (problem,) = scan(Source("test.tl", "a\n/* b /* c */"))[1]
    assert problem.message == "comment is never closed"
    assert problem.span is not None
    assert str(problem.span) == "test.tl:2:1"


@pytest.mark.parametrize(
    "name", ["inv_freq", "return_value", "breakpoint", "_", "W1", "été", "变量"]
)
def test_names(name: str) -> None:
    (token,) = scan(Source("test.tl", name))[0]
    assert (token.kind, token.text) == ("NAME", name)


def test_names_are_compared_in_normal_form() -> None:
    composed, decomposed = scan(Source("test.tl", "\u00e9 e\u0301"))[0]
    assert composed.text == decomposed.text == "\u00e9"
    assert decomposed.span.text == "e\u0301", "the span is that of the text as written"


def test_names_may_hold_the_marks_of_their_script() -> None:
    assert values("हिन्दी = 1") == ["हिन्दी", "=", 1]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a & b", "`&` has no meaning in TensorLogic", "the operator is `&&` or `and`"),
        ("a ^ b", "`^` has no meaning in TensorLogic", "a power is written `**`"),
        ("# a", "`#` has no meaning in TensorLogic", "a comment starts with `//`"),
        (
            "a\u00a0b",
            "U+00A0 (no-break space) has no meaning in TensorLogic",
            "replace it with an ordinary space",
        ),
        ("a § b", "`§` (section sign) has no meaning in TensorLogic", ""),
        ("a²", "`²` (superscript two) has no meaning in TensorLogic", ""),
        ("a\x00", "U+0000 has no meaning in TensorLogic", ""),
        ("\ud800", "U+D800 has no meaning in TensorLogic", ""),
    ],
)
def test_bad_characters(text: str, message: str, hint: str) -> None:
    (problem,) = scan(Source("test.tl", text))[1]
    assert (problem.message, problem.hint) == (message, hint)


def test_a_byte_order_mark_is_no_character() -> None:
    assert values("\ufeffx") == ["x"]


def test_other_line_endings() -> None:
    tokens = scan(Source("test.tl", "a\r\nb"))[0]
    assert [(token.text, token.first) for token in tokens] == [("a", True), ("b", True)]


def test_spans_hold_the_text_of_their_token() -> None:
    text = 'let x = f(1.5, "a") // b\n/* c */ ⊙ y'
    assert all(token.span.text == token.text for token in scan(Source("test.tl", text))[0])


def test_signs_for_products_and_powers() -> None:
    assert [t.kind for t in scan(Source("test.tl", "a ⊙ b ⊗ c"))[0]][1::2] == ["*", "**"]


def test_reports_stop_in_the_end() -> None:
    assert len(messages("§ " * 10_000)) == MOST_ERRORS


@pytest.mark.parametrize("text", ["", " ", "\n\n", "// only a comment", "/* only */"])
def test_no_tokens(text: str, kinds: Callable[[str], str]) -> None:
    assert kinds(text) == ""
