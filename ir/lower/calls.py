"""Calls: of the program's functions, lowered in place, and of builtins, from the op registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from tlc.frontend import ast
from tlc.frontend.diagnostics import CompileError, Label
from tlc.frontend.source import Span
from tlc.frontend.suggest import did_you_mean
from tlc.ir.core import Value
from tlc.ir.lower import (
    elsewhere,
    expressions,
    statements,
    structs,
)
from tlc.ir.lower.arguments import Argument, evaluated, given, place
from tlc.ir.lower.builtins import older, registry, table
from tlc.ir.lower.context import MAX_CALLS, MAX_LATE_CALLS, Context, Entered, Scope, TooDeep
from tlc.ir.lower.control import recursion
from tlc.ir.lower.signature import Symbols, bind, unify
from tlc.ir.lower.type_names import is_tensor_type
from tlc.ir.lower.types import convert
from tlc.ir.lower.values import Lowered, Text, describe
from tlc.ir.opdef import BUILTINS, Param

RECEIVER = "<receiver>"  # no name of a program has brackets


def call(cx: Context, node: ast.Call, behind: dict[str, Lowered] | None = None) -> Lowered:
    """`f(a)`, `x.f(a)` (which is `f(x, a)`) and `f16::zeros(a)`. What the parameters of a method
    are when it ends is written into `behind`, and under `RECEIVER` what it was called on."""
    match node.callee:
        case ast.Name(id=name, span=at):
            first: list[Argument] = []
        case ast.Attribute(value=receiver, name=name, name_span=at):
            value = expressions.expression(cx, receiver)
            first = [Argument(value, receiver.span)]
            fn = structs.method(cx, value, name)
            if fn is not None:
                if behind is not None:
                    behind[RECEIVER] = value
                given = first + evaluated(cx, node)
                return invoke(cx, fn, given, node.span, value.decl.name, node.type_args, behind)
        case ast.Path(parts=parts, span=at):
            name, first = "::".join(parts), []
            found = structs.associated(cx, parts)
            if found is not None:
                return invoke(cx, found[1], evaluated(cx, node), node.span, found[0])
        case other:
            cx.fail("E0302", "this cannot be called", other.span)
    if name in cx.program.functions:
        fn = cx.program.functions[name]
        cx.program.called.add(name)
        return invoke(cx, fn, first + evaluated(cx, node), node.span, "", node.type_args)
    name = older.current(name)
    if node.type_args and (name != "tensor" or len(node.type_args) != 1):
        hint = f"write `f32::{name}(...)` for float32" if f"f32::{name}" in table.SPECIAL else ""
        cx.unsupported(f"`{name}` with type arguments", at, hint)
    if name in table.SPECIAL:
        return table.SPECIAL[name](cx, node, first)
    if name in BUILTINS:
        return registry.builtin(cx, BUILTINS[name], name, first + evaluated(cx, node), node.span)
    if name in cx.program.missing:
        raise CompileError([])
    if name in _LATER:
        cx.unsupported(f"`{name}`", at)
    if name in cx.program.structs:
        hint = f"a struct is made with its fields: `{name} {{ .. }}`"
        cx.fail("E0302", f"`{name}` is a struct, and no function", at, hint=hint)
    known = cx.program.functions.keys() | table.SPECIAL.keys() | BUILTINS.keys()
    what = "method" if first else "function"
    hint = structs.instead(cx, node.callee, first[0].value if first else None)
    hint = hint or did_you_mean(name, known)
    if first and isinstance(first[0].value, str | Text):
        hint = elsewhere.for_string(name)
    elif name in elsewhere.FUNCTIONS:
        hint = f"here that is {elsewhere.FUNCTIONS[name]}"
    scope = None if first else cx.scope.find(name)
    if scope is not None:
        cx.fail("E0302", f"`{name}` is {describe(scope.names[name])}, and no function", at)
    cx.fail("E0201", f"unknown {what} `{name}`", at, hint=hint)


# fmt: off
# builtins of the language that have no operation behind them yet
_LATER = frozenset((
    "learnable", "backward", "sgd", "adam", "adamw", "clip_grad_norm", "set_lr",
    "entity_onehot", "entity_dim", "transe_score", "distmult_score", "complex_score",
    "margin_ranking_loss", "binary_cross_entropy", "predict_tail_transe",
    "predict_tail_distmult", "predict_tail_complex", "predict_head_transe",
    "predict_head_distmult", "predict_head_complex", "compute_rank", "compute_mrr",
    "compute_hits_at_k", "compute_mean_rank", "relational_aggregate",
))
# fmt: on


# ---- functions of the program --------------------------------------------------------------------


def invoke(
    cx: Context,
    fn: ast.Fn,
    args: list[Argument],
    span: Span,
    owner: str = "",
    type_args: Sequence[ast.TypeExpr] = (),
    behind: dict[str, Lowered] | None = None,
) -> Lowered:
    """A function's body with its parameters bound, lowered where it is called.

    `owner` is the struct that it is a method of, `behind` gets its names as they are when it ends.
    """
    cx.step(span)
    if cx.skipping and any(name == fn.name for name, _ in cx.calls):
        raise CompileError([])  # a recursion in code that never runs: nothing can be said
    if len(cx.calls) >= MAX_CALLS:
        _too_deep(cx, f"calls of `{fn.name}` are nested more than {MAX_CALLS} deep", span)
    if len(type_args) > len(fn.generics):
        count = len(fn.generics)
        text = f"`{fn.name}` has {count} type parameter{'s' * (count != 1)}"
        cx.fail("E0203", f"{text}, and {given(len(type_args))}", type_args[-1].span)
    params = [Param(p.name) for p in fn.params]
    head = fn.name_span.to(fn.params[-1].span) if fn.params else fn.name_span
    placed = place(cx, params, args, f"`{fn.name}`", span, [Label(head, "declared here")])

    def bound(values: Mapping[str, Lowered]) -> tuple[Scope, Symbols]:
        """The parameters, converted to their types, and what symbols stand for."""
        scope, symbols = Scope(cx.globals), Symbols(types=dict.fromkeys(fn.generics))
        symbols.types.update(zip(fn.generics, (t.name for t in type_args), strict=False))
        if owner:
            symbols.types.update(dict.fromkeys(cx.program.structs[owner].generics))
            symbols.types["Self"] = owner
        for param in fn.params:
            bind(param, values[param.name], placed[param.name].span, symbols)
        for param in fn.params:
            value, at = values[param.name], placed[param.name].span
            if param.type is not None:
                value = convert(cx, param.type, value, at, f"`{param.name}`", symbols)
            scope.names[param.name] = value
        return scope, symbols

    scope, symbols = bound({name: arg.value for name, arg in placed.items()})
    mine = dict(scope.names)
    changes = fn.name in cx.program.changing and "self" in mine

    def handed_back(found: Lowered) -> Lowered:
        """The value of a call of a recursion, which hands back its `self` beside it."""
        if not changes:
            return found
        value, scope.names["self"] = found
        return value

    known = recursion.around(cx, fn, mine)
    if known is not None:
        value = handed_back(recursion.called(cx, known, mine, span))
        if behind is not None:
            behind.update(scope.names)
        return value
    entered = Entered(fn, mine, tuple(map(recursion.known_part, mine.values())), cx.undecided)
    late = bool(cx.undecided) and sum(e.undecided > 0 for e in cx.entered) >= MAX_LATE_CALLS
    recursion.look_out(cx, entered, late)
    if late:
        text = f"calls of `{fn.name}` are nested more than {MAX_LATE_CALLS} deep"
        _too_deep(cx, f"{text}, below a branch that only run time decides", span)
    at, start = len(cx.entered), len(cx.builder.block.ops)
    around = dict(cx.globals.names)
    cx.entered.append(entered)
    try:
        return apply(cx, fn, scope, symbols, span)
    except RecursionError:
        pass
    except recursion.Endless as found:
        if found.at != at:
            raise
        del cx.builder.block.ops[start:]
        cx.globals.names = around

        def body(values: dict[str, Lowered]) -> Lowered:
            inside, symbols = bound(values)
            value = apply(cx, fn, inside, symbols, span)
            return (value, inside.names["self"]) if changes else value

        return handed_back(recursion.lowered(cx, entered, found, body, span))
    finally:
        cx.entered.pop()
        if behind is not None:
            behind.update(scope.names)
    _too_deep(cx, f"calls of `{fn.name}` are nested too deep", span)


def _too_deep(cx: Context, text: str, span: Span) -> NoReturn:
    try:
        cx.fail(
            "E0304", text, span, hint="a recursion has to end on a condition that is known at build"
        )
    except CompileError as problem:
        raise TooDeep(problem.diagnostics) from None


def apply(cx: Context, fn: ast.Fn, scope: Scope, symbols: Symbols, span: Span | None) -> Lowered:
    """The body of a function in a scope that has its parameters; checks the declared result.

    `span` is the place of the call, and None where the function is an entry.
    """
    for name, size in symbols.sizes.items():
        scope.names.setdefault(name, int(size) if size.is_static else size)
    scope.names.update((f"<{n}>", type) for n, type in symbols.types.items() if type is not None)
    cx.calls.append((fn.name, span))
    try:
        with cx.inner(scope):
            scope.tail = True
            try:
                value, at = statements.body(cx, fn.body.body), _last(fn)
            except statements.Return as found:
                value, at = found.value, found.span
            except statements.LoopExit as exit:
                raise CompileError([statements.misplaced(exit)]) from None
        if fn.result is None:
            return value
        plain = fn.result.name not in symbols.types
        if isinstance(value, Value) and is_tensor_type(fn.result) and plain:
            unify(cx, fn.result, value, at, f"the result of `{fn.name}`", symbols)
            return value
        return convert(cx, fn.result, value, at, f"the result of `{fn.name}`", symbols)
    finally:
        cx.calls.pop()


def _last(fn: ast.Fn) -> Span:
    return fn.body.body[-1].span if fn.body.body else fn.name_span
