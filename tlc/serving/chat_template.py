"""The chat template of a model to the text that messages are for it.

Templates are Jinja, with what transformers gives to them: `messages`, `add_generation_prompt`,
`bos_token`, `eos_token`, `raise_exception`, `strftime_now`, `tojson` and loop controls. They come
in model files from anywhere, so they run in Jinja's sandbox, where the steps that they take and
the bytes that they make are counted.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FrameType
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.compiler import CodeGenerator, Frame, operators
from jinja2.ext import Extension
from jinja2.filters import FILTERS
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tlc.runtime.errors import RunError
from tlc.runtime.tokenizer.tokenizer import Tokenizer

_MOST_STEPS = 1_000_000  # lines of the code that Jinja makes of a template
_MOST_MADE = 16 << 20  # characters and elements that operations make
# what templates of models use; each makes at most about as much as it is given
_FILTERS = (
    "abs", "bool", "capitalize", "count", "d", "default", "first", "float", "int", "items", "last",
    "length", "list", "lower", "map", "reject", "rejectattr", "reverse", "round", "safe", "select",
    "selectattr", "title", "trim", "upper",
)  # fmt: skip
_METHODS = (
    "capitalize", "count", "endswith", "find", "get", "index", "isalpha", "isdigit", "isnumeric",
    "isspace", "items", "keys", "lower", "lstrip", "removeprefix", "removesuffix", "rfind",
    "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "title", "upper", "values",
)  # fmt: skip


class ChatTemplate:
    """Writes messages as a model was trained to read them."""

    def __init__(self, text: str, bos: str = "", eos: str = "", begun: bool = False) -> None:
        """`bos` and `eos` are the texts of the tokens that begin and end a text. `begun` when the
        first is before every text anyway. Raises RunError E0608 for a text that is no template."""
        self._bos, self._eos, self._begun = bos, eos, begun
        self._environment = _Environment()
        try:
            self._template = self._environment.from_string(text)
        except (TemplateError, RecursionError, ValueError, MemoryError) as problem:
            raise _broken(problem) from None

    def __call__(self, messages: Sequence[Mapping[str, str]], answer: bool = True) -> str:
        """The text of messages, up to where the answer begins. Raises RunError E0608."""
        self._environment.made = 0
        try:
            with _Steps():
                text = self._template.render(
                    messages=[dict(message) for message in messages],
                    add_generation_prompt=answer,
                    bos_token=self._bos,
                    eos_token=self._eos,
                    tools=None,
                    documents=None,
                )
        except Exception as problem:  # whatever an expression of the template raises
            raise _broken(problem) from None
        return str(text).removeprefix(self._bos if self._begun else "")


def chat_template(
    metadata: Mapping[str, object], tokenizer: Tokenizer, path: str | None = None
) -> ChatTemplate:
    """The template that a model file holds, or that of a file, for the model's own tokens.

    Raises RunError E0608 where there is none.
    """
    found = metadata.get("tokenizer.chat_template") if path is None else _text_of(path)
    if not isinstance(found, str):
        raise RunError(
            "E0608",
            "the model file has no chat template",
            "--template FILE names one: Jinja that writes `messages` as the model reads them",
        )
    begun = list(tokenizer.before) == [tokenizer.bos]
    return ChatTemplate(found, tokenizer.name(tokenizer.bos), tokenizer.name(tokenizer.eos), begun)


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or "it is not UTF-8"
        raise RunError("E0608", f"{path} cannot be read as a chat template: {why}") from None


def _broken(problem: BaseException) -> RunError:
    what = str(problem).splitlines()[0][:300] if str(problem) else type(problem).__name__
    line = getattr(problem, "lineno", None)
    place = f" in line {line}" if isinstance(line, int) else ""
    return RunError("E0608", f"the chat template fails{place}: {what}")


class _Steps:
    """Stops code that takes too many steps on this thread: templates may loop without an end."""

    def __enter__(self) -> None:
        self._left, self._before = _MOST_STEPS, sys.gettrace()
        sys.settrace(self._step)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _step(self, frame: FrameType, event: str, arg: object) -> Any:
        self._left -= 1
        if self._left < 0:
            raise TemplateError("it takes too many steps")
        return self._step


class _Generation(Extension):
    """`{% generation %}`, which marks for training what the model says, and does nothing here."""

    tags = {"generation"}  # noqa: RUF012  (as its base declares it)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Generator(CodeGenerator):
    """Makes `a ~ b`, `a[b:c]` and comparisons something that can be counted."""

    def visit_Operand(self, node: nodes.Operand, frame: Frame) -> None:
        self.write(f" {operators[node.op]} environment.compared(")
        self.visit(node.expr, frame)
        self.write(")")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concat((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.part(")
        self.visit(node.node, frame)
        for end in (node.arg.start, node.arg.stop, node.arg.step):
            self.write(", ")
            self.visit(end or nodes.Const(None), frame)
        self.write(")")


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with what templates of models use, and a count of what they make."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))
    code_generator_class = _Generator

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_shown,
            extensions=["jinja2.ext.loopcontrols", _Generation],
        )
        self.made = 0
        self.tests = {name: self._compares(test) for name, test in self.tests.items()}
        self.filters = {n: self._counted(FILTERS[n]) for n in _FILTERS if n in FILTERS}
        self.filters |= {
            "tojson": self._json, "join": self._join, "replace": self._replace,
            "indent": self._indent, "string": _text,
        }  # fmt: skip
        self.globals = {
            "range": self._range, "namespace": self.globals["namespace"], "dict": dict,
            "raise_exception": _raise, "strftime_now": time.strftime,
        }  # fmt: skip

    def count(self, size: int) -> None:
        """Raises TemplateError when a template makes more than any that is of use."""
        self.made += size
        if self.made > _MOST_MADE:
            raise TemplateError("it makes too much text")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        match operator:
            case "+" if not isinstance(left, int | float):
                self.count(_size(left) + _size(right))
            case "*" if not isinstance(left, int | float) or not isinstance(right, int | float):
                self.count(_size(left) * _size(right))
            case "**":
                raise TemplateError("it computes a power")
            case "%" if isinstance(left, str):
                raise TemplateError("it formats with %")
        if any(isinstance(x, int) and x.bit_length() > 64 for x in (left, right)):
            raise TemplateError("it computes with numbers of more than 64 bits")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, function: Any, *args: Any, **named: Any) -> Any:
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if name.startswith("format"):
            raise TemplateError("it formats")
        if isinstance(owner, str | list | tuple | dict):
            match name:
                case "replace":
                    return self._replace(owner, *args)
                case "join":
                    return self._join(args[0], str(owner))
                case _ if name not in _METHODS:
                    raise TemplateError(f"it calls `{name}`, which is not allowed")
            self.compared(args)
            self.count(_size(owner))
        return super().call(context, function, *args, **named)

    def concat(self, parts: Iterable[Any]) -> str:
        """What Jinja makes a text of its pieces with."""
        texts: list[str] = []
        for part in parts:
            texts.append(_text(part))
            self.count(len(texts[-1]))
        return "".join(texts)

    def part(self, value: Any, start: Any, stop: Any, step: Any) -> Any:
        """`value[start:stop:step]`."""
        found = value[start:stop:step]
        self.count(_size(found))
        return found

    def compared(self, value: Any) -> Any:
        """What something is compared with: all that is in it, as often as it is there, counts."""
        self.count(_size(value) if isinstance(value, str) else 1)
        if isinstance(value, dict | list | tuple):
            for item in value.items() if isinstance(value, dict) else value:
                self.compared(item)
        return value

    def _compares(self, test: Any) -> Callable[..., Any]:
        """A test whose arguments are counted."""

        @functools.wraps(test)
        def counted(*args: Any) -> Any:
            for arg in args:
                if isinstance(arg, str | dict | list | tuple):
                    self.compared(arg)
            return test(*args)

        return counted

    def _counted(self, made: Callable[..., Any]) -> Callable[..., Any]:
        """A filter whose results are counted."""

        @functools.wraps(made)
        def counted(*args: Any, **named: Any) -> Any:
            found = made(*args, **named)
            self.count(_size(found) if isinstance(found, str | list | tuple | dict) else 1)
            return found

        return counted

    def _join(self, items: Iterable[Any], between: str = "", attribute: str | None = None) -> str:
        texts = [_text(item if attribute is None else item[attribute]) for item in items]
        self.count(sum(map(len, texts)) + len(texts) * len(between))
        return str(between).join(texts)

    def _replace(self, text: Any, old: str, new: str, most: int = -1) -> str:
        before = _text(text)
        self.count(len(before) + (before.count(old) if old else len(before) + 1) * len(new))
        return before.replace(old, new, most)

    def _indent(self, text: Any, width: int | str = 4, first: bool = False) -> str:
        before = " " * min(width, 100) if isinstance(width, int) else str(width)
        return before * bool(first) + self._replace(text, "\n", "\n" + before)

    def _json(self, value: Any, indent: int | None = None, **_: Any) -> str:
        self.compared(value)
        text = json.dumps(value, ensure_ascii=False, indent=indent and min(indent, 8))
        self.count(len(text))
        return text

    def _range(self, *ends: int) -> range:
        found = range(*ends)
        self.count(len(found))
        return found


def _shown(value: Any) -> Any:
    """A value that is written. Raises TemplateError for lists: templates write what is in them."""
    if isinstance(value, list | tuple | dict):
        raise TemplateError(f"it writes a {type(value).__name__}")
    return value


def _text(value: Any) -> str:
    return str(_shown(value))


def _raise(message: str) -> None:
    raise TemplateError(message)


def _size(value: Any) -> int:
    """How much a value is, in characters or elements; a number counts as itself."""
    if isinstance(value, int | float):
        return max(int(min(value, 1 << 40)), 0)
    try:
        return len(value)
    except TypeError:
        return 1
