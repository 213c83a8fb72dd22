"""`tlc run --device A,B --diff`: every launch of a run on A again on B, and the results of both."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tlc.arrays import as_array, from_files
from tlc.reference_launches import ReferenceLaunches
from tlc.runner import given_arguments
from tlc.runtime.closeness import EXACT, Apart, Limit, apart, on_profiles, slack
from tlc.runtime.devices.select import open_device
from tlc.runtime.errors import RunError
from tlc.runtime.format import DTYPE_BYTES, numel, size
from tlc.runtime.loader import load
from tlc.runtime.program import Program
from tlc.runtime.steps import Host
from tlc.runtime.watched import OneByOne, Seen, WatchedProgram, again

Output = tuple[str, str, bytes]  # what it is, its dtype, its bytes
Repeat = Callable[[Seen], dict[int, bytes]]


class _Gathering(Host):
    """Keeps the tensors that a run prints or would save; writes nothing."""

    __slots__ = ("found",)

    def __init__(self, given: dict[str, str], seed: int) -> None:
        super().__init__(lambda text: None, given=given, seed=seed)
        self.found: list[Output] = []

    def step(self, step: list[Any], bound: Any, sizes: dict[str, int]) -> None:
        match step[0]:
            case "print":
                for memory, dtype, shape in step[2]:
                    what = f"printed tensor {len(self.found) + 1}"
                    self._keep(what, bound, sizes, memory, dtype, shape)
            case "save":
                self._keep(f"saved {step[5]}", bound, sizes, *step[1:4])
            case "save_model":
                pass  # weights of a model file, which no device computes
            case _:
                super().step(step, bound, sizes)

    def _keep(
        self, what: str, bound: Any, sizes: dict[str, int], memory: Any, dtype: str, shape: Any
    ) -> None:
        count = numel(tuple(size(f, sizes) for f in shape), {})
        data = bound.device.read(bound.buffer(memory, sizes), count * DTYPE_BYTES[dtype])
        self.found.append((what, dtype, bytes(data)))


def compare(artifact: Any, folders: list[str], options: dict[str, Any]) -> int:
    """Print the kernels and outputs of an entry that differ on two devices.

    The reference device runs each launch by what its operation means. The exit code is 1 when a
    kernel differs by more than `runtime/closeness.py` allows. Raises RunError E0504 for devices
    that cannot be compared.
    """
    devices = options["device"].split(",")
    launching = [device for device in devices if device != "reference"]
    if len(devices) != 2 or not launching:
        hint = "as in --device cpu,metal"
        raise RunError("E0504", "--diff compares two devices, of which one launches kernels", hint)
    first: Any = OneByOne(open_device(launching[0]))
    ours = load(artifact, first, folders, WatchedProgram)
    theirs: Program | ReferenceLaunches
    repeat: Repeat
    if len(launching) == 2:
        theirs = load(artifact, open_device(launching[1]), folders)
        repeat = partial(again, theirs)
    else:
        theirs = ReferenceLaunches(artifact, folders)
        repeat = partial(_on_reference, theirs, ours)
    profiles = {p.device.profile for p in (ours, theirs) if isinstance(p, Program)}
    kernels: dict[str, _Kernel] = {}
    count = 0

    def see(seen: Seen) -> None:
        nonlocal count
        count += 1
        got, limits = repeat(seen), {}
        if got != seen.after:
            limits = on_profiles(profiles, slack(ours, seen), seen, artifact.manifest)
        kernels.setdefault(seen.kernel, _Kernel()).add(count, seen, got, limits)

    first.see = see
    outputs = [_outputs(program, options) for program in (ours, theirs)]
    record = artifact.manifest["profiles"][first.profile]["kernels"]
    sources = {kernel["name"]: kernel["source"] for kernel in record}
    differing = {k: found for k, found in kernels.items() if found.count}
    if differing:
        print("launch  kernel                   differ         ULPs   of allowed  line")
    for kernel, found in differing.items():
        share = f"{found.count:,} of {found.of:,}"
        print(
            f"{found.launch:6}  {kernel:23}  {share:13} {found.ulps:5g} {found.excess:12.2g}"
            f"  {sources[kernel]}"
        )
    print(f"{len(kernels) - len(differing)} of {len(kernels)} kernels give the same bits")
    _print_outputs(*outputs)
    parted = [(k, found) for k, found in differing.items() if found.excess > 1]
    for kernel, found in sorted(parted, key=lambda pair: pair[1].launch)[:1]:
        print(f"{' and '.join(devices)} part at launch {found.launch}: {kernel}, {sources[kernel]}")
    if not parted:
        print(f"no kernel differs on {' and '.join(devices)} by more than its rounding")
    return 1 if parted else 0


def _on_reference(reference: ReferenceLaunches, program: Program, seen: Seen) -> dict[int, bytes]:
    """What a launch leaves by its meaning, of the constants that the program has."""
    before = seen.before
    entry, read = program.entry(seen.entry), program.device.read
    for at, name in enumerate(before):
        if isinstance(name, str) and name[0] == "c":
            constant = entry.buffer(name, {}, {})
            before = [*before[:at], bytes(read(constant, constant.nbytes)), *before[at + 1 :]]
    found = (seen.entry, seen.step, seen.kernel, seen.sizes, before, seen.after, seen.types)
    return reference.again(Seen(*found))


class _Kernel:
    """What the launches of one kernel differ by, and the first in which it does, or does so by more
    than is allowed."""

    def __init__(self) -> None:
        self.launch = 0
        self.count = self.of = 0
        self.ulps = self.excess = 0.0

    def add(self, launch: int, seen: Seen, got: dict[int, bytes], limits: dict[int, Limit]) -> None:
        """Take in a launch, and what it left elsewhere."""
        for at, data in seen.after.items():
            found: Apart = apart(data, got[at], seen.types.get(at, ""), limits.get(at, EXACT))
            self.count, self.of = self.count + found.count, self.of + found.of
            if found.count and (not self.launch or self.excess <= 1 < found.excess):
                self.launch = launch
            self.ulps, self.excess = max(self.ulps, found.ulps), max(self.excess, found.excess)


def _outputs(program: Any, options: dict[str, Any]) -> list[Output]:
    """What an entry prints, saves and gives."""
    entry = program.entry(options["entry"])
    given = given_arguments(options, entry.record["steps"])
    arrays = from_files(options["input"], entry)
    args = [as_array(a, p, entry.name) for a, p in zip(arrays, entry.params, strict=True)]
    seed = int(options["seed"] or 0)
    if isinstance(program, ReferenceLaunches):
        found, results = program.outputs(entry, args, given, seed)
    else:
        host = _Gathering(given, seed)
        results = program.run(entry, args, host)
        found = host.found
    return found + [
        (f"result {at}" if len(results) > 1 else "result", dtype, bytes(data))
        for at, (data, dtype, _) in enumerate(results, 1)
    ]


def _print_outputs(first: list[Output], second: list[Output]) -> None:
    for (what, dtype, a), (_, _, b) in zip(first, second, strict=False):
        if len(a) != len(b):
            print(f"{what}: has another size")
            continue
        found = apart(a, b, dtype)
        apart_by = "" if found.count == 0 else f", {found.count:,} of {found.of:,} elements"
        print(f"{what}: {found.ulps:g} ULPs{apart_by}")
    if len(first) != len(second):
        print(f"one prints {len(first)} tensors, the other {len(second)}")
