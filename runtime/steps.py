"""The steps of an entry to something that runs: launches in batches, control flow and output.

A step runs with the sizes of its call; loops and branches add their own numbers to them, as symbols
that begin with `$`. Launches that follow one another are one batch. A batch whose launches depend
on such symbols is prepared again for each of their values, and kept.
"""

from __future__ import annotations

import struct

from tlc.runtime.errors import RunError
from tlc.runtime.format import DTYPE_BYTES, evaluate, numel, size, symbols
from tlc.runtime.seed import key_of
from tlc.runtime.varying import Varying, compiled

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    from tlc.runtime.bound import Bound
    from tlc.runtime.devices import Batch
    from tlc.runtime.texts import Texts

    class Step(Protocol):
        """Something that runs in its turn."""

        def run(self, bound: Bound, sizes: dict[str, int], host: Host) -> None: ...


KEPT_BATCHES = 4  # of one place in a loop
MOST_CALLS = 10_000  # of a function in one another
MOST_FRAMES = 1_000_000  # of Python, while functions run
MOST_PASSES = 1 << 31  # a loop that goes on longer has gone wrong


def prepared(bound: Bound, steps: list[list[Any]]) -> list[Step]:
    """Steps as a manifest lists them, ready to run."""
    made: list[Step] = []
    launches: list[list[Any]] = []
    for step in [*steps, None]:
        if step is not None and step[0] in ("launch", "room"):
            launches.append(step)
            continue
        if launches:
            made.append(Launches(bound, launches))
            launches = []
        if step is not None:
            make: Any = _STEPS.get(step[0], HostStep)
            made.append(make(bound, step))
    return made


def check(left: Any, right: Any, text: str, place: str, sizes: dict[str, int]) -> None:
    """Raises RunError E0505 unless two formulas are equal."""
    a, b = evaluate(left, sizes), evaluate(right, sizes)
    if a != b:
        raise RunError("E0505", f"{place}: {explained(text, a, b, right == 0, sizes)}")


def explained(text: str, a: int, b: int, compared: bool, sizes: Mapping[str, int]) -> str:
    """The text of a check that does not hold, with the numbers of this run: those of run-time
    symbols (`$3`) stand for them, those of named ones behind the text. The text of a comparison
    says all; the others demand that `a` and `b` are equal."""
    import re

    def numbers(formula: re.Match[str]) -> str:
        given = re.sub(r"\$\d+", lambda name: str(sizes.get(name[0], name[0])), formula[0])
        plain = re.fullmatch(r"-?\d+([-+]\d+)*", given)
        return str(sum(map(int, re.findall(r"[-+]?\d+", given)))) if plain else given

    text = re.sub(r"[\w*+()/%$-]*\$\d[\w*+()/%$-]*", numbers, text)
    named = [n for n in sizes if re.search(rf"(?<!\w){re.escape(n)}(?!\w)", text)]
    parts = [f"{name} is {sizes[name]}" for name in named]
    if not compared:
        parts.append(f"{a} and {b} differ")
    return f"{text}: {', '.join(parts)}" if parts else text


class Launches:
    """Launches in a row, after the slots that they write have grown to the sizes of this time."""

    __slots__ = ("_batches", "_bytes", "_launches", "_memory", "_rooms", "_symbols", "_varying")

    def __init__(self, bound: Bound, steps: list[list[Any]]) -> None:
        self._launches = launches = [step for step in steps if step[0] == "launch"]
        rooms = [step for step in steps if step[0] == "room"]
        self._rooms = [step[1] for step in rooms]
        self._bytes = compiled([step[2] for step in rooms]) if rooms else None
        self._varying: Varying | None = None
        self._memory = bound.moved
        # memory names are among what is looked through: none of them looks like a symbol
        formulas = [part for step in launches for part in (*step[1].values(), step[2])]
        self._symbols = sorted(symbols(formulas))
        self._batches: dict[tuple[int, ...], Batch] = {}
        if not self._symbols:
            self._batches[()] = bound.batch(launches, bound.sizes)

    def run(self, bound: Bound, sizes: dict[str, int], host: Host) -> None:
        if self._bytes is not None:
            for slot, nbytes in zip(self._rooms, self._bytes(sizes), strict=True):
                bound.room(slot, nbytes)
        if self._varying is not None:
            self._varying.run(bound, sizes)
            return
        if self._memory != bound.moved:
            self._batches.clear()
            self._memory = bound.moved
        key = tuple(sizes[name] for name in self._symbols)
        batch = self._batches.get(key)
        if batch is None:
            if len(self._batches) >= KEPT_BATCHES:
                self._batches.clear()
                if hasattr(bound.device, "resize"):
                    self._varying = Varying(bound, self._launches)
            batch = self._batches[key] = bound.batch(self._launches, sizes)
        bound.device.run(batch)

    def only(self) -> Batch | None:
        """The batch that every run is; None where sizes decide more."""
        return None if self._rooms or self._symbols else self._batches[()]


