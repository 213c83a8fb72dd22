"""Two sizes that have to be equal: a symbol is bound, the run compares, or they are refused."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.dims import Derived, Dim
from tlc.ir.opdef import TypeRuleError

_TRIED = (*range(1, 65), 2**7 * 3**3 * 5 * 7)  # sizes at which formulas are compared


class Bound(Exception):
    """A symbol of an entry that fits a body at one size only: the entry is lowered with that."""

    def __init__(self, symbol: str, size: int) -> None:
        self.symbol, self.size = symbol, size
        super().__init__(symbol, size)


def bind_free(free: Iterable[str], left: Dim, right: Dim) -> None:
    """Raise Bound where one size is a free symbol and the other a number."""
    for symbol, size in ((left.symbol, right), (right.symbol, left)):
        if symbol is not None and symbol in free and size.is_static:
            raise Bound(symbol, int(size))


def may_be_equal(left: Dim, right: Dim) -> bool:
    """Whether only the run can tell if two sizes are equal: one has a quotient, is a number of the
    run or a sum, and there are sizes of symbols for which they are. Plain symbols differ."""
    late = any(_is_late(side) for side in (left, right))
    if (left - right).is_static:
        return False
    if not late:
        return any(len(side.terms) > 1 for side in (left, right)) and _meet(left - right)
    if left.is_static or right.is_static:
        return True
    symbols = sorted(left.symbols() | right.symbols())
    apart = {symbol: at * (symbol[0] == "$") for at, symbol in enumerate(symbols)}
    trials = (
        {symbol: size + step * apart[symbol] for symbol in symbols}
        for size in _TRIED
        for step in (0, 1, -1)  # numbers of the run may be apart from one another
    )
    multiples = (
        dict.fromkeys(symbols, size) | {symbol: size * factor}
        for symbol in symbols
        for factor in range(2, 9)
        for size in _TRIED
    )
    return any(_equal_at(left, right, sizes) for sizes in chain(trials, multiples))


def _meet(difference: Dim) -> bool:
    """Whether a difference of sizes is 0 where all its symbols but one have some equal sizes, and
    that one a size that follows from these."""
    for symbol in difference.symbols():
        for size in _TRIED[:16]:
            others = dict.fromkeys(difference.symbols() - {symbol}, size)
            at, step = (difference.value(others | {symbol: n}) for n in (1, 2))
            found = 1 if at == step else 1 - at // (step - at)
            if found > 0 and difference.value(others | {symbol: found}) == 0:
                return True
    return False


def _is_late(size: Dim) -> bool:
    atoms = (atom for monomial, _ in size.terms for atom in monomial)
    return any(isinstance(atom, Derived) or atom.startswith("$") for atom in atoms)


def _equal_at(left: Dim, right: Dim, sizes: dict[str, int]) -> bool:
    try:
        return left.value(sizes) == right.value(sizes)
    except ZeroDivisionError:
        return False


def fitted(
    b: Builder, free: Iterable[str], problem: TypeRuleError, operands: list[Value]
) -> list[Value] | None:
    """The operands as the rule that refused them wants them, compared by the run; None where that
    cannot be. Raises Bound."""
    if problem.differ is None:
        return None
    first, second = problem.differ
    bind_free(free, first.size, second.size)
    if not may_be_equal(first.size, second.size):
        return None
    fixed = second.size.is_static or second.operand < 0
    side, other = (first, second) if fixed else (second, first)
    if side.operand >= len(operands):
        return None
    value = operands[side.operand]
    shape = list(value.tensor.shape)
    if not -len(shape) <= side.axis < len(shape) or shape[side.axis] != side.size:
        return None
    b.check(side.size, other.size, problem.message)
    shape[side.axis] = other.size
    found = list(operands)
    found[side.operand] = b.reshape(value, shape)
    return found
