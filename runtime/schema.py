"""Whether a manifest is as `format.py` says: its shape, and what its parts refer to."""

from __future__ import annotations

from tlc.runtime.errors import RunError
from tlc.runtime.format import DTYPE_BYTES, MAX_BYTES, all_steps, regions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


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


def _slot(value: object) -> bool:
    return _memory(value) and str(value)[0] == "s"


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
    "function": Pair(
        (
            *(_text, _text, [_text], [lambda step: _step(step)]),
            *([_slot], [_formula], [Pair((_one_memory, _dtype, _SHAPE))], [_slot]),
        )
    ),
    "call": Pair(
        (
            *(_text, _text, [_formula], [Pair((_one_memory, _dtype, _SHAPE))]),
            *([_text], [Pair((_slot, _dtype, _SHAPE))], _text),
        )
    ),
    "read": Pair((_text, _text, _memory, _dtype)),
    "room": Pair((_text, _memory, _formula)),
    "check": Pair((_text, _formula, _formula, _text, _text)),
    "print": Pair((_text, [_part], [Pair((_one_memory, _dtype, _SHAPE))])),
    "assert": Pair((_text, _formula, [_part], [Pair((_one_memory, _dtype, _SHAPE))], _text)),
    "text": Pair((_text, _text, lambda value: value in ("input", "env", "arg"), _text)),
    "text_of": Pair((_text, _text, [_part], [Pair((_one_memory, _dtype, _SHAPE))])),
    "text_order": Pair((_text, _text, _formula, _formula)),
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
        functions = {step[1]: step for step in all_steps(entry["steps"]) if step[0] == "function"}
        for step in entry["once"] + entry["steps"]:
            if not _refers(step, manifest, functions):
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


def _refers(step: list[Any], manifest: dict[str, Any], functions: Mapping[str, list[Any]]) -> bool:
    match step[0]:
        case "loop" | "if" | "function":
            inside = (inner for steps in regions(step) for inner in steps)
            return all(_refers(inner, manifest, functions) for inner in inside)
        case "call":
            function = functions.get(step[1])
            pairs = ((2, 2), (4, 3), (5, 4), (6, 5))  # numbers, operands, ends, results
            return function is not None and all(
                len(function[taken]) == len(step[given]) for taken, given in pairs
            )
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
