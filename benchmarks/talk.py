"""Language models beside llama.cpp: tokens a second of reading prompts and of writing answers, how
they fall with the context, the time to the first token, memory, and the work of the host.

The packages of `make models` carry Gemma 3 270M and Qwen2.5-Coder-0.5B, and `make test-models`
leaves them in the cache folder as other types; what is not there is told and left out. Processes
that are compared are alive at once and take turns; CPU time on one thread, wall time on two.
llama.cpp runs without its own layouts of weights, with which it ends on models whose embeddings
are tied, as those of both are.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks.talk_sides import Side

MODELS = {"gemma3": "Gemma 3 270M", "qwen2": "Qwen2.5 0.5B"}
KINDS = ("F16", "Q8_0", "Q4_0", "Q4_K_M")
PROMPT, ANSWER, TURNS = 128, 16, 3
CONTEXTS, BEHIND = (128, 512, 2048, 4096, 8000), 32  # of the curve, and tokens behind each


def table() -> Iterator[str]:
    """All of it."""
    from benchmarks.talk_start import host, starts

    yield from speeds((1, 2))
    if files("Q4_K_M"):
        yield from ("", *starts(files("Q4_K_M")))
        yield from ("", *host(files("Q4_K_M")))
        yield from ("", *curves(files("Q4_K_M")))


def folder() -> Path:
    """Where `make test-models` leaves models."""
    return Path(os.environ.get("TLC_CACHE_DIR", Path.home() / ".cache" / "tlc")) / "models"


def files(kind: str) -> dict[str, Path]:
    """The models that are there as a type of weights."""
    paths = {name: folder() / f"{name}_{kind.lower()}.gguf" for name in MODELS}
    return {name: path for name, path in paths.items() if path.exists()}


def speeds(threads: tuple[int, ...]) -> Iterator[str]:
    """A row for each model, type and number of threads, as they are measured."""
    rows = [(name, kind) for name in MODELS for kind in KINDS]
    there = [row for row in rows if row[0] in files(row[1])]
    if len(there) < len(rows):
        absent = ", ".join(f"{name} {kind}" for name, kind in rows if (name, kind) not in there)
        yield f"not in {folder()}, where `make test-models` puts them: {absent}"
    if not there:
        return
    try:
        import llama_cpp  # noqa: F401
    except ImportError:
        yield "llama-cpp-python is not installed (`make models`): language models are left out"
        return
    heads = (("tokens/s", 32), *((text, 9) for text in ("prefill", "llama.cpp", "ratio")))
    line = "".join(
        f"{text:<{width}}" if width > 9 else f" {text:>{width}}" for text, width in heads
    )
    yield line + "".join(f" {text:>9}" for text in ("decode", "llama.cpp", "ratio"))
    for count in threads:
        for name, kind in there:
            title = f"{MODELS[name]} {kind}, {count} thread{'s' * (count > 1)}"
            yield _row(title, files(kind)[name], count)


def _row(title: str, path: Path, threads: int) -> str:
    sides = [Side(which, path, threads) for which in ("ours", "theirs")]
    for side in sides:
        side.ask(PROMPT, 2)  # compiles, and reads the file
    found: list[list[tuple[float, float]]] = [[], []]
    for _ in range(TURNS):
        for side, samples in zip(sides, found, strict=True):
            samples.append(side.speeds(PROMPT, ANSWER))
    for side in sides:
        side.close()
    combine = statistics.median if threads == 1 else max
    line = f"{title:32}"
    for part in (0, 1):
        a, b = (combine([sample[part] for sample in samples]) for samples in found)
        line += f" {a:9.1f} {b:9.1f} {a / b:9.2f}"
    return line


def curves(paths: dict[str, Path]) -> Iterator[str]:
    """Tokens a second of an answer behind longer and longer prompts, on one thread."""
    yield f"{'decode, tokens/s by context':32}" + "".join(f" {n:>9}" for n in CONTEXTS)
    for name, path in paths.items():
        for which, said in (("ours", ""), ("theirs", ", llama.cpp")):
            side = Side(which, path, 1)
            side.ask(PROMPT, 2)
            found = "".join(f" {side.speeds(n, BEHIND)[1]:9.1f}" for n in CONTEXTS)
            side.close()
            yield f"{f'{MODELS[name]} Q4_K_M{said}':32}{found}"
