"""`tlc run` of examples/llm/chat.tl by a person at a terminal, played by a pty."""

from __future__ import annotations

import contextlib
import io
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.serving import ROOT, built, generator
from tests.test_generation import LLAMA2
from tlc.cli import run
from tlc.serving.conversation import Conversation

pty = pytest.importorskip("pty", reason="this system has no ptys")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    built(folder, "chat")
    (folder / "llama2.jinja").write_text(LLAMA2)
    return folder


class Terminal:
    """A process that believes to talk to a person."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._ours, theirs = pty.openpty()
        command = [
            *(sys.executable, "-m", "tlc", "run", str(folder / "chat.metallib")),
            *("--device", "cpu", "--template", str(folder / "llama2.jinja"), *options),
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True, preexec_fn=lambda: _controlled(theirs),
        )  # fmt: skip
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._ours)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def shown(self, until: str) -> str:
        """What is on the screen, up to a text."""
        found, end = b"", time.monotonic() + 30
        while until.replace("\n", "\r\n").encode() not in found:
            assert select.select([self._ours], [], [], max(end - time.monotonic(), 0))[0], found
            try:
                data = os.read(self._ours, 4096)
            except OSError:  # the process has ended
                data = b""
            assert data, found
            found += data
        return found.decode("utf-8", "replace").replace("\r\n", "\n")

    def interrupted(self) -> int:
        """The exit code of what Ctrl-C ends. One that arrives just before Python begins to wait for
        a line is noticed only with the next key, so it is pressed until it is."""
        for _ in range(10):
            self.type("\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._process.wait(3)
        raise AssertionError("Ctrl-C ends nothing")

    def ended(self) -> int:
        """The exit code."""
        with contextlib.suppress(OSError):
            while select.select([self._ours], [], [], 30)[0] and os.read(self._ours, 4096):
                pass
        return self._process.wait(30)


def _controlled(terminal: int) -> None:
    """Make a terminal the one that Ctrl-C comes from."""
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


COLD = ("--temperature", "0", "--max-tokens", "5")


def test_turns_commands_and_the_end(folder: Path) -> None:
    with Terminal(folder, *COLD) as terminal:
        assert "/help shows the commands" in terminal.shown("> ")
        terminal.type("more\n")
        assert "/Cp x" in terminal.shown("\n> ")
        terminal.type("/help\n")
        assert "/reset" in terminal.shown("\n> ")
        terminal.type("\n/nope\n")
        assert "no command is called `/nope`" in terminal.shown("shows them\n> ")
        terminal.type("/reset\n")
        assert "the conversation begins anew" in terminal.shown("\n> ")
        terminal.type("/quit\n")
        assert terminal.ended() == 0


def test_the_end_of_the_input_is_the_end(folder: Path) -> None:
    with Terminal(folder, *COLD) as terminal:
        terminal.shown("> ")
        terminal.type("\x04")
        assert terminal.ended() == 0


def test_the_context_is_kept_by_forgetting_the_oldest_turns(folder: Path) -> None:
    with Terminal(folder, *COLD, "--context", "60") as terminal:
        terminal.shown("> ")
        for _ in range(2):
            terminal.type("more\n")
            terminal.shown("\n> ")
        terminal.type("more\n")
        assert "the context was full: the oldest turn is forgotten" in terminal.shown("\n> ")
        terminal.type("x" * 100 + "\n")
        said = terminal.shown("with its answer\n> ")
        assert "error[E0510]: the prompt has" in said
        terminal.type("more\n")
        assert "/Cp x" in terminal.shown("\n> ")
        terminal.type("/quit\n")
        assert terminal.ended() == 0


def test_ctrl_c_ends_where_there_is_no_answer_to_stop(folder: Path) -> None:
    with Terminal(folder, *COLD) as terminal:
        terminal.shown("> ")
        assert terminal.interrupted() == 130


def test_what_a_model_says_commands_no_terminal(
    conversation: Conversation, capsys: pytest.CaptureFixture[str]
) -> None:
    for terminal, wanted in ((False, "a\x1b[2J\n\té"), (True, "a\ufffd[2J\n\té")):
        conversation._terminal = terminal
        conversation._tell("a\x1b[2J\n\té")
        assert capsys.readouterr().out == wanted


class Person:
    """Stands for standard input: lines, among them presses of Ctrl-C."""

    def __init__(self, *lines: str) -> None:
        self._lines = [*lines]

    def isatty(self) -> bool:
        return False

    def readline(self) -> str:
        line = self._lines.pop(0) if self._lines else ""
        if line == "^C":
            raise KeyboardInterrupt
        return line and line + "\n"


@pytest.fixture
def conversation(folder: Path) -> Conversation:
    given = {"temperature": "0", "max_tokens": "90"}
    chat = generator(str(folder / "chat.metallib"), seed=0)
    return Conversation(chat, lambda messages: "we said", given, lambda text: print(text, end=""))


def test_ctrl_c_stops_the_answer_and_the_next_ends(
    conversation: Conversation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pressed at the third piece of the first answer, and at the prompt behind it."""
    pieces: list[str] = []
    tell = conversation._tell

    def press(piece: str) -> None:
        tell(piece)
        pieces.append(piece)
        if len(pieces) == 3:
            os.kill(os.getpid(), 2)

    monkeypatch.setattr(conversation, "_tell", press)
    monkeypatch.setattr("sys.stdin", Person("hello", "^C", "never"))
    with pytest.raises(KeyboardInterrupt):
        conversation.talk()
    assert len(pieces) == 3
    assert capsys.readouterr().out == "".join(pieces) + "\n"


def refused(folder: Path, *options: str) -> str:
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert run(["run", *options, "--device", "reference"]) == 1
    return said.getvalue()


def test_mistakes(folder: Path, tmp_path: Path) -> None:
    chat = str(folder / "chat.metallib")
    said = refused(folder, chat, "--prompt", "hi")
    assert "error[E0608]: the model file has no chat template" in said
    assert "--template FILE" in said
    (tmp_path / "bad.jinja").write_text("{{ raise_exception('no users here') }}")
    said = refused(folder, chat, "--prompt", "hi", "--template", str(tmp_path / "bad.jinja"))
    assert "the chat template fails: no users here" in said
    (tmp_path / "p.tl").write_text("print(1)\n")
    said = refused(folder, str(tmp_path / "p.tl"), "--system", "Be brief.")
    assert "`--system` is for conversations, and this is none" in said


def test_a_pipe_gets_an_answer_piece_by_piece_when_it_asks_for_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pipe(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += bool(self.getvalue())

    given = ("--template", str(folder / "llama2.jinja"), "--prompt", "more", *COLD)
    flushed = []
    for options in ((), ("--stream",)):
        pipe = Pipe()
        with contextlib.redirect_stdout(pipe):
            assert run(["run", str(folder / "chat.metallib"), *given, *options]) == 0
        assert pipe.getvalue().startswith("/Cp x")
        flushed.append(pipe.flushed)
    assert flushed[0] == 1, "as a whole, at the end"
    assert flushed[1] >= 5
