"""Kernels that Apple's compiler made, with a program in the place of `xcrun`: built, packed, run.

What the program writes is a Metal library whose bitcode is the text of the kernels.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import tlc
from tests.metal.frameworks import Frameworks
from tests.metal.library_writer import write_library
from tlc.cli import run
from tlc.runtime.artifact import read_artifact
from tlc.runtime.devices import Kernel
from tlc.runtime.devices.metal_objc import MetalObjcDevice
from tlc.runtime.errors import RunError
from tlc.runtime.metal_library import read_library

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
fn layer(x: float16[N, 4], w: float16[4, 4]) -> float16[N, 4] { return relu(x @ w) }
print(layer(tensor([[1.0, -2.0, 3.0, 4.0]]), ones([4, 4])))
"""
XCRUN = """#!{python}
import re, sys
sys.path.insert(0, {root!r})
from tests.metal.library_writer import write_library

sdk, metal, options, source = sys.argv[1:3], sys.argv[3], sys.argv[4:-1], sys.argv[-1]
assert (sdk, metal) == (["-sdk", "macosx"], "metal"), sys.argv
output = options.pop(options.index("-o") + 1)
options.remove("-o")
(least,) = [o for o in options if o.startswith("-mmacosx-version-min=")]
options.remove(least)
assert options == ["-std=macos-metal2.3", "-O2", "-fno-fast-math"], options
text = open(source, "rb").read()
names = re.findall(rb"kernel void (\\w+)\\(", text)
system = tuple(map(int, least.partition("=")[2].split(".")))
data = write_library({{name.decode(): text for name in names}}, system=system)
{then}
open(output, "wb").write(data)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.tl").write_text(PROGRAM)
    return tmp_path


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, then: str = "") -> None:
    """Put an `xcrun` on the path that ends with these statements."""
    program = folder / "bin" / "xcrun"
    program.parent.mkdir()
    program.write_text(XCRUN.format(python=sys.executable, root=str(ROOT), then=then))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def test_without_apples_compiler_the_library_is_empty(folder: Path) -> None:
    assert run(["build", "m.tl"]) == 0
    assert read_artifact("m.metallib").compiled() is None


def test_what_the_compiler_makes_is_in_front(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["build", "m.tl", "-o", "plain.metallib"]) == 0
    install(folder, monkeypatch)
    assert run(["build", "m.tl"]) == 0
    compiled = read_artifact("m.metallib").compiled()
    assert compiled is not None
    library = read_library(memoryview(compiled))
    kernels = read_artifact("m.metallib").manifest["profiles"]["apple"]["kernels"]  # type: ignore[index]
    assert [f.name for f in library.functions] == [kernel["name"] for kernel in kernels]
    assert ".".join(map(str, library.system[:2])) == read_artifact("m.metallib").manifest["macos"]
    assert run(["inspect", "m.metallib"]) == 0
    text = f"has {len(kernels)} functions that Apple's compiler made (AIR 2.6)"
    assert text.replace("1 functions", "1 function") in capsys.readouterr().out
    assert run(["run", "m.metallib", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "[[6.0, 6.0, 6.0, 6.0]]\n"
    assert run(["build", "m.tl", "-o", "again.metallib", "--source-only"]) == 0
    assert Path("again.metallib").read_bytes() == Path("plain.metallib").read_bytes()


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ('sys.exit("xcrun: error: unable to find utility metal")', "xcrun: error: unable to find"),
        ('sys.exit("a.metal:\\nm.metal:1: error: no")', "m.metal:1: error: no"),
        ("sys.exit(1)", "xcrun metal fails and says nothing"),
        ("sys.exit(0)", "xcrun metal cannot be used: "),
        ("data = data[:-1]", "a library that cannot be read: it should have"),
        ("data = data.replace(b'relu', b'rely')", "a damaged library|of other kernels"),
        ("data = data.replace(b'kernel', b'colonel')", "a library that cannot be read"),
        (
            "data += b'x'; data = data[:16] + len(data).to_bytes(8, 'little') + data[24:]",
            "with bytes that nothing points at",
        ),
        ('data = write_library({"other": b"BC"})', "a library of other kernels"),
    ],
)
def test_a_compiler_that_gives_none(
    folder: Path,
    then: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(folder, monkeypatch, then)
    assert run(["build", "m.tl"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("note: the artifact holds its kernels as text alone: ")
    assert any(part in said for part in reason.split("|"))
    assert read_artifact("m.metallib").compiled() is None
    assert run(["run", "m.metallib", "--device", "cpu"]) == 0


def test_a_damaged_library_in_front_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(folder, monkeypatch)
    assert run(["build", "m.tl"]) == 0
    data = Path("m.metallib").read_bytes()
    at = data.index(b"kernel void")
    Path("m.metallib").write_bytes(data[:at] + b"K" + data[at + 1 :])
    with pytest.raises(RunError, match=r"E0501.*the hash is not that of its bitcode"):
        read_artifact("m.metallib").compiled()


def test_metal_objc_loads_it(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    mac: Frameworks,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(folder, monkeypatch)
    assert run(["build", "m.tl"]) == 0
    assert run(["run", "m.metallib", "--device", "metal-objc"]) == 0
    assert (mac.loaded, mac.options) == (1, {})
    assert capsys.readouterr().out == "[[6.0, 6.0, 6.0, 6.0]]\n"

    mac.takes_compiled = False
    tlc.load("m.metallib", device="metal-objc").main()
    found = capsys.readouterr()
    assert found.out == "[[6.0, 6.0, 6.0, 6.0]]\n"
    assert found.err == (
        "note: the compiled kernels are not used, their text is: This library is using language"
        " version 2.3\n"
    )
    assert (mac.loaded, mac.options["version"]) == (1, 0x20003)


def test_metal_objc_takes_the_text_when_a_kernel_is_missing(
    mac: Frameworks, capsys: pytest.CaptureFixture[str]
) -> None:
    device = MetalObjcDevice()
    text = b"kernel void other(device float* y [[buffer(0)]]) { y[0] = 1.0f; }"
    data = write_library({"other": b"#include <metal_stdlib>\nusing namespace metal;\n" + text})
    assert device.library_of(data, [Kernel("other", 32)])
    assert device.library_of(data, [Kernel("absent", 32)]) is None
    assert "kernel absent: the library lacks it" in capsys.readouterr().err
    assert device.library_of(b"MTLB", []) is None
    assert "Invalid library file" in capsys.readouterr().err
    device.close()
