"""Dimensions are polynomials that behave as integers do, whatever their symbols stand for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tlc.ir.dims import Dim, parse_dim, product, truncated

SYMBOLS = ("N", "M", "K", "D_in", "?0", "längd")
atoms = st.one_of(st.integers(-9, 9), st.sampled_from(SYMBOLS))
sizes = st.fixed_dictionaries({name: st.integers(1, 7) for name in SYMBOLS})


@st.composite
def formulas(draw: st.DrawFn) -> tuple[Dim, str]:
    """A dimension, and the same formula as Python text that computes it from integers."""

    def leaf() -> tuple[Dim, str]:
        atom = draw(atoms)
        return Dim.of(atom), str(atom) if isinstance(atom, int) else f"v[{atom!r}]"

    dim, text = leaf()
    for _ in range(draw(st.integers(0, 5))):
        other, other_text = leaf()
        match draw(st.sampled_from("+-*/%")):
            case "+":
                dim, text = dim + other, f"({text} + {other_text})"
            case "-":
                dim, text = dim - other, f"({text} - {other_text})"
            case "*":
                dim, text = dim * other, f"({text} * {other_text})"
            case op:
                divisor = other if other != Dim.of(0) else Dim.of(3)
                divisor_text = other_text if other != Dim.of(0) else "3"
                dim = dim // divisor if op == "/" else dim % divisor
                text = f"{'quotient' if op == '/' else 'rest'}({text}, {divisor_text})"
    return dim, text


def quotient(a: int, b: int) -> int:
    return int(a / b)  # numbers here are small: the float quotient is exact enough to truncate


def rest(a: int, b: int) -> int:
    return a - b * quotient(a, b)


def computed(text: str, values: Mapping[str, int]) -> int:
    return int(eval(text, {"v": values, "quotient": quotient, "rest": rest}))


@pytest.mark.fuzz
@given(formulas(), sizes)
def test_a_formula_substituted_is_the_formula_of_integers(
    formula: tuple[Dim, str], values: dict[str, int]
) -> None:
    dim, text = formula
    assert int(dim.substitute(values)) == computed(text, values)


@pytest.mark.fuzz
@given(formulas(), formulas(), formulas())
def test_arithmetic_obeys_the_laws_of_a_ring(
    first: tuple[Dim, str], second: tuple[Dim, str], third: tuple[Dim, str]
) -> None:
    a, b, c = first[0], second[0], third[0]
    assert a + b == b + a
    assert a * b == b * a
    assert (a + b) + c == a + (b + c)
    assert (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    assert a - a == Dim.of(0)
    assert a * 1 == a + 0 == a


@pytest.mark.fuzz
@given(formulas())
def test_the_text_reads_back(formula: tuple[Dim, str]) -> None:
    dim, _ = formula
    assert parse_dim(str(dim)) == dim


@pytest.mark.fuzz
@given(formulas(), st.lists(atoms, min_size=1, max_size=3))
def test_exact_division_undoes_multiplication(
    formula: tuple[Dim, str], factors: list[int | str]
) -> None:
    divisor = product(map(Dim.of, factors))
    assume(divisor != Dim.of(0))
    dim, _ = formula
    assert (dim * divisor).exact_div(divisor) == dim
    assert (dim * divisor) // divisor == dim
    assert (dim * divisor) % divisor == Dim.of(0)


@pytest.mark.fuzz
@given(formulas(), formulas())
def test_an_exact_quotient_multiplies_back(a: tuple[Dim, str], b: tuple[Dim, str]) -> None:
    found = a[0].exact_div(b[0])
    if found is not None:
        assert found * b[0] == a[0]


@pytest.mark.fuzz
@given(formulas(), sizes, st.sampled_from(SYMBOLS), formulas())
def test_substitution_in_steps_is_substitution_at_once(
    formula: tuple[Dim, str], values: dict[str, int], symbol: str, inner: tuple[Dim, str]
) -> None:
    at_once = {**values, symbol: int(inner[0].substitute(values))}
    assume(at_once[symbol] != 0)  # the formula may divide by it
    replaced = formula[0].substitute({symbol: inner[0]})
    assert int(replaced.substitute(values)) == int(formula[0].substitute(at_once))


@pytest.mark.parametrize(
    ("left", "right", "quotient", "rest"),
    [(7, 2, 3, 1), (-7, 2, -3, -1), (7, -2, -3, 1), (-7, -2, 3, -1), (6, 3, 2, 0), (0, 5, 0, 0)],
)
def test_division_is_toward_zero(left: int, right: int, quotient: int, rest: int) -> None:
    assert truncated(left, right) == quotient
    assert Dim.of(left) // right == Dim.of(quotient)
    assert Dim.of(left) % right == Dim.of(rest)
    n = Dim.of("N")
    assert (n // right).substitute({"N": left}) == Dim.of(quotient)
    assert (n % right).substitute({"N": left}) == Dim.of(rest)


def test_equal_formulas_are_equal_dimensions() -> None:
    n, m = Dim.of("N"), Dim.of("M")
    assert (n + 1) * (n - 1) == n * n - 1
    assert 2 * n * m == m * n * 2
    assert hash(n * m) == hash(m * n)
    assert n // 8 == n // 8
    assert n // 8 != n // 4
    assert len({n, Dim.of("N"), n + 0}) == 1


def test_a_quotient_assumes_no_divisibility() -> None:
    n = Dim.of("N")
    assert (n // 8) * 8 != n
    assert str((n + 1) // 8) == "(N+1//8)"
    assert int(((n + 1) // 8).substitute({"N": 15})) == 2


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (Dim.of(0), "0"),
        (Dim.of(-3), "-3"),
        (-Dim.of("N"), "-N"),
        (2 * Dim.of("N") + 1, "2*N+1"),
        (Dim.of("N") * Dim.of("M") - Dim.of("N"), "M*N-N"),
        (Dim.of("N") % 4, "(N%4)"),
    ],
)
def test_the_text_is_what_a_reader_would_write(dim: Dim, text: str) -> None:
    assert str(dim) == text


def test_what_a_dimension_is_known_to_be() -> None:
    n = Dim.of("N")
    assert Dim.of(4).is_static
    assert Dim.of(0).is_static
    assert not n.is_static
    assert n.symbol == "N"
    assert (2 * n).symbol is None
    assert (n - n).is_static
    assert ((n + Dim.of("M")) // 3).symbols() == {"N", "M"}
    assert product([]) == Dim.of(1)
    with pytest.raises(ValueError, match="N is not a constant"):
        int(n)


@pytest.mark.parametrize(
    "text", ["", "+", "2*", "N M", "(N", "N)", "N//", "3abc", "1.5", "N**2", "(3//0)", "(" * 5000]
)
def test_what_is_no_dimension_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (the message quotes the text)
        parse_dim(text)
