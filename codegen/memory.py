"""Reading and writing a kernel's buffers, as text: one element at a time, or 8 lanes at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tlc.codegen.expression import Access, Region, kind
from tlc.codegen.iteration import ONE, ZERO, Sizes
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.formats import PACKED

_BUFFER_TYPES = {"f16": "half", "f32": "float", "i32": "int", "bf16": "ushort"}

# kind of a register -> what its functions in the lane vocabulary end in
_SUFFIX = {"float": "8", "int": "i8", "bool": "m8"}


def buffer_type(encoding: str) -> str:
    """The element type of a buffer; masks and packed formats are bytes."""
    return _BUFFER_TYPES.get(encoding, "uchar")


def plus(*terms: str) -> str:
    """A sum as text, without zeros."""
    return " + ".join(term for term in terms if term not in ("", "0u")) or "0u"


# ---- one element --------------------------------------------------------------------------------


def scalar_load(access: Access, index: str) -> str:
    """The element at an index of the operand, as a register value."""
    if access.encoding == "index":
        return f"{kind(access.value)}({index})"
    if access.encoding in PACKED:
        return f"tlc_{access.encoding}({access.buffer}, {index})"
    return widened(access.encoding, f"{access.buffer}[{index}]")


def widened(encoding: str, element: str) -> str:
    """An element of a buffer as a register value."""
    match encoding:
        case "f16":
            return f"float({element})"
        case "bf16":
            return f"tlc_bf16({element})"
        case "bool":
            return f"{element} != 0"
    return element


def rounded_scalar(dtype: str, value: str) -> str:
    """A register converted to the type in which a result of this dtype is stored."""
    match dtype:
        case "f16":
            return f"half({value})"
        case "bool":
            return f"uchar({value} ? 1 : 0)"
    return value


# ---- 8 lanes ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lanes:
    """Elements `at`, `at + 1`, ... of a row in 8 lanes; all are real, or only the first `count`."""

    at: str
    count: str | None = None

    @property
    def mask(self) -> str:
        return f"iota8() < int({self.count})"


@dataclass(frozen=True, slots=True)
class Row:
    """The elements of an access along the lanes' axis.

    base      a pointer to the first, or its number for what is not read through a pointer.
    stride    from one to the next.
    aligned   whether lanes start at a multiple of 8 elements of the operand.
    """

    base: str
    stride: Dim
    aligned: bool


class Rows:
    """The rows that a loop over lanes reads."""

    def __init__(self, region: Region, sizes: Sizes) -> None:
        self.region, self.sizes = region, sizes
        self.rows: dict[Value, Row] = {}

    def start(self, access: Access, place: str, stride: Dim, aligned: bool = False) -> list[str]:
        """Statements, at most one, that name the start of a row at `place` of its operand."""
        numbered = access.encoding == "index" or access.encoding in PACKED
        base, statements = f"{self.region.label(access.value)}_row", []
        if place == "0u":
            base = "" if numbered else f"{access.buffer}"
        elif numbered:
            statements = [f"const uint {base} = {place};"]
        else:
            element = buffer_type(access.encoding)
            statements = [f"device const {element}* {base} = {access.buffer} + {place};"]
        self.rows[access.value] = Row(base, stride, aligned)
        return statements

    def first(self, access: Access) -> str:
        """The first element of a row, in all lanes."""
        row, of = self.rows[access.value], kind(access.value)
        if access.encoding == "index" or access.encoding in PACKED:
            element = scalar_load(access, row.base or "0u")
        else:
            element = f"{row.base}[0]"
            if of == "float":
                element = widened(access.encoding, element)
        match of:
            case "float":
                return f"splat8({element})"
            case "int":
                return f"splati8({element})"
        return f"splati8(int({element})) != 0"

    def load(self, lanes: Lanes) -> Callable[[Access], str]:
        """What `Scope.compute` asks for each access: the expression of its lanes; unreal ones 0."""

        def expression(access: Access) -> str:
            row, of = self.rows[access.value], kind(access.value)
            if row.stride == ZERO:
                return self.first(access)
            step, count = self.sizes(row.stride), lanes.count or "8u"
            at = lanes.at if row.stride == ONE else f"({lanes.at}) * {step}"
            place = plus(row.base, at)
            match access.encoding:
                case "index":
                    numbers = f"iota8() + int({place})"
                    return f"to_f8({numbers})" if of == "float" else numbers
                case packed if packed in PACKED:
                    if row.stride == ONE and row.aligned:
                        return f"ld8_{packed}({access.buffer}, {place})"
                    return f"gather8_{packed}({access.buffer}, {place}, {step}, {count})"
            if row.stride == ONE:
                return f"ld{_SUFFIX[of]}" + (
                    f"n({place}, {count})" if lanes.count else f"({place})"
                )
            if of == "float" and not lanes.count:
                return f"gather8({place}, {step})"
            return f"gather{_SUFFIX[of]}n({place}, {step}, {count})"

        return expression


def lane_store(of: str, place: str, value: str, count: str | None) -> str:
    """The statement that rounds lanes to the type of the pointer and stores the real ones."""
    if count:
        return f"st{_SUFFIX[of]}n({place}, {value}, {count});"
    return f"st{_SUFFIX[of]}({place}, {value});"
