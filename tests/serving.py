"""A client of ASGI applications without HTTP: requests to `App`, and what it sends back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tlc import driver
from tlc.runner import open_program
from tlc.runtime.artifact import read_artifact
from tlc.serving.asgi import App
from tlc.serving.generation import Generator

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "tests" / "data" / "tiny_llama_f16.gguf"
COMPLETIONS = "/v1/completions"
GREEDY = {"prompt": "we said", "temperature": 0, "max_tokens": 10}


def built(folder: Path, name: str, model: Path = MODEL, **options: Any) -> str:
    """An example of `examples/llm` as an artifact in a folder, for a model."""
    for path in (ROOT / "examples" / "llm").glob("*.tl"):
        (folder / path.name).write_text(path.read_text().replace("model.gguf", str(model)))
    artifact = str(folder / f"{name}.metallib")
    driver.write(driver.build(str(folder / f"{name}.tl"), **options), artifact)
    return artifact


def generator(artifact: str, device: str = "cpu", **options: Any) -> Generator:
    program, _ = open_program(read_artifact(artifact), device, [""])
    return Generator(program, **options)


class Answer:
    """What came back."""

    def __init__(self, sent: list[dict[str, Any]]) -> None:
        self.status = sent[0]["status"] if sent else 0
        self.headers = dict(sent[0]["headers"]) if sent else {}
        self.data = b"".join(message.get("body", b"") for message in sent[1:])
        self.complete = bool(sent) and not sent[-1].get("more_body", False)

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def message(self) -> str:
        return str(self.json["error"]["message"])

    @property
    def events(self) -> list[Any]:
        """The data of a stream of events."""
        *events, end = self.data.decode().split("\n\n")
        assert end == ""
        assert all(event.startswith("data: ") for event in events)
        assert events[-1] == "data: [DONE]"
        return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


async def ask(
    app: App,
    path: str,
    body: object = None,
    method: str = "",
    headers: tuple[tuple[bytes, bytes], ...] = (),
    leave_after: int | None = None,
) -> Answer:
    """One request; with `leave_after` the client goes away behind that many messages."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent: list[dict[str, Any]] = []
    left = asyncio.Event()
    if leave_after == 0:
        left.set()
    parts = [data[: len(data) // 2], data[len(data) // 2 :]]  # a body comes in pieces

    async def receive() -> dict[str, Any]:
        if parts:
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == leave_after:
            left.set()
            await asyncio.sleep(0)  # a server hears of it while it sends

    method = method or ("GET" if body is None else "POST")
    scope = {"type": "http", "path": path, "method": method, "headers": headers}
    await app(scope, receive, send)
    return Answer(sent)


def answer(app: App, body: object, **how: Any) -> Answer:
    """A completion."""
    return asyncio.run(ask(app, COMPLETIONS, body, **how))
