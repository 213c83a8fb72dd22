"""MIL's layers with small operands, and what loops say of them: products, windows, resizing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.coreml.mil_cases import Array, Case, floats, softmax

# ---- layers --------------------------------------------------------------------------------------


def _layers() -> Iterator[Case]:
    for lead in ((3,), (2, 3)):
        yield Case(
            "linear",
            {"x": floats(*lead, 5)},
            lambda x, weight, bias: x @ weight.T + bias,
            {"weight": floats(4, 5), "bias": floats(4)},
        )
    for turn_x, turn_y in ((False, False), (True, False), (False, True)):
        a = floats(2, 5, 3) if turn_x else floats(2, 3, 5)
        b = floats(4, 5) if turn_y else floats(5, 4)
        yield Case(
            "matmul", {"x": a, "y": b}, _matmul, {"transpose_x": turn_x, "transpose_y": turn_y}
        )
    yield Case(
        "einsum",
        {"values": (floats(2, 3, 4), floats(2, 4, 5))},
        lambda values, equation: np.einsum(equation, *values),
        {"equation": "bij,bjk->bik"},
    )
    q, k, v = floats(2, 3, 4), floats(2, 5, 4), floats(2, 5, 4)
    given = {"query": q, "key": k, "value": v}
    yield Case("scaled_dot_product_attention", given, _attention)
    yield Case("scaled_dot_product_attention", given, _attention, {"attn_mask": floats(3, 5)})
    mask = np.tri(3, 5, 1, bool)
    yield Case("scaled_dot_product_attention", given, _attention, {"attn_mask": mask})
    image = floats(2, 4, 6, 7)
    for pad_type in ("valid", "same", "same_lower", "custom"):
        yield Case(
            "conv",
            {"x": image},
            conv,
            {
                "weight": floats(6, 4, 3, 2),
                "bias": floats(6),
                "strides": np.array([2, 1]),
                "pad_type": pad_type,
                "pad": np.array([1, 0, 2, 1]),
                "dilations": np.array([1, 2]),
                "groups": 1,
            },
        )
    for groups, depth in ((2, 2), (4, 1)):
        yield Case(
            "conv",
            {"x": image},
            conv,
            {
                "weight": floats(4, depth, 3, 3),
                "strides": np.array([1, 1]),
                "pad_type": "custom",
                "pad": np.array([1, 1, 1, 1]),
                "dilations": np.array([1, 1]),
                "groups": groups,
            },
        )
    yield Case(
        "conv",
        {"x": floats(2, 3, 8)},
        conv,
        {
            "weight": floats(4, 3, 3),
            "strides": np.array([2]),
            "pad_type": "custom",
            "pad": np.array([1, 1]),
            "dilations": np.array([1]),
            "groups": 1,
        },
    )
    for pad_type, pad in (("valid", [0, 0, 0, 0]), ("custom", [1, 0, 1, 1])):
        yield Case(
            "conv_transpose",
            {"x": floats(1, 3, 4, 3)},
            conv_transpose,
            {
                "weight": floats(3, 2, 3, 2),
                "bias": floats(2),
                "strides": np.array([2, 3]),
                "pad_type": pad_type,
                "pad": np.array(pad),
                "groups": 1,
            },
        )
    for kind in ("max_pool", "avg_pool"):
        for pad_type in ("valid", "same", "custom"):
            for excluded in (False, True):
                if kind == "max_pool" and excluded:
                    continue
                constants = {
                    "kernel_sizes": np.array([3, 2]),
                    "strides": np.array([2, 2]),
                    "pad_type": pad_type,
                    "pad": np.array([1, 1, 0, 1]),
                    "ceil_mode": False,
                }
                if kind == "avg_pool":
                    constants["exclude_padding_from_average"] = excluded
                yield Case(kind, {"x": image}, lambda k=kind, **given: pool(k, **given), constants)
    yield Case(
        "l2_pool",
        {"x": image},
        lambda **given: pool("l2_pool", **given),
        {
            "kernel_sizes": np.array([2, 2]),
            "strides": np.array([2, 2]),
            "pad_type": "valid",
            "pad": np.array([0, 0, 0, 0]),
        },
    )
    yield Case(
        "upsample_nearest_neighbor",
        {"x": floats(1, 2, 3, 2)},
        lambda x, **rest: x.repeat(2, 2).repeat(3, 3),
        {"scale_factor_height": 2.0, "scale_factor_width": 3.0},
    )
    for mode in (
        "STRICT_ALIGN_CORNERS",
        "ALIGN_CORNERS",
        "DEFAULT",
        "OFFSET_CORNERS",
        "UNALIGN_CORNERS",
    ):
        yield Case(
            "resize_bilinear",
            {"x": floats(1, 2, 3, 4)},
            _bilinear,
            {"target_size_height": 5, "target_size_width": 7, "sampling_mode": mode},
        )


def _matmul(x: Array, y: Array, transpose_x: bool, transpose_y: bool) -> Any:
    return (x.swapaxes(-1, -2) if transpose_x else x) @ (y.swapaxes(-1, -2) if transpose_y else y)


def _attention(query: Array, key: Array, value: Array, attn_mask: Any = None) -> Any:
    scores = query @ key.swapaxes(-1, -2) / np.float32(np.sqrt(query.shape[-1]))
    if attn_mask is not None:
        masked = attn_mask.dtype == bool
        scores = np.where(attn_mask, scores, -np.inf) if masked else scores + attn_mask
    return softmax(scores, -1) @ value


def widths(
    kind: str, pad: Array, sizes: Any, kernel: Any, strides: Any, dilations: Any
) -> list[tuple[int, int]]:
    """Padding before and behind every spatial axis."""
    if kind == "valid":
        return [(0, 0)] * len(kernel)
    if kind == "custom":
        return [(int(pad[2 * a]), int(pad[2 * a + 1])) for a in range(len(kernel))]
    found = []
    for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(n / s) - 1) * int(s) + (k - 1) * int(d) + 1 - n)
        half = total // 2
        found.append((half, total - half) if kind == "same" else (total - half, half))
    return found


def conv(
    x: Array,
    weight: Array,
    strides: Array,
    dilations: Array,
    groups: int,
    pad_type: str,
    pad: Array,
    bias: Any = None,
) -> Array:
    """A convolution, one window and one output channel at a time."""
    kernel = weight.shape[2:]
    around = widths(pad_type, pad, x.shape[2:], kernel, strides, dilations)
    x = np.pad(x, [(0, 0), (0, 0), *around])
    sizes = [
        (n - (k - 1) * d - 1) // s + 1
        for n, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True)
    ]
    out = np.zeros((x.shape[0], weight.shape[0], *sizes), np.float32)
    each, deep = weight.shape[0] // groups, weight.shape[1]
    for channel in range(weight.shape[0]):
        seen = x[:, channel // each * deep :][:, :deep]
        for place in np.ndindex(*sizes):
            window = seen[
                (
                    slice(None),
                    slice(None),
                    *(
                        slice(p * s, p * s + (k - 1) * d + 1, d)
                        for p, s, k, d in zip(place, strides, kernel, dilations, strict=True)
                    ),
                )
            ]
            total = (window * weight[channel]).reshape(len(x), -1).sum(1)
            out[(slice(None), channel, *place)] = total + (0 if bias is None else bias[channel])
    return out


def conv_transpose(
    x: Array, weight: Array, bias: Array, strides: Array, groups: int, pad_type: str, pad: Array
) -> Array:
    """Every element of x adds its multiple of the weights to the result, which is then cut."""
    n, _, h, w = x.shape
    _, o, kh, kw = weight.shape
    out = np.zeros((n, o, (h - 1) * strides[0] + kh, (w - 1) * strides[1] + kw), np.float32)
    for i, j in np.ndindex(h, w):
        rows = slice(i * strides[0], i * strides[0] + kh)
        columns = slice(j * strides[1], j * strides[1] + kw)
        out[:, :, rows, columns] += np.einsum("nc,cokl->nokl", x[:, :, i, j], weight)
    if pad_type == "custom":
        out = out[:, :, pad[0] : out.shape[2] - pad[1], pad[2] : out.shape[3] - pad[3]]
    return out + bias[:, None, None]


def pool(
    kind: str,
    x: Array,
    kernel_sizes: Array,
    strides: Array,
    pad_type: str,
    pad: Array,
    ceil_mode: bool = False,
    exclude_padding_from_average: bool = False,
) -> Array:
    """Pooling, one window at a time."""
    around = widths(pad_type, pad, x.shape[2:], kernel_sizes, strides, [1, 1])
    edge = -np.inf if kind == "max_pool" else 0
    counted = np.pad(np.ones(x.shape, np.float32), [(0, 0), (0, 0), *around])
    x = np.pad(x, [(0, 0), (0, 0), *around], constant_values=edge)
    sizes = [(n - k) // s + 1 for n, k, s in zip(x.shape[2:], kernel_sizes, strides, strict=True)]
    out = np.zeros((*x.shape[:2], *sizes), np.float32)
    for i, j in np.ndindex(*sizes):
        where = (
            slice(None),
            slice(None),
            slice(i * strides[0], i * strides[0] + kernel_sizes[0]),
            slice(j * strides[1], j * strides[1] + kernel_sizes[1]),
        )
        window = x[where]
        if kind == "max_pool":
            out[:, :, i, j] = window.max((2, 3))
        elif kind == "l2_pool":
            out[:, :, i, j] = np.sqrt((window**2).sum((2, 3)))
        else:
            inside = counted[where].sum((2, 3))
            size = inside if exclude_padding_from_average else kernel_sizes.prod()
            out[:, :, i, j] = window.sum((2, 3)) / size
    return out


def _bilinear(
    x: Array, target_size_height: int, target_size_width: int, sampling_mode: str
) -> Array:
    def places(size: int, target: int) -> Array:
        at = np.arange(target)
        found = {
            "STRICT_ALIGN_CORNERS": at * (size - 1) / (target - 1),
            "ALIGN_CORNERS": at * (size - 1) / (target - 1),
            "DEFAULT": at * (size - size / target) / (target - 1),
            "OFFSET_CORNERS": 0.5 * max(1, size - 1) / target + at * max(1, size - 1) / target,
            "UNALIGN_CORNERS": (at + 0.5) * size / target - 0.5,
        }[sampling_mode]
        return np.clip(found, 0, size - 1)

    rows, columns = places(x.shape[2], target_size_height), places(x.shape[3], target_size_width)
    down = np.stack(
        [
            [
                np.stack([np.interp(rows, np.arange(x.shape[2]), c) for c in plane.T], 1)
                for plane in image
            ]
            for image in x
        ]
    )
    return np.stack(
        [
            [
                np.stack([np.interp(columns, np.arange(x.shape[3]), r) for r in plane])
                for plane in image
            ]
            for image in down
        ]
    ).astype(np.float32)


LAYERS = list(_layers())
