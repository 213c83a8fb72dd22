"""The passes: named functions from IR to IR, in one list, with the IR printable between any two.

A pass takes a function whose IR is valid, changes it in place and leaves it valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tlc.frontend.diagnostics import Diagnostic
from tlc.ir.core import Func, Module
from tlc.ir.passes.canonical import canonical
from tlc.ir.passes.cleanup import cse, dce
from tlc.ir.passes.fuse import fuse
from tlc.ir.passes.invariant import invariant
from tlc.ir.passes.merge import merge
from tlc.ir.passes.weights import expand_unreadable, hoist
from tlc.ir.passes.widen import widen
from tlc.ir.verify import verify

Warn = Callable[[Diagnostic], None]


class Pass(NamedTuple):
    """A named step; `stage` is what `verify` may demand of the IR after it."""

    name: str
    run: Callable[[Func, Warn], object]
    stage: str = "lowered"


BEFORE_FUSION = (
    Pass("canonical", lambda func, warn: canonical(func)),
    Pass("cse", lambda func, warn: cse(func)),
    Pass("dce", lambda func, warn: dce(func)),
    Pass("expand", expand_unreadable),
    Pass("invariant", lambda func, warn: invariant(func)),
    Pass("hoist", lambda func, warn: hoist(func)),
)

FUSION = (
    Pass("fuse", lambda func, warn: fuse(func), "fused"),
    Pass("merge", lambda func, warn: merge(func), "fused"),
)

PASSES = BEFORE_FUSION + FUSION

# runs before the others, for `--store f32`
WIDEN = Pass("widen", lambda func, warn: widen(func))


def optimise(
    module: Module,
    warn: Warn = lambda diagnostic: None,
    after: Callable[[str, Module], None] = lambda name, module: None,
    checked: bool = True,
    passes: Iterable[Pass] = PASSES,
) -> None:
    """Run the passes on every function of a module.

    `after(name, module)` is called behind each pass; `checked` verifies the IR there.
    """
    for step in passes:
        for func in module.funcs:
            step.run(func, warn)
        if checked:
            verify(module, step.stage)
        after(step.name, module)
