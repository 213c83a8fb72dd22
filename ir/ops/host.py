"""Operations of the host: model weights, checks and assertions, printing and saving."""

from __future__ import annotations

from typing import Any

from tlc.ir.dims import Dim
from tlc.ir.opdef import TypeRuleError, defop
from tlc.ir.types import Type

defop(
    "weight",
    "A tensor of a model file: its numbers, rounded to the dtype. `encoding` is how the file stores"
    " it (`bf16`, `q4_0`, ...), `stored` how memory does: the dtype, or an encoding that"
    " kernels read.",
    params="model: int, tensor: str, encoding: str, stored: str, type: attr",
    type=lambda model, tensor, encoding, stored, type: (type,),
)

defop(
    "weight_of",
    "One of several weights of equal shape and storage, by a number that only run time knows.",
    params="model: int, tensors: attr, index: dim, encoding: str, stored: str, type: attr",
    type=lambda model, tensors, index, encoding, stored, type: (type,),
)


def _none(*types: Type, **attrs: object) -> tuple[Type, ...]:
    return ()


def printed(*types: Type, parts: tuple[object, ...]) -> tuple[Type, ...]:
    """The rule of what writes `parts`: an operand for each `None` in them. Raises TypeRuleError."""
    if places(parts) != len(types):
        raise TypeRuleError(f"{places(parts)} places for {len(types)} operands")
    return ()


def places(parts: tuple[Any, ...]) -> int:
    """How many operands parts have a place for."""
    forms = [part for part in parts if isinstance(part, tuple) and part[:1] == ("form",)]
    return parts.count(None) + sum(places(inner) for _, _, inner in forms)


def _check(left: Dim, right: Dim, text: str) -> tuple[Type, ...]:
    return ()


defop(
    "check",
    "Stops the run, with a text, unless two sizes are equal.",
    params="left: dim, right: dim, text: str",
    type=_check,
    effect="state",
)
defop(
    "print",
    "Writes a text. `parts` holds strings as they are, dimensions, `None` for each operand, and"
    " pairs: `flag` and a dimension that is 0 or 1, `text` and the number of a text. `form` comes"
    " with a width and a precision (`>8.2`) and with the parts that have them.",
    params="values: tensors, parts: attr",
    type=printed,
    effect="io",
)


def _assert(
    *types: Type, condition: Dim, parts: tuple[object, ...], place: str
) -> tuple[Type, ...]:
    return printed(*types, parts=parts)


defop(
    "assert",
    "Stops the run, with a message, unless a condition on the host's numbers holds. `parts` is the"
    " message, as `print` has it; `place` is where it stands in the program.",
    params="values: tensors, condition: dim, parts: attr, place: str",
    type=_assert,
    effect="io",
)


def _core_ml(
    *types: Type,
    model: int,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    results: tuple[Type, ...],
) -> tuple[Type, ...]:
    if len(types) != len(inputs) or len(results) != len(outputs):
        raise TypeRuleError(f"{len(inputs)} inputs and {len(outputs)} outputs are named")
    return results


defop(
    "core_ml",
    "What Core ML itself computes by a model file, on macOS: the outputs of these names.",
    params="values: tensors, model: int, inputs: attr, outputs: attr, results: attr",
    type=_core_ml,
    effect="io",
)
defop(
    "save",
    "Writes a tensor to a SafeTensors file, under the name it has in the program.",
    params="x, path: str, name: str",
    type=_none,
    effect="io",
)
defop(
    "save_model",
    "Writes every tensor of a model file to a SafeTensors file.",
    params="model: int, path: str, dequantize: bool = false",
    type=_none,
    effect="io",
)
