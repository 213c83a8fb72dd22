"""The reference meaning of a module: numpy, one operation at a time.

Stored values are rounded to their dtype after every operation; inside a `fused` region floats stay
float32 until they are yielded, as in a kernel. The passes and the devices are tested against this.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import tlc.ir.ops  # noqa: F401  (fills the registry)
from tlc.frontend.diagnostics import InternalError
from tlc.ir.core import Block, Func, Op, Value
from tlc.ir.dims import SEED, Dim
from tlc.ir.opdef import OpDef
from tlc.ir.types import FLOATS, TensorType, Type

Array = np.ndarray[Any, Any]
MOST_CALLS = 10_000  # nested in one another; the runtime allows as many
MOST_FRAMES = 1_000_000
NUMPY_DTYPES = {"f16": np.float16, "f32": np.float32, "i32": np.int32, "bool": np.bool_}


class Failure(Exception):
    """A check or an operation that does not hold for the values of this run."""


class Host:
    """What the world outside of a function does; the base class has no weights and is silent.

    With `wide`, what kernels store as float16 is kept in float32, to see what it cannot hold.
    """

    wide = False
    seed = 0  # what random numbers are hashed from

    def weight(self, model: int, tensor: str, dtype: str) -> Array:
        """A model's tensor in the dtype asked for."""
        raise Failure(f"no model file is open, and tensor {tensor} is needed")

    def text(self, attrs: Mapping[str, Any]) -> int:
        """The number of the text that a `text` operation reads."""
        raise Failure("there is nothing to read from")

    def text_of(self, values: Sequence[Array], attrs: Mapping[str, Any]) -> int:
        """The number of the text that a `text_of` operation makes."""
        raise Failure("there is nothing that keeps texts")

    def text_value(self, attrs: Mapping[str, Any]) -> int:
        """What a `text_value` operation asks of a text."""
        raise Failure("there is no text")

    def text_order(self, attrs: Mapping[str, Any]) -> int:
        """How the two texts of a `text_order` operation stand to each other."""
        raise Failure("there is no text")

    def text_float(self, attrs: Mapping[str, Any]) -> float:
        """The number that a text says."""
        raise Failure("there is no text")

    def tokenize(self, attrs: Mapping[str, Any]) -> Sequence[int]:
        """The tokens that a `tokenize` operation gives."""
        raise Failure("there is no text")

    def core_ml(self, values: Sequence[Array], attrs: Mapping[str, Any]) -> Sequence[Array]:
        """What Core ML computes for a `core_ml` operation."""
        raise Failure("there is no Core ML")

    def detokenize(self, ids: Sequence[int], attrs: Mapping[str, Any]) -> int:
        """The number of the text of tokens; of one more of them for `detokenize_next`."""
        raise Failure("there is no tokenizer")

    def explained(self, op: Op, left: int, right: int, sizes: Mapping[str, int]) -> str:
        """What is wrong where a `check` does not hold."""
        return f"{op.attrs['text']}: {left} and {right} differ"

    def saw(self, op: Op, values: Sequence[Array], results: Sequence[Array]) -> None:
        """Every operation that has run, inside kernels too, with what it read and made."""

    def io(self, op: Op, values: Sequence[Array], attrs: Mapping[str, Any]) -> None:
        """A `print`, `save` or `save_model` operation, or an `assert` that does not hold."""


def bind_symbols(func: Func, args: Sequence[Array]) -> dict[str, int]:
    """The sizes of a function's symbols for these arguments. Raises Failure on a conflict."""
    sizes: dict[str, int] = {}
    pairs: list[tuple[Dim, int, str]] = []
    for value, name, arg in zip(func.params, func.param_names, args, strict=True):
        if arg.ndim != value.tensor.rank:
            raise Failure(f"{name} is {value.type}, and the argument has rank {arg.ndim}")
        pairs += [(d, s, name) for d, s in zip(value.tensor.shape, arg.shape, strict=True)]
    for dim, size, _ in sorted(pairs, key=lambda pair: pair[0].symbol is None):
        _solve(dim, size, sizes)
    for dim, size, name in pairs:
        found = dim.substitute(sizes)
        if found != Dim.of(size):
            raise Failure(f"dimension {dim} of {name} is {size}, where the others give {found}")
    return sizes


