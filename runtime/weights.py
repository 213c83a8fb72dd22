"""Model files to device memory: tensors as kernels read them, mapped where the bytes are right."""

from __future__ import annotations

import os

from tlc.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tlc.runtime.devices import Buffer, Device
    from tlc.runtime.model_file import ModelFile, TensorEntry


class Models:
    """The model files of one artifact, opened when they are first needed."""

    __slots__ = ("_files", "_folders", "_records")

    def __init__(self, records: list[dict[str, Any]], folders: list[str]) -> None:
        """`folders` are where relative paths are looked for, in order."""
        self._records, self._folders = records, folders
        self._files: dict[int, ModelFile] = {}

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
                    f"{record['path']} is not the file that the artifact was built from:"
                    " its size or its table of tensors has changed",
                    "build the artifact again, or put the old file back",
                )
            self._files[index] = file
        return self._files[index]


class Weights:
    """The weights of one artifact on a device, loaded when they are first needed."""

    __slots__ = ("_buffers", "_device", "_table", "models")

    def __init__(self, models: Models, table: list[dict[str, Any]], device: Device) -> None:
        self.models, self._table, self._device = models, table, device
        self._buffers: dict[int, Buffer] = {}

    def buffer(self, index: int) -> Buffer:
        """A tensor on the device: the file's own bytes, or its numbers converted."""
        if index not in self._buffers:
            if index >= len(self._table):
                raise RunError("E0501", f"the artifact has no weight {index}")
            record = self._table[index]
            file = self.models.file(record["model"])
            from tlc.runtime.model_file import tensor

            entry = tensor(file, record["tensor"])
            if list(entry.shape) != record["shape"] or entry.encoding != record["encoding"]:
                raise RunError("E0605", f"tensor {entry.name!r} of {file.path} has changed")
            data = file.view(entry.name)
            if record["stored"] != entry.encoding:
                data = stored_as(entry, data, record["stored"])
            self._buffers[index] = self._device.constant(data)
        return self._buffers[index]


def stored_as(entry: TensorEntry, data: memoryview, stored: str) -> memoryview:
    """The bytes of a tensor as `stored`, "f16" or "f32". Raises RunError E0603 and E0604."""
    from tlc.runtime.devices.convert import converted

    made = converted(data, entry.encoding, stored)
    if made is not None:
        return made
    from tlc.runtime.decode import floats
    from tlc.runtime.progress import Progress

    with Progress(f"converting {entry.name}"):
        return floats(entry, data, stored).reshape(-1).view("u1").data


def find(path: str, folders: list[str]) -> str:
    """The first place a relative path exists in; the path itself when there is none."""
    if os.path.isabs(path):
        return path
    for folder in folders:
        there = os.path.join(folder, path)
        if os.path.exists(there):
            return there
    return path
