"""An optimised module to a plan: kernels per profile, and per entry the steps that the host takes.

Memory is decided here. Every stored value gets a slot of the entry's arena; slots are shared by
values that are not alive at the same time, and their sizes are formulas, so that one plan serves
every size.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tlc.codegen.kernels import Kernel, generate
from tlc.codegen.profiles import Profile
from tlc.ir.core import Block, Func, Module, Op, Value
from tlc.ir.dims import Derived, Dim
from tlc.ir.opdef import OPS
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


# a name, or several weights and the formula that says which one it is
Memory = str | list[Any]


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

    def atom(part: str | Derived) -> Any:
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
        self.names: dict[Value, Memory] = {}
        self.slots: list[list[Dim]] = []
        self.free: list[int] = []
        self.kept: list[Dim] = []
        self.flags: list[str] = []
        self.checks: list[list[Any]] = []
        self.once: list[list[Any]] = []
        self.steps: list[list[Any]] = []
        self.homes: list[str] = []  # of what the loops around carry: never free inside them
        self.targets: dict[Value, str] = {}  # memory that a value is to be written to

    def build(self, operations: int) -> dict[str, Any]:
        func = self.func
        for at, value in enumerate(func.params):
            self.names[value] = f"p{at}"
        self.steps = self.region(func.body, lambda: None)
        symbols = {s for v in func.params for d in v.tensor.shape for s in d.symbols()}
        return {
            "params": [
                {"name": name, "dtype": v.tensor.dtype, "shape": _shape(v.tensor)}
                for v, name in zip(func.params, func.param_names, strict=True)
            ],
            "results": [
                {"buffer": self.names[v], "dtype": v.tensor.dtype, "shape": _shape(v.tensor)}
                for v in func.results
            ],
            "symbols": sorted(symbols),
            "checks": self.checks,
            "slots": [[formula(d) for d in sizes] for sizes in self.slots],
            "kept": [formula(d) for d in self.kept],
            "flags": self.flags,
            "once": self.once,
            "steps": self.steps,
            "operations": operations,
        }

    # ---- steps ----------------------------------------------------------------------------------

    def op(self, op: Op, ending: list[Value]) -> None:
        match op.name:
            case "constant":
                self.names[op.result] = self.constant(op)
            case "weight":
                self.names[op.result] = self.weight(op, op.attrs["tensor"])
            case "weight_of":
                names = [self.weight(op, name) for name in op.attrs["tensors"]]
                self.names[op.result] = [names, formula(op.attrs["index"])]
            case "reshape":
                self.names[op.result] = self.names[op.operands[0]]
            case "fused":
                target = self.targets.pop(op.result, None)
                self.names[op.result] = target or f"s{self.slot(op.result.tensor)}"
                self.steps.append(self.launch(op))
            case "once":
                self.kept_work(op)
            case "loop":
                self.loop(op, ending)
            case "if":
                self.choice(op)
            case "read":
                memory, dtype, _ = self.typed(op.operands[0])
                self.steps.append(["read", op.attrs["symbol"], memory, dtype])
            case "check":
                left, right = formula(op.attrs["left"]), formula(op.attrs["right"])
                check = [left, right, op.attrs["text"], place(op)]
                late = any(s[0] == "$" for s in (op.attrs["left"] - op.attrs["right"]).symbols())
                (self.steps if late else self.checks).append(["check", *check] if late else check)
            case "print":
                self.steps.append(["print", self.parts(op), [self.typed(v) for v in op.operands]])
            case "assert":
                parts, values = self.parts(op), [self.typed(v) for v in op.operands]
                condition, where = formula(op.attrs["condition"]), op.attrs["place"]
                self.steps.append(["assert", condition, parts, values, where])
            case "text":
                self.steps.append(["text", *(op.attrs[k] for k in ("symbol", "source", "name"))])
            case "text_value":
                a = op.attrs
                asked = [a["what"], a["other"], a["place"]]
                self.steps.append(["text_value", a["symbol"], formula(a["text"]), *asked])
            case "save":
                step = ["save", *self.typed(op.operands[0]), op.attrs["path"], op.attrs["name"]]
                self.steps.append(step)
            case "save_model":
                a = op.attrs
                self.steps.append(["save_model", a["model"], a["path"], a["dequantize"]])

    def launch(self, op: Op) -> list[Any]:
        """A launch of a fused operation, whose operands and result have their memory."""
        source = f"{place(op)} {describe(op)}"
        return self._launch(op, [self.names[v] for v in (*op.operands, op.result)], source)

    def _launch(self, op: Op, buffers: list[Memory], source: str) -> list[Any]:
        variants: dict[str, list[Any]] = {}
        flagged = False
        for mine in self.made.profiles:
            choices = []
            for variant in generate(op, mine.profile, _NAME, _COMMENT):
                kernel = variant.kernel
                flagged = flagged or kernel.status
                guard = variant.guard and [formula(variant.guard[0]), variant.guard[1]]
                dims = [formula(d) for d in kernel.dims]
                at = mine.add(kernel, op.attrs["family"], source)
                choices.append([guard, at, formula(kernel.groups), dims])
            variants[mine.profile.name] = choices
        if flagged:
            buffers = [*buffers, f"f{len(self.flags)}"]
            self.flags.append(f"{place(op)}: an index is beyond the rows of its table")
        return ["launch", variants, buffers]

    def copy(self, source: Memory, target: Memory, type: TensorType, like: Op) -> None:
        """A launch that copies a tensor, unless it is there already."""
        if source != target:
            argument = Value(type)
            region = Block([argument], [Op(OPS["yield"], [argument], {})])
            attrs = {"family": "elementwise", "encodings": (type.dtype,), "results": (type,)}
            op = Op(OPS["fused"], [Value(type)], attrs, regions=[region], span=like.span)
            op.results = [Value(type, op)]
            self.steps.append(self._launch(op, [source, target], f"{place(like)} copy"))

    def region(self, block: Block, end: Callable[[], None]) -> list[list[Any]]:
        """The steps of a region; `end` adds those that hand on what it yields."""
        outer, self.steps = self.steps, []
        last = _last_uses(block)
        for at, op in enumerate(block.ops):
            ending = last.get(at, [])
            if op.name == "yield":
                end()
            else:
                self.op(op, ending)
            for value in ending:
                self.release(value)
        steps, self.steps = self.steps, outer
        return steps

    def loop(self, op: Op, ending: list[Value]) -> None:
        """What a loop carries has a slot of its own; each pass ends by writing there."""
        (region,) = op.regions
        homes = []
        for value, argument in zip(op.operands, region.args, strict=True):
            own = value in ending and self.names[value][0] == "s" and op.operands.count(value) == 1
            if own:  # nothing reads the initial value later: the loop goes on in its memory
                ending.remove(value)
                homes.append(self.names[value])
            else:
                homes.append(f"s{self.slot(argument.tensor)}")
                self.copy(self.names[value], homes[-1], argument.tensor, op)
            self.names[argument] = homes[-1]
        for at, value in enumerate(region.yielded):
            if _written_in_place(region, at):
                self.targets[value] = homes[at]
        self.homes += homes
        steps = self.region(region, lambda: self.write_back(op, homes))
        self.homes = self.homes[: len(self.homes) - len(homes)]
        ints = [
            [i, formula(first), formula(step), after] for i, first, step, after in op.attrs["ints"]
        ]
        self.steps.append(["loop", formula(op.attrs["condition"]), ints, steps])
        self.names.update(zip(op.results, homes, strict=True))

    def write_back(self, op: Op, homes: list[str]) -> None:
        """Copies of what a pass yields to where the next one looks for it.

        A value that lies in the home of another one is moved out of the way first.
        """
        (region,) = op.regions
        sources = [self.names[v] for v in region.yielded]
        for at, source in enumerate(sources):
            if source in homes and source != homes[at]:
                type = region.yielded[at].tensor
                aside = f"s{self.slot(type)}"
                self.copy(source, aside, type, op)
                sources[at] = aside
        for source, home, value in zip(sources, homes, region.yielded, strict=True):
            self.copy(source, home, value.tensor, op)
        for source in set(sources) - {self.names[v] for v in region.yielded}:
            self.free.append(int(source[1:]))

    def choice(self, op: Op) -> None:
        """Both branches of an `if` write what they yield to the same slots."""
        homes = [f"s{self.slot(v.tensor)}" for v in op.results]

        def hand_on(region: Block) -> None:
            for value, home in zip(region.yielded, homes, strict=True):
                self.copy(self.names[value], home, value.tensor, op)

        branches = [self.region(r, partial(hand_on, r)) for r in op.regions]
        ints = [[after, formula(a), formula(b)] for after, a, b in op.attrs["ints"]]
        self.steps.append(["if", formula(op.attrs["condition"]), ints, *branches])
        self.names.update(zip(op.results, homes, strict=True))

    def kept_work(self, op: Op) -> None:
        """The launches of a `once` operation; what it yields stays for all calls."""
        steps, self.steps = self.steps, []
        for inner in op.regions[0].ops[:-1]:
            if inner.name == "fused":
                self.targets[inner.result] = f"k{len(self.kept)}"
                self.kept.append(inner.result.tensor.nbytes)
            self.op(inner, [])
        self.once, self.steps = self.steps, steps
        for inside, outside in zip(op.regions[0].yielded, op.results, strict=True):
            self.names[outside] = self.names[inside]

    def parts(self, op: Op) -> list[Any]:
        out: list[Any] = []
        seen = 0
        for part in op.attrs["parts"]:
            if part is None:
                out.append(["value", seen])
                seen += 1
            elif isinstance(part, tuple):
                out.append([part[0], formula(part[1])])
            else:
                out.append(["dim", formula(part)] if isinstance(part, Dim) else part)
        return out

    def typed(self, value: Value) -> list[Any]:
        return [self.names[value], value.tensor.dtype, _shape(value.tensor)]

    # ---- memory ---------------------------------------------------------------------------------

    def slot(self, type: TensorType) -> int:
        """A slot that is free now: one of the same size first, then the best static fit."""
        nbytes = type.nbytes
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
        if name in self.homes:
            return
        if name[:1] == "s" and int(name[1:]) not in self.free:
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

    def weight(self, op: Op, tensor: str) -> str:
        a = op.attrs
        record = {
            "model": a["model"],
            "tensor": tensor,
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


def _last_uses(block: Block) -> dict[int, list[Value]]:
    """For each position in a block, the values made in it that nothing behind it reads."""
    alias: dict[Value, Value] = {}
    last: dict[Value, int] = {}
    made: set[Value] = set()
    for at, outer in enumerate(block.ops):
        for op in outer.walk():
            for value in op.operands:
                last[alias.get(value, value)] = at
        if outer.name == "reshape":
            alias[outer.result] = alias.get(outer.operands[0], outer.operands[0])
        else:
            made.update(outer.results)
            for value in outer.results:
                last.setdefault(value, at)
    found: dict[int, list[Value]] = {}
    for value, at in last.items():
        if value in made:
            found.setdefault(at, []).append(value)
    return found


def _written_in_place(region: Block, at: int) -> bool:
    """Whether what a pass yields can be written over what it was given: by a kernel behind which
    nothing reads the old value, and which reads of it just the element it is about to write."""
    value, old = region.yielded[at], region.args[at]
    writer = next((i for i, op in enumerate(region.ops) if value in op.results), None)
    if writer is None or region.ops[writer].name != "fused" or old in region.yielded:
        return False
    if region.yielded.count(value) > 1 or not _in_step(region.ops[writer], old):
        return False
    aliases = {op.result for op in region.ops if op.name == "reshape" and op.operands[0] is old}
    behind = [inner for op in region.ops[writer + 1 :] for inner in op.walk()]
    read_later = {v for op in behind for v in op.operands}
    return old not in read_later and not aliases & (read_later | set(region.ops[writer].operands))


def _in_step(op: Op, operand: Value) -> bool:
    """Whether a kernel reads an operand only element by element, as it writes its result."""
    (region,) = op.regions
    inside = [a for a, v in zip(region.args, op.operands, strict=True) if v is operand]
    readers = [inner for inner in region.ops if set(inside) & set(inner.operands)]
    return all(
        inner.defn.elementwise and inner.result.tensor.shape == op.result.tensor.shape
        for inner in readers
    )


__all__ = ["PACKED", "Plan", "count_operations", "describe", "formula", "place", "plan"]
