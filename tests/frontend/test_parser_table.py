"""The grammar's table: free of conflicts, kept in a private folder, and none of PLY's traps."""

import marshal
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from ply import lex, yacc

from tlc.frontend import ast, cache, grammar, parser
from tlc.frontend.parser import alternatives, build_table, parse
from tlc.frontend.source import Source
from tlc.frontend.unparse import unparse

ROOT = Path(__file__).parent.parent.parent
TEXT = "fn f(a: T) -> T { let b = a ** 2 + 1; b }\n"
WRITTEN = "fn f(a: T) -> T {\n    let b = a ** 2 + 1\n    b\n}\n"


def parses() -> bool:
    program, problems = parse(Source("test.tl", TEXT))
    return not problems and unparse(program) == WRITTEN


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own, and a parser that has not loaded its table yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(parser, "_table", None)
    return tmp_path / "tlc"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "_table", None)


# ---- the grammar ------------------------------------------------------------------------------


def test_the_grammar_has_no_conflicts() -> None:
    assert build_table().conflicts == []


def test_every_symbol_of_the_grammar_is_defined_and_used() -> None:
    rows = [symbols for symbols, _ in alternatives()]
    defined = {row[0] for row in rows}
    used = {symbol for row in rows for symbol in row[1:]}
    unquoted = {symbol for symbol in used - {"%prec"} if symbol.islower() and symbol[0] != "'"}
    assert unquoted - defined == {"error"}
    assert defined - used == {"program"}


def test_every_rule_with_an_error_ends_at_the_end_of_a_line() -> None:
    # an `error` without a token to stop at would be reduced again and again
    found = [row for row, _ in alternatives() if "error" in row]
    assert found
    assert all(row[1:] == [row[0], "error", "NEWLINE"] for row in found)


def test_a_changed_grammar_does_not_use_the_old_table(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parse(Source("test.tl", "break break"))[1]
    rules = (*grammar.RULES, ("jump : 'break' 'break'", lambda a, b: ast.Break(a.span)))
    monkeypatch.setattr(parser, "RULES", rules)
    forget(monkeypatch)
    assert parse(Source("test.tl", "break break"))[1] == []
    assert len(list(fresh.iterdir())) == 2


# ---- the cache --------------------------------------------------------------------------------


def test_the_table_is_kept_and_loaded(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parses()
    (kept,) = fresh.iterdir()
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o700
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    forget(monkeypatch)
    monkeypatch.setattr(parser, "build_table", lambda: pytest.fail("built again"))
    assert parses()


def sealed(content: bytes) -> bytes:
    return sha256(content).digest() + content


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "cut in the digest": lambda data: data[:10],
    "one bit": lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:],
    "longer": lambda data: data + b"x",
    "noise": lambda data: bytes(range(256)) * 40,
    "not a table": lambda data: sealed(marshal.dumps(("a", 1))),
    "numbers": lambda data: sealed(marshal.dumps((1, 2, 3))),
    "not three parts": lambda data: sealed(marshal.dumps(7)),
    "rows missing": lambda data: sealed(marshal.dumps(({}, {}, []))),
    "cut marshal": lambda data: sealed(data[32:-100]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_table_is_built_again(
    damage: str, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parses()
    (kept,) = fresh.iterdir()
    kept.write_bytes(DAMAGE[damage](kept.read_bytes()))
    forget(monkeypatch)
    assert parses()
    forget(monkeypatch)
    monkeypatch.setattr(parser, "build_table", lambda: pytest.fail("the good table was not kept"))
    assert parses()


def never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marshal, "loads", lambda data: pytest.fail("foreign data was loaded"))
    forget(monkeypatch)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owner here")
class TestForeignFiles:
    def test_a_file_that_others_can_write(
        self, fresh: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert parses()
        (kept,) = fresh.iterdir()
        kept.chmod(0o666)
        never_loaded(monkeypatch)
        assert parses()

    def test_a_folder_that_others_can_write(
        self, fresh: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert parses()
        fresh.chmod(0o777)
        never_loaded(monkeypatch)
        assert parses()

    def test_a_file_of_another_user(self, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert parses()
        user = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: user + 1)
        never_loaded(monkeypatch)
        assert parses()

    def test_a_link_to_another_file(self, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert parses()
        (kept,) = fresh.iterdir()
        elsewhere = fresh.parent / "elsewhere"
        kept.rename(elsewhere)
        kept.symlink_to(elsewhere)
        never_loaded(monkeypatch)
        assert parses()

    def test_a_folder_in_place_of_the_file(
        self, fresh: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert parses()
        (kept,) = fresh.iterdir()
        kept.unlink()
        kept.mkdir()
        forget(monkeypatch)
        assert parses()
        assert list(fresh.iterdir()) == [kept], "nothing is left behind"


def test_a_cache_folder_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    forget(monkeypatch)
    assert parses()


@pytest.mark.parametrize(
    ("platform", "variable", "wanted"),
    [
        ("linux", "/cache", "/cache/tlc"),
        ("linux", "", "/home/me/.cache/tlc"),
        ("linux", "relative", "/home/me/.cache/tlc"),
        ("darwin", "", "/home/me/Library/Caches/tlc"),
    ],
)
def test_the_cache_folder(
    platform: str, variable: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    monkeypatch.setenv("HOME", "/home/me")
    assert cache.folder() == wanted


# ---- PLY's traps ------------------------------------------------------------------------------

SCRIPT = """
import sys
sys.path.insert(0, "")
sys.path.append({root!r})
from tlc.frontend.parser import parse
from tlc.frontend.source import Source
program, problems = parse(Source("test.tl", {text!r}))
from tlc.frontend.unparse import unparse
print(len(problems), unparse(program), end="")
"""


def run(folder: Path, *options: str) -> str:
    """What a new Python prints that parses in a folder where foreign table modules lie."""
    work = folder / "work"
    work.mkdir()
    for name in ("parsetab", "lextab", "yacctab"):
        (work / f"{name}.py").write_text("open('was_run', 'w').close()\n")
    before = sorted(os.listdir(work))
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    script = SCRIPT.format(root=str(ROOT), text=TEXT)
    command = [sys.executable, "-W", "error", *options, "-c", script]
    done = subprocess.run(
        command, cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert sorted(os.listdir(work)) == before, "nothing is written or run where the user works"
    return done.stdout


def test_no_table_module_is_run_and_no_file_is_written(tmp_path: Path) -> None:
    assert run(tmp_path) == "0 " + WRITTEN


def test_docstrings_carry_no_meaning(tmp_path: Path) -> None:
    assert run(tmp_path, "-OO") == "0 " + WRITTEN


def test_another_lexer_or_parser_made_with_ply_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lex, "lexer", None, raising=False)
    monkeypatch.setattr(lex, "token", None, raising=False)
    monkeypatch.setattr(yacc, "parse", None, raising=False)
    assert parses()


def test_parses_in_many_threads_do_not_meet(fresh: Path) -> None:
    texts = [f"a{number} = {number}\nlet = {number}\n" + TEXT * 20 for number in range(40)]

    def written(text: str) -> tuple[str, int]:
        program, problems = parse(Source("test.tl", text))
        return unparse(program), len(problems)

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(written, texts))
    assert together == [(f"a{n} = {n}\n" + WRITTEN * 20, 1) for n in range(40)]


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    for text in ("", "let", "a b", "(", "x = 1 +", "}"):
        parse(Source("test.tl", text))
    build_table()
    assert capfd.readouterr() == ("", "")
