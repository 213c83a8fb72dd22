"""Structs: literals, fields and methods, and `drop` where the scope that owns a value ends.

A struct is a value: `p.x = e` gives the name `p` a new one. What has a `drop` is owned by the name
that it was last bound to; parameters borrow, and the result of a block is handed on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tlc.frontend import ast
from tlc.frontend.diagnostics import Diagnostic, Label
from tlc.frontend.source import Span
from tlc.frontend.suggest import did_you_mean
from tlc.ir.lower import calls, expressions
from tlc.ir.lower.arguments import Argument
from tlc.ir.lower.context import Context, Program, Scope
from tlc.ir.lower.control import regions
from tlc.ir.lower.signature import Symbols
from tlc.ir.lower.type_names import known_types
from tlc.ir.lower.types import convert
from tlc.ir.lower.values import Lowered, Owner, Struct, describe


def declare(program: Program, impl: ast.Impl) -> Iterator[Diagnostic]:
    """Add the methods of an `impl`; yields what is wrong with it."""
    name = impl.type.name
    if name not in program.structs:
        text = f"`impl` of `{name}`, which is no struct of this program"
        hint = did_you_mean(name, program.structs)
        yield Diagnostic("E0201", text, impl.type.span, hint=hint)
        return
    methods = program.methods.setdefault(name, {})
    parameters = type_parameters(program, impl)
    for fn in impl.fns:
        if fn.name in methods:
            first = Label(methods[fn.name].name_span, "defined here first")
            text = f"`{name}` has two methods `{fn.name}`"
            yield Diagnostic("E0202", text, fn.name_span, others=(first,))
        methods[fn.name] = replace(fn, generics=(*fn.generics, *parameters))
        if impl.trait == "Drop" and fn.name == "drop":
            program.drops[name] = methods[fn.name]
            if [p.name for p in fn.params] != ["self"]:
                yield Diagnostic("E0203", "`drop` takes `self` and nothing else", fn.name_span)


def type_parameters(program: Program, impl: ast.Impl) -> tuple[str, ...]:
    """The names that stand for types in an `impl`: declared as in `impl<T> Box<T>`, or, where none
    is, those in `impl Box<T>` that are no types."""
    known = known_types(program)
    return impl.generics or tuple(t.name for t in impl.type.args if t.name not in known)


def declared_twice(first: ast.Struct, second: ast.Struct) -> Diagnostic:
    label = Label(first.span, "defined here first")
    return Diagnostic("E0202", f"`{second.name}` is defined twice", second.span, others=(label,))


# ---- values --------------------------------------------------------------------------------------


def find_changing(program: Program) -> None:
    """Note the methods that may give `self` another value, also by calling one that does."""
    methods = [fn for table in program.methods.values() for fn in table.values()]
    known = -1
    while len(program.changing) > known:
        known = len(program.changing)
        program.changing |= {
            fn.name
            for fn in methods
            if fn.params
            and fn.params[0].name == "self"
            and "self" in regions.assigned_inside([fn.body], program.changing)
        }


def literal(cx: Context, node: ast.StructLit) -> Struct:
    """`Point { x: 1.0, y: 2.0 }`: every field once, each of its declared type."""
    name = node.name
    if name == "Self":
        own = cx.scope.find("<Self>")
        name = own.names["<Self>"] if own is not None else name
    decl = cx.program.structs.get(name)
    if decl is None:
        hint = did_you_mean(name, cx.program.structs)
        cx.fail("E0201", f"unknown struct `{name}`", node.span, hint=hint)
    given: dict[str, Lowered] = {}
    symbols = Symbols(types=dict.fromkeys(decl.generics))
    types = {f.name: f.type for f in decl.fields}
    for arg in node.fields:
        key = arg.name or ""
        if key not in types:
            hint = did_you_mean(key, types) or f"its fields are {', '.join(types) or 'none'}"
            cx.fail("E0204", f"`{name}` has no field `{key}`", arg.span, hint=hint)
        if key in given:
            cx.fail("E0203", f"the field `{key}` is given twice", arg.span)
        value = expressions.expression(cx, arg.value)
        given[key] = checked(cx, decl, key, value, arg.value.span, symbols)
    missing = [f"`{f}`" for f in types if f not in given]
    if missing:
        cx.fail("E0203", f"`{name}` needs {' and '.join(missing)}", node.span)
    owner = Owner() if name in cx.program.drops else None
    return Struct(decl, {f: given[f] for f in types}, owner)


def checked(
    cx: Context, decl: ast.Struct, field: str, value: Lowered, span: Span, symbols: Symbols
) -> Lowered:
    """A value as the type of a field wants it."""
    (type,) = (f.type for f in decl.fields if f.name == field)
    if type is None:
        return value
    return convert(cx, type, value, span, f"`{field}` of `{decl.name}`", symbols)


def field(cx: Context, value: Struct, node: ast.Attribute) -> Lowered:
    """`p.x`. Reports an unknown one."""
    if node.name in value.fields:
        return value.fields[node.name]
    if node.name in cx.program.methods.get(value.decl.name, ()):
        hint = f"`{node.name}` is a method; call it: `.{node.name}(...)`"
    else:
        hint = did_you_mean(node.name, value.fields)
        hint = hint or f"its fields are {', '.join(value.fields) or 'none'}"
    text = f"`{describe(value)}` has no field `{node.name}`"
    cx.fail("E0204", text, node.name_span, hint=hint)


def instead(cx: Context, callee: ast.Expr, receiver: Lowered) -> str:
    """A hint for a call of something that a struct does not have."""
    structs, methods = cx.program.structs, cx.program.methods
    match callee:
        case ast.Attribute(name=name) if isinstance(receiver, Struct):
            return did_you_mean(name, methods.get(receiver.decl.name, ()))
        case ast.Path(parts=(owner, name)) if owner in structs:
            return did_you_mean(name, methods.get(owner, ()))
        case ast.Path(parts=(owner, _)):
            return did_you_mean(owner, structs)
    return ""


def method(cx: Context, value: Lowered, name: str) -> ast.Fn | None:
    """The method of that name, when the value is a struct that has it."""
    if not isinstance(value, Struct):
        return None
    return cx.program.methods.get(value.decl.name, {}).get(name)


def associated(cx: Context, parts: tuple[str, ...]) -> tuple[str, ast.Fn] | None:
    """`Point::new`: the struct's name and the function; None when the path names no struct."""
    if len(parts) != 2:
        return None
    owner, name = parts
    if owner == "Self":
        own = cx.scope.find("<Self>")
        owner = own.names["<Self>"] if own is not None else owner
    fn = cx.program.methods.get(owner, {}).get(name)
    return None if fn is None else (owner, fn)


