"""`tlc convert`: turns a model of any format into a SafeTensors or a GGUF file.

Tensors keep their names and shapes, and the metadata goes along. Plain numbers stay as they are
stored, blocks of GGUF stay packed in GGUF, other compressed tensors become float16. `--dtype` makes
every float tensor float16 or float32.
"""

from __future__ import annotations

from tlc.runtime.decode import BLOCK_FLOATS, PLAIN_FLOATS, check_floats
from tlc.runtime.errors import RunError
from tlc.runtime.float8 import FLOAT8
from tlc.runtime.gguf_save import TYPES, write_gguf
from tlc.runtime.model_file import TensorEntry, open_model
from tlc.runtime.safetensors_file import DTYPE_BITS
from tlc.runtime.save import write_safetensors

_FLOATS = frozenset((*PLAIN_FLOATS, *FLOAT8, *BLOCK_FLOATS))

_WRITERS = {
    ".safetensors": ("SafeTensors", {name.lower() for name in DTYPE_BITS}, write_safetensors),
    ".gguf": ("GGUF", set(TYPES), write_gguf),
}


def convert(source: str, target: str, dtype: str | None = None) -> None:
    """Write the model at `source` to `target`, whose ending says the format.

    The target is replaced as a whole or not at all. Raises RunError E0601 for a bad model, E0603
    and E0606 for a tensor that the format cannot hold, E0604 for a value that `dtype` cannot.
    """
    suffix = next((suffix for suffix in _WRITERS if target.lower().endswith(suffix)), "")
    if not suffix:
        raise RunError("E0606", f"{target}: the name must end in {' or '.join(_WRITERS)}")
    model = open_model(source)
    format, held, write = _WRITERS[suffix]
    stored = {}
    for entry in model.tensors.values():
        stored[entry.name] = _stored(entry, held, dtype)
        if stored[entry.name] not in held:
            raise RunError(
                "E0606",
                f"{target}: tensor {entry.name!r} is stored as {entry.encoding.upper()}, which"
                f" {format} cannot hold",
                "--dtype f16 converts every float tensor" if entry.encoding in _FLOATS else "",
            )
    write(model, target, stored)


def _stored(entry: TensorEntry, held: set[str], dtype: str | None) -> str:
    """How the new file stores a tensor: as it is where that is asked for and possible."""
    if entry.encoding not in _FLOATS and entry.recipe is None:
        return entry.encoding
    packed = entry.encoding in BLOCK_FLOATS or entry.recipe is not None
    if dtype is None and (entry.encoding in held or not packed):
        return entry.encoding
    check_floats(entry)
    return dtype or "f16"
