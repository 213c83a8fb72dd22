"""A library that Apple's compiler made: the 17,248 kernels of the PyPI package mlx-metal."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tlc.inspect import inspect
from tlc.runtime.metal_library import alone, read_library

pytestmark = pytest.mark.models

PACKAGE = "mlx-metal==0.32.4"
SHA256 = "8019b2db622599267d66cc168b2f0dbf5af929790a6c3b3913e00eabc42a7947"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlx")
    (folder / "wanted.txt").write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
    kind = ("--platform", "macosx_14_0_arm64", "--python-version", "3.12", "--only-binary", ":all:")
    what = ("--no-deps", "--require-hashes", "-r", str(folder / "wanted.txt"), "-d", str(folder))
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", *kind, *what], check=False
    )
    if done.returncode:
        pytest.skip(f"pip cannot get {PACKAGE}")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return Path(wheel.extract("mlx/lib/mlx.metallib", folder))


def test_every_function_is_read_and_has_its_hash(library: Path) -> None:
    found = json.loads(inspect(str(library), as_json=True))
    assert (found["platform"], found["system"], found["problems"]) == ("macOS", "14.0", [])
    assert len(found["functions"]) == 17_248
    assert {(f["type"], f["air"], f["msl"]) for f in found["functions"]} == {
        ("kernel", "2.6", "3.1")
    }
    data = library.read_bytes()
    assert alone(read_library(memoryview(data))) == data
