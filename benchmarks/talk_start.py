"""What it takes until a language model says its first token, its memory, and the host's work."""

from __future__ import annotations

import os
import shutil
import site
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path

from benchmarks.process import Sample, measure
from benchmarks.talk_sides import ROOT, Side
from tlc.runtime.model_file import ModelFile, open_model

RUNS = 5
TOKENS = 64  # of the answer whose memory is measured
PROMPT = "The capital of France is"
# llama.cpp in a process of Python, as tlc is, with a context that is no longer than it needs
THEIRS = """
import sys
sys.path.insert(0, {root!r})
from tests.models.llama_cpp_reference import LlamaCpp
from pathlib import Path
model = LlamaCpp(Path({path!r}), context=256, exact=False)
ids = model.tokens({prompt!r})
row = model.last_logits(ids)
for at in range({steps} - 1):
    row = model.last_logits([int(row.argmax())], len(ids) + at)
"""
IMPORTS = "import sys; sys.path.insert(0, {root!r}); import tests.models.llama_cpp_reference"
Command = Callable[[int], list[str]]


def starts(paths: dict[str, Path]) -> Iterator[str]:
    """Of each model: seconds of a process until its first token, and its memory beyond weights and
    cache. Of llama.cpp the time that its Python packages take to be imported is taken off."""
    columns = ("wall", "CPU", "llama.cpp", "CPU", "MB more", "llama.cpp")
    yield f"{'first token, s; memory':32}" + "".join(f" {text:>9}" for text in columns)
    for path in paths.values():
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs, imports = _commands(path, Path(folder))
            measure(ours(1))  # compiles, and reads the file
            runs = [[measure(c) for c in (ours(1), theirs(1), imports)] for _ in range(RUNS)]
            peaks = [measure(side(TOKENS)).peak for side in (ours, theirs)]
        mine, other, taken = zip(*runs, strict=True)
        figures = [_median(mine, "wall"), _median(mine, "cpu")]
        figures += [_median(other, part) - _median(taken, part) for part in ("wall", "cpu")]
        least = _least(open_model(str(path)), TOKENS)
        figures += [(peak - least) / 1e6 for peak in peaks]
        yield f"{path.stem:32}" + "".join(f" {figure:9.2f}" for figure in figures)


def _commands(path: Path, folder: Path) -> tuple[Command, Command, list[str]]:
    """Commands that answer with so many tokens, ours and llama.cpp's, and one that only imports."""
    for source in (ROOT / "examples" / "llm").glob("*.tl"):
        shutil.copy(source, folder)
    source = folder / "generate.tl"
    source.write_text(source.read_text().replace('"model.gguf"', f'"{path}"'))
    artifact = str(folder / "generate.metallib")
    # without the imports that an editable install makes of every start of Python
    python = [sys.executable, "-S"]
    os.environ["PYTHONPATH"] = os.pathsep.join((str(ROOT), *site.getsitepackages()))
    tlc = [*python, "-m", "tlc"]
    subprocess.run([*tlc, "build", str(source), "-o", artifact], cwd=ROOT, check=True)

    def ours(tokens: int) -> list[str]:
        given = ["--prompt", PROMPT, "--max-tokens", str(tokens), "--temperature", "0"]
        return [*tlc, "run", artifact, "--device", "cpu", *given]

    def theirs(tokens: int) -> list[str]:
        about = {"root": str(ROOT), "path": str(path), "prompt": PROMPT, "steps": tokens}
        return [*python, "-c", THEIRS.format(**about)]

    return ours, theirs, [*python, "-c", IMPORTS.format(root=str(ROOT))]


def _median(samples: tuple[Sample, ...], part: str) -> float:
    return statistics.median(getattr(sample, part) for sample in samples)


def _least(model: ModelFile, tokens: int) -> int:
    """Bytes of weights, and of keys and values of so many tokens and a short prompt."""
    weights = sum(entry.nbytes for entry in model.tensors.values())
    heads = sum(
        prod(entry.shape[:1])
        for name, entry in model.tensors.items()
        if name.endswith(("attn_k.weight", "attn_v.weight"))
    )
    return weights + 2 * heads * (tokens + 8)


def host(paths: dict[str, Path]) -> Iterator[str]:
    """Microseconds of CPU that the host works for a token: kernels do nothing meanwhile."""
    yield "host work, us a token"
    for path in paths.values():
        side = Side("host", path, 1)
        taken = statistics.median(sum(side.ask(1, 1000)) for _ in range(5))
        side.close()
        yield f"{path.stem:32} {taken / 1000 * 1e6:9.1f}"
