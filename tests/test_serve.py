"""`tlc serve` without HTTP: OpenAI's completions by the ASGI application, on the tiny LLaMA."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving import MODEL, Answer, ask, built, generator
from tests.test_generation import LLAMA2, continued
from tlc.asgi import App
from tlc.cli import run
from tlc.generation import Cut, Generator, Request
from tlc.openai_api import Limits
from tlc.runtime.errors import RunError
from tlc.runtime.tokenizer import load_tokenizer
from tlc.runtime.tokenizer.tokenizer import Stream, Tokenizer
from tlc.serve import application, template_of

COMPLETIONS = "/v1/completions"
GREEDY = {"prompt": "we said", "temperature": 0, "max_tokens": 10}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> str:
    return built(tmp_path_factory.mktemp("serve"), "generate")


@pytest.fixture(scope="module")
def app(artifact: str) -> Iterator[App]:
    app = application(generator(artifact), "tiny", Limits(tokens=120))
    yield app
    app.close()


def answer(app: App, body: object, **how: Any) -> Answer:
    return asyncio.run(ask(app, COMPLETIONS, body, **how))


@pytest.fixture(scope="module")
def said() -> str:
    """What the network in float32 says behind `we said`."""
    tokenizer = load_tokenizer(str(MODEL))
    return "".join(map(Stream(tokenizer).feed, continued(tokenizer.encode("we said"), 10)))


# ---- answers -------------------------------------------------------------------------------------


def test_a_completion_is_what_the_network_says(app: App, said: str) -> None:
    found = answer(app, {"model": "any", **GREEDY})
    assert found.status == 200
    assert found.headers[b"content-type"] == b"application/json"
    assert found.json["object"] == "text_completion"
    assert found.json["id"].startswith("cmpl-")
    assert found.json["model"] == "tiny"
    (choice,) = found.json["choices"]
    assert choice == {"index": 0, "text": said, "logprobs": None, "finish_reason": "length"}
    ids = load_tokenizer(str(MODEL)).encode("we said")
    usage = {"prompt_tokens": len(ids), "completion_tokens": 10, "total_tokens": len(ids) + 10}
    assert found.json["usage"] == usage


def test_a_stream_says_the_same_in_pieces(app: App, said: str) -> None:
    found = answer(app, {**GREEDY, "stream": True, "stream_options": {"include_usage": True}})
    assert found.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    *pieces, last, usage = found.events
    assert "".join(p["choices"][0]["text"] for p in pieces) == said
    assert len(pieces) > 5
    assert {p["choices"][0]["finish_reason"] for p in pieces} == {None}
    assert last["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 10
    assert len({event["id"] for event in found.events}) == 1


def test_the_prompt_comes_first_where_echo_asks_for_it(app: App, said: str) -> None:
    whole = answer(app, {**GREEDY, "echo": True}).json["choices"][0]["text"]
    events = answer(app, {**GREEDY, "echo": True, "stream": True}).events
    assert whole == "we said" + said == "".join(e["choices"][0]["text"] for e in events)


def test_a_seed_decides_the_text(app: App) -> None:
    def text(**more: object) -> str:
        body = {"prompt": "now", "temperature": 1.9, "max_tokens": 20, **more}
        return str(answer(app, body).json["choices"][0]["text"])

    assert text(seed=7) == text(seed=7) != text(seed=8)
    assert text() != text(), "without one, every answer is another"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_ends_before_a_stop_text(app: App, said: str, stream: bool) -> None:
    stop = said[3:5]
    found = answer(app, {**GREEDY, "stop": [stop, "never"], "stream": stream})
    events = found.events if stream else [found.json]
    assert "".join(e["choices"][0]["text"] for e in events) == said[: said.index(stop)]
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


def test_what_may_begin_a_stop_text_is_held_back() -> None:
    cut = Cut(["###", "\n\nUser"])
    assert [cut.add(piece) for piece in ("a#", "#b", "\n", "\nUs", "e", "\n##")] == [
        "a", "##b", "", "", "", "\n\nUse\n",
    ]  # fmt: skip
    assert (cut.add("#!"), cut.found, cut.rest()) == ("", True, "")
    cut = Cut([])
    assert (cut.add("a\n"), cut.rest()) == ("a\n", "")


def test_the_model_and_its_health(app: App) -> None:
    for path, wanted in (
        ("/health", lambda page: page == {"status": "ok", "waiting": 0}),
        ("/v1/models", lambda page: [m["id"] for m in page["data"]] == ["tiny"]),
        ("/v1/models/tiny", lambda page: page["id"] == "tiny" and page["object"] == "model"),
    ):
        found = asyncio.run(ask(app, path))
        assert found.status == 200
        assert wanted(found.json), found.json
        head = asyncio.run(ask(app, path, method="HEAD"))
        assert (head.status, head.data) == (200, b"")


# ---- conversations -------------------------------------------------------------------------------

CHAT = "/v1/chat/completions"
COLD = {"temperature": 0, "max_tokens": 4}


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("chat")
    (folder / "llama2.jinja").write_text(LLAMA2)
    found = generator(built(folder, "chat"))
    template = template_of(found, str(folder / "llama2.jinja"))
    app = application(found, "tiny", Limits(), template)
    yield app
    app.close()


def reply(app: App, *turns: str, **more: object) -> Answer:
    """The answer to a conversation of turns, of the user and the assistant by turns."""
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": text} for at, text in enumerate(turns)]
    return asyncio.run(ask(app, CHAT, {**COLD, "messages": messages, **more}))


def test_a_conversation_is_what_the_network_says(chat: App) -> None:
    tokenizer = load_tokenizer(str(MODEL))
    ids = tokenizer.encode("<s>[INST] more [/INST]", around=False)
    said = continued(ids, 4)
    first = reply(chat, "more")
    assert first.json["object"] == "chat.completion"
    message = {"role": "assistant", "content": tokenizer.decode(said)}
    assert first.json["choices"][0]["message"] == message
    assert first.json["usage"]["prompt_tokens"] == len(ids)
    # what is new goes behind what the cache holds, so the tokens are those of each turn alone
    ids += said + tokenizer.encode(" </s><s>[INST] we said [/INST]", around=False)
    second = reply(chat, "more", message["content"], "we said")
    said = continued(ids, 4)
    wanted = "".join(map(Stream(tokenizer).feed, said))
    assert second.json["choices"][0]["message"]["content"] == wanted
    assert second.json["usage"]["prompt_tokens"] == len(ids)


def test_a_conversation_streams(chat: App) -> None:
    whole = reply(chat, "more").json["choices"][0]["message"]["content"]
    first, *pieces, last = reply(chat, "more", stream=True).events
    assert {event["object"] for event in (first, *pieces, last)} == {"chat.completion.chunk"}
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(p["choices"][0]["delta"]["content"] for p in pieces) == whole
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "length")


def test_only_what_is_new_is_read(chat: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the tokens that the program is given for each request."""
    read: list[str] = []
    encode = Tokenizer.encode

    def watched(self: Tokenizer, text: str, around: bool = True) -> list[int]:
        read.append(text)
        return encode(self, text, around)

    monkeypatch.setattr(Tokenizer, "encode", watched)
    talk = ["more"]
    for turn in ("we said", "and"):
        talk += [reply(chat, *talk).json["choices"][0]["message"]["content"], turn]
    assert read == ["[INST] more [/INST]", " </s><s>[INST] we said [/INST]"]
    reply(chat, "more", "/Cp x", "we said", max_tokens=2)  # an argument that is read in the loop
    reply(chat, "more", seed=3)
    reply(chat, "more", "/Cp x", "we said", seed=3)
    assert read[2:] == [
        "[INST] more [/INST]/Cp x </s><s>[INST] we said [/INST]",
        "[INST] more [/INST]",
        "[INST] more [/INST]/Cp x </s><s>[INST] we said [/INST]",
    ]


