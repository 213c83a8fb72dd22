"""Turns a model file, whatever its format, into named tensors whose bytes are views of the file.

Opening reads the table of tensors and nothing else. A format is told from the file's first bytes;
each has its own reader (`safetensors_file.py`, `gguf_file.py`, `coreml/`, and `image_file.py` for
pictures), and `shards.py` joins models that lie in several files. The files are mapped, so they
must not be cut short while they are open.
"""

from __future__ import annotations

import os
import struct

from tlc.runtime.digests import blake2b, sha256
from tlc.runtime.errors import RunError
from tlc.runtime.mapped_file import map_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Protocol

    class Recipe(Protocol):
        """How the numbers of a compressed tensor are computed: called, it gives them in NumPy."""

        def __call__(self) -> Any: ...
        def bytes(self) -> bytes: ...


_MOST_COMPARED = 2000  # names, which takes a tenth of a second
LARGEST_COUNT = 2**60  # elements in a tensor: at 8 bytes each their bytes still count in 63 bits

# ends of names and first bytes -> what a file is that is no model file, and what to do
_ITS_WEIGHTS = "save the weights of the model that it was made from as SafeTensors"
_OTHER_NAMES = {
    ".onnx": ("an ONNX model", _ITS_WEIGHTS),
    ".tflite": ("a TensorFlow Lite model", _ITS_WEIGHTS),
    ".npy": ("an array of NumPy", "`--input NAME=FILE.npy` of `tlc run` gives one to an entry"),
    ".npz": ("arrays of NumPy", "save them as SafeTensors"),
    ".zip": ("a ZIP archive", "unpack it, and load what is in it"),
}
_OTHER_FILES = {
    b"PK\x03\x04": ("a ZIP archive, perhaps saved by torch.save", "save it as SafeTensors"),
    b"\x80": ("a Python pickle, perhaps saved by torch.save", "save it as SafeTensors"),
    b"MTLB": ("a Metal library", "run a built artifact with `tlc run`"),
    b"\x89HDF": ("an HDF5 file, perhaps of Keras", "save it as SafeTensors"),
    b"ggml": ("a GGML file, the format before GGUF", "convert it to GGUF"),
    b"ggjt": ("a GGML file, the format before GGUF", "convert it to GGUF"),
}

# first bytes of a picture -> Pillow's name of its format
PICTURES = {
    b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"RIFF": "WEBP", b"BM": "BMP",
    b"II*\0": "TIFF", b"MM\0*": "TIFF",
}  # fmt: skip


def element_count(shape: Iterable[int]) -> int:
    """The number of elements; raises ValueError for a shape that no array can have.

    A shape is bounded without its zeros, as NumPy does: `(2**62, 0)` is refused.
    """
    count, bound = 1, 1
    for dim in shape:
        # `True` is an int in Python, and not in JSON.
        if type(dim) is not int or not 0 <= dim <= LARGEST_COUNT:
            raise ValueError("has an impossible shape")
        count, bound = count * dim, bound * (dim or 1)
        if bound > LARGEST_COUNT:
            raise ValueError("has too many elements")
    return count


class TensorEntry:
    """Where a tensor lies in its file, and how it is stored.

    `shape` is in NumPy order (the last axis varies fastest); `encoding` is the lower-case name
    that the format gives the element or block type: `f16`, `bf16`, `q4_0`, `i64`, `f8_e4m3`, ...
    or `type_N` for a ggml type that is not known, whose `nbytes` is 0. `offset` counts from the
    start of the file, which is number `part` of the model's files. A tensor that is compressed in
    several pieces has no place of its own but a `recipe`, and `nbytes` counts the pieces.
    """

    __slots__ = ("encoding", "name", "nbytes", "offset", "part", "recipe", "shape")

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        encoding: str,
        offset: int,
        nbytes: int,
        part: int = 0,
        recipe: Recipe | None = None,
    ) -> None:
        self.name = name
        self.shape = shape
        self.encoding = encoding
        self.offset = offset
        self.nbytes = nbytes
        self.part = part
        self.recipe = recipe

    def __repr__(self) -> str:
        return f"TensorEntry({self.name!r}, {self.shape}, {self.encoding}, at {self.offset})"


class Part:
    """One of the files of a model, mapped; its table of tensors ends at `table_end`."""

    __slots__ = ("_fingerprint", "mapping", "name", "table_end")

    def __init__(self, path: str, mapping: mmap.mmap, table_end: int) -> None:
        self.name = os.path.basename(path)
        self.mapping = mapping
        self.table_end = table_end
        self._fingerprint = ""

    @property
    def size(self) -> int:
        """The bytes of the file."""
        return len(self.mapping)

    @property
    def fingerprint(self) -> str:
        """BLAKE2b, in hex, of the header and the table of tensors, and of the file's size."""
        if not self._fingerprint:
            table = memoryview(self.mapping)[: self.table_end]
            self._fingerprint = blake2b(table, struct.pack("<Q", len(self.mapping)), size=32)
        return self._fingerprint


