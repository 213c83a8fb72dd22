"""Turns texts into the token ids of a model, and back: the tokenizer that a file holds."""

from __future__ import annotations

import os

from tlc.runtime.model_file import open_model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tlc.runtime.model_file import ModelFile
    from tlc.runtime.tokenizer.tokenizer import Tokenizer


def load_tokenizer(path: str) -> Tokenizer:
    """The tokenizer of a model file. Raises RunError E0601 and E0607."""
    return tokenizer_of(open_model(path))


def tokenizer_of(file: ModelFile) -> Tokenizer:
    """The tokenizer of an open file, or in the folder that is open.

    Raises RunError E0607 when there is none that tlc reads.
    """
    if file.format == "Tokenizer":
        from tlc.runtime.tokenizer.huggingface import from_json

        return from_json(file.path, memoryview(file.parts[0].mapping))
    beside = os.path.join(file.path, "tokenizer.json")
    if os.path.isfile(beside):
        return load_tokenizer(beside)
    from tlc.runtime.tokenizer.gguf import from_metadata

    return from_metadata(file.path, file.metadata)
