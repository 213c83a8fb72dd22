"""Prompts to answers, by runs of a program that reads `arg("prompt", ..)` and prints what follows.

The answer is the text of the tokens that `main` gives to `detokenize_incremental`. A program may
then read `input()`, and go on behind its answer with the text that it gets. Where a prompt begins
with the last one and its answer, only the rest is such a text: the program's cache holds what is
before it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tlc.runtime.errors import RunError
from tlc.runtime.format import all_steps
from tlc.runtime.texts import Texts
from tlc.runtime.tokenizer.tokenizer import Tokenizer

Following = Callable[[], "Request | None"]


@dataclass(slots=True, eq=False)
class Request:
    """A prompt, how it is answered, and what came of that.

    `given` are other arguments of the program. `most` tokens are answered at most, up to a text of
    `stop` and up to the time `until` (of `time.monotonic`); the context must have `room` for so
    many of them. `on_text` gets pieces of the answer,
    and `on_end` is called once; both on the thread of the run. `cancelled` may be set on any.
    """

    prompt: str
    given: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    most: int | None = None
    stop: Sequence[str] = ()
    until: float = float("inf")
    room: int = 1
    on_text: Callable[[str], object] = lambda text: None
    on_end: Callable[[], object] = lambda: None
    cancelled: bool = False
    prompt_tokens: int = 0
    tokens: int = 0
    reason: str = ""  # why the answer ended: stop, length, time or cancelled
    problem: Exception | None = None  # why there is none

    def end(self, reason: str) -> None:
        self.reason = reason
        self.on_end()

    def fail(self, problem: Exception) -> None:
        self.problem = problem
        self.on_end()


class Generator:
    """A program that answers prompts, one after the other."""

    def __init__(self, program: Any, context: int | None = None, seed: int | None = None) -> None:
        """`context` tokens are the most of prompt and answer; what the model file says when left
        out. `seed` is that of requests that name none; each run draws one when it is left out.

        Raises RunError E0509 for a program that does not answer prompts.
        """
        self._program, self._seed = program, seed
        steps = list(all_steps(program.entry("main").record["steps"]))
        # arguments that the program reads: name -> what they are when left out
        self.arguments = _arguments(steps)
        # those that it reads again for each answer
        again = [list(all_steps(step[3])) for step in steps if step[0] == "loop"]
        self.again = frozenset(
            name
            for inner in again
            if any(_reads_lines(s) for s in inner)
            for name in _arguments(inner)
        )
        tokens = [step for step in steps if step[0] == "detokenize_next"]
        if "prompt" not in self.arguments or not tokens:
            raise RunError(
                "E0509",
                "the program does not answer prompts",
                '`main` has to read `arg("prompt", ..)` and print `detokenize_incremental(..)`;'
                " examples/llm/generate.tl does",
            )
        self.model: int = tokens[0][3]  # the number of the model that holds the tokenizer
        self.context = context or context_length(self.metadata)

    @property
    def metadata(self) -> Mapping[str, object]:
        """What the file of the tokenizer says of itself."""
        found: Mapping[str, object] = self._program.weights.models.metadata(self.model)
        return found

    @property
    def tokenizer(self) -> Tokenizer:
        found: Tokenizer = self._program.weights.models.tokenizer(self.model)
        return found

    def run(self, following: Following) -> None:
        """Answer the requests that `following` gives, until it gives None."""
        request = following()
        while request is not None:
            run = _Run(self, request, following)
            self._program.seed = self._seed_of(request)
            try:
                self._program.call(self._program.entry("main"), (), _unread, texts=run)
                run.end()
            except _Ended as ended:
                run.end(ended.reason)
            except _Another as other:
                request = other.request
                continue
            except Exception as problem:
                run.fail(problem)
            request = following() if run.goes_on_after else None

    def most(self, request: Request) -> int | None:
        """How many tokens the answer may have, when that is known."""
        if request.most is not None:
            return request.most
        text = request.given.get("max_tokens", self.arguments.get("max_tokens", ""))
        return int(text) if text.isdecimal() else None

    def _seed_of(self, request: Request) -> int:
        if request.seed is not None:
            return request.seed
        return self._seed if self._seed is not None else int.from_bytes(os.urandom(6), "big")


def context_length(metadata: Mapping[str, object]) -> int | None:
    """The tokens that a model was trained to read: `llama.context_length` of a GGUF file, and
    `max_position_embeddings` of a `config.json`."""
    found = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    found = metadata.get("max_position_embeddings") if found is None else found
    return found if isinstance(found, int) and found > 0 else None


def _arguments(steps: Iterable[list[Any]]) -> dict[str, str]:
    """The arguments that steps read, and what they are when left out."""
    names = (step[3] for step in steps if step[0] == "text" and step[2] == "arg")
    return dict(name.split("=", 1) for name in names)


def _reads_lines(step: list[Any]) -> bool:
    return step[0] == "text" and bool(step[2] == "input")


def _unread(text: str) -> None:
    """What is printed is nobody's: answers are made of tokens."""