def test_conversations_by_turns_do_not_mix(chat: App) -> None:
    alone = [reply(chat, turn).json["choices"][0]["message"] for turn in ("more", "now")]
    for _ in range(2):
        for turn, wanted in zip(("more", "now"), alone, strict=True):
            assert reply(chat, turn).json["choices"][0]["message"] == wanted
    another = reply(chat, "more", "/Cp x", "we said", temperature=1.9, seed=5).json
    assert (
        reply(chat, "more", "/Cp x", "we said", temperature=1.9, seed=5).json["choices"]
        == (another["choices"])
    )


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (None, "`messages` is a list of at least one message"),
        ([], "`messages` is a list of at least one message"),
        ([1], "`messages[0]` is no object"),
        ([{"role": "tool", "content": "a"}], "the role of `messages[0]` is one of"),
        ([{"role": "user"}], "`messages[0]` has no text as its content"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            "`messages[0]` holds something else than text",
        ),
        ([{"role": "user", "content": "x" * 200}], "tokens, and the model reads 128"),
    ],
)
def test_messages_that_cannot_be_answered(chat: App, messages: object, message: str) -> None:
    found = asyncio.run(ask(chat, CHAT, {"messages": messages}))
    assert found.status == 400
    assert message in found.message


def test_the_content_of_a_message_may_be_parts_of_text(chat: App) -> None:
    content = [{"type": "text", "text": "mo"}, {"type": "text", "text": "re"}]
    found = asyncio.run(
        ask(chat, CHAT, {**COLD, "messages": [{"role": "user", "content": content}]})
    )
    assert found.json["choices"] == reply(chat, "more").json["choices"]


