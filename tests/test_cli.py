"""The command line: what each command prints, and its exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tlc.cli import run

PROGRAM = """\
fn layer(x: float16[N, D], w: float16[D, M]) -> float16[N, M] { relu(x @ w) }
let x = tensor([[1.0, -2.0]], device: gpu)
print(layer(x, ones([2, 3])))
print("done")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "model.tl").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_build_then_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["build", "model.tl"]) == 0
    assert capsys.readouterr() == ("", "")
    assert run(["run", "model.metallib", "--device", "cpu"]) == 0
    found = capsys.readouterr()
    assert found.out == "[[0.0, 0.0, 0.0]]\ndone\n"
    assert found.err == "warning[W0001]: the program asks for gpu, and runs on cpu\n"


def test_run_builds_a_program_in_memory(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "model.tl", "--device", "reference"]) == 0
    assert capsys.readouterr().out.endswith("done\n")
    assert {p.name for p in folder.iterdir()} == {"model.tl"}


def test_an_entry_runs_on_arrays_from_files(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("x.npy", np.array([[1.0, 2.0]]))
    np.save("w.npy", np.array([[1.0, -1.0], [0.5, 0.25]]))
    call = ["run", "model.tl", "--device", "cpu", "--entry", "layer", "--input", "x=x.npy"]
    assert run([*call, "--input", "w=w.npy"]) == 0
    assert capsys.readouterr().out == "[[2.0, 0.0]]\n"
    assert run([*call, "--input", "w=w.npy", "--output", "y.npy"]) == 0
    np.testing.assert_array_equal(np.load("y.npy"), [[2.0, 0.0]])
    capsys.readouterr()
    Path("w.npz").write_bytes(b"PK\x03\x04")
    for more, message in (
        ([], "`w` of `layer` is missing"),
        (["--input", "x=x.npy"], "`x` of `layer` is given twice"),
        (["--input", "w=w.npz"], "w.npz cannot be read as .npy: it is a .npz"),
        (["--input", "w=model.tl"], "model.tl cannot be read as .npy: it is no .npy file"),
    ):
        assert run([*call, *more]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stage", "start"),
    [
        ("tokens", "1:1"),
        ("ast", "1:1     Program\n"),
        ("ir", "func @main() {\n"),
        ("plan", '{\n "format": 1,'),
        ("msl", "//"),
    ],
)
def test_every_stage_can_be_looked_at(
    folder: Path, capsys: pytest.CaptureFixture[str], stage: str, start: str
) -> None:
    assert run(["build", "model.tl", "--emit", stage]) == 0
    assert capsys.readouterr().out.startswith(start)
    assert not (folder / "model.metallib").exists()


def test_the_ir_behind_a_pass(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["build", "model.tl", "--dump-after", "canonical", "--dump-after", "fuse"]) == 0
    before, after = capsys.readouterr().out.split("// after fuse\n")
    assert before.startswith("// after canonical\n")
    assert "fused" not in before
    assert after.count("= fused(") == 2
    for options, message in (
        (
            ["--dump-after", "nothing"],
            "no pass is called `nothing`\n  hint: there are all, canonical",
        ),
        (["--size", "N=3"], "`--size` is for --report"),
    ):
        assert run(["build", "model.tl", *options]) == 1
        assert message in capsys.readouterr().err


def test_check_says_nothing_of_a_good_program(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", "model.tl"]) == 0
    assert capsys.readouterr() == ("", "")


def test_errors_as_text_and_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.tl").write_text("let x = zeros([2, 3])\nprint(x @ x)\nprint(y)\n")
    assert run(["check", "bad.tl", "--color", "never"]) == 1
    assert capsys.readouterr().err.endswith("\n2 errors\n")
    assert run(["check", "bad.tl", "--error-format", "json"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(d["code"], d["place"]["line"], d["place"]["column"]) for d in found] == [
        ("E0301", 2, 7),
        ("E0201", 3, 7),
    ]


def test_a_run_error_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "missing.metallib", "--error-format", "json"]) == 1
    assert json.loads(capsys.readouterr().err)["code"] == "E0501"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["biuld", "x.tl"], "no command is called `biuld`"),
        (["build"], "`tlc build` takes FILE.tl, and 0 were given"),
        (["run", "a", "b"], "`tlc run` takes FILE, and 2 were given"),
        (["run", "a", "--devise", "cpu"], "`tlc run` has no option `--devise`"),
        (
            ["run", "a", "--device", "tpu"],
            "`--device` is one of auto, metal, metal-objc, cpu, emulator, emulator-fast, reference,"
            " not `tpu`",
        ),
        (["build", "a.tl", "--emit"], "`--emit` needs a value"),
        (["inspect", "a", "--json=yes"], "`--json` takes no value"),
        (["explain", "E9999"], "no error has the code `E9999`"),
    ],
)
def test_usage_errors_exit_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["build", "run", "check", "inspect", "explain", "doctor"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: tlc {command}")


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "e0301"]) == 0
    assert capsys.readouterr().out.startswith("E0301: shapes disagree\n")


