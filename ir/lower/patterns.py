"""`match`: the first arm that fits, found at build where the value is known, else at run time."""

from __future__ import annotations

from collections.abc import Callable

from tlc.frontend import ast
from tlc.frontend.suggest import did_you_mean
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import expressions, operators, reading
from tlc.ir.lower.context import Context, Scope
from tlc.ir.lower.control import regions
from tlc.ir.lower.values import Flag, Lowered, Struct, describe, first_piece

Names = dict[str, Lowered]


def match(cx: Context, node: ast.Match, is_statement: bool = False) -> Lowered:
    """The value of the arm that fits. Reports values that no arm covers.

    In a statement arms are statements, too: `_ => v.push(x)` gives `v` its new value.
    """
    subject = first_piece(expressions.expression(cx, node.subject))
    if isinstance(subject, Value) and subject.tensor.dtype in ("i32", "bool"):
        subject = reading.on_host(cx, subject, node.subject.span)
    if not _exhaustive(node.arms):
        cx.fail(
            "E0302",
            "this `match` does not cover every value",
            node.span,
            hint="a last arm `_ => ...` takes what is left",
        )
    arms = tuple(map(_as_statement, node.arms)) if is_statement else node.arms
    return _arms(cx, node, subject, arms)


def _as_statement(arm: ast.Arm) -> ast.Arm:
    if not isinstance(arm.body, ast.Call | ast.Match | ast.IfExpr):
        return arm
    line = ast.ExprStmt(arm.body.span, arm.body)
    body = ast.BlockExpr(line.span, ast.Block(line.span, (line,)))
    return ast.Arm(arm.span, arm.pattern, arm.guard, body)


def _arms(cx: Context, node: ast.Match, subject: Lowered, arms: tuple[ast.Arm, ...]) -> Lowered:
    for at, arm in enumerate(arms):
        names: Names = {}
        test = _test(cx, node, arm.pattern, subject, names)
        if test is not False and arm.guard is not None:
            with cx.inner(_named(cx, names)):
                guard = expressions.condition(cx, arm.guard)
            test = guard if test is True else test if guard is True else guard and test * guard
        if test is False:
            continue
        rest = arms[at + 1 :]
        if test is True or (not rest and arm.guard is None):
            return _body(cx, arm, names)()
        assert isinstance(test, Dim)
        others = tuple(other.body for other in rest)
        branches = (_body(cx, arm, names), lambda rest=rest: _arms(cx, node, subject, rest))
        return regions.choose(cx, test, branches, ((arm.body,), others), arm.span)
    return None


def _body(cx: Context, arm: ast.Arm, names: Names) -> Callable[[], Lowered]:
    def run() -> Lowered:
        with cx.inner(_named(cx, names)):
            return expressions.expression(cx, arm.body)

    return run


def _named(cx: Context, names: Names) -> Scope:
    scope = Scope(cx.scope)
    scope.names.update(names)
    return scope


def _test(
    cx: Context, node: ast.Match, pattern: ast.Pattern, subject: Lowered, names: Names
) -> bool | Dim:
    """Whether a value fits a pattern, as far as the build knows; adds the names it binds."""
    match pattern.kind:
        case "any":
            return True
        case "bind":
            names[pattern.name] = subject
            return True
        case "or":
            return _either(cx, node, pattern, subject, names)
        case "struct":
            return _struct(cx, node, pattern, subject, names)
        case "tuple":
            return _tuple(cx, node, pattern, subject, names)
    assert pattern.value is not None
    if isinstance(subject, Flag):
        if not isinstance(pattern.value, ast.Bool):
            cx.fail("E0302", f"{describe(subject)} is matched here", pattern.span)
        return subject.dim if pattern.value.value else 1 - subject.dim
    value = expressions.expression(cx, pattern.value)
    equal = ast.Binary(pattern.span, "==", node.subject, pattern.value)
    found = operators.binary(cx, "==", subject, value, equal)
    if isinstance(found, Value):
        found = reading.on_host(cx, found, pattern.span)
    return found.dim if isinstance(found, Flag) else bool(found)


def _either(
    cx: Context, node: ast.Match, pattern: ast.Pattern, subject: Lowered, names: Names
) -> bool | Dim:
    """Alternatives: the first that fits; together the opposite of none, when run time decides."""
    none_fits: Dim | None = None
    for part in pattern.parts:
        bound: Names = {}
        found = _test(cx, node, part, subject, bound)
        if found is False:
            continue
        if bound and (none_fits is not None or found is not True):
            cx.unsupported("a name in an alternative that only run time chooses", part.span)
        if found is True:
            names.update(bound)
            return True
        fails = 1 - found
        none_fits = fails if none_fits is None else none_fits * fails
    return False if none_fits is None else 1 - none_fits


def _struct(
    cx: Context, node: ast.Match, pattern: ast.Pattern, subject: Lowered, names: Names
) -> bool | Dim:
    """`Point { x: 0, y }`: every field that it names fits."""
    if not isinstance(subject, Struct) or subject.decl.name != pattern.name:
        text = f"`{pattern.name}` is matched here, and this is {describe(subject)}"
        cx.fail("E0302", text, pattern.span)
    parts = []
    for part in pattern.parts:
        if part.name not in subject.fields:
            hint = did_you_mean(part.name, subject.fields)
            text = f"`{pattern.name}` has no field `{part.name}`"
            cx.fail("E0204", text, part.span, hint=hint)
        parts.append((part.parts[0], subject.fields[part.name]))
    return _all(cx, node, parts, names)


def _tuple(
    cx: Context, node: ast.Match, pattern: ast.Pattern, subject: Lowered, names: Names
) -> bool | Dim:
    """`(0, y)`: every part fits."""
    if not isinstance(subject, tuple) or len(subject) != len(pattern.parts):
        text = f"a tuple of {len(pattern.parts)} is matched here, and this is {describe(subject)}"
        cx.fail("E0302", text, pattern.span)
    return _all(cx, node, list(zip(pattern.parts, subject, strict=True)), names)


def _all(
    cx: Context, node: ast.Match, parts: list[tuple[ast.Pattern, Lowered]], names: Names
) -> bool | Dim:
    total: bool | Dim = True
    for pattern, subject in parts:
        found = _test(cx, node, pattern, subject, names)
        if found is False:
            return False
        if found is not True:
            total = found if total is True else total * found
    return total


# ---- what the arms cover -------------------------------------------------------------------------


def _exhaustive(arms: tuple[ast.Arm, ...]) -> bool:
    """Whether some arm fits whatever the value is: one without condition, or `true` and `false`."""
    patterns = [arm.pattern for arm in arms if arm.guard is None]
    return any(map(_fits_all, patterns)) or _both_truths(patterns)


def _fits_all(pattern: ast.Pattern) -> bool:
    match pattern.kind:
        case "any" | "bind":
            return True
        case "or":
            return any(map(_fits_all, pattern.parts)) or _both_truths(list(pattern.parts))
        case "struct" | "field" | "tuple":
            return all(map(_fits_all, pattern.parts))
    return False


def _both_truths(patterns: list[ast.Pattern]) -> bool:
    literals = [p for part in patterns for p in (part.parts if part.kind == "or" else (part,))]
    return {p.value.value for p in literals if isinstance(p.value, ast.Bool)} == {True, False}
