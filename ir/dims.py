"""Symbolic dimensions: sizes as polynomials over symbols, in a normal form that compares by value.

`N`, `2*N`, `N*M+1` are polynomials. A quotient that does not come out exactly, `N//8`, is an atom
of its own, so that equal formulas are equal dimensions and nothing about divisibility is assumed.
(Polynomials rather than affine forms, because a reshape multiplies dimensions.)

Whole numbers of the host that only run time knows, such as the counter of a loop, are dimensions
too: their symbols begin with `$`. A condition on them is a dimension that is 0 or 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import eq, le, lt, mul


@dataclass(frozen=True, slots=True)
class Derived:
    """`left op right`: `//` and `%` toward zero, `<`, `<=` and `==` as 0 or 1."""

    op: str
    left: Dim
    right: Dim

    def __str__(self) -> str:
        return f"({self.left}{self.op}{self.right})"

    def value(self, sizes: Mapping[str, int]) -> int:
        """The number for these sizes. Raises ZeroDivisionError."""
        left, right = self.left.value(sizes), self.right.value(sizes)
        if self.op in COMPARE:
            return int(COMPARE[self.op](left, right))
        quotient = truncated(left, right)
        return quotient if self.op == "//" else left - right * quotient


COMPARE: dict[str, Callable[[int, int], bool]] = {"<": lt, "<=": le, "==": eq}

Atom = str | Derived
Monomial = tuple[Atom, ...]


@dataclass(frozen=True, slots=True)
class Dim:
    """A sum of integer multiples of products of atoms; build one with `Dim.of`."""

    terms: tuple[tuple[Monomial, int], ...]

    @staticmethod
    def of(value: DimLike) -> Dim:
        """An integer, a symbol's name or a Dim as a Dim."""
        if isinstance(value, Dim):
            return value
        if isinstance(value, str):
            return Dim((((value,), 1),))
        return Dim((((), int(value)),) if value else ())

    @staticmethod
    def _sum(terms: Iterable[tuple[Monomial, int]]) -> Dim:
        total: dict[Monomial, int] = {}
        for monomial, factor in terms:
            total[monomial] = total.get(monomial, 0) + factor
        kept = [(m, c) for m, c in total.items() if c]
        return Dim(tuple(sorted(kept, key=lambda t: (-len(t[0]), [str(a) for a in t[0]]))))

    def __add__(self, other: DimLike) -> Dim:
        return Dim._sum(self.terms + Dim.of(other).terms)

    def __mul__(self, other: DimLike) -> Dim:
        return Dim._sum(
            (tuple(sorted(a + b, key=str)), x * y)
            for a, x in self.terms
            for b, y in Dim.of(other).terms
        )

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: DimLike) -> Dim:
        return self + -Dim.of(other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: DimLike) -> Dim:
        return Dim.of(other) - self

    def exact_div(self, other: DimLike) -> Dim | None:
        """The quotient when every term of this dimension is a multiple of a one-term divisor."""
        divisor = Dim.of(other)
        if self == divisor and self.terms:
            return Dim.of(1)
        if len(divisor.terms) != 1:
            return None
        ((below, factor),) = divisor.terms
        out: list[tuple[Monomial, int]] = []
        for monomial, times in self.terms:
            rest = list(monomial)
            for atom in below:
                if atom not in rest:
                    return None
                rest.remove(atom)
            if times % factor:
                return None
            out.append((tuple(rest), times // factor))
        return Dim._sum(out)

    def __floordiv__(self, other: DimLike) -> Dim:
        divisor = Dim.of(other)
        if self.is_static and divisor.is_static:
            return Dim.of(truncated(int(self), int(divisor)))
        exact = self.exact_div(divisor)
        return exact if exact is not None else Dim.of_atom(Derived("//", self, divisor))

    def __mod__(self, other: DimLike) -> Dim:
        divisor = Dim.of(other)
        if self.is_static and divisor.is_static:
            return self - divisor * truncated(int(self), int(divisor))
        if self.exact_div(divisor) is not None:
            return Dim.of(0)
        return Dim.of_atom(Derived("%", self, divisor))

    def compare(self, op: str, other: DimLike) -> Dim:
        """1 where `self op other` holds, else 0; `op` is `<`, `<=` or `==`."""
        gap = self - other
        if gap.is_static:
            return Dim.of(int(COMPARE[op](int(gap), 0)))
        return Dim.of_atom(Derived(op, self, Dim.of(other)))

    @staticmethod
    def of_atom(atom: Atom) -> Dim:
        return Dim((((atom,), 1),))

    @property
    def is_static(self) -> bool:
        """Whether this is a plain integer."""
        return not self.terms or (len(self.terms) == 1 and not self.terms[0][0])

    @property
    def symbol(self) -> str | None:
        """The name, when this dimension is one bare symbol."""
        match self.terms:
            case (((str(name),), 1),):
                return name
        return None

    def __int__(self) -> int:
        if not self.is_static:
            raise ValueError(f"{self} is not a constant")
        return self.terms[0][1] if self.terms else 0

    def symbols(self) -> frozenset[str]:
        """The names of all symbols in the formula."""
        found: set[str] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                if isinstance(atom, str):
                    found.add(atom)
                else:
                    found |= atom.left.symbols() | atom.right.symbols()
        return frozenset(found)

    def value(self, sizes: Mapping[str, int]) -> int:
        """The number for these sizes, one for every symbol. Raises ZeroDivisionError."""
        total = 0
        for monomial, factor in self.terms:
            for atom in monomial:
                factor *= sizes[atom] if isinstance(atom, str) else atom.value(sizes)
            total += factor
        return total

    def substitute(self, values: Mapping[str, DimLike]) -> Dim:
        """The dimension with symbols replaced."""

        def atom_value(atom: Atom) -> Dim:
            if isinstance(atom, str):
                return Dim.of(values.get(atom, atom))
            left, right = atom.left.substitute(values), atom.right.substitute(values)
            if atom.op in COMPARE:
                return left.compare(atom.op, right)
            return left // right if atom.op == "//" else left % right

        total = Dim.of(0)
        for monomial, factor in self.terms:
            total += reduce(mul, map(atom_value, monomial), Dim.of(factor))
        return total

    def __str__(self) -> str:
        if not self.terms:
            return "0"
        out = ""
        for monomial, factor in self.terms:
            names = "*".join(map(str, monomial))
            number = str(abs(factor)) if not names or abs(factor) != 1 else ""
            sign = "-" if factor < 0 else "+" if out else ""
            out += sign + "*".join(filter(None, (number, names)))
        return out


DimLike = Dim | int | str


def truncated(left: int, right: int) -> int:
    """The quotient of two integers, toward zero. Raises ZeroDivisionError."""
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


# what a run hashes of its seed: 31 bits, which the runtime knows by this name too
SEED = Dim.of("$seed")


def product(dims: Iterable[Dim]) -> Dim:
    """The product of dimensions; 1 for none."""
    return reduce(mul, dims, Dim.of(1))


_MAX_DEPTH = 64
_TOKEN = re.compile(r"\s*(\d+|\w+(?:\?\d+)?|\?\d*|\$\w+|//|<=|==|[<%*+()-])")


def parse_dim(text: str) -> Dim:
    """The inverse of `str(dim)`. Raises ValueError on anything else."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"\s", "", text) or not tokens:
        raise ValueError(f"not a dimension: {text!r}")
    tokens.append("")
    at = depth = 0

    def take() -> str:
        nonlocal at
        at += 1
        return str(tokens[at - 1])

    def atom() -> Dim:
        nonlocal depth
        token = take()
        if token in ("(", "-"):
            depth += 1
            if depth > _MAX_DEPTH:
                raise ValueError("a dimension is nested too deeply")
            inner = quotient() if token == "(" else -atom()
            if token == "(" and take() != ")":
                raise ValueError(f"not a dimension: {text!r}")
            depth -= 1
            return inner
        if not token or not (token[0].isalnum() or token[0] in "_?$"):
            raise ValueError(f"not a dimension: {text!r}")
        return Dim.of(int(token) if token.isdigit() else token)

    def term() -> Dim:
        value = atom()
        while tokens[at] == "*":
            take()
            value = value * atom()
        return value

    def total() -> Dim:
        value = term()
        while tokens[at] in ("+", "-"):
            value = value + term() if take() == "+" else value - term()
        return value

    def quotient() -> Dim:
        value = total()
        while tokens[at] in ("//", "%", *COMPARE):
            op = take()
            if op in COMPARE:
                value = value.compare(op, total())
            else:
                value = value // total() if op == "//" else value % total()
        return value

    try:
        result = quotient()
    except ZeroDivisionError:
        raise ValueError(f"a division by zero: {text!r}") from None
    if tokens[at]:
        raise ValueError(f"not a dimension: {text!r}")
    return result