def test_a_model_without_a_template_has_completions_only(app: App) -> None:
    found = reply(app, "more")
    assert (found.status, found.json["error"]["code"]) == (400, "E0608")
    assert "the model file has no chat template" in found.message


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the body cannot be read: its JSON is broken"),
        (b"\xff", "its JSON is not UTF-8"),
        (b"[" * 100_000, "its JSON is nested too deep"),
        (b'{"prompt": "\\ud800"}', "half of a surrogate pair"),
        (b'{"prompt": "a", "temperature": NaN}', "holds NaN"),
        ([], "the body is no JSON object"),
        ({}, "`prompt` is one text"),
        ({"prompt": ["a", "b"]}, "`prompt` is one text"),
        ({"prompt": [1, 2]}, "`prompt` is one text"),
        ({"prompt": "a", "messages": []}, "`messages` is for /v1/chat/completions"),
        ({"prompt": "a", "max_tokens": 0}, "`max_tokens` is a whole number of at least 1"),
        ({"prompt": "a", "max_tokens": True}, "`max_tokens` is a whole number"),
        ({"prompt": "a", "max_tokens": 121}, "an answer has at most 120 tokens here, and not 121"),
        ({"prompt": "a", "temperature": -0.1}, "`temperature` lies between 0 and 2"),
        ({"prompt": "a", "temperature": "hot"}, "`temperature` lies between 0 and 2"),
        ({"prompt": "a", "temperature": [1]}, "`temperature` is a number or a text"),
        ({"prompt": "a", "seed": 1.5}, "`seed` is a whole number of 64 bits"),
        ({"prompt": "a", "seed": 1 << 63}, "`seed` is a whole number of 64 bits"),
        ({"prompt": "a", "stop": 1}, "`stop` is a text, or a list of texts"),
        ({"prompt": "a", "stop": ["a", ""]}, "none of them empty"),
        ({"prompt": "a", "stop": ["a"] * 17}, "at most 16"),
        ({"prompt": "a", "stream": "yes"}, "`stream` is true or false"),
        ({"prompt": "a", "stream_options": {"include_usage": True}}, "for streams only"),
        ({"prompt": "a", "n": 2}, "the program that is served has no `n`"),
        ({"prompt": "a", "logprobs": 3}, "the program that is served has no `logprobs`"),
        ({"prompt": "a", "tempreature": 1}, "`tempreature` is not known; the program itself reads"),
        ({"prompt": "x" * 200}, "the prompt has 201 tokens, and the model reads 128"),
        ({"prompt": "x" * 200, "stream": True}, "the prompt has 201 tokens"),
    ],
)
def test_a_body_that_cannot_be_answered_is_told_why(app: App, body: object, message: str) -> None:
    found = answer(app, body)
    assert found.status == 400
    assert message in found.message
    assert found.json["error"]["type"] == "invalid_request_error"


