"""How operators group, shown by the same text with every group in brackets."""

from collections.abc import Callable

import pytest

GROUPS = """
2 ** 3 ** 2  →  (2 ** (3 ** 2))
-1 ** 2  →  (-(1 ** 2))
2 ** -1 ** 2  →  (2 ** (-(1 ** 2)))
2 ** -1 * 3  →  ((2 ** (-1)) * 3)
a ⊗ b ⊗ c  →  (a ** (b ** c))
-x.f(a)[0]  →  (-x.f(a)[0])
x.y ** 2  →  (x.y ** 2)
!a == b  →  ((!a) == b)
not a == b  →  (!(a == b))
not a && b  →  ((!a) && b)
not not a  →  (!(!a))
- - a  →  (-(-a))
a + b * c  →  (a + (b * c))
a * b + c  →  ((a * b) + c)
a - b - c  →  ((a - b) - c)
a / b * c % d @ e ⊙ f  →  (((((a / b) * c) % d) @ e) * f)
-a * b  →  ((-a) * b)
a @ b + c  →  ((a @ b) + c)
a + b as int  →  ((a + b) as int)
a as int as float  →  ((a as int) as float)
a as int + b  →  ((a as int) + b)
a as int < b  →  ((a as int) < b)
a < b as int  →  (a < (b as int))
a + 1 < b * 2  →  ((a + 1) < (b * 2))
a == b && c != d  →  ((a == b) && (c != d))
a || b && c  →  (a || (b && c))
a or b and not c == d  →  (a || (b && (!(c == d))))
a && b || c && d  →  ((a && b) || (c && d))
0..n + 1  →  (0..(n + 1))
a || b..c  →  ((a || b)..c)
if c then a else b + 1  →  (if c then a else (b + 1))
if c then a else if d then b else e  →  (if c then a else (if d then b else e))
if a then if b then c else d else e  →  (if a then (if b then c else d) else e)
1 + if c then a else b + 2  →  (1 + (if c then a else (b + 2)))
if a or b then a..b else c  →  (if (a || b) then (a..b) else c)
(a + b) * c  →  ((a + b) * c)
(a < b) == c  →  ((a < b) == c)
"""


@pytest.mark.parametrize("line", GROUPS.strip().splitlines(), ids=lambda line: line.split("  →")[0])
def test_groups(line: str, lines: Callable[[str], list[str]]) -> None:
    text, grouped = line.split("  →  ")
    assert lines(f"y = {text}") == [f"y = {grouped}"]


@pytest.mark.parametrize("text", ["a < b < c", "a == b != c", "a..b..c"])
def test_comparisons_and_ranges_do_not_chain(text: str, errors: Callable[[str], list[str]]) -> None:
    assert len(errors(text)) == 1


def test_a_power_of_powers_is_512(lines: Callable[[str], list[str]]) -> None:
    assert eval(lines("y = 2 ** 3 ** 2")[0].removeprefix("y = ")) == 512
    assert eval(lines("y = -1 ** 2")[0].removeprefix("y = ")) == -1
