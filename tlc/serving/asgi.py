"""The ASGI application of `tlc serve`: HTTP to requests, their answers to JSON or event streams.

Written against the ASGI specification 3.0, so that any server of it will do.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from tlc.runtime.strict_json import parse
from tlc.serving.backlog import Backlog, Full
from tlc.serving.generation import Request
from tlc.serving.openai_api import Format, Refused, Shape, refusal

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_BODY_SECONDS = 30.0  # in which a body has to be here


class App:
    """Answers what the endpoints of OpenAI are asked, for one program."""

    def __init__(
        self, backlog: Backlog, model: str, formats: Mapping[str, Format], most_bytes: int
    ) -> None:
        """`formats` are by the path of their endpoint; a body has at most `most_bytes`."""
        self._backlog, self._formats, self._most_bytes = backlog, formats, most_bytes
        record = {"id": model, "object": "model", "created": 0, "owned_by": "tlc"}
        self._pages: dict[str, Callable[[], object]] = {
            "/health": lambda: {"status": "ok", "waiting": backlog.waiting},
            "/v1/models": lambda: {"object": "list", "data": [record]},
            f"/v1/models/{model}": lambda: record,
        }

    def close(self) -> None:
        """End what is being answered and what waits."""
        self._backlog.close()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "lifespan":
                await self._lifespan(receive, send)
            case "http":
                try:
                    await self._http(scope, receive, send)
                except Refused as refused:
                    await _json(send, refused.body, refused.status)
                except _Gone:
                    pass
            case _:
                await send({"type": "websocket.close", "code": 1003})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await asyncio.to_thread(self.close)
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _http(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if any(name == b"origin" for name, _ in scope["headers"]):
            # a page that a browser shows must not use a server of this machine
            raise Refused("pages of browsers are not answered", status=403)
        found = self._formats.get(path)
        if found is None and path not in self._pages:
            raise Refused(f"there is nothing at {path}", status=404)
        allowed = ("GET", "HEAD") if found is None else ("POST",)
        if method not in allowed:
            raise Refused(f"{path} takes {allowed[0]}, and not {method}", status=405)
        if found is None:
            await _json(send, self._pages[path](), head=method == "HEAD")
            return
        try:
            body = parse(await asyncio.wait_for(self._body(scope, receive), _BODY_SECONDS))
        except TimeoutError:
            raise Refused("the body did not come in time", status=408) from None
        except ValueError as problem:
            raise Refused(f"the body cannot be read: {problem}") from None
        request, shape = found.request(body)
        await self._answer(request, shape, receive, send)

    async def _body(self, scope: Mapping[str, Any], receive: Receive) -> bytes:
        """The whole body. Raises Refused when it is too long."""
        said = dict(scope["headers"]).get(b"content-length", b"0")
        data = bytearray()
        too_long = said.isdigit() and int(said[:20]) > self._most_bytes
        more = True
        while more and not too_long:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            data += message.get("body", b"")
            more = message.get("more_body", False)
            too_long = len(data) > self._most_bytes
        if too_long:
            raise Refused(f"the body has more than {self._most_bytes} bytes", status=413)
        return bytes(data)

    async def _answer(self, request: Request, shape: Shape, receive: Receive, send: Send) -> None:
        """Answer a request, unless the client goes away first."""
        pieces = self._pieces(request)
        gone = asyncio.create_task(_disconnected(receive, request))
        try:
            if not shape.stream:
                text = "".join([piece async for piece in pieces])
                failed = _failed(request)
                if failed is not None:
                    raise failed
                await _json(send, shape.whole(text))
                return
            # errors before the first piece have a status of their own
            first = await anext(pieces, None)
            if first is None and (failed := _failed(request)) is not None:
                raise failed
            await _start(send, 200, b"text/event-stream; charset=utf-8", b"no-store")
            for body in shape.first():
                await _event(send, body)
            if first is not None:
                await _event(send, shape.piece(first))
            async for piece in pieces:
                await asyncio.sleep(0)  # time to hear that the client has gone
                if gone.done():
                    return
                await _event(send, shape.piece(piece))
            failed = _failed(request)
            for body in shape.last() if failed is None else [failed.body]:
                await _event(send, body)
            await _event(send, None)
        finally:
            request.cancelled = True
            gone.cancel()

    async def _pieces(self, request: Request) -> AsyncIterator[str]:
        """The pieces of an answer. Raises Refused when too many wait already."""
        loop, found = asyncio.get_running_loop(), asyncio.Queue[str | None]()

        def tell(piece: str | None) -> None:
            try:
                loop.call_soon_threadsafe(found.put_nowait, piece)
            except RuntimeError:  # the loop has ended, and with it all who wait
                request.cancelled = True

        request.on_text, request.on_end = tell, lambda: tell(None)
        try:
            self._backlog.add(request)
        except Full:
            raise Refused("too many requests wait already", status=503, code="busy") from None
        while (piece := await found.get()) is not None:
            yield piece


class _Gone(Exception):
    """The client has gone before its body was here."""


async def _disconnected(receive: Receive, request: Request) -> None:
    """Cancel the request when its client goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass
    request.cancelled = True


def _failed(request: Request) -> Refused | None:
    """Why a request has no answer, or only the beginning of one; None when it has."""
    if request.problem is not None:
        return refusal(request.problem)
    if request.reason == "cancelled":  # by the server: a client that has gone sees nothing
        return Refused("the server stops", status=503)
    if request.reason == "time" and not request.tokens:
        return Refused("the answer did not begin in time", status=504, code="timeout")
    return None


async def _start(send: Send, status: int, kind: bytes, cache: bytes, length: int = -1) -> None:
    headers = [(b"content-type", kind), (b"cache-control", cache)]
    if length >= 0:
        headers.append((b"content-length", b"%d" % length))
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _json(send: Send, body: object, status: int = 200, head: bool = False) -> None:
    data = json.dumps(body).encode()
    await _start(send, status, b"application/json", b"no-store", len(data))
    await send({"type": "http.response.body", "body": b"" if head else data})


async def _event(send: Send, body: object | None) -> None:
    """One server-sent event; None is the end of the stream."""
    text = "[DONE]" if body is None else json.dumps(body)
    data = f"data: {text}\n\n".encode()
    await send({"type": "http.response.body", "body": data, "more_body": body is not None})
