"""The contract between `tlc build` and `tlc run`: what `tlc.json` in an artifact holds.

    format, tlc        version of this contract; version of the tlc that wrote it
    source             name of the program's file
    seed               of random numbers, when a run names no other
    store              what computed float16 values are stored as: f16, or f32 for --store f32
    macos              least macOS the kernels need, "13.0"
    members            sha256 of every other member of the archive
    models             models by reference: path as written, fingerprint, and the name, size and
                       fingerprint of each of its files
    weights            tensors of those models: model, tensor, encoding (in the file), stored
                       (on the device), shape
    hashes             SHA-256 of the bytes of each weight, or nothing
    embedded           offset and bytes of each weight in `weights/tensors.bin`, or nothing
    constants          offset and bytes of each constant in `constants.bin`
    hints              devices that the program's `device:` asks for
    profiles           per profile, the member with its kernel text, and its kernels
    entries            per entry: params, results, symbols, checks, slots, flags, once, steps, and
                       costs: of each launch, the least bytes it moves and its operations

Sizes are formulas over symbols (`evaluate`); `$seed` is a number that the run makes of its seed
(`seed.py`). Memory is named by a letter and a number: `p`
parameter, `w` weight, `c` constant, `s` slot of the arena, `k` kept result of `once`, `f` flag that
a kernel raises; `[["w0", "w1"], formula]` is one of several weights.

A step is a list that begins with its kind:

    launch      {profile: variants}, buffers; a variant is [guard or null, kernel, groups, dims]
    loop        condition, ints [[inside, first, next, after]], steps
    if          condition, ints [[after, then, else]], steps, steps
    function    name, symbols of its numbers, steps, memory (slots) of its operands, numbers that it
                ends with, its results [[memory, dtype, shape]], all slots that it uses
    call        name, numbers, operands [[memory, dtype, shape]], symbols (of what it ends with),
                results [[memory (a slot), dtype, shape]], place; all other memory is afterwards
                what it was
    read        symbol, memory, dtype: one element
    check       left, right, text, place
    room        memory (a slot), bytes: the least it must hold from here on; what it holds stays
    print       parts (text, ["dim", formula], ["flag", formula], ["text", formula], ["value", n],
                ["form", width and precision, parts]), values [[memory, dtype, shape]]
    assert      condition, parts and values of the message as for print, place
    text        symbol, "input", "env" or "arg" (NAME=TEXT-WHEN-NOT-GIVEN), name
    text_of     symbol, parts, and memory, dtype, shape of each value in them
    text_float  memory, number of a text, place
    text_value  symbol, number of a text, "int", "len" or "is", other text, place
    text_order  symbol, numbers of two texts
    tokenize    symbol (how many), memory, model, number of a text, whether with what stands around
                texts, place
    detokenize  symbol (number of a text), memory, shape, model, place
    detokenize_next
                symbol (number of a text), token, model, place
    core_ml     model, inputs and outputs [[name, memory, dtype, shape]]: run by Core ML itself
    save        memory, dtype, shape, path, name
    save_model  model, path, dequantize
"""

from __future__ import annotations

from tlc.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

FORMAT_VERSION = 1
DTYPE_BYTES = {"f16": 2, "f32": 4, "i32": 4, "bool": 1}
MAX_BYTES = 1 << 46  # more than any machine has; a size beyond it is a damaged file


def evaluate(formula: Any, sizes: Mapping[str, int]) -> int:
    """The value of a formula: a number, a symbol, or `[op, left, right]`.

    `+ - *` are those of whole numbers, `//` and `%` divide toward zero, `< <= ==` are 0 or 1.
    Raises RunError E0501 for what is not a formula and E0505 for a division by zero.
    """
    if isinstance(formula, int) and not isinstance(formula, bool):
        return formula
    if isinstance(formula, str):
        if formula in sizes:
            return sizes[formula]
    elif isinstance(formula, list) and len(formula) == 3:
        op, left, right = formula
        a, b = evaluate(left, sizes), evaluate(right, sizes)
        if op == "+":
            return a + b
        if op == "-":
            return a - b
        if op == "*":
            return a * b
        if op in ("//", "%"):
            if b == 0:
                raise RunError("E0505", "a whole number is divided by zero")
            quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
            return quotient if op == "//" else a - b * quotient
        if op == "<":
            return int(a < b)
        if op == "<=":
            return int(a <= b)
        if op == "==":
            return int(a == b)
    raise RunError("E0501", f"{formula!r} is not a size")


def size(formula: Any, sizes: Mapping[str, int]) -> int:
    """A formula whose value must be a possible size. Raises RunError E0505."""
    value = evaluate(formula, sizes)
    if not 0 <= value <= MAX_BYTES:
        raise RunError("E0505", f"a size comes out as {value}")
    return value


def word(formula: Any, sizes: Mapping[str, int]) -> bytes:
    """A size as the 32-bit word that a kernel reads. Raises RunError E0505 when it does not fit."""
    value = size(formula, sizes)
    if value >= 1 << 32:
        raise RunError("E0505", f"a size comes out as {value}, and kernels count in 32 bits")
    return value.to_bytes(4, "little")


def symbols(part: Any) -> set[str]:
    """The run-time symbols, which begin with `$`, in formulas anywhere in a list."""
    if isinstance(part, str):
        return {part} if part[:1] == "$" else set()
    if isinstance(part, list):
        return {name for item in part for name in symbols(item)}
    return set()


def numel(shape: Any, sizes: Mapping[str, int]) -> int:
    """The number of elements of a shape of formulas."""
    total = 1
    for formula in shape:
        total *= size(formula, sizes)
    if total > MAX_BYTES:
        raise RunError("E0505", f"a tensor has {total} elements")
    return total


def launch_steps(steps: list[list[Any]]) -> Iterator[list[Any]]:
    """The launches among steps, also those in loops and branches."""
    return (step for step in all_steps(steps) if step[0] == "launch")


def all_steps(steps: Iterable[list[Any]]) -> Iterator[list[Any]]:
    """Steps and those inside of them."""
    for step in steps:
        yield step
        for inner in regions(step):
            yield from all_steps(inner)


def regions(step: list[Any]) -> list[list[list[Any]]]:
    """The lists of steps inside of a step."""
    return step[3 : 3 + {"loop": 1, "if": 2, "function": 1}.get(step[0], 0)]
