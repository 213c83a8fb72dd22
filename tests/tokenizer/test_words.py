"""Texts by number and numbers by text, against a dict of Python."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlc.runtime.tokenizer import words as module
from tlc.runtime.tokenizer.words import Numbers, Some, Words

TEXTS = st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=4), max_size=40)


@given(TEXTS, TEXTS)
def test_texts_are_found_and_of_equal_ones_the_first(texts: list[str], others: list[str]) -> None:
    words = Words.of(texts)
    assert [words[at] for at in range(len(words))] == texts
    first = {text: at for at, text in reversed(list(enumerate(texts)))}
    for text in (*texts, *others):
        assert words.get(text) == first.get(text, -1)
        assert (text in words) == (text in first)
    assert words.get("longer than any", 7) == 7


def test_bytes_that_are_no_utf8_are_shown_and_found_as_what_they_are() -> None:
    data = b"".join(len(t).to_bytes(8, "little") + t for t in (b"\xff", b"a"))
    words = Words(memoryview(data), 2)
    assert [words[0], words[1]] == ["\ufffd", "a"]
    assert (words.get("\ufffd"), words.get("a")) == (-1, 1)


def test_as_many_equal_texts_as_a_file_likes_take_no_longer() -> None:
    begun = time.process_time()
    words = Words.of(["same"] * 100_000)
    assert (words.get("same"), words.get("other")) == (0, -1)
    assert time.process_time() - begun < 10, "seconds, and not the hours of 100,000 squared"


def test_a_table_takes_sixteen_bytes_for_a_text() -> None:
    texts = [f"token {number}" for number in range(30_000)]
    data = b"".join(len(t).to_bytes(8, "little") + t.encode() for t in texts)
    tracemalloc.start()
    try:
        words = Words(memoryview(data), len(texts))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 4 bytes for its place, 8 to 16 for its slots, and an eighth that an array grows in advance
    assert taken < 22 * len(texts)
    assert words.get("token 29999") == 29_999


def test_tables_of_many_texts_are_made_once_and_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(module, "KEPT", 100)
    texts = [f"token {number}" for number in range(200)]
    Words.of(texts)
    (kept,) = tmp_path.rglob("*.words")
    monkeypatch.setattr(module, "_tables", None)
    words = Words.of(texts)
    for _ in range(2):
        assert (words.get("token 199"), words.get("other"), words[7]) == (199, -1, "token 7")
        words.let_go()

    monkeypatch.undo()
    monkeypatch.setenv("TLC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(module, "KEPT", 100)
    kept.write_bytes(bytes(kept.stat().st_size))
    assert Words.of(texts).get("token 199") == 199, "a damaged table is made again"


@given(TEXTS, st.data())
def test_some_texts_are_found_and_of_equal_ones_the_first(
    texts: list[str], data: st.DataObject
) -> None:
    chosen = data.draw(st.sets(st.sampled_from(range(len(texts))))) if texts else set()
    some = Some(Words.of(texts), Numbers(chosen))
    first = {texts[at]: at for at in sorted(chosen, reverse=True)}
    assert {text: some.get(text) for text in texts} == {text: first.get(text) for text in texts}
    assert (set(some), len(some)) == (set(first), len(chosen))
