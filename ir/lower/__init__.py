"""Syntax tree in, IR module out: names, types and shapes are resolved here, once.

Lowering is partial evaluation. Numbers, strings, shapes and model names that the program text fixes
are computed on the spot; what depends on tensors becomes operations. A call of a function lowers
its body in place with the types of its arguments, so every call is checked and specialised by
itself.
"""

from tlc.ir.lower.module import Lowered, lower

__all__ = ["Lowered", "lower"]
