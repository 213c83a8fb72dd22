"""Launches whose sizes change from pass to pass: formulas to Python code, numbers into one batch.

Preparing a batch costs some microseconds a launch, too much for a loop that makes a token a pass.
So the formulas of all launches in a row are compiled to one function, and a batch that is there
already gets its new numbers of threadgroups and words of dimensions. Only where other kernels or
other weights are chosen is another batch made.
"""

from __future__ import annotations

from tlc.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from tlc.runtime.bound import Bound
    from tlc.runtime.devices import Batch

    Numbers = Callable[[Mapping[str, int]], tuple[int, ...]]

KEPT_CHOICES = 256  # batches of one place in a loop


def compiled(formulas: Sequence[Any]) -> Numbers:
    """A function from the values of symbols to those of formulas, as `format.evaluate` gives them.

    Symbols and operations become names of our own; nothing of a formula's text is code.
    """
    lines: list[str] = []
    known: dict[str, str] = {}

    def name(text: str) -> str:
        if text not in known:
            known[text] = f"v{len(known)}"
            lines.append(f"    {known[text]} = {text}")
        return known[text]

    def part(formula: Any) -> str:
        if isinstance(formula, int):
            return repr(int(formula))
        if isinstance(formula, str):
            return name(f"sizes[{formula!r}]")
        op, left, right = formula
        a, b = part(left), part(right)
        if op in ("//", "%"):
            return name(f"{'quotient' if op == '//' else 'remainder'}({a}, {b})")
        value = f"{a} {op} {b}"
        return name(f"int({value})" if op in ("<", "<=", "==") else value)

    results = "".join(f"{part(f)}, " for f in formulas)
    source = "\n".join(["def numbers(sizes):", *lines, f"    return ({results})"])
    space: dict[str, Any] = {"quotient": _quotient, "remainder": _remainder}
    exec(compile(source, "<formulas>", "exec"), space)
    made: Numbers = space["numbers"]
    return made


def _quotient(a: int, b: int) -> int:
    if b == 0:
        raise RunError("E0505", "a whole number is divided by zero")
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _remainder(a: int, b: int) -> int:
    return a - b * _quotient(a, b)


class Varying:
    """Launches in a row, run with other sizes each time."""

    __slots__ = ("_choices", "_launches", "_limits", "_made", "_memory")

    def __init__(self, bound: Bound, launches: list[list[Any]]) -> None:
        self._launches = launches
        choices: list[Any] = []
        self._limits: list[int] = []  # of guards: a formula at most so large chooses its variant
        for step in launches:
            for guard, *_ in step[1][bound.device.profile]:
                if guard is not None:
                    choices.append(guard[0])
                    self._limits.append(guard[1])
        which = [name[1] for step in launches for name in step[2] if isinstance(name, list)]
        self._choices = compiled([*choices, *which])
        self._made: dict[tuple[int, ...], tuple[Batch, Numbers, int]] = {}
        self._memory = bound.moved

    def run(self, bound: Bound, sizes: dict[str, int]) -> None:
        """Raises RunError E0505 for a size that cannot be."""
        if self._memory != bound.moved:
            self._made.clear()
            self._memory = bound.moved
        chosen = self._choices(sizes)
        limits = self._limits
        key = tuple(int(v <= limits[at]) if at < len(limits) else v for at, v in enumerate(chosen))
        found = self._made.get(key)
        if found is None:
            if len(self._made) >= KEPT_CHOICES:
                self._made.clear()
            found = self._made[key] = self._prepared(bound, sizes)
        batch, numbers, count = found
        values = numbers(sizes)
        for size in (min(values), max(values)):
            if not 0 <= size < 1 << 32:
                text = f"a size comes out as {size}, and kernels count in 32 bits"
                raise RunError("E0505", text)
        device: Any = bound.device
        device.resize(batch, values[:count], values[count:])
        device.run(batch)

    def _prepared(self, bound: Bound, sizes: dict[str, int]) -> tuple[Batch, Numbers, int]:
        variants = [bound.variant(step, sizes) for step in self._launches]
        groups = [groups for _, _, groups, _ in variants]
        words = [dim for _, _, _, dims in variants for dim in dims]
        batch = bound.batch(self._launches, sizes, idle=True)
        return batch, compiled([*groups, *words]), len(groups)
