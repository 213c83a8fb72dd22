"""The text form of a module back to a module; the inverse of `ir/printer.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import tlc.ir.ops  # noqa: F401  (fills the registry)
from tlc.ir.core import Block, Func, ModelRef, Module, Op, Value
from tlc.ir.dims import Dim, parse_dim
from tlc.ir.opdef import OPS
from tlc.ir.printer import IMPLIED
from tlc.ir.types import DTYPES, SCALARS, ScalarType, TensorType, Type

# a comment stands at a line's start or behind a space; `//` without one divides dimensions
_TOKEN = re.compile(
    r"""[ \t\n]+ | (?:^|(?<=\s))//[^\n]* | (?P<token>
    hex"[0-9a-f]*" | "(?:[^"\\\n]|\\.)*"
    | [-+]?(?:\d+\.\d*(?:e[-+]?\d+)?|\d+e[-+]?\d+|\d+|inf\b|nan\b)
    | @"(?:[^"\\\n]|\\.)*" | [%@][\w.]+ | [\w?$]+ | // | <= | == | [-+*%(){}\[\]<>:,=^])""",
    re.VERBOSE,
)
_MAX_DEPTH = 64


def parse_module(text: str) -> Module:
    """The module of a text. Raises ValueError that names the line."""
    return _Parser(text).module()


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, int]] = []
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise ValueError(f"line {text.count(chr(10), 0, at) + 1}: unexpected {text[at]!r}")
            if found["token"] is not None:
                self.tokens.append((found["token"], at))
            at = found.end()
        self.text, self.at = text, 0
        self.values: dict[str, Value] = {}

    # ---- tokens ---------------------------------------------------------------------------------

    @property
    def next(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def fail(self, message: str, at: int | None = None) -> ValueError:
        """An error at a token; at the next one when no other is named."""
        at = self.at if at is None else at
        offset = self.tokens[at][1] if at < len(self.tokens) else len(self.text)
        return ValueError(f"line {self.text.count(chr(10), 0, offset) + 1}: {message}")

    def take(self, wanted: str = "") -> str:
        token = self.next
        if not token or (wanted and token != wanted):
            raise self.fail(f"expected {wanted or 'more text'}, found {token or 'the end'}")
        self.at += 1
        return token

    def accept(self, wanted: str) -> bool:
        if self.next != wanted:
            return False
        self.at += 1
        return True

    def string(self) -> str:
        token = self.take()
        try:
            text = json.loads(token)
        except ValueError:
            text = None
        if not isinstance(text, str):
            raise self.fail(f"{token} is not a string")
        return text

    def listed(self, parse: Callable[[], Any], close: str) -> list[Any]:
        items = []
        while not self.accept(close):
            items.append(parse())
            if not self.accept(","):
                self.take(close)
                break
        return items

    # ---- structure ------------------------------------------------------------------------------

    def module(self) -> Module:
        module = Module()
        while self.next:
            if self.accept("model"):
                self.take(str(len(module.models)))
                module.models.append(ModelRef(self.string(), self.string()))
            else:
                self.take("func")
                module.funcs.append(self.func())
        return module

    def func(self) -> Func:
        self.values = {}
        name, names = self.take(), []
        if not name.startswith("@"):
            raise self.fail(f"{name} is not the name of a function")
        self.take("(")

        def param() -> Value:
            label = self.take()
            names.append(self.take())
            return self.define(label)

        body = Block(self.listed(param, ")"))
        self.take("{")
        self.ops(body, 0)
        return Func(json.loads(name[1:]) if name[1] == '"' else name[1:], body, names)

    def define(self, label: str) -> Value:
        self.take(":")
        return self.bind(label, self.type(), None)

    def bind(self, label: str, type: Type, owner: Op | None) -> Value:
        if not label.startswith("%") or label in self.values:
            raise self.fail(f"{label} is not a new value")
        self.values[label] = value = Value(type, owner)
        return value

    def ops(self, block: Block, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise self.fail("regions are nested too deeply")
        while not self.accept("}"):
            block.ops.append(self.op(depth))
        if not block.ops or block.ops[-1].name != "yield":
            raise self.fail("a block ends with a yield")

    def op(self, depth: int) -> Op:
        start, labels = self.at, []
        if self.next.startswith("%"):
            labels = [self.take()]
            while self.accept(","):
                labels.append(self.take())
            self.take("=")
        name = self.take()
        if name not in OPS:
            raise self.fail(f"no operation is called {name}")
        self.take("(")
        op = Op(OPS[name], self.listed(self.operand, ")"), {})
        kinds = {p.name: p.kind for p in op.defn.params}
        if self.accept("{"):
            for key, value in self.listed(lambda: self.attr(kinds), "}"):
                op.attrs[key] = value
        types: list[Type] = []
        if labels:
            self.take(":")
            types = [self.type()]
            while self.accept(","):
                types.append(self.type())
        if len(types) != len(labels):
            raise self.fail("as many types as results are needed", start)
        for key in IMPLIED & set(kinds):
            if key == "type" and len(types) != 1:
                raise self.fail(f"{name} has one result", start)
            op.attrs[key] = tuple(types) if key == "results" else types[0]
        op.results = [self.bind(n, t, op) for n, t in zip(labels, types, strict=True)]
        while self.accept("^"):
            self.take("(")
            region = Block(self.listed(lambda: self.define(self.take()), ")"))
            self.take("{")
            self.ops(region, depth + 1)
            op.regions.append(region)
        return op

    def operand(self) -> Value:
        label = self.take()
        if label not in self.values:
            raise self.fail(f"{label} is not defined")
        return self.values[label]

    def attr(self, kinds: dict[str, str]) -> tuple[str, Any]:
        key = self.take()
        self.take("=")
        match kinds.get(key):
            case "dim":
                return key, self.dim()
            case "shape":
                self.take("[")
                return key, tuple(self.listed(self.dim, "]"))
        return key, self.attr_value(0)

    def attr_value(self, depth: int) -> Any:
        if self.next.startswith('"'):
            return self.string()
        token = self.take()
        if depth > _MAX_DEPTH:
            raise self.fail("tuples are nested too deeply")
        if token == "(":
            return tuple(self.listed(lambda: self.attr_value(depth + 1), ")"))
        if token == "<":
            value = self.dim()
            self.take(">")
            return value
        if token in DTYPES and self.accept("["):
            return TensorType(token, tuple(self.listed(self.dim, "]")))
        if token in ("true", "false", "none"):
            return {"true": True, "false": False}.get(token)
        for read in (_stored_bytes, int, float):
            try:
                return read(token)
            except ValueError:
                continue
        raise self.fail(f"{token} is not an attribute's value")

    def dim(self) -> Dim:
        start, depth = self.at, 0
        while self.next and (depth or self.next not in (",", "]", ">", "}", ")")):
            depth += {"(": 1, ")": -1}.get(self.take(), 0)
        text = "".join(token for token, _ in self.tokens[start : self.at])
        try:
            return parse_dim(text)
        except ValueError as problem:
            raise self.fail(str(problem)) from None

    def type(self) -> Type:
        name = self.take()
        if name in DTYPES and self.accept("["):
            return TensorType(name, tuple(self.listed(self.dim, "]")))
        if name in SCALARS:
            return ScalarType(name)
        raise self.fail(f"{name} is not a type")


def _stored_bytes(token: str) -> bytes:
    if not token.startswith('hex"'):
        raise ValueError(token)
    return bytes.fromhex(token[4:-1])
