"""`tlc serve` without HTTP: OpenAI's completions by the ASGI application, on the tiny LLaMA."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import COMPLETIONS, GREEDY, MODEL, answer, ask, built, generator
from tests.test_generation import continued
from tlc.cli import run
from tlc.runtime.errors import RunError
from tlc.runtime.tokenizer import load_tokenizer
from tlc.runtime.tokenizer.tokenizer import Stream
from tlc.serving.asgi import App
from tlc.serving.generation import Cut
from tlc.serving.openai_api import Limits
from tlc.serving.server import application


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> str:
    return built(tmp_path_factory.mktemp("serve"), "generate")


@pytest.fixture(scope="module")
def app(artifact: str) -> Iterator[App]:
    app = application(generator(artifact), "tiny", Limits(tokens=120))
    yield app
    app.close()


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


def test_a_page_in_a_browser_is_not_answered(app: App) -> None:
    found = answer(app, GREEDY, headers=((b"origin", b"https://example.org"),))
    assert found.status == 403
    assert not any(name.startswith(b"access-control") for name in found.headers)


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
