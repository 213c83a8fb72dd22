"""A module in, an InternalError out unless it is well formed: values defined before they are used,
type rules still true, every operation where its stage allows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import tlc.ir.ops  # noqa: F401  (fills the registry)
from tlc.frontend.diagnostics import InternalError
from tlc.ir.core import Block, Func, Module, Op, Value, symbols_of
from tlc.ir.dims import SEED, Dim
from tlc.ir.opdef import TENSORS, OpDef
from tlc.ir.printer import print_module
from tlc.ir.types import TensorType, Type

# what a function's body may still hold once fusion has run
FUSED_OPS = frozenset(
    (
        "assert",
        "call",
        "check",
        "constant",
        "core_ml",
        "detokenize",
        "detokenize_next",
        "function",
        "fused",
        "if",
        "loop",
        "once",
        "print",
        "read",
        "reshape",
        "save",
        "save_model",
        "text",
        "text_float",
        "text_of",
        "text_order",
        "text_value",
        "tokenize",
        "weight",
        "weight_of",
        "yield",
    )
)
# what only fusion makes
MADE_BY_FUSION = frozenset({"fused"})
# what a kernel may hold beside what it computes
IN_KERNELS = frozenset({"access", "broadcast", "constant", "yield"})
IN_FAMILY = {"attention": IN_KERNELS | {"permute", "reshape"}, "concat": IN_KERNELS | {"reshape"}}
REGIONS = {"fused": 1, "once": 1, "loop": 1, "if": 2, "function": 1}
# regions that see the values around them
OPEN = frozenset({"loop", "if", "function"})


class _Malformed(Exception):
    """The text says what is wrong."""


def _need(holds: bool, text: str) -> None:
    if not holds:
        raise _Malformed(text)


def verify(module: Module, stage: str = "lowered") -> None:
    """Raises InternalError, with the IR, when the module is malformed.

    `stage` is `lowered` or `fused`: before and after fusion other operations may exist.
    """
    for func in module.funcs:
        try:
            _func(func, stage)
        except Exception as problem:  # a type rule may trip over anything that is malformed
            text = f"@{func.name} is malformed ({stage}): {problem or type(problem).__name__}"
            raise InternalError(text, _printed(module)) from problem
    repeated = [n for n, times in Counter(f.name for f in module.funcs).items() if times > 1]
    if repeated:
        raise InternalError(f"two functions are called @{repeated[0]}", _printed(module))


def _printed(module: Module) -> str:
    try:
        return print_module(module)
    except Exception as problem:
        return f"(the IR cannot be printed: {problem!r})"


def _func(func: Func, stage: str) -> None:
    names = func.param_names
    _need(len(names) == len(func.params), f"{len(names)} names for {len(func.params)} parameters")
    known = set(SEED.symbols())
    for value in func.params:
        _need(isinstance(value.type, TensorType), "a parameter is no tensor")
        known |= symbols_of(value.type)
    _block(func.body, stage, _Place(frozenset(known)))


class _Place:
    """Where a block stands: what is known around it, and the family of the kernel it is in."""

    def __init__(
        self,
        symbols: frozenset[str],
        kernel: str = "",
        values: frozenset[Value] = frozenset(),
        functions: Mapping[str, Op] = MappingProxyType({}),
    ) -> None:
        self.symbols, self.kernel, self.values = symbols, kernel, values
        self.functions = functions


def _block(block: Block, stage: str, place: _Place) -> frozenset[str]:
    """Check a block; the symbols that are known at its end."""
    known: set[Value] = set(place.values)
    symbols, functions = place.symbols, dict(place.functions)
    for value in block.args:
        _need(value not in known and value.owner is None, "an argument is defined twice")
        known.add(value)
    _need(bool(block.ops) and block.ops[-1].name == "yield", "a block must end with a yield")
    for op in block.ops:
        _need(op.name != "yield" or op is block.ops[-1], "yield is not the last operation")
        _need(_allowed(op, stage, place), f"{op.name} has no place here")
        for value in op.operands:
            _need(value in known, f"an operand of {op.name} is not defined before it")
        _types(op)
        _need(
            len(op.regions) == REGIONS.get(op.name, 0), f"{op.name} has {len(op.regions)} regions"
        )
        if op.name == "function":
            _need(op.attrs["name"] not in functions, "a function is defined twice")
            functions[op.attrs["name"]] = op
        if op.name in OPEN:
            around = _Place(symbols, values=frozenset(known), functions=functions)
            symbols |= (
                _function(op, stage, around)
                if op.name == "function"
                else _control(op, stage, around)
            )
        elif op.name == "call":
            symbols |= _call(op, _Place(symbols, functions=functions))
        else:
            used = symbols_of(tuple(op.attrs.values()))
            _need(used <= symbols, f"{op.name} has a symbol that no parameter has")
            symbols |= {op.attrs["symbol"]} if "symbol" in op.attrs else set()
            made = symbols_of(tuple(v.type for v in op.results))  # `tokenize` sizes its own result
            _need(made <= symbols, f"a result of {op.name} has a symbol that no parameter has")
            for region in op.regions:
                # a kernel sees its operands only through the arguments of its region, and what
                # is computed once sees nothing of a call
                _block(region, stage, _Place(symbols, str(op.attrs.get("family", ""))))
                _region(op, region)
        for value in op.results:
            _need(value not in known, f"a result of {op.name} is defined twice")
            _need(value.owner is op, f"a result of {op.name} names another owner")
            known.add(value)
    return symbols


def _control(op: Op, stage: str, place: _Place) -> frozenset[str]:
    """Check a `loop` or `if`; the symbols that stand behind it."""
    ints = op.attrs["ints"]
    inside = frozenset(i[0] for i in ints) if op.name == "loop" else frozenset()
    before = [i[1] for i in ints] if op.name == "loop" else []
    _need(symbols_of(tuple(before)) <= place.symbols, f"{op.name} begins with an unknown symbol")
    around = place.symbols | inside
    condition = op.attrs["condition"]
    _need(condition.symbols() <= around, f"the condition of {op.name} has an unknown symbol")
    for at, region in enumerate(op.regions):
        inner = _Place(around, values=place.values, functions=place.functions)
        ends = _block(region, stage, inner)
        steps = [i[2] if op.name == "loop" else i[1 + at] for i in ints]
        _need(symbols_of(tuple(steps)) <= ends, f"{op.name} ends with an unknown symbol")
        if op.name == "loop":
            _carried(op, region)
        else:
            _handed(region.yielded, op.results, {i[0]: i[1 + at] for i in ints}, op.name)
    return frozenset(i[3] if op.name == "loop" else i[0] for i in ints)


def _function(op: Op, stage: str, place: _Place) -> frozenset[str]:
    """Check a `function`, which leaves no symbol behind."""
    (region,), ends = op.regions, op.attrs["ends"]
    around = place.symbols | frozenset(op.attrs["ints"])
    inner = _Place(around, values=place.values, functions=place.functions)
    known = _block(region, stage, inner)
    _need(symbols_of(tuple(ends)) <= known, "function ends with an unknown symbol")
    types = [Value(type) for type in op.attrs["types"]]
    _handed(region.yielded, types, dict(ends), "function")
    given = symbols_of(op.attrs["types"])
    _need(given <= around | {symbol for symbol, _ in ends}, "function gives an unknown symbol")
    return frozenset()


def _call(op: Op, place: _Place) -> frozenset[str]:
    """Check a `call`; the symbols that stand behind it."""
    function = place.functions.get(op.attrs["name"])
    if function is None:
        raise _Malformed("call has no function before it")
    (region,), attrs = function.regions, function.attrs
    ints, symbols = op.attrs["ints"], op.attrs["symbols"]
    _need(symbols_of(ints) <= place.symbols, "call hands on an unknown symbol")
    _need(len(ints) == len(attrs["ints"]), f"call hands on {len(ints)} numbers")
    _need(len(symbols) == len(attrs["ends"]), f"call takes {len(symbols)} numbers")
    given = dict(zip(attrs["ints"], ints, strict=True))
    behind = {end: Dim.of(s) for (end, _), s in zip(attrs["ends"], symbols, strict=True)}
    _handed(op.operands, region.args, given, "call")
    _handed(op.results, [Value(type) for type in attrs["types"]], {**given, **behind}, "call")
    return frozenset(symbols)


def _allowed(op: Op, stage: str, place: _Place) -> bool:
    if stage == "lowered":
        return op.name not in MADE_BY_FUSION
    if place.kernel:
        also = IN_FAMILY.get(place.kernel, IN_KERNELS)
        return op.defn.elementwise or op.defn.kernel is not None or op.name in also
    return op.name in FUSED_OPS


def _types(op: Op) -> None:
    defn = op.defn
    if defn.type is None:
        raise _Malformed(f"{op.name} is a composition and has no place in the IR")
    at_least, any_number = _operand_count(defn)
    count = len(op.operands)
    _need(count == at_least or (any_number and count > at_least), f"{op.name} has {count} operands")
    wanted = {p.name for p in defn.params if not p.kind.startswith("tensor")}
    _need(op.attrs.keys() == wanted, f"the attributes of {op.name} are {', '.join(op.attrs)}")
    result = tuple(defn.type(*(v.type for v in op.operands), **op.attrs))
    found = tuple(v.type for v in op.results)
    _need(result == found, f"{op.name} gives {_list(found)}, its type rule says {_list(result)}")


def _operand_count(defn: OpDef) -> tuple[int, bool]:
    """How many operands an operation has, and whether it may have more."""
    kinds = [p.kind for p in defn.params]
    return sum(kind in TENSORS for kind in kinds), "tensors" in kinds


def _region(op: Op, region: Block) -> None:
    _need(
        [v.type for v in region.args] == [v.type for v in op.operands],
        f"the arguments of the region of {op.name} are not its operands",
    )
    _need(
        [v.type for v in region.yielded] == [v.type for v in op.results],
        f"the region of {op.name} does not yield its results",
    )


def _carried(op: Op, region: Block) -> None:
    """Check that what a loop carries has one type, but for sizes that are numbers it carries."""
    ints = op.attrs["ints"]
    _handed(op.operands, region.args, {i[0]: i[1] for i in ints}, "loop")
    _handed(region.yielded, region.args, {i[0]: i[2] for i in ints}, "loop")
    # a size behind the loop may be given as what the build knows it to be
    behind = {i[0]: Dim.of(i[3]) for i in ints}
    for result, argument in zip(op.results, region.args, strict=True):
        pairs = zip(result.tensor.shape, argument.tensor.shape, strict=True)
        same = all(a in (b, b.substitute(behind)) or b.symbols() & behind.keys() for a, b in pairs)
        _need(same and result.tensor.dtype == argument.tensor.dtype, "a result of loop has a type")


def _handed(
    given: Sequence[Value], taken: Sequence[Value], ints: Mapping[str, Dim], name: str
) -> None:
    """Check that values have the types that they are taken with, whose symbols stand for `ints`."""
    _need(len(given) == len(taken), f"{name} hands on {len(given)} values for {len(taken)}")
    for a, b in zip(given, taken, strict=True):
        wanted = b.tensor.with_shape(d.substitute(ints) for d in b.tensor.shape)
        _need(a.type == wanted, f"{name} hands on {a.type} as {b.type}")


def _list(types: tuple[Type, ...]) -> str:
    return ", ".join(map(str, types)) or "nothing"
