"""Preprocessed Metal text to C++17 that clang compiles for the host, and a table of its kernels.

Address spaces go; what then would be declared twice is kept once. Threadgroup variables come from
the runtime's arena, function constants become constants, and each kernel gets an entry without
parameters (`tlc_kernel_0`, ...) that native/arguments.h fills in. Types are never parsed: the entry
takes the types of the parameters from the kernel's own type. Lines stay where they are.
"""

from __future__ import annotations

import re
from contextlib import suppress

from tlc.runtime.errors import RunError
from tlc.runtime.msl.attributes import POSITIONS, Attribute, extract
from tlc.runtime.msl.entries import (
    Entry,
    Parameter,
    Signature,
    comment_in,
    entry_text,
    number_buffers,
    type_of,
)
from tlc.runtime.msl.subscripts import check_subscripts
from tlc.runtime.msl.threadgroup import ThreadgroupVariables
from tlc.runtime.msl.tokens import (
    ADDRESS_SPACES,
    closing,
    erased,
    opening,
    remove,
    render,
    split,
    tokenize,
)
from tlc.runtime.msl.words import replace_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_RECORDS = frozenset(("struct", "class", "union"))
_NO_PARAMETERS = frozenset(("alignas", "__attribute__", "decltype", "declspec", "noexcept"))
_KINDS = {"thread_execution_width": "threads_per_simdgroup"}


class Translation:
    """C++ text, and the kernels in it in the order of their entries."""

    __slots__ = ("code", "entries")

    def __init__(self, code: str, entries: list[Entry]) -> None:
        self.code, self.entries = code, entries


def translate(text: str, constants: Mapping[int, str]) -> Translation:
    """Translate; `constants` are the values of function constants, as C++ expressions.

    Raises RunError E0703 for text that cannot be followed.
    """
    return _Translator(text, constants).result()


class _Scope:
    """A namespace or a class while its declarations are read."""

    __slots__ = ("is_class", "path", "seen")

    def __init__(self, path: tuple[str, ...], is_class: bool) -> None:
        self.path, self.is_class = path, is_class
        self.seen: set[str] = set()  # declarations without address spaces


