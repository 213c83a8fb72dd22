"""A region of attention as kernels see it: axes of heads and rows, and where everything lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tlc.codegen.expression import Access, Region
from tlc.codegen.families.bounds import Bounds, bounds_of
from tlc.codegen.iteration import ONE, ZERO, Dims, Sizes, row_major, split
from tlc.frontend.diagnostics import InternalError
from tlc.ir.core import Value
from tlc.ir.dims import Dim, product


@dataclass(frozen=True, slots=True)
class Matrix:
    """Keys or values: the strides along the axes of `lead`, from key to key, and along a head."""

    access: Access
    lead: Dims
    key: Dim
    along: Dim


@dataclass(frozen=True, slots=True)
class Attention:
    """A region as kernels see it: `lead` axes, then keys.

    heads    the axes along which keys or values differ; rows, the others, those that masks depend
             on first, so that neighbouring rows keep neighbouring keys.
    queries  the value of the queries, [*lead, *cut]; `cut` are the axes of a head.
    first    the product of queries and keys; scores, what the softmax is taken of; mixed, the
             product with the values; result, what follows it.
    out      the strides of the result along `lead` and along a head of values.
    """

    region: Region
    lead: Dims
    keys: Dim
    depth: int
    width: int
    heads: tuple[int, ...]
    rows: tuple[int, ...]
    key: Matrix
    value: Matrix
    queries: Value
    cut: Dims
    first: Value
    scores: Value
    mixed: Value
    result: Value
    out: Dims
    bounds: Bounds

    def sizes_of(self, axes: Sequence[int]) -> Dims:
        return tuple(self.lead[axis] for axis in axes)

    @property
    def sizes_appended(self) -> list[Dim]:
        """The elements of a head in each result that grows by a row."""
        sides = ((self.key, self.depth), (self.value, self.width))
        found = {side.access.part: Dim.of(size) for side, size in sides if side.access.part}
        return [found[part] for part in sorted(found)]

    @property
    def head_count(self) -> Dim:
        return product(self.sizes_of(self.heads))

    @property
    def row_count(self) -> Dim:
        return product(self.sizes_of(self.rows))

    def names(self, sizes: Sizes) -> tuple[list[str], list[str], list[str]]:
        """Statements from `head`, statements from `row`, and the name of every axis of `lead`."""
        head_lines, head_names = split(sizes, "head", self.sizes_of(self.heads), "h")
        row_lines, row_names = split(sizes, "row", self.sizes_of(self.rows), "i")
        names = ["0u"] * len(self.lead)
        for axis, name in zip(self.heads + self.rows, head_names + row_names, strict=True):
            names[axis] = name
        return head_lines, row_lines, names


def attention_of(region: Region) -> Attention:
    """The attention of a region. Raises InternalError when it is none."""
    first, last = (op for op in region.ops if op.name == "contract")
    scores = region.only("reduce_max").operands[0]
    key, value = region.access(first.operands[1]), region.access(last.operands[1])
    if key is None or value is None:
        raise InternalError("keys and values are read from memory")
    queries = first.operands[0]
    made = region.definition(queries)
    if made is not None and made.name == "reshape":
        queries = made.operands[0]
    *lead, keys = first.result.tensor.shape
    depth, width = key.shape[-2], value.shape[-1]
    *out, along = row_major(last.result.tensor.shape)
    result = region.result
    made = region.definition(result)
    if made is not None and made.name == "permute":
        axes, result = made.attrs["axes"], made.operands[0]
        steps = dict(zip(axes, row_major(made.result.tensor.shape), strict=True))
        *out, along = (steps[axis] for axis in range(len(axes)))
    one = Matrix(key, (*key.strides[:-2], ZERO), key.strides[-1], key.strides[-2])
    other = Matrix(value, (*value.strides[:-2], ZERO), value.strides[-2], value.strides[-1])
    bounds = bounds_of(region, scores, len(lead))
    real = [axis for axis, size in enumerate(lead) if size != ONE]
    heads = tuple(a for a in real if (one.lead[a], other.lead[a]) != (ZERO, ZERO))
    rows = [a for a in real if a not in heads]
    rows.sort(key=lambda axis: axis not in bounds.axes)
    return Attention(
        region, tuple(lead), keys, int(depth), int(width), heads, tuple(rows), one, other, queries,
        queries.tensor.shape[len(lead) :], first.result, scores, last.result, result,
        (*out, along), bounds,
    )  # fmt: skip
