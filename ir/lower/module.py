"""A program's syntax tree to an IR module: one function for `main`, one for each function that can
be called from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from tlc.frontend import ast
from tlc.frontend.diagnostics import CompileError, Diagnostic, InternalError, Label
from tlc.frontend.source import Source, Span
from tlc.ir.builder import Builder
from tlc.ir.core import Block, Func, Module, Value
from tlc.ir.dims import SEED, Dim
from tlc.ir.lower import assignment, calls, composite, imports, statements, structs, tensors
from tlc.ir.lower.context import (
    Context,
    NeedsGlobals,
    OpenModel,
    OpenTokenizer,
    Program,
    Scope,
    TooDeep,
    TooLong,
)
from tlc.ir.lower.deep import deeply
from tlc.ir.lower.fitting import Bound
from tlc.ir.lower.imports import ImportFile
from tlc.ir.lower.order import in_order
from tlc.ir.lower.signature import Symbols
from tlc.ir.lower.signature import declared as declared_type
from tlc.ir.lower.type_names import is_tensor_type, unknown_types
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
    ast.Entity: "`entity`",
    ast.Relation: "`relation`",
    ast.Rule: "a rule",
    ast.Query: "a query",
    ast.Embedding: "`embedding`",
}


def lower(
    tree: ast.Program,
    open_model: OpenModel,
    import_file: ImportFile | None = None,
    seed: Dim = SEED,
    blocks: bool = False,
    kept: frozenset[str] = frozenset(),
    open_tokenizer: OpenTokenizer | None = None,
    engine: str = "tlc",
    straight: bool = False,
) -> Lowered:
    """The IR of a program. Raises CompileError with everything that is wrong.

    `open_model(path, span)` gives the header of a model file, and `open_tokenizer` what is known of
    the tokenizer in one; both raise ModelProblem.
    `import_file(path, span)` gives the tree of the file that an `import` names, seen from the file
    that the span lies in; it raises CompileError. `seed` is what random numbers are hashed
    from: that of the run, or a number. With `blocks`, every `test` and `bench` block is an entry
    too, called `test NAME` and `bench NAME`.
    Compositions that are `kept` stay one operation (`ir/builder.py`). With the `engine` coreml,
    `predict` is left to Core ML. With `straight`, no loop whose length is known stays a loop.
    """
    program = _declarations(tree, open_model, import_file)
    program.seed, program.kept, program.open_tokenizer = seed, kept, open_tokenizer
    program.engine, program.straight = engine, straight
    problems: list[Diagnostic] = list(program.diagnostics.values())
    skipped: dict[str, str] = {}
    problems += deeply(lambda: list(_entries(program, tree, skipped, blocks)))
    program.report(problems)
    found = tuple(sorted(program.diagnostics.values(), key=partial(_order, tree.span.source)))
    if any(d.severity == "error" for d in found):
        raise CompileError(found)
    if "main" not in (func.name for func in program.module.funcs):
        raise InternalError("`main` does not compile, and nothing says why")
    return Lowered(program.module, found, program.hints, skipped)


def _order(source: Source, d: Diagnostic) -> tuple[bool, str, int]:
    """Messages about the program's own file first, each file from top to bottom."""
    if d.span is None:
        return (False, "", 0)
    return (d.span.source is not source, d.span.source.name, d.span.start)


