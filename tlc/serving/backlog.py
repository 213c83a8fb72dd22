"""Requests that wait for one generator, which answers them in order on a thread of its own."""

from __future__ import annotations

import queue
import sys
import threading
import time
import traceback

from tlc.runtime.errors import RunError
from tlc.serving.generation import Generator, Request


class Full(Exception):
    """As many requests wait as may."""


class Backlog:
    """A queue with a thread behind it that answers what is in it."""

    def __init__(self, generator: Generator, most: int) -> None:
        """At most `most` requests wait; the one that is being answered does not count."""
        self._generator = generator
        self._waiting: queue.Queue[Request | None] = queue.Queue(most)
        self._now: Request | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="tlc-generator", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return self._waiting.qsize()

    def add(self, request: Request) -> None:
        """Let a request wait for its turn. Raises Full."""
        try:
            if self._closed:
                raise Full
            self._waiting.put_nowait(request)
        except queue.Full:
            raise Full from None

    def close(self, seconds: float = 5.0) -> None:
        """End the answer that is being given and those that wait, and the thread."""
        self._closed = True
        now = self._now
        if now is not None:
            now.cancelled = True
        while True:
            try:
                request = self._waiting.get_nowait()
            except queue.Empty:
                break
            if request is not None:
                request.end("cancelled")
        self._waiting.put(None)
        self._thread.join(seconds)

    def _work(self) -> None:
        self._generator.run(self._following)

    def _following(self) -> Request | None:
        """The next request that somebody still waits for."""
        last, self._now = self._now, None
        if last is not None and last.problem is not None and not isinstance(last.problem, RunError):
            traceback.print_exception(last.problem, file=sys.stderr)
        del last
        while True:
            request = self._waiting.get()
            if request is None:
                return None
            if request.cancelled:
                request.end("cancelled")
            elif time.monotonic() > request.until:
                request.end("time")
            else:
                self._now = request
                return request
