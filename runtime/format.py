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
    from collections.abc import Iterator, Mapping
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
    for step in steps:
        if step[0] == "launch":
            yield step
        elif step[0] in ("loop", "if"):
            for inner in step[3:]:
                yield from launch_steps(inner)


# ---- shape of the manifest -----------------------------------------------------------------------


class Pair(tuple):  # type: ignore[type-arg]
    """A list of fixed length, each item with a schema of its own."""


def _formula(value: object) -> bool:
    return _is_formula(value, 0)


def _is_formula(value: object, depth: int) -> bool:
    if isinstance(value, list):
        return (
            len(value) == 3
            and depth < 64
            and value[0] in ("+", "-", "*", "//", "%", "<", "<=", "==")
            and all(_is_formula(part, depth + 1) for part in value[1:])
        )
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(value: object) -> bool:
    return isinstance(value, int) and _whole(value) and 0 <= value <= MAX_BYTES


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _text(value: object) -> bool:
    return isinstance(value, str)


def _dtype(value: object) -> bool:
    return isinstance(value, str) and value in DTYPE_BYTES


def _memory(value: object) -> bool:
    return isinstance(value, str) and value[:1] in tuple("pwcskf") and value[1:].isdecimal()


def _one_memory(value: object) -> bool:
    """Memory, or one of several weights and the formula that says which."""
    if not isinstance(value, list):
        return _memory(value)
    return (
        len(value) == 2
        and isinstance(value[0], list)
        and all(map(_memory, value[0]))
        and _formula(value[1])
    )


def _part(value: object) -> bool:
    """A piece of a printed line."""
    if isinstance(value, list) and len(value) == 3:
        kind, form, parts = value
        fits = kind == "form" and _form(form) and isinstance(parts, list)
        return fits and all(map(_plain_part, parts))
    return _plain_part(value)


def _form(value: object) -> bool:
    """A width of at most 999 and a precision of at most 99, as in `>8.2`; either may be missing."""
    if not isinstance(value, str) or not value.isascii():
        return False
    width, point, digits = value.partition(".")
    wide = width == "" or (width[0] in "<>^" and width[1:].isdigit() and len(width) <= 4)
    return wide and (not point or (digits.isdigit() and len(digits) <= 2))


def _plain_part(value: object) -> bool:
    if not isinstance(value, list):
        return isinstance(value, str)
    return len(value) == 2 and (
        (value[0] in ("dim", "flag", "text") and _formula(value[1]))
        or (value[0] == "value" and _count(value[1]))
    )


def _guard(value: object) -> bool:
    if not isinstance(value, list):
        return value is None
    return len(value) == 2 and _formula(value[0]) and _count(value[1])


# A schema is a test of one value, [schema] for a list, {name: schema} for a table with these parts,
# {"": schema} for a table of any names, or Pair(...).
_SHAPE = [_formula]
_VARIANT = Pair((_guard, _count, _formula, [_formula]))
_STEPS = {
    "launch": Pair((_text, {"": [_VARIANT]}, [_one_memory])),
    "loop": Pair(
        (_text, _formula, [Pair((_text, _formula, _formula, _text))], [lambda step: _step(step)])
    ),
    "if": Pair(
        (
            _text,
            _formula,
            [Pair((_text, _formula, _formula))],
            [lambda step: _step(step)],
            [lambda step: _step(step)],
        )
    ),
    "read": Pair((_text, _text, _memory, _dtype)),
    "room": Pair((_text, _memory, _formula)),
    "check": Pair((_text, _formula, _formula, _text, _text)),
    "print": Pair((_text, [_part], [Pair((_one_memory, _dtype, _SHAPE))])),
    "assert": Pair((_text, _formula, [_part], [Pair((_one_memory, _dtype, _SHAPE))], _text)),
    "text": Pair((_text, _text, lambda value: value in ("input", "env", "arg"), _text)),
    "text_of": Pair((_text, _text, [_part], [Pair((_one_memory, _dtype, _SHAPE))])),
    "text_float": Pair((_text, _memory, _formula, _text)),
    "text_value": Pair(
        (_text, _text, _formula, lambda value: value in ("int", "len", "is"), _text, _text)
    ),
    "tokenize": Pair((_text, _text, _memory, _count, _formula, _flag, _text)),
    "detokenize": Pair((_text, _text, _one_memory, _SHAPE, _count, _text)),
    "detokenize_next": Pair((_text, _text, _formula, _count, _text)),
    "core_ml": Pair(
        (
            _text,
            _count,
            [Pair((_text, _one_memory, _dtype, _SHAPE))],
            [Pair((_text, _memory, _dtype, _SHAPE))],
        )
    ),
    "save": Pair((_text, _one_memory, _dtype, _SHAPE, _text, _text)),
    "save_model": Pair((_text, _count, _text, _flag)),
}
_ENTRY = {
    "params": [{"name": _text, "dtype": _dtype, "shape": _SHAPE}],
    "results": [{"buffer": _memory, "dtype": _dtype, "shape": _SHAPE}],
    "symbols": [_text],
    "checks": [Pair((_formula, _formula, _text, _text))],
    "slots": [[_formula]],
    "kept": [_formula],
    "flags": [_text],
    "once": [lambda step: _step(step) and step[0] == "launch"],
    "steps": [lambda step: _step(step)],
    "costs": [Pair((_formula, _formula))],
    "operations": _count,
}
_MANIFEST = {
    "format": _count,
    "tlc": _text,
    "source": _text,
    "seed": _whole,
    "store": _dtype,
    "macos": _text,
    "members": {"": _text},
    "models": [
        {
            "path": _text,
            "fingerprint": _text,
            "files": [{"name": _text, "size": _count, "fingerprint": _text}],
        }
    ],
    "weights": [
        {"model": _count, "tensor": _text, "encoding": _text, "stored": _text, "shape": [_count]}
    ],
    "hashes": [_text],
    "embedded": [Pair((_count, _count))],
    "constants": [Pair((_count, _count))],
    "hints": [_text],
    "profiles": {
        "": {
            "text": _text,
            "kernels": [
                {
                    **dict.fromkeys(("threads", "bytes", "registers"), _count),
                    **dict.fromkeys(("name", "source"), _text),
                }
            ],
        }
    },
    "entries": {"": _ENTRY},
    "skipped": {"": _text},
}


