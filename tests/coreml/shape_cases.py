"""MIL's operations on shapes and indices with small operands, and what NumPy says of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.coreml.mil_cases import Array, Case, floats, whole

# ---- shapes --------------------------------------------------------------------------------------


def _shapes() -> Iterator[Case]:
    x = floats(2, 3, 4)
    yield Case("reshape", {"x": x}, lambda x, shape: x.reshape(2, 12), {"shape": np.array([0, -1])})
    yield Case(
        "expand_dims", {"x": x}, lambda x, axes: x[:, None, :, :, None], {"axes": np.array([1, -1])}
    )
    yield Case("squeeze", {"x": floats(1, 3, 1)}, lambda x, axes: x[0], {"axes": np.array([0])})
    yield Case("squeeze", {"x": floats(1, 3, 1)}, lambda x: x[0, :, 0])
    yield Case(
        "transpose", {"x": x}, lambda x, perm: x.transpose(2, 0, 1), {"perm": np.array([2, 0, -2])}
    )
    yield Case("flatten2d", {"x": x}, lambda x, axis: x.reshape(6, 4), {"axis": 2})
    yield Case("reverse", {"x": x}, lambda x, axes: x[:, ::-1], {"axes": np.array([1])})
    ends = {"begin": np.array([0, 2, 1]), "end": np.array([2, 0, 4])}
    yield Case(
        "slice_by_index",
        {"x": x},
        lambda x, begin, end, stride: x[0:2, 2:0:-1, 1:4:2],
        {**ends, "stride": np.array([1, -1, 2])},
    )
    yield Case(
        "slice_by_index",
        {"x": x},
        lambda x, **rest: x[:, -1, 1:],
        {
            "begin": np.array([1, -1, 1]),
            "end": np.array([1, 0, 2]),
            "begin_mask": np.array([True, False, False]),
            "end_mask": np.array([True, False, True]),
            "squeeze_mask": np.array([False, True, False]),
        },
    )
    yield Case(
        "slice_by_size",
        {"x": x},
        lambda x, begin, size: x[:, 1:3, 2:],
        {"begin": np.array([0, 1, 2]), "size": np.array([2, 2, -1])},
    )
    yield Case(
        "concat",
        {"values": (x, floats(2, 2, 4))},
        lambda values, axis, interleave: np.concatenate(values, 1),
        {"axis": 1, "interleave": False},
    )
    yield Case(
        "concat",
        {"values": (x, floats(2, 3, 4))},
        lambda values, axis, interleave: np.stack(values, 2).reshape(2, 6, 4),
        {"axis": 1, "interleave": True},
    )
    yield Case(
        "stack",
        {"values": (x, floats(2, 3, 4))},
        lambda values, axis: np.stack(values, 1),
        {"axis": 1},
    )
    yield Case(
        "split",
        {"x": floats(2, 6)},
        lambda x, axis, num_splits: tuple(np.split(x, 3, 1)),
        {"axis": 1, "num_splits": 3},
    )
    yield Case(
        "split",
        {"x": floats(2, 6)},
        lambda x, axis, split_sizes: (x[:, :4], x[:, 4:]),
        {"axis": -1, "split_sizes": np.array([4, 2])},
    )
    yield Case("tile", {"x": x}, lambda x, reps: np.tile(x, reps), {"reps": np.array([2, 1, 3])})
    for mode, numpy in {"constant": "constant", "reflect": "reflect", "replicate": "edge"}.items():
        extra = {"constant_values": 1.5} if mode == "constant" else {}
        yield Case(
            "pad",
            {"x": x},
            lambda x, n=numpy, e=extra, **rest: np.pad(x, [(0, 0), (1, 2), (0, 3)], n, **e),
            {"pad": np.array([1, 2, 0, 3]), "mode": mode, "constant_val": 1.5},
        )
    image = floats(1, 8, 2, 4)
    yield Case(
        "depth_to_space",
        {"x": image},
        lambda x, block_size: (
            x.reshape(1, 2, 2, 2, 2, 4).transpose(0, 3, 4, 1, 5, 2).reshape(1, 2, 4, 8)
        ),
        {"block_size": 2},
    )
    yield Case(
        "space_to_depth",
        {"x": image},
        lambda x, block_size: (
            x.reshape(1, 8, 1, 2, 2, 2).transpose(0, 3, 5, 1, 2, 4).reshape(1, 32, 1, 2)
        ),
        {"block_size": 2},
    )
    yield Case(
        "pixel_shuffle",
        {"x": image},
        lambda x, upscale_factor: (
            x.reshape(1, 2, 2, 2, 2, 4).transpose(0, 1, 4, 2, 5, 3).reshape(1, 2, 4, 8)
        ),
        {"upscale_factor": 2},
    )
    yield Case(
        "pixel_unshuffle",
        {"x": image},
        lambda x, downscale_factor: (
            x.reshape(1, 8, 1, 2, 2, 2).transpose(0, 1, 3, 5, 2, 4).reshape(1, 32, 1, 2)
        ),
        {"downscale_factor": 2},
    )
    yield Case(
        "fill_like",
        {"ref_tensor": x},
        lambda ref_tensor, value: np.full_like(x, 2.5),
        {"value": 2.5},
    )


# ---- looking up ----------------------------------------------------------------------------------


def _lookups() -> Iterator[Case]:
    table, ids = floats(5, 3), np.array([[4, -1], [0, 2]], np.int32)
    yield Case(
        "gather", {"x": table, "indices": ids}, lambda x, indices, axis: x[indices], {"axis": 0}
    )
    yield Case(
        "gather",
        {"x": table, "indices": np.array([2, 0], np.int32)},
        lambda x, indices, axis: x[:, indices],
        {"axis": 1},
    )
    yield Case(
        "gather",
        {"x": whole(5, 3), "indices": ids},
        lambda x, indices, axis: x[indices],
        {"axis": 0},
    )
    for axis in (0, 1):
        wanted = whole(4, 3, low=0, high=3)
        yield Case(
            "gather_along_axis",
            {"x": floats(4, 3), "indices": wanted},
            lambda x, indices, axis: np.take_along_axis(x, indices.astype(np.int64), axis),
            {"axis": axis},
        )
    yield Case(
        "one_hot",
        {"indices": np.array([2, 0], np.int32)},
        lambda indices, **rest: np.where(np.arange(4) == indices[:, None], 2.0, 0.5).astype(
            np.float32
        ),
        {"one_hot_vector_size": 4, "axis": -1, "on_value": 2.0, "off_value": 0.5},
    )
    x = floats(3, 4)
    for exclusive in (False, True):
        for reverse in (False, True):
            yield Case(
                "cumsum", {"x": x}, _cumsum, {"axis": 1, "exclusive": exclusive, "reverse": reverse}
            )
    yield Case(
        "argsort",
        {"x": x},
        lambda x, axis, ascending: np.argsort(x, axis).astype(np.int32),
        {"axis": 1, "ascending": True},
    )
    yield Case("topk", {"x": x}, _topk, {"k": 2, "axis": 1, "ascending": False})


def _cumsum(x: Array, axis: int, exclusive: bool, reverse: bool) -> Array:
    line = x[:, ::-1] if reverse else x
    total = np.cumsum(line, axis) - (line if exclusive else 0)
    return np.asarray(total[:, ::-1] if reverse else total)


def _topk(x: Array, k: int, axis: int, ascending: bool) -> tuple[Array, Array]:
    order = np.argsort(-x, axis)[:, :k]
    return np.take_along_axis(x, order, axis), order.astype(np.int32)


SHAPES = [*_shapes(), *_lookups()]
