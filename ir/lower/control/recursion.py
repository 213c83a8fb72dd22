"""A recursion that only run time can end, to one function of the IR and calls of it.

The build follows a recursion call by call as long as it knows more in each. A call below a branch
of run time that knows what a call around it knew (or the hundredth in a row) would be followed for
ever: then the call around it becomes a `function`, found by trying. What it changes of the names
around it, and what it gives, is known only once it is lowered; the first try takes calls of itself
for what does not come back, so that the other ways through it say what it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Block, Op, Value
from tlc.ir.dims import Dim
from tlc.ir.lower import composite, statements
from tlc.ir.lower.context import Context, Entered, where
from tlc.ir.lower.control import growing
from tlc.ir.lower.control.handed import host_number
from tlc.ir.lower.control.recursive import FRACTION, RESULT, Again, Recursion, known_part
from tlc.ir.lower.values import Lowered, Text, is_number
from tlc.ir.opdef import OPS

MOST_TRIES = 64
NONE: Mapping[str, Lowered] = {}


class Endless(Exception):
    """The call at a place in `cx.entered` calls itself, knowing no more than it did: only run time
    can end that. `wide` are the parts of its parameters that differ from call to call, `grown` the
    arrays in them that get longer, with the layout of their elements."""

    def __init__(
        self, at: int, wide: frozenset[str] = frozenset(), grown: Mapping[str, Lowered] = NONE
    ) -> None:
        self.at, self.wide, self.grown = at, wide, grown


def around(cx: Context, fn: ast.Fn, params: Mapping[str, Lowered]) -> Recursion | None:
    """The innermost function being lowered that a call may be one of."""
    return next((made for made in reversed(cx.recursions) if made.fits(fn, params)), None)


def look_out(cx: Context, call: Entered, late: bool) -> None:
    """Raises Endless when a call around this one knew as much; with `late`, also when one knew
    other numbers or sizes."""
    for at, outer in enumerate(cx.entered):
        if outer.fn is not call.fn or cx.undecided <= outer.undecided:
            continue
        if outer.known == call.known:
            raise Endless(at)
        found = _differing(outer.params, call.params) if late else None
        if found is not None:
            raise Endless(at, *found)


def _differing(
    mine: Mapping[str, Lowered], other: Mapping[str, Lowered]
) -> tuple[frozenset[str], dict[str, Lowered]] | None:
    """The parts of parameters that differ in a number or in sizes, and the arrays that differ in
    length; None where more does."""
    grown = growing.all_grown(mine, other)
    if grown is None:
        return None
    before, after = composite.flat(mine), composite.flat(other)
    same = {p: v for p, v in before.items() if not any(p.startswith(a + "[") for a in grown)}
    wide = {p for p, v in same.items() if p in after and known_part(v) != known_part(after[p])}
    alike = all(_alike(before[p], after[p]) for p in wide)
    return (frozenset(wide), grown) if alike else None


def _alike(a: Lowered, b: Lowered) -> bool:
    """Whether run time can hand on one where it handed on the other."""
    match a, b:
        case Value(), Value():
            return (a.tensor.dtype, a.tensor.rank) == (b.tensor.dtype, b.tensor.rank)
        case float(), Value():
            return bool(b.type == FRACTION)
        case float(), _:
            return is_number(b)
        case ((str() | Text()), (str() | Text())):
            return True
    return host_number(a) is not None and host_number(b) is not None


def lowered(
    cx: Context,
    call: Entered,
    found: Endless,
    body: Callable[[dict[str, Lowered]], Lowered],
    span: Span,
) -> Lowered:
    """A call as one of a function that run time enters as often as it likes. `body` lowers it,
    given its parameters."""
    params = growing.all_begun(cx, call.params, found.grown, span)
    leaves = composite.flat(params)
    rows = frozenset(p for p in leaves if any(f"{p}[".startswith(a + "[") for a in found.grown))
    name = f"{call.fn.name}{cx.program.new_symbol()}"
    made = Recursion(call.fn, name, params, found.wide | rows)
    made.loose |= {(path, 0) for path in rows}
    made.loose |= {
        (path, at)
        for path in found.wide
        if isinstance(leaves[path], Value)
        for at in range(leaves[path].tensor.rank)
    }
    before = dict(cx.globals.names)
    for _ in range(MOST_TRIES):
        made.carried = growing.all_begun(cx, made.carried, made.grown, span)
        start = len(cx.builder.block.ops)
        try:
            _defined(cx, made, body, before, span)
            return called(cx, made, params, span)
        except Again:
            del cx.builder.block.ops[start:]
            cx.globals.names = dict(before)
    cx.unsupported(f"the recursion of `{call.fn.name}`, which only run time ends", span)


def _defined(
    cx: Context,
    made: Recursion,
    body: Callable[[dict[str, Lowered]], Lowered],
    before: Mapping[str, Lowered],
    span: Span,
) -> None:
    """Append the function of a recursion. Raises Again where its calls need another."""
    arguments, inside = made.enter(cx)
    outer, region = cx.builder.block, Block(arguments)
    cx.builder.block = region
    cx.recursions.append(made)
    cx.undecided += 1
    try:
        for path, value in made.carried.items():
            cx.globals.names[path[1:]] = composite.rebuilt(path, value, inside)
        entered = dict(cx.globals.names)
        params = {name: composite.rebuilt(name, v, inside) for name, v in made.params.items()}
        after = {RESULT: body(params)}
        for name, value in entered.items():
            if cx.globals.names[name] is not value and f" {name}" not in made.carried:
                made.carried[f" {name}"] = before[name]
                made.forget()
                raise Again
        after |= {path: cx.globals.names[path[1:]] for path in made.carried}
        longer = growing.all_grown(made.like | made.carried if made.known else made.carried, after)
        if longer:
            made.grown |= longer
            made.forget()
            raise Again
        after = growing.all_begun(cx, after, made.grown, span)
        values, ends = made.leave(cx, after, span)
        region.ops.append(Op(OPS["yield"], values, {}))
    except statements.Panic:
        if not made.promise(cx):
            text = f"the recursion of `{made.fn.name}` has no end"
            hint = "one way through it has to end without calling it again"
            cx.fail("E0304", text, span, hint=hint)
        raise Again from None
    finally:
        cx.undecided -= 1
        cx.recursions.pop()
        cx.builder.block = outer
        cx.globals.names = dict(before)
    cx.builder.span = span
    cx.builder.append(
        "function",
        regions=[region],
        name=made.name,
        ints=tuple(made.symbols.values()),
        ends=tuple(ends),
        types=tuple(made.gives.values()),
    )


def called(cx: Context, made: Recursion, params: Mapping[str, Lowered], span: Span) -> Lowered:
    """A call of the function of a recursion: what it gives; names that it changes have changed."""
    if not made.known:
        raise statements.Panic
    numbers, operands = made.given(cx, params, span)
    behind = {symbol: cx.program.new_symbol() for symbol in made.ends.values()}
    known: dict[str, Dim | str] = {**numbers, **behind}
    cx.builder.span = span
    op = cx.builder.append(
        "call",
        *operands,
        name=made.name,
        ints=tuple(numbers[symbol] for symbol in made.symbols.values()),
        symbols=tuple(behind.values()),
        results=tuple(
            type.with_shape(size.substitute(known) for size in type.shape)
            for type in made.gives.values()
        ),
        place=where(span),
    )
    assert isinstance(op, Op)
    leaves = composite.flat(made.like)
    leaves.update({p: make(Dim.of(behind[made.ends[p]])) for p, make in made.counts.items()})
    leaves.update(zip(made.gives, op.results, strict=True))
    back = {path: composite.rebuilt(path, like, leaves) for path, like in made.like.items()}
    for path in made.carried:
        cx.globals.names[path[1:]] = back[path]
    return back[RESULT]


__all__ = ["Endless", "Recursion", "around", "called", "known_part", "look_out", "lowered"]
