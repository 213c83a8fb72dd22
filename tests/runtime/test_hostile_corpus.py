"""Every malformed model file of the corpus is a clear error, soon and in little memory."""

import time
import tracemalloc
from pathlib import Path

import pytest

from tests.runtime import hostile_corpus
from tests.runtime.hostile_corpus import Make
from tlc.runtime.errors import RunError
from tlc.runtime.model_file import open_model

CASES = dict(hostile_corpus.cases())
MOST_SECONDS = 5.0  # of the processor, while memory is traced; the worst takes a tenth
MOST_BYTES = 64  # for each byte of the file: JSON becomes Python objects of 50 bytes and more
SPARE_BYTES = 2_000_000


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_and_costs_little(tmp_path: Path, name: str) -> None:
    make: Make = CASES[name]
    path = make(tmp_path)
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(RunError) as caught:
            open_model(str(path))
        seconds, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == "E0601"
    assert len(caught.value.message.replace(str(tmp_path), "").replace("s" * 10_000, "")) < 400
    assert caught.value.message.isprintable()
    assert seconds < MOST_SECONDS
    assert peak < SPARE_BYTES + MOST_BYTES * size(tmp_path)


@pytest.mark.parametrize("suffix", ["safetensors", "gguf"])
def test_the_files_that_are_cut_are_good_when_whole(tmp_path: Path, suffix: str) -> None:
    content = {"safetensors": hostile_corpus.GOOD, "gguf": hostile_corpus.GOOD_GGUF}[suffix]
    (tmp_path / f"m.{suffix}").write_bytes(content)
    model = open_model(str(tmp_path / f"m.{suffix}"))
    assert list(model.tensors) == ["a", "b"]
    assert all(len(model.view(name)) == model.tensors[name].nbytes for name in model.tensors)
