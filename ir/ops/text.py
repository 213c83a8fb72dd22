"""Texts of a run, each a number among those it knows: where they come from, and their tokens."""

from __future__ import annotations

from tlc.ir.dims import Dim
from tlc.ir.opdef import TypeRuleError, defop
from tlc.ir.ops.host import printed
from tlc.ir.types import TensorType, Type


def _text(source: str, name: str, symbol: str) -> tuple[Type, ...]:
    return ()


def _text_of(*types: Type, parts: tuple[object, ...], symbol: str) -> tuple[Type, ...]:
    return printed(*types, parts=parts)


def _text_value(text: Dim, what: str, other: str, place: str, symbol: str) -> tuple[Type, ...]:
    return ()


defop(
    "text",
    "Reads a line of the standard input, a variable of the environment or an argument of the run"
    " (`source` is `input`, `env` or `arg`, whose name ends with `=` and its text when left out)."
    " The symbol is its number among the texts that the run knows.",
    params="source: str, name: str, symbol: str",
    type=_text,
    effect="io",
)
defop(
    "text_of",
    "Makes a text of `parts`, as `print` has them. The symbol is its number among the texts that"
    " the run knows.",
    params="values: tensors, parts: attr, symbol: str",
    type=_text_of,
    effect="io",
)
defop(
    "text_value",
    "What a text is, as a number of the host: the whole number that it says (`what` is `int`), its"
    " length (`len`), or whether it is another text (`is`).",
    params="text: dim, what: str, other: str, place: str, symbol: str",
    type=_text_value,
    effect="io",
)
defop(
    "text_order",
    "Whether a text stands before another one (below 0), is equal to it (0) or stands behind it, by"
    " the numbers of their characters in Unicode; the symbol is that number of the host.",
    params="text: dim, other: dim, symbol: str",
    type=lambda text, other, symbol: (),
    effect="io",
)


def _tokenize(model: int, text: Dim, around: bool, place: str, symbol: str) -> tuple[Type, ...]:
    return (TensorType("i32", (Dim.of(symbol),)),)


def _detokenize(ids: Type, model: int, place: str, symbol: str) -> tuple[Type, ...]:
    if not isinstance(ids, TensorType) or ids.dtype != "i32":
        raise TypeRuleError(f"token ids are whole numbers, and this is {ids}", "E0302", (0,))
    return ()


def _detokenize_next(token: Dim, model: int, place: str, symbol: str) -> tuple[Type, ...]:
    return ()


defop(
    "text_float",
    "The number that a text says, in float32.",
    params="text: dim, place: str",
    type=lambda text, place: (TensorType("f32", ()),),
    effect="io",
)
defop(
    "tokenize",
    "The token ids of a text, by the tokenizer of a model file; the symbol is how many there are."
    " With `around`, the tokens that begin and end texts are among them.",
    params="model: int, text: dim, around: bool, place: str, symbol: str",
    type=_tokenize,
    effect="io",
)
defop(
    "detokenize",
    "The text of token ids; the symbol is its number among the texts of the run.",
    params="ids, model: int, place: str, symbol: str",
    type=_detokenize,
    effect="io",
)
defop(
    "detokenize_next",
    "The characters that are whole with one more token of a tokenizer: the bytes of a character"
    " that needs more are kept.",
    params="token: dim, model: int, place: str, symbol: str",
    type=_detokenize_next,
    effect="io",
)
