"""Bodies of OpenAI's completions and chat endpoints to requests, and answers to bodies.

Field names and their meaning are those of the OpenAI API reference, `/v1/completions` and
`/v1/chat/completions`. What the program cannot do is refused, not ignored, unless it
asks for nothing.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlc.runtime.errors import RunError
from tlc.serving.generation import Request

Template = Callable[[Sequence[Mapping[str, str]]], str]

# what asks for nothing where the program has no argument of this name
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "temperature": (1,),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "suffix": ("",),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
_UNUSED = frozenset(("user", "store", "metadata", "service_tier", "parallel_tool_calls"))
_READ = frozenset(
    ("model", "prompt", "messages", "max_tokens", "max_completion_tokens", "seed", "stop", "stream")
)
_READ |= {"stream_options", "echo"}
_RANGES = {"temperature": (0.0, 2.0), "top_p": (0.0, 1.0), "min_p": (0.0, 1.0)}
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_MOST_STOPS = 16


class Refused(Exception):
    """A body that is not answered: the status and what is said of it."""

    def __init__(
        self, message: str, param: str | None = None, status: int = 400, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refusal(problem: Exception) -> Refused:
    """What a request is told that has failed."""
    match problem:
        case Refused():
            return problem
        case RunError(code="E0510"):
            return Refused(problem.message, status=400, code="context_length_exceeded")
        case RunError(code="E0504" | "E0505" | "E0507" | "E0607"):
            return Refused(problem.message, status=400, code=problem.code)
        case RunError():
            return Refused(problem.message, status=500, code=problem.code)
    return Refused("the server failed; its log says how", status=500)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server allows a request: tokens of an answer, and seconds from its arrival."""

    tokens: int | None = None
    seconds: float = 600.0


class Format:
    """How requests of one endpoint are read and answered."""

    def __init__(
        self,
        model: str,
        arguments: Mapping[str, str],
        limits: Limits,
        template: Template | None = None,
    ) -> None:
        """`arguments` are those that the program reads; with a `template` it is the chat."""
        self._model, self._arguments, self._limits = model, arguments, limits
        self._template = template
        kind = "chat.completion" if template else "text_completion"
        self._kind, self._chunk = kind, f"{kind}.chunk" if template else kind
        self._prefix = "chatcmpl-" if template else "cmpl-"

    def request(self, body: object) -> tuple[Request, Shape]:
        """A request and the shape of its answer. Raises Refused."""
        if not isinstance(body, dict):
            raise Refused("the body is no JSON object")
        body = {name: value for name, value in body.items() if value is not None}
        self._known(body)
        most = _whole(body, "max_completion_tokens") or _whole(body, "max_tokens")
        if most and self._limits.tokens and most > self._limits.tokens:
            text = f"an answer has at most {self._limits.tokens} tokens here, and not {most}"
            raise Refused(text, "max_tokens")
        given = self._given(body)
        if most:
            given["max_tokens"] = str(most)
        prompt = self._prompt(body)
        request = Request(
            prompt,
            {name: text for name, text in given.items() if name in self._arguments},
            _seed(body),
            most or self._limits.tokens,
            _stop(body),
            time.monotonic() + self._limits.seconds,
        )
        stream = _flag(body, "stream")
        options = body.get("stream_options", {})
        if not isinstance(options, dict) or (options and not stream):
            raise Refused("`stream_options` is an object, for streams only", "stream_options")
        echo = prompt if _flag(body, "echo") else ""
        name = f"{self._prefix}{secrets.token_hex(12)}"
        head = {"id": name, "created": int(time.time()), "model": self._model}
        usage = _flag(options, "include_usage")
        return request, Shape(request, head, self._kind, self._chunk, stream, usage, echo)

    def _known(self, body: Mapping[str, Any]) -> None:
        """Refuse what neither this server nor the program knows."""
        chat = self._template is not None
        for name, value in body.items():
            if name in ("prompt", "echo") if chat else name == "messages":
                other = "completions" if chat else "chat/completions"
                raise Refused(f"`{name}` is for /v1/{other}", name)
            if name in _READ or name in _UNUSED or name in self._arguments:
                continue
            if name not in _NEUTRAL:
                known = ", ".join(sorted(self._arguments.keys() - {"prompt"}))
                raise Refused(f"`{name}` is not known; the program itself reads {known}", name)
            if not any(value == neutral for neutral in _NEUTRAL[name]):
                raise Refused(f"the program that is served has no `{name}`", name)

    def _given(self, body: Mapping[str, Any]) -> dict[str, str]:
        """The arguments of the program that a body sets."""
        given: dict[str, str] = {}
        for name in self._arguments.keys() - {"prompt", "max_tokens"}:
            if name not in body or name in _READ:
                continue
            value = body[name]
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise Refused(f"`{name}` is a number or a text", name)
            if isinstance(value, float) and not math.isfinite(value):
                raise Refused(f"`{name}` is beyond all numbers", name)
            if name in _RANGES:
                low, high = _RANGES[name]
                if isinstance(value, str) or not low <= value <= high:
                    raise Refused(f"`{name}` lies between {low:g} and {high:g}", name)
            given[name] = str(value)
        return given

    def _prompt(self, body: Mapping[str, Any]) -> str:
        if self._template is not None:
            messages = _messages(body.get("messages"))
            try:
                return self._template(messages)
            except RunError as problem:
                raise Refused(problem.message, "messages", code=problem.code) from None
        prompt = body.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if not isinstance(prompt, str):
            raise Refused("`prompt` is one text; lists and token ids are not taken", "prompt")
        return prompt


