"""One function of a fused module to an entry of the plan: the steps that the host takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tlc.codegen.arena import Arena, in_place, is_late, last_uses, shown_by
from tlc.codegen.cost import cost
from tlc.codegen.growth import placed
from tlc.codegen.host_steps import HOST_STEPS
from tlc.codegen.kernels import Kernel, Variant, generate
from tlc.codegen.notation import describe, formula, place, shape
from tlc.codegen.profiles import Profile
from tlc.codegen.storage import Storage
from tlc.frontend.diagnostics import InternalError
from tlc.ir.core import Block, Func, Op, Value
from tlc.ir.dims import Dim
from tlc.ir.opdef import OPS
from tlc.ir.printer import print_op
from tlc.ir.types import TensorType
from tlc.runtime.format import launch_steps

# kernels are generated under these, so that equal ones can be told; then they get their own
_NAME, _COMMENT = "KERNEL_NAME", "KERNEL_COMMENT"

# a name, or several weights and the formula that says which one it is
Memory = str | list[Any]


@dataclass(slots=True)
class ProfilePlan:
    """The kernels of one profile, each kept once however often it is launched."""

    profile: Profile
    kernels: list[Kernel] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)
    generated: dict[str, list[Variant]] = field(default_factory=dict)

    def variants(self, op: Op) -> list[Variant]:
        """The kernels for a fused operation; equal operations are generated once."""
        key = print_op(op)
        if key not in self.generated:
            self.generated[key] = generate(op, self.profile, _NAME, _COMMENT)
        return self.generated[key]

    def add(self, kernel: Kernel, family: str, source: str) -> int:
        """The index of a kernel; kernels that differ in nothing but their name are one."""
        at = self.known.setdefault(kernel.text, len(self.kernels))
        if at == len(self.kernels):
            text = kernel.text.replace(_NAME, f"{family}_{at}").replace(_COMMENT, source)
            name = kernel.name.replace(_NAME, f"{family}_{at}")
            self.kernels.append(replace(kernel, name=name, text=text))
            self.sources.append(source)
        return at


class EntryPlan:
    """Builds one entry: names its memory and lists its steps."""

    def __init__(self, profiles: list[ProfilePlan], storage: Storage, func: Func) -> None:
        self.profiles, self.storage, self.func = profiles, storage, func
        self.names: dict[Value, Memory] = {}
        self.arena = Arena()
        self.kept: list[Dim] = []
        self.flags: list[str] = []
        self.checks: list[list[Any]] = []
        self.once: list[list[Any]] = []
        self.steps: list[list[Any]] = []
        self.around = -1  # regions around what is listed, but for the body itself
        self.targets: dict[Value, str] = {}  # memory that a value is to be written to
        self.costs: dict[int, list[Any]] = {}  # of launches, by the identity of their steps
        self._operations: dict[int, Op] = {}  # of the same

    def build(self, operations: int) -> dict[str, Any]:
        func = self.func
        for at, value in enumerate(func.params):
            self.names[value] = f"p{at}"
        self.steps = self.region(func.body, lambda: None)
        symbols = {s for v in func.params for d in v.tensor.shape for s in d.symbols()}
        return {
            "params": [
                {"name": name, "dtype": v.tensor.dtype, "shape": shape(v.tensor)}
                for v, name in zip(func.params, func.param_names, strict=True)
            ],
            "results": [
                {"buffer": self.names[v], "dtype": v.tensor.dtype, "shape": shape(v.tensor)}
                for v in func.results
            ],
            "symbols": sorted(symbols),
            "checks": self.checks,
            "slots": self.arena.formulas(),
            "kept": [formula(d) for d in self.kept],
            "flags": self.flags,
            "once": self.once,
            "steps": self.steps,
            "costs": [self.costs[id(s)] for s in launch_steps([*self.once, *self.steps])],
            "operations": operations,
        }

    @property
    def launched(self) -> list[Op]:
        """The operation of every launch, those done once first."""
        return [self._operations[id(s)] for s in launch_steps([*self.once, *self.steps])]

    # ---- steps ----------------------------------------------------------------------------------

    def op(self, op: Op, ending: list[Value]) -> None:
        match op.name:
            case "constant":
                self.names[op.result] = self.storage.constant(op)
            case "weight":
                self.names[op.result] = self.storage.weight(op, op.attrs["tensor"])
            case "weight_of":
                names = [self.storage.weight(op, name) for name in op.attrs["tensors"]]
                self.names[op.result] = [names, formula(op.attrs["index"])]
            case "reshape":
                self.names[op.result] = self.names[op.operands[0]]
            case "fused":
                for value in op.results:
                    target = self.targets.pop(value, None) or self.arena.take(value)
                    self.names[value] = target
                    self.room(target, value.tensor)
                self.steps += [self.launch(each) for each in placed(op, self.names)]
            case "once":
                self.kept_work(op)
            case "loop":
                self.loop(op, ending)
            case "if":
                self.choice(op)
            case "function":
                self.function(op)
            case "check":
                left, right = formula(op.attrs["left"]), formula(op.attrs["right"])
                check = [left, right, op.attrs["text"], place(op)]
                sizes = (op.attrs["left"] - op.attrs["right"]).symbols()
                late = self.around > 0 or any(s[0] == "$" for s in sizes)
                (self.steps if late else self.checks).append(["check", *check] if late else check)
            case name if name in HOST_STEPS:
                self.names |= {value: self.arena.take(value) for value in op.results}
                self.steps.append(HOST_STEPS[name](self, op))
            case name:
                raise InternalError(f"no step for the operation {name}")

    def room(self, target: Memory, type: TensorType) -> None:
        """See that memory can hold a tensor; what has a size that the run computes grows then."""
        if is_late(type.nbytes):
            self.steps.append(["room", target, formula(type.nbytes)])
        elif isinstance(target, str) and target[0] == "s":
            self.arena.hold(target, type.nbytes)

    def launch(self, op: Op) -> list[Any]:
        """A launch of a fused operation, whose operands and results have their memory."""
        source = f"{place(op)} {describe(op)}"
        return self._launch(op, [self.names[v] for v in (*op.operands, *op.results)], source)

    def _launch(self, op: Op, buffers: list[Memory], source: str) -> list[Any]:
        variants: dict[str, list[Any]] = {}
        flagged = False
        for mine in self.profiles:
            choices = []
            for variant in mine.variants(op):
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
        step = ["launch", variants, buffers]
        self.costs[id(step)] = [formula(part) for part in cost(op)]
        self._operations[id(step)] = op
        return step

    def copy(self, source: Memory, target: Memory, type: TensorType, like: Op) -> None:
        """A launch that copies a tensor, unless it is there already."""
        if source != target:
            argument = Value(type)
            region = Block([argument], [Op(OPS["yield"], [argument], {})])
            attrs = {"family": "elementwise", "encodings": (type.dtype,), "results": (type,)}
            op = Op(OPS["fused"], [Value(type)], attrs, regions=[region], span=like.span)
            op.results = [Value(type, op)]
            self.room(target, type)
            self.steps.append(self._launch(op, [source, target], f"{place(like)} copy"))

    def region(self, block: Block, end: Callable[[], None]) -> list[list[Any]]:
        """The steps of a region; `end` adds those that hand on what it yields."""
        outer, self.steps = self.steps, []
        self.around += 1
        last = last_uses(block)
        for at, op in enumerate(block.ops):
            ending = last.get(at, [])
            if op.name == "yield":
                end()
            else:
                self.op(op, ending)
            for value in ending:
                self.release(value)
        steps, self.steps = self.steps, outer
        self.around -= 1
        return steps

    def loop(self, op: Op, ending: list[Value]) -> None:
        """What a loop carries has a slot of its own; each pass ends by writing there."""
        (region,) = op.regions
        homes: list[str] = []
        inside = (inner for outer in region.ops for inner in outer.walk())
        read = [self.names[v] for inner in inside for v in inner.operands if v in self.names]
        given = [shown_by(value) for value in op.operands]
        for value, argument, result in zip(given, region.args, op.results, strict=True):
            home, target = self.names[value], self.targets.pop(result, None)
            mine = isinstance(home, str) and home[0] == "s" and given.count(value) == 1
            if target is not None:  # it grows on in the memory of a loop around it
                homes.append(target)
                self.copy(home, target, value.tensor, op)
            elif isinstance(home, str) and mine and value in ending and home not in read:
                ending.remove(value)  # nothing else reads it: the loop goes on in its memory
                homes.append(home)
            else:
                homes.append(self.arena.take(argument))
                self.copy(home, homes[-1], value.tensor, op)
            self.names[argument] = homes[-1]
        for at, home in enumerate(homes):
            self.targets.update(dict.fromkeys(in_place(region, at), home))
        self.arena.homes += homes
        steps = self.region(region, lambda: self.write_back(op, homes))
        del self.arena.homes[len(self.arena.homes) - len(homes) :]
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
        aside: list[str] = []
        for at, (source, value) in enumerate(zip(sources, region.yielded, strict=True)):
            if source in homes and source != homes[at]:
                aside.append(self.arena.take(value))
                self.copy(source, aside[-1], value.tensor, op)
                sources[at] = aside[-1]
        for source, home, value in zip(sources, homes, region.yielded, strict=True):
            self.copy(source, home, value.tensor, op)
        for slot in aside:
            self.arena.release(slot)

    def choice(self, op: Op) -> None:
        """Both branches of an `if` write what they yield to the same slots."""
        homes = [self.targets.pop(v, "") or self.arena.take(v) for v in op.results]

        def hand_on(region: Block) -> None:
            for value, home in zip(region.yielded, homes, strict=True):
                self.copy(self.names[value], home, value.tensor, op)

        branches = [self.region(r, partial(hand_on, r)) for r in op.regions]
        ints = [[after, formula(a), formula(b)] for after, a, b in op.attrs["ints"]]
        self.steps.append(["if", formula(op.attrs["condition"]), ints, *branches])
        self.names.update(zip(op.results, homes, strict=True))

    def function(self, op: Op) -> None:
        """Its arguments have slots of their own; calls leave all that it uses as they found it."""
        (region,) = op.regions
        outer, self.arena.taken = self.arena.taken, {}
        homes = [self.arena.take(argument) for argument in region.args]
        self.names.update(zip(region.args, homes, strict=True))
        steps = self.region(region, lambda: None)
        for home in homes:
            self.arena.release(home)
        used, self.arena.taken = list(self.arena.taken), outer | self.arena.taken
        ends = [formula(number) for _, number in op.attrs["ends"]]
        results = self.typed(region.yielded)
        a = op.attrs
        self.steps.append(
            ["function", a["name"], list(a["ints"]), steps, homes, ends, results, used]
        )

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

    def typed(self, values: Iterable[Value]) -> list[list[Any]]:
        """Memory, dtype and shape of each."""
        return [[self.names[v], v.tensor.dtype, shape(v.tensor)] for v in values]

    def release(self, value: Value) -> None:
        name = self.names.get(value, "")
        if isinstance(name, str) and name[:1] == "s":
            self.arena.release(name)
