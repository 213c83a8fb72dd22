"""The place where the parser stopped in, a diagnostic in the language's own words out."""

from __future__ import annotations

from tlc.frontend.brackets import DECLARATION_HEADS, OPERAND_ENDS, OPERANDS
from tlc.frontend.diagnostics import Diagnostic
from tlc.frontend.lexer import KEYWORDS, Token, words

MOST_EXPECTED = 4
"""With more ways to go on than this, the construct is named and not the ways."""

COMPARISONS = words("== != < <= > >=")
OPERATORS = COMPARISONS | words("|| && + - * / % @ ** ..")
ASSIGNED_WITH = words("+ - * / %")
"""Operators that other languages join with `=`, or double."""
EXPRESSION_STARTS = words("NAME NUMBER STRING true false ( [ { SET_OPEN - ! not if match")
PATTERN_STARTS = words("NAME NUMBER STRING true false ( -")
CONTINUATIONS = OPERATORS | words("( [ . :: as TYPE_OPEN STRUCT_OPEN")
"""What may follow any operand, so that listing it helps nobody."""

LATE_TURNS = words("= := ? <-")
"""What makes another statement of a whole expression at the start of a line."""

WORDS = {
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a string",
    "NEWLINE": "end of line",
    "TYPE_OPEN": "`<`",
    "TYPE_CLOSE": "`>`",
    "STRUCT_OPEN": "`{`",
    "SET_OPEN": "`{`",
}
CONSTRUCTS = {
    "fn": "a function",
    "let": "a `let`",
    "tensor": "a tensor declaration",
    "struct": "a struct",
    "impl": "an `impl`",
    "relation": "a relation",
    "rule": "a rule",
    "query": "a query",
}
ELSEWHERE = {
    "mut": "any variable may be assigned again: leave `mut` out",
    "var": "a variable is declared with `let`",
    "const": "a variable is declared with `let`",
    "def": "a function is written `fn name(x: T) { … }`",
    "func": "a function is written `fn name(x: T) { … }`",
    "elif": "write `else if`",
    "lambda": "functions stand at the top level and have a name",
    "class": "a type with fields is written `struct Name { field: T }`",
    "enum": "a choice of few values is a whole number or a string that `match` tells apart",
    "switch": "write `match x { 1 => …, _ => … }`",
    "try": "there are no exceptions: what fails ends the run",
    "foreach": "a loop is written `for x in xs { … }`",
}
"""Words of other languages, and what to write here."""
BODIES = words("if while for loop else")

ENDINGS = {"\n": "end of line", "": "end of file"}


def explain(line: list[Token], found: Token, expected: frozenset[str]) -> Diagnostic:
    """The error at `found`, after the tokens `line` of the same line and body.

    `expected` are the kinds that could have stood there instead.
    """
    wanted = _wanted(line, expected)
    shown = ENDINGS.get(found.text) if found.kind == "NEWLINE" else None
    shown = shown or ("a string" if found.kind == "STRING" else f"`{found.text}`")
    if 0 < len(wanted) <= MOST_EXPECTED:
        message = f"expected {_either(wanted)}, found {shown}"
    else:
        construct = CONSTRUCTS.get(line[0].kind, "a statement") if line else "a statement"
        message = f"{shown} cannot stand here in {construct}"
    return Diagnostic("E0101", message, found.span, hint=_hint(line, found, expected))


def _wanted(line: list[Token], expected: frozenset[str]) -> list[str]:
    """What may come next, the most telling first."""
    before = line[-1].kind if line else ""
    if "let" in expected:
        return ["a statement", *(["`}`"] if "}" in expected else [])]
    if before == ".":
        return ["a name"]
    if expected in ({"NAME", "("}, {"NAME", "(", "["}):
        return ["a type" if "[" in expected else "a name"]
    found = []
    rest = expected
    if {"NUMBER", "("} <= expected:
        found = ["a dimension" if "?" in expected else "an expression"]
        rest = expected - EXPRESSION_STARTS - {"?"}
    elif "NUMBER" in expected:
        found = ["a pattern"]
        rest = expected - PATTERN_STARTS
    elif before in OPERAND_ENDS:
        rest = expected - CONTINUATIONS
        if expected & OPERATORS and ")" in rest:
            rest -= words(": =")  # of a named argument
        if "NEWLINE" in rest:
            rest -= LATE_TURNS | ({","} if "?" in rest else set())
    return found + sorted((WORDS.get(kind, f"`{kind}`") for kind in rest), key=_signs_first)


def _signs_first(word: str) -> tuple[bool, str]:
    return not word.startswith("`"), word


def _either(choices: list[str]) -> str:
    *most, last = choices
    return f"{', '.join(most)} or {last}" if most else last