class Shape:
    """The bodies that answer one request."""

    def __init__(
        self, request: Request, head: dict[str, Any], kind: str, chunk: str, stream: bool,
        usage: bool, echo: str,
    ) -> None:  # fmt: skip
        self._request, self._head, self._kind, self._chunk = request, head, kind, chunk
        self.stream, self._usage, self._echo = stream, usage, echo
        self._chat = kind.startswith("chat")

    def whole(self, text: str) -> dict[str, Any]:
        """The answer at once."""
        said = {"role": "assistant", "content": text}
        what = {"message": said} if self._chat else {"text": self._echo + text}
        choice = {"index": 0, **what, "logprobs": None, "finish_reason": self._reason()}
        return {**self._head, "object": self._kind, "choices": [choice], "usage": self._counts()}

    def first(self) -> list[dict[str, Any]]:
        """What a stream begins with."""
        if self._chat:
            return [self._choice({"delta": {"role": "assistant", "content": ""}})]
        return [self._choice({"text": self._echo})] if self._echo else []

    def piece(self, text: str) -> dict[str, Any]:
        """The next piece of the answer."""
        return self._choice({"delta": {"content": text}} if self._chat else {"text": text})

    def last(self) -> list[dict[str, Any]]:
        """What a stream ends with."""
        ends = [self._choice({"delta": {}} if self._chat else {"text": ""}, self._reason())]
        if self._usage:
            body = {**self._head, "object": self._chunk, "choices": [], "usage": self._counts()}
            ends.append(body)
        return ends

    def _choice(self, what: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, **what, "logprobs": None, "finish_reason": reason}
        usage = {"usage": None} if self._usage else {}
        return {**self._head, "object": self._chunk, "choices": [choice], **usage}

    def _reason(self) -> str:
        return "stop" if self._request.reason == "stop" else "length"

    def _counts(self) -> dict[str, int]:
        prompt, answer = self._request.prompt_tokens, self._request.tokens
        total = prompt + answer
        return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": total}


def _messages(found: Any) -> list[dict[str, str]]:
    if not isinstance(found, list) or not found:
        raise Refused("`messages` is a list of at least one message", "messages")
    return [_message(message, f"messages[{at}]") for at, message in enumerate(found)]


def _message(message: Any, place: str) -> dict[str, str]:
    if not isinstance(message, dict):
        raise Refused(f"`{place}` is no object", place)
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise Refused(f"the role of `{place}` is one of {', '.join(_ROLES)}", place)
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) < len(content):
            raise Refused(f"`{place}` holds something else than text", place)
        content = "".join(texts)
    if not isinstance(content, str) or message.get("tool_calls"):
        raise Refused(f"`{place}` has no text as its content", place)
    return {"role": _ROLES[role], "content": content}


def _whole(body: Mapping[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1 << 31:
        raise Refused(f"`{name}` is a whole number of at least 1", name)
    return value


def _seed(body: Mapping[str, Any]) -> int | None:
    seed = body.get("seed")
    if seed is None:
        return None
    if isinstance(seed, bool) or not isinstance(seed, int) or not -(1 << 63) <= seed < 1 << 63:
        raise Refused("`seed` is a whole number of 64 bits", "seed")
    return seed


def _stop(body: Mapping[str, Any]) -> tuple[str, ...]:
    stop = body.get("stop", [])
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(text, str) and text for text in stops):
        raise Refused("`stop` is a text, or a list of texts, none of them empty", "stop")
    if len(stops) > _MOST_STOPS:
        raise Refused(f"`stop` has at most {_MOST_STOPS} texts", "stop")
    return tuple(stops)


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise Refused(f"`{name}` is true or false", name)
    return value
