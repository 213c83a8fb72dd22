"""Weights of an artifact to device memory: as kernels read them, mapped where the bytes are right.

They lie in the model files that the program names, or in the artifact itself when it was built with
`--embed-weights`; then no model file is needed.
"""

from __future__ import annotations

import os

from tlc.runtime.digests import sha256
from tlc.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from tlc.runtime.devices import Buffer, Device
    from tlc.runtime.model_file import ModelFile, TensorEntry
    from tlc.runtime.tokenizer.tokenizer import Tokenizer

MEMBER = "weights/tensors.bin"  # of an artifact with embedded weights
TOKENIZERS = "tokenizers/"  # and of those of its models, by their number

_ALIGNED = {"f32": 4}  # bytes that the address of a tensor must divide by; 2 for all others


class Models:
    """The model files of one artifact, opened when they are first needed."""

    __slots__ = (
        "_files", "_folders", "_member", "_members", "_records", "_tokenizers", "_weights",
    )  # fmt: skip

    def __init__(
        self, manifest: dict[str, Any], folders: list[str], member: Callable[[str], Any]
    ) -> None:
        """`folders` are where relative paths are looked for, in order; `member` gives a part of the
        artifact by name."""
        self._members, self._member = manifest["members"], member
        self._records, self._weights = manifest["models"], manifest["weights"]
        self._folders = folders
        self._files: dict[int, ModelFile] = {}
        self._tokenizers: dict[int, Tokenizer] = {}

    def file(self, index: int) -> ModelFile:
        """An open model file. Raises RunError E0601; E0605 when it is not the one built with."""
        if index not in self._files:
            from tlc.runtime.model_file import open_model

            if index >= len(self._records):
                raise RunError("E0501", f"the artifact has no model {index}")
            record = self._records[index]
            file = open_model(find(record["path"], self._folders))
            if file.fingerprint != record["fingerprint"]:
                raise RunError(
                    "E0605",
                    f"{record['path']} is not the model that the artifact was built from:"
                    f" {self._difference(index, file)}",
                    "build the artifact again, or put the old file back",
                )
            self._files[index] = file
        return self._files[index]

    def tokenizer(self, index: int) -> Tokenizer:
        """The tokenizer that a model file holds, or the artifact.

        Raises RunError E0601, E0605 and E0607.
        """
        if index not in self._tokenizers:
            from tlc.runtime.tokenizer import from_embedded, tokenizer_of

            inside = f"{TOKENIZERS}{index}"
            if inside in self._members:
                self._tokenizers[index] = from_embedded(self._member(inside))
            else:
                self._tokenizers[index] = tokenizer_of(self.file(index))
        return self._tokenizers[index]

    def metadata(self, index: int) -> Mapping[str, object]:
        """What a model file says of itself; of one whose tokenizer is in the artifact, that is
        about its tokenizer and how much it reads. Raises RunError E0601 and E0605."""
        from tlc.runtime.tokenizer import about, embedded_metadata

        inside = f"{TOKENIZERS}{index}"
        if inside not in self._members:
            return about(self.file(index))
        return embedded_metadata(self._member(inside))

    def _difference(self, index: int, file: ModelFile) -> str:
        """What of a changed model matters most to this artifact."""
        for weight in self._weights:
            if weight["model"] == index:
                text = _changed(weight, file)
                if text:
                    return text
        before = {part["name"]: part for part in self._records[index]["files"]}
        now = {part.name: part for part in file.parts}
        for name in sorted(before.keys() ^ now.keys()):
            return f"{name} is {'gone' if name in before else 'new'}"
        for name, part in now.items():
            size = before[name]["size"]
            if part.size != size:
                return f"{name} has {part.size} bytes, and had {size}"
        for name, part in now.items():
            if part.fingerprint != before[name]["fingerprint"]:
                return f"the metadata or the table of tensors of {name} differs"
        return "its files have another order"


def _changed(weight: dict[str, Any], file: ModelFile) -> str:
    """How a tensor differs from what the artifact was built with, or an empty text."""
    name = weight["tensor"]
    entry = file.tensors.get(name)
    if entry is None:
        return f"it has no tensor {name!r} any more"
    if list(entry.shape) != weight["shape"]:
        return f"tensor {name!r} has shape {list(entry.shape)}, and had {weight['shape']}"
    if entry.encoding != weight["encoding"]:
        return f"tensor {name!r} is stored as {entry.encoding}, and was as {weight['encoding']}"
    return ""


