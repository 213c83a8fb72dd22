"""An optimised module to a plan: kernels per profile, and per entry the steps that the host takes.

Memory is decided here. Every stored value gets a slot of the entry's arena; slots are shared by
values that are not alive at the same time, and their sizes are formulas, so that one plan serves
every size.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tlc.codegen.kernels import Kernel, generate
from tlc.codegen.profiles import Profile
from tlc.ir.core import Func, Module, Op, Value
from tlc.ir.dims import Dim, Quotient
from tlc.ir.passes.groups import is_compute
from tlc.ir.types import PACKED, TensorType

# kernels are generated under these, so that equal ones can be told; then they get their own
_NAME, _COMMENT = "KERNEL_NAME", "KERNEL_COMMENT"
_STRUCT = {"f16": "e", "f32": "f", "i32": "i", "bool": "?"}
_NAMES = {
    "contract": "matmul",
    "access": "",
    "cast": "",
    "constant": "",
    "yield": "",
    "broadcast": "",
}


@dataclass(slots=True)
class ProfilePlan:
    """The kernels of one profile, each kept once however often it is launched."""

    profile: Profile
    kernels: list[Kernel] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)

    def add(self, kernel: Kernel, family: str, source: str) -> int:
        """The index of a kernel; kernels that differ in nothing but their name are one."""
        at = self.known.setdefault(kernel.text, len(self.kernels))
        if at == len(self.kernels):
            text = kernel.text.replace(_NAME, f"{family}_{at}").replace(_COMMENT, source)
            name = kernel.name.replace(_NAME, f"{family}_{at}")
            self.kernels.append(replace(kernel, name=name, text=text))
            self.sources.append(source)
        return at


@dataclass(slots=True)
class Plan:
    """All that an artifact says but the kernel texts; `runtime/format.py` names the fields."""

    profiles: list[ProfilePlan]
    weights: list[dict[str, Any]] = field(default_factory=list)
    constants: bytearray = field(default_factory=bytearray)
    constant_places: list[list[int]] = field(default_factory=list)
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)


def plan(module: Module, profiles: Sequence[Profile], operations: dict[str, int]) -> Plan:
    """The plan of a fused module; `operations` counts each entry's work before fusion."""
    made = Plan([ProfilePlan(p) for p in profiles])
    for func in module.funcs:
        made.entries[func.name] = _Entry(made, func).build(operations.get(func.name, 0))
    return made


def count_operations(func: Func) -> int:
    """How many launches a function would take if every operation were one."""
    return sum(is_compute(op) for op in func.walk())


def formula(dim: Dim) -> Any:
    """A dimension as `runtime/format.py` writes it."""

    def atom(part: str | Quotient) -> Any:
        if isinstance(part, str):
            return part
        return [part.op, formula(part.left), formula(part.right)]

    total: Any = None
    for monomial, factor in dim.terms:
        value: Any = None if monomial and factor == 1 else factor
        for part in monomial:
            value = atom(part) if value is None else ["*", value, atom(part)]
        total = value if total is None else ["+", total, value]
    return 0 if total is None else total


def describe(op: Op) -> str:
    """What a kernel computes, in a few words: `matmul + add + relu`."""
    names: list[str] = []
    for inner in op.regions[0].ops:
        name = _NAMES.get(inner.name, inner.name.removeprefix("reduce_"))
        if name:
            names.append(name)
    if not names:
        return "fill" if not op.operands else "copy"
    shown = names if len(names) <= 6 else [*names[:5], f"{len(names) - 5} more"]
    return " + ".join(shown)


def place(op: Op) -> str:
    """Where an operation was written: `linear.tl:12`."""
    if op.span is None:
        return "?"
    return f"{op.span.source.name.rsplit('/', 1)[-1]}:{op.span.line}"


