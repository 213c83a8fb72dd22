"""`tlc inspect` of a Metal library that tlc did not write: its functions, checked."""

from __future__ import annotations

import json
import os
from typing import Any

from tlc.runtime.errors import RunError
from tlc.runtime.mapped_file import map_file
from tlc.runtime.metal_library import LibraryError, problems, read_library
from tlc.runtime.zip_file import NoZipError, ZipError, members

WIDEST = 40  # characters of a name that others are lined up with


def is_foreign(path: str) -> bool:
    """Whether there is a Metal library with no archive behind it."""
    try:
        members(memoryview(map_file(path, "E0501")))
    except NoZipError:
        return True
    except (ZipError, RunError):
        return False
    return False


def inspect_library(path: str, *, as_json: bool = False) -> str:
    """A description of a Metal library. Raises RunError E0501 when it is damaged."""
    found = library_record(path)
    if as_json:
        return json.dumps(found, indent=2)
    return "\n".join(_lines(found))


def library_record(path: str) -> dict[str, Any]:
    """What a Metal library holds, as JSON. Raises RunError E0501 when it is damaged."""
    try:
        library = read_library(memoryview(map_file(path, "E0501")))
    except LibraryError as error:
        raise RunError("E0501", f"{path}: this is no whole Metal library: {error}") from None
    major, minor, patch = library.system
    return {
        "path": path,
        "bytes": len(library.data),
        "type": library.kind,
        "platform": library.platform,
        "system": f"{major}.{minor}" + (f".{patch}" if patch else ""),
        "functions": [
            {
                "name": function.name,
                "type": function.kind,
                "air": "{}.{}".format(*function.air),
                "msl": "{}.{}".format(*function.msl),
                "bytes": len(function.bitcode),
                "sha256": function.digest.hex(),
            }
            for function in library.functions
        ],
        "tags": sorted(library.tags),
        "problems": problems(library),
    }


def _lines(found: dict[str, Any]) -> list[str]:
    functions = found["functions"]
    count = f"{len(functions):,} function{'' if len(functions) == 1 else 's'}"
    lines = [
        f"{os.path.basename(found['path'])}: a Metal library that tlc did not write,"
        f" {found['bytes']:,} bytes",
        f"{found['type']}, for {found['platform']} {found['system']} or newer, {count}",
    ]
    if functions:
        names = [printable(function["name"]) for function in functions]
        width = min(max(map(len, names)), WIDEST)
        lines += ["", "functions"]
        for name, f in zip(names, functions, strict=True):
            versions = f"AIR {f['air']}, MSL {f['msl']}"
            lines.append(f"  {name:{width}}  {f['type']:12}  {versions} {f['bytes']:>10,} bytes")
    if found["problems"]:
        lines += ["", "problems", *(f"  {printable(text)}" for text in found["problems"])]
    return lines


def printable(text: str) -> str:
    """A name of the file's own, which must not steer the terminal."""
    return text if text.isprintable() else repr(text)
