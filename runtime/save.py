"""Turns tensors, or a loaded model, into a SafeTensors file that replaces the old one."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress

from tlc.runtime.decode import BLOCK_FLOATS, PLAIN_FLOATS, check_floats, floats
from tlc.runtime.errors import RunError
from tlc.runtime.model_file import ModelFile, TensorEntry, element_count
from tlc.runtime.safetensors_file import DTYPE_BITS

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
    with _replacing(path) as temporary:
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
    plan = [(entry, *_stored(entry)) for entry in model.tensors.values()]
    plan.sort(key=lambda item: (-_DTYPES.index(item[1]), item[0].name))
    notes = model.metadata if model.format == "SafeTensors" else {}
    header = _header(plan, {**notes, **_FORMAT})
    with _replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(header)
        for entry, dtype, _ in plan:
            view = model.view(entry.name)
            file.write(view if entry.encoding == dtype.lower() else floats(entry, view).data)


def _stored(entry: TensorEntry) -> tuple[str, int]:
    """The dtype that a tensor gets in the new file, and its bytes there."""
    dtype = entry.encoding.upper()
    if entry.encoding in PLAIN_FLOATS or dtype not in DTYPE_BITS:
        check_floats(entry)
        return "F16", 2 * element_count(entry.shape)
    return dtype, entry.nbytes


def _header(plan: list[tuple[TensorEntry, str, int]], notes: Mapping[str, object]) -> bytes:
    """The length and the JSON before the data, padded so that the data is 8-byte aligned."""
    import json

    fields: dict[str, object] = {"__metadata__": notes}
    at = 0
    for entry, dtype, nbytes in plan:
        if entry.name in fields:
            raise RunError("E0606", f"SafeTensors cannot hold a tensor named {entry.name!r}")
        fields[entry.name] = {
            "dtype": dtype,
            "shape": list(entry.shape),
            "data_offsets": [at, at + nbytes],
        }
        at += nbytes
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


@contextmanager
def _replacing(path: str) -> Iterator[str]:
    """Gives the name of an empty file beside `path`, which it replaces if all goes well."""
    path = os.fspath(path)
    if not path.endswith(SUFFIX):
        raise RunError(
            "E0606", f"{path}: models are saved as SafeTensors; end the name in {SUFFIX}"
        )
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
