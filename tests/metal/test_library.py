"""Metal libraries that tlc did not write: what is read of them, and what is refused."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.metal.library_writer import write_library
from tlc import driver
from tlc.cli import run
from tlc.codegen.metallib import pack
from tlc.runtime.metal_library import LibraryError, alone, problems, read_library

FUNCTIONS = {"add": b"BC add", "shade": b"BC shade", "again": b"BC add"}


def test_functions_and_what_is_declared_of_them() -> None:
    data = write_library(FUNCTIONS, kinds={"shade": 1}, system=(15, 2), sources=b"BZh9")
    library = read_library(memoryview(data))
    assert (library.kind, library.platform, library.system) == ("executable", "macOS", (15, 2, 0))
    assert [(f.name, f.kind, f.air, f.msl) for f in library.functions] == [
        ("add", "kernel", (2, 6), (2, 3)),
        ("shade", "fragment", (2, 6), (2, 3)),
        ("again", "kernel", (2, 6), (2, 3)),
    ]
    assert bytes(library.functions[1].bitcode[20:28]) == b"BC shade"
    assert sorted(library.tags) == ["HSRC", "UUID"]
    assert problems(library) == []


def test_a_library_before_something_was_put_behind_it() -> None:
    for data in (write_library({}), write_library(FUNCTIONS, sources=b"BZh9")):
        longer = bytearray(data + b"an archive")
        struct.pack_into("<Q", longer, 16, len(longer))
        library = read_library(memoryview(longer))
        assert (library.end, alone(library)) == (len(data), data)


def test_what_an_artifact_begins_with() -> None:
    library = read_library(memoryview(pack({"a": b"b"}, os_version=(26, 0))))
    assert (library.functions, library.system, library.revision) == ([], (26, 0, 0), 9)
    assert len(alone(library)) == 118


def changed(data: bytes, what: bytes, to: bytes) -> memoryview:
    at = data.index(what)
    return memoryview(data[:at] + to + data[at + len(to) :])


def test_contents_that_do_not_fit_their_hash() -> None:
    data = write_library(FUNCTIONS)
    found = problems(read_library(changed(data, b"BC shade", b"BC shady")))
    assert found == ["shade: the hash is not that of its bitcode"]


@pytest.mark.parametrize(
    ("what", "to", "message"),
    [
        (b"MTLB", b"MTLC", "does not begin as a Metal library"),
        (struct.pack("<Q", 88), struct.pack("<Q", 1 << 40), "its functions end beyond the file"),
        (b"NAME", b"NOME", "function 0 has no NAME"),
        (b"ENDT", b"\0\0\0\0", "there is no tag at byte"),
        (b"OFFT\x18\0", b"OFFT\x17\0", "there is no tag at byte|it is damaged"),
        (b"NAME\4\0", b"NAME\xff\xff", "ends beyond the file"),
        (b"MDSZ\x08\0", b"MDSZ\x08\0" + b"\xff" * 8, "bitcode of function 0 ends beyond"),
    ],
)
def test_damaged_libraries(what: bytes, to: bytes, message: str) -> None:
    with pytest.raises(LibraryError, match=message):
        read_library(changed(write_library(FUNCTIONS), what, to))


def test_functions_that_share_what_is_read_take_no_longer_for_it() -> None:
    data = bytearray(write_library({f"f{n}": bytes(400_000) for n in range(2)}))
    end = len(data)
    offsets = [at for at in range(end) if data[at : at + 4] == b"OFFT"]
    shared = bytes(data)
    for at in offsets:
        struct.pack_into("<Q", data, at + 6 + 16, 0)
    assert {f.at for f in read_library(memoryview(data)).functions} == {end - 2 * 400_032}
    data = bytearray(shared)
    struct.pack_into("<Q", data, offsets[1] + 6 + 16, 16)
    with pytest.raises(LibraryError, match="the bitcode of f0 and f1 overlaps"):
        read_library(memoryview(data))


def test_metadata_of_many_functions_is_read_once() -> None:
    names = [f"f{n}" for n in range(3000)]
    data = bytearray(write_library(dict.fromkeys(names, b"")))
    public, size = struct.unpack_from("<2Q", data, 40)
    tags = (b"TAGS" + bytes(2)) * 20_000 + b"ENDT"
    head = bytearray(data[:88])
    for at in (40 + 16, 40 + 32):  # what is behind moves
        struct.pack_into("<Q", head, at, struct.unpack_from("<Q", head, at)[0] + len(tags))
    struct.pack_into("<Q", head, 48, size + len(tags))
    struct.pack_into("<Q", head, 16, len(data) + len(tags))
    body = bytearray(data[88:public] + bytes(4) + tags + data[public + 4 :])
    for at in range(len(body)):
        if body[at : at + 4] == b"OFFT":
            struct.pack_into("<Q", body, at + 6, 0)
    assert len(read_library(memoryview(bytes(head + body))).functions) == len(names)


def test_every_cut_is_noticed() -> None:
    data = write_library(FUNCTIONS)
    for length in range(len(data)):
        with pytest.raises(LibraryError):
            read_library(memoryview(data[:length]))


@given(st.data())
def test_no_bytes_do_harm(data: st.DataObject) -> None:
    library = bytearray(write_library(FUNCTIONS, sources=b"BZh9"))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(24, len(library) - 1))
        library[at] = data.draw(st.integers(0, 255))
    with suppress(LibraryError):
        problems(read_library(memoryview(library)))


def test_inspect_lists_its_functions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.metallib"
    path.write_bytes(write_library(FUNCTIONS | {"\x1b[2J": b"BC"}, kinds={"shade": 1}))
    assert run(["inspect", str(path)]) == 0
    assert capsys.readouterr().out == (
        f"other.metallib: a Metal library that tlc did not write, {path.stat().st_size:,} bytes\n"
        "executable, for macOS 14.0 or newer, 4 functions\n"
        "\n"
        "functions\n"
        "  add        kernel        AIR 2.6, MSL 2.3         32 bytes\n"
        "  shade      fragment      AIR 2.6, MSL 2.3         32 bytes\n"
        "  again      kernel        AIR 2.6, MSL 2.3         32 bytes\n"
        "  '\\x1b[2J'  kernel        AIR 2.6, MSL 2.3         32 bytes\n"
    )
    assert run(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["functions"][1] == {
        **{"name": "shade", "type": "fragment", "air": "2.6", "msl": "2.3", "bytes": 32},
        "sha256": found["functions"][1]["sha256"],
    }
    assert (found["platform"], found["system"], found["problems"]) == ("macOS", "14.0", [])


def test_inspect_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.metallib"
    data = write_library(FUNCTIONS)
    path.write_bytes(changed(data, b"BC shade", b"BC shady"))
    assert run(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    assert "\nproblems\n  shade: the hash is not that of its bitcode\n" in said
    path.write_bytes(data[:-1])
    assert run(["inspect", str(path)]) == 1
    assert "E0501" in (error := capsys.readouterr().err)
    assert f"it should have {len(data)} bytes and has {len(data) - 1}" in error


def test_an_artifact_is_still_inspected_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "m.metallib")
    driver.write(driver.build("m.tl", text="print(1)\n"), path)
    assert run(["inspect", path]) == 0
    assert "built by tlc" in capsys.readouterr().out
    assert run(["run", path, "--device", "cpu"]) == 0