def _step(step: object) -> bool:
    """Whether this is a step of a known kind."""
    if not isinstance(step, list) or not step or not isinstance(step[0], str):
        return False
    return step[0] in _STEPS and not misfit(step, _STEPS[step[0]], step[0])


def validate(manifest: dict[str, Any]) -> None:
    """Check that a manifest has every part this contract names. Raises RunError E0501.

    What a part refers to is checked here where that is cheap: kernels, printed values, models.
    Memory is looked up when it is bound.
    """
    found = misfit(manifest, _MANIFEST, "tlc.json")
    if found:
        raise _damaged(f"{found} is not as it should be")
    for name in ("hashes", "embedded"):
        if manifest[name] and len(manifest[name]) != len(manifest["weights"]):
            raise _damaged(f"tlc.json.{name} is not as long as its weights")
    for name, entry in manifest["entries"].items():
        for step in entry["once"] + entry["steps"]:
            if not _refers(step, manifest):
                raise _damaged(f"a step of entry {name} refers to what is not there")
        if any(not slot for slot in entry["slots"]):
            raise _damaged(f"entry {name} has a slot without a size")


def misfit(value: Any, schema: Any, where: str) -> str:
    """Where a value first differs from a schema; an empty string when it fits."""
    if isinstance(schema, Pair):
        if not isinstance(value, list) or len(value) != len(schema):
            return where
        pairs = [(f"{where}[{at}]", item, schema[at]) for at, item in enumerate(value)]
    elif isinstance(schema, list):
        if not isinstance(value, list):
            return where
        pairs = [(f"{where}[{at}]", item, schema[0]) for at, item in enumerate(value)]
    elif isinstance(schema, dict):
        if not isinstance(value, dict) or not (schema.keys() - {""}) <= value.keys():
            return where
        names = value if "" in schema else schema
        pairs = [(f"{where}.{key}", value[key], schema.get(key, schema.get(""))) for key in names]
    else:
        return "" if schema(value) else where
    return next(filter(None, (misfit(item, inner, at) for at, item, inner in pairs)), "")


def _refers(step: list[Any], manifest: dict[str, Any]) -> bool:
    match step[0]:
        case "loop" | "if":
            return all(_refers(inner, manifest) for steps in step[3:] for inner in steps)
        case "launch":
            return step[1].keys() == manifest["profiles"].keys() and all(
                choices
                and all(c[1] < len(manifest["profiles"][profile]["kernels"]) for c in choices)
                for profile, choices in step[1].items()
            )
        case "print" | "assert" | "text_of":
            parts, values = step[-2:] if step[0] == "print" else step[2:4]
            plain = [inner for p in parts for inner in (p[2] if p[:1] == ["form"] else [p])]
            return all(p[1] < len(values) for p in plain if p[:1] == ["value"])
        case "save_model" | "core_ml":
            return bool(step[1] < len(manifest["models"]))
        case "tokenize" | "detokenize" | "detokenize_next":
            return bool(step[3 if step[0] != "detokenize" else 4] < len(manifest["models"]))
    return True


def _damaged(what: str) -> RunError:
    return RunError("E0501", f"the artifact is damaged: {what}", "build it again from its source")
