"""Operations with regions, and what ends a region."""

from __future__ import annotations

from tlc.ir.dims import Dim
from tlc.ir.formats import READ_AS_F16
from tlc.ir.opdef import TypeRuleError, defop
from tlc.ir.types import TensorType, Type

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
        if dtype != encoding and not (dtype == "f16" and encoding in READ_AS_F16):
            raise TypeRuleError(f"{type} is not stored as {encoding}", operands=(at,))
    return results


defop(
    "fused",
    "Operations computed by one kernel launch: the region's arguments are the operands, values"
    " inside stay in float32, and what it yields is rounded and stored. `encodings` says for each"
    " operand how it is stored in memory: its dtype, or another format such as `q4_0`.",
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


# ---- control flow on the host --------------------------------------------------------------------
#
# `ints` hold whole numbers that the host carries, as symbols of dimensions: (symbol inside the
# region, value before the first pass, value for the next pass, symbol after the loop) of a loop,
# and (symbol behind it, value of the first branch, value of the second) of an `if`. Types may hold
# these symbols: those of a region's arguments the ones inside, those of results the ones behind it.


def _loop(
    *types: Type,
    condition: Dim,
    ints: tuple[tuple[str, Dim, Dim, str], ...],
    results: tuple[Type, ...],
) -> tuple[Type, ...]:
    if len(results) != len(types):
        raise TypeRuleError(f"{len(results)} results for {len(types)} operands")
    return results


defop(
    "loop",
    "The region again and again while the condition on the host's numbers holds. Operands are the"
    " tensors that it carries: the region's arguments, what it yields for the next pass, and the"
    " results.",
    params="values: tensors, condition: dim, ints: attr, results: attr",
    type=_loop,
    effect="io",
)


def _if(
    condition: Dim, ints: tuple[tuple[str, Dim, Dim], ...], results: tuple[Type, ...]
) -> tuple[Type, ...]:
    return results


defop(
    "if",
    "The first region when the condition on the host's numbers holds, else the second; both yield"
    " the results.",
    params="condition: dim, ints: attr, results: attr",
    type=_if,
    effect="io",
)


# ---- functions that call themselves --------------------------------------------------------------
#
# Numbers go in and out as symbols, as those of loops do: `ints` are the symbols of a function and
# the numbers of a call for them, `ends` say which symbol stands for which number at the end of the
# function, and `symbols` stand for these behind the call.

defop(
    "function",
    "What the calls behind it, and those inside of its region, run: the region's arguments are"
    " their operands, and what it yields are their results, of `types`. It sees the values around"
    " it; its own are other ones in each call.",
    params="name: str, ints: attr, ends: attr, types: attr",
    type=lambda name, ints, ends, types: (),
    effect="io",
)

defop(
    "call",
    "A function, run with operands and numbers.",
    params="values: tensors, name: str, ints: attr, symbols: attr, results: attr, place: str",
    type=lambda *types, name, ints, symbols, results, place: results,
    effect="io",
)


def _read(x: Type, symbol: str) -> tuple[Type, ...]:
    if not isinstance(x, TensorType) or x.dtype not in ("i32", "bool"):
        raise TypeRuleError(
            f"a condition or whole number is needed, and this is {x}", "E0302", (0,)
        )
    if not x.numel.is_static or int(x.numel) != 1:
        raise TypeRuleError(f"one element is needed, and this is {x}", "E0302", (0,))
    return ()


defop(
    "read",
    "Brings the one element of a tensor to the host, where a symbol stands for it.",
    params="x, symbol: str",
    type=_read,
    effect="io",
)


defop(
    "timed",
    "From here on a benchmark is timed: what stands behind it is not done once and kept, as what"
    " stands before it may be. `hoist` takes it away.",
    type=lambda: (),
    effect="io",
)
