"""Metal text to messages about what Apple's compiler would refuse, found with clang and rules.

clang reads the text as C++ for OpenCL 2021, the near relative of Metal that it knows: see
native/lint.h. What that allows and Metal does not is found among the tokens (lint_text.py) and in
the syntax tree (lint_tree.py). A template kernel is read as a template function, of which its
instances are made. Not covered: methods of objects in memory, textures, what a matrix is made of,
vectors of bool.
"""

from __future__ import annotations

import re

from tlc.runtime.devices import toolchain
from tlc.runtime.errors import RunError
from tlc.runtime.msl.attributes import extract
from tlc.runtime.msl.build import DEFAULT_VERSION, NATIVE, preprocess, usable
from tlc.runtime.msl.lint_text import check_includes, check_text
from tlc.runtime.msl.lint_tree import check_tree
from tlc.runtime.msl.tokens import Token, closing, opening, render, text_at, tokenize
from tlc.runtime.msl.words import literal

# code -> (name, what it is about)
RULES = {
    "M01": ("compiler", "clang refuses this, and so would Metal's compiler"),
    "M02": ("suspicious", "clang warns of this"),
    "M03": ("include", "only Metal's own headers can be included"),
    "M04": ("word", "C++ that Metal does not have"),
    "M05": ("literal", "a literal that Metal does not have"),
    "M06": ("version", "newer than the version of Metal that is asked for"),
    "M07": ("address-space", "a pointer or reference that names no address space"),
    "M08": ("parameter", "a kernel's parameter and its attribute do not go together"),
    "M09": ("binding", "an index of a buffer that is too large or used twice"),
    "M10": ("recursion", "a function that calls itself"),
    "M11": ("class", "a class that is derived from another"),
    "M12": ("bfloat", "an implicit conversion to bfloat"),
    # what tlc's own kernels keep to beyond that
    "M20": ("conversion", "a conversion that is not written out"),
    "M21": ("suffix", "a floating-point literal without a suffix"),
    "M22": ("plain", "a word that kernels do without"),
    "M23": ("threads", "a kernel that does not say its threads, a multiple of 32"),
    "M24": ("meeting", "a barrier or a function of a simdgroup where threads may part"),
    "M25": ("precise", "a function that fast math may approximate"),
}
_VECTORS = re.compile(
    r"(?:bool|u?char|u?short|u?int|u?long|float|half|bfloat)[234]"
)  # of which vectors are made by name
# a macro that makes kernels, or text that is there for some versions of Metal alone
_TO_EXPAND = re.compile(r"#\s*(?:define\b.*\[\[|if)", re.DOTALL)
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include\b.*$", re.MULTILINE)
_MARKER = re.compile(r'#\s*(\d+) "')
_NUMBERS = re.compile(r"bool|u?(char|short|int|int8_t|int16_t|int32_t|int64_t|long)|half|float")
_RESERVED = frozenset(("local", "global", "private", "generic"))  # in OpenCL, not in Metal
_NOT_METAL = (  # what OpenCL alone refuses: `half4 * float`, `float4 v = {1.0f}`; and of a function
    "scalar operand type has greater rank",  # constant, which only has some value here
    "too few elements in vector initialization",
    "no case matching constant switch condition",
)
_NO_KERNEL = "non-kernel function variable cannot be declared in local address space"
_MESSAGE = re.compile(r"^(\S*?):(\d+):(\d+): (error|warning|fatal error): (.*)$", re.MULTILINE)
_FLAGS = (
    *("-target", "x86_64-linux-gnu", "-x", "cl", "-cl-std=clc++2021", "-cl-no-stdinc"),
    *("-Xclang", "-cl-ext=-all,+cl_khr_fp16,+__opencl_c_generic_address_space"),
    *("-Xclang", "-cl-ext=+__cl_clang_function_pointers"),
    *("-fsyntax-only", "-ferror-limit=50", "-Xclang", "-ast-dump=json", "-I", NATIVE),
    *("-Wall", "-Wextra", "-Wno-unused", "-Wno-undefined-internal", "-Wno-psabi"),
    *("-Wno-c99-designator", "-Wno-return-stack-address", "-Wno-sign-compare"),
    *("-Wno-unused-parameter", "-D__METAL__=1"),
    # a program may compare a tensor with itself
    *("-Wno-tautological-compare", "-Wtautological-constant-compare"),
    "-Wtautological-overlap-compare",
)


