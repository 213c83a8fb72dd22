"""Rules that the lint checks among the tokens: words, literals, versions, kernels' parameters."""

from __future__ import annotations

import re

from tlc.runtime.errors import RunError
from tlc.runtime.msl.attributes import GRID, MAX_BUFFERS, POSITIONS, Attribute, extract
from tlc.runtime.msl.tokens import ADDRESS_SPACES, Token, closing, split, text_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Add = Callable[[int, str, str], None]

_NO_WORDS = {
    **dict.fromkeys(("try", "catch", "throw"), "there are no exceptions"),
    **dict.fromkeys(("new", "delete"), "there is no dynamic memory"),
    **dict.fromkeys(("dynamic_cast", "typeid"), "there is no run-time type information"),
    **dict.fromkeys(
        ("goto", "asm", "register", "thread_local", "virtual", "double"), "not in Metal"
    ),
    **dict.fromkeys(("printf", "malloc", "free"), "there is no C library"),
}
# words -> the version of Metal that brought them; longer ones begin with `simdgroup_` and so on
_VERSIONS = {
    "bfloat": 310,
    "simdgroup_bfloat8x8": 310,
    "atomic_float": 300,
    "simd_shuffle_and_fill_up": 240,
    "simd_shuffle_and_fill_down": 240,
    "memory_order_acquire": 320,
    "memory_order_release": 320,
    "memory_order_acq_rel": 320,
    "memory_order_seq_cst": 320,
    "atomic_thread_fence": 320,
}
_UNPLAIN = frozenset(
    (
        *("template", "typename", "auto", "static_cast", "reinterpret_cast", "operator", "class"),
        *("NAN", "INFINITY", "isnan", "isinf", "isfinite", "union"),
        *("function_constant", "host_name", "atomic_float", "bfloat"),
    )
)
# fast math may replace these by approximations, unless they are called as precise::...
_APPROXIMATE = frozenset(
    (
        *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "cospi"),
        *("exp", "exp10", "exp2", "fmod", "log", "log10", "log2", "pow", "powr", "rsqrt", "sin"),
        *("sincos", "sinh", "sinpi", "sqrt", "tan", "tanh", "tanpi"),
    )
)
_TOGETHER = re.compile(r"(threadgroup|simdgroup)_barrier|simd_\w+|quad_\w+|simdgroup_[lms]\w+")
_PARTING = frozenset(
    ("tid", "lane")
)  # what tlc's kernels call numbers that differ within a simdgroup
_HEADER = re.compile(r"#\s*include\s*<(metal_\w+|simd/simd\.h)>")
_BARE = re.compile(r"(\d+\.\d*|\.\d+)([eE][+-]?\d+)?|\d+[eE][+-]?\d+")


def check_includes(tokens: Sequence[Token], add: Add) -> None:
    """Report includes of what is no header of Metal."""
    for token in tokens:
        includes = token.kind == "directive" and re.match(r"#\s*include", token.text)
        if includes and not _HEADER.match(token.text):
            add(token.line, "M03", f"only Metal's headers can be included: {token.text}")


def check_text(tokens: Sequence[Token], version: int, own: bool, add: Add) -> None:
    """Report what breaks a rule; `own` adds the rules of tlc's kernels."""
    for at, token in enumerate(tokens):
        follows = text_at(tokens, at + 1)
        if token.kind == "number":
            _number(token, own, add)
        elif token.kind == "name":
            _word(token, follows, version, own, add)
            qualified = at > 1 and tokens[at - 2].text == "precise"
            if own and follows == "(" and token.text in _APPROXIMATE and not qualified:
                add(token.line, "M25", f"`{token.text}` is not called as precise::{token.text}")
    plain, attributes = extract([_copy(token) for token in tokens])
    for at, token in enumerate(plain):
        is_kernel = any(a.name == "kernel" for a in attributes.get(at, ()))
        before = plain[at - 1].text if at else ""
        if before == "template":
            continue  # an instance, whose parameters are the template's
        if is_kernel or (token.text == "kernel" and token.kind == "name"):
            _kernel(plain, at, attributes, own, add)
    if own:
        _meetings(plain, add)


def _copy(token: Token) -> Token:
    return Token(token.kind, token.text, token.space, token.line)


def _number(token: Token, own: bool, add: Add) -> None:
    text = token.text.lower()
    if text.startswith("0x"):
        return
    if re.search(r"ll|d$", text):
        add(token.line, "M05", f"no such suffix: {token.text}")
    elif re.fullmatch(r"\d+f", text):
        add(token.line, "M05", f"a floating-point literal needs a point: {token.text}")
    elif own and _BARE.fullmatch(text):
        add(token.line, "M21", f"{token.text} has no suffix")


def _word(token: Token, follows: str, version: int, own: bool, add: Add) -> None:
    text = token.text
    if text in _NO_WORDS:
        add(token.line, "M04", f"`{text}`: {_NO_WORDS[text]}")
    elif text == "std" and follows == "::":
        add(token.line, "M04", "`std`: there is no C++ library")
    elif text == "long" and follows in ("long", "double"):
        add(token.line, "M04", f"`long {follows}` is not in Metal")
    if _VERSIONS.get(text, 0) > version:
        needed = _VERSIONS[text]
        add(token.line, "M06", f"`{text}` needs Metal {needed // 100}.{needed // 10 % 10}")
    if own and text in _UNPLAIN:
        add(token.line, "M22", f"`{text}`")


