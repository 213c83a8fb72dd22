"""What every test may use: golden files, and hypothesis runs that are the same each time."""

import difflib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

GOLDEN = Path(__file__).parent / "golden"
KERNELS: set[str] = set()  # texts of what `--lint-kernels` has linted

settings.register_profile(
    "tlc", derandomize=True, deadline=None, max_examples=int(os.environ.get("TLC_FUZZ", "60"))
)
settings.load_profile("tlc")

# a shell lets what it starts in the background ignore Ctrl-C, and all that is started from there
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")
    parser.addoption("--lint-kernels", action="store_true", help="lint every kernel in the end")


@pytest.fixture(scope="session", autouse=True)
def lint_of_kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """With `--lint-kernels`, the kernels of all programs that this process builds are linted."""
    if not request.config.getoption("--lint-kernels"):
        yield
        return
    from tests.msl.emitted import collected, problems

    with collected() as found:
        yield
    said = problems(list(found.values()))
    KERNELS.update(found)
    if (output := getattr(request.config, "workeroutput", None)) is not None:
        output["kernels"] = list(found)
    assert not said, "\n".join([f"{len(said)} messages about {len(found)} kernels", *said[:20]])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process of pytest-xdist ends, and says what it linted."""
    KERNELS.update(node.workeroutput.get("kernels", ()) if hasattr(node, "workeroutput") else ())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if KERNELS:
        terminalreporter.write_line(f"{len(KERNELS)} kernels were linted")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the file `tests/golden/NAME`, or rewrites it with `--update-golden`."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        wanted = path.read_text(encoding="utf-8") if path.exists() else ""
        if text != wanted:
            lines = wanted.splitlines(), text.splitlines()
            diff = difflib.unified_diff(*lines, f"golden/{name}", "now", lineterm="")
            pytest.fail("\n".join(["the golden file differs:", *diff]), pytrace=False)

    return compare
