"""Turns the parts of a compressed Core ML weight into its numbers.

What the operations mean is in coremltools' `iOS16` and `iOS18` `constexpr_ops`: numbers are
computed in float32 and rounded to the type of the result.
"""

from __future__ import annotations

from tlc.runtime.coreml.blob import BITS, Blob, stored_bytes
from tlc.runtime.coreml.records import Literal, TensorType
from tlc.runtime.model_file import element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    from tlc.runtime.coreml.tensors import Tensors

_NUMPY = {
    "f16": "<f2", "f32": "<f4", "f64": "<f8", "i8": "i1", "i16": "<i2", "i32": "<i4", "i64": "<i8",
    "u8": "u1", "u16": "<u2", "u32": "<u4", "u64": "<u8", "bool": "?",
}  # fmt: skip


class Recipe:
    """How a compressed weight is computed; called, it gives its numbers, a NumPy array."""

    __slots__ = ("_kind", "_parts", "_tensors", "dtype", "encoding", "nbytes", "shape")

    def __init__(
        self, tensors: Tensors, kind: str, parts: dict[str, Any], type: TensorType
    ) -> None:
        """Raises ValueError when the parts do not make a weight of that type."""
        needed, optional = KINDS[kind][:2]
        missing = [name for name in needed if name not in parts]
        if missing:
            raise ValueError(f"`{kind}` has no `{missing[0]}`")
        if None in type.shape or type.dtype not in ("f16", "f32"):
            raise ValueError(f"`{kind}` gives {type.dtype}, and float16 or float32 is read")
        self._tensors, self._kind = tensors, kind
        self._parts = {k: v for k, v in parts.items() if k in needed + optional}
        self.dtype = type.dtype
        self.shape = tuple(size for size in type.shape if size is not None)
        first = parts[needed[0]]
        self.encoding = f"{KINDS[kind][3]}_{first.dtype}"
        self.nbytes = sum(_nbytes(part) for part in self._parts.values())
        element_count(self.shape)

    def __call__(self) -> NDArray[Any]:
        """The numbers, in the dtype of the weight."""
        import numpy as np

        parts = {name: self._array(part) for name, part in self._parts.items()}
        try:
            with np.errstate(all="ignore"):
                found = KINDS[self._kind][2](np, self.shape, **parts)
                made: NDArray[Any] = np.asarray(found, _NUMPY[self.dtype])
                return made.reshape(self.shape)
        except (ValueError, IndexError) as problem:
            raise ValueError(f"`{self._kind}`: {problem}") from None

    def bytes(self) -> bytes:
        """The stored bytes of all parts, one behind the other."""
        return b"".join(
            part.bytes() if isinstance(part, Recipe) else bytes(self._data(part))
            for part in self._parts.values()
        )

    def _data(self, part: Any) -> Any:
        return self._tensors.data(part) if isinstance(part, Blob) else part.data

    def _array(self, part: Any) -> NDArray[Any]:
        if isinstance(part, Recipe):
            return part()
        data = self._data(part)
        if isinstance(data, tuple):
            raise ValueError("a text among the parts of a weight")
        return unpacked(data, part.dtype, part.shape)


def _nbytes(part: Any) -> int:
    if isinstance(part, Literal):
        return len(part.data)
    return int(part.nbytes)


