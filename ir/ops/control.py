"""Operations with regions, and what ends a region."""

from __future__ import annotations

from tlc.ir.opdef import TypeRuleError, defop
from tlc.ir.types import PACKED, TensorType, Type

defop(
    "yield",
    "What a region or function hands out; always the last operation.",
    params="values: tensors",
    type=lambda *types: (),
)


def _fused(
    *types: Type, family: str, encodings: tuple[str, ...], results: tuple[Type, ...]
) -> tuple[Type, ...]:
    if len(encodings) != len(types):
        raise TypeRuleError(f"{len(encodings)} encodings for {len(types)} operands")
    for at, (encoding, type) in enumerate(zip(encodings, types, strict=True)):
        dtype = type.dtype if isinstance(type, TensorType) else None
        if dtype != encoding and not (dtype == "f16" and encoding in PACKED):
            raise TypeRuleError(f"{type} is not stored as {encoding}", operands=(at,))
    return results


defop(
    "fused",
    "Operations computed by one kernel launch: the region's arguments are the operands, values"
    " inside stay in float32, and what it yields is rounded and stored. `encodings` says for each"
    " operand how it is stored in memory: its dtype, or a block-quantised format such as `q4_0`.",
    params="values: tensors, family: str, encodings: attr, results: attr",
    type=_fused,
)


defop(
    "once",
    "Operations that need nothing but weights and constants: computed when the entry is first"
    " called, and kept.",
    params="results: attr",
    type=lambda results: results,
)
