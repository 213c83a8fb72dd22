"""Turns tensors, or a loaded model, into a SafeTensors file that replaces the old one."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress

from tlc.runtime.decode import BLOCK_FLOATS, PLAIN_FLOATS, check_floats
from tlc.runtime.errors import RunError
from tlc.runtime.model_file import ModelFile, TensorEntry, element_count
from tlc.runtime.progress import Progress
from tlc.runtime.safetensors_file import DTYPE_BITS
from tlc.runtime.weights import stored_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SUFFIX = ".safetensors"

# PyTorch and the Hugging Face libraries refuse a file that does not say whose tensors it holds.
_FORMAT = {"format": "pt"}

_DTYPES = tuple(DTYPE_BITS)  # the widest are last, in the order of the reference implementation


def save_tensors(
    path: str,
    tensors: Mapping[str, tuple[str, tuple[int, ...], bytes | memoryview]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors, each given as its dtype ("f16" or "f32"), shape and row-major bytes.

    Raises RunError E0606; the old file at `path`, if there is one, is then as it was.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = {
        name: np.frombuffer(data, {"f16": np.float16, "f32": np.float32}[dtype]).reshape(shape)
        for name, (dtype, shape, data) in tensors.items()
    }
    _check_suffix(path)
    with replacing(path) as temporary:
        try:
            save_file(arrays, temporary, {**_FORMAT, **(metadata or {})})
        except SafetensorError as error:
            raise RunError("E0606", f"{path}: {error}") from None


def save_model_file(model: ModelFile, path: str, dequantize: bool = False) -> None:
    """Write all tensors of a loaded model, the floats as float16 and all others as they are.

    One tensor at a time is in memory. Saving over the file that `model` was read from is safe:
    the model keeps the old bytes. Raises RunError E0606 when the file cannot be written or when
    the model is quantised and `dequantize` is not given, E0603 for a tensor that SafeTensors
    cannot hold and E0604 for a value beyond float16; the old file is then as it was.
    """
    quantised = [entry for entry in model.tensors.values() if entry.encoding in BLOCK_FLOATS]
    if quantised and not dequantize:
        raise RunError(
            "E0606",
            f"{path}: {model.path} is quantised ({model.quantization}) and SafeTensors cannot hold"
            " that",
            "to store its weights as float16: save_model(model, path, dequantize: true)",
        )
    stored = {entry.name: _stored(entry) for entry in model.tensors.values()}
    _check_suffix(path)
    write_safetensors(model, path, stored)


def _stored(entry: TensorEntry) -> str:
    """How a tensor is stored in the new file."""
    if entry.encoding in PLAIN_FLOATS or entry.encoding.upper() not in DTYPE_BITS:
        check_floats(entry)
        return "f16"
    return entry.encoding


def write_safetensors(model: ModelFile, path: str, stored: Mapping[str, str]) -> None:
    """Write a model's tensors, each stored as its own encoding or as "f16" or "f32".

    The metadata goes along, as texts. Raises RunError E0604 and E0606, and the old file stays.
    """
    from tlc.runtime.metadata import texts

    order = sorted(stored, key=lambda name: (-_DTYPES.index(stored[name].upper()), name))
    entries = [model.tensors[name] for name in order]
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(_header(entries, stored, {**texts(model, stored), **_FORMAT}))
        for data in stored_tensors(model, entries, stored, path):
            file.write(data)


def stored_tensors(
    model: ModelFile, entries: list[TensorEntry], stored: Mapping[str, str], path: str
) -> Iterator[memoryview]:
    """The bytes of tensors as a file will store them, one at a time; a terminal sees progress."""
    done, total = 0, sum(entry.nbytes for entry in entries)
    with Progress(f"writing {path}") as progress:
        for entry in entries:
            view = model.view(entry.name)
            wanted = stored[entry.name]
            yield view if entry.encoding == wanted else stored_as(entry, view, wanted)
            model.let_go(entry.name)
            done += entry.nbytes
            progress.update(f"writing {path}: {100 * done // max(total, 1)} %")


def _header(
    entries: list[TensorEntry], stored: Mapping[str, str], notes: Mapping[str, object]
) -> bytes:
    """The length and the JSON before the data, padded so that the data is 8-byte aligned."""
    import json

    fields: dict[str, object] = {"__metadata__": notes}
    at = 0
    for entry in entries:
        if entry.name in fields:
            raise RunError("E0606", f"SafeTensors cannot hold a tensor named {entry.name!r}")
        dtype = stored[entry.name].upper()
        nbytes = element_count(entry.shape) * DTYPE_BITS[dtype] // 8
        fields[entry.name] = {
            "dtype": dtype,
            "shape": list(entry.shape),
            "data_offsets": [at, at + nbytes],
        }
        at += nbytes
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _check_suffix(path: str) -> None:
    if not os.fspath(path).endswith(SUFFIX):
        raise RunError(
            "E0606", f"{path}: models are saved as SafeTensors; end the name in {SUFFIX}"
        )


@contextmanager
def replacing(path: str) -> Iterator[str]:
    """Gives the name of an empty file beside `path`, which it replaces if all goes well."""
    path = os.fspath(path)
    temporary = ""
    try:
        target = os.path.realpath(path)  # through a link, to what it names
        folder, base = os.path.split(target)
        temporary = os.path.join(folder, f".{base}.{os.urandom(4).hex()}.tmp")
        with open(temporary, "xb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777  # as the umask wants it
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, mode)  # the package makes a new file, for the owner only
        os.replace(temporary, target)
    except (OSError, ValueError) as error:
        raise RunError("E0606", f"{path}: {_reason(error)}") from None
    finally:
        with suppress(OSError, ValueError):
            os.unlink(temporary)


def _reason(error: OSError | ValueError) -> str:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return "there is no such folder"
        case IsADirectoryError():
            return "this is a folder"
        case PermissionError():
            return "no permission to write here"
        case OSError(strerror=str(text)):
            return f"it cannot be written: {text.lower()}"
        case _:
            return f"it cannot be written: {error}"
