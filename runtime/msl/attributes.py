"""Takes what stands in `[[...]]` out of a list of tokens; the attributes of Metal's kernels."""

from __future__ import annotations

from tlc.runtime.errors import RunError
from tlc.runtime.msl.tokens import Token, closing, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BUFFERS = 31
_WIDTHS = frozenset(("uint", "uint2", "uint3", "ushort", "ushort2", "ushort3"))
_SCALARS = frozenset(("uint", "ushort"))

# attribute of a kernel's parameter -> the types that the parameter may have
POSITIONS: dict[str, frozenset[str]] = {
    "thread_position_in_grid": _WIDTHS,
    "thread_position_in_threadgroup": _WIDTHS,
    "threadgroup_position_in_grid": _WIDTHS,
    "threads_per_threadgroup": _WIDTHS,
    "dispatch_threads_per_threadgroup": _WIDTHS,
    "threads_per_grid": _WIDTHS,
    "threadgroups_per_grid": _WIDTHS,
    "thread_index_in_threadgroup": _SCALARS,
    "thread_index_in_simdgroup": _SCALARS,
    "simdgroup_index_in_threadgroup": _SCALARS,
    "threads_per_simdgroup": _SCALARS,
    "simdgroups_per_threadgroup": _SCALARS,
    "dispatch_simdgroups_per_threadgroup": _SCALARS,
    "thread_index_in_quadgroup": _SCALARS,
    "quadgroup_index_in_threadgroup": _SCALARS,
    "quadgroups_per_threadgroup": _SCALARS,
    "thread_execution_width": _SCALARS,
}
GRID = frozenset(name for name, types in POSITIONS.items() if types is _WIDTHS)


class Attribute:
    """`name(arguments)` in double brackets; the arguments are the tokens between parentheses."""

    __slots__ = ("arguments", "name")

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.name = tokens[0].text
        self.arguments: Sequence[Token] = ()
        if len(tokens) > 2 and tokens[1].text == "(":
            self.arguments = tokens[2 : closing(tokens, 1)]

    def text(self) -> str:
        """The arguments when they are string literals, joined."""
        strings = [t.text[1:-1] for t in self.arguments if t.kind == "string"]
        return "".join(strings)

    def number(self) -> int:
        """The arguments as a whole number. Raises RunError E0703 for what is no number."""
        return number(self.arguments)


def extract(tokens: Sequence[Token]) -> tuple[list[Token], dict[int, list[Attribute]]]:
    """The tokens without attributes, and the attributes by the number of the token behind them."""
    kept: list[Token] = []
    found: dict[int, list[Attribute]] = {}
    i = 0
    while i < len(tokens):
        token = tokens[i]
        double = i + 1 < len(tokens) and tokens[i + 1].text == "[" and not tokens[i + 1].space
        if token.text != "[" or not double:
            kept.append(token)
            i += 1
            continue
        end = closing(tokens, i)
        for begin, stop in split(tokens, i + 2, end - 1):
            found.setdefault(len(kept), []).append(Attribute(tokens[begin:stop]))
        lost = "".join(t.space for t in tokens[i : end + 1])
        if end + 1 < len(tokens):
            tokens[end + 1].space = lost + tokens[end + 1].space
        i = end + 1
    return kept, found


def number(tokens: Sequence[Token]) -> int:
    """The value of a constant expression of whole numbers. Raises RunError E0703."""
    import ast

    text = " ".join(t.text.rstrip("uUlL") for t in tokens if t.kind != "directive")
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError):
        raise RunError(
            "E0703", f"`{text}` is not a number that the emulator can find out"
        ) from None


def _value(node: object) -> int:
    import ast
    import operator

    operators = {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.Div: operator.floordiv,
        ast.LShift: operator.lshift,
        ast.BitOr: operator.or_,
    }
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.BinOp() if type(node.op) in operators:
            return int(operators[type(node.op)](_value(node.left), _value(node.right)))
    raise ValueError