class _Ended(BaseException):
    """An answer ends before its program does."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class _Another(BaseException):
    """A request that does not go on with what the program holds."""

    def __init__(self, request: Request) -> None:
        self.request = request


class _Run(Texts):
    """What one run of the program reads, prints and makes of tokens."""

    __slots__ = (
        "_arguments", "_context", "_cut", "_following", "_generator", "_most", "_open", "_request",
        "_said", "_total", "goes_on_after",
    )  # fmt: skip

    def __init__(self, generator: Generator, request: Request, following: Following) -> None:
        self._arguments = {**request.given, "prompt": request.prompt}
        super().__init__(self._arguments)
        self._generator, self._following = generator, following
        self._context = generator.context
        self._total = 0  # tokens that the program holds
        self.goes_on_after = True  # whether there may be requests behind this run
        self._begin(request)

    def _begin(self, request: Request) -> None:
        self._request, self._most = request, self._generator.most(request)
        self._cut = Cut(request.stop)
        self._said: list[str] = []
        self._streams.clear()  # a character that the last answer left unfinished
        self._open = True

    # ---- what the program asks for ---------------------------------------------------------------

    def read(self, source: str, name: str) -> int:
        if source != "input":
            return super().read(source, name)
        self.end()
        before, held = self._request, self._held()
        request = self._following()
        if request is None:
            self.goes_on_after = False
            return self.number("")
        if held is None or not request.prompt.startswith(held) or request.prompt == held:
            raise _Another(request)
        if not (request.seed is before.seed is None and self._alike(request, before)):
            raise _Another(request)
        self._arguments.update(request.given)
        for name in before.given.keys() - request.given.keys():
            del self._arguments[name]
        self._begin(request)
        return self.number(request.prompt[len(held) :])

    def _alike(self, request: Request, before: Request) -> bool:
        """Whether two requests differ in nothing that the program reads only once."""
        once = self._generator.arguments.keys() - self._generator.again
        return all(request.given.get(name) == before.given.get(name) for name in once)

    def _held(self) -> str | None:
        """The text of the tokens that the program holds; None where a token wrote no text."""
        text = "".join(self._said)
        if not self._said or not self._said[-1] or "\ufffd" in text:
            return None
        return self._request.prompt + text

    def tokens(self, at: int, tokenizer: Tokenizer, around: bool, place: str) -> list[int]:
        ids = super().tokens(at, tokenizer, around, place)
        self._total += len(ids)
        self._request.prompt_tokens = self._total
        context = self._context
        if context is not None and self._total + self._request.room > context:
            raise RunError(
                "E0510",
                f"the prompt has {self._total} tokens, and the model reads {context}"
                " with its answer",
            )
        return ids

    def goes_on(self, token: int, model: int, tokenizer: Tokenizer, place: str) -> int:
        request = self._request
        if request.cancelled:
            raise _Ended("cancelled")
        if token in (tokenizer.eos, tokenizer.eot):
            raise _Ended("stop")
        full = self._context is not None and self._total >= self._context
        if full or (self._most is not None and request.tokens >= self._most):
            raise _Ended("length")
        if time.monotonic() > request.until:
            raise _Ended("time")
        number = super().goes_on(token, model, tokenizer, place)
        request.tokens += 1
        self._total += 1
        self._said.append(self[number])
        self._tell(self._cut.add(self[number]))
        if self._cut.found:
            raise _Ended("stop")
        return number

    # ---- what comes of it ------------------------------------------------------------------------

    def end(self, reason: str = "") -> None:
        """The answer is complete; by itself when no other reason is given."""
        if not self._open:
            return
        self._open = False
        self._tell(self._cut.rest())
        length = self._most is not None and self._request.tokens >= self._most
        self._request.end(reason or ("length" if length else "stop"))

    def fail(self, problem: Exception) -> None:
        if not self._open:
            raise problem  # of what came after the answer: nobody asked for it
        self._open = False
        self._request.fail(problem)

    def _tell(self, text: str) -> None:
        if text:
            self._request.on_text(text)


class Cut:
    """Pieces of a text up to the first of some others, which is left out; what may be the
    beginning of one is held back."""

    __slots__ = ("_held", "_stop", "found")

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop, self._held = tuple(filter(None, stop)), ""
        self.found = False

    def add(self, piece: str) -> str:
        """What is certain with one more piece."""
        text = self._held + piece
        places = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if places:
            self.found, self._held = True, ""
            return text[: min(places)]
        held = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def rest(self) -> str:
        """What is held back, when nothing comes behind it."""
        text, self._held = self._held, ""
        return text


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of a text that is a proper beginning of another."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
