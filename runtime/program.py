"""A verified artifact and a device to something that runs: memory bound, launches prepared.

A call binds the symbols of its arguments. For each set of sizes the steps are prepared once:
launches that follow one another are one batch, which the device takes in one call.
"""

from __future__ import annotations

from _thread import RLock

from tlc.runtime.bound import Bound
from tlc.runtime.devices import Kernel, Launch
from tlc.runtime.errors import RunError
from tlc.runtime.format import DTYPE_BYTES, evaluate, numel, size, word
from tlc.runtime.seed import SEED, key_of
from tlc.runtime.steps import Host

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
        "skipped",
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
        self.skipped: dict[str, str] = manifest["skipped"]  # functions that are no entries, and why
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
        return named(self.entries, name, self.skipped)

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


def named(entries: dict[str, Entry], name: str, skipped: dict[str, str]) -> Entry:
    """The entry of that name. Raises RunError E0503 with the names there are, and with the reason
    why a function is none."""
    if name not in entries:
        text = f"no entry is called `{name}`"
        if name in skipped:
            text = f"`{name}` is no entry, because {skipped[name]}"
        raise RunError("E0503", text, f"there are {', '.join(entries)}")
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
            count = len(self.params)
            many = "one argument" if count == 1 else f"{count or 'no'} arguments"
            given = "one is given" if len(shapes) == 1 else f"{len(shapes) or 'none'} are given"
            raise RunError("E0504", f"`{self.name}` takes {many}, and {given}")
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
                found[symbol] = self._solved(symbol, found, shapes)
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

    def _solved(self, symbol: str, found: dict[str, int], shapes: Sequence[tuple[int, ...]]) -> int:
        """The size of a symbol that only stands in a formula linear in it, such as `2*N` or `N*D`,
        from those that are known."""
        text = f"the size `{symbol}` of `{self.name}` does not follow from the arguments"
        for param, shape in zip(self.params, shapes, strict=True):
            for axis, (formula, length) in enumerate(zip(param["shape"], shape, strict=True)):
                try:
                    zero, one = (evaluate(formula, found | {symbol: at}) for at in (0, 1))
                except RunError:
                    continue
                if one == zero:
                    continue
                size, rest = divmod(length - zero, one - zero)
                if rest == 0 and size >= 0:
                    return size
                form = f"{one - zero} * `{symbol}`" + (f" + {zero}" if zero else "")
                text = (
                    f"dimension {axis} of `{param['name']}` of `{self.name}` must be {form},"
                    f" and is {length}"
                )
        raise RunError("E0504", text)

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
