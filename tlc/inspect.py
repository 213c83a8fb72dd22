"""`tlc inspect`: what an artifact, a model or any Metal library holds, as text or as JSON."""

from __future__ import annotations

import json
import os
from typing import Any

from tlc.api import _size
from tlc.runtime.artifact import read_artifact
from tlc.runtime.errors import RunError
from tlc.runtime.format import all_steps, regions
from tlc.runtime.metal_library import read_library
from tlc.runtime.schema import validate
from tlc.runtime.steps import MOST_CALLS


def inspect(
    path: str,
    *,
    as_json: bool = False,
    kernel: str | None = None,
    sizes: list[str] | None = None,
) -> str:
    """A description of an artifact, a model or any Metal library; or the text of a kernel, or the
    report of an artifact for `sizes`, each NAME=N.

    Raises RunError E0501, E0502, E0503 for an unknown kernel, and E0601 for a bad model file.
    """
    whole = kernel is None and sizes is None
    if whole and not _is_artifact(path):
        from tlc.inspect_model import inspect_model

        return inspect_model(path, as_json=as_json)
    if whole:
        from tlc.inspect_library import inspect_library, is_foreign

        if is_foreign(path):
            return inspect_library(path, as_json=as_json)
    artifact = read_artifact(path)
    manifest: dict[str, Any] = artifact.manifest
    validate(manifest)
    if kernel is not None:
        return _kernel(artifact, manifest, kernel)
    if sizes is not None:
        from tlc.report import report

        return report(manifest, sizes)
    if as_json:
        return json.dumps(manifest, indent=2, sort_keys=True)
    return "\n".join(_lines(path, artifact, manifest))


def _is_artifact(path: str) -> bool:
    """Told from the first bytes; from the name when there is nothing to read."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"MTLB"
    except (OSError, ValueError):
        return path.endswith(".metallib")


def _kernel(artifact: Any, manifest: dict[str, Any], name: str) -> str:
    """The text of a kernel in every profile that has it, with the comment above it."""
    found = []
    names = []
    for profile, record in manifest["profiles"].items():
        names += [k["name"] for k in record["kernels"]]
        if name in names:
            text = artifact.text(record["text"])
            found.append(f"// ---- {profile} ----\n{kernel_text(text, name)}")
    if not found:
        raise RunError(
            "E0503", f"no kernel is called `{name}`", f"there are {', '.join(dict.fromkeys(names))}"
        )
    return "\n\n".join(found)


def kernel_text(text: str, name: str) -> str:
    """From the comment above a kernel to its closing brace at the start of a line."""
    at = text.index(f"kernel void {name}(")
    start = text.rfind("\n\n", 0, at) + 2
    end = text.index("\n}", at) + 2
    return text[start:end]


def _lines(path: str, artifact: Any, manifest: dict[str, Any]) -> list[str]:
    lines = [
        f"{os.path.basename(path)}: {manifest['source']}, built by tlc {manifest['tlc']},"
        f" {os.path.getsize(path):,} bytes",
        f"needs macOS {manifest['macos']} on a Mac; {_compiled(artifact)}",
    ]
    if manifest["store"] == "f32":
        lines.append("computed float16 values are stored as float32 (--store f32)")
    lines += ["", "entries"]
    for name, entry in manifest["entries"].items():
        lines += entry_lines(name, entry)
    for name, reason in manifest["skipped"].items():
        lines.append(f"  {name}: no entry, because {reason}")
    for profile, record in manifest["profiles"].items():
        lines += ["", f"kernels of the {profile} profile"]
        for k in record["kernels"]:
            memory = f", {k['bytes']:,} bytes of threadgroup memory" if k["bytes"] else ""
            threads = "1 thread" if k["threads"] == 1 else f"{k['threads']} threads"
            lines.append(f"  {k['name']:24} {k['source']}  ({threads}{memory})")
    if manifest["models"]:
        kind = "not needed: their weights are embedded" if manifest["embedded"] else "by reference"
        lines += ["", f"models ({kind})"]
        for m in manifest["models"]:
            size = sum(part["size"] for part in m["files"])
            lines.append(f"  {m['path']}  {m['fingerprint'][:16]}  {size:,} bytes")
    if manifest["weights"]:
        lines += ["", "weights" + (", each with its hash" if manifest["hashes"] else "")]
        for w in manifest["weights"]:
            kept = (
                w["encoding"]
                if w["stored"] == w["encoding"]
                else f"{w['encoding']} as {w['stored']}"
            )
            lines.append(f"  {w['tensor']:40} {w['shape']}  {kept}")
    lines += ["", "members"]
    lines += [f"  {name:20} {len(artifact.member(name)):>9,} bytes" for name in artifact.names]
    return lines


def _compiled(artifact: Any) -> str:
    """What the Metal library in front holds."""
    data = artifact.compiled()
    if data is None:
        return "the Metal library part has no compiled functions, the kernels are MSL source"
    functions = read_library(memoryview(data)).functions
    air = "{}.{}".format(*functions[0].air)
    count = f"{len(functions)} function{'' if len(functions) == 1 else 's'}"
    return f"the Metal library part has {count} that Apple's compiler made (AIR {air})"


def entry_lines(name: str, entry: dict[str, Any]) -> list[str]:
    """The signature of an entry, its launches, memory and checks."""

    def type(record: dict[str, Any]) -> str:
        return f"{record['dtype']}[{', '.join(map(_size, record['shape']))}]"

    params = ", ".join(f"{p['name']}: {type(p)}" for p in entry["params"])
    results = ", ".join(map(type, entry["results"]))
    once = len(entry["once"])
    lines = [
        f"  {name}({params})" + (f" -> {results}" if results else ""),
        f"    {_launches(entry['operations'], entry['steps'])}"
        + (f", and {once} at the first call only" if once else ""),
    ]
    functions = [s[1].partition("$")[0] for s in all_steps(entry["steps"]) if s[0] == "function"]
    if functions:
        deep = f"at most {MOST_CALLS:,} calls deep"
        lines.append(f"    recursions that run time ends: {', '.join(functions)} ({deep})")
    if entry["slots"]:
        lines.append(f"    arena: {_arena(entry['slots'])}")
    lines += [f"    checks at run time: {check[2]} ({check[3]})" for check in entry["checks"]]
    return lines


def _launches(operations: int, steps: list[Any]) -> str:
    """How many launches the operations of an entry became; those in a loop are counted apart."""
    here, inside = _counted(steps, inside=False)
    text = f"{operations} operations in {here} launch{'es' if here != 1 else ''}"
    again = any(step[0] == "function" for step in all_steps(steps))
    where = "loops and recursions" if again else "loops"
    return f"{text} and {inside} inside {where}" if inside else text


def _counted(steps: list[Any], inside: bool) -> tuple[int, int]:
    here = within = 0
    for step in steps:
        if step[0] == "launch":
            here, within = here + (not inside), within + inside
        for branch in regions(step):
            found = _counted(branch, inside or step[0] in ("loop", "function"))
            here, within = here + found[0], within + found[1]
    return here, within


def _arena(slots: list[list[Any]]) -> str:
    """The memory of an entry: a number where it is one, else the formulas of its slots."""
    if all(isinstance(size, int) for slot in slots for size in slot):
        return f"{sum(max(slot) for slot in slots):,} bytes in {_slots(slots)}"
    shown = [" or ".join(dict.fromkeys(map(_size, slot))) for slot in slots]
    return f"{_slots(slots)} of {'; '.join(shown)} bytes"


def _slots(slots: list[list[Any]]) -> str:
    return f"{len(slots)} slot{'s' if len(slots) != 1 else ''}"
