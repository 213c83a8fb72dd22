"""The contract between `tlc build` and `tlc run`: what `tlc.json` in an artifact holds.

    format, tlc        version of this contract; version of the tlc that wrote it
    source             name of the program's file
    macos              least macOS the kernels need, "13.0"
    members            sha256 of every other member of the archive
    models             model files by reference: path as written, fingerprint
    weights            tensors of those files: model, tensor, encoding (in the file), stored
                       (on the device), shape
    constants          offset and bytes of each constant in `constants.bin`
    hints              devices that the program's `device:` asks for
    profiles           per profile, the member with its kernel text, and its kernels
    entries            per entry: params, results, symbols, checks, slots, flags, once, steps

Sizes are formulas over symbols (`evaluate`). Memory is named by a letter and a number: `p`
parameter, `w` weight, `c` constant, `s` slot of the arena, `k` kept result of `once`, `f` flag that
a kernel raises. A step is a list that begins with its kind (`STEPS`).
"""

from __future__ import annotations

from tlc.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FORMAT_VERSION = 1
DTYPE_BYTES = {"f16": 2, "f32": 4, "i32": 4, "bool": 1}
MAX_BYTES = 1 << 46  # more than any machine has; a size beyond it is a damaged file
STEPS = {
    # launch: profile -> variants [[guard or null, kernel, groups, [dims]]], buffers
    "launch": 3,
    # print: parts (text, ["dim", formula], ["value", n]), values [[buffer, dtype, shape]]
    "print": 3,
    # save: buffer, dtype, shape, path, name
    "save": 6,
    # save_model: model, path, dequantize
    "save_model": 4,
}


def evaluate(formula: Any, sizes: Mapping[str, int]) -> int:
    """The value of a formula: a number, a symbol, or `[op, left, right]` with `+ - * // %`.

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
                raise RunError("E0505", "a size is divided by zero")
            return a // b if op == "//" else a % b
    raise RunError("E0501", f"{formula!r} is not a size")


def size(formula: Any, sizes: Mapping[str, int]) -> int:
    """A formula whose value must be a possible size. Raises RunError E0505."""
    value = evaluate(formula, sizes)
    if not 0 <= value <= MAX_BYTES:
        raise RunError("E0505", f"a size comes out as {value}")
    return value


def numel(shape: Any, sizes: Mapping[str, int]) -> int:
    """The number of elements of a shape of formulas."""
    total = 1
    for formula in shape:
        total *= size(formula, sizes)
    if total > MAX_BYTES:
        raise RunError("E0505", f"a tensor has {total} elements")
    return total


# ---- shape of the manifest ----------------------------------------------------------------------

_FORMULA = ("formula",)
_SHAPE = [_FORMULA]
_TYPED = {"name": str, "dtype": str, "shape": _SHAPE}
_ENTRY = {
    "params": [_TYPED],
    "results": [{"buffer": str, "dtype": str, "shape": _SHAPE}],
    "symbols": [str],
    "checks": [[object]],
    "slots": [[_FORMULA]],
    "kept": [_FORMULA],
    "flags": [str],
    "once": [[object]],
    "steps": [[object]],
    "operations": int,
}
_MANIFEST = {
    "format": int,
    "tlc": str,
    "source": str,
    "macos": str,
    "members": ("map", str),
    "models": [{"path": str, "fingerprint": str}],
    "weights": [{"model": int, "tensor": str, "encoding": str, "stored": str, "shape": [int]}],
    "constants": [[int]],
    "hints": [str],
    "profiles": (
        "map",
        {"text": str, "kernels": [{"name": str, "threads": int, "bytes": int, "source": str}]},
    ),
    "entries": ("map", _ENTRY),
    "skipped": ("map", str),
}


def validate(manifest: dict[str, Any]) -> None:
    """Check that a manifest has every part this contract names. Raises RunError E0501."""
    _validate(manifest, _MANIFEST, "tlc.json", 0)
    for name, entry in manifest["entries"].items():
        for step in entry["once"] + entry["steps"]:
            if not step or STEPS.get(step[0]) != len(step):
                raise _damaged(f"entry {name} has an unknown step")
            if step[0] == "launch":
                _validate_launch(step, manifest, name)


def _validate(value: Any, schema: Any, where: str, depth: int) -> None:
    if schema == _FORMULA:
        _validate_formula(value, where, 0)
    elif isinstance(schema, tuple):
        if not isinstance(value, dict):
            raise _damaged(f"{where} is not a table")
        for key, item in value.items():
            _validate(item, schema[1], f"{where}.{key}", depth + 1)
    elif isinstance(schema, list):
        if not isinstance(value, list):
            raise _damaged(f"{where} is not a list")
        for item in value:
            _validate(item, schema[0], where, depth + 1)
    elif isinstance(schema, dict):
        if not isinstance(value, dict) or not schema.keys() <= value.keys():
            raise _damaged(f"{where} lacks a part")
        for key, inner in schema.items():
            _validate(value[key], inner, f"{where}.{key}", depth + 1)
    elif not isinstance(value, schema) or (schema is int and isinstance(value, bool)):
        raise _damaged(f"{where} has the wrong type")
    elif schema is int and not 0 <= value <= MAX_BYTES:
        raise _damaged(f"{where} is out of range")


def _validate_formula(value: Any, where: str, depth: int) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole or isinstance(value, str):
        return
    if not isinstance(value, list) or len(value) != 3 or depth > 64:
        raise _damaged(f"{where} holds no size")
    if value[0] not in ("+", "-", "*", "//", "%"):
        raise _damaged(f"{where} holds no size")
    for part in value[1:]:
        _validate_formula(part, where, depth + 1)


def _validate_launch(step: list[Any], manifest: dict[str, Any], entry: str) -> None:
    _, variants, buffers = step
    if not isinstance(variants, dict) or not isinstance(buffers, list):
        raise _damaged(f"entry {entry} has a malformed launch")
    for profile, choices in variants.items():
        kernels = manifest["profiles"].get(profile, {}).get("kernels", [])
        if not isinstance(choices, list) or not choices:
            raise _damaged(f"entry {entry} has a launch without a kernel")
        for choice in choices:
            if not isinstance(choice, list) or len(choice) != 4:
                raise _damaged(f"entry {entry} has a malformed launch")
            guard, kernel, groups, dims = choice
            if not isinstance(kernel, int) or not 0 <= kernel < len(kernels):
                raise _damaged(f"entry {entry} launches an unknown kernel")
            if not isinstance(dims, list) or not (
                guard is None or (isinstance(guard, list) and len(guard) == 2)
            ):
                raise _damaged(f"entry {entry} has a malformed launch")
            for formula in [groups, *dims, *(guard or [])]:
                _validate_formula(formula, f"entry {entry}", 0)
    if not all(isinstance(b, str) and b[:1] in "pwcskf" and b[1:].isdigit() for b in buffers):
        raise _damaged(f"entry {entry} names unknown memory")


def _damaged(what: str) -> RunError:
    return RunError("E0501", f"the artifact is damaged: {what}", "build it again from its source")
