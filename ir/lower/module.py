"""A program's syntax tree to an IR module: one function for `main`, one for each function that can
be called from outside."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tlc.frontend import ast
from tlc.frontend.diagnostics import CompileError, Diagnostic, Label
from tlc.frontend.source import Span
from tlc.ir.builder import Builder
from tlc.ir.core import Block, Func, Module, Value
from tlc.ir.lower import calls, expressions, statements
from tlc.ir.lower.context import Context, NeedsGlobals, OpenModel, Program, Scope, TooLong
from tlc.ir.lower.types import Symbols, declared, is_tensor_type
from tlc.ir.lower.values import Lowered as Known
from tlc.ir.lower.values import describe


@dataclass(frozen=True, slots=True)
class Lowered:
    """The module, warnings, devices that `device:` asked for, and functions that are no entries."""

    module: Module
    warnings: tuple[Diagnostic, ...]
    hints: dict[str, Span]
    skipped: dict[str, str]


_NOT_YET = {
    ast.Struct: "`struct`",
    ast.Impl: "`impl`",
    ast.Import: "`import`",
    ast.Test: "`test`",
    ast.Bench: "`bench`",
    ast.Entity: "`entity`",
    ast.Relation: "`relation`",
    ast.Rule: "a rule",
    ast.Query: "a query",
    ast.Embedding: "`embedding`",
}


def lower(tree: ast.Program, open_model: OpenModel) -> Lowered:
    """The IR of a program. Raises CompileError with everything that is wrong.

    `open_model(path, span)` gives the header of a model file; it raises ModelProblem.
    """
    program = _declarations(tree, open_model)
    problems: list[Diagnostic] = list(program.diagnostics.values())
    skipped: dict[str, str] = {}
    limit = sys.getrecursionlimit()
    # calls may nest 100 deep, and in each of them expressions and blocks 200 deep
    sys.setrecursionlimit(max(limit, 200_000))
    try:
        problems += _entries(program, tree, skipped)
    finally:
        sys.setrecursionlimit(limit)
    program.report(problems)
    found = tuple(sorted(program.diagnostics.values(), key=lambda d: d.span.start if d.span else 0))
    if any(d.severity == "error" for d in found):
        raise CompileError(found)
    return Lowered(program.module, found, program.hints, skipped)


def _entries(program: Program, tree: ast.Program, skipped: dict[str, str]) -> Iterator[Diagnostic]:
    """Adds the functions to the module, and the reasons of those that are none; yields errors.

    A function that the program calls was checked with the types it is called with: that it does
    not compile by itself is no error then. One mistake is reported once, whoever comes across it.
    """
    failed: list[tuple[ast.Fn, CompileError]] = []
    reported: set[tuple[str, Span | None]] = set()
    try:
        program.module.funcs.append(_main(program, tree))
    except CompileError as error:
        yield from error.diagnostics
        reported.update((d.code, d.span) for d in error.diagnostics)
        if isinstance(error, TooLong):
            return
    called = set(program.called)
    for fn in program.functions.values():
        program.called.clear()
        try:
            program.module.funcs.append(_entry(program, fn))
            called |= program.called
        except _NoEntry as reason:
            skipped[fn.name] = str(reason)
        except TooLong as error:
            yield from error.diagnostics
            return
        except CompileError as error:
            failed.append((fn, error))
    for fn, problem in failed:
        if fn.name in called:
            skipped[fn.name] = _first_line(problem)
            continue
        for d in problem.diagnostics:
            if (d.code, d.span) not in reported:
                reported.add((d.code, d.span))
                yield d


class _NoEntry(Exception):
    """A function cannot be called from outside; the text says why."""


def _first_line(error: CompileError) -> str:
    return error.diagnostics[0].message if error.diagnostics else "it does not compile by itself"


def _declarations(tree: ast.Program, open_model: OpenModel) -> Program:
    functions: dict[str, ast.Fn] = {}
    top: list[ast.Stmt | ast.TensorDecl] = []
    names: set[str] = set()
    problems: list[Diagnostic] = []
    main: ast.Main | None = None
    for item in tree.body:
        if type(item) in _NOT_YET:
            text = f"{_NOT_YET[type(item)]} is not supported yet"
            problems.append(Diagnostic("E0401", text, item.span))
            continue
        match item:
            case ast.Fn(name=name):
                if name in functions:
                    first = Label(functions[name].name_span, "defined here first")
                    text = f"`{name}` is defined twice"
                    problems.append(Diagnostic("E0202", text, item.name_span, others=(first,)))
                functions[name] = item
            case ast.Main():
                if main is not None:
                    first = Label(main.span, "the first one is here")
                    problems.append(
                        Diagnostic("E0202", "`main` is defined twice", item.span, others=(first,))
                    )
                main = item
            case ast.Stmt() | ast.TensorDecl():
                top.append(item)
                names.update(statements.assigned(item))
    program = Program(functions, top, names, open_model)
    program.report(problems)
    return program


# ---- main ----------------------------------------------------------------------------------------


def _main(program: Program, tree: ast.Program) -> Func:
    """Top-level statements in order, then `main { }`."""
    body = Block()
    top = Scope()
    cx = Context(program, Builder(body, tree.span), top, top)
    blocks = [item.body for item in tree.body if isinstance(item, ast.Main)]
    problems: list[Diagnostic] = []
    for part in (tuple(program.top_level), *(b.body for b in blocks)):
        try:
            statements.body(cx, part)
        except TooLong as error:
            raise TooLong([*problems, *error.diagnostics]) from None
        except CompileError as error:
            problems += error.diagnostics
        except (statements.Return, statements.LoopExit) as exit:
            where = exit.span if isinstance(exit, statements.Return) else tree.span
            problems.append(
                Diagnostic(
                    "E0101", "`return`, `break` and `continue` have nothing to leave here", where
                )
            )
        cx.scope = Scope(top)
    if problems:
        raise CompileError(problems)
    cx.builder.append("yield")
    return Func("main", body, [], tree.span)


# ---- functions as entries ------------------------------------------------------------------------


def _entry(program: Program, fn: ast.Fn) -> Func:
    """A function with its declared types, its symbols free: callable with any sizes that fit."""
    if fn.name == "main":
        raise _NoEntry("`main` is the program itself")
    if fn.generics:
        raise _NoEntry("it is generic")
    for param in fn.params:
        if param.type is None or not is_tensor_type(param.type):
            shown = "undeclared" if param.type is None else param.type.span.text
            raise _NoEntry(f"the type of `{param.name}` is {shown}, which is known only at a call")
    top, body = Scope(), Block()
    try:
        return _entry_with(Context(program, Builder(body), top, top, alone=True), fn)
    except NeedsGlobals:
        return _entry_after_top_level(program, fn)


def _entry_after_top_level(program: Program, fn: ast.Fn) -> Func:
    """The function reads top-level names: their values are computed first, without any output."""
    body, top = Block(), Scope()
    cx = Context(program, Builder(body, fn.span), top, top, silent=True)
    try:
        statements.body(cx, tuple(program.top_level))
    except (CompileError, statements.Return, statements.LoopExit) as error:
        raise _NoEntry("the top-level statements it needs do not compile") from error
    cx.silent = False
    return _entry_with(cx, fn)


def _entry_with(cx: Context, fn: ast.Fn) -> Func:
    body = cx.builder.block
    scope, symbols = Scope(cx.globals), Symbols()
    for param in fn.params:
        assert param.type is not None
        value = Value(declared(cx, param.type, symbols), name=param.name)
        body.args.append(value)
        scope.names[param.name] = value
    result = calls.apply(cx, fn, scope, symbols, None)
    results = list(result) if isinstance(result, tuple) else [] if result is None else [result]
    cx.builder.span = fn.name_span
    values = [_as_result(cx, fn, r) for r in results]
    cx.builder.append("yield", *values)
    return Func(fn.name, body, [p.name for p in fn.params], fn.name_span)


def _as_result(cx: Context, fn: ast.Fn, result: Known) -> Value:
    value = expressions.as_tensor(cx, result, None, fn.name_span)
    if value is None:
        raise _NoEntry(f"its result is {describe(result)}, which is not a tensor")
    return value


__all__ = ["Lowered", "lower"]
