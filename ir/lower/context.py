"""The state of lowering one entry: where operations go, what names mean, what was wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from tlc.frontend import ast
from tlc.frontend.diagnostics import CompileError, Diagnostic, Label
from tlc.frontend.source import Span
from tlc.frontend.suggest import did_you_mean
from tlc.ir.builder import Builder
from tlc.ir.core import Block, ModelRef, Module, Op, Value
from tlc.ir.dims import SEED, Dim
from tlc.ir.lower import elsewhere
from tlc.ir.lower.fitting import fitted
from tlc.ir.lower.values import (
    Lowered,
    Model,
    ModelHeader,
    ModelProblem,
    Poison,
    Struct,
    Vocabulary,
)
from tlc.ir.opdef import BUILTINS, OpDef, TypeRuleError
from tlc.ir.types import SPELLINGS

if TYPE_CHECKING:
    from tlc.ir.lower.control.recursion import Recursion

T = TypeVar("T")
OpenModel = Callable[[str, Span], ModelHeader]
OpenTokenizer = Callable[[str, Span], Vocabulary]
# hidden names hold a space, as no name of a program does
BREAK, SKIP = "break ", "continue "  # whether a pass of a loop was the last; was left
RETURNED, RESULT = "return ", "result "  # whether a pass ended the function, and with what
CACHE = "cache "  # begins the names of what caches hold
DRAW = "draw "  # hidden: how many times random numbers were drawn (no name holds a space)
MAX_CALLS = 1000
MAX_LATE_CALLS = 100  # below branches that only run time decides
MAX_STEPS = 500_000  # statements and calls


class Scope:
    """Names of one block; a name not found here is looked up in the block around it."""

    def __init__(self, parent: Scope | None = None) -> None:
        self.parent = parent
        self.names: dict[str, Lowered] = {}
        self.tail = False  # its last statement is the end of a function
        self.owned: list[tuple[str, Struct]] = []  # what is dropped when the scope ends

    def outwards(self) -> Iterator[Scope]:
        """This scope, the one around it, and so on."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def find(self, name: str) -> Scope | None:
        """The innermost scope that has the name."""
        return next((scope for scope in self.outwards() if name in scope.names), None)

    def visible(self) -> set[str]:
        """All names that can be read here."""
        return {name for scope in self.outwards() for name in scope.names if " " not in name}


class TooLong(CompileError):
    """Nothing more can be said of a program that takes too long to build."""


class TooSlow(Exception):
    """What is lowered takes longer than there is patience for (`Context.patience`)."""


class TooDeep(TooLong):
    """Calls nest too deep: what stands behind the innermost one would only nest as deep again."""


class NeedsGlobals(Exception):
    """A function that is lowered by itself reads a name that top-level statements define."""


@dataclass(frozen=True, slots=True, eq=False)
class Entered:
    """A call that is being lowered: its parameters, what the build knows of them, and how many
    branches around it only run time decides."""

    fn: ast.Fn
    params: dict[str, Lowered]
    known: object
    undecided: int


@dataclass(slots=True)
class Program:
    """What all entries share: declarations, the module under construction, models, warnings."""

    functions: dict[str, ast.Fn]
    top_level: list[ast.Stmt | ast.TensorDecl]
    global_names: set[str]
    open_model: OpenModel
    open_tokenizer: OpenTokenizer | None = None
    seed: Dim = SEED  # what random numbers are hashed from
    kept: frozenset[str] = frozenset()  # compositions that stay one operation
    straight: bool = False  # every loop whose length is known is followed: there is to be none
    engine: str = "tlc"  # what runs Core ML models: tlc's kernels, or `coreml`
    module: Module = field(default_factory=Module)
    models: dict[str, Model] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)
    structs: dict[str, ast.Struct] = field(default_factory=dict)
    methods: dict[str, dict[str, ast.Fn]] = field(default_factory=dict)
    changing: set[str] = field(default_factory=set)  # methods that may give `self` another value
    drops: dict[str, ast.Fn] = field(default_factory=dict)
    blocks: list[ast.Test | ast.Bench] = field(default_factory=list)
    followed: set[tuple[str, int]] = field(default_factory=set)  # loops that the build unrolls
    missing: set[str] = field(default_factory=set)  # names of what is reported as unsupported
    symbols: int = 0
    natural: set[str] = field(default_factory=set)  # symbols of the run that are never negative
    steps: int = 0
    limit: float = math.inf  # of steps, as long as `Context.patience` says so
    hints: dict[str, Span] = field(default_factory=dict)
    diagnostics: dict[tuple[Any, ...], Diagnostic] = field(default_factory=dict)

    def new_symbol(self) -> str:
        """A symbol for a whole number that only run time knows."""
        self.symbols += 1
        return f"${self.symbols - 1}"

    def report(self, problems: Sequence[Diagnostic]) -> None:
        """Keep diagnostics, each once."""
        for d in problems:
            where = (d.span.source.name, d.span.start) if d.span else None
            self.diagnostics.setdefault((d.code, d.message, where), d)


