"""Short ways to parse a text and to look at the result."""

from collections.abc import Callable, Iterator

import pytest

from tlc.frontend import ast
from tlc.frontend.diagnostics import render_text
from tlc.frontend.parser import parse, tokenize
from tlc.frontend.source import Source
from tlc.frontend.unparse import explicit


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TLC_CACHE_DIR", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def parsed() -> Callable[[str], ast.Program]:
    """The tree of a program that has no errors."""

    def parse_text(text: str) -> ast.Program:
        program, problems = parse(Source("test.tl", text))
        assert not problems, "\n".join(map(render_text, problems))
        return program

    return parse_text


@pytest.fixture(scope="session")
def lines(parsed: Callable[[str], ast.Program]) -> Callable[[str], list[str]]:
    """Every line of a program without errors, with brackets around the operands of operators."""
    return lambda text: [explicit(node) for node in parsed(text).body]


@pytest.fixture(scope="session")
def errors() -> Callable[[str], list[str]]:
    """The code and message of every error of a text."""

    def messages(text: str) -> list[str]:
        return [f"{p.code} {p.message}" for p in parse(Source("test.tl", text))[1]]

    return messages


@pytest.fixture(scope="session")
def kinds() -> Callable[[str], str]:
    """The kinds of the tokens that the parser gets, with `;` for the end of a statement."""

    def shown(text: str) -> str:
        tokens = tokenize(Source("test.tl", text))[0]
        return " ".join(";" if token.kind == "NEWLINE" else token.kind for token in tokens)

    return shown
