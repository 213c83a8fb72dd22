"""The ZIP reader against hostile archives, made by patching those that `zipfile` writes."""

import io
import struct
import tracemalloc
import zipfile
import zlib
from contextlib import suppress

import pytest

from tlc.runtime import zip_file
from tlc.runtime.zip_file import ZipError

LOCAL, CENTRAL, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"

# name -> (offset in the local header, in the central one, struct code)
FIELDS = {
    "flags": (6, 8, "H"),
    "method": (8, 10, "H"),
    "crc": (14, 16, "I"),
    "packed": (18, 20, "I"),
    "size": (22, 24, "I"),
    "name_length": (26, 28, "H"),
    "extra_length": (28, 30, "H"),
}


def archive(members, **options):
    """An archive that `zipfile` makes; `members` are (name, data)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as made:
        for name, data in members:
            made.writestr(name, data)
    return file.getvalue()


def patched(content, *headers, **fields):
    """Set fields in the first header of each of the given kinds."""
    made = bytearray(content)
    for header in headers:
        for name, value in fields.items():
            local, central, code = FIELDS[name]
            at = made.index(header) + (local if header == LOCAL else central)
            struct.pack_into("<" + code, made, at, value)
    return bytes(made)


def contents(content):
    """What our reader finds: name -> bytes."""
    data = memoryview(content)
    return {
        name: bytes(zip_file.read(data, found)) for name, found in zip_file.members(data).items()
    }


def refused(content, reason):
    with pytest.raises(ZipError, match=reason):
        contents(content)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_of_zipfile_is_read(compression):
    members = {"a": b"", "b/c.txt": b"hello" * 100, "ü/⊗": bytes(range(256))}
    assert contents(archive(members.items(), compression=compression)) == members
    assert contents(archive([])) == {}


def test_stored_members_are_views():
    data = memoryview(archive([("a", b"hello")]))
    assert isinstance(zip_file.read(data, zip_file.members(data)["a"]), memoryview)


@pytest.mark.parametrize("content", [b"", END, bytes(100), archive([("a", b"")]) + b"\0"])
def test_bytes_that_do_not_end_in_an_archive_say_so(content):
    with pytest.raises(zip_file.NoZipError):
        zip_file.members(memoryview(content))


# Names


@pytest.mark.parametrize(
    "name",
    [
        *("../a", "a/../b", "/etc/passwd", "a//b", "a/", "./a", "a/.", "..", "."),
        *("a\\b", "C:a", "a\nb", "a\x1b[2Jb", "a\u202eb"),
    ],
)
def test_names_that_are_no_plain_relative_path_are_refused(name):
    refused(archive([("ok", b""), (name, b"")]), "no plain relative name")


def test_names_that_zipfile_cannot_write_are_refused():
    content = archive([("abc", b"")])
    refused(content.replace(b"abc", b"a\0c"), "no plain relative name")
    refused(content.replace(b"abc", b"a\xffc"), "not UTF-8")
    refused(patched(content, LOCAL, CENTRAL, flags=0x800).replace(b"abc", b"a\xffc"), "not UTF-8")


def test_two_members_of_one_name_are_refused():
    content = archive([("tlc.json", b"1"), ("tlc.jsox", b"2")])
    refused(content.replace(b"jsox", b"json"), "two members 'tlc.json'")


# Headers


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"flags": 0x0001}, "encrypted or streamed"),
        ({"flags": 0x0008}, "encrypted or streamed"),
        ({"flags": 0x2000}, "encrypted or streamed"),
        ({"method": 8}, r"\(deflate\)"),
        ({"method": 12}, "unknown method 12"),
        ({"crc": 1}, r"damaged \(CRC\)"),
        ({"packed": 1}, "stored and has two sizes"),
        ({"size": 2**32 - 1}, "stored and has two sizes"),
        ({"size": 2**32 - 1, "packed": 2**32 - 1}, "outside the archive"),
        ({"name_length": 2**16 - 1}, "directory is damaged"),
        ({"extra_length": 2**16 - 1}, "directory is damaged"),
    ],
)
def test_false_headers_are_refused(fields, reason):
    content = archive([("a", b"hello")])
    refused(patched(content, LOCAL, CENTRAL, **fields), reason)


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_two_headers_that_differ_are_refused(field):
    content = archive([("a", b"hello")])
    refused(patched(content, LOCAL, **{field: 0x0123}), "two headers that differ|outside")


@pytest.mark.parametrize(
    ("offset", "code", "value"),
    [
        (4, "H", 1),  # this disk
        (6, "H", 1),  # the disk of the directory
        (8, "H", 2),  # members on this disk
        (10, "H", 2),  # members
        (10, "H", 2**16 - 1),  # which would mean ZIP64
        (12, "I", 1),  # bytes of the directory
        (12, "I", 2**32 - 1),
        (16, "I", 0),  # place of the directory
        (16, "I", 2**32 - 1),
        (20, "H", 5),  # bytes of a comment
    ],
)
def test_a_false_end_is_refused(offset, code, value):
    content = bytearray(archive([("a", b"hello")]))
    struct.pack_into("<" + code, content, content.index(END) + offset, value)
    refused(bytes(content), "its ZIP directory")


def test_a_false_count_is_refused():
    content = bytearray(archive([("a", b"hello"), ("b", b"")]))
    struct.pack_into("<2H", content, content.index(END) + 8, 3, 3)
    refused(bytes(content), "its ZIP directory is cut short")
    struct.pack_into("<2H", content, content.index(END) + 8, 1, 1)
    refused(bytes(content), "bytes that belong to no member")


def test_too_many_members_are_refused():
    refused(archive([(f"m{number}", b"") for number in range(65)]), "65 members, more than 64")


@pytest.mark.parametrize("place", [1, 10_000, 2**31, 2**32 - 1])
def test_a_false_place_of_a_member_is_refused(place):
    content = bytearray(archive([("a", b"hello")]))
    struct.pack_into("<I", content, content.index(CENTRAL) + 42, place)
    refused(bytes(content), "outside the archive|two headers that differ")


def test_overlapping_members_are_refused():
    whole = archive([("b", b"")])
    inner = whole[: whole.index(CENTRAL)]  # a local header, inside the data of `a`
    content = bytearray(archive([("a", inner), ("b", b"")]))
    struct.pack_into("<I", content, content.rindex(CENTRAL) + 42, content.index(inner))
    refused(bytes(content), "'b' overlaps another")


# ZIP64


@pytest.fixture
def wide(monkeypatch):
    """An archive of two members whose sizes, places and directory are given in 64 bits."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 0)
    made = archive([("a", b"hello"), ("b", b"")])
    assert (made.count(b"PK\6\6"), made.count(b"PK\6\7")) == (1, 1)
    return made


