"""Turns a `model.metallib` written by tlc into its manifest and its members, all verified.

The file is an `MTLB` Metal library from the front and a ZIP archive from the back
(`codegen/metallib.py` writes it). It may come from a stranger: whatever its bytes are, the worst
that happens is a RunError.
"""

from __future__ import annotations

import os
import struct

from tlc.runtime import strict_json, zip_file
from tlc.runtime.digests import sha256
from tlc.runtime.errors import RunError
from tlc.runtime.format import FORMAT_VERSION
from tlc.runtime.mapped_file import map_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from typing import Any

MANIFEST = "tlc.json"
WEIGHTS = "weights/"  # members of this folder are mapped and may be large
LONGEST_MANIFEST = 16 << 20

_HEADER_SIZE = 88  # of a Metal library: what comes before its first section


class Artifact:
    """An open artifact; `manifest` is the JSON object of its member `tlc.json`."""

    __slots__ = ("_digests", "_map", "_members", "_read", "manifest", "path")

    def __init__(
        self,
        path: str,
        mapping: mmap.mmap,
        members: dict[str, zip_file.Member],
        manifest: dict[str, object],
        digests: dict[str, str],
    ) -> None:
        self.path = path
        self.manifest = manifest
        self._map = mapping
        self._members = members
        self._digests = digests
        self._read: dict[str, bytes | memoryview] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all members, in the order of the archive."""
        return tuple(self._members)

    def member(self, name: str) -> bytes | memoryview:
        """The contents of a member; stored members are views of the file, without a copy.

        The first call reads all of it to compare its CRC and its SHA-256. Raises RunError E0501.
        """
        if name not in self._read:
            contents = _contents(self.path, self._map, self._found(name))
            if name != MANIFEST:
                _check_digest(self.path, name, contents, self._digests[name])
            self._read[name] = contents
        return self._read[name]

    def forget(self) -> None:
        """Drop the members that were inflated; who asks again gets them inflated again."""
        self._read = {}

    def mapped(self, name: str) -> bytes | memoryview:
        """A member that may be large: when it is stored, a view of the file that nothing has read.

        Raises RunError E0501.
        """
        found = self._found(name)
        if found.method == zip_file.STORED:
            return memoryview(self._map)[found.at : found.at + found.size]
        return self.member(name)

    def compiled(self) -> bytes | None:
        """The Metal library in front, as Apple's compiler wrote it; None when it has no functions.

        Raises RunError E0501 for one that is damaged.
        """
        from tlc.runtime.metal_library import LibraryError, alone, problems, read_library

        try:
            library = read_library(memoryview(self._map))
        except LibraryError as error:
            raise _damaged(self.path, str(error)) from None
        for problem in problems(library):
            raise _damaged(self.path, problem)
        return alone(library) if library.functions else None

    def _found(self, name: str) -> zip_file.Member:
        found = self._members.get(name)
        if found is None:
            raise _damaged(self.path, f"it has no member {name[:80]!r}")
        return found

    def text(self, name: str) -> str:
        """A member as text. Raises RunError E0501 when it is missing, damaged or not UTF-8."""
        try:
            return str(self.member(name), "utf-8")
        except UnicodeDecodeError:
            raise _damaged(self.path, f"its member {name!r} is not UTF-8 text") from None

    def close(self) -> None:
        """Let go of the file; the mapping itself lives as long as a view of it does."""
        self._read = {}
        try:
            self._map.close()
        except BufferError:
            return  # views are still out; the last of them closes it


def read_artifact(path: str) -> Artifact:
    """Open an artifact and verify all of it but the contents of its weights.

    Those are verified when they are first asked for. Raises RunError E0501 when the file is
    missing, damaged or not an artifact, and E0502 when it is of another format version; no other
    exception, whatever the bytes are. What the manifest means is not looked at here.
    """
    path = os.fspath(path)
    mapping = map_file(path, "E0501")
    _check_library(path, mapping)
    try:
        members = zip_file.members(memoryview(mapping))
    except zip_file.NoZipError:
        raise RunError(
            "E0501", f"{path}: this is a Metal library, but not one that tlc wrote"
        ) from None
    except zip_file.ZipError as error:
        raise _damaged(path, str(error)) from None
    manifest = _manifest(path, mapping, members)
    _check_version(path, manifest)
    digests = _digests(path, manifest, members)
    artifact = Artifact(path, mapping, members, manifest, digests)
    for name in digests:
        if not name.startswith(WEIGHTS):
            artifact.member(name)
    return artifact


def _damaged(path: str, reason: str) -> RunError:
    return RunError(
        "E0501",
        f"{path}: not a tlc artifact, or a damaged one: {reason}",
        "build it again with `tlc build`",
    )


def _check_library(path: str, mapping: mmap.mmap) -> None:
    if mapping[:4] != b"MTLB":
        hint = "build it with `tlc build`" if path.endswith(".tl") else ""
        if path.endswith((".safetensors", ".gguf", ".mlmodel")):
            hint = "it is a model: a program loads it with `load_model`, `tlc inspect` shows it"
        raise RunError("E0501", f"{path}: this is not a Metal library", hint)
    if len(mapping) < _HEADER_SIZE:
        raise _damaged(path, f"it has {len(mapping)} bytes, less than the header of a library")
    (size,) = struct.unpack_from("<Q", mapping, 16)
    if size != len(mapping):
        raise _damaged(path, f"it should have {size} bytes and has {len(mapping)}")


def _contents(path: str, mapping: mmap.mmap, member: zip_file.Member) -> bytes | memoryview:
    try:
        return zip_file.read(memoryview(mapping), member)
    except zip_file.ZipError as error:
        raise _damaged(path, str(error)) from None


def _manifest(
    path: str, mapping: mmap.mmap, members: dict[str, zip_file.Member]
) -> dict[str, object]:
    if MANIFEST not in members:
        raise _damaged(path, f"it has no member {MANIFEST!r}")
    member = members[MANIFEST]
    if member.size > LONGEST_MANIFEST:
        raise _damaged(path, f"its {MANIFEST} has {member.size} bytes")
    try:
        manifest = strict_json.parse(_contents(path, mapping, member))
    except ValueError as error:
        raise _damaged(path, f"{MANIFEST}: {error}") from None
    if not isinstance(manifest, dict):
        raise _damaged(path, f"{MANIFEST}: it is no JSON object")
    _share(manifest, {})
    return manifest


def _share(value: Any, kept: dict[str, str]) -> None:
    """Make equal texts in a value one object: formulas name few symbols thousands of times."""
    for key, item in value.items() if type(value) is dict else enumerate(value):
        if type(item) is str:
            value[key] = kept.setdefault(item, item)
        elif type(item) is dict or type(item) is list:
            _share(item, kept)


def _check_version(path: str, manifest: dict[str, object]) -> None:
    version = manifest.get("format")
    if type(version) is not int or version < 1:
        raise _damaged(path, f"{MANIFEST}: it gives no format version")
    if version == FORMAT_VERSION:
        return
    writer = manifest.get("tlc")
    known = isinstance(writer, str) and len(writer) <= 40 and writer.isprintable()
    raise RunError(
        "E0502",
        f"{path}: tlc {writer if known else 'of an unknown version'} wrote this artifact in format"
        f" {version:.20g}; this tlc reads format {FORMAT_VERSION}",
        "build it again from its source, or run it with the tlc that wrote it",
    )


def _digests(
    path: str, manifest: dict[str, object], members: dict[str, zip_file.Member]
) -> dict[str, str]:
    match manifest.get("members"):
        case dict(digests) if all(isinstance(digest, str) for digest in digests.values()):
            pass
        case _:
            raise _damaged(path, f"{MANIFEST}: it lists no members with their SHA-256")
    for name in sorted(digests.keys() ^ (members.keys() - {MANIFEST})):
        what = "is missing" if name in digests else "is not listed in its manifest"
        raise _damaged(path, f"its member {name[:80]!r} {what}")
    return digests


def _check_digest(path: str, name: str, contents: bytes | memoryview, digest: str) -> None:
    if sha256(contents) != digest:
        raise _damaged(path, f"its member {name!r} is damaged (SHA-256)")