@dataclass(slots=True)
class Context:
    """One entry being lowered."""

    program: Program
    builder: Builder
    scope: Scope
    globals: Scope
    silent: bool = False  # drop printing and saving: only the values of names are wanted
    free: frozenset[str] = frozenset()  # symbols of the entry, which its body may bind to a number
    alone: bool = False  # top-level statements have not run: their names have no values
    ranges: dict[str, tuple[Dim, Dim]] = field(default_factory=dict)  # of loop counters
    skipping: int = 0  # inside code that is only checked
    undecided: int = 0  # inside so many branches that only run time decides
    entered: list[Entered] = field(default_factory=list)  # calls that are being lowered
    around: dict[Block, Block] = field(default_factory=dict)  # of regions
    reads: dict[Value, list[tuple[Block, Op]]] = field(default_factory=dict)  # and where
    recursions: list[Recursion] = field(default_factory=list)  # functions that are, around them
    calls: list[tuple[str, Span | None]] = field(default_factory=list)  # no place: an entry itself

    def __post_init__(self) -> None:
        self.globals.names.setdefault(DRAW, 0)

    # ---- errors -------------------------------------------------------------------------------

    def fail(
        self,
        code: str,
        message: str,
        span: Span,
        label: str = "",
        others: Sequence[Label] = (),
        hint: str = "",
    ) -> NoReturn:
        """Raise a CompileError that also shows the calls that led here."""
        called = [(name, at) for name, at in reversed(self.calls) if at is not None]
        trail = [Label(at, f"in this call of `{name}`") for name, at in dict.fromkeys(called)]
        raise CompileError([Diagnostic(code, message, span, label, (*others, *trail[:4]), hint)])

    def unsupported(self, what: str, span: Span, hint: str = "") -> NoReturn:
        self.fail("E0401", f"{what} is not supported yet", span, hint=hint)

    def warn(self, code: str, message: str, span: Span, hint: str = "") -> None:
        if not self.skipping:
            self.program.report([Diagnostic(code, message, span, hint=hint, severity="warning")])

    def step(self, span: Span) -> None:
        """Count a statement or a call; a program that takes too many to build is refused."""
        self.program.steps += 1
        if self.program.steps > MAX_STEPS:
            text = f"a program of more than {MAX_STEPS} steps at build is not supported yet"
            raise TooLong([Diagnostic("E0401", text, span)])
        if self.program.steps > self.program.limit:
            raise TooSlow

    @contextmanager
    def patience(self, steps: float) -> Iterator[None]:
        """What is lowered here may take so many statements and calls; then it is TooSlow, which
        stays as it is for whoever had less patience."""
        program, before = self.program, self.program.limit
        program.limit = min(before, program.steps + steps)
        try:
            yield
        finally:
            program.limit = before

    # ---- names --------------------------------------------------------------------------------

    def _own(self) -> Lowered:
        """The `self` of the method around."""
        scope = self.scope.find("self")
        return None if scope is None else scope.names["self"]

    def lookup(self, name: str, span: Span) -> Lowered:
        """The value of a name. Reports an unknown one with the nearest known names."""
        scope = self.scope.find(name)
        if scope is not None:
            value = scope.names[name]
            if isinstance(value, Poison):
                raise CompileError([])
            return value
        if name in self.program.global_names and self.alone:
            raise NeedsGlobals(name)
        if name in self.program.missing:
            raise CompileError([])
        known = self.scope.visible() | self.program.functions.keys() | BUILTINS.keys()
        hint = did_you_mean(name, known)
        if name in self.program.global_names:
            hint = "it is given a value only further down"
        elif name in self.program.functions or name in BUILTINS:
            hint = f"`{name}` is a function; call it: `{name}(...)`"
        elif name in self.program.structs:
            hint = f"it is a struct; its functions are called as `{name}::new(...)`"
        elif isinstance(own := self._own(), Struct) and name in own.fields:
            hint = f"a method reads its fields as `self.{name}`"
        elif name in SPELLINGS:
            hint = f"it is a type; numbers become one with `x as {name}`"
        elif name in elsewhere.NAMES:
            hint = f"here that is {elsewhere.NAMES[name]}"
        self.fail("E0201", f"unknown name `{name}`", span, hint=hint)

    @contextmanager
    def inner(self, scope: Scope | None = None) -> Iterator[None]:
        """A block with names of its own."""
        outer = self.scope
        self.scope = scope or Scope(outer)
        try:
            yield
        finally:
            self.scope = outer

    @contextmanager
    def scratch(self) -> Iterator[None]:
        """What happens here is undone: code that is checked and never runs."""
        kept, self.builder.block = self.builder.block, Block()
        scopes = [*self.scope.outwards(), self.globals]
        names = [dict(scope.names) for scope in scopes]
        self.skipping += 1
        try:
            yield
        finally:
            self.builder.block = kept
            for scope, before in zip(scopes, names, strict=True):
                scope.names = before
            self.skipping -= 1

    # ---- operations ---------------------------------------------------------------------------

    def emit(
        self,
        op: OpDef | str,
        *operands: Value,
        span: Span,
        places: Sequence[Span] = (),
        **attrs: Any,
    ) -> Value:
        """An operation, its type rule's refusal turned into a diagnostic.

        `places` are the spans of the operands, for the message that shows where they disagree.
        """
        return self.fitting(
            lambda *fitted: self.builder.emit(op, *fitted, **attrs), operands, span, places
        )

    def fitting(
        self,
        make: Callable[..., T],
        operands: Sequence[Value],
        span: Span,
        places: Sequence[Span] = (),
    ) -> T:
        """What is made of operands; where a type rule wants two sizes equal that only the run
        knows, the run compares them."""
        outer, self.builder.span = self.builder.span, span
        try:
            while True:
                try:
                    return make(*operands)
                except TypeRuleError as problem:
                    found = fitted(self.builder, self.free, problem, list(operands))
                    if found is None:
                        self.refuse(problem, span, operands, places)
                    operands = found
        finally:
            self.builder.span = outer

    def effect(self, op: str, *operands: Value, span: Span, **attrs: Any) -> None:
        """An operation that the outside sees."""
        if not self.silent:
            self.builder.span = span
            self.builder.append(op, *operands, **attrs)

    def refuse(
        self, problem: TypeRuleError, span: Span, operands: Sequence[Value], places: Sequence[Span]
    ) -> NoReturn:
        """Report a type rule's refusal, with a label at every operand it names."""
        labels = [
            Label(places[at], f"this is {operands[at].type}")
            for at in problem.operands
            if at < len(places) and at < len(operands)
        ]
        self.fail(problem.code, problem.message, span, others=labels, hint=problem.hint)

    # ---- models -------------------------------------------------------------------------------

    def model(self, path: str, dtype: str, span: Span) -> Model:
        """The model of a path; every path is opened once."""
        program = self.program
        found = program.models.get(f"{dtype}:{path}")
        if found is not None:
            return found
        try:
            header = program.open_model(path, span)
        except ModelProblem as problem:
            self.fail(problem.code, problem.message, span, hint=problem.hint)
        refs = program.module.models
        index = next((i for i, ref in enumerate(refs) if ref.path == path), len(refs))
        if index == len(refs):
            refs.append(ModelRef(path, header.fingerprint))
        made = Model(index, path, header, dtype)
        program.models[f"{dtype}:{path}"] = made
        return made


def where(span: Span) -> str:
    """A place as run-time messages show it: `linear.tl:12`."""
    return span.place
