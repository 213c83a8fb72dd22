"""`tlc run` of a program that converses: lines of a person to turns, answers as they come.

A program converses when its `main` answers prompts (`generation.py`) and reads `input()` behind its
answer. What is forgotten when the context is full are the oldest turns, never the instruction. On a
terminal a line is a turn or a command; Ctrl-C stops an answer, and ends the program where there is
none. Otherwise each line of the input is a turn, until an empty one or its end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

from tlc.runtime.errors import RunError
from tlc.serving.generation import Generator, Request

_HELP = """/reset        forget what was said
/system TEXT  begin anew with this instruction
/quit         end, as Ctrl-D does
Ctrl-C        stop the answer; end, where there is none"""
_ROOM = 256  # tokens that an answer should have room for, where the context is long enough

# what models say is nothing that a terminal should obey: controls, but tabs and ends of lines
_HARMLESS = {code: 0xFFFD for code in (*range(32), *range(127, 160)) if code not in (9, 10)}


class Conversation:
    """What was said, and who is asked next."""

    def __init__(
        self,
        generator: Generator,
        template: Callable[[Sequence[Mapping[str, str]]], str],
        given: Mapping[str, str],
        write: Callable[[str], object],
        system: str = "",
    ) -> None:
        """`template` writes messages for the model, `given` are arguments of the program. `write`
        takes what is answered."""
        self._generator, self._template, self._given = generator, template, given
        self._write = write
        self._begin(system)
        self._forgotten: list[dict[str, str]] = []  # to make room for the turn at hand
        self._request: Request | None = None
        self._said: list[str] = []
        self._terminal = sys.stdin.isatty()
        most = given.get("max_tokens", generator.arguments.get("max_tokens", ""))
        room = min(int(most) if most.isdecimal() else _ROOM, _ROOM)
        self._room = max(min(room, (generator.context or 4 * room) // 4), 1)

    def talk(self) -> None:
        """Answer turn by turn. Raises KeyboardInterrupt where no answer is stopped by it."""
        if self._terminal:
            note("/help shows the commands, Ctrl-D ends")
        with _interrupted_by(self._interrupt), _line_editing(self._terminal):
            try:
                self._generator.run(self._following)
            except KeyboardInterrupt:
                note("")  # the line that was begun ends
                raise

    def ask(self, turn: str) -> None:
        """Answer one turn. Raises RunError when it cannot be."""
        left = [turn]
        with _interrupted_by(self._interrupt):
            self._generator.run(lambda: self._asked(left.pop()) if left else None)
        request = self._request
        if request is not None and isinstance(request.problem, Exception):
            raise request.problem
        if request is not None and request.cancelled:
            raise KeyboardInterrupt

    # ---- turns -----------------------------------------------------------------------------------

    def _begin(self, system: str) -> None:
        self._messages = [{"role": "system", "content": system}] if system else []

    def _following(self) -> Request | None:
        """The request of the next turn; the same turn again without the oldest, when the context
        was too short for it."""
        last = self._request
        if last is not None and last.problem is not None:
            if _code(last.problem) == "E0510" and self._forget_oldest():
                return self._asked()
            self._messages[self._first : self._first] = self._forgotten
            self._forgotten = []
            self._messages.pop()
            if not self._terminal or not isinstance(last.problem, RunError):
                raise last.problem
            note(str(last.problem))
        while True:
            turn = self._line()
            if turn is None:
                return None
            try:
                return self._asked(turn)
            except RunError as problem:  # of the template
                if not self._terminal:
                    raise
                self._messages.pop()
                note(str(problem))

    @property
    def _first(self) -> int:
        """Where the first turn is: behind the instruction."""
        return 1 if self._messages and self._messages[0]["role"] == "system" else 0

    def _forget_oldest(self) -> bool:
        """Leave out the oldest turn and its answer; False where there is only one."""
        oldest = self._messages[self._first : self._first + 2]
        if len(self._messages) - self._first < 3:
            return False
        del self._messages[self._first : self._first + 2]
        self._forgotten += oldest
        return True

    def _asked(self, turn: str | None = None) -> Request:
        if turn is not None:
            self._messages.append({"role": "user", "content": turn})
        self._said = []
        self._request = Request(
            self._template(self._messages),
            self._given,
            room=self._room,
            on_text=self._tell,
            on_end=self._answered,
        )
        return self._request

    def _tell(self, text: str) -> None:
        self._said.append(text)
        self._write(text.translate(_HARMLESS) if self._terminal else text)

    def _answered(self) -> None:
        request = self._request
        if request is None or request.problem is not None:
            return
        if self._said:
            self._messages.append({"role": "assistant", "content": "".join(self._said)})
        else:
            self._messages.pop()
        self._write("\n")
        if self._forgotten:
            turns = len(self._forgotten) // 2
            what = "turn is" if turns == 1 else f"{turns} turns are"
            note(f"the context was full: the oldest {what} forgotten")
            self._forgotten = []
        context = self._generator.context
        if context is not None and request.prompt_tokens + request.tokens >= context:
            note("the context is full here")

    # ---- lines -----------------------------------------------------------------------------------

    def _line(self) -> str | None:
        """The next turn; None at the end."""
        while True:
            try:
                line = input("> ") if self._terminal else sys.stdin.readline()
            except EOFError:
                print()
                return None
            line = line.encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip()
            command, _, text = line.partition(" ")
            if not self._terminal:
                return line or None
            match command:
                case "/quit" | "/exit" | "/bye":
                    return None
                case "/reset" | "/system":
                    system = self._messages[:1] if command == "/reset" else []
                    kept = [m["content"] for m in system if m["role"] == "system"]
                    self._begin(text.strip() or "".join(kept))
                    self._request = None
                    note("the conversation begins anew")
                case "/help":
                    note(_HELP)
                case _ if command.startswith("/") and command[1:].isalpha():
                    note(f"no command is called `{command}`; /help shows them")
                case _ if line:
                    return line

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-C: stop the answer that is being given, or end."""
        request = self._request
        if request is None or request.reason or request.problem or request.cancelled:
            raise KeyboardInterrupt
        request.cancelled = True


def note(text: str) -> None:
    """Say something that is no answer."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)


def _code(problem: Exception | None) -> str:
    return problem.code if isinstance(problem, RunError) else ""


@contextlib.contextmanager
def _interrupted_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Ctrl-C as a call, where this is the thread that signals come to."""
    try:
        before = signal.signal(signal.SIGINT, handler)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _line_editing(terminal: bool) -> Iterator[None]:
    """Lines that can be edited and found again, where Python has readline; kept in the cache."""
    try:
        if not terminal:
            raise ImportError
        import readline
    except ImportError:
        yield
        return
    from tlc.runtime.devices.cache import folder

    path = os.path.join(folder(), "turns")
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(1000)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            readline.write_history_file(path)


def converse(
    program: Any,
    options: dict[str, Any],
    given: dict[str, str],
    write: Callable[[str], object],
) -> int:
    """`tlc run` of a program that converses; the exit code. Raises RunError."""
    from tlc.serving.chat_template import chat_template

    context = options["context"]
    generator = Generator(program, None if context is None else int(context), program.seed)
    template = chat_template(generator.metadata, generator.tokenizer, options["template"])
    prompt = given.pop("prompt", None)
    conversation = Conversation(generator, template, given, write, options["system"] or "")
    if prompt is None:
        conversation.talk()
    else:
        conversation.ask(prompt)
    return 0
