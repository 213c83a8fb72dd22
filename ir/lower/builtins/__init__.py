"""Builtins: the calls of a program that are neither functions of its own nor of a file it imports.

`registry.py` calls those that are one operation of `ir/ops`. The others are functions of the
modules here, which `table.py` lists by name; a new module joins them below.
"""

# ruff: noqa: F401  (these fill the table)
from tlc.ir.lower.builtins import (
    assertions,
    caches,
    einsum,
    files,
    images,
    making,
    neural,
    older,
    output,
    overloads,
    predict,
    random,
    sampling,
    shaping,
    strings,
    tokens,
    vectors,
)
