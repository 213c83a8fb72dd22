"""Turns a file of `torch.save` into NumPy arrays, without torch: the layout of before torch 1.6.

A magic number, a version, facts about the machine and the object are pickled one after another;
then come the keys of its storages, and for each a count and the numbers. Only names that belong to
tensors are looked up, so that a file can run nothing.
"""

import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {"FloatStorage": np.float32, "LongStorage": np.int64}


class Storage:
    """Numbers that tensors are views of; they stand behind all pickles."""

    def __init__(self, dtype: type, count: int) -> None:
        self.dtype, self.count = dtype, count
        self.numbers: np.ndarray[Any, Any] = np.empty(0, dtype)


class View:
    """A tensor: a storage, where it starts in it, its shape and its strides in elements."""

    def __init__(self, storage: Storage, start: int, shape: Any, strides: Any, *rest: Any) -> None:
        self.storage, self.start, self.shape, self.strides = storage, start, shape, strides

    def array(self) -> np.ndarray[Any, Any]:
        numbers = self.storage.numbers[self.start :]
        strides = [numbers.itemsize * stride for stride in self.strides]
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(numbers, self.shape, strides))


class Tensors(pickle.Unpickler):
    """Unpickles dictionaries of tensors and nothing else."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case "collections", "OrderedDict":
                return OrderedDict
            case "torch._utils", "_rebuild_tensor_v2":
                return View
            case "torch", storage if storage in DTYPES:
                return DTYPES[storage]
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a tensor")

    def persistent_load(self, found: Any) -> Storage:
        _, dtype, key, _, count, *_ = found
        return self.storages.setdefault(key, Storage(dtype, count))


def load(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a file by name."""
    with open(path, "rb") as file:
        assert pickle.load(file) == MAGIC
        pickle.load(file)
        pickle.load(file)
        reader = Tensors(file)
        tensors = reader.load()
        for key in pickle.load(file):
            storage = reader.storages[key]
            (count,) = struct.unpack("<q", file.read(8))
            assert count == storage.count
            storage.numbers = np.fromfile(file, storage.dtype, count)
    return {name: tensor.array() for name, tensor in tensors.items()}
