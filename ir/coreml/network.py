"""A neural network of before ML programs to operations of the IR: a table of its layers.

What layers mean is in the comments of Apple's NeuralNetwork.proto. Most are MIL operations under
another name. Axes count from the end, as channels, height and width are the last three whether a
value has five axes or its own; leading axes are a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tlc.ir.core import Value
from tlc.ir.coreml.mil import Maker, Refusal
from tlc.ir.coreml.program import known
from tlc.ir.dims import Dim, product
from tlc.ir.opdef import TypeRuleError
from tlc.ir.types import FLOATS


class NetworkLayer(Protocol):
    """A layer as the file holds it (`runtime/coreml/records.py`)."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> Sequence[str]: ...
    @property
    def outputs(self) -> Sequence[str]: ...
    @property
    def params(self) -> Mapping[str, Any] | None: ...


class Network(Protocol):
    @property
    def layers(self) -> Sequence[NetworkLayer]: ...
    @property
    def exact(self) -> bool: ...


@dataclass(slots=True)
class Net:
    """One layer being built: its parameters, and what makes weights."""

    m: Maker
    kind: str
    params: Mapping[str, Any]
    exact: bool
    tensors: Callable[[str, str, tuple[int, ...]], Value]
    dtype: str
    outputs: int = 1

    def weights(self, name: str, params: Mapping[str, Any] | None = None) -> Value | None:
        """Weights of the layer; None when it has none of that name."""
        held = (self.params if params is None else params).get(name)
        if held is None:
            return None
        if held.what == "stored":
            return self.tensors(held.name, self.dtype, held.shape)
        return self.m.b.cast(self.m.tensor(known(held)), self.dtype)

    def need(self, name: str, params: Mapping[str, Any] | None = None) -> Value:
        found = self.weights(name, params)
        if found is None:
            raise Refusal("E0601", f"it has no {name}")
        return found

    def run(self, kind: str, **given: Any) -> Value:
        """A MIL operation; arguments that are None are left out."""
        made = {k: v if isinstance(v, list) else [v] for k, v in given.items() if v is not None}
        found = self.m.run(kind, made)
        return found if isinstance(found, tuple) else self.m.tensor(found)  # type: ignore[return-value]


Build = Callable[..., Any]
LAYERS: dict[str, Build] = {}


def layer(*kinds: str) -> Callable[[Build], Build]:
    """Register what builds layers of these kinds, of their inputs one by one."""

    def register(build: Build) -> Build:
        LAYERS.update(dict.fromkeys(kinds, build))
        return build

    return register


def lower_network(
    m: Maker,
    network: Network,
    inputs: Mapping[str, Value],
    outputs: Sequence[str],
    tensors: Callable[[str, str, tuple[int, ...]], Value],
) -> dict[str, Value]:
    """The outputs of a network by name. Raises Refusal, which names the layer that stops it."""
    missing = sorted({one.kind for one in network.layers} - LAYERS.keys())
    if missing:
        listed = ", ".join(f"`{kind}`" for kind in missing)
        raise Refusal("E0610", f"the network uses layers that tlc does not have: {listed}")
    env = dict(inputs)
    exactly = positions(network)
    for one in network.layers:
        dtype = m.dtype("f16") if exactly.isdisjoint(one.outputs) else "f32"
        net = Net(m, one.kind, one.params or {}, network.exact, tensors, dtype, len(one.outputs))
        named = f"the layer `{one.kind}` ({one.name[:80]})"
        if others := net.params.get("others"):
            raise Refusal("E0610", f"{named} has the field {others[0]}, which tlc does not have")
        lost = [name for name in one.inputs if name not in env]
        if lost:
            raise Refusal("E0601", f"{named} reads `{lost[0][:80]}`, which nothing computes")
        try:
            made = LAYERS[one.kind](net, *(env[name] for name in one.inputs))
        except (Refusal, TypeRuleError) as problem:
            code = problem.code if isinstance(problem, Refusal) else "E0601"
            raise Refusal(code, f"{named}: {problem}") from problem
        except (ValueError, IndexError, TypeError, KeyError, ZeroDivisionError) as problem:
            raise Refusal("E0601", f"{named} cannot be made sense of: {problem}") from problem
        results = made if isinstance(made, tuple) else (made,)
        if len(results) != len(one.outputs):
            raise Refusal("E0601", f"{named} gives {len(results)} results")
        env.update(zip(one.outputs, results, strict=True))
    lost = [name for name in outputs if name not in env]
    if lost:
        raise Refusal("E0601", f"the network returns `{lost[0][:80]}`, which nothing computes")
    return {name: env[name] for name in outputs}


_OF_POSITIONS = {"embedding": 0, "embeddingND": 0, "gather": 1, "gatherAlongAxis": 1, "oneHot": 0}
_MOVES = frozenset((
    "broadcastToStatic", "concat", "concatND", "copy", "expandDims", "flatten", "flattenTo2D",
    "loadConstant", "loadConstantND", "permute", "rankPreservingReshape", "reshape",
    "reshapeStatic", "slice", "sliceStatic", "split", "splitND", "squeeze", "stack", "tile",
    "transpose",
))  # fmt: skip


def positions(network: Network) -> set[str]:
    """Names of values that are places in a table: float16 counts to 2048 only."""
    found: set[str] = set()
    for one in reversed(network.layers):
        at = _OF_POSITIONS.get(one.kind, -1)
        if 0 <= at < len(one.inputs):
            found.add(one.inputs[at])
        if one.kind in _MOVES and not found.isdisjoint(one.outputs):
            found.update(one.inputs)
    return found


def widened(m: Maker, x: Value, exact: bool, whole: bool) -> Value:
    """An input with the axes that the network counts with: [sequence, batch, channels, h, w].

    Floats are float16, but those of `whole` numbers: a network declares no type, and Core ML
    computes in what suits it.
    """
    if x.tensor.dtype in FLOATS and not whole:
        x = m.b.cast(x, m.dtype("f16"))
    shape, one = x.tensor.shape, Dim.of(1)
    if exact or len(shape) == 5:
        return x
    match shape:
        case [channels]:
            return m.b.reshape(x, (1, 1, channels, 1, 1))
        case [length, channels]:
            return m.b.reshape(x, (length, 1, channels, 1, 1))
        case [_, _, _]:
            return m.b.reshape(x, (1, 1, *shape))
        case [batch, *rest] if len(rest) == 3:
            return m.b.reshape(x, (one, batch, *rest))
    raise Refusal("E0302", f"an input of rank {len(shape)}")


def narrowed(m: Maker, x: Value, shape: Sequence[int | None] | None, exact: bool) -> Value:
    """An output as the model describes it; else without the sequence and batch of one."""
    if exact:
        return x
    have = x.tensor.shape
    if shape and all(d is not None for d in shape):
        wanted = [Dim.of(d) for d in shape if d is not None]
        if product(wanted) == x.tensor.numel:
            return m.b.reshape(x, wanted)
    one = Dim.of(1)
    lead = [d for d in have[:2] if d != one]
    rest = have[2:3] if have[3:] == (one, one) else have[2:]
    return m.b.reshape(x, (*lead, *rest))


__all__ = ["LAYERS", "Net", "layer", "lower_network", "narrowed", "positions", "widened"]
