"""Opening and converting model files: a SafeTensors file of 91 MB, as large as all-MiniLM-L6-v2,
and a GGUF file with the vocabulary of Gemma 3."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save_file

from tlc.runtime.decode import floats
from tlc.runtime.devices.cpu import zeroed
from tlc.runtime.model_file import ModelFile, open_model
from tlc.runtime.weights import stored_as

TENSORS, ROWS, COLUMNS = 104, 569, 384  # 22.7 million numbers
VOCABULARY, TOKENS = 262_144, "tokenizer.ggml.tokens"
RUNS = 9


def table() -> list[str]:
    """Median milliseconds of wall time, and GB/s of what is read and written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        rng = np.random.default_rng(0)
        arrays = {
            f"layer.{at}.weight": rng.standard_normal((ROWS, COLUMNS), np.float32)
            for at in range(TENSORS)
        }
        save_file(arrays, path)
        words = Path(folder) / "words.gguf"
        writer = gguf.GGUFWriter(words, "llama")
        writer.add_token_list([f"token {number}" for number in range(VOCABULARY)])
        writer.add_token_scores([0.0] * VOCABULARY)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        return [*_lines(path), *_opening(words)]


def _opening(path: Path) -> list[str]:
    """CPU time of opening a file of many tokens, and of asking for them."""
    work: dict[str, Callable[[], object]] = {
        "open": lambda: open_model(str(path)),
        "open and read the tokens": lambda: open_model(str(path)).metadata[TOKENS],
    }
    lines = [f"{f'{VOCABULARY} tokens':28} {'CPU ms, median':>15} {'least':>8}"]
    for name, act in work.items():
        times = []
        for _ in range(RUNS):
            start = time.process_time()
            act()
            times.append((time.process_time() - start) * 1e3)
        lines.append(f"{name:28} {statistics.median(times):15.2f} {min(times):8.2f}")
    return lines


def _lines(path: Path) -> list[str]:
    model = open_model(str(path))
    read = sum(entry.nbytes for entry in model.tensors.values())
    copied = np.frombuffer(path.read_bytes(), np.uint8)[: read * 3 // 4]

    def copy() -> None:
        """As many bytes as the conversion reads and writes, into new memory as it does."""
        step = len(copied) // TENSORS
        kept = []
        for at in range(TENSORS):
            made = np.frombuffer(zeroed(step), np.uint8, step)
            made[:] = copied[at * step : (at + 1) * step]
            kept.append(made)

    work: dict[str, tuple[Callable[[], object], int]] = {
        "open": (lambda: open_model(str(path)), 0),
        "open and fingerprint": (lambda: open_model(str(path)).fingerprint, 0),
        "float32 to float16": (lambda: _convert(model), read * 3 // 2),
        "the same by NumPy": (lambda: _carefully(model), read * 3 // 2),
        "a plain copy": (copy, 2 * len(copied)),
    }
    samples: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(RUNS + 1):
        for name, (act, _) in work.items():
            start = time.perf_counter()
            kept = act()
            if turn:  # the first turn compiles, and reads the file
                samples[name].append(time.perf_counter() - start)
            del kept
    lines = [f"{'work on 91 MB':28} {'ms, median':>12} {'least':>8} {'GB/s':>8}"]
    for name, (_, moved) in work.items():
        times = samples[name]
        speed = f"{moved / statistics.median(times) / 1e9:8.1f}" if moved else " " * 8
        shown = f"{statistics.median(times) * 1e3:12.2f} {min(times) * 1e3:8.2f}"
        lines.append(f"{name:28} {shown} {speed}")
    return lines


def _convert(model: ModelFile) -> list[memoryview]:
    return [stored_as(entry, model.view(name), "f16") for name, entry in model.tensors.items()]


def _carefully(model: ModelFile) -> list[object]:
    return [floats(entry, model.view(name)) for name, entry in model.tensors.items()]
