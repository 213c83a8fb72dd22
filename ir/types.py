"""The types of IR values: tensors with symbolic shapes, and host scalars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tlc.ir.dims import Dim, DimLike, product

# dtype -> bytes of one stored element
DTYPES = {"f16": 2, "f32": 4, "i32": 4, "bool": 1}
FLOATS = ("f16", "f32")
SCALARS = ("int", "float", "bool", "str")

# how the language spells a dtype, and what it means
SPELLINGS = {
    "float16": "f16",
    "f16": "f16",
    "half": "f16",
    "float32": "f32",
    "f32": "f32",
    "int32": "i32",
    "i32": "i32",
    "int": "i32",
    "bool": "bool",
}


@dataclass(frozen=True, slots=True)
class TensorType:
    """A dense row-major tensor; rank 0 is a scalar that lives on the device."""

    dtype: str
    shape: tuple[Dim, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def numel(self) -> Dim:
        return product(self.shape)

    @property
    def nbytes(self) -> Dim:
        return self.numel * DTYPES[self.dtype]

    def with_shape(self, shape: Iterable[DimLike]) -> TensorType:
        return TensorType(self.dtype, tuple(map(Dim.of, shape)))

    def with_dtype(self, dtype: str) -> TensorType:
        return TensorType(dtype, self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}{show_shape(self.shape)}"


@dataclass(frozen=True, slots=True)
class ScalarType:
    """A value of the host: `int`, `float`, `bool` or `str`."""

    kind: str

    def __str__(self) -> str:
        return self.kind


Type = TensorType | ScalarType


def tensor(dtype: str, *shape: DimLike) -> TensorType:
    """`tensor("f16", "N", 3)` is `f16[N, 3]`."""
    return TensorType(dtype, tuple(map(Dim.of, shape)))


def row_major(shape: Sequence[Dim]) -> tuple[Dim, ...]:
    """The strides of a dense tensor."""
    return tuple(product(shape[at + 1 :]) for at in range(len(shape)))


def show_shape(shape: Iterable[DimLike]) -> str:
    """A shape as messages and programs print it: `[4, N]`."""
    return f"[{', '.join(map(str, shape))}]"
