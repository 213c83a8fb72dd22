"""An optimised module to a plan: kernels per profile, memory, and the steps of every entry.

Everything a call needs is decided here; sizes stay formulas, so that one plan serves every size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tlc.codegen.entry import EntryPlan, ProfilePlan
from tlc.codegen.profiles import Profile
from tlc.codegen.storage import Storage
from tlc.ir.core import Func, Module, Op
from tlc.ir.passes.groups import is_compute


@dataclass(slots=True)
class Plan:
    """All that an artifact says but the kernel texts; `runtime/format.py` names the fields.

    `launched` is in no artifact: of every entry the operations of its launches, as
    `runtime/watched.py` counts them.
    """

    profiles: list[ProfilePlan]
    storage: Storage = field(default_factory=Storage)
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    launched: dict[str, list[Op]] = field(default_factory=dict)


def plan(module: Module, profiles: Sequence[Profile], operations: dict[str, int]) -> Plan:
    """The plan of a fused module; `operations` counts each entry's work before fusion.

    Raises CompileError for what can only be done with sizes that are known before an entry runs.
    """
    made = Plan([ProfilePlan(p) for p in profiles])
    for func in module.funcs:
        entry = EntryPlan(made.profiles, made.storage, func)
        made.entries[func.name] = entry.build(operations.get(func.name, 0))
        made.launched[func.name] = entry.launched
    return made


def count_operations(func: Func) -> int:
    """How many launches a function would take if every operation were one."""
    return sum(is_compute(op) for op in func.walk())
