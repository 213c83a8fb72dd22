"""A verified artifact and a device to something that runs: memory bound, launches prepared.

A call binds the symbols of its arguments. For each set of sizes the steps are prepared once:
launches that follow one another are one batch, which the device takes in one call.
"""

from __future__ import annotations

from _thread import RLock

from tlc.runtime.devices import Kernel, Launch
from tlc.runtime.errors import RunError
from tlc.runtime.format import DTYPE_BYTES, MAX_BYTES, evaluate, numel, size, symbols, word
from tlc.runtime.seed import SEED, key_of
from tlc.runtime.steps import Host, Launches, check, prepared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from tlc.runtime.devices import Batch, Buffer, Device, Library
    from tlc.runtime.texts import Texts
    from tlc.runtime.weights import Weights

KEPT_BINDINGS = 16  # sets of sizes whose memory stays allocated


class Program:
    """The entries of an artifact on a device."""

    __slots__ = (
        "_constants",
        "_kernels",
        "_library",
        "_places",
        "device",
        "entries",
        "given",
        "lock",
        "seed",
        "weights",
    )

    def __init__(
        self,
        manifest: dict[str, Any],
        text: Callable[[str], str],
        constants: memoryview,
        weights: Weights,
        device: Device,
        compiled: bytes | None = None,
    ) -> None:
        """`text` gives a member of the artifact by name; `compiled` is a Metal library of its
        kernels, for a device that takes one. Raises RunError E0502, E0701, E0703."""
        profile = manifest["profiles"].get(device.profile)
        if profile is None:
            raise RunError(
                "E0702",
                f"the artifact has no kernels for {device.name}",
                f"it was built for {', '.join(manifest['profiles'])}",
            )
        self.device, self.weights = device, weights
        self.lock = RLock()  # held by callers until they have copied results: calls share memory
        self.given: dict[str, str] = {}  # arguments of a run, as `arg` reads them
        self.seed: int = manifest["seed"]  # of random numbers
        self._kernels = [Kernel(k["name"], k["threads"]) for k in profile["kernels"]]
        made: Library | None = None
        if compiled is not None:
            taker: Any = device
            made = taker.library_of(compiled, self._kernels)
        self._library = made or device.library(text(profile["text"]), self._kernels)
        self._places = manifest["constants"]
        self._constants: dict[int, Buffer] = {}
        for offset, nbytes in self._places:
            if offset + nbytes > len(constants):
                raise RunError("E0501", "the artifact is damaged: a constant lies outside of it")
        self.entries = {
            name: self.made(name, entry, constants) for name, entry in manifest["entries"].items()
        }

    def made(self, name: str, record: dict[str, Any], constants: memoryview) -> Entry:
        """An entry of the manifest."""
        return Entry(self, name, record, constants)

    def entry(self, name: str) -> Entry:
        """An entry by name. Raises RunError E0503 with the names there are."""
        return named(self.entries, name)

    def call(
        self,
        entry: Entry,
        args: Sequence[Any],
        write: Callable[[str], object],
        full: bool = False,
        texts: Texts | None = None,
    ) -> list[tuple[memoryview, str, tuple[int, ...]]]:
        """Run an entry on dense buffers that have a `shape`; bytes, dtype and shape of its results.

        `texts` are what the run reads and makes of tokens, when somebody looks on. The bytes are
        valid until the next call. Raises RunError E0504 and E0505.
        """
        return self.run(entry, args, Host(write, full, self.given, self.seed, texts))

    def run(
        self, entry: Entry, args: Sequence[Any], host: Host
    ) -> list[tuple[memoryview, str, tuple[int, ...]]]:
        """The same with a host that may watch what is printed and saved."""
        bound = entry.bound(tuple([a.shape for a in args]))
        device = self.device
        for buffer, arg in zip(bound.inputs, args, strict=True):
            if buffer.nbytes and arg.nbytes:
                device.write(buffer, memoryview(arg).cast("B"))
        found = bound.run(host)
        return [
            (device.read(buffer, numel(shape, {}) * DTYPE_BYTES[dtype]), dtype, shape)
            for buffer, dtype, shape in found
        ]

    def constant(self, at: int, data: memoryview) -> Buffer:
        """A constant of the artifact on the device."""
        if at not in self._constants:
            offset, nbytes = self._places[at]
            self._constants[at] = self.device.constant(data[offset : offset + nbytes])
        return self._constants[at]

    def batch(self, launches: list[Launch]) -> Batch:
        return self.device.batch(self._library, launches)

    def kernel(self, at: int) -> Kernel:
        return self._kernels[at]


