"""Random straight-line functions for hypothesis: well typed, with arguments that fit them.

In the `whole` domain all numbers are small integers, and every operation keeps them so: results are
exact in every order and precision. In the `real` domain operations are those whose rounding errors
`tests/ir/bounds.py` can bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tlc.ir.builder import Builder, broadcast_shape
from tlc.ir.core import Block, Func, Module, Value
from tlc.ir.dims import Dim
from tlc.ir.interp import NUMPY_DTYPES
from tlc.ir.opdef import TypeRuleError
from tlc.ir.printer import print_module
from tlc.ir.types import FLOATS, TensorType

Array = np.ndarray[Any, Any]
Draw = Callable[..., Any]

LARGEST = 2048  # integers up to it are exact in float16
ONE = Dim.of(1)


class Case:
    """A module of one function, and arguments for it."""

    def __init__(self, module: Module, args: list[Array]) -> None:
        self.module, self.args = module, args

    @property
    def func(self) -> Func:
        return self.module.funcs[0]

    def __repr__(self) -> str:
        named = zip(self.func.param_names, self.args, strict=True)
        args = (f"{name} = {arg!r}" for name, arg in named)
        return "\n".join([print_module(self.module, places=False), *args])


@dataclass
class _Program:
    """A function under construction: values so far, and how large their numbers can be."""

    draw: Draw
    whole: bool
    sizes: dict[str, int]
    body: Block = field(default_factory=Block)
    args: list[Array] = field(default_factory=list)
    largest: dict[Value, float] = field(default_factory=dict)
    exact: set[Value] = field(default_factory=set)  # without any rounding error

    def __post_init__(self) -> None:
        self.b = Builder(self.body)

    # ---- values -------------------------------------------------------------------------------

    def number(self, dim: Dim) -> int:
        return int(dim.substitute(self.sizes))

    def shape(self, value: Value) -> tuple[int, ...]:
        return tuple(map(self.number, value.tensor.shape))

    def floats(self) -> list[Value]:
        return [v for v in self.largest if v.tensor.dtype in FLOATS]

    def pick(self, values: list[Value] | None = None) -> Value:
        """One of the values, later ones more often: the program gets depth."""
        values = self.floats() if values is None else values
        late = values[-3:]
        found: Value = self.draw(st.sampled_from([*values, *late, *late]))
        return found

    def add(self, value: Value, largest: float) -> None:
        self.largest[value] = largest

    def param(self, type: TensorType, low: int = -3, high: int = 3) -> Value:
        """A new parameter, its argument from a seed."""
        value = Value(type)
        self.body.args.append(value)
        shape = tuple(map(self.number, type.shape))
        random = np.random.default_rng(self.draw(st.integers(0, 9)))
        if self.whole or type.dtype == "i32":
            array: Array = random.integers(low, high + 1, shape)
        else:
            array = random.uniform(-2.0, 2.0, shape)
        self.args.append(array.astype(NUMPY_DTYPES[type.dtype]))
        self.add(value, max(abs(low), abs(high)))
        self.exact.add(value)
        return value

    def dim(self) -> Dim:
        return Dim.of(self.draw(st.sampled_from([1, 2, 3, 4, "N", "N", "M"])))

    # ---- steps: each adds a value, or does nothing where it does not apply ----------------------

    def unary(self) -> None:
        names = ["neg", "abs", "relu"]
        if not self.whole:
            names += ["tanh", "sigmoid", "silu", "gelu", "exp"]
        x, name = self.pick(), self.draw(st.sampled_from(names))
        if name == "exp":
            x = self.b.emit("tanh", x)  # keeps it small
        self.add(self.b.emit(name, x), max(self.largest.get(x, 1), 3.0))

    def binary(self) -> None:
        names = ["add", "sub", "mul", "maximum", "minimum"]
        a, name = self.pick(), self.draw(st.sampled_from(names))
        c = self.other(a)
        try:
            broadcast_shape([a.tensor.shape, c.tensor.shape])
        except TypeRuleError:
            c = self.scalar(a)
        x, y = self.largest[a], self.largest[c]
        bound = {"add": x + y, "sub": x + y, "mul": x * y}.get(name, max(x, y))
        if bound <= LARGEST:
            pair = (a, c) if self.draw(st.booleans()) else (c, a)
            self.add(self.b.binary(name, *pair), bound)

    def other(self, a: Value) -> Value:
        """Something to combine a value with: another, a vector, a column, a number."""
        match self.draw(st.sampled_from(["value", "value", "vector", "column", "number"])):
            case "vector" if a.tensor.rank:
                return self.param(a.tensor.with_shape(a.tensor.shape[-1:]))
            case "column" if a.tensor.rank:
                return self.param(a.tensor.with_shape((*a.tensor.shape[:-1], ONE)))
            case "number":
                return self.scalar(a)
        return self.pick()

    def scalar(self, like: Value) -> Value:
        number = self.draw(st.sampled_from([-2.0, 0.0, 1.0, 3.0]))
        value = self.b.constant(number, TensorType(like.tensor.dtype, ()))
        self.add(value, abs(number))
        return value

    def counter(self) -> None:
        """The index along an axis, seen through a view, times a value."""
        x = self.pick()
        shape = [self.dim() for _ in range(self.draw(st.integers(1, 2)))]
        axis = self.draw(st.integers(0, len(shape) - 1))
        counted = self.b.emit("iota", type=x.tensor.with_shape(shape), axis=axis)
        match self.draw(st.sampled_from(["as it is", "turned", "column"])):
            case "turned":
                counted = self.b.emit("transpose", counted)
            case "column":
                counted = self.b.emit("unsqueeze", counted, dim=-1)
        self.add(counted, 3.0)
        self.exact.add(counted)
        try:
            broadcast_shape([x.tensor.shape, counted.tensor.shape])
        except TypeRuleError:
            return
        if self.largest[x] * 3 <= LARGEST:
            self.add(self.b.binary("mul", x, counted), self.largest[x] * 3)

    def cast(self) -> None:
        x = self.pick()
        self.add(self.b.cast(x, self.draw(st.sampled_from(FLOATS))), self.largest[x])

    def reshape(self) -> None:
        x = self.pick()
        shape = list(x.tensor.shape)
        at = self.draw(st.integers(0, len(shape)))
        match self.draw(st.sampled_from(["flatten", "one", "drop", "merge", "split"])):
            case "flatten":
                shape = [x.tensor.numel]
            case "one":
                shape.insert(at, ONE)
            case "drop":
                shape = [d for d in shape if d != ONE]
            case "merge" if at + 1 < len(shape):
                shape[at : at + 2] = [shape[at] * shape[at + 1]]
            case "split" if at < len(shape) and shape[at].exact_div(2) is not None:
                shape[at : at + 1] = [Dim.of(2), shape[at] // 2]
        self.add(self.b.reshape(x, shape), self.largest[x])

    def permute(self) -> None:
        x = self.pick()
        axes = tuple(self.draw(st.permutations(range(x.tensor.rank))))
        self.add(self.b.emit("permute", x, axes=axes), self.largest[x])

    def broadcast(self) -> None:
        x = self.pick()
        shape = [self.dim() if d == ONE else d for d in x.tensor.shape]
        if self.draw(st.booleans()):
            shape.insert(0, self.dim())
        if math.prod(map(self.number, shape)) <= 256:
            self.add(self.b.broadcast(x, shape), self.largest[x])

    def slice(self) -> None:
        x = self.pick()
        if not x.tensor.rank:
            return
        axis = self.draw(st.integers(0, x.tensor.rank - 1))
        size = x.tensor.shape[axis]
        if size.is_static:
            start = Dim.of(self.draw(st.integers(0, int(size) - 1)))
            length = Dim.of(self.draw(st.integers(1, int(size - start))))
        else:
            start = self.draw(st.sampled_from([Dim.of(0), size - 1]))
            length = ONE
        cut = self.b.emit("slice", x, axis=axis, start=start, length=length)
        self.add(cut, self.largest[x])

    def matmul(self) -> None:
        x = self.pick()
        if not x.tensor.rank:
            return
        inner = x.tensor.shape[-1]
        name, y = "matmul", 3.0
        weights: tuple[Dim, ...] = (inner, self.dim())
        match self.draw(st.sampled_from(["weight", "linear", "self", "batch"])):
            case "linear":
                name, weights = "linear", weights[::-1]
            case "self" if x.tensor.rank > 1:
                weights, y = (), self.largest[x]
            case "batch" if x.tensor.rank == 3:
                weights = (x.tensor.shape[0], *weights)
        if self.number(inner) * self.largest[x] * y > LARGEST:
            return
        w = self.param(x.tensor.with_shape(weights)) if weights else self.b.emit("transpose", x)
        self.add(self.b.emit(name, x, w), self.number(inner) * self.largest[x] * y)

    def reduce(self) -> None:
        x, name = self.pick(), self.draw(st.sampled_from(["sum", "max", "min"]))
        axes = [None, *range(-x.tensor.rank, x.tensor.rank)]
        axis, keep = self.draw(st.sampled_from(axes)), self.draw(st.booleans())
        count = math.prod(self.shape(x)) if axis is None else self.shape(x)[axis]
        bound = self.largest[x] * (count if name == "sum" else 1)
        if bound <= LARGEST:
            self.add(self.b.emit(name, x, dim=axis, keepdim=keep), bound)

    def rows(self) -> None:
        """Softmax and the normalisations, whose results are no integers."""
        x = self.pick()
        if self.whole or not x.tensor.rank:
            return
        weights = x.tensor.with_shape(x.tensor.shape[-1:])
        match self.draw(st.sampled_from(["softmax", "log_softmax", "rms_norm", "layer_norm"])):
            case "softmax" | "log_softmax" as name:
                axis = self.draw(st.integers(-x.tensor.rank, x.tensor.rank - 1))
                found = self.b.emit(name, x, dim=axis)
            case "rms_norm":
                found = self.b.emit("rms_norm", x, self.param(weights), eps=0.1)
            case _:
                pair = self.param(weights), self.param(weights)
                found = self.b.emit("layer_norm", x, *pair, eps=0.1)
        self.add(found, 20.0)

    def gather(self) -> None:
        table = self.pick()
        if not table.tensor.rank:
            return
        shape = [self.dim() for _ in range(self.draw(st.integers(0, 2)))]
        rows = self.shape(table)[0]
        width = math.prod(self.shape(table)[1:])
        if math.prod(map(self.number, shape)) * width <= 256:
            ids = self.param(TensorType("i32", tuple(shape)), -rows, rows - 1)
            self.add(self.b.emit("gather", table, ids), self.largest[table])

    def argmax(self) -> None:
        """A row that another row's largest element chooses."""
        x, table = self.pick(), self.pick()
        if not (self.whole and x.tensor.rank and table.tensor.rank):
            return
        if self.shape(x)[-1] <= self.shape(table)[0]:
            ids = self.b.emit("argmax", x, dim=-1, keepdim=False)
            self.add(self.b.emit("gather", table, ids), self.largest[table])

    def concat(self) -> None:
        x = self.pick()
        if x.tensor.rank:
            axis = self.draw(st.integers(0, x.tensor.rank - 1))
            same = [v for v in self.floats() if v.type == x.type]
            y = self.pick(same)
            found = self.b.emit("concat", x, y, axis=axis)
            if math.prod(self.shape(found)) <= 256:
                self.add(found, max(self.largest[x], self.largest[y]))

    def where(self) -> None:
        """A choice by a mask; in the real domain masks come from exact numbers."""
        tested = self.pick(None if self.whole else [v for v in self.floats() if v in self.exact])
        sign = self.draw(st.sampled_from(["gt", "le", "eq"]))
        mask = self.b.binary(sign, tested, self.scalar(tested))
        if self.draw(st.booleans()):
            mask = self.b.emit("not", mask)
        a = self.param(TensorType("f16", tested.tensor.shape))
        zero = self.b.scalar(self.draw(st.sampled_from([0.0, -1.0])), a)
        self.add(self.b.emit("where", mask, a, zero), 3.0)