class _Entry:
    """Builds one entry: numbers its memory and lists its steps."""

    def __init__(self, made: Plan, func: Func) -> None:
        self.made, self.func = made, func
        self.names: dict[Value, str] = {}
        self.slots: list[list[Dim]] = []
        self.free: list[int] = []
        self.kept: list[Dim] = []
        self.flags: list[str] = []
        self.checks: list[list[Any]] = []
        self.once: list[list[Any]] = []
        self.steps: list[list[Any]] = []

    def build(self, operations: int) -> dict[str, Any]:
        func = self.func
        for at, value in enumerate(func.params):
            self.names[value] = f"p{at}"
        last = _last_uses(func)
        for at, op in enumerate(func.body.ops):
            self.op(op)
            for value in last.get(at, ()):
                self.release(value)
        return {
            "params": [
                {"name": name, "dtype": v.tensor.dtype, "shape": _shape(v.tensor)}
                for v, name in zip(func.params, func.param_names, strict=True)
            ],
            "results": [
                {"buffer": self.names[v], "dtype": v.tensor.dtype, "shape": _shape(v.tensor)}
                for v in func.results
            ],
            "symbols": sorted(
                {s for v in func.params for d in v.tensor.shape for s in d.symbols()}
            ),
            "checks": self.checks,
            "slots": [[formula(d) for d in sizes] for sizes in self.slots],
            "kept": [formula(d) for d in self.kept],
            "flags": self.flags,
            "once": self.once,
            "steps": self.steps,
            "operations": operations,
        }

    # ---- steps ----------------------------------------------------------------------------------

    def op(self, op: Op) -> None:
        match op.name:
            case "constant":
                self.names[op.result] = self.constant(op)
            case "weight":
                self.names[op.result] = self.weight(op)
            case "reshape":
                self.names[op.result] = self.names[op.operands[0]]
            case "fused":
                self.names[op.result] = f"s{self.slot(op.result.tensor.nbytes)}"
                self.steps.append(self.launch(op))
            case "once":
                self.kept_work(op)
            case "check":
                left, right = formula(op.attrs["left"]), formula(op.attrs["right"])
                self.checks.append([left, right, op.attrs["text"], place(op)])
            case "print":
                self.steps.append(["print", self.parts(op), [self.typed(v) for v in op.operands]])
            case "save":
                step = ["save", *self.typed(op.operands[0]), op.attrs["path"], op.attrs["name"]]
                self.steps.append(step)
            case "save_model":
                a = op.attrs
                self.steps.append(["save_model", a["model"], a["path"], a["dequantize"]])

    def launch(self, op: Op) -> list[Any]:
        buffers = [self.names[v] for v in op.operands] + [self.names[op.result]]
        source = f"{place(op)} {describe(op)}"
        variants: dict[str, list[Any]] = {}
        flagged = False
        for mine in self.made.profiles:
            choices = []
            for variant in generate(op, mine.profile, _NAME, _COMMENT):
                kernel = variant.kernel
                flagged = flagged or kernel.status
                guard = variant.guard and [formula(variant.guard[0]), variant.guard[1]]
                dims = [formula(d) for d in kernel.dims]
                choices.append(
                    [
                        guard,
                        mine.add(kernel, op.attrs["family"], source),
                        formula(kernel.groups),
                        dims,
                    ]
                )
            variants[mine.profile.name] = choices
        if flagged:
            buffers.append(f"f{len(self.flags)}")
            self.flags.append(f"{place(op)}: an index is beyond the rows of its table")
        return ["launch", variants, buffers]

    def kept_work(self, op: Op) -> None:
        """The launches of a `once` operation; what it yields stays for all calls."""
        steps, self.steps = self.steps, []
        outer_slots, outer_free = self.slots, self.free
        for inner in op.regions[0].ops[:-1]:
            if inner.name == "fused":
                self.names[inner.result] = f"k{len(self.kept)}"
                self.kept.append(inner.result.tensor.nbytes)
                self.steps.append(self.launch(inner))
            else:
                self.op(inner)
        self.once, self.steps = self.steps, steps
        self.slots, self.free = outer_slots, outer_free
        for inside, outside in zip(op.regions[0].yielded, op.results, strict=True):
            self.names[outside] = self.names[inside]

    def parts(self, op: Op) -> list[Any]:
        out: list[Any] = []
        seen = 0
        for part in op.attrs["parts"]:
            if part is None:
                out.append(["value", seen])
                seen += 1
            else:
                out.append(["dim", formula(part)] if isinstance(part, Dim) else part)
        return out

    def typed(self, value: Value) -> list[Any]:
        return [self.names[value], value.tensor.dtype, _shape(value.tensor)]

    # ---- memory ---------------------------------------------------------------------------------

    def slot(self, nbytes: Dim) -> int:
        """A slot that is free now: one of the same size first, then the best static fit."""
        for at in self.free:
            if nbytes in self.slots[at]:
                self.free.remove(at)
                return at
        if nbytes.is_static:
            fixed = [at for at in self.free if all(d.is_static for d in self.slots[at])]
            if fixed:
                want = int(nbytes)
                best = min(fixed, key=lambda at: abs(max(map(int, self.slots[at])) - want))
                self.free.remove(best)
                self.slots[best].append(nbytes)
                return best
        self.slots.append([nbytes])
        return len(self.slots) - 1

    def release(self, value: Value) -> None:
        name = self.names.get(value, "")
        if name.startswith("s") and int(name[1:]) not in self.free:
            self.free.append(int(name[1:]))

    def constant(self, op: Op) -> str:
        """A constant's bytes in the artifact, 64-byte aligned; equal ones lie there once."""
        data = constant_bytes(op)
        made = self.made
        for at, (offset, nbytes) in enumerate(made.constant_places):
            if made.constants[offset : offset + nbytes] == data and nbytes == len(data):
                return f"c{at}"
        made.constants += bytes(-len(made.constants) % 64)
        made.constant_places.append([len(made.constants), len(data)])
        made.constants += data
        return f"c{len(made.constant_places) - 1}"

    def weight(self, op: Op) -> str:
        a = op.attrs
        record = {
            "model": a["model"],
            "tensor": a["tensor"],
            "encoding": a["encoding"],
            "stored": a["stored"],
            "shape": [int(d) for d in op.result.tensor.shape],
        }
        if record not in self.made.weights:
            self.made.weights.append(record)
        return f"w{self.made.weights.index(record)}"


def constant_bytes(op: Op) -> bytes:
    """The little-endian bytes of a constant of static shape."""
    value, type = op.attrs["value"], op.result.tensor
    if isinstance(value, bytes):
        return value
    count = int(type.numel)
    numbers = value if isinstance(value, tuple) else (value,) * count
    code = _STRUCT[type.dtype]
    whole = type.dtype == "i32"
    return struct.pack(f"<{count}{code}", *(int(n) if whole else n for n in numbers))


def _shape(type: TensorType) -> list[Any]:
    return [formula(d) for d in type.shape]


def _last_uses(func: Func) -> dict[int, list[Value]]:
    """For each position in the body, the stored values that nothing behind it reads."""
    alias: dict[Value, Value] = {}
    last: dict[Value, int] = {}
    for at, op in enumerate(func.body.ops):
        if op.name == "reshape":
            alias[op.result] = alias.get(op.operands[0], op.operands[0])
        for value in op.operands:
            last[alias.get(value, value)] = at
        for value in op.results:
            last.setdefault(alias.get(value, value), at)
    found: dict[int, list[Value]] = {}
    for value, at in last.items():
        found.setdefault(at, []).append(value)
    return found


__all__ = ["PACKED", "Plan", "count_operations", "describe", "formula", "place", "plan"]
