"""The operations, one family to a file; importing this package fills the registry."""

from tlc.ir.ops import contract, control, elementwise, host, index, nn, reduce, shape

__all__ = ["contract", "control", "elementwise", "host", "index", "nn", "reduce", "shape"]