def test_what_asks_for_nothing_is_no_mistake(app: App) -> None:
    body = {"n": 1, "presence_penalty": 0, "logit_bias": {}, "suffix": None, "user": "me"}
    assert answer(app, {**GREEDY, **body}).status == 200


def test_an_empty_prompt_is_for_the_program_to_judge(artifact: str, tmp_path: Path) -> None:
    source = tmp_path / "p.tl"
    source.write_text(
        f'tok = load_tokenizer("{MODEL}")\nmain {{ let p = arg("prompt", "")\n'
        'assert(len(p) > 0, "say something")\nprint(detokenize_incremental(tok, 290)) }\n'
    )
    path = str(tmp_path / "p.metallib")
    assert run(["build", str(source), "-o", path]) == 0
    app = application(generator(path), "p", Limits())
    assert answer(app, {"prompt": "a"}).json["choices"][0]["text"] == " e"
    refused = answer(app, {"prompt": ""})
    assert (refused.status, refused.json["error"]["code"]) == (400, "E0507")
    assert "say something" in refused.message
    app.close()


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/v1/engines", "GET", 404),
        ("/v1/models/other", "GET", 404),
        ("/v1/models", "POST", 405),
        (COMPLETIONS, "GET", 405),
    ],
)
def test_other_addresses(app: App, path: str, method: str, status: int) -> None:
    found = asyncio.run(ask(app, path, {}, method=method))
    assert found.status == status
    assert found.message


def test_a_body_has_a_limit_whether_it_says_its_length_or_not(artifact: str) -> None:
    app = application(generator(artifact), "tiny", Limits(), most_bytes=100)
    for headers in ((), ((b"content-length", b"101"),), ((b"content-length", b"9" * 30),)):
        found = answer(app, {"prompt": "a" * 100}, headers=headers)
        assert found.status == 413
        assert "more than 100 bytes" in found.message
    assert answer(app, {"prompt": "a", "max_tokens": 1}).status == 200
    app.close()


def test_a_program_that_generates_nothing_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "p.tl").write_text('main { print(arg("prompt", "")) }\n')
    assert run(["build", str(tmp_path / "p.tl")]) == 0
    with pytest.raises(RunError, match="does not answer prompts"):
        generator(str(tmp_path / "p.metallib"), "reference")


def refused(artifact: str, *options: str) -> str:
    """What `tlc serve` says when it does not begin to serve."""
    with contextlib.redirect_stderr(io.StringIO()) as text:
        assert run(["serve", artifact, "--device", "reference", *options]) == 1
    return text.getvalue()


def test_without_uvicorn_the_server_says_how_to_get_it(
    artifact: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    said = refused(artifact, "--port", "0")
    assert "error[E0613]: `tlc serve` needs the Python package uvicorn" in said
    assert "pip install 'tlc[serve]'" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--host", "203.0.113.1"), "error[E0614]: cannot listen at 203.0.113.1:8080: "),
        (("--port", "70000"), "error[E0614]: cannot listen at 127.0.0.1:70000: ports are 0 to"),
        (("--context", "0"), "error[E0504]: `--context` is at least 1, and not 0"),
        (("--timeout", "-1"), "error[E0504]: `--timeout` is at least 1, and not -1"),
    ],
)
def test_options_that_cannot_be(artifact: str, options: tuple[str, ...], message: str) -> None:
    assert message in refused(artifact, *options)


# ---- time, and clients that go -------------------------------------------------------------------


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