def test_numbers_of_64_bits_are_read(wide):
    assert contents(wide) == {"a": b"hello", "b": b""}


@pytest.mark.parametrize(
    ("magic", "offset", "code", "value"),
    [
        (b"PK\6\7", 4, "I", 1),  # the disk of the end
        (b"PK\6\7", 8, "Q", 0),  # its place
        (b"PK\6\7", 8, "Q", 2**64 - 1),
        (b"PK\6\7", 16, "I", 2),  # disks
        (b"PK\6\6", 0, "I", 0),
        (b"PK\6\6", 16, "I", 1),  # this disk
        (b"PK\6\6", 20, "I", 1),  # the disk of the directory
        (b"PK\6\6", 24, "Q", 2**64 - 1),  # members on this disk
        (b"PK\6\6", 32, "Q", 2**64 - 1),  # members
        (b"PK\6\6", 40, "Q", 2**64 - 1),  # bytes of the directory
        (b"PK\6\6", 48, "Q", 2**64 - 1),  # its place
        (END, 8, "2H", (1, 1)),
        (END, 12, "I", 1),
        (END, 16, "I", 1),
    ],
)
def test_a_false_end_of_64_bits_is_refused(wide, magic, offset, code, value):
    content = bytearray(wide)
    values = value if isinstance(value, tuple) else (value,)
    struct.pack_into("<" + code, content, content.index(magic) + offset, *values)
    refused(bytes(content), "its ZIP directory")


def test_false_sizes_of_64_bits_are_refused(wide):
    for header in (LOCAL, CENTRAL):
        at = wide.index(b"\1\0", wide.index(header) + (30 if header == LOCAL else 46))
        for place in range(at + 4, at + 4 + struct.unpack_from("<H", wide, at + 2)[0]):
            content = bytearray(wide)
            content[place] ^= 0x40
            with pytest.raises(ZipError):
                contents(bytes(content))


def test_no_changed_byte_does_more_than_to_be_refused(wide):
    for place in range(len(wide)):
        content = bytearray(wide)
        content[place] ^= 0xFF
        with suppress(ZipError):
            assert contents(bytes(content)) == {"a": b"hello", "b": b""}


# Deflate


def deflated(data, size, after=b""):
    """An archive with a member of deflated `data`, which is said to grow to `size` bytes."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = stream.compress(data) + stream.flush() + after
    content = patched(archive([("a", packed)]), LOCAL, CENTRAL, method=8, size=size)
    return patched(content, LOCAL, CENTRAL, crc=zlib.crc32(data))


def test_a_deflated_member_must_have_the_size_it_claims():
    assert contents(deflated(bytes(1000), 1000)) == {"a": bytes(1000)}
    for size in (0, 1, 999, 1001):
        refused(deflated(bytes(1000), size), "does not inflate to its size")


def test_bytes_after_a_deflated_stream_are_refused():
    refused(deflated(b"hello", 5, after=b"more"), "does not inflate to its size")


def test_a_cut_stream_is_refused():
    content = deflated(bytes(range(256)), 256)
    refused(patched(content, LOCAL, CENTRAL, packed=100), "does not inflate to its size")


def test_a_stream_without_its_end_is_refused():
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = stream.compress(b"hello") + stream.flush(zlib.Z_SYNC_FLUSH)
    content = patched(archive([("a", packed)]), LOCAL, CENTRAL, method=8, size=5)
    refused(content, "does not inflate to its size")


def test_bombs_are_not_inflated():
    small, large = deflated(bytes(100_000_000), 1000), deflated(bytes(100_000_000), 100_000_000)
    tracemalloc.start()
    refused(small, "does not inflate to its size")
    refused(large, "claims to grow from 97")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_all_members_together_are_bounded(monkeypatch):
    members = [(name, bytes(range(200))) for name in "abc"]
    content = archive(members, compression=zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(zip_file, "MOST_INFLATED", 600)
    assert len(contents(content)) == 3
    monkeypatch.setattr(zip_file, "MOST_INFLATED", 599)
    refused(content, "grow to 600 bytes, more than 599")
