"""Makes malformed model files, each under a name that says what is wrong with it.

They are written by hand, byte by byte, since the packages refuse to write them.
"""

import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

Make = Callable[[Path], Path]
PARTS = 64  # a good file is cut at every such part of it


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(begin: int, end: int, shape: Any = None, dtype: str = "U8") -> dict[str, object]:
    shape = [end - begin] if shape is None else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def gguf(
    pairs: list[tuple[str, bytes]],
    tensors: list[bytes],
    data: bytes = b"",
    counts: tuple[int, int] | None = None,
) -> bytes:
    """A file of version 3; a pair is a key and its type and value, `counts` may lie."""
    many = counts or (len(tensors), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", 3, *many)
    head += b"".join(text(key) + value for key, value in pairs) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + data


def info(name: str, dims: list[int], kind: int, offset: int, rank: int | None = None) -> bytes:
    rank = len(dims) if rank is None else rank
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", rank, *dims, kind, offset)


def u32(value: int) -> bytes:
    return struct.pack("<II", 4, value)


def array(kind: int, count: int, items: bytes = b"") -> bytes:
    return struct.pack("<IIQ", 9, kind, count) + items


def nested(depth: int) -> bytes:
    return struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * depth + struct.pack("<IQ", 0, 0)


GOOD = safetensors({"a": entry(0, 8, [2], "F32"), "b": entry(8, 16)}, bytes(16))
GOOD_GGUF = gguf(
    [("general.architecture", struct.pack("<I", 8) + text("llama")), ("k", u32(7))],
    [info("a", [32, 2], 2, 0), info("b", [4], 0, 64)],
    bytes(80),
)

SAFETENSORS = {
    "no bytes": b"",
    "seven bytes": bytes(7),
    "a header of 2^64 - 1 bytes": safetensors(b"{}", length=2**64 - 1),
    "a header of 2^60 bytes": safetensors(b"{}", length=2**60),
    "offsets beyond the file": safetensors({"a": entry(0, 2**40)}),
    "offsets of 2^60": safetensors({"a": entry(2**60, 2**60 + 4)}, bytes(4)),
    "offsets of 10^400": safetensors({"a": entry(0, 10**400)}, bytes(4)),
    "offsets that are text": safetensors({"a": {**entry(0, 4), "data_offsets": ["0", "4"]}}),
    "offsets that are floats": safetensors({"a": {**entry(0, 4), "data_offsets": [0.0, 4.0]}}),
    "overlapping": safetensors({"a": entry(0, 4), "b": entry(2, 6)}, bytes(6)),
    "the same place twice": safetensors({"a": entry(0, 4), "b": entry(0, 4)}, bytes(4)),
    "a gap": safetensors({"a": entry(0, 2), "b": entry(4, 6)}, bytes(6)),
    "a count of 2^60": safetensors({"a": entry(0, 4, [2**60], "F32")}, bytes(4)),
    "a count that wraps to 0": safetensors({"a": entry(0, 0, [2**32, 2**32])}),
    "a count hidden by a 0": safetensors({"a": entry(0, 0, [0, 2**62, 2**62])}),
    "a million axes": safetensors({"a": entry(0, 1, [2] * 10**6)}, bytes(1)),
    "a dim of 1e999": safetensors(b'{"a":{"dtype":"U8","shape":[1e999],"data_offsets":[0,0]}}'),
    "a number of a million digits": safetensors(b'{"a":' + b"9" * 10**6 + b"}"),
    "the key twice": safetensors(b'{"a":{},"a":{}}'),
    "the last of many keys twice": safetensors(
        b"{" + b"".join(b'"%d":0,' % at for at in range(50_000)) + b'"49999":0}'
    ),
    "brackets 1,000 deep": safetensors(b"[" * 1_000 + b"]" * 1_000),
    "brackets a million deep": safetensors(b"[" * 10**6),
    "braces 100,000 deep": safetensors(b'{"a":' * 100_000),
    "deep metadata": safetensors(b'{"__metadata__":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a lone surrogate": safetensors(b'{"\\ud800":0}'),
    "not UTF-8": safetensors(b'{"\xff":0}'),
    "tensors in a list": safetensors([entry(0, 4)], bytes(4)),
    "metadata that is a tensor": safetensors({"__metadata__": entry(0, 4)}, bytes(4)),
}

GGUF = {
    "only the magic": b"GGUF",
    "a version of 2^32 - 1": b"GGUF" + struct.pack("<I", 2**32 - 1) + bytes(64),
    "2^60 tensors": gguf([], [], bytes(64), (2**60, 0)),
    "2^60 keys": gguf([], [], bytes(64), (0, 2**60)),
    "2^64 - 1 of both": gguf([], [], bytes(64), (2**64 - 1, 2**64 - 1)),
    "more keys than there are": gguf([("k", u32(1))], [], bytes(64), (0, 3)),
    "a key of 2^64 - 1 bytes": gguf([], [struct.pack("<Q", 2**64 - 1)], bytes(64), (0, 1)),
    "a key that is not UTF-8": gguf([], [text(b"\xff") + u32(1)], bytes(64), (0, 1)),
    "the key twice": gguf([("k", u32(1)), ("k", u32(2))], []),
    "an unknown type": gguf([("k", struct.pack("<II", 99, 0))], []),
    "a text of 2^60 bytes": gguf([("k", struct.pack("<IQ", 8, 2**60))], [], bytes(64)),
    "2^60 texts": gguf([("k", array(8, 2**60))], [], bytes(64)),
    "2^60 numbers": gguf([("k", array(12, 2**60))], [], bytes(64)),
    "2^60 arrays": gguf([("k", array(9, 2**60))], [], bytes(64)),
    "2^61 numbers, whose bytes wrap": gguf([("k", array(10, 2**61))], [], bytes(64)),
    "texts that run out": gguf([("k", array(8, 3, text("a")))], [], bytes(8)),
    "arrays 100,000 deep": gguf([("k", nested(100_000))], []),
    "an alignment of 0": gguf([("general.alignment", u32(0))], [info("a", [1], 0, 0)], bytes(32)),
    "an alignment of 3": gguf([("general.alignment", u32(3))], [info("a", [1], 0, 0)], bytes(32)),
    "an alignment of 2^31": gguf([("general.alignment", u32(2**31))], [info("a", [1], 0, 0)]),
    "an alignment that is text": gguf(
        [("general.alignment", struct.pack("<I", 8) + text("32"))], [info("a", [1], 0, 0)]
    ),
    "2^32 - 1 axes": gguf([], [info("a", [], 0, 0, rank=2**32 - 1)], bytes(64)),
    "a count of 2^60": gguf([], [info("a", [2**60], 0, 0)], bytes(64)),
    "a count that wraps to 0": gguf([], [info("a", [2**32, 2**32], 0, 0)], bytes(64)),
    "bytes that wrap": gguf([], [info("a", [2**59, 8], 0, 0)], bytes(64)),
    "offsets of 2^60": gguf([], [info("a", [4], 0, 2**60)], bytes(64)),
    "offsets of 2^64 - 32": gguf([], [info("a", [4], 0, 2**64 - 32)], bytes(64)),
    "unaligned": gguf([], [info("a", [4], 0, 4)], bytes(64)),
    "overlapping": gguf([], [info("a", [16], 0, 0), info("b", [4], 0, 32)], bytes(64)),
    "data missing": gguf([], [info("a", [16], 0, 32)], bytes(64)),
    "the tensor twice": gguf([], [info("a", [4], 0, 0), info("a", [4], 0, 32)], bytes(64)),
    "a row that is no whole block": gguf([], [info("a", [33], 2, 0)], bytes(64)),
    "split into 65,535": gguf([("split.count", struct.pack("<IH", 2, 65535))], []),
    "split into -1": gguf([("split.count", struct.pack("<Ii", 5, -1))], []),
    "split into a text": gguf([("split.count", struct.pack("<I", 8) + text("2"))], []),
    "split into many, and renamed": gguf([("split.count", struct.pack("<IH", 2, 2))], []),
}


def cases() -> Iterator[tuple[str, Make]]:
    """Every malformed file: its name, and what makes it in a folder and gives its path."""
    for suffix, files in (("safetensors", SAFETENSORS), ("gguf", GGUF)):
        for name, content in files.items():
            yield f"{suffix}: {name}", _written(f"m.{suffix}", content)
    for suffix, good in (("safetensors", GOOD), ("gguf", GOOD_GGUF)):
        for part in range(PARTS):
            yield (
                f"{suffix}: cut at {part}/{PARTS}",
                _written(f"m.{suffix}", good[: len(good) * part // PARTS]),
            )
    for name, places in _INDEXES.items():
        yield f"index: {name}", _index(places)
    yield "index: a shard that is a pipe", _piped
    yield "index: a shard that is a folder", _folder_as_shard
    yield "index: a shard that is the index", _cycle
    yield "index: 65 MiB", _written("m.safetensors.index.json", b" " * (65 << 20))
    yield "index: deep", _written("m.safetensors.index.json", b'{"a":' * 100_000)
    yield "folder: a link to itself", _own_link
    yield "folder: a config a million deep", _config(b"[" * 10**6)
    yield (
        "folder: a config of wide names",
        _config(b'{"%s":{"%s":[%s]}}' % (b"a" * 10**6, b"b" * 10**6, b",".join([b"{}"] * 1000))),
    )
    yield "folder: a config that is a list", _config(b"[]")
    yield "split: a part that says it is another", _split(((0, 2), (0, 2)))
    yield "split: a part of another split", _split(((0, 2), (1, 3)))
    yield "split: a tensor in two parts", _split(((0, 2), (1, 2)))
    yield "split: a part that is missing", _split(((0, 2),))


def _written(name: str, content: bytes) -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


_INDEXES: dict[str, object] = {
    "outside its folder": {"a": "../s.safetensors"},
    "far outside": {"a": "../../../../etc/passwd.safetensors"},
    "an absolute path": {"a": "/etc/passwd.safetensors"},
    "a drive": {"a": "C:\\s.safetensors"},
    "another index": {"a": "n.safetensors.index.json"},
    "a name with a NUL": {"a": "s\0.safetensors"},
    "a name of 10,000 characters": {"a": "s" * 10_000 + ".safetensors"},
    "a shard that is missing": {"a": "gone.safetensors"},
    "a shard without the tensor": {"b": "s.safetensors"},
    "a shard that is a number": {"a": 7},
    "a shard that is a list": {"a": ["s.safetensors"]},
    "5,000 shards": {str(at): f"{at}.safetensors" for at in range(5_000)},
    "no map": None,
    "a map that is a list": ["s.safetensors"],
}


def _index(places: object) -> Make:
    def make(folder: Path) -> Path:
        save_file({"a": np.zeros(2, np.float32)}, folder / "s.safetensors")
        path = folder / "m.safetensors.index.json"
        path.write_text(json.dumps({"weight_map": places}))
        return path

    return make


def _piped(folder: Path) -> Path:
    os.mkfifo(folder / "p.safetensors")
    return _index({"a": "p.safetensors"})(folder)


def _folder_as_shard(folder: Path) -> Path:
    (folder / "f.safetensors").mkdir()
    return _index({"a": "f.safetensors"})(folder)


def _cycle(folder: Path) -> Path:
    path = _index({"a": "c.safetensors"})(folder)
    (folder / "c.safetensors").symlink_to(path)
    return path


def _own_link(folder: Path) -> Path:
    (folder / "model.safetensors").symlink_to(folder)
    (folder / "x.gguf").symlink_to(folder / "x.gguf")
    return folder


def _config(content: bytes) -> Make:
    def make(folder: Path) -> Path:
        (folder / "model.safetensors").write_bytes(GOOD)
        (folder / "config.json").write_bytes(content)
        return folder

    return make


def _split(parts: tuple[tuple[int, int], ...]) -> Make:
    """Two parts with equal tensors, each with the number and the count that it claims."""

    def make(folder: Path) -> Path:
        for at, (number, count) in enumerate(parts):
            pairs = [
                ("split.no", struct.pack("<IH", 2, number)),
                ("split.count", struct.pack("<IH", 2, count)),
            ]
            content = gguf(pairs, [info("a", [4], 0, 0)], bytes(32))
            (folder / f"m-{at + 1:05}-of-00002.gguf").write_bytes(content)
        return folder / "m-00001-of-00002.gguf"

    return make
