"""Programs after all passes, and what holds of every fused operation: the rules of kernels."""

from __future__ import annotations

from tests.ir.programs import lowered
from tlc.ir.core import Func, Op
from tlc.ir.passes import optimise
from tlc.ir.passes.groups import is_compute

MOST_OPERANDS = 28  # a kernel has 31 buffers: the result, a status word and sizes take three
ROOTS = {
    "matmul": {"contract"},
    "convolution": {"convolve"},
    "window": {"convolve_each", "pool"},
    "gather": {"gather"},
    "concat": {"concat"},
    "sort": {"order"},
    "scan": {"running_sum"},
    "scatter": {"scatter"},
}


def kernels(func: Func) -> list[Op]:
    """The fused operations of a function, those that run once included."""
    return [op for op in func.walk() if op.name == "fused"]


def families(func: Func) -> list[str]:
    """The family of each kernel, in order."""
    return [op.attrs["family"] for op in kernels(func)]


def check_kernels(func: Func) -> None:
    """Every kernel has what its family is named for, once, and no more than fits it."""
    for op in kernels(func):
        (region,) = op.regions
        family, inside = op.attrs["family"], [inner.name for inner in region.ops]
        assert len(op.operands) <= MOST_OPERANDS
        assert len(set(op.operands)) == len(op.operands), "an operand is bound twice"
        reductions = [n for n in inside if n.startswith("reduce_")]
        roots = [n for n in inside if any(n in names for names in ROOTS.values())]
        match family:
            case "elementwise":
                assert not reductions
                assert not roots
            case "row":
                assert reductions
                assert not roots
            case "column":
                assert len(reductions) == 1
                assert not roots
            case "attention":
                assert reductions == ["reduce_max", "reduce_sum"]
                assert sorted(roots) == ["concat"] * (len(op.results) - 1) + ["contract"] * 2
            case _:
                assert len({*roots}) == 1
                assert {*roots} <= ROOTS[family]
                if family != "matmul":  # which makes its rows, and has several sums
                    assert len(roots) == len(op.results)
                    assert not reductions
        read = {value for inner in region.ops for value in inner.operands}
        unread = [inner.name for inner in region.ops[:-1] if inner.result not in read]
        assert not unread, f"computed and not used: {unread}"
        assert set(region.args) <= read, "an operand is bound and not read"


def launches_before(func: Func) -> int:
    """How many launches a function would take if every operation were one."""
    return sum(is_compute(op) for op in func.walk())


def optimised(text: str, name: str = "f") -> Func:
    """An entry of a program after all passes."""
    module = lowered(text).module
    optimise(module)
    func = module.func(name)
    check_kernels(func)
    return func


def stored_by(func: Func) -> list[str]:
    """What is in the body beside kernels."""
    return [op.name for op in func.body.ops if op.name not in ("fused", "yield")]
