"""Operations with regions, and what ends a region."""

from __future__ import annotations

from tlc.ir.opdef import defop
from tlc.ir.types import Type

defop("yield", "What a region or function hands out; always the last operation.", type=lambda *types: ())


def _fused(
    *types: Type, family: str, encodings: tuple[str, ...], results: tuple[Type, ...]
) -> tuple[Type, ...]:
    return results


defop(
    "fused",
    "Operations computed by one kernel launch: the region's arguments are the operands, values"
    " inside stay in float32, and what it yields is rounded and stored. `encodings` says for each"
    " operand how it is stored in memory: its dtype, or a block-quantised format such as `q4_0`.",
    params="family: str, encodings: attr, results: attr",
    type=_fused,
)


defop(
    "once",
    "Operations that need nothing but weights and constants: computed when the entry is first"
    " called, and kept.",
    params="results: attr",
    type=lambda *types, results: results,
)