class StoredWeights:
    """The weights of one artifact as bytes, in model files or in the artifact."""

    __slots__ = ("_embedded", "_hashes", "_member", "_table", "models")

    def __init__(
        self, manifest: dict[str, Any], folders: list[str], member: Callable[[str], Any]
    ) -> None:
        """`member` gives a part of the artifact by name."""
        self.models = Models(manifest, folders, member)
        self._table, self._hashes = manifest["weights"], manifest["hashes"]
        self._embedded, self._member = manifest["embedded"], member

    def number(self, model: int, tensor: str, dtype: str) -> int:
        """The number of a weight that is float32 on the device, or not. Raises RunError E0501."""
        for index, record in enumerate(self._table):
            wide = record["stored"] == "f32"
            if (record["model"], record["tensor"], wide) == (model, tensor, dtype == "f32"):
                return index
        raise RunError("E0501", f"the artifact has no {dtype} weight {tensor!r}")

    def record(self, index: int) -> dict[str, Any]:
        """What the manifest says of a weight. Raises RunError E0501."""
        if index >= len(self._table):
            raise RunError("E0501", f"the artifact has no weight {index}")
        found: dict[str, Any] = self._table[index]
        return found

    def tensor(self, index: int) -> tuple[TensorEntry, memoryview]:
        """How a weight is stored, and its bytes, without a copy.

        Raises RunError E0501 for a damaged artifact, and E0605 for a tensor that changed since.
        """
        record = self.record(index)
        if self._embedded:
            entry, data = self._inside(index, record)
        else:
            file = self.models.file(record["model"])
            if text := _changed(record, file):
                raise RunError("E0605", f"{file.path} has changed: {text}")
            entry, data = file.tensors[record["tensor"]], file.view(record["tensor"])
        if self._hashes and sha256(data) != self._hashes[index]:
            raise RunError(
                "E0605",
                f"the numbers of tensor {entry.name!r} are not those that the artifact was built"
                " with",
                "build the artifact again, or put the old file back",
            )
        return entry, data

    def let_go(self, index: int) -> None:
        """Say that a weight of a model file has been read: its pages need not stay in memory."""
        if not self._embedded:
            record = self._table[index]
            self.models.file(record["model"]).let_go(record["tensor"])

    def _inside(self, index: int, record: dict[str, Any]) -> tuple[TensorEntry, memoryview]:
        from tlc.runtime.model_file import TensorEntry, element_count

        offset, nbytes = self._embedded[index]
        data = memoryview(self._member(MEMBER))[offset : offset + nbytes]
        try:
            wanted = bytes_of(record["stored"], element_count(record["shape"]))
        except ValueError:
            wanted = -1
        if not len(data) == nbytes == wanted:
            raise RunError("E0501", f"the artifact's tensor {record['tensor']!r} is damaged")
        shape = tuple(record["shape"])
        return TensorEntry(record["tensor"], shape, record["stored"], offset, nbytes), data


class Weights:
    """The weights of one artifact on a device, loaded when they are first needed."""

    __slots__ = ("_buffers", "_device", "_stored")

    def __init__(self, stored: StoredWeights, device: Device) -> None:
        self._stored, self._device = stored, device
        self._buffers: dict[int, Buffer] = {}

    @property
    def models(self) -> Models:
        return self._stored.models

    def buffer(self, index: int) -> Buffer:
        """A tensor on the device: the bytes as they are stored, or its numbers converted."""
        if index not in self._buffers:
            entry, data = self._stored.tensor(index)
            stored = self._stored.record(index)["stored"]
            data = stored_as(entry, data, stored)
            if stored != entry.encoding:
                self._stored.let_go(index)
            elif entry.offset % _ALIGNED.get(stored, 2):
                data = memoryview(bytes(data))  # SafeTensors may put it at any byte
            self._buffers[index] = self._device.constant(data)
        return self._buffers[index]


def stored_as(entry: TensorEntry, data: memoryview, stored: str) -> memoryview:
    """The bytes of a tensor as kernels read them, without a copy where the file has them so.

    Raises RunError E0603, and E0604 for a number beyond the dtype that kernels read.
    """
    from tlc.runtime.devices.convert import converted, within_float16

    if stored == entry.encoding:
        if stored == "bf16" and not within_float16(data):
            from tlc.runtime.decode import floats

            floats(entry, data)
        return data
    made = converted(data, entry.encoding, stored)
    if made is not None:
        return made
    from tlc.runtime.decode import floats
    from tlc.runtime.progress import Progress

    with Progress(f"converting {entry.name}"):
        return floats(entry, data, stored).reshape(-1).view("u1").data


def bytes_of(encoding: str, count: int) -> int:
    """The bytes of so many elements. Raises ValueError for an encoding that is not known."""
    from tlc.runtime.gguf_file import TENSOR_TYPES

    for name, block, width in TENSOR_TYPES.values():
        if name == encoding and count % block == 0:
            return count // block * width
    raise ValueError(f"{count} elements cannot be stored as {encoding}")


def find(path: str, folders: list[str]) -> str:
    """The first place a relative path exists in; the path itself when there is none."""
    if os.path.isabs(path):
        return path
    for folder in folders:
        there = os.path.join(folder, path)
        if os.path.exists(there):
            return there
    return path