_STEPS = [
    "unary", "unary", "binary", "binary", "binary", "binary", "cast", "counter", "reshape",
    "reshape", "permute", "broadcast", "slice", "matmul", "matmul", "reduce", "reduce", "rows",
    "rows", "gather", "argmax", "concat", "where",
]  # fmt: skip


@st.composite
def cases(draw: Draw, whole: bool = False, most: int = 10) -> Case:
    """A function of at most so many steps, its results among its last values."""
    sizes = {name: draw(st.integers(1, 4)) for name in ("N", "M")}
    program = _Program(draw, whole, sizes)
    # parameters that give the symbols their sizes whatever follows
    for symbol in sizes:
        dtype = draw(st.sampled_from(FLOATS))
        rank = draw(st.integers(0, 2))
        shape = [Dim.of(symbol), *(program.dim() for _ in range(rank))]
        program.param(TensorType(dtype, tuple(draw(st.permutations(shape)))))
    for step in draw(st.lists(st.sampled_from(_STEPS), min_size=1, max_size=most)):
        getattr(program, step)()
    values = list(program.largest)
    results = [values[-1], *draw(st.lists(st.sampled_from(values), max_size=2))]
    program.b.append("yield", *results)
    names = [f"p{at}" for at in range(len(program.body.args))]
    return Case(Module([Func("f", program.body, names)]), program.args)
