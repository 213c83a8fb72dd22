"""The cache of compiled kernels: what is kept, what is trusted, and what is built again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tlc.runtime.devices import Kernel, cache, toolchain
from tlc.runtime.devices.cpu import CpuDevice

ROOT = Path(__file__).parents[2]
GRID = "uint group [[threadgroup_position_in_grid]], uint groups [[threadgroups_per_grid]]"
TEXT = f"""#include <metal_stdlib>
kernel void add(device uint* y [[buffer(0)]], {GRID}) {{ y[group] += groups; }}
kernel void next(device uint* y [[buffer(0)]], {GRID}) {{ y[group] = y[group] * 3u + groups; }}
"""
KERNELS = {name: Kernel(name, 1) for name in ("add", "next")}
SCRIPT = f"""
from tlc.runtime.devices import Kernel, Launch
from tlc.runtime.devices.cpu import CpuDevice
kernel = Kernel("next", 1)
device = CpuDevice(4)
y = device.buffer(4000)
library = device.library({TEXT!r}, [kernel])
device.run(device.batch(library, [Launch(kernel, [y], 1000)]))
print(int.from_bytes(device.read(y, 4), "little"))
"""


def script(folder: Path) -> str:
    """What a fresh interpreter prints that runs a kernel."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=dict(os.environ, TLC_CACHE_DIR=str(folder)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_compiled_kernels_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLC_CACHE_DIR", str(tmp_path / "made"))
    CpuDevice(1).library(TEXT, [KERNELS["add"]])
    kept = sorted((tmp_path / "made").rglob("*.so"))
    assert kept
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700

    monkeypatch.setattr(toolchain, "compile_shared", None)
    CpuDevice(1).library(TEXT, [KERNELS["add"]])
    monkeypatch.undo()
    monkeypatch.setenv("TLC_CACHE_DIR", str(tmp_path / "made"))
    CpuDevice(1).library(TEXT + "\n", [KERNELS["add"]])
    CpuDevice(1).library(TEXT, [KERNELS["next"]])
    monkeypatch.setattr(toolchain, "FLAGS", (*toolchain.FLAGS, "-DX"))
    CpuDevice(1).library(TEXT, [KERNELS["add"]])
    assert len(list((tmp_path / "made").rglob("*.so"))) == len(kept) + 3


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty", "a folder"])
def test_a_damaged_object_is_built_again(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert script(tmp_path) == "1000\n"
    objects = {path: path.read_bytes() for path in tmp_path.rglob("*.so")}
    assert len(objects) == 2  # the kernels and the pool
    for path, content in objects.items():
        match damage:
            case "truncated":
                path.write_bytes(content[:2000])
            case "changed":
                path.write_bytes(content[:700] + b"\xff" * 16 + content[716:])
            case "empty":
                path.write_bytes(b"")
            case _:
                path.unlink()
                (path.parent / "another.so").mkdir()
    assert script(tmp_path) == "1000\n"
    assert {path: path.read_bytes() for path in objects} == objects


def test_processes_may_build_the_same_kernels_at_once(tmp_path: Path) -> None:
    environment = dict(os.environ, TLC_CACHE_DIR=str(tmp_path / "cache"))
    command = [sys.executable, "-c", SCRIPT]
    builders = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [builder.communicate(timeout=60)[0] for builder in builders] == ["1000\n"] * 4
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.fixture
def fresh_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_temporary", [])


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("writable", "can be written by other users"),
        ("foreign", "belongs to another user"),
        ("file", "is not a folder"),
        ("under a file", "cannot be made"),
    ],
)
def test_a_folder_that_others_control_is_refused(
    trouble: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "cache"
    match trouble:
        case "writable":
            path.mkdir()
            path.chmod(0o777)
        case "foreign":
            path.mkdir()
            owner = os.geteuid()
            monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        case "file":
            path.write_text("")
        case _:
            path.write_text("")
            path /= "below"
    monkeypatch.setenv("TLC_CACHE_DIR", str(path))
    used = cache.folder()
    assert used != str(path)
    assert os.stat(used).st_mode & 0o777 == 0o700
    assert cache.folder() == used
    assert capsys.readouterr().err == (
        f"warning: cache folder {path} {message}"
        f"{' (not a directory)' if trouble == 'under a file' else ''};"
        " compiled kernels are kept for this run only\n"
    )


@pytest.mark.usefixtures("fresh_cache")
def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TLC_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder() == str(tmp_path / "xdg" / "tlc")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.folder() == str(tmp_path / ".cache" / "tlc")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.folder() == str(tmp_path / "Library" / "Caches" / "tlc")
