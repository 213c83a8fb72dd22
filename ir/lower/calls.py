"""Calls: of the program's functions, lowered in place, and of builtins, from the op registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from tlc.frontend import ast
from tlc.frontend.diagnostics import CompileError, Label
from tlc.frontend.source import Span
from tlc.frontend.suggest import did_you_mean
from tlc.ir.builder import broadcast_shape
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import (
    composite,
    elsewhere,
    expressions,
    indexing,
    operators,
    reading,
    statements,
    structs,
    tensors,
)
from tlc.ir.lower.context import MAX_CALLS, MAX_LATE_CALLS, Context, Scope, TooDeep
from tlc.ir.lower.types import Symbols, bind, convert, is_tensor_type, unify
from tlc.ir.lower.values import Flag, Lowered, Text, describe, is_number, tell, whole
from tlc.ir.opdef import BUILTINS, TENSORS, OpDef, Param, TypeRuleError, show_params
from tlc.ir.types import FLOATS


@dataclass(frozen=True, slots=True)
class Argument:
    """An evaluated argument; `name` is set when it was given by name."""

    value: Lowered
    span: Span
    name: str | None = None


def call(cx: Context, node: ast.Call, behind: dict[str, Lowered] | None = None) -> Lowered:
    """`f(a)`, `x.f(a)` (which is `f(x, a)`) and `f16::zeros(a)`. What the parameters of a method
    are when it ends is written into `behind`."""
    from tlc.ir.lower import older
    from tlc.ir.lower.builtins import SPECIAL

    match node.callee:
        case ast.Name(id=name, span=at):
            first: list[Argument] = []
        case ast.Attribute(value=receiver, name=name, name_span=at):
            value = expressions.expression(cx, receiver)
            first = [Argument(value, receiver.span)]
            fn = structs.method(cx, value, name)
            if fn is not None:
                given = first + _arguments(cx, node)
                return invoke(cx, fn, given, node.span, value.decl.name, node.type_args, behind)
        case ast.Path(parts=parts, span=at):
            name, first = "::".join(parts), []
            found = structs.associated(cx, parts)
            if found is not None:
                return invoke(cx, found[1], _arguments(cx, node), node.span, found[0])
        case other:
            cx.fail("E0302", "this cannot be called", other.span)
    if name in cx.program.functions:
        fn = cx.program.functions[name]
        cx.program.called.add(name)
        return invoke(cx, fn, first + _arguments(cx, node), node.span, "", node.type_args)
    name = older.current(name)
    if node.type_args and (name != "tensor" or len(node.type_args) != 1):
        hint = f"write `f32::{name}(...)` for float32" if f"f32::{name}" in SPECIAL else ""
        cx.unsupported(f"`{name}` with type arguments", at, hint)
    if name in SPECIAL:
        return SPECIAL[name](cx, node, first)
    if name in BUILTINS:
        return builtin(cx, BUILTINS[name], name, first + _arguments(cx, node), node.span)
    if name in cx.program.missing:
        raise CompileError([])
    if name in _LATER:
        cx.unsupported(f"`{name}`", at)
    if name in cx.program.structs:
        hint = f"a struct is made with its fields: `{name} {{ .. }}`"
        cx.fail("E0302", f"`{name}` is a struct, and no function", at, hint=hint)
    known = cx.program.functions.keys() | SPECIAL.keys() | BUILTINS.keys()
    what = "method" if first else "function"
    hint = structs.instead(cx, node.callee, first[0].value if first else None)
    hint = hint or did_you_mean(name, known)
    if name in elsewhere.FUNCTIONS:
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


def _arguments(cx: Context, node: ast.Call) -> list[Argument]:
    return [Argument(expressions.expression(cx, a.value), a.span, a.name) for a in node.args]


def place(
    cx: Context,
    params: Sequence[Param],
    args: Sequence[Argument],
    what: str,
    span: Span,
    declared: Sequence[Label] = (),
    hint: str = "",
) -> dict[str, Argument]:
    """Arguments by parameter name. Reports too many, unknown, repeated and missing ones.

    `declared` and `hint` show what is called, to whoever called it wrongly.
    """
    placed: dict[str, Argument] = {}
    names = [p.name for p in params]
    positional = iter(names)
    for arg in args:
        name = arg.name or next(positional, None)
        if name not in names and _NUMPY.get(name or "") in names:
            name = _NUMPY[name or ""]
        if name is None:
            cx.fail(
                "E0203",
                f"{what} takes {_count(len(names))}, and {_given(len(args))}",
                arg.span,
                "this one is too many",
                declared,
                hint,
            )
        if name not in names:
            near = did_you_mean(name, names) or hint
            text = f"{what} has no parameter `{name}`"
            cx.fail("E0203", text, arg.span, others=declared, hint=near)
        if name in placed:
            first = Label(placed[name].span, "given here first")
            cx.fail("E0203", f"`{name}` is given twice", arg.span, others=[first])
        placed[name] = arg
    missing = [p.name for p in params if p.default is None and p.name not in placed]
    if missing:
        listed = " and ".join(f"`{m}`" for m in missing)
        cx.fail("E0203", f"{what} needs {listed}", span, others=declared, hint=hint)
    return placed


# names of parameters in NumPy
_NUMPY = {"axis": "dim", "keepdims": "keepdim"}


def _given(n: int) -> str:
    return "one is given" if n == 1 else f"{n} are given"


def _count(n: int) -> str:
    return "no arguments" if n == 0 else "one argument" if n == 1 else f"{n} arguments"


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
    late = cx.undecided and sum(depth > 0 for _, depth in cx.entered)
    for nested, most in ((len(cx.calls), MAX_CALLS), (late, MAX_LATE_CALLS)):
        if nested >= most:
            _too_deep(cx, f"calls of `{fn.name}` are nested more than {most} deep", span)
    if len(type_args) > len(fn.generics):
        count = len(fn.generics)
        text = f"`{fn.name}` has {count} type parameter{'s' * (count != 1)}"
        cx.fail("E0203", f"{text}, and {_given(len(type_args))}", type_args[-1].span)
    params = [Param(p.name) for p in fn.params]
    head = fn.name_span.to(fn.params[-1].span) if fn.params else fn.name_span
    placed = place(cx, params, args, f"`{fn.name}`", span, [Label(head, "declared here")])
    scope, symbols = Scope(cx.globals), Symbols(types=dict.fromkeys(fn.generics))
    symbols.types.update(zip(fn.generics, (t.name for t in type_args), strict=False))
    if owner:
        symbols.types.update(dict.fromkeys(cx.program.structs[owner].generics))
        symbols.types["Self"] = owner
    for param in fn.params:
        bind(param.type, placed[param.name].value, placed[param.name].span, symbols)
    for param in fn.params:
        arg = placed[param.name]
        value = arg.value
        if param.type is not None:
            value = convert(cx, param.type, value, arg.span, f"`{param.name}`", symbols)
        scope.names[param.name] = value
    state = (fn.name, tuple(map(_known_part, scope.names.values())))
    if any(cx.undecided > depth and outer == state for outer, depth in cx.entered):
        text = f"the recursion of `{fn.name}` ends on what only run time knows"
        cx.fail("E0304", text, span, hint="go round in a `while` or `loop`: run time can end these")
    cx.entered.append((state, cx.undecided))
    try:
        return apply(cx, fn, scope, symbols, span)
    except RecursionError:
        pass
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


def _known_part(value: Lowered) -> object:
    """What the build knows of an argument: when a call within a call knows the same, and a branch
    between them was left to the run, then the build never finds an end."""
    if isinstance(value, Value):
        return value.type
    if composite.is_composite(value):
        return tuple(map(_known_part, composite.leaves("", value).values()))
    number = whole(value)
    if isinstance(number, Dim) or isinstance(value, Flag | Text):
        return type(value)
    return value if isinstance(value, int | float | str) else id(value)


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


# ---- builtins ------------------------------------------------------------------------------------


def call_form(name: str, params: Sequence[Param]) -> str:
    """A hint: how a builtin is called."""
    lists = {"shape": "[2, 3]", "axes": "[1, 0]"}
    listed = "".join(f", with {p.name} as `{lists[p.name]}`" for p in params if p.name in lists)
    return f"it is `{show_params(name, params)}`{listed}"


def builtin(cx: Context, op: OpDef, name: str, args: list[Argument], span: Span) -> Lowered:
    """A builtin of the registry: arguments are checked and handed on as its record says.

    An elementwise function of plain numbers is a plain number, computed at once.
    """
    form = call_form(name, op.params)
    placed = place(cx, op.params, args, f"`{name}`", span, hint=form)
    given = [placed[p.name] for p in op.params if p.kind in TENSORS and p.name in placed]
    if op.elementwise and all(is_number(arg.value) for arg in given):
        from tlc.ir.interp import on_numbers

        return on_numbers(op, [arg.value for arg in given])
    like = model_of_numbers(given)
    operands: list[Value] = []
    attrs: dict[str, object] = {}
    for param in op.params:
        arg = placed.get(param.name)
        if param.kind in TENSORS:
            if arg is not None:
                value = (
                    indexing.index_tensor(cx, arg.value, arg.span)
                    if param.kind == "tensor_i32"
                    else tensors.as_tensor(cx, arg.value, like, arg.span)
                )
                if value is not None and op.elementwise and op.name != "where":
                    value = operators.measured(cx, value)
                operands.append(_wrong(cx, name, param, arg) if value is None else value)
        else:
            attrs[param.name] = _default(param) if arg is None else _known(cx, name, param, arg)
    places = [arg.span for arg in given]
    if op.elementwise and len(operands) > 1:
        return _elementwise(cx, op, operands, span, places)
    return cx.emit(op, *operands, span=span, places=places, **attrs)


def model_of_numbers(args: Sequence[Argument]) -> Value | None:
    """The operand whose dtype numbers among the arguments get: a floating-point one, if any, and a
    mask only where all are masks."""
    values = [arg.value for arg in args if isinstance(arg.value, Value)]
    floats = [v for v in values if v.tensor.dtype in FLOATS]
    numbers = [v for v in values if v.tensor.dtype != "bool"]
    return next(iter(floats or numbers or values), None)


def _default(param: Param) -> object:
    """The value of a parameter that is left out."""
    text = param.default or "none"
    match param.kind:
        case _ if text == "none":
            return None
        case "float":
            return float(text)
        case "bool":
            return text == "true"
        case "axis" | "int":
            return int(text)
        case "pair":
            return (int(text), int(text))
    return text


def _elementwise(
    cx: Context, op: OpDef, operands: list[Value], span: Span, places: list[Span]
) -> Value:
    if op.name != "where" or operands[0].tensor.dtype != "bool":
        return operators.elementwise(cx, op.name, operands, span, tuple(places))
    cx.builder.span = span
    try:
        shape = broadcast_shape([v.tensor.shape for v in operands])
    except TypeRuleError as problem:
        cx.refuse(problem, span, operands, places)
    a, b = cx.builder.together(*operands[1:])
    parts = [cx.builder.broadcast(v, shape) for v in (operands[0], a, b)]
    return operators.narrowed(cx, cx.emit(op, *parts, span=span, places=places), operands[1:])


def _known(cx: Context, name: str, param: Param, arg: Argument) -> object:
    """An argument that is known at build, as its kind wants it."""
    value = arg.value
    match param.kind:
        case "axis" | "int":
            number = whole(value)
            if isinstance(number, int):
                return number
        case "dim":
            number = reading.count(cx, value, arg.span)
            if number is not None:
                return Dim.of(number)
        case "float":
            if is_number(value):
                return float(value)
        case "bool":
            if isinstance(value, bool):
                return value
        case "str":
            if isinstance(value, str):
                return value
        case "axes":
            numbers = [whole(v) for v in value] if isinstance(value, list) else [None]
            if all(isinstance(n, int) for n in numbers):
                return tuple(numbers)
        case "pair":
            both = value if isinstance(value, list) else [value, value]
            numbers = [whole(v) for v in both]
            if len(numbers) == 2 and all(isinstance(n, int) for n in numbers):
                return tuple(numbers)
        case "shape":
            return shape_of(cx, value, arg.span)
    _wrong(cx, name, param, arg)


def _wrong(cx: Context, name: str, param: Param, arg: Argument) -> NoReturn:
    wanted = {"tensor": "a tensor", "tensor_i32": "an index tensor", "axis": "an axis",
              "int": "a whole number", "dim": "a size", "float": "a number",
              "bool": "true or false", "str": "a string", "axes": "a list of axes",
              "pair": "a whole number or two"}.get(param.kind, param.kind)  # fmt: skip
    code, late = "E0302", ""
    if isinstance(arg.value, Value | Dim) and param.kind not in TENSORS:
        code, late = "E0304", ", known at build"
    elif isinstance(arg.value, float):
        code = "E0303"  # a fraction where a whole number is wanted
    cx.fail(
        code,
        f"`{param.name}` of `{name}` is {wanted}{late}, and this is {tell(arg.value)}",
        arg.span,
    )


def shape_of(cx: Context, value: Lowered, span: Span) -> tuple[Dim, ...]:
    """A list of sizes, or the one size of a list; integral floats are sizes too."""
    if reading.count(cx, value, span) is not None:
        value = [value]
    if not isinstance(value, list | tuple):
        cx.fail("E0303", f"a shape is a list of sizes, and this is {tell(value)}", span)
    sizes: list[Dim] = []
    for item in value:
        number = reading.count(cx, item, span)
        if number is None or (isinstance(number, int) and number < 0):
            held = tell(item)
            code = "E0304" if isinstance(item, Value) else "E0303"
            cx.fail(code, f"a shape is a list of sizes, and this has {held}", span)
        sizes.append(Dim.of(number))
    return tuple(sizes)


__all__ = [
    "Argument",
    "apply",
    "builtin",
    "call",
    "invoke",
    "model_of_numbers",
    "place",
    "shape_of",
]
