"""Operations of the IR as operations of MIL: a table, and what writes one function by it.

Compositions such as `softmax` are written as a whole where MIL has them, which Core ML runs faster
than their parts. A value that only repeats another one along axes stays as it is for elementwise
operations, which broadcast, and is written out for all others. Nothing here imports coremltools:
`mb` is its builder of MIL.
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
from tlc.ir.ops.shape import constant_array

Var = Any  # a value of MIL
_NAMES = {"f16": "fp16", "f32": "fp32", "i32": "int32", "bool": "bool"}


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
        kept = frozenset(KEPT - {op.name})
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


Writer = Callable[..., Var]
WRITERS: dict[str, Writer] = {}


def _writes(*names: str) -> Callable[[Writer], Writer]:
    def register(write: Writer) -> Writer:
        WRITERS.update(dict.fromkeys(names, write))
        return write

    return register


# ---- elementwise ---------------------------------------------------------------------------------


def _elementwise(mil: str, *names: str, **fixed: Any) -> Writer:
    """An operation that broadcasts; of operands that are all repeated, the result is too."""

    def write(m: Mil, op: Op, *operands: Value) -> Var:
        given = {name: m.small(v) for name, v in zip(names, operands, strict=True)}
        made = getattr(m.mb, mil)(**given, **fixed)
        if all(map(m.is_small, operands)):
            m.repeat(op.result, made)
            return None
        return made

    return write


for _name, _mil in {
    "add": "add", "sub": "sub", "mul": "mul", "div": "real_div", "pow": "pow",
    "maximum": "maximum", "minimum": "minimum", "eq": "equal", "ne": "not_equal", "lt": "less",
    "le": "less_equal", "gt": "greater", "ge": "greater_equal", "and": "logical_and",
    "or": "logical_or",
}.items():  # fmt: skip
    WRITERS[_name] = _elementwise(_mil, "x", "y")
for _name in ("abs", "sqrt", "exp", "sin", "cos", "tan", "tanh", "erf", "floor", "ceil", "round",
              "sigmoid", "relu", "silu"):  # fmt: skip
    WRITERS[_name] = _elementwise(_name, "x")
WRITERS["not"] = _elementwise("logical_not", "x")
WRITERS["gelu"] = _elementwise("gelu", "x", mode="TANH_APPROXIMATION")
WRITERS["gelu_erf"] = _elementwise("gelu", "x", mode="EXACT")


for _name, _epsilon in (("log", 1e-45), ("rsqrt", 1e-12)):

    @_writes(_name)
    def _shifted(m: Mil, op: Op, x: Value, _kind: str = _name, _epsilon: float = _epsilon) -> Var:
        epsilon = _number(m, _epsilon, x)
        return _elementwise_of(m, op, x, lambda v: getattr(m.mb, _kind)(x=v, epsilon=epsilon))


@_writes("where")
def _where(m: Mil, op: Op, mask: Value, a: Value, b: Value) -> Var:
    return m.mb.select(cond=m[mask], a=m[a], b=m[b])


@_writes("neg")
def _neg(m: Mil, op: Op, x: Value) -> Var:
    return _elementwise_of(m, op, x, lambda v: m.mb.mul(x=v, y=_number(m, -1.0, x)))


@_writes("cast")
def _cast(m: Mil, op: Op, x: Value) -> Var:
    return _elementwise_of(m, op, x, lambda v: m.mb.cast(x=v, dtype=_NAMES[op.attrs["dtype"]]))


@_writes("clamp")
def _clamp(m: Mil, op: Op, x: Value) -> Var:
    ends = {
        key: _number(m, op.attrs[name], x) for key, name in (("alpha", "low"), ("beta", "high"))
    }
    return _elementwise_of(m, op, x, lambda v: m.mb.clip(x=v, **ends))


def _elementwise_of(m: Mil, op: Op, x: Value, write: Callable[[Var], Var]) -> Var:
    made = write(m.small(x))
    if m.is_small(x):
        m.repeat(op.result, made)
        return None
    return made


def _number(m: Mil, number: float, like: Value) -> Any:
    return _array_type(m, like.tensor.dtype)(number)


def _array_type(m: Mil, dtype: str) -> Any:
    return {"f16": m.np.float16, "f32": m.np.float32, "i32": m.np.int32, "bool": m.np.bool_}[dtype]


# ---- sources and views ---------------------------------------------------------------------------


@_writes("constant")
def _constant(m: Mil, op: Op) -> Var:
    value, type = op.attrs["value"], op.result.tensor
    if isinstance(value, Dim):
        number = m.mb.cast(x=m.size(value), dtype=_NAMES[type.dtype])
    elif not isinstance(value, tuple | bytes):
        number = m.mb.const(val=_array_type(m, type.dtype)(value))
    else:
        return m.mb.const(val=constant_array(m.np, value, type))
    if type.rank:
        m.repeat(op.result, number)
        return None
    return number


@_writes("iota")
def _iota(m: Mil, op: Op) -> Var:
    type, axis = op.attrs["type"], op.attrs["axis"]
    axis %= type.rank
    line = m.mb.range_1d(start=0, end=m.size(type.shape[axis]), step=1)
    line = m.mb.cast(x=line, dtype=_NAMES[type.dtype])
    behind = list(range(1, type.rank - axis))
    m.repeat(op.result, m.mb.expand_dims(x=line, axes=behind) if behind else line)
    return None


@_writes("broadcast")
def _broadcast(m: Mil, op: Op, x: Value) -> Var:
    m.repeat(op.result, m.small(x))
    return None


@_writes("reshape")
def _reshape(m: Mil, op: Op, x: Value) -> Var:
    shape = op.result.tensor.shape
    if m.is_small(x) and not m.small(x).shape:  # one number, repeated, in another shape
        m.repeat(op.result, m.small(x))
        return None
    open_axes = [a for a, d in enumerate(shape) if not d.is_static]
    if len(open_axes) == 1 and not any(d == Dim.of(0) for d in shape):
        sizes = [-1 if a == open_axes[0] else int(d) for a, d in enumerate(shape)]
        return m.mb.reshape(x=m[x], shape=sizes)
    if not shape:
        return m.mb.squeeze(x=m[x])
    return m.mb.reshape(x=m[x], shape=m.sizes(shape))


@_writes("permute")
def _permute(m: Mil, op: Op, x: Value) -> Var:
    return m.mb.transpose(x=m[x], perm=[a % x.tensor.rank for a in op.attrs["axes"]])


@_writes("slice")
def _slice(m: Mil, op: Op, x: Value) -> Var:
    axis, start, length = (op.attrs[k] for k in ("axis", "start", "length"))
    rank = x.tensor.rank
    axis %= rank
    others = [a != axis for a in range(rank)]
    if start.is_static and (length.is_static or start + length == x.tensor.shape[axis]):
        begin, end = [0] * rank, [0] * rank
        begin[axis] = int(start)
        last = list(others)
        if length.is_static:
            end[axis] = int(start + length)
        else:
            last[axis] = True
        return m.mb.slice_by_index(x=m[x], begin=begin, end=end, begin_mask=others, end_mask=last)
    begin = m.sizes([start if a == axis else 0 for a in range(rank)])
    return m.mb.slice_by_size(x=m[x], begin=begin, size=m.sizes(op.result.tensor.shape))


@_writes("concat")
def _concat(m: Mil, op: Op, *operands: Value) -> Var:
    return m.mb.concat(values=[m[v] for v in operands], axis=op.attrs["axis"])


@_writes("gather")
def _gather(m: Mil, op: Op, table: Value, ids: Value) -> Var:
    return m.mb.gather(x=m[table], indices=m[ids], axis=0)


# ---- reductions and order ------------------------------------------------------------------------

for _name in ("sum", "max", "min", "argmax", "argmin"):

    @_writes(f"reduce_{_name}")
    def _reduce(m: Mil, op: Op, x: Value, _kind: str = _name) -> Var:
        axis = op.attrs["axis"]
        over = {"axis": axis} if _kind.startswith("arg") else {"axes": [axis]}
        return getattr(m.mb, f"reduce_{_kind}")(x=m[x], keep_dims=True, **over)


for _name in ("sum", "mean", "max", "min"):

    @_writes(_name)
    def _reduce_whole(m: Mil, op: Op, x: Value, _kind: str = _name) -> Var:
        dim, keep = op.attrs.get("dim"), bool(op.attrs.get("keepdim"))
        axes = list(range(x.tensor.rank)) if dim is None else [dim]
        return getattr(m.mb, f"reduce_{_kind}")(x=m[x], axes=axes, keep_dims=keep) if axes else m[x]


@_writes("cumsum")
def _cumsum(m: Mil, op: Op, x: Value) -> Var:
    return m.mb.cumsum(x=m[x], axis=op.attrs.get("dim", -1) % x.tensor.rank)


@_writes("argsort")
def _argsort(m: Mil, op: Op, x: Value) -> Var:
    ascending = not op.attrs.get("descending")
    return m.mb.argsort(x=m[x], axis=op.attrs.get("dim", -1), ascending=ascending)


@_writes("softmax")
def _softmax(m: Mil, op: Op, x: Value) -> Var:
    return m.mb.softmax(x=m[x], axis=op.attrs.get("dim", -1))


# ---- layers --------------------------------------------------------------------------------------


def _known(m: Mil, *values: Value) -> bool:
    return all(m.is_known(v) for v in values)


@_writes("layer_norm")
def _layer_norm(m: Mil, op: Op, x: Value, gamma: Value, beta: Value) -> Var:
    if not _known(m, gamma, beta):
        return None
    eps = _number(m, op.attrs.get("eps", 1e-5), x)
    return m.mb.layer_norm(x=m[x], axes=[-1], gamma=m[gamma], beta=m[beta], epsilon=eps)


@_writes("batch_norm")
def _batch_norm(m: Mil, op: Op, x: Value, *weights: Value) -> Var:
    if not _known(m, *weights) or not 3 <= x.tensor.rank <= 5:
        return None
    names = ("mean", "variance", "gamma", "beta")
    given = {name: m[w] for name, w in zip(names, weights, strict=True)}
    return m.mb.batch_norm(x=m[x], epsilon=_number(m, op.attrs.get("eps", 1e-5), x), **given)


def _one_type(*values: Value) -> bool:
    return len({v.tensor.dtype for v in values}) == 1


@_writes("linear")
def _linear(m: Mil, op: Op, x: Value, weight: Value, bias: Value | None = None) -> Var:
    operands = [v for v in (x, weight, bias) if v is not None]
    if not _one_type(*operands) or not _known(m, *operands[1:]):
        return None
    given = {} if bias is None else {"bias": m[bias]}
    if x.tensor.rank == 1:
        made = m.mb.linear(x=m.mb.expand_dims(x=m[x], axes=[0]), weight=m[weight], **given)
        return m.mb.squeeze(x=made, axes=[0])
    return m.mb.linear(x=m[x], weight=m[weight], **given)


@_writes("matmul")
def _matmul(m: Mil, op: Op, a: Value, b: Value) -> Var:
    if a.tensor.rank < 2 or b.tensor.rank < 2 or not _one_type(a, b):
        return None
    return m.mb.matmul(x=m[a], y=m[b])


@_writes("contract")
def _contract(m: Mil, op: Op, a: Value, b: Value) -> Var:
    x, y = m[a], m[b]
    if not _one_type(a, b):
        x, y = (m.mb.cast(x=v, dtype="fp32") for v in (x, y))
    return m.mb.matmul(x=x, y=y)


@_writes("conv2d")
def _conv2d(m: Mil, op: Op, x: Value, weight: Value, bias: Value | None = None) -> Var:
    operands = [v for v in (x, weight, bias) if v is not None]
    if not _known(m, *operands[1:]) or not _one_type(*operands):
        return None
    down, across = op.attrs.get("padding", (0, 0))
    given = {} if bias is None else {"bias": m[bias]}
    return m.mb.conv(
        x=m[x],
        weight=m[weight],
        strides=list(op.attrs.get("stride", (1, 1))),
        pad_type="custom",
        pad=[down, down, across, across],
        dilations=list(op.attrs.get("dilation", (1, 1))),
        groups=op.attrs.get("groups", 1),
        **given,
    )


for _name, _mil in (("max_pool2d", "max_pool"), ("avg_pool2d", "avg_pool")):

    @_writes(_name)
    def _pool(m: Mil, op: Op, x: Value, _kind: str = _mil) -> Var:
        if x.tensor.rank != 4:
            return None
        kernel = op.attrs["kernel"]
        down, across = op.attrs.get("padding", (0, 0))
        return getattr(m.mb, _kind)(
            x=m[x],
            kernel_sizes=list(kernel),
            strides=list(op.attrs.get("stride") or kernel),
            pad_type="custom",
            pad=[down, down, across, across],
        )


# compositions that are written as a whole
KEPT = frozenset(name for name in WRITERS if OPS[name].expand is not None)

__all__ = ["KEPT", "Mil"]