# ---- drop ----------------------------------------------------------------------------------------


def owners(value: Lowered) -> Iterator[Struct]:
    """The structs in a value that have a `drop`, outer ones before those in their fields."""
    match value:
        case Struct(fields=fields, owner=owner):
            if owner is not None:
                yield value
            for part in fields.values():
                yield from owners(part)
        case list() | tuple():
            for part in value:
                yield from owners(part)


def bound(cx: Context, scope: Scope, name: str) -> None:
    """A name got a value: it owns what is in it; what it owned before and holds no more goes."""
    if not cx.program.drops or cx.skipping:
        return
    held = list(owners(scope.names[name]))
    tokens = [s.owner for s in held]
    gone = [s for n, s in scope.owned if n == name and s.owner not in tokens]
    scope.owned = [(n, s) for n, s in scope.owned if not (n == name and s in gone)]
    for value in gone:
        _drop(cx, value)
    for value in held:
        assert value.owner is not None
        lender = next(
            (s for s in cx.scope.outwards() if any(v.owner is value.owner for _, v in s.owned)),
            None,
        )
        if lender is None and value.owner.taken:
            continue  # a caller owns it
        if lender is not None:
            lender.owned = [(n, s) for n, s in lender.owned if s.owner is not value.owner]
        value.owner.taken = True
        scope.owned.append((name, value))


def leave(cx: Context, result: Lowered) -> None:
    """The end of a scope: `drop` of what it owns, last first, except what is in its result."""
    scope = cx.scope
    kept = [s.owner for s in owners(result)]
    # the parts of one name go from the outside in, as they were noted
    names = list(dict.fromkeys(name for name, _ in reversed(scope.owned)))
    owned, scope.owned = scope.owned, []
    for name in names:
        now = {s.owner: s for s in owners(scope.names.get(name))}
        for _, value in (pair for pair in owned if pair[0] == name):
            assert value.owner is not None
            value.owner.taken = False
            if value.owner not in kept:
                _drop(cx, now.get(value.owner, value))


def _drop(cx: Context, value: Struct) -> None:
    fn = cx.program.drops[value.decl.name]
    borrowed = Struct(value.decl, value.fields, None)
    calls.invoke(cx, fn, [Argument(borrowed, fn.name_span)], fn.name_span, value.decl.name)