def test_doctor_names_devices_compilers_and_caches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    found = capsys.readouterr().out
    assert all(word in found for word in ("devices", "metal", "cpu", "compilers", "caches"))


def test_inspect_counts_launches_before_and_after_fusion(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["build", "model.tl"])
    assert run(["inspect", "model.metallib"]) == 0
    text = capsys.readouterr().out
    assert (
        "  layer(x: f16[N, D], w: f16[D, M]) -> f16[N, M]\n    2 operations in 1 launch\n" in text
    )
    assert "model.tl:1 matmul + relu" in text
    assert run(["inspect", "model.metallib", "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["source"] == "model.tl"
    name = manifest["profiles"]["apple"]["kernels"][0]["name"]
    assert run(["inspect", "model.metallib", "--kernel", name]) == 0
    assert f"kernel void {name}(" in capsys.readouterr().out


def test_min_macos(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["build", "model.tl", "--min-macos", "14.0"]) == 0
    assert run(["build", "model.tl", "--min-macos", "10.15"]) == 1
    assert "the kernels need macOS 11.0" in capsys.readouterr().err


def test_an_artifact_that_needs_a_newer_macos_is_one_clear_line() -> None:
    from tlc.runtime.errors import RunError
    from tlc.runtime.loader import check_macos

    check_macos("11.0", "14.5")
    check_macos("14.0", "14.0.1")
    check_macos("14.0", None)
    with pytest.raises(RunError) as problem:
        check_macos("14.0", "13.6")
    assert problem.value.code == "E0506"
    assert problem.value.message == "the artifact's kernels need macOS 14.0, and this is macOS 13.6"


def test_timings_go_to_stderr(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["build", "model.tl", "--timings"]) == 0
    stages = [line.split()[0] for line in capsys.readouterr().err.splitlines()]
    assert stages == ["read", "parse", "lower", "optimise", "plan", "render", "pack"]


def test_a_program_that_only_defines_functions(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "defs.tl").write_text("fn f(x: float16[N]) -> float16[N] { x + 1.0 }\n")
    assert run(["run", "defs.tl", "--device", "reference"]) == 0
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err == "nothing to run: the program only defines f\n"


def test_streams_that_are_closed_or_full(folder: Path) -> None:
    command = f'"{sys.executable}" -m tlc run model.tl --device reference'
    for more, message in (("<&-", ""), (">&-", ""), (">/dev/full", "the output cannot be written")):
        if "full" in more and not Path("/dev/full").exists():
            continue
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        shell = ["sh", "-c", f"{command} {more}"]
        done = subprocess.run(shell, capture_output=True, text=True, env=env)
        assert (done.returncode, "Traceback" in done.stderr) == (1 if message else 0, False)
        assert message in done.stderr


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 there")
def test_a_program_whose_name_is_no_text(folder: Path) -> None:
    source, made = os.fsdecode(b"n\xff.tl"), os.fsdecode(b"o\xff.metallib")
    Path(source).write_text("assert(1 < 2)\nprint(ones([2]) * 2)\n")
    assert run(["build", source, "-o", made]) == 0
    for file, device in ((source, "reference"), (made, "reference"), (made, "cpu")):
        assert run(["run", file, "--device", device]) == 0
