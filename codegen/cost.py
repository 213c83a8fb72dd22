"""What a launch costs at least: a fused operation to the bytes it moves and its arithmetic."""

from __future__ import annotations

import re

from tlc.codegen.arena import appends_to
from tlc.ir.core import Op, Value
from tlc.ir.dims import Dim, product
from tlc.ir.formats import PACKED
from tlc.ir.types import DTYPES

_MOVES = frozenset(
    (
        *("access", "broadcast", "cast", "constant", "iota", "permute", "reshape", "concat"),
        *("gather", "stored"),
    )
)
_ARRAY = re.compile(r"^\s+(simdgroup_)?(float|half|int|uint)(8x8|4)? (\w+)((?:\[\d+\])+)", re.M)
_SCALAR = re.compile(r"^\s+(?:const )?(?:float|int|uint|bool) \w+ =", re.M)
_MOST_SCALARS = 24  # that are alive together, of kernels that have more


def cost(op: Op) -> tuple[Dim, Dim]:
    """Bytes of operands and results, each moved once, and operations: a multiplication and an
    addition for each pair of a product, one for each element of everything else."""
    (region,) = op.regions
    nbytes = Dim.of(0)
    there: list[Value | None] = []  # what is in its place already, and which attention reads
    family = op.attrs["family"]
    if family in ("append", "attention"):
        there = [appends_to(op, part) for part in range(len(op.results))]
    encodings = op.attrs["encodings"]
    for operand, value, encoding in zip(op.operands, region.args, encodings, strict=True):
        if operand not in there or family == "attention":
            nbytes += _bytes(_read(op, value), encoding)
    nbytes += sum((v.tensor.nbytes for v in op.results), Dim.of(0))
    nbytes -= sum((v.tensor.nbytes for v in there if v is not None), Dim.of(0))
    work = Dim.of(0)
    for inner in region.ops[:-1]:
        if inner.name == "contract":
            work += inner.result.tensor.numel * inner.operands[0].tensor.shape[-1] * 2
        elif inner.name not in _MOVES:
            read = inner.operands[0] if inner.name.startswith("reduce_") else inner.result
            work += read.tensor.numel
    return nbytes, work


def _read(op: Op, value: Value) -> Dim:
    """How many elements of an operand are read: all, or fewer where that is known."""
    (region,) = op.regions
    readers = [inner for inner in region.ops if value in inner.operands]
    whole = value.tensor.numel
    if all(r.name == "gather" and r.operands[0] is value for r in readers):
        return readers[0].result.tensor.numel
    if not all(r.name == "access" for r in readers):
        return whole
    parts = [
        product(
            n for n, step in zip(r.attrs["shape"], r.attrs["strides"], strict=True) if step != 0
        )
        for r in readers
    ]
    read = sum(parts, Dim.of(0))
    if whole.is_static and read.is_static:
        return min(whole, read, key=int)
    return whole


def _bytes(count: Dim, encoding: str) -> Dim:
    """Of so many elements, as they are stored."""
    if encoding in PACKED:
        record = PACKED[encoding]
        return count * record.nbytes // record.block
    return count * DTYPES.get(encoding, 2)


def registers(text: str) -> int:
    """An estimate of the 32-bit registers of a thread: arrays of its own, parts of matrices that a
    simdgroup holds together, and other variables."""
    held = min(len(_SCALAR.findall(text)), _MOST_SCALARS)
    for shared, element, kind, _, sizes in _ARRAY.findall(text):
        count = 1
        for number in re.findall(r"\d+", sizes):
            count *= int(number)
        words = 2 if shared else 4 if kind == "4" else 1  # 8 x 8 elements for 32 threads
        held += -(-count * words // 2) if element == "half" else count * words
    return held