class Message:
    """What is wrong, at a line of the text; `code` is one of RULES."""

    __slots__ = ("code", "line", "text")

    def __init__(self, line: int, code: str, text: str) -> None:
        self.line, self.code, self.text = line, code, text

    def __repr__(self) -> str:
        return f"{self.line}: {self.code} {RULES[self.code][0]}: {self.text}"


def lint(text: str, *, version: str = DEFAULT_VERSION, own: bool = False) -> list[Message]:
    """Messages about a Metal text, by line; with `own` also about the rules of tlc's own kernels.

    Raises RunError E0701 without a clang, and E0703 for text whose brackets do not match.
    """
    major, _, minor = version.partition(".")
    number = int(major) * 100 + int(minor or 0) * 10
    found: list[Message] = []

    def add(line: int, code: str, text: str) -> None:
        found.append(Message(line, code, text))

    tokens = tokenize(text)
    check_includes(tokens, add)
    if any(_TO_EXPAND.match(token.text) for token in tokens if token.kind == "directive"):
        tokens = _expanded(_INCLUDE.sub("", text), version)
    check_text(tokens, number, own, add)
    templates: list[range] = []
    source = f'#include "lint.h"\n# 1 "kernels.metal"\n{_rewritten(tokens, templates)}\n'
    tool = toolchain.usable(toolchain.find(), who="the lint")
    output, messages = toolchain.run_both(
        tool, [*_FLAGS, f"-D__METAL_VERSION__={number}", "-"], source
    )
    for match in _MESSAGE.finditer(messages):
        if not own and match[5].startswith(_NOT_METAL):
            continue
        if match[5] == _NO_KERNEL and any(int(match[2]) in lines for lines in templates):
            continue
        if match[1] == "kernels.metal":
            add(int(match[2]), "M02" if match[4] == "warning" else "M01", match[5])
        elif match[4] != "warning":  # in a template of lint.h that the text uses wrongly
            add(_user_line(messages, match.end()), "M01", match[5])
    if not any(message.code == "M01" for message in found):
        check_tree(output, own, add)
    unique = {(m.line, m.code, m.text): m for m in found}
    return [unique[key] for key in sorted(unique)]


def require(text: str, name: str, *, own: bool = True) -> None:
    """Raises RunError E0705 with the messages about a text, if there are any."""
    found = lint(text, own=own)
    if found:
        lines = [f"{name}:{message!r}" for message in found[:8]]
        raise RunError("E0705", "\n".join(["the kernels break rules of Metal", *lines]))


def _user_line(messages: str, start: int) -> int:
    """The first line of the text that clang names in the notes behind an error."""
    found = re.search(r"^kernels\.metal:(\d+):", messages[start:], re.MULTILINE)
    return int(found[1]) if found else 0


def _expanded(text: str, version: str) -> list[Token]:
    """The tokens of a text with its macros replaced, each with its line in the text."""
    tokens = tokenize(preprocess(text, "kernels.metal", usable(), version=version))
    offset = 0
    for token in tokens:
        marker = _MARKER.match(token.text) if token.kind == "directive" else None
        if marker:
            offset = int(marker[1]) - token.line - 1
        token.line += offset
    return tokens


