"""The tiny LLaMA of tests/data with something changed in its GGUF file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import gguf

MODEL = Path(__file__).parent / "data" / "tiny_llama_f16.gguf"
KEYS = [f"tokenizer.ggml.{name}" for name in ("tokens", "scores", "token_type")]


def written(
    path: Path,
    metadata: Mapping[str, Any] | None = None,
    without: Collection[str] = (),
    tokens: int | None = None,
    template: str | None = None,
) -> Path:
    """Write the model with other values of some `metadata`, `without` some of its keys and tensors,
    with a vocabulary of another size, or with a chat template."""
    reader = gguf.GGUFReader(MODEL)
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if field.name.startswith(("GGUF.", "general.architecture")) or field.name in without:
            continue
        kind, *inner = field.types
        value = (metadata or {}).get(field.name, field.contents())
        if field.name in KEYS and tokens is not None:
            value = _resized(value, tokens)
        writer.add_key_value(field.name, value, kind, sub_type=inner[-1] if inner else None)
    if template is not None:
        writer.add_chat_template(template)
    for tensor in reader.tensors:
        if tensor.name not in without:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _resized(values: list[Any], count: int) -> list[Any]:
    more = range(len(values), count)
    last = values[-1]
    return values[:count] + [f"more {at}" if isinstance(last, str) else last for at in more]
