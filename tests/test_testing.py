"""`tlc test`, `tlc bench`, assertions that fail, imports and input, as a user runs them."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

import tlc
from tlc import driver
from tlc.cli import run
from tlc.runtime.errors import RunError

DEVICES = pytest.mark.parametrize("device", ["cpu", "reference"])

TESTED = """\
let w = tensor([1.0, 2.0])
fn twice(x: float16[N]) -> float16[N] { x * 2.0 }
print("the top level is silent in a test")
test holds { assert_eq(twice(w), [2.0, 4.0]) }
test "fails for a reason" {
    print("shown, since the test fails")
    let n = argmax(w)
    assert(n == 0, "the largest is number {}", n)
}
test values { assert_eq(twice(w), [2.0, 5.0]) }
test known { assert(1 > 2) }
test stops {
    if sum(w) > 1.0 { panic("the sum is {}", sum(w)) }
    print("never")
}
bench doubling {
    let y = twice(w)
    print(y)
}
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "tested.tl"
    path.write_text(TESTED, encoding="utf-8")
    return path


@DEVICES
def test_each_test_is_run_and_the_failed_ones_are_explained(
    program: Path, device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["test", str(program), "--device", device]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "ok holds",
        "shown, since the test fails",
        "FAILED fails for a reason: tested.tl:8: the largest is number 1",
        "FAILED values: tested.tl:10: assertion failed: left is [2.0, 4.0], right is [2.0, 5.0]",
        "FAILED known: tested.tl:11: assertion failed: 1 > 2",
        "FAILED stops: tested.tl:13: panic: the sum is 3.0",
        "1 passed, 4 failed",
    ]


def test_when_all_tests_pass_the_exit_code_is_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "good.tl"
    path.write_text("test a { print(1) }\ntest b { assert(true) }\n")
    assert run(["test", str(path), "--device", "reference"]) == 0
    assert capsys.readouterr().out == "ok a\nok b\n2 passed, 0 failed\n"


def test_a_file_without_blocks_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.tl"
    path.write_text("print(1)\n")
    assert run(["test", str(path), "--device", "reference"]) == 0
    assert run(["bench", str(path), "--device", "reference"]) == 0
    assert capsys.readouterr().out == f"{path} has no `test` blocks\n{path} has no `bench` blocks\n"


