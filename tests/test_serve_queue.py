"""Requests of `tlc serve` that wait, take too long or are given up; nothing of them stays."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serving import COMPLETIONS, GREEDY, Answer, answer, ask, built, generator
from tlc.serving.generation import Generator, Request
from tlc.serving.openai_api import Limits
from tlc.serving.server import application


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> str:
    return built(tmp_path_factory.mktemp("serve"), "generate")


def test_an_answer_that_does_not_begin_in_time_is_an_error(artifact: str) -> None:
    app = application(generator(artifact), "tiny", Limits(seconds=-1))
    for stream in (False, True):
        found = answer(app, {**GREEDY, "stream": stream})
        assert (found.status, found.json["error"]["code"]) == (504, "timeout")
    app.close()


def answered(generator: Generator, *requests: Request) -> list[str]:
    """The answers of a generator."""
    texts: list[list[str]] = [[] for _ in requests]
    for request, pieces in zip(requests, texts, strict=True):
        request.on_text = pieces.append
    left = [*requests]
    generator.run(lambda: left.pop(0) if left else None)
    return ["".join(pieces) for pieces in texts]


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_request_is_given_up_at_the_next_token(artifact: str, device: str) -> None:
    found = generator(artifact, device)
    request = Request("we said", {"temperature": "0"}, most=50)
    pieces: list[str] = []

    def leave(piece: str) -> None:
        pieces.append(piece)
        request.cancelled = len(pieces) == 3

    requests = [request, Request("we said", {"temperature": "0"}, most=3)]
    request.on_text = leave
    found.run(lambda: requests.pop(0) if requests else None)
    assert (request.reason, request.tokens) == ("cancelled", 3)


def test_an_answer_is_cut_where_the_context_ends(artifact: str) -> None:
    request = Request("we said", {"temperature": "0"}, most=50)
    answered(generator(artifact, context=12), request)
    assert request.reason == "length"
    assert request.prompt_tokens + request.tokens == 12


def test_the_program_is_held_to_the_most_tokens(artifact: str) -> None:
    request = Request("we said", {"temperature": "0", "max_tokens": "90"}, most=4)
    answered(generator(artifact), request)
    assert (request.reason, request.tokens) == ("length", 4)


class Slow:
    """Stands for a generator: each answer takes until it is told to go on."""

    def __init__(self) -> None:
        self.arguments = {"prompt": "", "max_tokens": "1"}
        self.metadata: dict[str, object] = {}
        self.tokenizer = None
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)

    def run(self, following: Callable[[], Request | None]) -> None:
        while (request := following()) is not None:
            self.begun.release()
            self.go_on.acquire()
            if request.cancelled:
                request.end("cancelled")
                continue
            request.on_text("yes")
            request.end("stop")


def test_requests_wait_for_their_turn_but_not_any_number_of_them() -> None:
    slow: Any = Slow()
    app = application(slow, "slow", Limits(), most_waiting=2)

    async def all_of_them() -> list[Answer]:
        tasks = [asyncio.create_task(ask(app, COMPLETIONS, {"prompt": "a"}))]
        await asyncio.to_thread(slow.begun.acquire)
        tasks += [asyncio.create_task(ask(app, COMPLETIONS, {"prompt": "a"})) for _ in "abc"]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result().status for task in done] == [503]
        for _ in range(3):
            slow.go_on.release()
        return [await task for task in tasks]

    found = asyncio.run(all_of_them())
    assert sorted(a.status for a in found) == [200, 200, 200, 503]
    app.close()


def test_who_leaves_the_queue_takes_no_time() -> None:
    slow: Any = Slow()
    app = application(slow, "slow", Limits())

    async def leave() -> None:
        first = asyncio.create_task(ask(app, COMPLETIONS, {"prompt": "a"}))
        await asyncio.to_thread(slow.begun.acquire)
        gone = asyncio.create_task(ask(app, COMPLETIONS, {"prompt": "a"}, leave_after=0))
        last = asyncio.create_task(ask(app, COMPLETIONS, {"prompt": "a"}))
        await asyncio.sleep(0.05)
        slow.go_on.release()  # the first
        slow.go_on.release()  # the last; the one between is never begun
        assert [(await task).status for task in (first, last)] == [200, 200]
        assert not (await gone).data.startswith(b'{"id"')

    asyncio.run(asyncio.wait_for(leave(), 10))
    app.close()


def test_who_waits_when_the_server_stops_is_told(artifact: str) -> None:
    slow: Any = Slow()
    app = application(slow, "slow", Limits())

    async def stop() -> list[Answer]:
        tasks = [asyncio.create_task(ask(app, COMPLETIONS, {"prompt": "a"})) for _ in "ab"]
        await asyncio.to_thread(slow.begun.acquire)
        await asyncio.sleep(0.05)
        asyncio.get_running_loop().call_later(0.1, slow.go_on.release)
        messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await app({"type": "lifespan"}, receive, send)
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        return [await task for task in tasks]

    found = asyncio.run(asyncio.wait_for(stop(), 10))
    assert [answer.status for answer in found] == [503, 503]
    assert "the server stops" in found[1].message
    assert answer(app, {"prompt": "a"}).status == 503


# ---- nothing is left behind ----------------------------------------------------------------------


def resident() -> int:
    """Bytes of memory that this process has."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_thousand_requests_leave_nothing_behind(artifact: str) -> None:
    app = application(generator(artifact), "tiny", Limits())

    async def some(count: int) -> None:
        """Whole answers, streams, clients that go, bodies that are refused."""
        for at in range(count):
            body = {"prompt": f"we said {at}", "max_tokens": 3, "seed": at}
            match at % 5:
                case 0 | 1:
                    assert (await ask(app, COMPLETIONS, body)).status == 200
                case 2:
                    assert (await ask(app, COMPLETIONS, {**body, "stream": True})).complete
                case 3:
                    body |= {"stream": True, "max_tokens": 50}
                    await ask(app, COMPLETIONS, body, leave_after=3)
                case 4:
                    found = await ask(app, COMPLETIONS, {"prompt": "x" * 200})
                    assert found.status == 400

    async def all_of_them() -> None:
        await some(200)  # fills what is kept on purpose
        before, threads = (resident(), handles()), threading.active_count()
        await some(1000)
        assert handles() == before[1]
        assert threading.active_count() == threads
        # 1 KB a request would be 1 MB; the allocator's own unrest is less
        assert resident() - before[0] < 1 << 20

    asyncio.run(all_of_them())
    app.close()
