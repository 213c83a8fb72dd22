"""Tensors and metadata of model files: `model.blk[i].attn_q.weight`, `model.metadata["..."]`."""

from __future__ import annotations

from itertools import count, takewhile
from typing import Any

from tlc.frontend.source import Span
from tlc.frontend.suggest import did_you_mean
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.formats import PACKED, READ_AS_F16
from tlc.ir.lower.context import Context
from tlc.ir.lower.places import within
from tlc.ir.lower.values import Lowered, Model, ModelPath
from tlc.ir.types import TensorType

_MOST_AXES = 32  # of an array of NumPy before its version 2

# how files store numbers that are not computed with -> what can be done; a tensor is refused when
# it is touched
_REFUSED = {
    **dict.fromkeys(
        ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "bool"),
        "tensors that are computed with are floating point; the others can stay unused",
    ),
    **dict.fromkeys(("f4", "f6_", "f8_e8m0", "c64"), "store it as F16, BF16 or F32"),
    **dict.fromkeys(
        ("type_", "q1_0", "q8_1", "q8_k"),
        "`llama-quantize --allow-requantize` of llama.cpp writes a type that is read: F16, Q8_0",
    ),
}

# one number at a time: not worth a word when they are converted
_PLAIN = ("f16", "f32", "f64", "bf16")


def inside(cx: Context, path: ModelPath, span: Span) -> Lowered:
    """A tensor, when the dotted name is one; the path, when it is a longer name's beginning."""
    tensors = path.model.header.tensors
    for name in path.names:
        if name not in tensors and not any(known.startswith(name + ".") for known in tensors):
            return tensor(cx, path.model, name, span)  # which reports it
    if any(name not in tensors for name in path.names):
        return path
    if path.index is None:
        return tensor(cx, path.model, path.names[0], span)
    return _one_of(cx, path, span)


def indexed(cx: Context, path: ModelPath, at: int | Dim, span: Span) -> Lowered:
    """`path[at]`: by a number, or by one that the run knows, which then chooses among names."""
    if isinstance(at, int):
        return inside(cx, path.member(str(at)), span)
    counter = next(iter(at.symbols()), "")
    low, high = cx.ranges.get(counter, (at, at))
    if len(at.symbols()) == 1 and low.is_static and high.is_static:
        numbers = [int(at.substitute({counter: n})) for n in range(int(low), int(high))]
        place = Dim.of(counter) - low
    else:
        numbers = _numbered(path)
        if not numbers:
            return tensor(cx, path.model, f"{path.names[0]}.0", span)  # which reports it
        text = f"there is no `{path.names[0]}[{{}}]`: the last one is {numbers[-1]}"
        within(cx, at, Dim.of(1), Dim.of(len(numbers)), span, text.format(at))
        place = at
    names = tuple(f"{name}.{n}" for name in path.names for n in numbers)
    if path.index is not None:
        place = path.index * len(numbers) + place
    return inside(cx, ModelPath(path.model, names, place), span)


def _numbered(path: ModelPath) -> list[int]:
    """The numbers from 0 on that the parts of a path have."""
    lead = f"{path.names[0]}."
    parts = {
        name.removeprefix(lead).split(".")[0]
        for name in path.model.header.tensors
        if name.startswith(lead)
    }
    return list(takewhile(lambda n: str(n) in parts, count()))


def tensor(cx: Context, model: Model, name: str, span: Span) -> Value:
    """The weight of that name. Reports an unknown name and a type that is not computed with."""
    encoding, stored, type = _storage(cx, model, name, span)
    return cx.emit(
        "weight",
        model=model.index,
        tensor=name,
        encoding=encoding,
        stored=stored,
        type=type,
        span=span,
    )


def _one_of(cx: Context, path: ModelPath, span: Span) -> Value:
    """One of several weights of equal shape and storage."""
    found = {name: _storage(cx, path.model, name, span) for name in path.names}
    first, *others = found.items()
    for name, storage in others:
        if storage != first[1]:
            cx.fail(
                "E0302",
                f"`{name}` is {storage[0]} {storage[2]}, and `{first[0]}` is"
                f" {first[1][0]} {first[1][2]}: one loop cannot read both",
                span,
            )
    encoding, stored, type = first[1]
    return cx.emit(
        "weight_of",
        model=path.model.index,
        tensors=path.names,
        index=path.index,
        encoding=encoding,
        stored=stored,
        type=type,
        span=span,
    )


def _storage(cx: Context, model: Model, name: str, span: Span) -> tuple[str, str, TensorType]:
    """How the file and the device store a tensor, and its type."""
    entry = model.header.tensors.get(name)
    if entry is None:
        hint = did_you_mean(name, model.header.tensors)
        if not hint:
            some = sorted(model.header.tensors)[:3]
            hint = _beside(model, name) or f"it has {len(model.header.tensors)} tensors" + (
                f", such as {', '.join(some)}" if some else ""
            )
        cx.fail("E0602", f"{model.path} has no tensor `{name}`", span, hint=hint)
    encoding = entry.encoding
    refused = next((hint for start, hint in _REFUSED.items() if encoding.startswith(start)), "")
    if refused:
        text = f"tensor `{name}` of {model.path} is stored as {encoding}"
        cx.fail("E0603", text, span, hint=refused)
    if len(entry.shape) > _MOST_AXES:
        text = f"tensor `{name}` of {model.path} has {len(entry.shape)} axes"
        cx.fail("E0603", text, span, hint=f"tensors have at most {_MOST_AXES}")
    type = TensorType(model.dtype, tuple(map(Dim.of, entry.shape)))
    kept = encoding in READ_AS_F16 and model.dtype == "f16"
    if not kept and encoding not in _PLAIN:
        cx.warn(
            "W0002",
            f"tensor `{name}` is stored as {encoding} and takes {type.nbytes} bytes once loaded",
            span,
            f"kernels read {', '.join(PACKED)} packed, into float16",
        )
    return encoding, encoding if kept else model.dtype, type


def _beside(model: Model, name: str) -> str:
    """What there is instead of the last part of a dotted name: `blk.7` of two blocks."""
    parent = name.rpartition(".")[0]
    inside = f"{parent}."
    parts = {
        t.removeprefix(inside).split(".")[0] for t in model.header.tensors if t.startswith(inside)
    }
    if not parent or not parts:
        return ""
    numbers = sorted(int(part) for part in parts if part.isdecimal())
    if len(numbers) == len(parts) and numbers == list(range(len(parts))) and len(parts) > 2:
        return f"`{parent}` has parts 0 to {numbers[-1]}"
    shown = sorted(parts)[:8]
    return f"`{parent}` has {', '.join(shown)}{', ...' if len(parts) > len(shown) else ''}"


def is_packed(value: Value) -> bool:
    """Whether a tensor is a weight that stays in memory as its file stores it, not as float16."""
    owner = value.owner
    return owner is not None and owner.attrs.get("stored") in READ_AS_F16


def metadata(cx: Context, model: Model, key: str, span: Span) -> Lowered:
    """A metadata entry as a value of the program."""
    table = model.header.metadata
    if key not in table:
        cx.fail(
            "E0204",
            f"{model.path} has no metadata `{key}`",
            span,
            hint=did_you_mean(key, [*table, "format", "quantization"]),
        )
    return _entry(table[key])


def _entry(value: Any) -> Lowered:
    """A value as the files give it: arrays of numbers are views, also those inside arrays."""
    if isinstance(value, bool | int | float | str):
        return value
    numbers = isinstance(value, memoryview)
    return value.tolist() if numbers else [_entry(item) for item in value]
