"""The artifact container: a Metal library from the front, a ZIP archive from the back.

`zipfile` and a restatement of what MetalLibraryArchive checks say that the file is both.
"""

import hashlib
import io
import json
import os
import stat
import struct
import zipfile
import zlib
from contextlib import suppress

import pytest

from tlc.codegen import metallib
from tlc.codegen.metallib import member_digests, pack, write_artifact
from tlc.runtime import artifact
from tlc.runtime.artifact import read_artifact
from tlc.runtime.errors import RunError
from tlc.runtime.format import FORMAT_VERSION

KERNELS = b"kernel void f() {}\n" * 20
WEIGHTS = bytes(range(256)) * 100


def parts(manifest=None, **more):
    """The members of a small artifact; `manifest` replaces fields of its manifest."""
    members = {"kernels.metal": KERNELS, "weights/w": WEIGHTS, **more}
    fields = {"format": FORMAT_VERSION, "tlc": "0.1.0", "members": member_digests(members)}
    return {"tlc.json": json.dumps({**fields, **(manifest or {})}).encode(), **members}


def written(tmp_path, content):
    path = tmp_path / "model.metallib"
    path.write_bytes(content)
    return path


def refused(tmp_path, content, reason, code="E0501"):
    with pytest.raises(RunError, match=reason) as caught:
        read_artifact(written(tmp_path, content))
    assert caught.value.code == code


def resized(content):
    """The bytes with the size in the library's header set right."""
    return content[:16] + struct.pack("<Q", len(content)) + content[24:]


# Writing


def sections(content):
    """What MetalLibraryArchive (Archive.swift) demands of a library; gives its extension tags."""
    assert content[:4] == b"MTLB"
    assert struct.unpack_from("<H", content, 4)[0] == 0x8001
    assert content[10] in (0, 1, 2, 3)
    assert 0x81 <= content[11] <= 0x89
    size, functions, length, *rest = struct.unpack_from("<9Q", content, 16)
    assert size == len(content)
    assert functions + length < size
    assert struct.unpack_from("<I", content, functions)[0] == 0  # no functions
    for offset, length in zip(rest[::2], rest[1::2], strict=True):
        assert offset + length <= size
    at, tags = functions + 4, {}
    while (name := content[at : at + 4]) != b"ENDT":
        length = struct.unpack_from("<H", content, at + 4)[0]
        tags[name] = content[at + 6 : at + 6 + length]
        at += 6 + length
    assert at + 4 == rest[0]  # the public metadata begins where the tags end
    return tags


def test_an_artifact_is_a_metal_library():
    content = pack(parts(), os_version=(15, 2))
    assert len(sections(content)[b"UUID"]) == 16
    assert struct.unpack_from("<HHHBBHBB", content, 4) == (0x8001, 2, 8, 0, 0x81, 15, 2, 0)


@pytest.mark.parametrize(("major", "revision"), [(13, 7), (14, 7), (15, 8), (26, 9)])
def test_the_revision_is_that_of_the_system(major, revision):
    assert struct.unpack_from("<H", pack({}, os_version=(major, 0)), 8)[0] == revision


def test_an_artifact_is_a_zip_archive():
    members = parts()
    with zipfile.ZipFile(io.BytesIO(pack(members))) as found:
        assert found.testzip() is None
        assert found.namelist() == list(members)
        assert {name: found.read(name) for name in members} == members
        for info in found.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert stat.S_IMODE(info.external_attr >> 16) == 0o644


def test_weights_are_stored_on_pages():
    members = {"weights/a": b"x" * 5, "b": b"y" * 5, "weights/ü": b"z" * 40_000, "weights/c": b""}
    content = pack(members)
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        for info in found.infolist():
            if info.filename.startswith("weights/"):
                name, extra = struct.unpack_from("<HH", content, info.header_offset + 26)
                at = info.header_offset + 30 + name + extra
                assert at % 16384 == 0
                assert content[at : at + info.file_size] == members[info.filename]
                assert info.extra == b""  # the padding is not in the directory as well


def test_the_bytes_depend_on_the_members_alone():
    assert pack(parts()) == pack(parts())
    assert pack({"a": b"1", "b": b"2"}) != pack({"b": b"2", "a": b"1"})


