"""Turns texts into the token ids of a model, and back: the tokenizer that a file holds."""

from __future__ import annotations

import os

from tlc.runtime.model_file import open_model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tlc.runtime.model_file import ModelFile
    from tlc.runtime.tokenizer.tokenizer import Tokenizer

_TEMPLATE = "tokenizer.chat_template"  # of GGUF's metadata
_CONTEXT = "max_position_embeddings"  # of config.json


def load_tokenizer(path: str) -> Tokenizer:
    """The tokenizer of a model file. Raises RunError E0601 and E0607."""
    return tokenizer_of(open_model(path))


def tokenizer_of(file: ModelFile) -> Tokenizer:
    """The tokenizer of an open file, or in the folder that is open.

    Raises RunError E0607 when there is none that tlc reads.
    """
    file = _holder(file)
    if file.format == "Tokenizer":
        from tlc.runtime.tokenizer.huggingface import from_json

        return from_json(file.path, memoryview(file.parts[0].mapping))
    from tlc.runtime.tokenizer.gguf import from_metadata

    return from_metadata(file.path, file.metadata)


def about(file: ModelFile) -> Mapping[str, object]:
    """The metadata of an open file; of a folder also the chat template in it, as GGUF calls it."""
    holder = _holder(file)
    if holder.format != "Tokenizer":
        return file.metadata
    from tlc.runtime.tokenizer.huggingface import config

    template = config(holder.path).get("chat_template")
    return {**file.metadata, **({_TEMPLATE: template} if template else {})}


def embedded(file: ModelFile) -> bytes:
    """The tokenizer of a file as an artifact holds it: a `tokenizer.json` with what lies beside it
    in a `tokenizer_config`, or a GGUF file with the metadata of a vocabulary and of how much the
    model reads, and nothing else."""
    read, file = file.metadata.get(_CONTEXT), _holder(file)
    if file.format == "Tokenizer":
        import json

        from tlc.runtime import strict_json
        from tlc.runtime.tokenizer.huggingface import config

        beside = {**config(file.path), **({_CONTEXT: read} if read is not None else {})}
        data = bytes(file.parts[0].mapping)
        record = strict_json.parse(data) if beside else None
        if not isinstance(record, dict):
            return data
        return json.dumps({**record, "tokenizer_config": beside}, ensure_ascii=False).encode()
    from tlc.runtime.gguf_save import head
    from tlc.runtime.metadata import pairs

    stored = {entry.name: entry.encoding for entry in file.tensors.values()}
    kept = ("general.architecture", f"{file.metadata.get('general.architecture')}.context_length")
    return head(
        {k: v for k, v in pairs(file, stored) if k.startswith("tokenizer.") or k in kept}, 0
    )


def from_embedded(data: bytes | memoryview) -> Tokenizer:
    """The tokenizer that an artifact holds. Raises RunError E0601 and E0607 for a damaged one."""
    where = "the artifact"
    if data[:4] != b"GGUF":
        from tlc.runtime.tokenizer.huggingface import from_json

        return from_json(where, data)
    from tlc.runtime.tokenizer.gguf import from_metadata

    return from_metadata(where, embedded_metadata(data))


def embedded_metadata(data: bytes | memoryview) -> Mapping[str, object]:
    """The metadata beside a tokenizer that an artifact holds. Raises RunError E0601."""
    if data[:4] != b"GGUF":
        from tlc.runtime import strict_json

        try:
            record = strict_json.parse(data)
        except ValueError:
            return {}  # its tokenizer is not to be had either
        beside = record.get("tokenizer_config") if isinstance(record, dict) else None
        if not isinstance(beside, dict):
            return {}
        return {_TEMPLATE if key == "chat_template" else key: beside[key] for key in beside}
    from tlc.runtime import gguf_file

    mapping: Any = data  # as good as the mapping of a file
    return gguf_file.read("the artifact", mapping).metadata


def _holder(file: ModelFile) -> ModelFile:
    """The file that holds the tokenizer: of a folder, the `tokenizer.json` in it."""
    beside = os.path.join(file.path, "tokenizer.json")
    return open_model(beside) if os.path.isfile(beside) else file
