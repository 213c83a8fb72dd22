"""The official `openai` client against `tlc serve`, over HTTP: `make test-serve` gets both."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.serving import MODEL, ROOT, built
from tests.test_generation import LLAMA2, continued
from tlc.runtime.tokenizer import load_tokenizer
from tlc.runtime.tokenizer.tokenizer import Stream

openai = pytest.importorskip("openai", reason="the `openai` client is not installed")
pytest.importorskip("uvicorn", reason="`tlc serve` needs uvicorn, which is not installed")


class Server:
    """`tlc serve` in a process of its own."""

    def __init__(self, artifact: str, *options: str) -> None:
        command = [sys.executable, "-m", "tlc", "serve", artifact, "--device", "cpu", "--port", "0"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [*command, *options], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        try:
            line = self.process.stderr.readline()
            found = re.search(r"answers [a-z ]+ at (http://127\.0\.0\.1:\d+/v1)", line)
            assert found, line
            url = found[1]
            self.client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60)
        except BaseException:
            self.process.kill()
            self.process.communicate()
            raise

    def stop(self, how: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Press Ctrl-C, or send another signal; the exit code and what else was written."""
        self.client.close()
        self.process.send_signal(how)
        _, written = self.process.communicate(timeout=20)
        return self.process.returncode, written


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> str:
    return built(tmp_path_factory.mktemp("openai"), "generate")


@pytest.fixture(scope="module")
def server(artifact: str) -> Iterator[Server]:
    server = Server(artifact)
    yield server
    assert server.stop() == (130, "")


@pytest.fixture(scope="module")
def said() -> str:
    tokenizer = load_tokenizer(str(MODEL))
    return "".join(map(Stream(tokenizer).feed, continued(tokenizer.encode("we said"), 10)))


def test_models(server: Server) -> None:
    (model,) = server.client.models.list().data
    assert model.id == "generate"
    assert server.client.models.retrieve("generate") == model


def test_completions(server: Server, said: str) -> None:
    ask = server.client.completions.create
    greedy = {"model": "generate", "prompt": "we said", "temperature": 0, "max_tokens": 10}
    whole = ask(**greedy)
    assert whole.choices[0].text == said
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.completion_tokens == 10
    pieces = list(ask(**greedy, stream=True, stream_options={"include_usage": True}))
    assert "".join(p.choices[0].text for p in pieces if p.choices) == said
    assert pieces[-1].usage == whole.usage
    assert ask(**greedy, stop=said[3:5]).choices[0].text == said[: said.index(said[3:5])]
    assert ask(**{**greedy, "temperature": 1.9}, seed=3) != ask(**greedy, seed=4)


def test_conversations(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("chat")
    (folder / "llama2.jinja").write_text(LLAMA2)
    server = Server(built(folder, "chat"), "--template", str(folder / "llama2.jinja"))
    ask = server.client.chat.completions.create
    tokenizer = load_tokenizer(str(MODEL))
    wanted = tokenizer.decode(continued(tokenizer.encode("[INST] more [/INST]"), 4))
    greedy = {"model": "chat", "temperature": 0, "max_completion_tokens": 4}
    messages = [{"role": "user", "content": "more"}]
    whole = ask(**greedy, messages=messages)
    assert whole.choices[0].message.content == wanted
    assert whole.choices[0].message.role == "assistant"
    pieces = list(ask(**greedy, messages=messages, stream=True))
    assert "".join(p.choices[0].delta.content or "" for p in pieces) == wanted
    messages += [{"role": "assistant", "content": wanted}, {"role": "user", "content": "we said"}]
    assert ask(**greedy, messages=messages).usage.prompt_tokens > whole.usage.total_tokens
    with pytest.raises(openai.BadRequestError, match="role"):
        ask(**greedy, messages=[{"role": "function", "content": "", "name": "f"}])
    assert server.stop() == (130, "")


def test_mistakes_are_exceptions_of_the_client(server: Server) -> None:
    ask = server.client.completions.create
    with pytest.raises(openai.BadRequestError, match="temperature") as found:
        ask(model="generate", prompt="a", temperature=3)
    assert found.value.param == "temperature"
    with pytest.raises(openai.BadRequestError, match="201 tokens"):
        ask(model="generate", prompt="x" * 200, stream=True)
    with pytest.raises(openai.NotFoundError, match="nothing at"):
        server.client.embeddings.create(model="generate", input="a")


def test_who_closes_a_stream_lets_the_next_in(server: Server) -> None:
    ask = server.client.completions.create
    for _ in range(5):
        stream = ask(model="generate", prompt="we said", max_tokens=120, stream=True)
        next(stream)
        stream.close()
    assert ask(model="generate", prompt="a", max_tokens=1).usage.completion_tokens <= 1


def test_many_ask_at_once(server: Server, said: str) -> None:
    """Whole answers, streams and streams that are closed, all at the same time, in any order."""
    ask = server.client.completions.create
    greedy = {"model": "generate", "prompt": "we said", "temperature": 0, "max_tokens": 10}

    def one(at: int) -> str:
        if at % 3 == 0:
            return str(ask(**greedy).choices[0].text)
        stream = ask(**greedy, stream=True)
        if at % 3 == 1:
            return "".join(piece.choices[0].text for piece in stream)
        next(stream)
        stream.close()
        return said

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(one, range(36))) == {said}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "its JSON is broken"),
        (b'{"prompt": "\\ud800"}', 400, "half of a surrogate pair"),
        (b'{"prompt": 3}', 400, "`prompt` is one text"),
        (b'{"prompt": "' + b"a" * 1_000_000 + b'"}', 413, "more than 1000000 bytes"),
    ],
)
def test_bodies_that_cannot_be(server: Server, body: bytes, status: int, message: str) -> None:
    url = server.client.base_url
    connection = http.client.HTTPConnection(url.host, url.port, timeout=30)
    try:
        connection.request("POST", "/v1/completions", body)
        answer = connection.getresponse()
        assert (answer.status, message in answer.read().decode()) == (status, True)
    finally:
        connection.close()


def test_an_answer_is_no_longer_than_the_context(server: Server) -> None:
    usage = server.client.completions.create(
        model="generate", prompt="we said", max_tokens=400, temperature=0
    ).usage
    assert usage.total_tokens == 128


@pytest.mark.parametrize(("how", "wanted"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_the_server_ends_while_it_answers(artifact: str, how: signal.Signals, wanted: int) -> None:
    server = Server(artifact)
    stream = server.client.completions.create(
        model="generate", prompt="we said", max_tokens=110, stream=True, temperature=1.5
    )
    next(stream)
    begun = time.monotonic()
    code, written = server.stop(how)
    assert (code, written) == (wanted, "")
    assert time.monotonic() - begun < 10


def test_a_port_that_is_taken(artifact: str, server: Server) -> None:
    port = str(server.client.base_url.port)
    command = [sys.executable, "-m", "tlc", "serve", artifact, "--device", "cpu", "--port", port]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert found.returncode == 1
    assert f"error[E0614]: cannot listen at 127.0.0.1:{port}" in found.stderr