def test_a_file_has_the_bytes_of_pack_and_the_mode_of_the_umask(tmp_path):
    path = tmp_path / "model.metallib"
    old = os.umask(0o027)
    try:
        write_artifact(path, parts())
    finally:
        os.umask(old)
    assert path.read_bytes() == pack(parts())
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["model.metallib"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = written(tmp_path, b"old")

    def fail(archive, file, name, data):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(metallib, "_add", fail)
    with pytest.raises(OSError, match="No space"):
        write_artifact(path, parts())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.metallib"]


def test_a_missing_folder_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_artifact(tmp_path / "no" / "model.metallib", parts())


def test_more_members_than_are_read_are_refused():
    with pytest.raises(ValueError, match="at most 64 members"):
        pack({str(number): b"" for number in range(65)})


# More than 32 bits can count


@pytest.mark.parametrize("limit", [10, 1000, 20_000, 30_000, 60_000])
def test_an_archive_of_zip64_is_read_as_any_other(tmp_path, monkeypatch, limit):
    """`zipfile` is made to think that sizes and places above the limit do not fit."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
    members = parts(**{"weights/x": b"x" * 700})
    content = pack(members)
    found = read_artifact(written(tmp_path, content))
    assert found.names == tuple(members)
    for name, data in members.items():
        assert bytes(found.member(name)) == data
        assert not name.startswith("weights/") or found._found(name).at % 16384 == 0
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None


class Zeros:
    """More zeros than memory holds: `piece` over and over."""

    piece = bytes(1 << 26)
    nbytes = 80 * len(piece)  # 5 GiB

    def pieces(self):
        yield from [self.piece] * 80


class WithHoles(io.FileIO):
    """A file in which those zeros are holes, which take no room on a disk."""

    def write(self, data):
        return super().write(data) if data is not Zeros.piece else self.seek(len(data), 1)


def test_weights_of_5_gib_are_mapped_and_those_behind_them_are_read(tmp_path, monkeypatch):
    def crc32(data, start=0):  # a sum over 5 GiB takes seconds
        return zlib.crc32(data, start) if data is not Zeros.piece else start

    path = tmp_path / "model.metallib"
    members = parts(**{"weights/x": b"x" * 700})
    manifest = json.loads(members.pop("tlc.json"))
    manifest["members"]["weights/large"] = ""
    members = {
        "tlc.json": json.dumps(manifest).encode(), "weights/large": Zeros(), **members,
    }  # fmt: skip
    with monkeypatch.context() as patch, WithHoles(path, "w+") as file:
        patch.setattr(zipfile, "crc32", crc32)
        metallib._write(file, members, metallib._empty_library((14, 0)))
    assert path.stat().st_blocks * 512 < 1 << 20

    found = read_artifact(path)
    assert found.names == tuple(members)
    large = found.mapped("weights/large")
    assert len(large) == Zeros.nbytes
    assert large[-1] == 0
    assert bytes(found.member("weights/x")) == b"x" * 700
    assert found._found("weights/x").start > 1 << 32
    with zipfile.ZipFile(path) as archive:
        assert [info.file_size for info in archive.infolist()[1:2]] == [Zeros.nbytes]
        assert archive.read("weights/x") == b"x" * 700


# Reading


def test_an_artifact_is_read_as_it_was_written(tmp_path):
    members = parts(**{"program.tlir": "x ⊗ y".encode()})
    found = read_artifact(written(tmp_path, pack(members)))
    assert found.manifest == json.loads(members["tlc.json"])
    assert found.names == tuple(members)
    for name, data in members.items():
        assert bytes(found.member(name)) == data
    assert found.text("program.tlir") == "x ⊗ y"


def test_a_large_member_that_shrinks_like_a_bomb_can_be_read_too(tmp_path):
    members = parts(zeros=b"0, " * 1_000_000)
    assert read_artifact(written(tmp_path, pack(members))).member("zeros") == members["zeros"]


def test_weights_are_views_of_the_file_that_outlive_the_artifact(tmp_path):
    found = read_artifact(written(tmp_path, pack(parts())))
    view = found.member("weights/w")
    assert isinstance(view, memoryview)
    assert view.readonly
    found.close()
    assert bytes(view) == WEIGHTS


def test_a_wrong_member_name_is_an_error(tmp_path):
    found = read_artifact(written(tmp_path, pack(parts())))
    with pytest.raises(RunError, match=r"E0501.*no member 'x'"):
        found.member("x")


def test_text_must_be_utf_8(tmp_path):
    found = read_artifact(written(tmp_path, pack(parts(note=b"\xff"))))
    with pytest.raises(RunError, match=r"E0501.*'note' is not UTF-8"):
        found.text("note")


def test_damaged_weights_are_found_when_they_are_asked_for(tmp_path):
    content = pack(parts()).replace(WEIGHTS[:256], bytes(256), 1)
    found = read_artifact(written(tmp_path, content))
    assert bytes(found.mapped("weights/w")[:300]) == bytes(256) + WEIGHTS[:44]
    with pytest.raises(RunError, match=r"E0501.*'weights/w' is damaged"):
        found.member("weights/w")


def test_every_truncation_is_refused(tmp_path):
    content = pack(parts())
    for size in [*range(1, 800), *range(len(content) - 400, len(content))]:
        refused(tmp_path, content[:size], "Metal library|not a tlc artifact")
        if size > 118:
            refused(tmp_path, resized(content[:size]), "Metal library|not a tlc artifact")


def test_no_changed_byte_changes_what_is_read(tmp_path):
    members = parts(**{"weights/w": b"abc"})
    content = pack(members)
    padding = content.index(b"tl", 200) + 2  # the filler before the weights means nothing
    for at in [*range(padding), *range(content.index(b"abc"), len(content))]:
        changed = bytearray(content)
        changed[at] ^= 0x41
        found = members
        with suppress(RunError):
            opened = read_artifact(written(tmp_path, bytes(changed)))
            found = {name: bytes(opened.member(name)) for name in opened.names}
        assert found == members, at


# Refusing: not an artifact


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"let x = 1\n", "this is not a Metal library"),
        (b"PK\x03\x04", "this is not a Metal library"),
        (b"MTLB", "it has 4 bytes"),
        (pack({})[:118], "it should have 140 bytes and has 118"),
        (pack(parts()) + b"\0", "bytes and has"),
        (resized(pack({})[:118]), "a Metal library, but not one that tlc wrote"),
        (resized(pack({})[:118] + bytes(1000)), "a Metal library, but not one that tlc wrote"),
        (pack({}), "it has no member 'tlc.json'"),
        (pack({"kernels.metal": b""}), "it has no member 'tlc.json'"),
    ],
    ids=["source", "zip", "start", "cut", "longer", "apple", "apple+", "empty", "no-manifest"],
)
def test_other_files_are_no_artifacts(tmp_path, content, reason):
    refused(tmp_path, content, reason)


def test_missing_files_folders_and_empty_files_are_no_artifacts(tmp_path):
    with pytest.raises(RunError, match=r"E0501.*there is no such file"):
        read_artifact(tmp_path / "no.metallib")
    with pytest.raises(RunError, match=r"E0501.*this is a folder"):
        read_artifact(tmp_path)
    refused(tmp_path, b"", "the file is empty")


def test_a_program_is_to_be_built_first(tmp_path):
    (tmp_path / "model.tl").write_text("print(1)")
    with pytest.raises(RunError) as caught:
        read_artifact(tmp_path / "model.tl")
    assert caught.value.hint == "build it with `tlc build`"


# Refusing: the manifest


def test_a_newer_format_names_the_version_that_wrote_it(tmp_path):
    content = pack(parts({"format": FORMAT_VERSION + 1, "tlc": "9.1"}))
    refused(tmp_path, content, "tlc 9.1 wrote this artifact in format 2", "E0502")


def test_a_newer_format_is_reported_even_if_its_manifest_is_of_another_shape(tmp_path):
    fields = json.dumps({"format": 7, "tlc": "\x1b[2J"}).encode()
    refused(tmp_path, pack({"tlc.json": fields}), "tlc of an unknown version wrote", "E0502")


DIGEST = hashlib.sha256(KERNELS).hexdigest()

MANIFESTS = {
    "no JSON": (b"{", "its JSON is broken"),
    "no UTF-8": (b'{"\xff": 1}', "not UTF-8"),
    "NaN": (b'{"format": NaN}', "NaN, which is no JSON value"),
    "infinity": (b'{"format": -Infinity}', "-Infinity, which is no JSON value"),
    "a key twice": (b'{"a": {"format": 1, "format": 1}}', "the key 'format' twice"),
    "deep lists": (b"[" * 100_000, "nested too deep"),
    "deep objects": (b'{"a":' * 100_000, "nested too deep"),
    "half a pair": (b'{"a": ["\\udc00"]}', "half of a surrogate pair"),
    "a long number": (b'{"format": ' + b"1" * 10_000 + b"}", "digits|format version"),
    "a list": (b"[]", "it is no JSON object"),
    "no format": (b"{}", "it gives no format version"),
    "format true": (b'{"format": true}', "it gives no format version"),
    "format 0": (b'{"format": 0}', "it gives no format version"),
    "format 1.0": (b'{"format": 1.0}', "it gives no format version"),
    "no members": (b'{"format": 1}', "it lists no members"),
    "members in a list": (b'{"format": 1, "members": []}', "it lists no members"),
    "digest of null": (b'{"format": 1, "members": {"a": null}}', "it lists no members"),
    "nothing listed": (b'{"format": 1, "members": {}}', "'kernels.metal' is not listed"),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_broken_manifest_is_refused(tmp_path, case):
    manifest, reason = MANIFESTS[case]
    refused(tmp_path, pack({"tlc.json": manifest, "kernels.metal": KERNELS}), reason)


def test_the_members_must_be_those_of_the_manifest(tmp_path):
    members = parts({"members": {"kernels.metal": DIGEST, "weights/w": DIGEST, "gone": DIGEST}})
    refused(tmp_path, pack(members), "its member 'gone' is missing")
    members = parts({"members": {"kernels.metal": DIGEST.upper(), "weights/w": DIGEST}})
    refused(tmp_path, pack(members), r"'kernels.metal' is damaged \(SHA-256\)")


def test_a_huge_manifest_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(artifact, "LONGEST_MANIFEST", 100)
    refused(tmp_path, pack({"tlc.json": b" " * 101}), "its tlc.json has 101 bytes")
