"""Says on a terminal what takes longer than a second, and takes it back when it is done."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threading import Timer

DELAY = 1.0  # seconds of silence


class Progress:
    """`with Progress("compiling kernels"):` writes to stderr if that is a terminal, and late."""

    __slots__ = ("_shown", "_text", "_timer")

    def __init__(self, text: str) -> None:
        self._text = text
        self._shown = False
        self._timer: Timer | None = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from threading import Timer

            self._timer = Timer(DELAY, self._show)
            self._timer.daemon = True
            self._timer.start()
        return self

    def update(self, text: str) -> None:
        """Say something else from here on."""
        self._text = text
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            self._show()

    def _show(self) -> None:
        self._shown = True
        sys.stderr.write(f"{self._text} ...")
        sys.stderr.flush()

    def __exit__(self, *problem: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
