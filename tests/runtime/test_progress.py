"""Progress shows on a terminal, after a delay, and leaves nothing behind."""

import io
import sys

import pytest

from tlc.runtime import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "DELAY", 0.0)


def test_a_terminal_is_told_what_takes_long(monkeypatch: pytest.MonkeyPatch, at_once: None) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.Progress("compiling kernels") as shown:
        assert shown._timer is not None
        shown._timer.join()
    assert sys.stderr.getvalue() == "compiling kernels ...\r\x1b[K"


def test_what_is_quick_stays_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.Progress("compiling kernels"):
        pass
    assert sys.stderr.getvalue() == ""


def test_a_file_is_told_nothing(monkeypatch: pytest.MonkeyPatch, at_once: None) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress.Progress("compiling kernels"):
        pass
    assert sys.stderr.getvalue() == ""