class _Translator:
    def __init__(self, text: str, constants: Mapping[int, str]) -> None:
        self._tokens, self._attributes = extract(tokenize(text))
        self._constants = constants
        self._signatures: dict[str, Signature] = {}
        self._entries: list[Entry] = []
        self._wanted: list[tuple[str, str, str]] = []  # instances: host name, expression, kernel
        self._variables = ThreadgroupVariables(self._tokens)

    def result(self) -> Translation:
        self._declarations(0, len(self._tokens), _Scope((), False))
        for name, expression, kernel in self._wanted:
            if kernel not in self._signatures:
                raise RunError(
                    "E0703", f"`{name}` is an instance of `{kernel}`, which is no kernel"
                )
            self._entries.append(Entry(name, expression, self._signatures[kernel]))
        check_subscripts(self._tokens)
        replace_words(self._tokens)
        code = render(self._tokens)
        code = re.sub(
            r"\bis_function_constant_defined\s*\(\s*(\w+)\s*\)", r"(tlc_defined_\1)", code
        )
        entries = "".join(entry_text(at, entry) for at, entry in enumerate(self._entries))
        return Translation(f'{code}\n# 1 "entries"\n{entries}', self._entries)

    # ---- declarations ---------------------------------------------------------------------------

    def _declarations(self, begin: int, end: int, scope: _Scope) -> None:
        """Read declarations of a namespace or class, one after the other."""
        tokens = self._tokens
        start = i = begin
        while i < end:
            text = tokens[i].text
            if tokens[i].kind == "directive":
                start = i + 1 if i == start else start
                i += 1
            elif text == "(" or text == "[":
                i = closing(tokens, i) + 1
            elif text == "{":
                after = self._block(start, i, scope)
                if after is None:  # an initialiser: the declaration goes on
                    i = closing(tokens, i) + 1
                else:
                    start = i = after
            elif text == ";":
                self._statement(start, i, scope)
                start = i = i + 1
            elif text == ":" and tokens[i - 1].text in ("public", "private", "protected"):
                start = i = i + 1
            else:
                i += 1

    def _block(self, start: int, brace: int, scope: _Scope) -> int | None:
        """Read what has a body in braces; where it ends, or None for an initialiser."""
        tokens = self._tokens
        head = self._behind_template(start, brace)
        words = [t.text for t in tokens[head:brace]]
        end = closing(tokens, brace)
        if "namespace" in words or (words[:1] == ["extern"] and len(words) == 2):
            named = [t.text for t in tokens[head:brace] if t.kind == "name"][1:]
            path = scope.path if words[0] == "extern" else (*scope.path, *named)
            self._declarations(brace + 1, end, _Scope(path, False))
            return end + 1
        parameters = self._parameters(head, brace)
        record = next((i for i in range(head, brace) if tokens[i].text in _RECORDS), None)
        if parameters is None and record is not None and "=" not in words and "enum" not in words:
            if self._again("record " + erased(tokens, start, brace), start, brace, scope):
                return self._remove_to_semicolon(start, end)
            self._declarations(brace + 1, end, _Scope(scope.path, True))
            return end + 1
        if parameters is None:
            return None
        close = closing(tokens, parameters)
        last = tokens[brace - 1]
        member = last.kind == "name" and last.text not in (*ADDRESS_SPACES, "const", "noexcept")
        if member and any(t.text == ":" for t in tokens[close:brace]):
            return None  # a member that a constructor initialises with braces
        key = self._function_key(start, parameters, close, brace)
        if self._again(key, start, brace, scope):
            remove(tokens, start, end + 1)
            return end + 1
        if self._is_kernel(start, brace):
            self._kernel(start, head, parameters, scope)
        self._variables.replace(brace + 1, end)
        return end + 1

    def _statement(self, start: int, end: int, scope: _Scope) -> None:
        """Read a declaration without a body."""
        tokens = self._tokens
        if start == end:
            return
        host_name = self._attribute(start, end, "host_name")
        if tokens[start].text == "template" and tokens[start + 1].text != "<":
            if host_name is not None:
                self._instance(start, end, host_name.text())
                remove(tokens, start, end + 1)
            return
        constant = self._attribute(start, end, "function_constant")
        if constant is not None:
            self._function_constant(start, end, constant.number())
            return
        head = self._behind_template(start, end)
        parameters = self._parameters(head, end)
        if parameters is not None:
            close = closing(tokens, parameters)
            key = self._function_key(start, parameters, close, end)
            if self._again(key, start, end, scope):
                remove(tokens, start, end + 1)

    def _again(self, key: str, start: int, end: int, scope: _Scope) -> bool:
        """Whether this was declared before, but for address spaces."""
        seen = key in scope.seen
        scope.seen.add(key)
        return seen and any(t.text in ADDRESS_SPACES for t in self._tokens[start:end])

    def _function_key(self, start: int, parameters: int, close: int, end: int) -> str:
        """What tells a function from its overloads: no names nor defaults of parameters."""
        tokens = self._tokens
        types = []
        for a, b in split(tokens, parameters + 1, close):
            words = [t.text for t in tokens[a:b] if t.text not in ADDRESS_SPACES]
            words = words[: words.index("=")] if "=" in words else words
            named = (
                len(words) > 1 and words[-1].isidentifier() and words[-2] not in ("::", "typename")
            )
            types.append(" ".join(words[:-1] if named else words))
        qualifier = "const" if any(t.text == "const" for t in tokens[close:end][:3]) else ""
        kind = "body" if end < len(tokens) and tokens[end].text == "{" else "promise"
        return f"{kind} {erased(tokens, start, parameters)}({', '.join(types)}) {qualifier}"

    def _behind_template(self, start: int, end: int) -> int:
        """Where a declaration begins behind all its `template <...>`."""
        tokens = self._tokens
        while start < end and tokens[start].text == "template" and tokens[start + 1].text == "<":
            start = closing(tokens, start + 1) + 1
        return start

    def _parameters(self, head: int, end: int) -> int | None:
        """Where the parameter list of a function opens; None for what is no function."""
        tokens = self._tokens
        i = head
        while i < end:
            text = tokens[i].text
            if text == "=":
                return None
            if text == "operator":
                i += 1
                if tokens[i].text == "(":
                    i += 2
                while i < end and tokens[i].text != "(":
                    i += 1
                return i if i < end else None
            if text == "[" or (text == "<" and tokens[i - 1].kind == "name"):
                i = closing(tokens, i)
            elif text == "(":
                if tokens[i - 1].kind == "name" and tokens[i - 1].text not in _NO_PARAMETERS:
                    return i
                if tokens[i - 1].text == ">":
                    return i  # a specialisation
                i = closing(tokens, i)
            i += 1
        return None

    def _attribute(self, start: int, end: int, name: str) -> Attribute | None:
        """An attribute that stands before one of these tokens or the one behind them."""
        for at in range(start, end + 1):
            for attribute in self._attributes.get(at, ()):
                if attribute.name == name:
                    return attribute
        return None

    def _remove_to_semicolon(self, start: int, end: int) -> int:
        tokens = self._tokens
        while end < len(tokens) and tokens[end].text != ";":
            end += 1
        remove(tokens, start, end + 1)
        return end + 1

    # ---- kernels --------------------------------------------------------------------------------

    def _is_kernel(self, start: int, end: int) -> bool:
        words = any(t.text == "kernel" for t in self._tokens[start:end])
        return words or self._attribute(start, end, "kernel") is not None

    def _kernel(self, start: int, head: int, parameters: int, scope: _Scope) -> None:
        """Note a kernel's signature, and its entry unless it is a template."""
        tokens = self._tokens
        at = parameters - 1
        if tokens[at].text == ">":
            at = opening(tokens, at) - 1
        name = tokens[at].text
        close = closing(tokens, parameters)
        limit = self._attribute(start, parameters, "max_total_threads_per_threadgroup")
        found = [self._parameter(name, a, b) for a, b in split(tokens, parameters + 1, close)]
        number_buffers(name, found)
        most = None
        if limit is not None:
            with suppress(RunError):  # it may differ between instances of a template
                most = limit.number()
        signature = Signature(found, most, comment_in(tokens[start].space))
        self._signatures[name] = signature
        host_name = self._attribute(start, parameters, "host_name")
        if (
            start == head or tokens[start + 2].text == ">"
        ):  # not a template, or a full specialisation
            path = "::".join(("", *scope.path, *(t.text for t in tokens[at:parameters])))
            self._entries.append(
                Entry(host_name.text() if host_name else name, f"&{path}", signature)
            )

    def _parameter(self, kernel: str, start: int, end: int) -> Parameter:
        """One parameter; its index is -1 when the text does not say it."""
        tokens = self._tokens
        words = [t.text for t in tokens[start:end] if t.kind != "directive"]
        spaces = {w for w in words if w in ADDRESS_SPACES}
        written = "device" in spaces and "const" not in words
        text = " ".join(words)
        for at in range(start, end + 1):
            for attribute in self._attributes.get(at, ()):
                if attribute.name in ("buffer", "threadgroup"):
                    return Parameter(attribute.name, attribute.number(), text, written)
                if attribute.name in POSITIONS:
                    kind = _KINDS.get(attribute.name, attribute.name)
                    return Parameter(kind, 0, text, False)
                if attribute.name in ("texture", "sampler", "stage_in"):
                    what = f"kernel `{kernel}`: [[{attribute.name}]] is not emulated"
                    raise RunError("E0703", what)
        if "threadgroup" in spaces:
            return Parameter("threadgroup", -1, text, True)
        if spaces & {"device", "constant"}:
            return Parameter("buffer", -1, text, written)
        raise RunError("E0703", f"kernel `{kernel}`: `{text}` has no attribute")

    def _instance(self, start: int, end: int, host_name: str) -> None:
        """`template [[host_name("f32")]] kernel void f<float>(...)`, and its variants."""
        tokens = self._tokens
        last = end - 1
        parameters: list[str] = []
        if tokens[last].text == ")":
            first = opening(tokens, last)
            parameters = [erased(tokens, a, b) for a, b in split(tokens, first + 1, last)]
            last = first - 1
        begin = last
        if tokens[last].text == ">":
            begin = opening(tokens, last) - 1
        name = tokens[begin].text
        while tokens[begin - 1].text == "::":
            begin -= 2
        expression = "&" + " ".join(
            t.text for t in tokens[begin : last + 1] if t.text not in ADDRESS_SPACES
        )
        if tokens[last].text != ">":  # template arguments follow from the parameters
            types = ", ".join(type_of(p) for p in parameters)
            expression = f"(void (*)({types})){expression}"
        self._wanted.append((host_name, expression, name))

    def _function_constant(self, start: int, end: int, index: int) -> None:
        tokens = self._tokens
        name = tokens[end - 1].text
        skipped = {"constant", "const", "static", "constexpr"}
        kept = (t for t in tokens[start : end - 1] if t.kind != "directive")
        kind = " ".join(t.text for t in kept if t.text not in skipped)
        value = self._constants.get(index)
        known = "false" if value is None else "true"
        remove(tokens, start, end)
        tokens[end].text = (
            f"static constexpr {kind} {name} = ({kind})({value or 0});"
            f" static constexpr bool tlc_defined_{name} = {known};"
        )