def test_a_benchmark_reports_its_median(
    program: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlc.testing.SECONDS", 0.0)
    assert run(["bench", str(program), "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert re.fullmatch(r"doubling: [0-9.]+ (us|ms|s) \(median of 5 runs\)\n", shown)


def test_a_benchmark_does_its_work_each_time_and_nothing_else() -> None:
    text = "let x = relu(rand([8, 8])) @ ones([8, 8])\nbench both { exp(x)\n let y = x @ x }\n"
    entry = driver.build("b.tl", text=text, blocks=True).manifest["entries"]["bench both"]
    assert [step[0] for step in entry["steps"]] == ["launch", "launch"]
    assert entry["once"]  # the random numbers and their product


def test_blocks_are_checked_and_are_no_part_of_an_artifact(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(tlc.compile(program, device="reference").entries) == ["main", "twice"]
    program.write_text("test a { missing }\n")
    assert run(["check", str(program)]) == 1
    assert "unknown name `missing`" in capsys.readouterr().err


# ---- assertions in a run -------------------------------------------------------------------------


@DEVICES
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("assert(false)", "failed.tl:1: assertion failed: false"),
        ("let n = 3\nassert_eq(n, 4, \"n\")", "failed.tl:2: n: left is 3, right is 4"),
        ("let x = ones([2])\nassert(sum(x) > 5.0)", "failed.tl:2: assertion failed: sum(x) > 5.0"),
        ("assert_eq(ones([2]), ones([3]))",
         "failed.tl:1: assertion failed: left is [1.0, 1.0], right is [1.0, 1.0, 1.0]"),
        ("let x = zeros([1]) / zeros([1])\nassert_eq(x, x)",
         "failed.tl:2: assertion failed: left is [nan], right is [nan]"),
        ("for i in range(3) { if i == 2 { panic(\"at {}\", i) } }", "failed.tl:1: panic: at 2"),
        ("fn f(n: int) -> int { if n == 0 { panic(\"no end\") }\n f(n - 1) }\nprint(f(5))",
         "failed.tl:1: panic: no end"),
        ("let s = \"a\"\nassert_eq(s + \"b\", \"ba\")",
         "failed.tl:2: assertion failed: left is ab, right is ba"),
    ],
)  # fmt: skip
def test_an_assertion_that_does_not_hold_stops_the_run(
    text: str, message: str, device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tlc.compile("failed.tl", text=f'{text}\nprint("behind it")', device=device)
    with pytest.raises(RunError) as problem:
        program.run("main")
    assert (problem.value.code, problem.value.message) == ("E0507", message)
    assert capsys.readouterr().out == ""


def test_what_is_printed_before_stays_printed(capsys: pytest.CaptureFixture[str]) -> None:
    program = tlc.compile("a.tl", text='print("before")\npanic("now")', device="reference")
    with pytest.raises(RunError, match=r"a\.tl:2: panic: now"):
        program.run("main")
    assert capsys.readouterr().out == "before\n"


# ---- what is read from outside -------------------------------------------------------------------

ASKING = """\
let name = input("who?")
let n = to_int(input())
let total = 0
for i in range(n) { total = total + i }
print("hello {}, {}", name, total)
if name == "Ada" { print("known", len(name)) } else { print("new") }
print(env("TLC_TEST_WORD"), env("TLC_TEST_WORD") == "there", input() == "")
"""


@DEVICES
def test_a_program_reads_lines_and_the_environment(
    device: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLC_TEST_WORD", "there")
    monkeypatch.setattr(sys, "stdin", io.StringIO("Ada\n5\r\n"))
    tlc.compile("asking.tl", text=ASKING, device=device).run("main")
    assert capsys.readouterr().out.splitlines() == [
        "who?",
        "hello Ada, 10",
        "known 3",
        "there true true",
    ]


@DEVICES
@pytest.mark.parametrize("line", ["five", "", "1.5", "99999999999999999999", "٣"])
def test_a_line_that_is_no_number_is_an_error_with_its_place(
    line: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(line))
    program = tlc.compile("n.tl", text="\nprint(to_int(input()))", device=device)
    with pytest.raises(RunError) as problem:
        program.run("main")
    assert problem.value.code == "E0505"
    assert problem.value.message == f'n.tl:2: "{line}" is not a whole number'


# ---- imports -------------------------------------------------------------------------------------


def test_imports_are_found_beside_the_file_that_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib" / "inner").mkdir(parents=True)
    (tmp_path / "main.tl").write_text('import "lib/a.tl"\nprint(a())\n')
    (tmp_path / "lib" / "a.tl").write_text('import "inner/b.tl"\nfn a() -> int { b() + 1 }\n')
    (tmp_path / "lib" / "inner" / "b.tl").write_text("fn b() -> int { 41 }\n")
    assert run(["run", str(tmp_path / "main.tl"), "--device", "reference"]) == 0
    monkeypatch.chdir(tmp_path)
    assert run(["run", "main.tl", "--device", "reference"]) == 0
    assert capsys.readouterr().out == "42\n42\n"


def test_a_mistake_in_an_imported_file_is_shown_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("main.tl").write_text('import "a.tl"\nimport "gone.tl"\nprint(f())\n')
    Path("a.tl").write_text("fn f() -> int {\n    lost\n}\n")
    assert run(["check", "main.tl"]) == 1
    shown = capsys.readouterr().err
    assert "gone.tl cannot be read: No such file or directory\n --> main.tl:2:1" in shown
    assert "unknown name `lost`\n --> a.tl:2:5" in shown


def test_a_syntax_error_in_an_imported_file_is_shown_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("main.tl").write_text('import "a.tl"\n')
    Path("a.tl").write_text("fn f( {\n")
    assert run(["check", "main.tl"]) == 1
    assert " --> a.tl:1:" in capsys.readouterr().err


def test_an_artifact_is_the_same_each_time(tmp_path: Path) -> None:
    from tlc import driver

    root = Path(__file__).parent / "programs"
    names = ["imports", "drop", "match_run_time", "run_time_structs", "conversions"]
    for name in names:
        path = str(root / f"{name}.tl")
        assert driver.build(path).members == driver.build(path).members