def named(entries: dict[str, Entry], name: str) -> Entry:
    """The entry of that name. Raises RunError E0503 with the names there are."""
    if name not in entries:
        raise RunError("E0503", f"no entry is called `{name}`", f"there are {', '.join(entries)}")
    return entries[name]


class Entry:
    """One entry: `main`, or a function."""

    __slots__ = (
        *("_bound", "_constants", "_kept", "_shapes"),
        *("name", "params", "program", "record", "results"),
    )

    def __init__(
        self, program: Program, name: str, record: dict[str, Any], constants: memoryview
    ) -> None:
        self.program, self.name, self.record, self._constants = program, name, record, constants
        self.params, self.results = record["params"], record["results"]
        self._bound: dict[tuple[int, ...], Bound] = {}  # by sizes
        self._shapes: dict[tuple[tuple[int, ...], ...], Bound] = {}  # the same by argument shapes
        self._kept: list[Buffer] | None = None

    def sizes(self, shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
        """The symbols that argument shapes give. Raises RunError E0504 where they disagree."""
        if len(shapes) != len(self.params):
            raise RunError(
                "E0504",
                f"`{self.name}` takes {len(self.params)} arguments, and {len(shapes)} are given",
            )
        found: dict[str, int] = {}
        givers: dict[str, str] = {}
        for param, shape in zip(self.params, shapes, strict=True):
            if len(shape) != len(param["shape"]):
                raise RunError(
                    "E0504",
                    f"`{param['name']}` of `{self.name}` has rank {len(param['shape'])},"
                    f" and the argument has shape {list(shape)}",
                )
            for formula, length in zip(param["shape"], shape, strict=True):
                if isinstance(formula, str) and formula not in found:
                    found[formula], givers[formula] = length, param["name"]
        for symbol in self.record["symbols"]:
            if symbol not in found:
                found[symbol] = self._solved(symbol, shapes)
        for param, shape in zip(self.params, shapes, strict=True):
            for axis, (formula, length) in enumerate(zip(param["shape"], shape, strict=True)):
                wanted = evaluate(formula, found)
                if wanted != length:
                    giver = givers.get(formula) if isinstance(formula, str) else None
                    why = f" (`{formula}`, from `{giver}`)" if giver else ""
                    raise RunError(
                        "E0504",
                        f"dimension {axis} of `{param['name']}` of `{self.name}` must be"
                        f" {wanted}{why}, and is {length}",
                    )
        return found

    def _solved(self, symbol: str, shapes: Sequence[tuple[int, ...]]) -> int:
        """The size of a symbol that only stands in a formula linear in it, such as `2*N`."""
        for param, shape in zip(self.params, shapes, strict=True):
            for formula, length in zip(param["shape"], shape, strict=True):
                try:
                    zero, one = (evaluate(formula, {symbol: at}) for at in (0, 1))
                except RunError:
                    continue
                if one != zero and (length - zero) % (one - zero) == 0:
                    return (length - zero) // (one - zero)
        raise RunError(
            "E0504", f"the size `{symbol}` of `{self.name}` does not follow from the arguments"
        )

    def bound(self, shapes: tuple[tuple[int, ...], ...]) -> Bound:
        """The entry made ready for arguments of these shapes. Raises RunError E0504 and E0505."""
        found = self._shapes.get(shapes)
        if found is None:
            found = self._shapes[shapes] = self.bind(self.sizes(shapes))
        return found

    def bind(self, sizes: dict[str, int]) -> Bound:
        """The entry made ready for one set of sizes. Raises RunError E0505."""
        key = tuple(sizes.values())
        bound = self._bound.get(key)
        if bound is None:
            if len(self._bound) >= KEPT_BINDINGS:
                self._bound.pop(next(iter(self._bound)))
                self._shapes.clear()
            bound = self._bound[key] = Bound(self, sizes)
        return bound

    def kept(self) -> list[Buffer]:
        """What `once` computes, computed at the first call."""
        if self._kept is None:
            device, flags = self.program.device, self.flags()
            self._kept = [device.buffer(size(f, {})) for f in self.record["kept"]]
            try:
                sizes = {SEED: key_of(self.program.seed)}
                launches = [self.launch(step, sizes, {"f": flags}) for step in self.record["once"]]
                device.run(self.program.batch(launches))
                self.check(flags)
            except RunError:
                self._kept = None
                raise
        return self._kept

    def flags(self) -> list[Buffer]:
        """Memory for the flags that kernels raise, all down."""
        return [self.program.device.buffer(4) for _ in self.record["flags"]]

    def check(self, flags: list[Buffer]) -> None:
        """Raises RunError E0505 when a kernel has raised a flag."""
        for flag, text in zip(flags, self.record["flags"], strict=True):
            if any(self.program.device.read(flag, 4)):
                raise RunError("E0505", text)

    def buffer(
        self, name: str | list[Any], memory: dict[str, list[Buffer]], sizes: dict[str, int]
    ) -> Buffer:
        """The memory that a manifest calls `p0`, `w3`, ... Raises RunError E0501."""
        if isinstance(name, list):
            names, which = name[0], evaluate(name[1], sizes)
            if not 0 <= which < len(names):
                raise RunError("E0505", f"there is no weight {which} among {len(names)}")
            return self.buffer(names[which], memory, sizes)
        kind, at = name[0], int(name[1:])
        if kind == "w":
            return self.program.weights.buffer(at)
        if kind == "c" and at < len(self.program._places):
            return self.program.constant(at, self._constants)
        found = self.kept() if kind == "k" else memory.get(kind, [])
        if at >= len(found):
            raise RunError(
                "E0501", f"the artifact is damaged: entry {self.name} has no memory {name}"
            )
        return found[at]

    def launch(
        self, step: list[Any], sizes: dict[str, int], memory: dict[str, list[Buffer]]
    ) -> Launch:
        """A launch for these sizes."""
        return self.launch_on(step, sizes, [self.buffer(name, memory, sizes) for name in step[2]])

    def launch_on(self, step: list[Any], sizes: dict[str, int], buffers: list[Buffer]) -> Launch:
        """The same on given memory."""
        _, kernel, groups, dims = self.variant(step, sizes)
        words = b"".join(word(d, sizes) for d in dims)
        return Launch(self.program.kernel(kernel), buffers, size(groups, sizes), words or None)

    def variant(self, step: list[Any], sizes: dict[str, int]) -> Any:
        """Of the variants of a launch step, the first whose guard holds for these sizes."""
        for variant in step[1][self.program.device.profile]:
            guard = variant[0]
            if guard is None or evaluate(guard[0], sizes) <= guard[1]:
                return variant
        raise RunError("E0501", f"the artifact is damaged: no kernel fits a launch of {self.name}")


class Steady:
    """The launches of a call, the flags they raise, and where its results are."""

    __slots__ = ("batch", "flags", "results")

    def __init__(
        self,
        batch: Batch,
        flags: list[Buffer],
        results: list[tuple[Buffer, str, tuple[int, ...]]],
    ) -> None:
        self.batch, self.flags, self.results = batch, flags, results


class Bound:
    """An entry with its memory, for one set of sizes."""

    __slots__ = (
        *("_entry", "_fixed", "_flags", "_found", "_steps"),
        *("inputs", "memory", "moved", "sizes"),
    )

    def __init__(self, entry: Entry, sizes: dict[str, int]) -> None:
        record, device = entry.record, entry.program.device
        for left, right, text, place in record["checks"]:
            check(left, right, text, place, sizes)
        self._entry, self.sizes = entry, sizes
        self.inputs = [
            device.buffer(numel(p["shape"], sizes) * DTYPE_BYTES[p["dtype"]])
            for p in record["params"]
        ]
        self._flags = entry.flags()
        slots = [device.buffer(max(size(f, sizes) for f in s)) for s in record["slots"]]
        self.memory = {"p": self.inputs, "s": slots, "f": self._flags}
        self.moved = 0  # how often a slot has got other memory, because it was too small
        self._steps = prepared(self, record["steps"])
        # results whose place and shape no run decides are found once, while no slot moves
        self._fixed = not symbols([[r["buffer"], r["shape"]] for r in entry.results])
        self._found: tuple[int, list[tuple[Buffer, str, tuple[int, ...]]]] | None = None

    @property
    def device(self) -> Device:
        return self._entry.program.device

    @property
    def weights(self) -> Weights:
        return self._entry.program.weights

    def batch(self, launches: list[list[Any]], sizes: dict[str, int], idle: bool = False) -> Batch:
        """Launch steps made ready for these sizes; those of no threadgroups only with `idle`."""
        made = [self._entry.launch(step, sizes, self.memory) for step in launches]
        return self._entry.program.batch([launch for launch in made if launch.groups or idle])

    def variant(self, step: list[Any], sizes: dict[str, int]) -> Any:
        """Of the variants of a launch step, the first whose guard holds for these sizes."""
        return self._entry.variant(step, sizes)

    def buffer(self, name: str | list[Any], sizes: dict[str, int]) -> Buffer:
        return self._entry.buffer(name, self.memory, sizes)

    def room(self, slot: str, nbytes: int) -> None:
        """Let a slot hold so many bytes; one that is too small is doubled and keeps its content."""
        slots, at = self.memory["s"], int(slot[1:])
        old = slots[at]
        if not 0 <= nbytes <= MAX_BYTES:
            raise RunError("E0505", f"a size comes out as {nbytes}")
        if nbytes > old.nbytes:
            slots[at] = self.device.buffer(max(nbytes, 2 * old.nbytes))
            if old.nbytes:
                self.device.write(slots[at], self.device.read(old, old.nbytes))
            self.moved += 1

    def write(self, slot: str, data: bytes) -> None:
        """Put bytes into a slot, which grows where it has to."""
        self.room(slot, len(data))
        if data:
            self.device.write(self.memory["s"][int(slot[1:])], data)

    def run(self, host: Host) -> list[tuple[Buffer, str, tuple[int, ...]]]:
        """All steps in order; inputs are written before. The results: memory, dtype and shape.

        Raises RunError E0505 when a kernel has raised a flag or a check does not hold.
        """
        for flag in self._flags:
            self.device.write(flag, b"\0\0\0\0")
        sizes = {**self.sizes, SEED: host.key}
        for step in self._steps:
            step.run(self, sizes, host)
        self.check_flags()
        if self._found is not None and self._found[0] == self.moved:
            return self._found[1]
        found = [
            (self.buffer(r["buffer"], sizes), r["dtype"], tuple(size(f, sizes) for f in r["shape"]))
            for r in self._entry.results
        ]
        if self._fixed:
            self._found = (self.moved, found)
        return found

    def steady(self) -> Steady | None:
        """What a call is when it has run before and is nothing but launches; else None."""
        first = self._steps[0] if len(self._steps) == 1 else None
        batch = first.only() if isinstance(first, Launches) else None
        if batch is None or self._found is None or self._found[0] != self.moved:
            return None
        return Steady(batch, self._flags, self._found[1])

    def check_flags(self) -> None:
        self._entry.check(self._flags)
