"""Operations of the registry as entries of programs: in every dtype, at many sizes, with operands
read through views. A new operation is covered by its record's samples.

Sizes are symbols, so that one kernel serves all of them; some entries have fixed sizes, for which
kernels are written otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

import tlc.ir.ops  # noqa: F401  (fills the registry)
from tlc.ir.builder import Builder
from tlc.ir.core import Block, Func, Value
from tlc.ir.dims import Dim
from tlc.ir.interp import NUMPY_DTYPES
from tlc.ir.opdef import OpDef, Sample, TypeRuleError
from tlc.ir.types import FLOATS, TensorType

Array = NDArray[Any]
Dims = tuple[Dim, ...]
T = TypeVar("T")

NAN, INF = float("nan"), float("inf")
# what arithmetic treats in its own way; float16 holds all of them but the last three exactly
SPECIAL = (
    *(NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 65504.0, -65504.0),
    *(2.0**-24, -(2.0**-24), 2.0**-14, 2049.0, 88.9, -104.0),
)
SPECIAL32 = (3.0e38, -3.0e38, 2.0**-149, 2.0**-126, 16777217.0)
# our sin, cos and tan give NaN beyond 1e15, where neighbouring numbers are many turns apart
TURNS = ("sin", "cos", "tan")
MASKS = {"and": 2, "or": 2, "not": 1}  # have no sample: their operands are masks


# ---- views ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """How an operand of some shape lies in memory: the shape of the parameter, and the view of it.

    `fits` says for which shapes there is such a view.
    """

    stored: Callable[[Dims], Sequence[Dim]]
    view: Callable[[Builder, Value, Dims], Value]
    fits: Callable[[Dims], bool] = lambda shape: bool(shape)


def _backwards(b: Builder, x: Value, shape: Dims) -> Value:
    return b.emit("permute", x, axes=tuple(reversed(range(len(shape)))))


def _inside(b: Builder, x: Value, shape: Dims) -> Value:
    for axis, size in enumerate(shape):
        x = b.emit("slice", x, axis=axis, start=Dim.of(axis + 1), length=size)
    return x


def _every_second(b: Builder, x: Value, shape: Dims) -> Value:
    """One half of pairs: steps of 2 along the last axis."""
    last = len(shape)
    pair = b.emit("slice", x, axis=last, start=Dim.of(1), length=Dim.of(1))
    return b.reshape(pair, shape)


def _joined(b: Builder, x: Value, shape: Dims) -> Value:
    """The first and the last axis exchanged, then as one axis: [2, ..., H] as [..., 2 * H]."""
    axes = (*range(1, len(shape)), 0, len(shape))
    return b.reshape(b.emit("permute", x, axes=axes), shape)


def _half(size: Dim) -> Dim | None:
    return size.exact_div(2)


def _split(b: Builder, x: Value, shape: Dims) -> Value:
    """A transposed matrix whose rows are taken apart: [N, A * B] as [A, B, N]."""
    return b.reshape(b.emit("permute", x, axes=(1, 0)), shape)


LAYOUTS = {
    "stored": Layout(lambda s: s, lambda b, x, s: x, lambda s: True),
    "backwards": Layout(lambda s: s[::-1], _backwards, lambda s: len(s) > 1),
    "inside": Layout(lambda s: [d + k + 3 for k, d in enumerate(s)], _inside),
    "one for all": Layout(lambda s: (*s[:-1], 1), lambda b, x, s: b.broadcast(x, s)),
    "rows for all": Layout(lambda s: s[1:], lambda b, x, s: b.broadcast(x, s)),
    "every second": Layout(lambda s: (*s, 2), _every_second),
    "joined": Layout(
        lambda s: (2, *s[:-1], _half(s[-1]) or 0),
        _joined,
        lambda s: len(s) > 1 and _half(s[-1]) is not None,
    ),
    "split": Layout(
        lambda s: (s[-1], s[0] * s[1]),
        _split,
        lambda s: len(s) == 3 and len({*s}) == 3 and not any(d.symbols() for d in s[:2]),
    ),
}


# ---- entries -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Entry:
    """A call of an operation on parameters that lie in memory as `layouts` say.

    sizes   of the symbols in the types, for each time it is run.
    low, high  between which numbers the operation is at work.
    """

    name: str
    op: OpDef
    types: tuple[TensorType, ...]
    attrs: Mapping[str, Any]
    layouts: tuple[str, ...]
    sizes: tuple[Mapping[str, int], ...]
    low: float
    high: float

    def func(self) -> Func:
        """A new function of the entry, as a program would be lowered."""
        params, body = [], Block()
        builder = Builder(body)
        operands = []
        for type, layout in zip(self.types, self.layouts, strict=True):
            shape = tuple(map(Dim.of, LAYOUTS[layout].stored(type.shape)))
            params.append(Value(type.with_shape(shape)))
            operands.append(LAYOUTS[layout].view(builder, params[-1], type.shape))
        body.args += params
        builder.append("yield", builder.emit(self.op, *operands, **self.attrs))
        return Func(self.name, body, [f"x{at}" for at in range(len(params))])


def _dtypes(op: OpDef, sample: Sample) -> Iterator[tuple[str, ...]]:
    """The dtypes of the operands that the type rule takes: all float16, all float32, whole
    numbers where it compares them."""
    given = tuple(type.dtype for type in sample.operands)
    tried = {given}
    for dtype in ("f16", "f32", "i32"):
        tried.add(tuple(dtype if d in FLOATS else d for d in given))
    for dtypes in sorted(tried):
        types = [t.with_dtype(d) for t, d in zip(sample.operands, dtypes, strict=True)]
        try:
            Builder(Block()).emit(op, *map(Value, types), **sample.attrs)
        except TypeRuleError:
            continue
        yield dtypes


def _samples(op: OpDef) -> Sequence[Sample]:
    if op.name in MASKS:
        mask = TensorType("bool", (Dim.of(3), Dim.of(5)))
        return (Sample((mask,) * MASKS[op.name], {}),)
    return op.sample


def _renamed(sample: Sample, names: Mapping[int, Dim]) -> tuple[TensorType, ...]:
    """The operands with other sizes; equal ones stay equal, and 1 stays 1."""
    return tuple(
        type.with_shape(names.get(int(d), d) for d in type.shape) for type in sample.operands
    )


SIZES = ((1, 1), (2, 3), (7, 31), (33, 2), (0, 5), (5, 0), (1, 4097), (65, 40))
EVERYWHERE = tuple({"A": m, "B": n} for m, n in SIZES)
MOST = 2**18  # elements of an entry's arguments
FIXED = ((1, 7), (31, 2), (33, 64))
RANKS: tuple[tuple[str | int, ...], ...] = ((), ("A",), ("A", "B"), ("B", 3, "A"), (2, "A", 3, "B"))


def entries(op: OpDef) -> Iterator[Entry]:
    """All entries of an operation."""
    for number, sample in enumerate(_samples(op)):
        for at, dtypes in enumerate(_dtypes(op, sample)):
            name = f"{op.name}_{number}_{'_'.join(dict.fromkeys(dtypes))}"
            kinds = Sample(
                tuple(t.with_dtype(d) for t, d in zip(sample.operands, dtypes, strict=True)),
                sample.attrs,
                sample.low,
                sample.high,
            )
            make = _elementwise if op.elementwise else _resized
            yield from make(op, kinds, name, at == 0)


def _elementwise(op: OpDef, sample: Sample, name: str, first: bool) -> Iterator[Entry]:
    for rank, shape in enumerate(RANKS):
        types = tuple(t.with_shape(shape) for t in sample.operands)
        yield _entry(op, sample, f"{name}_rank{rank}", types, (), EVERYWHERE if shape else ({},))
    for layout in _some(tuple(LAYOUTS)[1:], 4 if first else 1, name):
        mixed = tuple(layout if at % 2 == 0 else "stored" for at in range(len(sample.operands)))
        for shape, sizes in ((("A", 2, 2 * Dim.of("B")), EVERYWHERE), ((5, 2, 14), ({},))):
            types = tuple(t.with_shape(shape) for t in sample.operands)
            if _bound(types, mixed):
                yield _entry(op, sample, f"{name}_{layout}", types, mixed, sizes)
                break
    for m, n in _some((*FIXED, (3, 4097)), 1, name):
        types = tuple(t.with_shape((m, n)) for t in sample.operands)
        yield _entry(op, sample, f"{name}_{m}x{n}", types, (), ({},))


def _resized(op: OpDef, sample: Sample, name: str, first: bool) -> Iterator[Entry]:
    """The sample as it is, with symbols for its sizes, with other sizes, and through views.

    Where an attribute or the operation itself fixes a size, only what it accepts is left.
    """
    yield _entry(op, sample, f"{name}_sample", sample.operands, (), ({},))
    known = sorted({int(d) for t in sample.operands for d in t.shape if int(d) > 1})
    if not known or any(map(_has_dims, sample.attrs.values())):
        return
    symbols = {d: Dim.of("AB"[at % 2]) for at, d in enumerate(known)}
    types = _renamed(sample, symbols)
    if len(known) < 3 and _accepts(op, types, sample):
        yield _entry(op, sample, f"{name}_sizes", types, (), EVERYWHERE)
    for m, n in _some(FIXED, 1, name):
        fixed = {d: Dim.of((m, n)[at % 2] + at // 2) for at, d in enumerate(known)}
        types = _renamed(sample, fixed)
        if _accepts(op, types, sample):
            yield _entry(op, sample, f"{name}_{m}x{n}", types, (), ({},))
    doubled = {d: dim * 2 if d == known[-1] else dim for d, dim in symbols.items()}
    for layout in _some(tuple(LAYOUTS)[1:], 9 if first else 1, name):
        for dims in (doubled, {d: Dim.of(2 * d) for d in known}, {}):
            types = _renamed(sample, dims)
            fits = tuple(layout if LAYOUTS[layout].fits(t.shape) else "stored" for t in types)
            if {*fits} != {"stored"} and _accepts(op, types, sample) and _bound(types, fits):
                sizes = EVERYWHERE if dims is doubled else ({},)
                yield _entry(op, sample, f"{name}_{layout}", types, fits, sizes)
                break


def _some(choices: Sequence[T], count: int, name: str) -> Sequence[T]:
    """So many of the choices, others for other names."""
    start = crc32(name.encode()) % len(choices)
    return (*choices[start:], *choices[:start])[:count]


def _bound(types: Sequence[TensorType], layouts: Sequence[str]) -> bool:
    """Whether the parameters tell the sizes of all symbols."""
    wanted = {s for t in types for d in t.shape for s in d.symbols()}
    stored = [LAYOUTS[k].stored(t.shape) for t, k in zip(types, layouts, strict=True)]
    return wanted <= {s for shape in stored for d in shape for s in Dim.of(d).symbols()}


def _elements(types: Sequence[TensorType], sizes: Mapping[str, int]) -> int:
    return sum(int(t.numel.substitute(sizes)) for t in types)


def _has_dims(part: Any) -> bool:
    return isinstance(part, Dim | TensorType) or (
        isinstance(part, tuple) and any(map(_has_dims, part))
    )


def _accepts(op: OpDef, types: Sequence[TensorType], sample: Sample) -> bool:
    block = Block()
    try:
        Builder(block).emit(op, *map(Value, types), **sample.attrs)
    except TypeRuleError:
        return False
    return all(o.name != "check" for o in block.ops)


def _entry(
    op: OpDef,
    sample: Sample,
    name: str,
    types: Sequence[TensorType],
    layouts: Sequence[str],
    sizes: Sequence[Mapping[str, int]],
) -> Entry:
    name = "".join(c if c.isalnum() else "_" for c in name)
    layouts = tuple(layouts) or ("stored",) * len(types)
    small = tuple(each for each in sizes if _elements(types, each) <= MOST)
    return Entry(name, op, tuple(types), sample.attrs, layouts, small, sample.low, sample.high)


# ---- arguments -----------------------------------------------------------------------------------


def arguments(entry: Entry, func: Func, sizes: Mapping[str, int], special: bool) -> list[Array]:
    """Reproducible arguments for an entry: numbers at which it is at work, or with special ones
    between them. Whole numbers are indices that every axis has, and negative ones too."""
    random = np.random.default_rng([len(entry.name), *sizes.values(), special])
    shapes = [tuple(int(d.substitute(sizes)) for d in v.tensor.shape) for v in func.params]
    least = min((n for shape in shapes for n in shape), default=1)
    found, turns = [], entry.op.name in TURNS
    for value, shape in zip(func.params, shapes, strict=True):
        dtype = NUMPY_DTYPES[value.tensor.dtype]
        match value.tensor.dtype:
            case "bool":
                numbers: Any = random.random(shape) < 0.5
            case "i32" if entry.op.elementwise:
                numbers = random.integers(-3, 4, shape)
            case "i32":
                numbers = random.integers(0, max(1, min(least, int(entry.high) + 1)), shape)
            case kind:
                numbers = random.uniform(entry.low, entry.high, shape)
                if special:
                    wide = kind == "f32" and entry.op.elementwise
                    more = [n for n in SPECIAL32 if wide and (abs(n) < 1e15 or not turns)]
                    often = 1.0 if entry.op.elementwise else 0.2
                    chosen = random.choice((*SPECIAL, *more), shape)
                    numbers = np.where(random.random(shape) < often, chosen, numbers)
        with np.errstate(over="ignore"):
            found.append(np.asarray(numbers).astype(dtype))
    return found
