"""`tlc serve`: a program that answers prompts, behind the HTTP of an ASGI server."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any

from tlc.frontend.diagnostics import Diagnostic
from tlc.runner import open_program, read_or_build
from tlc.runtime.errors import RunError
from tlc.serving.asgi import App
from tlc.serving.backlog import Backlog
from tlc.serving.generation import Generator
from tlc.serving.openai_api import Format, Limits, Template

_GRACE = 3  # seconds that answers have to end in when the server stops


def serve(
    path: str,
    options: dict[str, Any],
    timings: Any,
    show: Callable[[Iterable[Diagnostic]], None],
) -> int:
    """Serve a program until it is interrupted; the exit code.

    Raises RunError: E0613 without uvicorn, E0614 when it cannot listen, E0509 for a program that
    does not answer prompts.
    """
    artifact = read_or_build(path, options["store"], timings, show)
    program, _ = open_program(artifact, options["device"], [os.path.dirname(path), ""])
    seed = None if options["seed"] is None else int(options["seed"])
    generator = Generator(program, _count(options, "context"), seed)
    limits = Limits(_count(options, "max-tokens"), _count(options, "timeout") or 0)
    template = template_of(generator, options["template"])
    what = "completions" if isinstance(template, _NoTemplate) else "completions and chat"
    with _listening(options["host"], int(options["port"])) as listener:
        uvicorn = _uvicorn()
        app = application(
            generator,
            os.path.splitext(os.path.basename(path))[0],
            limits,
            template,
            most_bytes=_count(options, "max-body") or 0,
            most_waiting=_count(options, "max-waiting") or 0,
        )
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_GRACE,
            server_header=False,
        )
        host, port = listener.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        print(f"{path} answers {what} at http://{name}:{port}/v1; Ctrl-C ends it", file=sys.stderr)
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def application(
    generator: Generator,
    model: str,
    limits: Limits,
    template: Template | None = None,
    most_bytes: int = 1_000_000,
    most_waiting: int = 64,
) -> App:
    """The ASGI application that answers with a generator, under the name of a model; `template`
    writes messages, the model's own when left out."""
    arguments = generator.arguments
    writes = template or template_of(generator)
    formats = {
        "/v1/completions": Format(model, arguments, limits),
        "/v1/chat/completions": Format(model, arguments, limits, writes),
    }
    return App(Backlog(generator, most_waiting), model, formats, most_bytes)


def template_of(generator: Generator, path: str | None = None) -> Template:
    """The chat template of a file, or else the model's own; where that has none that works, one
    that says so when it is used. Raises RunError E0608 for a file that holds none."""
    from tlc.serving.chat_template import chat_template

    try:
        return chat_template(generator.metadata, generator.tokenizer, path)
    except RunError as problem:
        if path is not None:
            raise
        return _NoTemplate(problem)


class _NoTemplate:
    """Stands for the chat template of a model that has none."""

    def __init__(self, problem: RunError) -> None:
        self._problem = problem

    def __call__(self, messages: object) -> str:
        problem = self._problem
        raise RunError(problem.code, problem.message, problem.hint)


def _count(options: dict[str, Any], name: str) -> int | None:
    """An option that counts something; None when it is left out. Raises RunError E0504."""
    if options[name] is None:
        return None
    count = int(options[name])
    if count < 1:
        raise RunError("E0504", f"`--{name}` is at least 1, and not {count}")
    return count


def _uvicorn() -> Any:
    try:
        import uvicorn
    except ImportError:
        raise RunError(
            "E0613",
            "`tlc serve` needs the Python package uvicorn",
            "pip install 'tlc[serve]'",
        ) from None
    return uvicorn


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises RunError E0614."""
    try:
        if not 0 <= port < 1 << 16:
            raise OSError("ports are 0 to 65535")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as problem:
        why = problem.strerror or str(problem)
        hint = "--port N chooses another port" if "in use" in why else ""
        raise RunError("E0614", f"cannot listen at {host}:{port}: {why}", hint) from None