def unpacked(data: bytes | memoryview, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Stored numbers as an array; those of less than a byte take a byte each.

    Raises ValueError for a type that has no numbers here.
    """
    import numpy as np

    count = element_count(shape)
    if len(data) != stored_bytes(dtype, count):
        raise ValueError("a constant is shorter than its shape")
    if dtype == "bf16":
        halves: NDArray[Any] = np.frombuffer(data, "<u2").astype("<u4")
        return (halves << 16).view("<f4").reshape(shape)
    if dtype in _NUMPY:
        stored: NDArray[Any] = np.frombuffer(data, _NUMPY[dtype])
        return stored.reshape(shape)
    if BITS.get(dtype, 8) == 8:
        raise ValueError(f"a constant of type {dtype} is not supported")
    numbers: NDArray[Any] = _bits(np, np.frombuffer(data, np.uint8), BITS[dtype], count)
    if dtype[0] == "i":
        half = 1 << (BITS[dtype] - 1)
        return ((numbers.astype(np.int8) ^ half) - half).reshape(shape)
    return numbers.reshape(shape)


def _bits(np: Any, data: Any, width: int, count: int) -> Any:
    """`count` numbers of `width` bits, the lowest first."""
    bits = np.unpackbits(data, bitorder="little")
    if bits.size < count * width:
        raise ValueError("there are fewer numbers than its shape has")
    places = bits[: count * width].reshape(count, width)
    return (places << np.arange(width, dtype=np.uint8)).sum(axis=1, dtype=np.uint8)


# ---- the kinds -----------------------------------------------------------------------------------


def _affine(
    np: Any, dims: Any, quantized_data: Any, scale: Any, zero_point: Any = 0, axis: Any = 0
) -> Any:
    """(q - zero) * scale, one scale for all or one for each index of an axis."""
    line = [1] * quantized_data.ndim
    line[int(axis)] = -1
    zero, step = (
        np.asarray(v, np.float32).reshape(line if np.size(v) > 1 else ())
        for v in (zero_point, scale)
    )
    return (quantized_data.astype(np.float32) - zero) * step


def _blockwise(np: Any, dims: Any, data: Any, scale: Any, offset: Any = None) -> Any:
    """(q - offset) * scale, one scale for each block of the shape that divides the tensor's."""
    numbers = data.astype(np.float32)
    if offset is not None:
        numbers -= _spread(np, offset.astype(np.float32), data.shape)
    return numbers * _spread(np, scale.astype(np.float32), data.shape)


def _spread(np: Any, blocks: Any, shape: Any) -> Any:
    """One number for each block repeated over its block."""
    if blocks.ndim != len(shape) or any(
        not held or size % held for size, held in zip(shape, blocks.shape, strict=True)
    ):
        raise ValueError(f"blocks {list(blocks.shape)} do not divide {list(shape)}")
    for axis, (size, held) in enumerate(zip(shape, blocks.shape, strict=True)):
        blocks = blocks if held == 1 else np.repeat(blocks, size // held, axis)
    return blocks


def _palette(
    np: Any, dims: Any, indices: Any, lut: Any, vector_axis: Any = None, shape: Any = None
) -> Any:
    """Numbers chosen from a palette; each group of the tensor has its own palette (iOS18)."""
    if shape is not None or lut.ndim == 1:  # iOS16: packed indices, one palette
        width = len(lut).bit_length() - 1
        if 1 << width != len(lut) or not 1 <= width <= 8:
            raise ValueError(f"a palette of {len(lut)} numbers")
        return lut[_bits(np, indices.reshape(-1).view(np.uint8), width, element_count(dims))]
    rank = indices.ndim
    if lut.ndim != rank + 2:
        raise ValueError(f"a palette of rank {lut.ndim} for a tensor of rank {rank}")
    groups = lut.shape[:rank]
    where = [_spread(np, np.arange(g).reshape([-1 if d == a else 1 for d in range(rank)]),
                     [n if d == a else 1 for d in range(rank)])
             for a, (g, n) in enumerate(zip(groups, indices.shape, strict=True))]  # fmt: skip
    found = lut[(*where, indices.astype(np.intp))]  # [..., numbers of a vector]
    if lut.shape[-1] == 1:
        return found[..., 0]
    if vector_axis is None:
        raise ValueError("a palette of vectors needs an axis")
    axis = int(vector_axis) % rank
    return np.moveaxis(found, -1, axis + 1).reshape(dims)


def _sparse(np: Any, dims: Any, nonzero_data: Any, mask: Any, shape: Any = None) -> Any:
    """The numbers where the mask is 1, and 0 elsewhere."""
    count = element_count(dims)
    held = mask.reshape(-1)
    if shape is not None:  # iOS16: packed bits
        held = np.unpackbits(held.view(np.uint8), bitorder="little")
    held = held[:count].astype(bool)
    if held.size != count or int(held.sum()) != nonzero_data.size:
        raise ValueError("its mask does not fit its numbers")
    out = np.zeros(count, nonzero_data.dtype)
    out[held] = nonzero_data.reshape(-1)
    return out


def _among_zeros(np: Any, numbers: Any, mask: Any) -> Any:
    """The numbers where the mask is 1, in its shape."""
    if int(mask.astype(bool).sum()) != numbers.size:
        raise ValueError("its mask does not fit its numbers")
    out = np.zeros(mask.shape, numbers.dtype)
    out[mask.astype(bool)] = numbers.reshape(-1)
    return out


def _sparse_palette(
    np: Any, dims: Any, indices_nonzero_data: Any, indices_mask: Any, lut: Any
) -> Any:
    """What a palette has for indices that stand among zeros, without these."""
    if lut.shape[-1] != 1:
        raise ValueError("a palette of vectors for a sparse weight")
    indices = _among_zeros(np, indices_nonzero_data, indices_mask)
    return _palette(np, indices.shape, indices, lut)[indices_mask.astype(bool)]


def _sparse_blocks(
    np: Any, dims: Any, nonzero_data: Any, data_mask: Any, scale: Any, offset: Any = None
) -> Any:
    """Numbers that stand among zeros, shifted and scaled by blocks of the whole, without these."""
    data = _among_zeros(np, nonzero_data, data_mask)
    return _blockwise(np, dims, data, scale, offset)[data_mask.astype(bool)]


def _quantized(
    np: Any, dims: Any, data: Any, bits: Any, scale: Any = None, bias: Any = None, table: Any = None
) -> Any:
    """scale * q + bias, or table[q], of numbers packed with the highest bit first.

    One scale for all or one for each index of the first axis, as in NeuralNetwork.proto.
    """
    count, width = element_count(dims), int(bits)
    numbers = data
    if width < 8:
        held = np.unpackbits(data.view(np.uint8))[: count * width].reshape(count, width)
        numbers = (held << np.arange(width - 1, -1, -1, dtype=np.uint8)).sum(axis=1, dtype=np.uint8)
    numbers = numbers[:count].reshape(dims)
    if table is not None:
        return table[numbers]
    line = [-1] + [1] * (numbers.ndim - 1)
    found = numbers * scale.reshape(line if scale.size > 1 else ())
    return (
        found
        if bias is None or not bias.size
        else found + bias.reshape(line if bias.size > 1 else ())
    )


def _cast(np: Any, dims: Any, source_val: Any) -> Any:
    return source_val


# kind -> parts it needs, others it may have, what it means, the beginning of its encoding's name
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[..., Any], str]] = {
    "constexpr_affine_dequantize": (
        ("quantized_data", "scale"),
        ("zero_point", "axis"),
        _affine,
        "affine",
    ),
    "constexpr_blockwise_shift_scale": (("data", "scale"), ("offset",), _blockwise, "blockwise"),
    "constexpr_lut_to_dense": (("indices", "lut"), ("vector_axis", "shape"), _palette, "palette"),
    "constexpr_sparse_to_dense": (("nonzero_data", "mask"), ("shape",), _sparse, "sparse"),
    "constexpr_cast": (("source_val",), (), _cast, "cast"),
    "constexpr_lut_to_sparse": (
        ("indices_nonzero_data", "indices_mask", "lut"),
        (),
        _sparse_palette,
        "palette",
    ),
    "constexpr_sparse_blockwise_shift_scale": (
        ("nonzero_data", "data_mask", "scale"),
        ("offset",),
        _sparse_blocks,
        "blockwise",
    ),
    # of neural networks; no operation of MIL
    "quantized": (("data", "bits"), ("scale", "bias", "table"), _quantized, "quantized"),
}
# those of numbers among zeros, which hand on the mask as their first result -> the part that it is
MASKS = {
    "constexpr_lut_to_sparse": "indices_mask",
    "constexpr_sparse_blockwise_shift_scale": "data_mask",
}