def _hint(line: list[Token], found: Token, expected: frozenset[str]) -> str:
    before = line[-1] if line else found
    start = line[0] if line else found
    kinds = [token.kind for token in line]
    for word in (before, found):
        here = word is found or kinds == ["NAME"] or kinds[-2:-1] in (["let"], ["="])
        if here and word.kind == "NAME" and word.text in ELSEWHERE:
            return ELSEWHERE[word.text]
    if start.text in ELSEWHERE and found.kind == "{":
        return ELSEWHERE[start.text]
    if start.text in BODIES and found.text == ":" and "{" in expected:
        return "what belongs together stands in braces: `{ … }`"
    if found.kind == "for" and "]" in expected:
        return "an array is filled by a loop: `for x in xs { out.push(x) }`"
    if found.kind == "NAME" and kinds == ["import"]:
        return 'a file is named by its path: `import "layers.tl"`'
    if found.kind in DECLARATION_HEADS and "NUMBER" in expected:
        return f"`{found.text}` stands at the top level of a file"
    if found.kind in KEYWORDS and "NAME" in expected and "NUMBER" not in expected:
        return f"`{found.text}` is a keyword and cannot be a name"
    if found.kind in OPERATORS and not line:
        return f"to go on with an expression, end the line before with `{found.text}`"
    joined = before.kind in ASSIGNED_WITH and start.kind == "NAME" and "=" not in kinds
    if joined and found.kind in ("=", before.kind):
        target = start.span.to(line[-2].span).text
        return f"write `{target} = {target} {before.text} …`"
    if found.kind in ("=", "in") and (kinds[:2] == ["for", "("] or kinds == ["for", "NAME"]):
        return "a loop over numbers is written `for i in range(n) { … }`"
    if found.kind == ".." and "=>" in expected:
        return "a range of values is a condition behind a name: `n if n < 5 => …`"
    if found.kind == "=" and before.kind == "..":
        return "the end of `a..b` is left out: write `a..b + 1` for one more"
    if found.kind == ":" and start.kind == "fn" and before.kind == ")":
        return "the type of a result stands after an arrow: `-> float16[N]`"
    if found.kind == "[" and kinds in (["let"], ["for"]):
        return "the parts of a value get names in parentheses: `let (a, b) = …`"
    if found.kind == ".." and before.kind in ("[", ",") and "]" in expected:
        return "each axis has an index of its own: `:` takes all of one"
    if found.kind in (":", "::") and "]" in expected and (found.kind == "::" or ":" in kinds):
        return "a slice has no step; an index tensor chooses rows: `x[tensor<int>([0, 2])]`"
    if found.text == before.text and found.text in ("<", ">"):
        return "numbers are shifted by `* 2 ** n` and `/ 2 ** n`"
    if found.kind == "|" and "NUMBER" in expected:
        return ELSEWHERE["lambda"]
    if found.kind == "=" and start.kind == "fn" and ")" in expected:
        return "parameters have no default values: every call gives them all"
    if found.kind == ">" and before.kind == "<":
        return "values that are not equal are told with `!=`"
    if found.kind in OPERATORS and kinds == ["let", "NAME"]:
        return f"`let` gives a name its first value: `let {before.text} = …`"
    if found.kind == "=" and kinds[1:2] == [","]:
        return "several names get values as a tuple: `(a, b) = (1, 2)`"
    if found.kind == "=" and kinds[:3] == ["NAME", "=", "NAME"]:
        return f"one name gets a value at a time: `{line[2].text} = …`, then `{start.text} = …`"
    if found.kind == "{" and kinds == ["fn", "NAME"]:
        return "a function is written `fn name(x: T) { … }`, the program itself `main { … }`"
    if start.text == "main" and found.kind == "{":
        return "`main { … }` has no parameters"
    if found.kind == "=" and "==" in expected:
        return "two values are compared with `==`"
    if found.kind in COMPARISONS and "&&" in expected:
        return "comparisons do not chain: join two of them with `&&`"
    if "?" in (found.kind, *kinds) or (found.kind == "if" and before.kind in OPERAND_ENDS):
        return "a choice between values is written `if c then a else b`"
    if found.kind == ":" and before.kind == "STRING" and "=>" not in expected:
        return "there are no dictionaries: the fields of a `struct` have names"
    if found.kind == "," and kinds == ["let", "NAME"]:
        return f"a tuple is taken apart with `let ({before.text}, …) = …`"
    if found.kind == "," and start.kind == "return":
        return "several values are returned as a tuple: `return (a, b)`"
    if found.kind == "STRING" and before.kind == "NAME" and before.text in ("f", "r", "b"):
        return 'a text with values in it is written `print("x is {}", x)`'
    if found.kind in OPERANDS and not found.first and before.kind == "NAME":
        if ":" in expected and not expected & OPERATORS:
            return f"a type stands after a colon: `{before.text}: {found.text}`"
        if kinds == ["NAME"] and ":" in expected:
            return f"an option is written `{before.text}: {found.text}`"
        if kinds == ["NAME"]:
            return f"a call has its arguments in brackets: `{before.text}(…)`"
    return ""