def _entries(
    program: Program, tree: ast.Program, skipped: dict[str, str], blocks: bool
) -> Iterator[Diagnostic]:
    """Adds the functions to the module, and the reasons of those that are none; yields errors.

    A function that the program calls was checked with the types it is called with: that it does
    not compile by itself is no error then, nor that it needs to know at build what a call would
    say. One mistake is reported once, whoever comes across it.
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
    for block in program.blocks if blocks else ():
        try:
            program.module.funcs.append(_block(program, block))
        except _NoEntry as reason:
            skipped[block_name(block)] = str(reason)
        except CompileError as error:
            for d in error.diagnostics:
                if (d.code, d.span) not in reported:
                    reported.add((d.code, d.span))
                    yield d
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
        except TooDeep as error:
            failed.append((fn, error))
        except TooLong as error:
            yield from error.diagnostics
            return
        except CompileError as error:
            failed.append((fn, error))
    for fn, problem in failed:
        # what has to be known may be, where the function is called with sizes of its arguments
        if fn.name in called or all(d.code == "E0304" for d in problem.diagnostics):
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


def _declarations(
    tree: ast.Program, open_model: OpenModel, import_file: ImportFile | None
) -> Program:
    functions: dict[str, ast.Fn] = {}
    structs_: dict[str, ast.Struct] = {}
    impls: list[ast.Impl] = []
    blocks: dict[str, ast.Test | ast.Bench] = {}
    top: list[ast.Stmt | ast.TensorDecl] = []
    names: set[str] = set()
    missing: set[str] = set()
    declared = imports.collect(tree, import_file)
    problems = declared.problems
    main: ast.Main | None = None
    for item, own in declared.items:
        if type(item) in _NOT_YET:
            text = f"{_NOT_YET[type(item)]} is not supported yet"
            problems.append(Diagnostic("E0401", text, item.span))
            missing.update(_declared(item))
            continue
        match item:
            case ast.Fn(name=name):
                if name in functions:
                    first = Label(functions[name].name_span, "defined here first")
                    text = f"`{name}` is defined twice"
                    problems.append(Diagnostic("E0202", text, item.name_span, others=(first,)))
                functions[name] = item
            case ast.Struct(name=name):
                if name in structs_:
                    problems.append(structs.declared_twice(structs_[name], item))
                structs_[name] = item
            case ast.Test() | ast.Bench() if own:
                name = block_name(item)
                if name in blocks:
                    first = Label(blocks[name].span, "the first one is here")
                    text = f"`{name}` is defined twice"
                    problems.append(Diagnostic("E0202", text, item.span, others=(first,)))
                blocks[name] = item
            case ast.Impl():
                impls.append(item)
            case ast.Main() if own:
                if main is not None:
                    first = Label(main.span, "the first one is here")
                    problems.append(
                        Diagnostic("E0202", "`main` is defined twice", item.span, others=(first,))
                    )
                main = item
            case ast.Stmt() | ast.TensorDecl():
                top.append(item)
                names.update(assignment.assigned(item))
    program = Program(
        functions, top, names, open_model, structs=structs_, blocks=list(blocks.values())
    )
    program.missing = missing
    for impl in impls:
        problems += structs.declare(program, impl)
        parameters = structs.type_parameters(program, impl)
        for fn in impl.fns:
            problems += unknown_types(program, fn, parameters)
    structs.find_changing(program)
    for fn in functions.values():
        problems += unknown_types(program, fn)
    for struct in structs_.values():
        problems += unknown_types(program, struct)
    bodies: dict[str, list[ast.Fn]] = {name: [fn] for name, fn in functions.items()}
    for fn in (fn for impl in impls for fn in impl.fns):
        bodies.setdefault(fn.name, []).append(fn)
    program.top_level = in_order(top, bodies)
    program.report(problems)
    return program


def _declared(item: ast.Node) -> tuple[str, ...]:
    """The names that a declaration of logic gives a meaning."""
    match item:
        case ast.Entity(name=name, members=members):
            return (name, *members)
        case (
            ast.Relation(name=name) | ast.Embedding(name=name) | ast.Rule(head=ast.Atom(name=name))
        ):
            return (name,)
    return ()


# ---- main ----------------------------------------------------------------------------------------


def _main(program: Program, tree: ast.Program) -> Func:
    """Top-level statements in order, then `main { }`."""
    body = Block()
    top = Scope()
    cx = Context(program, Builder(body, tree.span, program.kept), top, top)
    blocks = [item.body for item in tree.body if isinstance(item, ast.Main)]
    problems: list[Diagnostic] = []
    for part in (tuple(program.top_level), *(b.body for b in blocks)):
        try:
            statements.run(cx, part)
            if cx.scope is not top:
                structs.leave(cx, None)
        except TooLong as error:
            raise TooLong([*problems, *error.diagnostics]) from None
        except CompileError as error:
            problems += error.diagnostics
        except statements.Panic:
            break
        except (statements.Return, statements.LoopExit) as exit:
            problems.append(statements.misplaced(exit))
        cx.scope = Scope(top)
    if problems:
        raise CompileError(problems)
    cx.scope = top
    structs.leave(cx, None)
    fn = program.functions.get("main")
    if fn is not None and "main" not in program.called and fn.span.source is tree.span.source:
        text = "nothing calls the function `main`"
        cx.warn("W0003", text, fn.name_span, "write `main { .. }`, or call it: `main()`")
    cx.builder.append("yield")
    return Func("main", body, [], tree.span)


# ---- tests and benchmarks ------------------------------------------------------------------------


def block_name(block: ast.Test | ast.Bench) -> str:
    """The name of the entry of a `test` or `bench` block."""
    return f"{'test' if isinstance(block, ast.Test) else 'bench'} {block.name}"


def _block(program: Program, block: ast.Test | ast.Bench) -> Func:
    top, body = Scope(), Block()
    try:
        cx = Context(program, Builder(body, block.span, program.kept), top, top, alone=True)
        results = _statements(cx, block)
    except NeedsGlobals:
        cx = _after_top_level(program, block.span)
        results = _statements(cx, block)
    cx.builder.append("yield", *results)
    return Func(block_name(block), cx.builder.block, [], block.span)


def _statements(cx: Context, block: ast.Test | ast.Bench) -> list[Value]:
    """Lowers a block. What a benchmark computes is its result, so that none of it is left out."""
    values: list[Known] = []
    try:
        with cx.inner():
            if isinstance(block, ast.Test):
                statements.body(cx, block.body.body)
                return []
            cx.builder.append("timed")
            for node in block.body.body:
                values.append(statements.run(cx, (node,)))
            structs.leave(cx, None)
            values += cx.scope.names.values()
    except statements.Panic:
        pass
    except (statements.Return, statements.LoopExit) as exit:
        raise CompileError([statements.misplaced(exit)]) from None
    parts = (part for value in values for part in composite.leaves("", value).values())
    return list(dict.fromkeys(part for part in parts if isinstance(part, Value)))


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
    bound: dict[str, Dim] = {}
    while True:
        try:
            return _entry_of_sizes(program, fn, bound)
        except Bound as found:
            bound[found.symbol] = Dim.of(found.size)


def _entry_of_sizes(program: Program, fn: ast.Fn, bound: Mapping[str, Dim]) -> Func:
    """An entry, some of whose symbols are numbers. Raises Bound when that is so of another one."""
    top, body = Scope(), Block()
    try:
        cx = Context(program, Builder(body, None, program.kept), top, top, alone=True)
        return _entry_with(cx, fn, bound)
    except NeedsGlobals:
        return _entry_with(_after_top_level(program, fn.span), fn, bound)


def _after_top_level(program: Program, span: Span) -> Context:
    """For what reads top-level names: their values are computed first, without any output."""
    body, top = Block(), Scope()
    cx = Context(program, Builder(body, span, program.kept), top, top, silent=True)
    try:
        statements.run(cx, tuple(program.top_level))
    except (CompileError, statements.Return, statements.LoopExit, statements.Panic) as error:
        raise _NoEntry("the top-level statements it needs do not compile") from error
    cx.silent = False
    return cx


def _entry_with(cx: Context, fn: ast.Fn, bound: Mapping[str, Dim]) -> Func:
    body = cx.builder.block
    scope, symbols = Scope(cx.globals), Symbols(dict(bound))
    for param in fn.params:
        assert param.type is not None
        value = Value(declared_type(cx, param.type, symbols), name=param.name)
        body.args.append(value)
        scope.names[param.name] = value
    cx.free = frozenset({*symbols.sizes, *symbols.places} - bound.keys())
    try:
        result = calls.apply(cx, fn, scope, symbols, None)
    except statements.Panic:
        raise _NoEntry("it always panics") from None
    results = list(result) if isinstance(result, tuple) else [] if result is None else [result]
    cx.builder.span = fn.name_span
    values = [_as_result(cx, fn, r) for r in results]
    cx.builder.append("yield", *values)
    return Func(fn.name, body, [p.name for p in fn.params], fn.name_span)


def _as_result(cx: Context, fn: ast.Fn, result: Known) -> Value:
    value = tensors.as_tensor(cx, result, None, fn.name_span)
    if value is None:
        raise _NoEntry(f"its result is {describe(result)}, which is not a tensor")
    return value


__all__ = ["Lowered", "lower"]
