"""What two branches of an `if` leave behind, joined to one value each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tlc.frontend.source import Span
from tlc.ir.core import Block, Value
from tlc.ir.dims import Dim
from tlc.ir.lower import composite, reading
from tlc.ir.lower.context import Context
from tlc.ir.lower.control.growing import as_rows, cannot_grow, grown
from tlc.ir.lower.control.handed import as_type
from tlc.ir.lower.places import is_natural
from tlc.ir.lower.texts import as_text
from tlc.ir.lower.values import NEVER, Flag, Lowered, Rows, Text, describe, is_number, truth, whole
from tlc.ir.types import TensorType


@dataclass(slots=True)
class Region:
    """A region being filled, and what the names that it assigns are at its end."""

    block: Block
    after: dict[str, Lowered] = field(default_factory=dict)
    value: Lowered = None


@dataclass(frozen=True, slots=True)
class Result:
    """The tensor result of an `if`, by its number."""

    index: int


class Merge:
    """Joins what two branches leave behind."""

    def __init__(self, cx: Context, span: Span, regions: tuple[Region, Region]) -> None:
        self.cx, self.span, self.regions = cx, span, regions
        self.ints: list[tuple[str, Dim, Dim]] = []
        self.yields: tuple[list[Callable[[Context], Value]], list[Callable[[Context], Value]]] = (
            [],
            [],
        )
        self.types: list[TensorType] = []  # of what both yield

    def join(self, what: str, then: Lowered, orelse: Lowered) -> Lowered:
        """One value for both: the same thing, a number of the host, or a result of the `if`."""
        if then is NEVER or orelse is NEVER:
            return self._only(what, then, orelse)
        row = grown(then, orelse)
        if row is not None:
            return self.join(what, self._vector(0, then, row), self._vector(1, orelse, row))
        if composite.is_composite(then) and composite.is_composite(orelse):
            return self._parts(what, then, orelse)
        then, orelse = self._read(0, then, orelse), self._read(1, orelse, then)
        alike = type(then) is type(orelse) and not isinstance(then, Value)
        if then is orelse or (alike and then == orelse):
            return then
        if isinstance(then, Value) or isinstance(orelse, Value):
            return self._tensor(what, then, orelse)
        flags = [truth(v) for v in (then, orelse)]
        if flags[0] is not None and flags[1] is not None:
            return Flag(self._number(flags[0], flags[1]))
        if isinstance(then, str | Text) and isinstance(orelse, str | Text):
            return Text(self._number(*(self._text(at, v) for at, v in enumerate((then, orelse)))))
        if _is_number(then) and _is_number(orelse):
            if isinstance(then, float) or isinstance(orelse, float):  # these live on the device
                return self._tensor(what, then, orelse)
            return self._number(Dim.of(whole(then) or 0), Dim.of(whole(orelse) or 0))
        self._differ(what, then, orelse)
        return None

    def _read(self, at: int, value: Lowered, other: Lowered) -> Lowered:
        """A number or truth value on the device, read in its branch beside one of the host."""
        host = {"bool": truth(other), "i32": whole(other)}
        if not isinstance(value, Value) or value.tensor.shape:
            return value
        if host.get(value.tensor.dtype) is None:
            return value
        outer, self.cx.builder.block = self.cx.builder.block, self.regions[at].block
        found = reading.on_host(self.cx, value, self.span)
        self.cx.builder.block = outer
        return found

    def _vector(self, at: int, value: Lowered, row: Lowered) -> Value | Rows:
        """An array as the rows of tensors, made in its branch."""
        outer, self.cx.builder.block = self.cx.builder.block, self.regions[at].block
        found = as_rows(self.cx, value, row, self.span)
        self.cx.builder.block = outer
        return found

    def _parts(self, what: str, then: Lowered, orelse: Lowered) -> Lowered:
        a, b = composite.parts(then), composite.parts(orelse)
        arrays = isinstance(then, list) and isinstance(orelse, list)
        if not (arrays or type(then) is type(orelse)) or [p for p, _ in a] != [p for p, _ in b]:
            self._differ(what, then, orelse)
        pairs = zip(a, b, strict=True)
        return composite.made(then, [self.join(what + path, x, y) for (path, x), (_, y) in pairs])

    def _only(self, what: str, then: Lowered, orelse: Lowered) -> Lowered:
        """The value of the branch that comes back; the other one never hands anything on."""
        value = orelse if then is NEVER else then
        if composite.is_composite(value):
            parts = composite.leaves(what, value)
            sides = [(NEVER, part) if then is NEVER else (part, NEVER) for part in parts.values()]
            joined = {p: self._only(p, *pair) for p, pair in zip(parts, sides, strict=True)}
            return composite.rebuilt(what, value, joined)
        if isinstance(value, Value):
            return self._tensor(what, *((0.0, value) if then is NEVER else (value, 0.0)))
        zero = Dim.of(0)
        for number, wrap in ((truth(value), Flag), (_late(value), lambda d: d)):
            if number is not None and not number.is_static:
                return wrap(self._number(*((zero, number) if then is NEVER else (number, zero))))
        if isinstance(value, Text):
            pair = (zero, value.dim) if then is NEVER else (value.dim, zero)
            return Text(self._number(*pair))
        return value

    def _text(self, at: int, value: str | Text) -> Dim:
        """The number of a string; one that the program writes is noted in its branch."""
        outer, self.cx.builder.block = self.cx.builder.block, self.regions[at].block
        found = as_text(self.cx, value, self.span)
        self.cx.builder.block = outer
        return found.dim

    def _number(self, then: Dim, orelse: Dim) -> Dim:
        """The one or the other; what is equal in both branches, as the sizes of keys and values
        are, stays equal behind them."""
        known = next((symbol for symbol, *pair in self.ints if pair == [then, orelse]), None)
        symbol = known or self.cx.program.new_symbol()
        if known is None:
            self.ints.append((symbol, then, orelse))
            if is_natural(self.cx, then) and is_natural(self.cx, orelse):
                self.cx.program.natural.add(symbol)
        return Dim.of(symbol)

    def _tensor(self, what: str, then: Lowered, orelse: Lowered) -> Lowered:
        like = then if isinstance(then, Value) else orelse
        type = like.tensor if isinstance(like, Value) else TensorType("f32", ())
        if isinstance(then, Value) and isinstance(orelse, Value) and then.type != orelse.type:
            type = self._common(then.tensor, orelse.tensor)
        for at, side in enumerate((then, orelse)):
            fits = _fits(side.tensor, type) if isinstance(side, Value) else _is_number(side)
            if not fits:
                self._differ(what, then, orelse)
            self.yields[at].append(as_type(side, type, self.span))
        self.types.append(type)
        return Result(len(self.yields[0]) - 1)

    def _common(self, then: TensorType, orelse: TensorType) -> TensorType:
        """The type of what is one tensor or another: sizes that differ become numbers."""
        if then.rank != orelse.rank:
            return then
        pairs = zip(then.shape, orelse.shape, strict=True)
        return then.with_shape(a if a == b else self._number(a, b) for a, b in pairs)

    def _differ(self, what: str, then: Lowered, orelse: Lowered) -> None:
        shown, hint = [describe(then), describe(orelse)], ""
        if isinstance(then, list) and isinstance(orelse, list):
            shown = [f"an array of {len(side)}" for side in (then, orelse)]
            hint = cannot_grow([*then, *orelse])[1]
        text = f"{what} is {shown[0]} in one branch and {shown[1]} in the other"
        self.cx.fail("E0302", text, self.span, hint=hint)


def _is_number(value: Lowered) -> bool:
    return is_number(value) or isinstance(value, Dim)


def _fits(type: TensorType, joined: TensorType) -> bool:
    return type.dtype == joined.dtype and type.rank == joined.rank


def _late(value: Lowered) -> Dim | None:
    number = whole(value)
    return number if isinstance(number, Dim) else None