def _kernel(
    tokens: Sequence[Token],
    at: int,
    attributes: dict[int, list[Attribute]],
    own: bool,
    add: Add,
) -> None:
    """Check the parameters of a kernel against their attributes.

    Metal gives buffers without an index the next free one; tlc's own kernels say it.
    """
    opens = at
    while opens < len(tokens) and tokens[opens].text not in ("(", ";", "{"):
        opens += 1
    if opens == len(tokens) or tokens[opens].text != "(":
        return
    name, line = tokens[opens - 1].text, tokens[at].line
    if tokens[opens - 2].text != "void":
        add(line, "M08", f"kernel `{name}` has a result")
    taken: dict[tuple[str, int], str] = {}
    widths: set[str] = set()
    for begin, end in split(tokens, opens + 1, closing(tokens, opens)):
        given = attributes.get(end, [])
        spaces = {t.text for t in tokens[begin:end]} & {"device", "constant", "threadgroup"}
        if given or own or not spaces:
            _parameter(tokens[begin:end], given, taken, widths, own, add)
    if len(widths) > 1:
        add(line, "M08", f"kernel `{name}`: positions of {' and '.join(sorted(widths))} components")
    if own:
        _threads(tokens, at, attributes, name, add)


def _parameter(
    words: Sequence[Token],
    attributes: Sequence[Attribute],
    taken: dict[tuple[str, int], str],
    widths: set[str],
    own: bool,
    add: Add,
) -> None:
    line, texts = words[0].line, [t.text for t in words]
    name = texts[-1]
    by_reference = "*" in texts or "&" in texts
    spaces = [t for t in texts if t in ADDRESS_SPACES]
    type_ = next(
        (t for t in texts if t not in ADDRESS_SPACES and t not in ("const", "volatile")), ""
    )
    if not attributes:
        add(line, "M08", f"`{name}` has no attribute")
    for attribute in attributes:
        kind = attribute.name
        if kind in ("buffer", "threadgroup"):
            fitting = {"device", "constant"} if kind == "buffer" else {"threadgroup"}
            if not by_reference or not fitting.intersection(spaces):
                where = " or ".join(sorted(fitting))
                add(line, "M08", f"[[{kind}]] `{name}` has to be a pointer or reference to {where}")
            _binding(line, name, attribute, taken, add)
        elif kind in POSITIONS:
            if by_reference or spaces:
                add(line, "M08", f"[[{kind}]] `{name}` has to be passed by value")
            elif type_ not in POSITIONS[kind]:
                add(line, "M08", f"[[{kind}]] `{name}` cannot be a {type_}")
            elif kind in GRID:
                widths.add(type_[-1] if type_[-1].isdigit() else "1")
            if own and type_ != "uint":
                add(line, "M22", f"`{name}` is no uint")
        elif kind not in ("function_constant", "texture", "sampler", "maybe_unused", "stage_in"):
            add(line, "M08", f"`{name}` has an unknown attribute [[{kind}]]")


def _binding(
    line: int, name: str, attribute: Attribute, taken: dict[tuple[str, int], str], add: Add
) -> None:
    try:
        index = attribute.number()
    except RunError:
        return  # a constant that only the compiler knows
    if index >= MAX_BUFFERS:
        add(line, "M09", f"{attribute.name}({index}) of `{name}`: the largest index is 30")
    other = taken.setdefault((attribute.name, index), name)
    if other != name:
        add(line, "M09", f"{attribute.name}({index}) is `{other}`, and cannot be `{name}` too")


def _threads(
    tokens: Sequence[Token],
    at: int,
    attributes: dict[int, list[Attribute]],
    name: str,
    add: Add,
) -> None:
    key = "max_total_threads_per_threadgroup"
    found = [a.number() for a in attributes.get(at, ()) if a.name == key]
    if len(found) != 1 or not 32 <= found[0] <= 1024 or found[0] % 32:
        add(tokens[at].line, "M23", f"kernel `{name}` says {found or 'nothing'}")


def _meetings(tokens: Sequence[Token], add: Add) -> None:
    """Report functions of many threads below an `if` or a loop whose head tells threads apart.

    Also those behind it, up to the end of the function, where some threads return from there.
    """
    depth = 0
    for at, token in enumerate(tokens):
        depth += {"{": 1, "}": -1}.get(token.text, 0)
        if token.text not in ("if", "for", "while") or token.kind != "name":
            continue
        opens = at + 1
        if text_at(tokens, opens) != "(":  # `if constexpr`, or the text ends
            continue
        close = closing(tokens, opens)
        if not any(t.text in _PARTING and t.kind == "name" for t in tokens[opens:close]):
            continue
        end = _statement_end(tokens, close + 1)
        while end + 1 < len(tokens) and tokens[end + 1].text == "else":
            end = _statement_end(tokens, end + 2)
        if any(t.text == "return" for t in tokens[close + 1 : end]):
            end = _function_end(tokens, end, depth)
        for inner in tokens[close + 1 : end]:
            if inner.kind == "name" and _TOGETHER.fullmatch(inner.text):
                add(inner.line, "M24", f"{inner.text} below `{token.text}` of line {token.line}")


def _function_end(tokens: Sequence[Token], at: int, depth: int) -> int:
    """Where the function ends, in which `at` ends a statement below so many braces."""
    at += 1
    while at < len(tokens):
        depth += {"{": 1, "}": -1}.get(tokens[at].text, 0)
        if depth == 0:
            break
        at += 1
    return at


def _statement_end(tokens: Sequence[Token], at: int) -> int:
    """Where the statement that begins here ends."""
    while at < len(tokens) and tokens[at].text != ";":
        if tokens[at].text == "{":
            return closing(tokens, at)
        at = closing(tokens, at) if tokens[at].text in "([" else at
        at += 1
    return at