def _solve(dim: Dim, size: int, sizes: dict[str, int]) -> None:
    """Bind the one symbol of a dimension that has no size yet, such as N of `2*N`."""
    unknown = dim.symbols() - sizes.keys()
    if len(unknown) == 1:
        (symbol,) = unknown
        at_zero, at_one = (dim.substitute({**sizes, symbol: n}) for n in (0, 1))
        solved = (Dim.of(size) - at_zero).exact_div(at_one - at_zero)
        if solved is not None and solved.is_static:
            sizes[symbol] = int(solved)


def run(func: Func, args: Sequence[Array], host: Host | None = None) -> list[Array]:
    """The results of a function. Raises Failure when a run-time check does not hold."""
    sizes = bind_symbols(func, args)
    host = host or Host()
    frame = Frame({**sizes, str(SEED): host.seed}, host)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, MOST_FRAMES))  # of Python frames alone, which may be many
    try:
        return frame.block(func.body, args)
    finally:
        sys.setrecursionlimit(limit)


class Frame:
    def __init__(self, sizes: dict[str, int], host: Host) -> None:
        self.sizes, self.host = sizes, host
        self.env: dict[Value, Array] = {}
        self.functions: dict[str, Op] = {}
        self.depth = 0  # of calls

    def block(self, block: Block, args: Sequence[Array], wide: bool = False) -> list[Array]:
        self.env.update(zip(block.args, args, strict=True))
        for op in block.ops[:-1]:
            values = [self.env[v] for v in op.operands]
            results = self.op(op, values, wide)
            self.host.saw(op, values, results)
            if wide and op.results[0] in block.yielded:  # what is stored is read as it is stored
                results = [stored(results[0], op.result.type, self.host.wide)]
            self.env.update(zip(op.results, results, strict=True))
        return [self.env[v] for v in block.yielded]

    def op(self, op: Op, values: list[Array], wide: bool) -> Sequence[Array]:
        match op.name:
            case "loop":
                return self.loop(op, values)
            case "if":
                return self.choice(op)
            case "function":
                self.functions[op.attrs["name"]] = op
                return []
            case "call":
                return self.call(op, values)
        attrs = {k: self.attr(v) for k, v in op.attrs.items()}
        match op.name:
            case "fused":
                found = self.block(op.regions[0], values, wide=True)
                return [
                    stored(x, v.type, self.host.wide)
                    for x, v in zip(found, op.results, strict=True)
                ]
            case "once":
                return self.block(op.regions[0], [])
            case "timed":
                return []
            case "read":
                self.sizes[op.attrs["symbol"]] = int(values[0].reshape(-1)[0])
                return []
            case "text":
                self.sizes[op.attrs["symbol"]] = self.host.text(attrs)
                return []
            case "text_of":
                self.sizes[op.attrs["symbol"]] = self.host.text_of(values, attrs)
                return []
            case "text_value":
                self.sizes[op.attrs["symbol"]] = self.host.text_value(attrs)
                return []
            case "text_order":
                self.sizes[op.attrs["symbol"]] = self.host.text_order(attrs)
                return []
            case "text_float":
                return [np.array(self.host.text_float(attrs), np.float32)]
            case "tokenize":
                ids = self.host.tokenize(attrs)
                self.sizes[op.attrs["symbol"]] = len(ids)
                return [np.array(ids, np.int32)]
            case "detokenize":
                ids = values[0].reshape(-1).tolist()
                self.sizes[op.attrs["symbol"]] = self.host.detokenize(ids, attrs)
                return []
            case "detokenize_next":
                self.sizes[op.attrs["symbol"]] = self.host.detokenize([], attrs)
                return []
            case "core_ml":
                return self.host.core_ml(values, attrs)
            case "assert":
                if not attrs["condition"]:
                    self.host.io(op, values, attrs)
                    raise Failure(f"{attrs['place']}: an assertion failed")
                return []
            case "check":
                if attrs["left"] != attrs["right"]:
                    text = self.host.explained(op, attrs["left"], attrs["right"], self.sizes)
                    raise Failure(_placed(op, text))
                return []
            case "weight":
                return [self.host.weight(attrs["model"], attrs["tensor"], attrs["type"].dtype)]
            case "weight_of":
                name = attrs["tensors"][attrs["index"]]
                return [self.host.weight(attrs["model"], name, attrs["type"].dtype)]
        if op.defn.effect == "io":
            self.host.io(op, values, attrs)
            return []
        if op.defn.eval is None:
            raise InternalError(f"operation {op.name} has no meaning")
        wide_values = [v.astype(np.float32) if v.dtype == np.float16 else v for v in values]
        with np.errstate(all="ignore"):
            try:
                found = op.defn.eval(np, *wide_values, **attrs)
            except (IndexError, ValueError) as problem:
                raise Failure(_placed(op, str(problem))) from problem
        return [stored(found, op.result.type, wide)]

    def loop(self, op: Op, carried: list[Array]) -> list[Array]:
        ints = op.attrs["ints"]
        self.sizes.update({inside: self.attr(first) for inside, first, _, _ in ints})
        while self.attr(op.attrs["condition"]):
            carried = self.block(op.regions[0], carried)
            self.sizes.update({inside: self.attr(step) for inside, _, step, _ in ints})
        self.sizes.update({after: self.sizes[inside] for inside, _, _, after in ints})
        return carried

    def choice(self, op: Op) -> list[Array]:
        taken = 0 if self.attr(op.attrs["condition"]) else 1
        results = self.block(op.regions[taken], [])
        self.sizes.update({after: self.attr(steps[taken]) for after, *steps in op.attrs["ints"]})
        return results

    def call(self, op: Op, values: list[Array]) -> list[Array]:
        """A function with numbers and values of its own, which are gone behind it."""
        function = self.functions[op.attrs["name"]]
        numbers = map(self.attr, op.attrs["ints"])
        sizes, env = self.sizes, self.env
        self.sizes = {**sizes, **dict(zip(function.attrs["ints"], numbers, strict=True))}
        self.env = dict(env)
        self.depth += 1
        if self.depth > MOST_CALLS:
            name = op.attrs["name"].partition("$")[0]
            text = f"calls of `{name}` are nested more than {MOST_CALLS} deep"
            raise Failure(f"{op.attrs['place']}: {text}")
        results = self.block(function.regions[0], values)
        ends = [self.attr(number) for _, number in function.attrs["ends"]]
        self.depth -= 1
        self.sizes, self.env = sizes, env
        sizes.update(zip(op.attrs["symbols"], ends, strict=True))
        return results

    def attr(self, value: Any) -> Any:
        match value:
            case Dim():
                try:
                    return value.value(self.sizes)
                except ZeroDivisionError:
                    raise Failure("a size is divided by zero") from None
            case TensorType():
                return value.with_shape(map(self.attr, value.shape))
            case tuple():
                return tuple(map(self.attr, value))
        return value


def _placed(op: Op, text: str) -> str:
    if op.span is None:
        return text
    return f"{op.span.place}: {text}"


def on_numbers(defn: OpDef, numbers: Sequence[float]) -> float:
    """An elementwise operation of plain numbers, in double precision; `abs` keeps an integer, and
    so does `pow`, where 64 bits hold it."""
    if defn.name == "abs":
        return abs(numbers[0])
    if defn.name == "pow" and all(isinstance(n, int) for n in numbers) and 0 <= numbers[1] < 64:
        power: int = int(numbers[0]) ** int(numbers[1])
        if -(2**63) <= power < 2**63:
            return power
    assert defn.eval is not None
    with np.errstate(all="ignore"):
        return float(defn.eval(np, *map(np.float64, numbers)))


def stored(array: Any, type: Type, wide: bool) -> Array:
    """The array as memory holds it; a `wide` float is not rounded below float32."""
    assert isinstance(type, TensorType)
    dtype: Any = np.float32 if wide and type.dtype in FLOATS else NUMPY_DTYPES[type.dtype]
    with np.errstate(all="ignore"):
        return np.asarray(array).astype(dtype)
