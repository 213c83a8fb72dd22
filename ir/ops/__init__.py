"""The operations, one family to a file; importing this package fills the registry."""

from tlc.ir.ops import (
    attention,
    contract,
    control,
    convolution,
    einsum,
    elementwise,
    host,
    index,
    layers,
    nn,
    order,
    random,
    reduce,
    shape,
    text,
    window,
)

__all__ = [
    "attention",
    "contract",
    "control",
    "convolution",
    "einsum",
    "elementwise",
    "host",
    "index",
    "layers",
    "nn",
    "order",
    "random",
    "reduce",
    "shape",
    "text",
    "window",
]