def _rewritten(tokens: list[Token], templates: list[range]) -> str:
    """The text as C++ for OpenCL: no attributes nor includes, vectors made by a function.

    Appends the lines of kernels that are `templates`, which clang does not take for kernels.
    """
    kept, attributes = extract(tokens)
    named = _named_types(kept)
    depth = 0
    for at, token in enumerate(kept):
        follows = text_at(kept, at + 1)
        if token.kind == "directive" and re.match(r"#\s*(include|pragma)", token.text):
            token.dead = True
        elif token.kind == "number":
            token.text = literal(token.text)
        elif token.text in ("{", "("):
            depth += 1
            if token.text == "(" and _is_cast(kept, at, named):
                kept[at + 1].text = f"metal::lint_cast<{follows}>()"
                kept[at + 2].text = ")->*"
        elif token.text in ("}", ")", ")->*"):
            depth -= 1
        elif token.text == "constant" and depth == 0:
            before = kept[at - 1] if at else None
            if before is None or before.text in (";", "}") or before.kind == "directive":
                token.text = "constexpr constant"  # its value has to be known to the compiler
        elif token.text == "constant" and follows.isidentifier():
            if follows != "const" and kept[at - 1].text != "const":
                token.text = "const constant"  # which what is there is anyway
        elif follows == "(" and _VECTORS.fullmatch(token.text):
            token.text = f"metal::lint_make<{token.text}>"
        elif follows == "(" and token.text in named and _is_value(kept, at):
            token.text = f"metal::lint_value<{token.text}>"
        elif token.text == "vec" and follows == "<" and _is_value(kept, closing(kept, at + 1)):
            token.text = f"{'' if kept[at - 1].text == '::' else 'metal::'}lint_make<metal::vec"
            kept[closing(kept, at + 1)].text = ">>"
        elif token.text in _RESERVED:
            token.text += "_"
        elif token.text == "template" and follows == "<":
            _take_functions(kept, at + 1)
        own = {a.name for a in attributes.get(at, ())}
        if (token.text == "kernel" or "kernel" in own) and _is_template(kept, at):
            templates += _body(kept, at)
        if "kernel" in own and not _is_template(kept, at):
            token.text = f"kernel {token.text}"
        elif token.text == "kernel" and _is_template(kept, at):
            token.dead = True
        elif token.text == ";" and "function_constant" in own:
            is_number = _NUMBERS.fullmatch(kept[at - 2].text)
            token.text = " = {1};" if is_number else " = {};"  # some value to divide by
    return render(kept)


def _body(tokens: list[Token], at: int) -> list[range]:
    """The lines of the function that is declared here, if it has a body."""
    while at < len(tokens) and tokens[at].text not in ("(", ";"):
        at += 1
    if at == len(tokens) or tokens[at].text == ";":
        return []
    opens = closing(tokens, at) + 1
    if opens >= len(tokens) or tokens[opens].text != "{":
        return []
    return [range(tokens[opens].line, tokens[closing(tokens, opens)].line + 1)]


def _named_types(tokens: list[Token]) -> set[str]:
    """What templates, `using` and `typedef` call types that may be vectors."""
    texts = [token.text for token in tokens]
    found = set()
    for at, text in enumerate(texts[:-2]):
        in_list = text in ("typename", "class") and texts[at - 1] in ("<", ",")
        if in_list or (text == "using" and texts[at + 2] == "="):
            found.add(texts[at + 1])
        elif text == "typedef" and ";" in texts[at:]:
            found.add(texts[texts.index(";", at) - 1])
    return {name for name in found if name.isidentifier()}


def _is_cast(tokens: list[Token], at: int, named: set[str]) -> bool:
    """Whether `(float4)` stands here, or another type that may be a vector, before a value.

    It becomes an operator that binds nearly as tightly, since clang takes bits for bits here.
    """
    if at + 3 >= len(tokens) or tokens[at + 2].text != ")":
        return False
    if not (_VECTORS.fullmatch(tokens[at + 1].text) or tokens[at + 1].text in named):
        return False
    before, behind = tokens[at - 1], tokens[at + 3]
    value = behind.kind in ("name", "number") or behind.text in ("(", "*", "-")
    operator = before.kind == "symbol" and before.text not in (")", "]", ">", "::", ".", "->")
    return value and (operator or before.text == "return")


def _take_functions(tokens: list[Token], at: int) -> None:
    """Parameters of a template that are pointers to functions become references to functions.

    clang takes functions for those alone: its pointers to functions point to an address space.
    """
    texts = [token.text for token in tokens[at : closing(tokens, at)]]
    for i in range(len(texts) - 4):
        if texts[i : i + 2] == ["(", "*"] and texts[i + 3 : i + 5] == [")", "("]:
            tokens[at + i + 1].text = "&"


def _is_value(tokens: list[Token], at: int) -> bool:
    """Whether the type that ends here makes a value of what is between the parentheses behind it.

    Else they belong to a declaration: `T (&rows)[4]`, `operator T()`.
    """
    if text_at(tokens, at + 1) != "(" or text_at(tokens, at - 1) in ("operator", "."):
        return False
    behind = text_at(tokens, closing(tokens, at + 1) + 1)
    declares = tokens[at + 2].text in ("*", "&") and behind in ("[", "(")
    return not declares


def _is_template(tokens: list[Token], at: int) -> bool:
    """Whether a declaration that begins here is that of a template, or an instance of one."""
    before = at - 1
    if before > 0 and tokens[before].text == ">":
        before = opening(tokens, before) - 1
    return before >= 0 and tokens[before].text == "template"