class Loop:
    """A region again and again while its condition holds."""

    __slots__ = ("_condition", "_ints", "_steps")

    def __init__(self, bound: Bound, step: list[Any]) -> None:
        self._condition, self._ints = step[1], step[2]
        self._steps = prepared(bound, step[3])

    def run(self, bound: Bound, sizes: dict[str, int], host: Host) -> None:
        sizes.update({i: evaluate(first, sizes) for i, first, _, _ in self._ints})
        for _ in range(MOST_PASSES):
            if not evaluate(self._condition, sizes):
                break
            for step in self._steps:
                step.run(bound, sizes, host)
            sizes.update({i: evaluate(after, sizes) for i, _, after, _ in self._ints})
        sizes.update({after: sizes[i] for i, _, _, after in self._ints})


class If:
    """One of two regions."""

    __slots__ = ("_branches", "_condition", "_ints")

    def __init__(self, bound: Bound, step: list[Any]) -> None:
        self._condition, self._ints = step[1], step[2]
        self._branches = [prepared(bound, steps) for steps in step[3:]]

    def run(self, bound: Bound, sizes: dict[str, int], host: Host) -> None:
        taken = 0 if evaluate(self._condition, sizes) else 1
        for step in self._branches[taken]:
            step.run(bound, sizes, host)
        sizes.update({i[0]: evaluate(i[1 + taken], sizes) for i in self._ints})


class Function:
    """What calls run: its definition is no work."""

    __slots__ = ("depth", "ends", "homes", "ints", "results", "slots", "steps")

    def __init__(self, bound: Bound, step: list[Any]) -> None:
        _, name, self.ints, steps, self.homes, self.ends, self.results, self.slots = step
        bound.functions[name] = self
        self.depth = 0  # of calls in one another
        self.steps = prepared(bound, steps)

    def run(self, bound: Bound, sizes: dict[str, int], host: Host) -> None:
        self.depth = 0


class Call:
    """A function with numbers of its own, and with memory of its own: what it uses is put back."""

    __slots__ = ("_given", "_ints", "_name", "_place", "_results", "_symbols")

    def __init__(self, bound: Bound, step: list[Any]) -> None:
        _, self._name, self._ints, self._given, self._symbols, self._results, self._place = step

    def run(self, bound: Bound, sizes: dict[str, int], host: Host) -> None:
        function = bound.functions[self._name]
        if function.depth >= MOST_CALLS:
            name = self._name.partition("$")[0]
            text = f"calls of `{name}` are nested more than {MOST_CALLS} deep"
            raise RunError("E0505", f"{self._place}: {text}")
        numbers = [evaluate(number, sizes) for number in self._ints]
        inner = {**sizes, **dict(zip(function.ints, numbers, strict=True))}
        given = [bytes(_tensor(bound, sizes, *value)[1]) for value in self._given]
        before = [(slot, bound.content(slot)) for slot in function.slots]
        for slot, data in zip(function.homes, given, strict=True):
            bound.write(slot, data)
        function.depth += 1
        for step in function.steps:
            step.run(bound, inner, host)
        function.depth -= 1
        ends = [evaluate(number, inner) for number in function.ends]
        found = [bytes(_tensor(bound, inner, *value)[1]) for value in function.results]
        for slot, data in before:
            bound.write(slot, data)
        for (slot, *_), data in zip(self._results, found, strict=True):
            bound.write(slot, data)
        sizes.update(zip(self._symbols, ends, strict=True))


class Read:
    """One element of a tensor brought to the host."""

    __slots__ = ("_memory", "_nbytes", "_symbol")

    def __init__(self, bound: Bound, step: list[Any]) -> None:
        _, self._symbol, self._memory, dtype = step
        self._nbytes = DTYPE_BYTES[dtype]

    def run(self, bound: Bound, sizes: dict[str, int], host: Host) -> None:
        data = bound.device.read(bound.buffer(self._memory, sizes), self._nbytes)
        sizes[self._symbol] = int.from_bytes(data, "little", signed=self._nbytes > 1)


class Check:
    """Two numbers that have to be equal here."""

    __slots__ = ("_parts",)

    def __init__(self, bound: Bound, step: list[Any]) -> None:
        self._parts = step[1:]

    def run(self, bound: Bound, sizes: dict[str, int], host: Host) -> None:
        left, right, text, place = self._parts
        check(left, right, text, place, sizes)


class HostStep:
    """Printing and saving; a flag that a kernel raised before is an error first."""

    __slots__ = ("_step",)

    def __init__(self, bound: Bound, step: list[Any]) -> None:
        self._step = step

    def run(self, bound: Bound, sizes: dict[str, int], host: Host) -> None:
        bound.check_flags()
        host.step(self._step, bound, sizes)


class Assert:
    """A condition that the program demands; its message is made only when it does not hold."""

    __slots__ = ("_step",)

    def __init__(self, bound: Bound, step: list[Any]) -> None:
        self._step = step

    def run(self, bound: Bound, sizes: dict[str, int], host: Host) -> None:
        _, condition, parts, values, place = self._step
        if not evaluate(condition, sizes):
            bound.check_flags()
            raise RunError("E0507", f"{place}: {host.line(parts, values, bound, sizes)}")


