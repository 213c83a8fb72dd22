"""The region of a fused operation in, statements of a kernel out: scalars or groups of 8 lanes."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tlc.codegen.iteration import ONE, ZERO, Dims, Sizes, row_major
from tlc.frontend.diagnostics import InternalError
from tlc.ir.core import Op, Value
from tlc.ir.dims import Dim

WRAP = Dim.of(2**32)


@dataclass(frozen=True, slots=True)
class Access:
    """A value that is read and not computed: element (i, j, ...) is at offset + i*strides[0] + ...

    `arg` is the operand's number; `part`, instead, that of a result that the kernel has stored. An
    `iota` has neither: its value is the position itself.
    """

    value: Value
    arg: int | None
    encoding: str
    shape: Dims
    strides: Dims
    offset: Dim
    part: int | None = None

    @property
    def buffer(self) -> str:
        """The name of the memory that is read."""
        return f"in{self.arg}" if self.part is None else f"out{self.part}"


class Region:
    """What a fused operation computes for one of its results: operands, operations in order."""

    def __init__(self, op: Op, part: int = 0) -> None:
        (block,) = op.regions
        self.args = {value: number for number, value in enumerate(block.args)}
        self.encodings: tuple[str, ...] = op.attrs["encodings"]
        self.result = block.yielded[part]
        self.parts = {v: n for n, v in enumerate(block.yielded) if v not in self.args}
        self.ops = _behind(self.result, block.ops[:-1])
        self.out = op.results[part].tensor
        self.position = {o.result: number for number, o in enumerate(self.ops)}
        self.read_as: dict[Value, Access] = {}  # values that a family reads and does not compute

    def label(self, value: Value) -> str:
        """The name of the variable that holds a value."""
        number = self.args.get(value)
        if number is not None:
            return f"x{number}"
        name = f"v{self.position[value]}"
        return f"{name}_" if name == "v16" else name  # which is a type of the lane vocabulary

    def only(self, name: str) -> Op:
        """The one operation of that name."""
        (found,) = (op for op in self.ops if op.name == name)
        return found

    def definition(self, value: Value) -> Op | None:
        """The operation that makes a value; None for an operand of the kernel."""
        return None if value in self.args else self.ops[self.position[value]]

    def access(self, value: Value) -> Access | None:
        """How the value is read, or None when it is computed."""
        if value in self.read_as:
            return self.read_as[value]
        op = self.definition(value)
        if op is None:
            number, shape = self.args[value], value.tensor.shape
            return Access(value, number, self.encodings[number], shape, row_major(shape), ZERO)
        match op.name:
            case "access":
                (source,) = op.operands
                shape, strides, start = (op.attrs[k] for k in ("shape", "strides", "offset"))
                arg, part = self.args.get(source), self.parts.get(source)
                kept = source.tensor.dtype if arg is None else self.encodings[arg]
                return Access(value, arg, kept, shape, strides, start, part)
            case "iota":
                shape = value.tensor.shape
                steps = tuple(ONE if k == op.attrs["axis"] else ZERO for k in range(len(shape)))
                return Access(value, None, "index", shape, steps, ZERO)
        return None

    def needed(self, targets: Iterable[Value], known: Iterable[Value] = ()) -> list[Value]:
        """What computing the targets takes, operands first, without what `known` values take."""
        seen, order = set(known), []

        def visit(value: Value) -> None:
            if value in seen:
                return
            seen.add(value)
            if self.access(value) is None:
                for operand in self.ops[self.position[value]].operands:
                    visit(operand)
            order.append(value)

        for target in targets:
            visit(target)
        return sorted(order, key=lambda v: self.position.get(v, -1))

    def reads(self, targets: Iterable[Value], known: Iterable[Value] = ()) -> list[Access]:
        """The accesses among `needed`, each once."""
        found = (self.access(value) for value in self.needed(targets, known))
        return [access for access in found if access is not None]


def _behind(result: Value, ops: Sequence[Op]) -> list[Op]:
    """The operations that a result takes, in order."""
    wanted, found = {result}, []
    for op in reversed(ops):
        if op.result in wanted:
            wanted.update(op.operands)
            found.append(op)
    return found[::-1]


def kind(value: Value) -> str:
    """What a register of this value is: `float`, `int` or `bool`."""
    return {"f16": "float", "f32": "float", "i32": "int", "bool": "bool"}[value.tensor.dtype]


def rounded(number: float, dtype: str) -> float:
    """A number as its dtype stores it."""
    code = {"f16": "e", "f32": "f"}[dtype]
    try:
        (result,) = struct.unpack(code, struct.pack(code, number))
    except OverflowError:
        return math.copysign(math.inf, number)
    return float(result)


def float_literal(number: float) -> str:
    """A float32 number as a literal that reads back to the same bits."""
    if math.isnan(number):
        return "as_type<float>(0x7fc00000u)"
    if math.isinf(number):
        return f"as_type<float>(0x{'7f' if number > 0 else 'ff'}800000u)"
    digits = next(
        d for p in range(1, 10) if rounded(float(d := f"{number:.{p}g}"), "f32") == number
    )
    mantissa, _, exponent = digits.partition("e")
    text = (mantissa if "." in mantissa else mantissa + ".0") + (exponent and f"e{int(exponent)}")
    return f"({text}f)" if number < 0 or text.startswith("-") else f"{text}f"


def whole(number: Dim, sizes: Sizes) -> str:
    """A whole number that kernels are told; one that may be below zero is read as signed."""
    return f"int({sizes(_word(number))})" if _signed(number) else sizes(number)


def _signed(number: Dim) -> bool:
    """Whether a number may be below zero: run time found it, or it is a difference of sizes."""
    found = any(name[0] == "$" for name in number.symbols())
    return found or any(factor < 0 for _, factor in number.terms)


def _word(number: Dim) -> Dim:
    """A signed number as the word of 32 bits that stands for it; beyond them, what is no word."""
    if not _signed(number):
        return number
    return number + WRAP * (number.compare("<", 0) + Dim.of(2**31 - 1).compare("<", number))


@dataclass(frozen=True, slots=True)
class Dialect:
    """How statements are spelled: the type of a register, constants, conversions, operations.

    `functions` gives the expression of an operation in 8 lanes the names of other lanes.
    """

    lanes: bool
    types: Mapping[str, str]
    splats: Mapping[str, str]
    casts: Mapping[tuple[str, str], str]
    functions: Callable[[str], str] = str

    def constant(self, number: float | Dim, value: Value, sizes: Sizes) -> str:
        """One number everywhere; a dimension stands for its size."""
        match kind(value):
            case "float" if isinstance(number, Dim) and not number.is_static:
                text = f"float({whole(number, sizes)})"
            case "float":
                real = float(int(number)) if isinstance(number, Dim) else float(number)
                text = float_literal(rounded(real, value.tensor.dtype))
            case "int" if isinstance(number, Dim) and not number.is_static:
                text = f"int({sizes(_word(number))})"
            case "int":
                text = f"({int(number)})" if int(number) < 0 else str(int(number))
            case "bool" if isinstance(number, Dim) and not number.is_static:
                text = f"({sizes(_word(number))} != 0u)"
            case _:
                text = "true" if number else "false"
        return self.splats[kind(value)].format(text)

    def operation(self, op: Op) -> str:
        """The expression of an elementwise operation, with places for its operands."""
        if op.name == "cast":
            return self.casts[kind(op.operands[0]), kind(op.result)]
        if op.defn.msl is None:
            raise InternalError(f"operation {op.name} has no expression for a kernel")
        if not self.lanes:
            return op.defn.msl
        return self.functions(
            op.defn.lanes or re.sub(r"\bprecise::(\w+)\(", r"\g<1>8(", op.defn.msl)
        )


SCALARS = Dialect(
    lanes=False,
    types={"float": "float", "int": "int", "bool": "bool"},
    splats={"float": "{}", "int": "{}", "bool": "{}"},
    casts={
        ("bool", "float"): "({0} ? 1.0f : 0.0f)",
        ("bool", "int"): "({0} ? 1 : 0)",
        ("int", "float"): "float({0})",
        ("int", "bool"): "{0} != 0",
        ("float", "int"): "int({0})",
        ("float", "bool"): "{0} != 0.0f",
    },
)
LANES = Dialect(
    lanes=True,
    types={"float": "f8", "int": "i8", "bool": "m8"},
    splats={"float": "splat8({})", "int": "splati8({})", "bool": "(splati8({} ? 1 : 0) != 0)"},
    casts={
        ("bool", "float"): "select8(splat8(0.0f), splat8(1.0f), {0})",
        ("bool", "int"): "select8(splati8(0), splati8(1), {0})",
        ("int", "float"): "to_f8({0})",
        ("int", "bool"): "{0} != 0",
        ("float", "int"): "to_i8({0})",
        ("float", "bool"): "{0} != 0.0f",
    },
)


class Scope:
    """Names of the values that are at hand at one place of a kernel, and statements for more."""

    def __init__(self, region: Region, dialect: Dialect, sizes: Sizes) -> None:
        self.region, self.dialect, self.sizes = region, dialect, sizes
        self.names: dict[Value, str] = {}
        self.inverses: dict[Value, str] = {}  # of values that are the same in every lane

    def inside(self) -> Scope:
        """A block within this one: it sees these names, and its own stay inside."""
        inner = Scope(self.region, self.dialect, self.sizes)
        inner.names, inner.inverses = dict(self.names), self.inverses
        return inner

    def define(self, value: Value, expression: str) -> str:
        """The statement that gives a value its variable."""
        self.names[value] = self.region.label(value)
        return f"const {self.dialect.types[kind(value)]} {self.names[value]} = {expression};"

    def compute(self, targets: Iterable[Value], load: Callable[[Access], str]) -> list[str]:
        """Statements after which the targets have names; `load` is the expression of an access."""
        statements = []
        for value in self.region.needed(targets, self.names):
            access = self.region.access(value)
            if access is not None:
                statements.append(self.define(value, load(access)))
                continue
            op = self.region.ops[self.region.position[value]]
            operands = [self.names[operand] for operand in op.operands]
            same_kind = bool(operands) and kind(op.operands[0]) == kind(value)
            if op.name == "constant":
                number = op.attrs["value"]
                self.names[value] = self.dialect.constant(number, value, self.sizes)
            elif op.name == "broadcast" or (op.name == "cast" and same_kind):
                self.names[value] = operands[0]
            elif op.name == "div" and op.operands[1] in self.inverses:
                over = self.dialect.functions("tlc_over8({}, {}, {})")
                expression = over.format(*operands, self.inverses[op.operands[1]])
                statements.append(self.define(value, expression))
            else:
                expression = self.dialect.operation(op).format(*operands)
                statements.append(self.define(value, expression))
        return statements
