"""Turns texts into the token ids of a model, and back: the tokenizer that a file holds."""

from __future__ import annotations

from tlc.runtime.model_file import open_model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tlc.runtime.model_file import ModelFile
    from tlc.runtime.tokenizer.tokenizer import Tokenizer


def load_tokenizer(path: str) -> Tokenizer:
    """The tokenizer of a model file. Raises RunError E0601 and E0607."""
    return tokenizer_of(open_model(path))


def tokenizer_of(file: ModelFile) -> Tokenizer:
    """The tokenizer of an open file. Raises RunError E0607 when it has none that tlc reads."""
    from tlc.runtime.tokenizer.gguf import from_metadata

    return from_metadata(file.path, file.metadata)