class ModelFile:
    """An open model; `format` is "SafeTensors", "GGUF" or "CoreML", and "Image" for a picture,
    "Tokenizer" for a `tokenizer.json`, which have no weights.

    `parts` are the files it was read from, more than one when it is sharded.
    """

    __slots__ = ("format", "metadata", "parts", "path", "tensors")

    def __init__(
        self,
        path: str,
        format: str,
        metadata: Mapping[str, object],
        tensors: dict[str, TensorEntry],
        parts: Sequence[Part],
    ) -> None:
        self.path = path
        self.format = format
        self.metadata = metadata
        self.tensors = tensors
        self.parts = tuple(parts)

    @property
    def quantization(self) -> str:
        """The type that holds most of the bytes: "F16", "Q4_0", ...

        Only tensors of two or more axes count, since norms and biases stay wide in a quantised
        model; if there is none, all tensors do. Empty for a model without tensors.
        """
        entries = self.tensors.values()
        matrices = [entry for entry in entries if len(entry.shape) > 1] or entries
        held: dict[str, int] = {}
        for entry in matrices:
            held[entry.encoding] = held.get(entry.encoding, 0) + entry.nbytes
        return max(held, key=lambda encoding: held[encoding], default="").upper()

    @property
    def fingerprint(self) -> str:
        """That of the file, in hex; of several files, the SHA-256 of their names and fingerprints.

        It is quick and finds a changed layout or another model, not a changed weight.
        """
        if len(self.parts) == 1:
            return self.parts[0].fingerprint
        listed = "".join(f"{part.fingerprint} {part.name}\n" for part in self.parts)
        return sha256(listed.encode("utf-8", "surrogateescape"))

    def view(self, name: str) -> memoryview:
        """The stored bytes of a tensor, read-only, without a copy. Raises RunError E0602.

        Those of a compressed tensor are its pieces, one behind the other.
        """
        entry = tensor(self, name)
        if entry.recipe is not None:
            return memoryview(entry.recipe.bytes())
        mapping = self.parts[entry.part].mapping
        return memoryview(mapping)[entry.offset : entry.offset + entry.nbytes]

    def let_go(self, name: str) -> None:
        """Take a tensor's pages out of this process's memory; they can still be read again."""
        import mmap

        entry = self.tensors[name]
        mapping = self.parts[entry.part].mapping
        start = -(-entry.offset // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (entry.offset + entry.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        if entry.recipe is None and end > start and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED, start, end - start)

    def close(self) -> None:
        """Let go of the files; a mapping itself lives as long as a view of it does."""
        self.metadata = {}
        self.tensors = {}
        for part in self.parts:
            try:
                part.mapping.close()
            except BufferError:
                continue  # views are still out; the last of them closes it


def open_model(path: str) -> ModelFile:
    """Open a model of any known format: a file, an index of shards, or a folder of Hugging Face.

    Raises RunError E0601 when there is no readable file, or when it is of no known format,
    damaged or hostile; no other exception, whatever the bytes are.
    """
    path = os.fspath(path)
    suffix = os.path.splitext(path.rstrip("/"))[1].lower()
    if suffix in (".mlmodel", ".mlpackage", ".mlmodelc"):
        from tlc.runtime.coreml import open_coreml

        return open_coreml(path)
    if path.lower().endswith(".index.json"):
        from tlc.runtime import shards

        return shards.open_index(path)
    if os.path.isdir(path):
        from tlc.runtime import shards

        return shards.open_folder(path)
    mapping = map_file(path, "E0601")
    if suffix == ".json":
        return ModelFile(path, "Tokenizer", {}, {}, [Part(path, mapping, len(mapping))])
    start = mapping[:9]
    if start.startswith(b"GGUF"):
        from tlc.runtime import gguf_file

        model = gguf_file.read(path, mapping)
        if "split.count" in model.metadata:
            from tlc.runtime import shards

            return shards.whole_of(model)
        return model
    if start.endswith(b"{") or suffix == ".safetensors":
        from tlc.runtime import safetensors_file

        return safetensors_file.read(path, mapping)
    if start.startswith(tuple(PICTURES)):
        from tlc.runtime import image_file

        return image_file.read(path, mapping)
    known = _OTHER_NAMES.get(suffix) or next(
        (known for magic, known in _OTHER_FILES.items() if start.startswith(magic)), None
    )
    if known is None:
        raise RunError("E0601", f"{path}: this is neither a SafeTensors nor a GGUF file")
    raise RunError("E0601", f"{path}: this is {known[0]}, not a model that is read", known[1])


def tensor(model: ModelFile, name: str) -> TensorEntry:
    """The entry of a tensor. Raises RunError E0602 with the nearest names."""
    entry = model.tensors.get(name)
    if entry is not None:
        return entry
    near = nearest(name, model.tensors)
    raise RunError(
        "E0602",
        f"{model.path}: no tensor {name[:80]!r} among its {len(model.tensors)} tensors",
        f"did you mean {' or '.join(map(repr, near))}?" if near else "",
    )


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Up to three of `names` that look like `name`, the most alike first."""
    from difflib import get_close_matches

    # Comparing is quadratic in the lengths, and no name of a real model is this long. Of very many
    # names, those of the same first half are compared.
    short = [other for other in names if len(other) <= 200]
    if len(short) > _MOST_COMPARED:
        half = name[: len(name) // 2]
        short.sort(key=lambda other: (not other.startswith(half), abs(len(other) - len(name))))
    return get_close_matches(name[:200], short[:_MOST_COMPARED], n=3)
