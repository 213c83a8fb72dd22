"""What kernels share, without what these kernels do not use: a text of definitions, cut by need.

A definition of a function, type or macro is kept when what is kept names it; that of an operator,
when its result and one of its operands are of types that are named. Of functions that are told
apart by the type of their first parameter those stay whose type is named. Calls of macros outside
of functions are definitions of what they expand to, and what defines nothing is kept. Of an `#if`
around definitions the branches stay that have any, and of comments those right above what stays,
if wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_WORD = re.compile(r"[A-Za-z_]\w*")
_FUNCTION = re.compile(
    r"(?:static inline|TLC_LANE|TLC_CALL)\b[^;{}()]*?\b(\w+)\(([^,)]*)", re.DOTALL
)
_OPERATOR = re.compile(r"\b(\w+) operator\W+?\((.*?)\)")
_TYPE = re.compile(r"^(?:typedef\b.*?\b(\w+)(?:\s+__attribute__.*)?;|struct (\w+))")
_CONSTANT = re.compile(r"^constant \w+ (\w+)\[")
_MACRO = re.compile(r"#define (\w+)(?:\(([^)]*)\))?(.*)", re.DOTALL)
_CALL = re.compile(r"\b([A-Z][A-Z0-9_]*)\(([^()]*)\)")
_BRANCH = re.compile(r"#(if|elif|else|endif)\b")
_ELEMENTS = frozenset(["half", "char", "uchar", "ushort"])  # of memory, that tell functions apart


@dataclass(slots=True)
class _Part:
    """Lines that stay or go together, or one of the directives around them.

    They are needed where all words of one of `names` are named, or where there are no names.
    """

    lines: list[str]
    spaced: bool  # an empty line before it
    names: frozenset[frozenset[str]] = frozenset()
    words: frozenset[str] = frozenset()
    branch: str = ""
    kept: bool = False

    def needed(self, words: set[str]) -> bool:
        return not self.names or any(name <= words for name in self.names)


@dataclass(slots=True)
class _Known:
    """Types, and function-like macros by name: parameters and text."""

    types: set[str] = field(default_factory=set)
    macros: dict[str, tuple[list[str], str]] = field(default_factory=dict)

    def expanded(self, text: str) -> str:
        """The text and, behind it, all that its calls of macros expand to."""
        out, queue = text, [text]
        while queue:
            for name, given in _CALL.findall(queue.pop()):
                if name in self.macros:
                    parameters, body = self.macros[name]
                    for parameter, value in zip(parameters, given.split(","), strict=True):
                        body = re.sub(rf"\b{parameter}\b", value.strip(), body)
                    queue.append(re.sub(r"\s*##\s*", "", body))
                    out += "\n" + queue[-1]
        return out


def used(shared: str, kernels: str, *, comments: bool = True) -> str:
    """The parts of the shared text that the kernels need, in its order."""
    parts = list(_parts(shared, comments))
    words, changed = set(_WORD.findall(kernels)), True
    while changed:
        changed = False
        for part in parts:
            if not (part.kept or part.branch) and part.needed(words):
                part.kept = changed = True
                words |= part.words
    return "\n".join(_lines(parts)).strip("\n")


def _parts(text: str, comments: bool) -> Iterator[_Part]:
    """The text cut into definitions and the directives around them, with comments right above."""
    known = _Known()
    lines = iter(text.split("\n"))
    above: list[str] = []
    spaced = False
    for line in lines:
        if not line.strip():
            above, spaced = [], True
            continue
        if line.startswith("//"):
            above.append(line)
            continue
        found = _BRANCH.match(line)
        if found is not None:
            yield _Part([line], spaced, branch=found[1])
            above, spaced = [], False
            continue
        own = [line]
        while own[-1].endswith("\\") or (line[0] != "#" and _is_open(own)):
            own.append(next(lines))
        part = _definition(own, known)
        part.spaced = spaced
        if comments or not part.names:
            part.lines = [*above, *own]
        else:
            part.lines = [re.sub(r" +//.*", "", line) for line in own]
        yield part
        above, spaced = [], False


def _is_open(lines: list[str]) -> bool:
    text = re.sub(r"//.*", "", "\n".join(lines))
    if text.count("{") != text.count("}") or text.count("(") != text.count(")"):
        return True
    return text.rstrip()[-1] not in ";})"


def _definition(own: list[str], known: _Known) -> _Part:
    text = "\n".join(own)
    macro = _MACRO.match(text.replace("\\\n", "\n"))
    if macro is not None:
        name, parameters, body = macro.groups()
        if parameters is not None:
            known.macros[name] = ([p.strip() for p in parameters.split(",")], body)
        return _Part(own, False, frozenset([frozenset([name])]), frozenset(_WORD.findall(body)))
    types = {name for found in _TYPE.findall(text) for name in found if name}
    known.types |= types
    whole = known.expanded(text)
    names = {frozenset([name]) for name in types.union(_CONSTANT.findall(text))}
    for name, first in _FUNCTION.findall(whole):
        apart = (known.types | _ELEMENTS).intersection(_WORD.findall(first))
        names.add(frozenset([name, *apart]))
    for result, operands in _OPERATOR.findall(whole):
        names |= {
            frozenset([type, result] if result in known.types else [type])
            for type in known.types.intersection(_WORD.findall(operands))
        }
    return _Part(own, False, frozenset(names), frozenset(_WORD.findall(whole)))


def _lines(parts: list[_Part]) -> Iterator[str]:
    """The lines that stay, without empty branches at the end of an `#if` and empty `#if`s."""
    opened: list[list[str]] = []  # directives that nothing has followed yet
    written: list[bool] = []  # whether an `#if` around has been written

    for part in parts:
        match part.branch:
            case "if":
                opened.append([*([""] if part.spaced else []), *part.lines])
                written.append(False)
            case "elif" | "else":
                # what is before must stay an `#if` that excludes it
                opened[-1] = [*opened[-1], *part.lines]
            case "endif":
                opened.pop()
                if written.pop():
                    yield from part.lines
            case _ if part.kept:
                for at, directives in enumerate(opened):
                    if directives:
                        yield from directives
                        opened[at], written[at] = [], True
                if part.spaced:
                    yield ""
                yield from part.lines
