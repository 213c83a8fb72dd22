"""Texts by number and numbers by text, against a dict of Python."""

from __future__ import annotations

import time
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from tlc.runtime.tokenizer.words import Words

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