_STEPS = {
    **{"assert": Assert, "loop": Loop, "if": If, "read": Read, "check": Check},
    **{"function": Function, "call": Call},
}


class Host:
    """What the host does between launches: printing, reading and saving."""

    __slots__ = ("_full", "_given", "_texts", "_write", "key")

    def __init__(
        self,
        write: Callable[[str], object],
        full: bool = False,
        given: Mapping[str, str] | None = None,
        seed: int = 0,
        texts: Texts | None = None,
    ) -> None:
        """`given` are the arguments of the run, as `arg` reads them; `seed` is that of random
        numbers. `texts` are made when they are first needed, unless they are there."""
        self.key = key_of(seed)
        self._write, self._full, self._given = write, full, given or {}
        self._texts = texts

    @property
    def texts(self) -> Texts:
        """The texts that this run knows."""
        if self._texts is None:
            from tlc.runtime.texts import Texts

            self._texts = Texts(self._given)
        return self._texts

    def line(self, parts: list[Any], values: list[Any], bound: Bound, sizes: dict[str, int]) -> str:
        """What is printed, or a message."""
        from tlc.runtime.text import form_of, format_tensor, format_whole, padded

        def shown(part: Any, digits: int | None) -> str:
            """A piece: text, a number or what it stands for, a tensor, or pieces in a form."""
            if isinstance(part, str):
                return part
            kind, what = part[:2]
            if kind == "form":
                width, digits = form_of(what)
                return padded("".join(shown(inner, digits) for inner in part[2]), width)
            if kind == "value":
                memory, dtype, shape = values[what]
                dims, data = _tensor(bound, sizes, memory, dtype, shape)
                return format_tensor(data, dtype, dims, self._full, digits)
            number = evaluate(what, sizes)
            if kind == "text":
                return self.texts[number]
            return format_whole(number, digits) if kind == "dim" else ("false", "true")[number != 0]

        return "".join(shown(part, None) for part in parts)

    def step(self, step: list[Any], bound: Bound, sizes: dict[str, int]) -> None:
        """A step of none of the kinds above: it prints, reads, saves or is about texts."""
        match step[0]:
            case "print":
                self._write(self.line(step[1], step[2], bound, sizes))
            case "text":
                sizes[step[1]] = self.texts.read(step[2], step[3])
            case "text_of":
                text = self.line(step[2], step[3], bound, sizes)
                sizes[step[1]] = self.texts.number(text)
            case "text_value":
                sizes[step[1]] = self.texts.value(evaluate(step[2], sizes), *step[3:])
            case "text_order":
                one, other = (evaluate(text, sizes) for text in step[2:])
                sizes[step[1]] = self.texts.order(one, other)
            case "text_float":
                number = self.texts.fraction(evaluate(step[2], sizes), step[3])
                bound.write(step[1], struct.pack("<f", number))
            case "tokenize":
                _, symbol, memory, model, text, around, place = step
                tokenizer = bound.weights.models.tokenizer(model)
                ids = self.texts.tokens(evaluate(text, sizes), tokenizer, around, place)
                sizes[symbol] = len(ids)
                bound.write(memory, struct.pack(f"<{len(ids)}i", *ids))
            case "detokenize":
                _, symbol, memory, shape, model, place = step
                _, data = _tensor(bound, sizes, memory, "i32", shape)
                tokenizer = bound.weights.models.tokenizer(model)
                sizes[symbol] = self.texts.joined(data.cast("B").cast("i"), tokenizer, place)
            case "detokenize_next":
                _, symbol, token, model, place = step
                tokenizer = bound.weights.models.tokenizer(model)
                number = evaluate(token, sizes)
                sizes[symbol] = self.texts.goes_on(number, model, tokenizer, place)
            case "core_ml":
                from tlc.runtime.coreml.engine import predict

                _, model, inputs, outputs = step
                given = {name: (v[1], *_tensor(bound, sizes, *v)) for name, *v in inputs}
                wanted = {
                    name: (dtype, tuple(size(f, sizes) for f in shape))
                    for name, _, dtype, shape in outputs
                }
                made = predict(bound.weights.models.file(model), given, wanted)
                for (_, slot, _, _), content in zip(outputs, made, strict=True):
                    bound.write(slot, content)
            case "save":
                from tlc.runtime.save import save_tensors

                _, memory, dtype, shape, path, name = step
                found = _tensor(bound, sizes, memory, dtype, shape)
                save_tensors(path, {name: (dtype, *found)}, {})
            case "save_model":
                from tlc.runtime.save import save_model_file

                save_model_file(bound.weights.models.file(step[1]), step[2], step[3])


def _tensor(
    bound: Bound, sizes: dict[str, int], memory: str, dtype: str, shape: list[Any]
) -> tuple[tuple[int, ...], memoryview]:
    """The shape and the bytes of a tensor."""
    dims = tuple(size(f, sizes) for f in shape)
    data = bound.device.read(bound.buffer(memory, sizes), numel(dims, {}) * DTYPE_BYTES[dtype])
    return dims, data
