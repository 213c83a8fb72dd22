"""`tlc diff`: what differs between two artifacts, or between two Metal libraries of any origin.

Each file is described line by line, in sections; what the other file has too is left out.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import Any

from tlc.inspect import entry_lines, kernel_text
from tlc.inspect_library import is_foreign, library_record, printable
from tlc.runtime.artifact import Artifact, read_artifact
from tlc.runtime.errors import RunError
from tlc.runtime.mapped_file import map_file
from tlc.runtime.schema import validate

# title -> lines; a line is what is compared and what is shown
Sections = dict[str, list[tuple[Any, str]]]


def diff(first: str, second: str) -> str:
    """What is in one file alone, `-` the first and `+` the second; an empty text when nothing is.

    Raises RunError E0501 for a damaged file, and for an artifact beside another library.
    """
    foreign = [is_foreign(path) for path in (first, second)]
    if foreign[0] != foreign[1]:
        other = (first, second)[foreign.index(True)]
        library_record(other)
        raise RunError("E0501", f"{other}: this is a Metal library, but not one that tlc wrote")
    describe = _library if foreign[0] else _artifact
    a, b = describe(first), describe(second)
    shown = []
    for title in dict.fromkeys((*a, *b)):
        lines = _apart(a.get(title, []), b.get(title, []))
        if lines:
            shown.append("\n".join([title, *lines]))
    return "\n\n".join(shown)


def _apart(first: list[tuple[Any, str]], second: list[tuple[Any, str]]) -> list[str]:
    """The lines that are in one list alone, as often as they are."""
    lines = []
    for sign, ours, theirs in (("-", first, second), ("+", second, first)):
        left = Counter(key for key, _ in theirs)
        for key, line in ours:
            if left[key]:
                left[key] -= 1
            else:
                lines.append(f"{sign} {printable(line)}")
    return lines


def _plain(lines: list[str]) -> list[tuple[Any, str]]:
    return [(line, line) for line in lines]


def _artifact(path: str) -> Sections:
    artifact = read_artifact(path)
    m: dict[str, Any] = artifact.manifest
    validate(m)
    compiled = artifact.compiled()
    sections: Sections = {
        "file": _plain(
            [
                f"{m['source']}, built by tlc {m['tlc']} for macOS {m['macos']},"
                f" computed values as {m['store']}",
                _bytes(path),
            ]
        ),
        "compiled kernels": [] if compiled is None else [(compiled, f"{len(compiled):,} bytes")],
        "entries": _plain([_entry(name, entry) for name, entry in m["entries"].items()]),
    }
    for profile in m["profiles"]:
        sections[f"kernels of the {profile} profile"] = _kernels(artifact, profile)
    sections["models"] = _plain([f"{x['path']}  {x['fingerprint'][:16]}" for x in m["models"]])
    hashes = m["hashes"] or [""] * len(m["weights"])
    sections["weights"] = _plain(
        [
            f"{w['tensor']}  {w['shape']}  {w['encoding']} as {w['stored']}  {digest[:16]}".rstrip()
            for w, digest in zip(m["weights"], hashes, strict=True)
        ]
    )
    sections["program.tlir"] = [
        (line.rpartition("  // ")[0] or line, line)  # without the place in the program
        for line in artifact.text("program.tlir").splitlines()
    ]
    sections["other members"] = [
        ((name, digest), f"{name}  {len(artifact.mapped(name)):,} bytes")
        for name, digest in m["members"].items()
        if not name.endswith((".metal", ".tlir"))
    ]
    return sections


def _bytes(path: str) -> str:
    """The size of a file, and what tells it from all others."""
    data = map_file(path, "E0501")
    return f"{len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()[:16]}"


def _entry(name: str, entry: dict[str, Any]) -> str:
    """The signature of an entry and what is said of it, in one line."""
    return "; ".join(part.strip() for part in entry_lines(name, entry))


def _kernels(artifact: Artifact, profile: str) -> list[tuple[Any, str]]:
    """Kernels by their text: names and comments, which have places, count for nothing."""
    record: Any = artifact.manifest["profiles"]
    text = artifact.text(record[profile]["text"])
    found: list[tuple[Any, str]] = []
    for kernel in record[profile]["kernels"]:
        body = kernel_text(text, kernel["name"])
        body = body[body.index("kernel void") :].replace(kernel["name"], "")
        body = re.sub("//.*", "", body)
        line = f"{kernel['name']:24} {kernel['source']}"
        found.append(((kernel["threads"], body), line))
    return found


def _library(path: str) -> Sections:
    found = library_record(path)
    functions = [
        (
            tuple(f.values()),
            f"{f['name']}  {f['type']}  AIR {f['air']}, MSL {f['msl']}"
            f"  {f['bytes']:,} bytes  {f['sha256'][:16]}",
        )
        for f in found["functions"]
    ]
    facts = f"{found['type']}, for {found['platform']} {found['system']}"
    return {"file": _plain([facts, _bytes(path)]), "functions": functions}
