"""One function of the IR being written as operations of MIL, by a table of writers.

A value that only repeats another one along axes stays as it is for elementwise operations, which
broadcast, and is written out for all others. Nothing here imports coremltools: `mb` is its builder
of MIL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

from tlc.frontend.diagnostics import error
from tlc.ir.builder import Builder
from tlc.ir.core import Block, Op, Value
from tlc.ir.dims import Derived, Dim
from tlc.ir.opdef import OPS

Var = Any  # a value of MIL
NAMES = {"f16": "fp16", "f32": "fp32", "i32": "int32", "bool": "bool"}  # of dtypes

Writer = Callable[..., Var]
WRITERS: dict[str, Writer] = {}  # name of an operation -> what writes it; None: it cannot be so


def writes(*names: str) -> Callable[[Writer], Writer]:
    """Enter a function into the table of writers."""

    def register(write: Writer) -> Writer:
        WRITERS.update(dict.fromkeys(names, write))
        return write

    return register


def written_whole() -> frozenset[str]:
    """Compositions that MIL has as a whole, which Core ML runs faster than their parts."""
    return frozenset(name for name in WRITERS if OPS[name].expand is not None)


class Mil:
    """One function being written: its values, and where its symbols can be measured."""

    def __init__(
        self,
        mb: Any,
        np: Any,
        symbols: Mapping[str, tuple[Var, int]],
        weight: Callable[[Op], Var],
    ) -> None:
        self.mb, self.np, self._symbols, self._weight = mb, np, symbols, weight
        self._vars: dict[Value, Var] = {}
        self._repeated: dict[Value, Var] = {}  # values that are less than their shape
        self._sizes: dict[str, Var] = {}

    def bind(self, value: Value, var: Var) -> None:
        self._vars[value] = var

    def block(self, ops: Iterable[Op]) -> None:
        """Write operations in order. Raises CompileError E0611 for one that MIL does not have."""
        for op in ops:
            if op.name in ("yield", "check"):
                continue
            if op.name == "weight":
                self._vars[op.result] = self._weight(op)
                continue
            write = WRITERS.get(op.name)
            made = None if write is None else write(self, op, *op.operands)
            if not op.results:
                self._expanded(op)
            elif made is not None:
                self._vars[op.result] = made
            elif op.result not in self._repeated:
                self._expanded(op)

    def _expanded(self, op: Op) -> None:
        """A composition by its parts."""
        if op.defn.expand is None:
            raise error(
                "E0611",
                f"`{op.name}` cannot be exported to Core ML",
                op.span,
                hint="leave it to the program that runs the model",
            )
        body = Block()
        kept = written_whole() - {op.name}
        result = op.defn.expand(Builder(body, op.span, kept), *op.operands, **op.attrs)
        self.block(body.ops)
        if result in self._repeated:
            self._repeated[op.result] = self._repeated[result]
        else:
            self._vars[op.result] = self._vars[result]

    # ---- values ---------------------------------------------------------------------------------

    def small(self, value: Value) -> Var:
        """A value for what broadcasts by itself."""
        return self._repeated[value] if value in self._repeated else self._vars[value]

    def is_small(self, value: Value) -> bool:
        return value in self._repeated

    def repeat(self, value: Value, var: Var) -> None:
        """Note that a value is another one, repeated."""
        self._repeated[value] = var

    def __getitem__(self, value: Value) -> Var:
        """A value in its whole shape."""
        if value not in self._vars:
            var, shape = self._repeated[value], value.tensor.shape
            rank = len(shape)
            if len(var.shape) < rank:
                var = self.mb.expand_dims(x=var, axes=list(range(rank - len(var.shape))))
            static = all(d.is_static for d in shape)
            if static:
                reps = [int(d) // n for d, n in zip(shape, var.shape, strict=True)]
                var = self.mb.tile(x=var, reps=reps) if set(reps) != {1} else var
            else:
                ones = [1 if n != 1 else d for d, n in zip(shape, var.shape, strict=True)]
                var = self.mb.tile(x=var, reps=self.sizes(ones))
            self._vars[value] = var
        return self._vars[value]

    def number(self, number: float, like: Value) -> Any:
        """A number of the dtype of a value."""
        return self.array_type(like.tensor.dtype)(number)

    def array_type(self, dtype: str) -> Any:
        """NumPy's type of a dtype."""
        np = self.np
        return {"f16": np.float16, "f32": np.float32, "i32": np.int32, "bool": np.bool_}[dtype]

    def is_known(self, value: Value) -> bool:
        """Whether a value is a constant, or one that is unpacked when the model is loaded."""
        var = self.small(value)
        return var.val is not None or var.op.op_type.startswith("constexpr_")

    # ---- sizes ----------------------------------------------------------------------------------

    def size(self, dim: Dim | int) -> Any:
        """A size: a number, or a MIL value that is measured when the model runs."""
        dim = Dim.of(dim)
        if dim.is_static:
            return int(dim)
        terms: list[Var] = []
        for atoms, times in dim.terms:
            factors = [self._derived(a) if isinstance(a, Derived) else self._symbol(a)
                       for a in atoms]  # fmt: skip
            if times != 1 or not factors:
                factors.append(self.np.int32(times))
            terms.append(reduce(lambda a, b: self.mb.mul(x=a, y=b), factors))
        return reduce(lambda a, b: self.mb.add(x=a, y=b), terms)

    def _symbol(self, name: str) -> Var:
        if name not in self._sizes:
            var, axis = self._symbols[name]
            shape = self.mb.shape(x=var)
            self._sizes[name] = self.mb.gather(x=shape, indices=axis, axis=0)
        return self._sizes[name]

    def _derived(self, atom: Derived) -> Var:
        kind = {"//": self.mb.floor_div, "%": self.mb.mod}.get(atom.op)
        if kind is None:
            raise error("E0611", "a condition on sizes cannot be exported to Core ML")
        return kind(x=self.size(atom.left), y=self.size(atom.right))

    def sizes(self, dims: Sequence[Dim | int]) -> Any:
        """A list of sizes, as numbers where all are known."""
        found = [self.size(d) for d in dims]
        if all(isinstance(n, int) for n in found):
            return found
        parts = [self.np.int32([n]) if isinstance(n, int) else
                 self.mb.expand_dims(x=n, axes=[0]) for n in found]  # fmt: skip
        return parts[0] if len(parts) == 1 else self.mb.concat(values=parts, axis=0)
