"""Finding a compiler and compiling with it, on made-up and real toolchains."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tlc.runtime.devices import toolchain
from tlc.runtime.devices.select import available
from tlc.runtime.errors import RunError

SOURCE = 'extern "C" __attribute__((visibility("default"))) int twice(int x) { return 2 * x; }'


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH; no Python package ziglang, no TLC_CC."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("TLC_CC", raising=False)
    kept = [entry for entry in sys.path if not Path(entry or ".", "ziglang").exists()]
    monkeypatch.setattr(sys, "path", kept)
    return folder


def program(path: Path, text: str = "exit 1") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def clang(folder: Path, name: str, version: str) -> Path:
    return program(folder / name, f'[ "$1" = -dumpversion ] && echo {version}')


def found() -> list[tuple[str, str]]:
    return [(each.kind, each.path) for each in toolchain.find()]


def test_clang_goes_before_the_newest_numbered_clang_and_ziglang(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zig = program(tmp_path / "site" / "ziglang" / "zig")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site")])
    assert found() == [("zig", str(zig))]
    clang(path, "clang-15", "15.0.6")
    new = clang(path, "clang-19", "19.1.7")
    clang(path, "clang-14", "14.0.0")
    assert found() == [("clang", str(new)), ("zig", str(zig))]
    plain = clang(path, "clang", "14.0.0")
    (path / "clang-30").write_text("not a program")
    assert found() == [("clang", str(plain)), ("clang", str(new)), ("zig", str(zig))]
    assert toolchain.describe()[:2] == [
        f"{plain} is version 14.0.0 (clang 15 is needed)",
        f"clang 19.1.7 at {new}",
    ]


def test_the_environment_decides_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clang(path, "clang", "19.1.7")
    mine = clang(path, "my-clang", "20.1.0")
    monkeypatch.setenv("TLC_CC", "my-clang")
    assert found() == [("clang", str(mine))]
    zig = program(path / "zig-0.13")
    monkeypatch.setenv("TLC_CC", str(zig))
    assert found() == [("zig", str(zig))]
    monkeypatch.setenv("TLC_CC", "absent")
    with pytest.raises(RunError, match=r"E0701.*TLC_CC names absent, which is not a program"):
        toolchain.find()
    assert toolchain.describe() == ["TLC_CC names absent, which is not a program"]


def test_no_toolchain(
    path: Path, golden: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "target", lambda: ([], ""))
    assert available()["cpu"] == "no clang on PATH and no Python package ziglang"
    assert toolchain.describe()[0].startswith(available()["cpu"])
    with pytest.raises(RunError, match="E0701") as absent:
        toolchain.compile_shared(SOURCE, str(path / "out.so"), toolchain.find())
    clang(path, "clang", "14.0.6")
    program(path / "clang-20", "echo surprise")
    with pytest.raises(RunError, match="E0701") as old:
        toolchain.compile_shared(SOURCE, str(path / "out.so"), toolchain.find())
    golden("no_compiler.txt", f"{absent.value}\n{old.value}\n".replace(str(path), "/usr/bin"))


def test_an_old_clang_is_passed_over(path: Path, tmp_path: Path) -> None:
    old = toolchain.Toolchain("clang", str(clang(path, "clang", "14.0.6")))
    writes = 'while [ $# -gt 1 ]; do [ "$1" = -o ] && echo made > "$2"; shift; done'
    new = program(path / "clang-19", f'[ "$1" = -dumpversion ] && echo 19.1.7 && exit\n{writes}')
    output = tmp_path / "out.so"
    toolchain.compile_shared(SOURCE, str(output), [old, toolchain.Toolchain("clang", str(new))])
    assert output.read_text() == "made\n"


def test_the_key_follows_the_compiler_and_the_processor(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = toolchain.Toolchain("clang", str(clang(path, "clang", "19.1.7")))
    before = one.identity()
    clang(path, "clang", "20.1.0-next")
    assert one.identity() != before

    facts = {"flags": "avx2 fma f16c", "model": "1"}
    monkeypatch.setattr(toolchain, "_cpu_facts", lambda: facts)
    monkeypatch.setattr(os, "uname", lambda: uname("x86_64"))
    flags, text = toolchain.target()
    assert flags == ["-march=native"]
    facts["flags"] += " avx512f"
    assert toolchain.target()[1] != text
    facts["flags"] = "sse4_2 avx"
    with pytest.raises(RunError, match=r"E0702.* needs a processor with avx2, f16c, fma"):
        toolchain.target()
    monkeypatch.setattr(os, "uname", lambda: uname("aarch64"))
    assert toolchain.target()[0] == ["-mcpu=native"]


class uname:
    def __init__(self, machine: str) -> None:
        self.machine = machine


def test_the_facts_of_this_processor() -> None:
    if not Path("/proc/cpuinfo").exists():
        pytest.skip("needs Linux")
    facts = toolchain._cpu_facts()
    text = Path("/proc/cpuinfo").read_text()
    assert facts
    assert all(f": {value}" in text for value in facts.values())
    assert not {"processor", "cpu MHz", "bogomips", "BogoMIPS"} & facts.keys()


def compilers() -> list[toolchain.Toolchain]:
    return toolchain.find()


def test_a_shared_object_that_works(tmp_path: Path) -> None:
    output = tmp_path / "twice.so"
    toolchain.compile_shared(SOURCE, str(output), compilers())
    assert ctypes.CDLL(str(output)).twice(21) == 42


def test_loops_that_go_round_in_what_they_read(tmp_path: Path) -> None:
    """Where clang 22 vectorizes this loop, it reads x[a + i]."""
    output = tmp_path / "round.so"
    source = """extern "C" __attribute__((visibility("default")))
    void round_and_round(const float* x, float* q, unsigned a) {
        for (unsigned i = 0; i < 32; ++i) q[i] = x[a + i % 8];
    }"""
    toolchain.compile_shared(source, str(output), compilers())
    x, q = (ctypes.c_float * 64)(*range(64)), (ctypes.c_float * 32)()
    ctypes.CDLL(str(output)).round_and_round(x, q, 8)
    assert list(q) == [8 + i % 8 for i in range(32)]


def test_clang_compiles_and_links_in_one_step(tmp_path: Path) -> None:
    zig = next((each for each in compilers() if each.kind == "zig"), None)
    if not zig or not shutil.which("ld"):
        pytest.skip("needs ziglang to stand in for clang, and a linker")
    wrapper = program(tmp_path / "clang", f'exec "{zig.path}" clang "$@"')
    output = tmp_path / "twice.so"
    only = toolchain.Toolchain("clang", str(wrapper))
    toolchain.compile_shared(SOURCE, str(output), [only])
    assert ctypes.CDLL(str(output)).twice(21) == 42


def test_ziglang_needs_no_home_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zig = [each for each in compilers() if each.kind == "zig"]
    if not zig:
        pytest.skip("needs ziglang")
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    folder = tmp_path / "out"
    folder.mkdir()
    toolchain.compile_shared(SOURCE, str(folder / "twice.so"), zig)
    assert not (tmp_path / "nowhere").exists()
    assert sorted(each.name for each in folder.iterdir()) == ["twice.so", "twice.so.o"]


def test_a_refused_kernel_shows_the_compilers_words(tmp_path: Path) -> None:
    source = '# 1 "kernels.metal"\nint fine;\nint wrong = nowhere;\n' + "x y;" * 10
    with pytest.raises(RunError, match="E0703") as caught:
        toolchain.compile_shared(source, str(tmp_path / "out.so"), compilers())
    lines = caught.value.message.splitlines()
    assert lines[0] == "the compiler refuses the kernels"
    assert lines[1].startswith("kernels.metal:2:13: error: ")
    assert "nowhere" in lines[1]
    assert len(lines) <= 9


def test_the_commands_on_macos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the words are checked: they were compiled with, and never run on a Mac."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "uname", lambda: uname("arm64"))
    (command,) = toolchain._commands(toolchain.Toolchain("zig", "zig"), "out")
    assert command[:4] == ["zig", "cc", "-target", "aarch64-macos"]
    assert command[-5:] == ["-shared", "-nostdlib", "-o", "out", "-Wl,-undefined,dynamic_lookup"]
    (command,) = toolchain._commands(toolchain.Toolchain("clang", "clang"), "out")
    assert command[0] == "clang"
    assert "-march=native" not in command
    assert not toolchain._is_installer("/opt/llvm/bin/clang")
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    assert toolchain._is_installer("/usr/bin/clang")
