"""Checks that a module is well formed: every value defined before use, every type rule still true."""

from __future__ import annotations

import tlc.ir.ops  # noqa: F401  (fills the registry)
from tlc.frontend.diagnostics import InternalError
from tlc.ir.core import Block, Module, Op, Value
from tlc.ir.opdef import TypeRuleError
from tlc.ir.printer import print_module

# what a function's body may still hold once fusion has run
FUSED_OPS = frozenset(
    "constant weight fused reshape check print save save_model once yield".split()
)
# what only fusion makes
MADE_BY_FUSION = frozenset({"fused", "access"})


def verify(module: Module, stage: str = "lowered") -> None:
    """Raises InternalError, with the IR, when the module is malformed.

    `stage` is `lowered` or `fused`: before and after fusion other operations may exist.
    """
    for func in module.funcs:
        try:
            _block(func.body, set(), stage, inside=False)
        except (AssertionError, TypeRuleError, TypeError) as problem:
            text = f"@{func.name} is malformed ({stage}): {problem}"
            raise InternalError(text, print_module(module)) from problem


def _block(block: Block, outside: set[Value], stage: str, inside: bool) -> None:
    known = outside | set(block.args)
    assert block.ops and block.ops[-1].name == "yield", "a block must end with a yield"
    for op in block.ops:
        assert op.name != "yield" or op is block.ops[-1], "yield is not the last operation"
        if stage == "lowered":
            assert op.name not in MADE_BY_FUSION, f"{op.name} before fusion"
        elif not inside:
            assert op.name in FUSED_OPS, f"{op.name} is left after fusion"
        for value in op.operands:
            assert value in known, f"an operand of {op.name} is not defined before it"
        _types(op)
        for region in op.regions:
            # a kernel sees its operands only through the arguments of its region, and what is
            # computed once sees nothing of a call
            _block(region, set(), stage, inside=op.name == "fused")
        known.update(op.results)


def _types(op: Op) -> None:
    assert op.defn.type is not None, f"{op.name} is a composition and has no place in the IR"
    wanted = op.defn.type(*(v.type for v in op.operands), **op.attrs)
    found = tuple(v.type for v in op.results)
    assert tuple(wanted) == found, f"{op.name} gives {found}, its type rule says {wanted}"
    for value in op.results:
        assert value.owner is op, f"a result of {op.name} names another owner"
    if op.name == "fused":
        (region,) = op.regions
        assert [v.type for v in region.args] == [v.type for v in op.operands], "fused arguments"
        assert tuple(v.type for v in region.yielded) == found, "fused results"
