"""Core ML models to operations of the IR: a table of MIL operations, and one of older layers."""

import tlc.ir.coreml.elementwise
import tlc.ir.coreml.indexing
import tlc.ir.coreml.layers
import tlc.ir.coreml.layers_of_order
import tlc.ir.coreml.layers_of_shape
import tlc.ir.coreml.products
import tlc.ir.coreml.reductions
import tlc.ir.coreml.resizing
import tlc.ir.coreml.shaping
import tlc.ir.coreml.windows  # noqa: F401  (they fill the table)
from tlc.ir.coreml.mil import MIL, Maker, Refusal
from tlc.ir.coreml.network import lower_network, narrowed, positions, widened
from tlc.ir.coreml.program import bind, lower_program

__all__ = [
    "MIL",
    "Maker",
    "Refusal",
    "bind",
    "lower_network",
    "lower_program",
    "narrowed",
    "positions",
    "widened",
]
