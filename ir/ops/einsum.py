"""Sums of products in Einstein's notation, as permutations, reductions and matrix products.

A label that stands twice in one operand takes its diagonal; a label that the result does not have
is summed. Of several operands the two are multiplied next that take the fewest steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from tlc.ir.builder import Builder
from tlc.ir.core import Value
from tlc.ir.dims import Dim, product
from tlc.ir.opdef import Sample, TypeRuleError, compose
from tlc.ir.types import FLOATS, row_major, tensor

_GUESS = 64  # what a size that only run time knows counts for when orders are compared
_MORE = 0xE000  # labels of the axes behind `...`, in the private part of Unicode


@dataclass(frozen=True, slots=True)
class Term:
    """An operand: a label for each axis of its value."""

    labels: tuple[str, ...]
    value: Value


def _tensors(count: int) -> str:
    return "one tensor" if count == 1 else f"{count} tensors"


def parse_spec(spec: str, ranks: Sequence[int]) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """`"ij,jk->ik"` as labels of each operand and of the result.

    Without an arrow the result has the labels that stand once, in alphabetical order. `...` stands
    for the axes that are left. Raises TypeRuleError E0302 for a bad specification, E0301 when it
    does not fit the ranks.
    """
    left, arrow, right = spec.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(ranks):
        raise TypeRuleError(
            f'"{spec}" is for {_tensors(len(parts))}, and {len(ranks)} given', "E0302"
        )
    inputs = [
        _labels(spec, part, rank, at)
        for at, (part, rank) in enumerate(zip(parts, ranks, strict=True))
    ]
    used = [label for labels in inputs for label in labels]
    more = sorted({label for label in used if ord(label) >= _MORE}, reverse=True)
    if not arrow:
        once = sorted(x for x in set(used) if used.count(x) == 1 and ord(x) < _MORE)
        return inputs, (*more, *once)
    result = _labels(spec, right, len(right.replace("...", "")) + len(more), None)
    for label in result:
        if label not in used:
            raise TypeRuleError(f'`{label}` of the result is in no operand of "{spec}"', "E0302")
        if result.count(label) > 1:
            raise TypeRuleError(f'`{label}` is twice in the result of "{spec}"', "E0302")
    return inputs, result


def _labels(spec: str, part: str, rank: int, at: int | None) -> tuple[str, ...]:
    before, dots, after = part.partition("...")
    wrong = next((c for c in before + after if not (c.isascii() and c.isalpha())), None)
    if wrong is not None:
        raise TypeRuleError(f'"{spec}" has `{wrong}`, where a label is a letter', "E0302")
    more = rank - len(before) - len(after)
    if more < 0 or (more and not dots):
        raise TypeRuleError(
            f'`{part}` of "{spec}" is for a tensor of rank {len(before) + len(after)},'
            f" and operand {(at or 0) + 1} has rank {rank}",
            "E0301",
            () if at is None else (at,),
        )
    return (*before, *(chr(_MORE + k) for k in reversed(range(more))), *after)


def einsum(b: Builder, *operands: Value, spec: str) -> Value:
    """The result of a specification. Raises TypeRuleError."""
    for at, x in enumerate(operands):
        if x.tensor.dtype not in FLOATS:
            raise TypeRuleError(
                f"a floating-point tensor is needed, and this is {x.type}", "E0302", (at,)
            )
    inputs, result = parse_spec(spec, [x.tensor.rank for x in operands])
    sizes = _sizes(b, inputs, operands, spec)
    operands = tuple(
        b.reshape(
            x,
            [
                s if s == Dim.of(1) else sizes[n]
                for n, s in zip(labels, x.tensor.shape, strict=True)
            ],
        )
        for labels, x in zip(inputs, operands, strict=True)
    )
    dtype = "f32" if any(x.tensor.dtype == "f32" for x in operands) else "f16"
    terms = [_diagonal(b, Term(labels, x)) for labels, x in zip(inputs, operands, strict=True)]
    while True:
        terms = [_summed(b, t, _wanted(result, terms, [t])) for t in terms]
        if len(terms) == 1:
            break
        first, second = _cheapest(terms, result, sizes)
        rest = [t for t in terms if t is not first and t is not second]
        wanted = _wanted(result, terms, [first, second])
        terms = [*rest, _multiplied(b, first, second, wanted, sizes, bool(rest))]
    (last,) = terms
    order = tuple(last.labels.index(label) for label in result)
    found = last.value
    if order != tuple(range(len(order))):
        found = b.emit("permute", found, axes=order)
    # an axis behind `...` that is 1 in all operands that are left may be longer in others
    return b.cast(b.broadcast(found, [sizes[label] for label in result]), dtype)


def _sizes(
    b: Builder, inputs: Sequence[tuple[str, ...]], operands: Sequence[Value], spec: str
) -> dict[str, Dim]:
    """The size of every label. Axes behind `...` of size 1 fit any size."""
    sizes: dict[str, Dim] = {}
    first: dict[str, int] = {}
    for at, (labels, x) in enumerate(zip(inputs, operands, strict=True)):
        for label, size in zip(labels, x.tensor.shape, strict=True):
            known = sizes.get(label, Dim.of(1) if ord(label) >= _MORE else size)
            if known != size and ord(label) >= _MORE and Dim.of(1) in (known, size):
                known = size if known == Dim.of(1) else known
            elif known != size:
                name = "..." if ord(label) >= _MORE else label
                text = f'`{name}` of "{spec}" is {known} and {size}'
                if known.is_static and size.is_static:
                    raise TypeRuleError(text, "E0301", (first[label], at))
                b.check(known, size, text)
                known = size if size.is_static else known
            sizes[label] = known
            first.setdefault(label, at)
    return sizes


def _wanted(result: Sequence[str], terms: Sequence[Term], mine: Sequence[Term]) -> set[str]:
    """The labels that the result or other terms need."""
    others = (t.labels for t in terms if all(t is not m for m in mine))
    return set(result).union(*others)


def _diagonal(b: Builder, term: Term) -> Term:
    labels = tuple(dict.fromkeys(term.labels))
    if labels == term.labels:
        return term
    shape, steps = term.value.tensor.shape, row_major(term.value.tensor.shape)
    strides = [Dim.of(0)] * len(labels)
    sizes = [Dim.of(1)] * len(labels)
    for label, size, step in zip(term.labels, shape, steps, strict=True):
        at = labels.index(label)
        strides[at], sizes[at] = strides[at] + step, size
    seen = b.emit(
        "access", term.value, shape=tuple(sizes), strides=tuple(strides), offset=Dim.of(0)
    )
    return Term(labels, seen)


def _summed(b: Builder, term: Term, wanted: set[str]) -> Term:
    """Without the labels that nobody wants; sums are float32."""
    labels, value = list(term.labels), term.value
    for label in term.labels:
        if label not in wanted:
            at = labels.index(label)
            shape = value.tensor.shape
            total = b.emit("reduce_sum", b.f32(value), axis=at)
            value = b.reshape(total, shape[:at] + shape[at + 1 :])
            labels.pop(at)
    return Term(tuple(labels), value)


def _steps(labels: Iterable[str], sizes: dict[str, Dim]) -> int:
    steps = 1
    for label in labels:
        steps *= int(sizes[label]) if sizes[label].is_static else _GUESS
    return steps


def _cheapest(
    terms: Sequence[Term], result: Sequence[str], sizes: dict[str, Dim]
) -> tuple[Term, Term]:
    """The pair with the fewest multiplications; of equal ones, with the smallest product."""

    def cost(pair: tuple[Term, Term]) -> tuple[int, int]:
        together = set(pair[0].labels) | set(pair[1].labels)
        return (
            _steps(together, sizes),
            _steps(together & _wanted(result, terms, pair), sizes),
        )

    return min(combinations(terms, 2), key=cost)


def _arranged(b: Builder, term: Term, groups: Sequence[Sequence[str]]) -> Value:
    """The value with its axes in the order of the groups, each group one axis."""
    order = tuple(term.labels.index(label) for group in groups for label in group)
    value = b.emit("permute", term.value, axes=order)
    sizes = iter(value.tensor.shape)
    return b.reshape(value, [product(next(sizes) for _ in group) for group in groups])


def _multiplied(
    b: Builder, first: Term, second: Term, wanted: set[str], sizes: dict[str, Dim], more: bool
) -> Term:
    """The product of two terms, summed over what nobody wants; float32 when `more` follow."""
    first, second = (_stretched(b, term, sizes) for term in (first, second))
    shared = [label for label in first.labels if label in second.labels]
    batch = [label for label in shared if label in wanted]
    inner = [label for label in shared if label not in wanted]
    rows = [label for label in first.labels if label not in shared]
    columns = [label for label in second.labels if label not in shared]
    left, right = first.value, second.value
    if more:
        left = b.f32(left)
    if not inner or not (rows or columns):
        labels = (*batch, *rows, *columns, *inner)
        parts = [
            _arranged(b, Term(t.labels, v), [[x] if x in t.labels else [] for x in labels])
            for t, v in ((first, left), (second, right))
        ]
        wide = b.binary("mul", *(map(b.f32, parts) if inner else parts))
        return _summed(b, Term(labels, wide), wanted)
    lead = [batch] if batch else []
    made = b.emit(
        "contract",
        _arranged(b, Term(first.labels, left), [*lead, rows, inner]),
        _arranged(b, Term(second.labels, right), [*lead, inner, columns]),
    )
    labels = (*batch, *rows, *columns)
    return Term(labels, b.reshape(made, [sizes[label] for label in labels]))


def _stretched(b: Builder, term: Term, sizes: dict[str, Dim]) -> Term:
    """Axes of size 1 behind `...` repeated as far as they go."""
    shape = [sizes[label] for label in term.labels]
    return Term(term.labels, b.broadcast(term.value, shape))


compose(
    "einsum",
    'The sum of products that a specification such as "bij,bjk->bik" says; every label is a letter,'
    " `...` stands for the axes that are left.",
    einsum,
    params="spec: str, operands: tensors",
    sample=(
        Sample((tensor("f16", 3, 5), tensor("f16", 5, 4)), {"spec": "ij,jk->ik"}),
        Sample((tensor("f16", 4, 4),), {"spec": "ii->"}),
    ),
)

__all__ = ["einsum", "parse_spec"]
